//! How many connections there may be: altogether, of one address, and of those that have not finished a handshake.
//! Spec: `spec/operator.md` section 8.

use alloc::collections::BTreeMap;

use crate::policy::address::AddressGroup;
use crate::settings::GatewaySettings;

/// The connections that are counted.
#[derive(Debug, Default)]
pub struct Admission {
    all: Counts,
    by_address: BTreeMap<AddressGroup, Counts>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    open: u32,
    pending: u32,
}

/// A limit that is reached, by the name of its setting.
pub type Full = &'static str;

impl Admission {
    /// Counts a new connection, which has not finished a handshake. `group` is `None` for peers that are exempt from the
    /// limits of one address.
    ///
    /// # Errors
    /// The limit that is reached; nothing is counted then.
    pub fn open(&mut self, group: Option<AddressGroup>, settings: &GatewaySettings) -> Result<(), Full> {
        let of_address = group
            .and_then(|group| self.by_address.get(&group))
            .copied()
            .unwrap_or_default();
        if self.all.open >= settings.max_connections {
            return Err("gateway.maxConnections");
        }
        if self.all.pending >= settings.max_pending_handshakes {
            return Err("gateway.maxPendingHandshakes");
        }
        if of_address.open >= settings.max_connections_per_address {
            return Err("gateway.maxConnectionsPerAddress");
        }
        if of_address.pending >= settings.max_pending_handshakes_per_address {
            return Err("gateway.maxPendingHandshakesPerAddress");
        }
        self.change(group, |counts| {
            counts.open += 1;
            counts.pending += 1;
        });
        Ok(())
    }

    /// A connection that was exempt from the limits of one address is so no longer: it is counted to `group` from now on.
    ///
    /// # Errors
    /// The limit that is reached; nothing is counted then.
    pub fn join(&mut self, group: AddressGroup, settings: &GatewaySettings) -> Result<(), Full> {
        let counts = self.by_address.get(&group).copied().unwrap_or_default();
        if counts.open >= settings.max_connections_per_address {
            return Err("gateway.maxConnectionsPerAddress");
        }
        if counts.pending >= settings.max_pending_handshakes_per_address {
            return Err("gateway.maxPendingHandshakesPerAddress");
        }
        let counts = self.by_address.entry(group).or_default();
        counts.open += 1;
        counts.pending += 1;
        Ok(())
    }

    /// The connection finished its handshake.
    pub fn finished(&mut self, group: Option<AddressGroup>) {
        self.change(group, |counts| counts.pending = counts.pending.saturating_sub(1));
    }

    /// The connection is gone.
    pub fn closed(&mut self, group: Option<AddressGroup>, was_pending: bool) {
        self.change(group, |counts| {
            counts.open = counts.open.saturating_sub(1);
            counts.pending = counts.pending.saturating_sub(u32::from(was_pending));
        });
    }

    fn change(&mut self, group: Option<AddressGroup>, change: impl Fn(&mut Counts)) {
        change(&mut self.all);
        if let Some(group) = group {
            let counts = self.by_address.entry(group).or_default();
            change(counts);
            if counts.open == 0 {
                self.by_address.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn each_limit_is_named_and_freed() {
        let settings = GatewaySettings {
            max_connections: 5,
            max_pending_handshakes: 4,
            max_connections_per_address: 3,
            max_pending_handshakes_per_address: 2,
            ..GatewaySettings::default()
        };
        let address = |last| Some(AddressGroup::V4(Ipv4Addr::new(192, 0, 2, last)));
        let mut admission = Admission::default();
        assert_eq!(admission.open(address(1), &settings), Ok(()));
        assert_eq!(admission.open(address(1), &settings), Ok(()));
        assert_eq!(
            admission.open(address(1), &settings),
            Err("gateway.maxPendingHandshakesPerAddress")
        );
        admission.finished(address(1));
        assert_eq!(admission.open(address(1), &settings), Ok(()));
        admission.finished(address(1));
        assert_eq!(
            admission.open(address(1), &settings),
            Err("gateway.maxConnectionsPerAddress")
        );
        assert_eq!(admission.open(None, &settings), Ok(()));
        assert_eq!(admission.open(None, &settings), Ok(()));
        assert_eq!(admission.open(address(2), &settings), Err("gateway.maxConnections"));
        admission.closed(address(1), false);
        assert_eq!(admission.open(address(2), &settings), Ok(()));
        for (group, pending) in [
            (address(1), false),
            (address(1), true),
            (None, true),
            (None, true),
            (address(2), true),
        ] {
            admission.closed(group, pending);
        }
        assert!(admission.by_address.is_empty());
        for _ in 0..4 {
            assert_eq!(admission.open(None, &settings), Ok(()));
        }
        assert_eq!(admission.open(None, &settings), Err("gateway.maxPendingHandshakes"));
    }
}
