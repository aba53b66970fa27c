//! The servers that a vector plays over real sockets: listeners on this machine that the gateway may dial.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Listeners by their names.
#[derive(Debug, Default)]
pub struct Upstreams {
    addresses: BTreeMap<String, SocketAddr>,
    listeners: BTreeMap<String, TcpListener>,
}

impl Upstreams {
    /// Listens for those that are `true`; for the others a port is found that nobody listens on.
    ///
    /// # Errors
    /// What the system refused.
    pub fn listen(wanted: &BTreeMap<String, bool>) -> Result<Self, String> {
        let mut upstreams = Self::default();
        for (name, listens) in wanted {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, listener))
            });
            let (address, listener) = listener.map_err(|why| format!("cannot listen as {name:?}: {why}"))?;
            upstreams.addresses.insert(name.clone(), address);
            if *listens {
                upstreams.listeners.insert(name.clone(), listener);
            }
        }
        Ok(upstreams)
    }

    /// What vectors can refer to.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        facts(self.addresses.iter().map(|(name, address)| (name, *address)))
    }

    /// The next connection to the one with this name, without waiting.
    pub(super) fn accept(&self, name: &str) -> Option<TcpStream> {
        let (stream, _) = self.listeners.get(name)?.accept().ok()?;
        Some(stream)
    }

    /// Names of those to which somebody has connected and nobody has answered.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let names = self.listeners.keys();
        names.filter(|name| self.accept(name).is_some()).cloned().collect()
    }
}

/// `NAME.url` and `NAME.port` of upstreams.
pub(crate) fn facts<'a>(addresses: impl Iterator<Item = (&'a String, SocketAddr)>) -> Vec<(String, String)> {
    let pairs = addresses.flat_map(|(name, address)| {
        [
            (format!("{name}.url"), format!("http://{address}")),
            (format!("{name}.port"), address.port().to_string()),
        ]
    });
    pairs.collect()
}
