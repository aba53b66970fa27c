//! Authorization codes that wait to be used. Only a code's digest is kept. Bounded in all and for each user, on disk
//! before a code is handed out, gone when their time is over. What a code is good for is decided elsewhere.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::store::{Durability, Record};
use crate::surfaces::relay::identity::Identity;
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::time::UnixMillis;

/// Where they are on disk.
pub(super) const TABLE: &str = "relay_codes";
/// Codes of one user that wait; the oldest goes when there is another.
const MAX_PER_USER: usize = 20;

/// What a code stands for.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Code {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    /// It was asked for by an agent.
    #[serde(default)]
    pub(super) is_agent: bool,
    pub(super) challenge: String,
    pub(super) identity: Identity,
    /// Who told who the user is.
    pub(super) realm: String,
    /// Seconds since 1970.
    pub(super) expires_at: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Codes {
    by_digest: BTreeMap<String, Box<Code>>,
    by_expiry: BTreeSet<(u64, String)>,
    by_user: BTreeMap<String, Vec<String>>,
}

/// The digest under which a code is kept.
pub(super) fn digest(code: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(code.as_bytes()))
}

impl Codes {
    pub(super) fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Takes what was on disk; what cannot be read is left out.
    pub(super) fn load(&mut self, found: Vec<Record>, now: u64) {
        for record in found {
            if let Some(code) = records::read::<Code>(&record.value).filter(|code| now < code.expires_at) {
                self.keep(record.id, code);
            }
        }
    }

    pub(super) fn insert(&mut self, ledger: &mut Ledger, digest: String, code: Code) {
        let change = Change::Put {
            value: records::write(&code),
            expires_at: Some(UnixMillis(code.expires_at.saturating_mul(1_000))),
        };
        ledger.change(TABLE, digest.clone(), change, Durability::Durable);
        let uid = code.identity.uid.clone();
        self.keep(digest, code);
        let of_user = self.by_user.get(&uid).map(Vec::as_slice).unwrap_or_default();
        if of_user.len() > MAX_PER_USER
            && let Some(oldest) = of_user.first().cloned()
        {
            self.remove(ledger, &oldest);
        }
    }

    fn keep(&mut self, digest: String, code: Code) {
        self.by_expiry.insert((code.expires_at, digest.clone()));
        let of_user = self.by_user.entry(code.identity.uid.clone()).or_default();
        of_user.push(digest.clone());
        self.by_digest.insert(digest, Box::new(code));
    }

    /// The code of this digest, unless its time is over.
    pub(super) fn get(&self, digest: &str, now: u64) -> Option<&Code> {
        let code = self.by_digest.get(digest).map(Box::as_ref);
        code.filter(|code| now < code.expires_at)
    }

    pub(super) fn remove(&mut self, ledger: &mut Ledger, digest: &str) -> Option<Code> {
        let code = self.forget(digest)?;
        ledger.change(TABLE, digest, Change::Delete, Durability::Durable);
        Some(code)
    }

    fn forget(&mut self, digest: &str) -> Option<Code> {
        let code = self.by_digest.remove(digest)?;
        self.by_expiry.remove(&(code.expires_at, String::from(digest)));
        if let Some(of_user) = self.by_user.get_mut(&code.identity.uid) {
            of_user.retain(|one| one != digest);
            if of_user.is_empty() {
                self.by_user.remove(&code.identity.uid);
            }
        }
        Some(*code)
    }

    /// Forgets those whose time is over; on disk they go by themselves.
    pub(super) fn sweep(&mut self, now: u64) {
        while let Some((expires_at, digest)) = self.by_expiry.first().cloned()
            && expires_at <= now
        {
            self.forget(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn code(uid: &str, expires_at: u64) -> Code {
        Code {
            is_agent: false,
            client: "c".into(),
            redirect_uri: "r".into(),
            scope: "s".into(),
            challenge: "x".into(),
            identity: Identity {
                uid: uid.into(),
                email: String::new(),
                email_verified: false,
                name: String::new(),
            },
            realm: "demo".into(),
            expires_at,
        }
    }

    #[test]
    fn codes_are_bounded_per_user_and_go_with_time() {
        let (mut codes, mut ledger) = (Codes::default(), Ledger::default());
        for number in 0..=MAX_PER_USER {
            codes.insert(&mut ledger, format!("d{number}"), code("u", 10));
        }
        codes.insert(&mut ledger, "v".into(), code("v", 20));
        assert_eq!(codes.len(), MAX_PER_USER + 1);
        assert!(codes.get("d0", 0).is_none() && codes.get("d1", 9).is_some() && codes.get("d1", 10).is_none());
        codes.sweep(10);
        assert_eq!((codes.len(), codes.by_user.len(), codes.by_expiry.len()), (1, 1, 1));
        assert!(codes.remove(&mut ledger, "v").is_some() && codes.remove(&mut ledger, "v").is_none());
        assert!(codes.by_user.is_empty() && codes.by_expiry.is_empty());
    }
}
