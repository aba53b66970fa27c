//! Access tokens as they come with requests: found in the `Authorization` field, and remembered once they were found good, so
//! that a signature is checked once for each token and not for each request. It keeps no token, only what it says under its
//! hash, and it never decides whether a token is good. Spec: `spec/relay.md` section 4.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use sha2::{Digest, Sha256};

use super::http::Caller;
use crate::http::Headers;
use crate::time::Now;

/// Tokens that are remembered.
const MAX_KNOWN: usize = 8_192;

/// The SHA-256 of a token: looking it up takes the same time however much of a guess is right.
type Key = [u8; 32];

/// Tokens that were found good.
#[derive(Debug, Default)]
pub(super) struct KnownTokens {
    known: BTreeMap<Key, Arc<Caller>>,
    /// In the order in which they came; the oldest goes first.
    order: VecDeque<Key>,
}

impl KnownTokens {
    pub(super) fn key(token: &str) -> Key {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Whose token this is, when it is known and has not expired.
    pub(super) fn get(&self, now: Now, key: &Key) -> Option<Arc<Caller>> {
        let caller = self.known.get(key)?;
        (now.wall.0 / 1_000 < caller.expires_at).then(|| Arc::clone(caller))
    }

    pub(super) fn insert(&mut self, key: Key, caller: Arc<Caller>) {
        if self.known.insert(key, caller).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

/// The token of a request; a field that comes twice, or names another scheme, holds none.
pub(super) fn token(headers: &Headers) -> Option<&str> {
    let field = headers.get_only("authorization").ok().flatten()?;
    let (scheme, token) = field.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
