//! The settings of a relay in memory: the vector's environment variables, read as the command `portcullis relay` reads them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use portcullis_blocking::settings::{Environment, RelayFlags, read_relay};
use portcullis_core::settings::Settings;

use crate::child::environment;
use crate::vector::Vector;

/// The core's settings for a relay whose state is in the folder `state`.
///
/// # Errors
/// The first mistake in the vector's variables.
pub(super) fn settings(vector: &Vector, state: &str) -> Result<Settings, String> {
    let flags = RelayFlags {
        port: Some("18789".into()),
        state_dir: Some(state.into()),
        ..RelayFlags::default()
    };
    let environment = environment(vector).into_iter().collect::<Environment>();
    let choices = read_relay(&environment, &flags, Path::new("/"))?;
    let mut settings = choices.settings(SocketAddr::from((Ipv4Addr::LOCALHOST, choices.port)));
    // Virtual time has no time zone of this machine.
    settings.operator.utc_offset_minutes = 0;
    Ok(settings)
}
