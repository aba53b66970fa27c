//! How a record lies in the file: its name as key (`table`, NUL, `id`), and as value the version, the time of its expiry
//! (zero: none) and the content. Spec: `spec/contract.md`.

use bytes::Bytes;
use portcullis_core::store::{Key, Record, Version};
use portcullis_core::time::UnixMillis;

/// The longest table and id together.
pub(super) const MAX_KEY_BYTES: usize = 1_024;
/// The largest content; more than any message that a client may send.
pub(super) const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;
const HEAD_BYTES: usize = 16;

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) version: Version,
    pub(super) expires_at: Option<UnixMillis>,
    pub(super) value: Bytes,
}

impl Stored {
    /// The bytes for the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES.saturating_add(self.value.len()));
        bytes.extend_from_slice(&self.version.0.to_be_bytes());
        // A record that is to expire at zero has expired all the same one millisecond later.
        let expires_at = self.expires_at.map_or(0, |at| at.0.max(1));
        bytes.extend_from_slice(&expires_at.to_be_bytes());
        bytes.extend_from_slice(&self.value);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; `None` when it did not.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, expires_at) = head(bytes)?;
        let value = Bytes::copy_from_slice(bytes.get(HEAD_BYTES..)?);
        Some(Self {
            version,
            expires_at,
            value,
        })
    }

    pub(super) fn into_record(self, id: String) -> Record {
        Record {
            id,
            version: self.version,
            value: self.value,
        }
    }
}

/// Whether a record with this time to live is no longer there.
pub(super) fn expired(expires_at: Option<UnixMillis>, now: UnixMillis) -> bool {
    expires_at.is_some_and(|at| at <= now)
}

/// Version and expiry alone, without copying the content.
pub(super) fn head(bytes: &[u8]) -> Option<(Version, Option<UnixMillis>)> {
    let (version, rest) = bytes.split_first_chunk::<8>()?;
    let (expires_at, _) = rest.split_first_chunk::<8>()?;
    let expires_at = u64::from_be_bytes(*expires_at);
    Some((
        Version(u64::from_be_bytes(*version)),
        (expires_at != 0).then_some(UnixMillis(expires_at)),
    ))
}

/// The start of all keys of `table` whose ids start with `prefix`; with a whole id, the key itself.
pub(super) fn key_bytes(table: &str, prefix: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(table.len().saturating_add(prefix.len()).saturating_add(1));
    key.extend_from_slice(table.as_bytes());
    key.push(0);
    key.extend_from_slice(prefix.as_bytes());
    key
}

/// The key's bytes, or what is wrong with it.
pub(super) fn checked(key: &Key) -> Result<Vec<u8>, String> {
    if key.table.len().saturating_add(key.id.len()) > MAX_KEY_BYTES {
        return Err(format!(
            "a key of table {:?} is longer than {MAX_KEY_BYTES} bytes",
            key.table
        ));
    }
    if key.table.is_empty() || key.table.contains('\0') || key.id.contains('\0') {
        return Err(format!("a key of table {:?} is empty or has a NUL in it", key.table));
    }
    Ok(key_bytes(key.table, &key.id))
}
