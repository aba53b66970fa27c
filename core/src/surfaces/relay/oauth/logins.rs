//! Logins: each is one family of refresh tokens, from the code that began it to its last token. A login that is ended
//! takes its access tokens with it. Bounded in all and for each user, on disk before a token is handed out.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use super::refresh::LoginId;
use crate::store::{Durability, Record};
use crate::surfaces::relay::identity::Identity;
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::time::UnixMillis;

/// Where they are on disk.
pub(super) const TABLE: &str = "relay_logins";

/// One login. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Login {
    pub(super) client: String,
    pub(super) scope: String,
    /// Its tokens are an agent's.
    #[serde(default)]
    pub(super) is_agent: bool,
    pub(super) identity: Identity,
    /// Who told who the user is: a login of another provider, or of demo mode, is good for nothing.
    pub(super) realm: String,
    /// The digest of the code that began it: whoever shows that code again ends the login.
    pub(super) code: String,
    /// Which refresh token is the current one.
    pub(super) generation: u32,
    /// The last time that it was used.
    pub(super) used_at: u64,
    /// The current refresh token's end.
    pub(super) refresh_until: u64,
    /// The end of the login, however often it is refreshed.
    pub(super) ends_at: u64,
    /// When nothing of it is good any more: neither the refresh token nor the last access token.
    pub(super) keep_until: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Logins {
    by_id: BTreeMap<LoginId, Box<Login>>,
    by_code: BTreeMap<String, LoginId>,
    by_expiry: BTreeSet<(u64, LoginId)>,
    by_user: BTreeMap<String, BTreeSet<(u64, LoginId)>>,
}

impl Logins {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Takes what was on disk; what cannot be read is left out.
    pub(super) fn load(&mut self, found: Vec<Record>, now: u64) {
        for record in found {
            let login = records::read::<Login>(&record.value).filter(|login| now < login.keep_until);
            if let (Some(id), Some(login)) = (LoginId::parse(&record.id), login) {
                self.keep(id, login);
            }
        }
    }

    /// Writes a login down, new or changed. When its user has more than `per_user`, the one that was not used for the
    /// longest time is ended, and told.
    pub(super) fn put(&mut self, ledger: &mut Ledger, id: LoginId, login: Login, per_user: usize) -> Option<LoginId> {
        let change = Change::Put {
            value: records::write(&login),
            expires_at: Some(UnixMillis(login.keep_until.saturating_mul(1_000))),
        };
        ledger.change(TABLE, id.text(), change, Durability::Durable);
        let uid = login.identity.uid.clone();
        self.forget(id);
        self.keep(id, login);
        let of_user = self.by_user.get(&uid);
        let oldest = of_user
            .filter(|of_user| of_user.len() > per_user.max(1))
            .and_then(|of_user| of_user.iter().map(|(_, one)| *one).find(|one| *one != id));
        oldest.filter(|oldest| self.end(ledger, *oldest))
    }

    fn keep(&mut self, id: LoginId, login: Login) {
        self.by_expiry.insert((login.keep_until, id));
        self.by_code.insert(login.code.clone(), id);
        let of_user = self.by_user.entry(login.identity.uid.clone()).or_default();
        of_user.insert((login.used_at, id));
        self.by_id.insert(id, Box::new(login));
    }

    pub(super) fn get(&self, id: LoginId, now: u64) -> Option<&Login> {
        let login = self.by_id.get(&id).map(Box::as_ref);
        login.filter(|login| now < login.keep_until)
    }

    /// The login that a code began.
    pub(super) fn of_code(&self, digest: &str) -> Option<LoginId> {
        self.by_code.get(digest).copied()
    }

    /// Ends a login. Whether it was there.
    pub(super) fn end(&mut self, ledger: &mut Ledger, id: LoginId) -> bool {
        let was_there = self.forget(id);
        if was_there {
            ledger.change(TABLE, id.text(), Change::Delete, Durability::Durable);
        }
        was_there
    }

    fn forget(&mut self, id: LoginId) -> bool {
        let Some(login) = self.by_id.remove(&id) else {
            return false;
        };
        self.by_expiry.remove(&(login.keep_until, id));
        self.by_code.remove(&login.code);
        if let Some(of_user) = self.by_user.get_mut(&login.identity.uid) {
            of_user.remove(&(login.used_at, id));
            if of_user.is_empty() {
                self.by_user.remove(&login.identity.uid);
            }
        }
        true
    }

    /// Forgets those whose time is over, and tells them; on disk they go by themselves.
    pub(super) fn sweep(&mut self, now: u64) -> Vec<LoginId> {
        let mut over = Vec::new();
        while let Some((until, id)) = self.by_expiry.first().copied()
            && until <= now
        {
            self.forget(id);
            over.push(id);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn login(uid: &str, code: &str, used_at: u64) -> Login {
        Login {
            client: "c".into(),
            scope: "s".into(),
            is_agent: false,
            identity: Identity {
                uid: uid.into(),
                email: String::new(),
                email_verified: false,
                name: String::new(),
            },
            realm: "demo".into(),
            code: code.into(),
            generation: 0,
            used_at,
            refresh_until: 50,
            ends_at: 100,
            keep_until: 50,
        }
    }

    #[test]
    fn logins_are_bounded_per_user_and_go_with_time() {
        let (mut logins, mut ledger) = (Logins::default(), Ledger::default());
        let id = |number| LoginId([number; 12]);
        for number in 1..=3 {
            let code = format!("c{number}");
            logins.put(&mut ledger, id(number), login("u", &code, u64::from(number)), 2);
        }
        assert!(
            logins.get(id(1), 9).is_none(),
            "the one that was not used for the longest time"
        );
        assert_eq!(logins.of_code("c1"), None);
        assert_eq!(logins.of_code("c3"), Some(id(3)));
        let used = Login {
            used_at: 9,
            generation: 1,
            keep_until: 60,
            ..login("u", "c2", 2)
        };
        logins.put(&mut ledger, id(2), used, 2);
        logins.put(&mut ledger, id(4), login("u", "c4", 10), 2);
        assert!(logins.get(id(3), 9).is_none() && logins.get(id(2), 9).is_some());
        assert_eq!(logins.sweep(50), [id(4)]);
        assert_eq!((logins.len(), logins.by_code.len(), logins.by_expiry.len()), (1, 1, 1));
        assert!(logins.get(id(2), 60).is_none());
        assert!(logins.end(&mut ledger, id(2)) && !logins.end(&mut ledger, id(2)));
        assert!(logins.by_user.is_empty() && logins.by_code.is_empty() && logins.by_expiry.is_empty());
    }
}
