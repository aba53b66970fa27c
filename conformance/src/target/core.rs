//! The core as a target: the gateway in memory, every vector in every splitting, all with the same result byte for byte.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_blocking::settings::{Bind, Environment, Flags, Purpose, Sources, load};
use portcullis_core::gateway::Gateway;
use portcullis_core::machine::Machine;
use portcullis_core::policy::bind;
use portcullis_core::random::Seed;
use portcullis_core::secret::Secret;
use portcullis_core::settings::Settings;
use serde_json::{Map, Value};

use super::at_start;
use crate::child::{environment, set_arguments};
use crate::play::{Failure, play};
use crate::split::Split;
use crate::vector::{Surface, TOKEN, Vector};
use crate::world::core::{CoreWorld, Surroundings};
use crate::world::network::upstream_address;
use crate::world::upstreams;

/// The state folder in memory.
const STATE: &str = "/portcullis-conformance";

/// The core's settings for a vector: what the command line would make of them.
///
/// # Errors
/// Every mistake in the vector's settings.
pub fn core_settings(vector: &Vector) -> Result<Settings, String> {
    if vector.surface == Surface::Relay {
        return super::relay::settings(vector, STATE);
    }
    let flags = Flags {
        token: (vector.auth && vector.surface == Surface::Gateway).then(|| TOKEN.to_owned()),
        no_auth: !vector.auth,
        state_dir: Some(STATE.into()),
        ..Flags::default()
    };
    let sources = Sources {
        file: None,
        environment: &environment(vector).into_iter().collect::<Environment>(),
        set: &set_arguments(&vector.settings),
        flags: &flags,
        working_dir: &PathBuf::from("/"),
        purpose: match vector.surface {
            Surface::Gateway | Surface::Relay | Surface::Nothing => Purpose::Gateway,
            Surface::Control => Purpose::Control,
        },
    };
    let loaded = load(&sources, Secret::new(TOKEN.into())).map_err(|problems| problems.to_string())?;
    let mut settings = loaded.core;
    if let Some(tokens) = &mut settings.auth.tokens {
        tokens.extend(vector.more_tokens.iter().cloned().map(Secret::new));
    }
    // The command line sets these two by where it listens and by the state folder.
    settings.doors.check_host = match &loaded.bind {
        Bind::Host(host) => bind::parse(host).is_ok_and(|address| address.is_loopback()),
        _ => false,
    };
    if vector.surface == Surface::Control {
        settings.gateway.drain_grace = settings.gateway.drain_grace.min(Duration::from_secs(5));
    }
    if let Some(control) = &mut settings.control {
        control.token_file.get_or_insert_with(|| token_file(vector));
    }
    // Virtual time has no time zone of this machine.
    settings.operator.utc_offset_minutes = 0;
    Ok(settings)
}

/// Where the command line has the control plane write its token.
fn token_file(vector: &Vector) -> String {
    match vector.surface {
        Surface::Gateway | Surface::Relay | Surface::Nothing => format!("{STATE}/control-token"),
        Surface::Control => format!("{STATE}/control/control-token"),
    }
}

/// What vectors can refer to.
fn facts(vector: &Vector) -> Vec<(String, String)> {
    let addresses = vector.upstreams.keys().enumerate();
    let mut facts = upstreams::facts(addresses.map(|(place, name)| (name, upstream_address(place))));
    facts.extend([
        ("state".to_owned(), STATE.to_owned()),
        ("tokenFile".to_owned(), token_file(vector)),
        ("gateway".to_owned(), "127.0.0.1:18789".to_owned()),
        ("port".to_owned(), "18789".to_owned()),
    ]);
    facts
}

/// Plays a vector as it was sent and in every other splitting.
pub(super) fn play_all_splits(vector: &Vector) -> Result<(), Failure> {
    let facts = facts(vector);
    let vector = &vector.expanded(&facts);
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
    // Each process of a vector has a seed of its own, the same ones each time.
    let starts = Cell::new(6_u8);
    let maker = move |now| -> Box<dyn Machine> {
        starts.set(starts.get().wrapping_add(1));
        Box::new(Gateway::new(Arc::clone(&settings), Seed([starts.get(); 32]), now))
    };
    let base = vector.clone();
    let reader = move |changes: &Map<String, Value>| {
        let mut changed = base.clone();
        changed
            .settings
            .extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
        core_settings(&changed).map(Arc::new)
    };
    let surroundings = Surroundings {
        facts: facts(vector),
        names: vector.names.clone(),
        upstreams: vector.upstreams.clone(),
        reader: Some(Box::new(reader)),
    };
    let mut world = CoreWorld::with(Box::new(maker), split, surroundings).map_err(at_start)?;
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
