//! Methods and the scopes that they need. Spec: `spec/operator.md` section 5.

use alloc::vec::Vec;

/// A method that a client may call after the handshake; in the order of [`METHODS`], which [`crate::metrics::METHODS`] has too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Health,
    AgentList,
    AgentRun,
    SessionList,
    SessionHistory,
    AgentCancel,
}

/// The methods as `features.methods` announces them.
pub(super) const METHODS: &[&str] = &[
    "health",
    "agent.list",
    "agent.run",
    "session.list",
    "session.history",
    "agent.cancel",
];

/// The events as `features.events` announces them.
pub(super) const EVENTS: &[&str] = &["connect.challenge", "tick", "agent.stream", "shutdown"];

impl Method {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "health" => Self::Health,
            "agent.list" => Self::AgentList,
            "agent.run" => Self::AgentRun,
            "session.list" => Self::SessionList,
            "session.history" => Self::SessionHistory,
            "agent.cancel" => Self::AgentCancel,
            _ => return None,
        })
    }

    /// Whether the answer takes an effect, so that the request is in flight for a while.
    pub(super) const fn is_deferred(self) -> bool {
        matches!(self, Self::AgentRun | Self::SessionList | Self::SessionHistory)
    }

    const fn only_reads(self) -> bool {
        !matches!(self, Self::AgentRun | Self::AgentCancel)
    }
}

/// What a client was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scopes(u8);

impl Scopes {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const ADMIN: u8 = 4;

    pub(super) const NONE: Self = Self(0);

    /// Adds the scope of that name; `None` when there is no such scope.
    pub(super) fn with(self, name: &str) -> Option<Self> {
        let scope = match name {
            "operator.read" => Self::READ,
            "operator.write" => Self::WRITE,
            "operator.admin" => Self::ADMIN,
            _ => return None,
        };
        Some(Self(self.0 | scope))
    }

    /// What is granted for what was asked: nothing asked means everything.
    pub(super) const fn granted(self) -> Self {
        if self.0 == 0 { Self(Self::ADMIN) } else { self }
    }

    /// The names of the scopes.
    pub(super) fn names(self) -> Vec<&'static str> {
        let all = [
            (Self::READ, "operator.read"),
            (Self::WRITE, "operator.write"),
            (Self::ADMIN, "operator.admin"),
        ];
        let held = all.into_iter().filter(|(scope, _)| self.0 & scope != 0);
        held.map(|(_, name)| name).collect()
    }

    pub(super) const fn is_admin(self) -> bool {
        self.0 & Self::ADMIN != 0
    }

    pub(super) const fn allow(self, method: Method) -> bool {
        let enough = if method.only_reads() {
            Self::READ | Self::WRITE | Self::ADMIN
        } else {
            Self::WRITE | Self::ADMIN
        };
        self.0 & enough != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_announced_and_known() {
        for name in METHODS {
            assert!(Method::parse(name).is_some(), "{name}");
        }
        for (index, name) in METHODS.iter().enumerate() {
            assert_eq!(Method::parse(name).map(|method| method as usize), Some(index), "{name}");
            assert_eq!(crate::metrics::METHODS.get(index), Some(name));
        }
        assert_eq!(Method::parse("connect"), None);
    }

    #[test]
    fn who_may_what() {
        let read = Scopes::NONE.with("operator.read").unwrap();
        let write = Scopes::NONE.with("operator.write").unwrap();
        let admin = Scopes::NONE.granted();
        for method in METHODS.iter().filter_map(|name| Method::parse(name)) {
            assert!(admin.allow(method) && write.allow(method));
            assert_eq!(read.allow(method), method.only_reads());
        }
        assert_eq!(Scopes::NONE.with("operator.root"), None);
        assert!(read.with("operator.write").unwrap().granted().allow(Method::AgentRun));
    }
}
