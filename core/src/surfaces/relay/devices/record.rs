//! One device: its owner, its keys, its presence; and what of it is on disk. Presence is not: after a restart no agent is
//! connected.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::Durability;
use crate::surfaces::relay::ids::{DeviceId, Email, Uid};
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::{records, transcript};
use crate::time::{Instant, UnixMillis};

/// Where devices are kept.
pub(super) const TABLE: &str = "relay.devices";
/// Keys of the past that are kept of a device.
const MAX_PAST_KEYS: usize = 16;

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// What is on disk.
    pub kept: Kept,
    /// The raw bytes of its identity key.
    pub key: Option<[u8; 32]>,
    pub(super) presence: Option<Presence>,
}

/// What is on disk of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Who owns it.
    pub owner: Uid,
    /// The owner's e-mail.
    pub owner_email: Option<Email>,
    /// The name that people see.
    pub display_name: Option<String>,
    /// The identity key as it was registered: padded base64.
    pub public_key: Option<String>,
    /// When the key was registered.
    pub key_since: UnixMillis,
    /// Keys that were replaced, the oldest first.
    pub past_keys: Vec<PastKey>,
    /// When the record changed last.
    pub updated_at: UnixMillis,
}

/// A key that was replaced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastKey {
    /// As it was registered.
    pub public_key: String,
    /// From when.
    pub since: UnixMillis,
    /// Until when.
    pub until: UnixMillis,
    /// Whose token replaced it.
    pub replaced_by: Uid,
}

/// An agent is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Presence {
    pub(super) connected_at: UnixMillis,
    pub(super) last_seen: UnixMillis,
    pub(super) until: Instant,
}

impl Device {
    pub(super) const fn new(id: DeviceId, owner: Uid, now: UnixMillis) -> Self {
        Self {
            id,
            kept: Kept {
                owner,
                owner_email: None,
                display_name: None,
                public_key: None,
                key_since: now,
                past_keys: Vec::new(),
                updated_at: now,
            },
            key: None,
            presence: None,
        }
    }

    /// The device of a record; `None` when it is none.
    pub(super) fn read(id: &str, value: &Bytes) -> Option<Self> {
        let kept: Kept = records::read(value)?;
        Some(Self {
            id: DeviceId::parse(id).ok()?,
            key: kept.public_key.as_deref().and_then(transcript::identity_key),
            kept,
            presence: None,
        })
    }

    pub(super) fn keep(&self, ledger: &mut Ledger) {
        let change = Change::Put {
            value: records::write(&self.kept),
            expires_at: None,
        };
        ledger.change(TABLE, self.id.as_str(), change, Durability::Durable);
    }

    pub(super) fn remove(&self, ledger: &mut Ledger) {
        ledger.change(TABLE, self.id.as_str(), Change::Delete, Durability::Durable);
    }

    /// Takes another identity key; the one before goes into the history.
    pub(super) fn set_key(&mut self, key: [u8; 32], text: &str, by: &Uid, now: UnixMillis) {
        let before = self.kept.public_key.replace(text.into());
        if let Some(before) = before {
            if self.kept.past_keys.len() >= MAX_PAST_KEYS {
                self.kept.past_keys.remove(0);
            }
            self.kept.past_keys.push(PastKey {
                public_key: before,
                since: self.kept.key_since,
                until: now,
                replaced_by: by.clone(),
            });
        }
        self.key = Some(key);
        self.kept.key_since = now;
    }

    /// Whether its agent is connected.
    #[must_use]
    pub fn is_online(&self, now: Instant) -> bool {
        self.presence.is_some_and(|presence| now < presence.until)
    }

    /// The name that people see.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kept.display_name.as_deref().unwrap_or(self.id.as_str())
    }
}
