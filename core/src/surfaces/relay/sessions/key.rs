//! What a session is found by: the id that its client chose, and the user who began it. Ids are each user's own: another user
//! may have a session of the same id and neither learns of the other's. On one device an id is there once, because agents
//! know sessions by their ids alone.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::surfaces::relay::ids::{SessionId, Uid};

/// Bytes of the digest that stands for the user in names of records.
const DIGEST: usize = 12;

/// A session of a user.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::surfaces::relay) struct SessionKey {
    pub(in crate::surfaces::relay) id: SessionId,
    pub(in crate::surfaces::relay) user: Uid,
}

impl SessionKey {
    pub(in crate::surfaces::relay) fn new(id: &SessionId, user: &Uid) -> Self {
        Self {
            id: id.clone(),
            user: user.clone(),
        }
    }

    /// The name of its record, and the start of the names of what belongs to it. A user's name may have any length and any
    /// character; its digest has neither a slash nor too many bytes.
    pub(super) fn record(&self) -> String {
        let user = Sha256::digest(self.user.0.as_bytes());
        let user = URL_SAFE_NO_PAD.encode(user.get(..DIGEST).unwrap_or_default());
        alloc::format!("{}~{user}", self.id)
    }

    /// The name of a record that belongs to it.
    pub(super) fn record_of(&self, number: u64) -> String {
        alloc::format!("{}/{number:016x}", self.record())
    }
}

#[cfg(test)]
impl SessionKey {
    /// The session of this id of a user who is called `u`.
    pub(in crate::surfaces::relay) fn of_u(id: &str) -> Self {
        Self::new(&SessionId::parse(id).unwrap(), &Uid("u".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_two_users_have_two_names() {
        let ann = SessionKey::of_u("s-01");
        let bob = SessionKey::new(&ann.id, &Uid("a/~b".into()));
        assert_ne!(ann.record(), bob.record());
        for key in [&ann, &bob] {
            let name = key.record_of(255);
            let (record, number) = name.split_once('/').unwrap();
            assert_eq!((record, number), (&key.record()[..], "00000000000000ff"));
            assert!(record.starts_with("s-01~"));
        }
    }
}
