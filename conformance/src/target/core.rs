//! The core as a target: the gateway in memory, every vector in every splitting, all with the same result byte for byte.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_blocking::settings::{Environment, Flags, Purpose, Sources, load};
use portcullis_core::gateway::Gateway;
use portcullis_core::machine::Machine;
use portcullis_core::random::Seed;
use portcullis_core::secret::Secret;
use portcullis_core::settings::Settings;

use super::at_start;
use crate::child::set_arguments;
use crate::play::{Failure, play};
use crate::split::Split;
use crate::vector::{TOKEN, Vector};
use crate::world::core::CoreWorld;

/// The core's settings for a vector: what the command line would make of them.
///
/// # Errors
/// Every mistake in the vector's settings.
pub fn core_settings(vector: &Vector) -> Result<Settings, String> {
    let flags = Flags {
        token: vector.auth.then(|| TOKEN.to_owned()),
        no_auth: !vector.auth,
        state_dir: Some("/portcullis-conformance".into()),
        ..Flags::default()
    };
    let sources = Sources {
        file: None,
        environment: &Environment::default(),
        set: &set_arguments(vector),
        flags: &flags,
        working_dir: &PathBuf::from("/"),
        purpose: Purpose::Gateway,
    };
    let loaded = load(&sources, Secret::new(TOKEN.into())).map_err(|problems| problems.to_string())?;
    let mut settings = loaded.core;
    if let Some(tokens) = &mut settings.auth.tokens {
        tokens.extend(vector.more_tokens.iter().cloned().map(Secret::new));
    }
    // Virtual time has no time zone of this machine.
    settings.operator.utc_offset_minutes = 0;
    Ok(settings)
}

/// Plays a vector as it was sent and in every other splitting.
pub(super) fn play_all_splits(vector: &Vector) -> Result<(), Failure> {
    let settings = Arc::new(core_settings(vector).map_err(at_start)?);
    let usual = play_split(vector, &settings, Split::AsSent)?;
    let others: &[Split] = if vector.unsplit.is_some() { &[] } else { &Split::OTHERS };
    for split in others.iter().copied() {
        let other = play_split(vector, &settings, split).map_err(|mut failure| {
            failure.why = format!("only when split as {split:?}: {}", failure.why);
            failure
        })?;
        if let Some((name, bytes)) = usual.iter().find(|(name, bytes)| other.get(*name) != Some(bytes)) {
            let came = other.get(name).map(Vec::as_slice).unwrap_or_default();
            let same = bytes.iter().zip(came).take_while(|(one, other)| one == other).count();
            let show = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes.get(same..).unwrap_or_default())
                    .chars()
                    .take(300)
                    .collect::<String>()
            };
            let why = format!(
                "split as {split:?}, connection {name:?} is sent other bytes from byte {same} on\n    as sent: {}\n    split:   {}",
                show(bytes),
                show(came)
            );
            return Err(Failure {
                step: "-".into(),
                source: "splitting invariance".into(),
                why,
            });
        }
    }
    Ok(())
}

type Transcript = std::collections::BTreeMap<String, Vec<u8>>;

fn play_split(vector: &Vector, settings: &Arc<Settings>, split: Split) -> Result<Transcript, Failure> {
    let settings = Arc::clone(settings);
    let maker = move |now| -> Box<dyn Machine> { Box::new(Gateway::new(Arc::clone(&settings), Seed([7; 32]), now)) };
    let mut world = CoreWorld::new(Box::new(maker), split);
    play(vector, &mut world)?;
    match world.complaints() {
        [] => Ok(world.transcript().clone()),
        [first, ..] => Err(Failure {
            step: "-".into(),
            source: "the contract of a machine".into(),
            why: first.clone(),
        }),
    }
}
