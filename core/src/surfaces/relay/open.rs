//! Which login each open stream and agent's connection came from, so that they end with it. It ends nothing itself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::id::ConnId;

/// Streams and sockets, by login. Those of client credentials have none and are not here.
#[derive(Debug, Default)]
pub(super) struct Open {
    logins: BTreeMap<ConnId, String>,
    by_login: BTreeSet<(String, ConnId)>,
}

impl Open {
    pub(super) fn insert(&mut self, conn: ConnId, login: &str) {
        self.remove(conn);
        self.logins.insert(conn, login.into());
        self.by_login.insert((login.into(), conn));
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        if let Some(login) = self.logins.remove(&conn) {
            self.by_login.remove(&(login, conn));
        }
    }

    /// What is open of a login, the oldest first.
    pub(super) fn of_login(&self, login: &str) -> Vec<ConnId> {
        self.by_login
            .range((String::from(login), ConnId::FIRST)..)
            .take_while(|(of, _)| of == login)
            .map(|(_, conn)| *conn)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_of_one_login_is_found() {
        let mut open = Open::default();
        let [a, b, c] = [1, 2, 3].map(|n| ConnId::new(n).unwrap());
        open.insert(a, "one");
        open.insert(b, "two");
        open.insert(c, "one");
        assert_eq!(open.of_login("one"), [a, c]);
        open.insert(a, "two");
        assert_eq!(
            (open.of_login("one"), open.of_login("two")),
            (Vec::from([c]), Vec::from([a, b]))
        );
        open.remove(c);
        assert!(open.of_login("one").is_empty() && open.of_login("on").is_empty());
    }
}
