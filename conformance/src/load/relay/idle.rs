//! Agents that are connected and say nothing: how much memory each keeps resident, its device's record aside and with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::setup::{Device, login};
use crate::child::Child;
use crate::load::measure::Usage;
use crate::load::{Measurement, link};

/// As many agents may one owner have.
const OF_ONE_OWNER: usize = 50;
/// Owners that register their devices at the same time: each registration waits for the disk.
const AT_ONCE: usize = 16;

/// Registers `count` devices and connects their agents.
pub(super) fn hold(child: &Child, count: usize, at_most: Duration) -> Result<Measurement, String> {
    let address = child.address();
    let start = Instant::now();
    // What the first ones bring into memory is not theirs.
    let warm = owner(address, "warm", OF_ONE_OWNER)?;
    let warm: Vec<_> = warm
        .iter()
        .map(|device| device.connect(address))
        .collect::<Result<_, _>>()?;
    let bare = Usage::of(child.id())?;
    let mut devices = Vec::with_capacity(count);
    let numbers: Vec<usize> = (0..count.div_ceil(OF_ONE_OWNER)).collect();
    for some in numbers.chunks(AT_ONCE) {
        let registered: Vec<Result<Vec<Device>, String>> = std::thread::scope(|scope| {
            let one = |number: &usize| {
                let (name, size) = (
                    format!("owner{number}"),
                    OF_ONE_OWNER.min(count - number * OF_ONE_OWNER),
                );
                scope.spawn(move || owner(address, &name, size))
            };
            let owners: Vec<_> = some.iter().map(one).collect();
            let ended = |owner: std::thread::ScopedJoinHandle<'_, _>| {
                owner.join().unwrap_or_else(|_| Err("an owner failed".into()))
            };
            owners.into_iter().map(ended).collect()
        });
        for owned in registered {
            devices.extend(owned?);
        }
    }
    let registered = Usage::of(child.id())?;
    let connecting = Instant::now();
    let mut held = Vec::with_capacity(count);
    for device in &devices {
        if start.elapsed() > at_most {
            break;
        }
        held.push(device.connect(address)?);
    }
    let wall = connecting.elapsed();
    let connected = Usage::of(child.id())?;
    let among = |bytes: u64| (bytes / (held.len().max(1) as u64)).to_string();
    drop(warm);
    Ok(Measurement {
        name: format!("{} idle agents", held.len()),
        count: held.len() as u64,
        wall,
        cpu: connected.cpu.saturating_sub(registered.cpu),
        more: vec![
            (
                "resident bytes per connected agent",
                among(connected.resident.saturating_sub(registered.resident)),
            ),
            (
                "with its device's record",
                among(connected.resident.saturating_sub(bare.resident)),
            ),
        ],
        ..Measurement::default()
    })
}

/// An owner with devices.
fn owner(address: SocketAddr, name: &str, devices: usize) -> Result<Vec<Device>, String> {
    let access = login(address, name)?;
    let mut stream = link::open(address)?;
    (0..devices)
        .map(|number| Device::register(&mut stream, address, format!("dev-{name}-{number:02}"), &access))
        .collect()
}
