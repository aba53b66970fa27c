//! Idle connections: how much memory each authenticated one keeps resident.

use std::time::{Duration, Instant};

use super::Measurement;
use super::link;
use super::measure::Usage;
use crate::child::Child;

/// Opens `count` connections one after the other, so that never more than one handshake is pending.
pub(super) fn hold(child: &Child, count: usize, at_most: Duration) -> Result<Measurement, String> {
    let start = Instant::now();
    // What the first connections bring into memory is not theirs.
    let warm = (0..16)
        .map(|_| link::authenticated(child.address()))
        .collect::<Result<Vec<_>, _>>()?;
    let before = Usage::of(child.id())?;
    let mut held = Vec::with_capacity(count);
    while held.len() < count && start.elapsed() < at_most {
        held.push(link::authenticated(child.address())?);
    }
    let after = Usage::of(child.id())?;
    let each = after.resident.saturating_sub(before.resident) / (held.len().max(1) as u64);
    drop(warm);
    Ok(Measurement {
        name: format!("{} idle connections", held.len()),
        count: held.len() as u64,
        wall: start.elapsed(),
        more: vec![("resident bytes per connection", each.to_string())],
        ..Measurement::default()
    })
}
