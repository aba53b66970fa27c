//! One grant: an owner lets somebody else use a device, first as an invitation by e-mail, then for an account.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::Durability;
use crate::surfaces::relay::ids::{DeviceId, Email, Uid};
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::time::Now;

/// Where grants are kept.
pub(in crate::surfaces::relay) const TABLE: &str = "relay.grants";

/// The name of a grant: `gr_` and 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GrantId(pub String);

/// What is on disk of a grant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) device: DeviceId,
    /// Who was invited.
    pub(super) email: Email,
    /// Who accepted.
    pub(super) uid: Option<Uid>,
    /// The device that the acceptor named.
    pub(super) grantee_device: Option<DeviceId>,
    pub(super) status: GrantStatus,
    /// The digest of the invitation's token.
    pub(super) token: String,
    /// Seconds since 1970, like all times here.
    pub(super) invite_until: u64,
    /// 0: for ever.
    pub(super) until: u64,
    pub(super) accepted_at: u64,
    pub(super) created_at: u64,
}

/// A grant's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GrantStatus {
    /// Not accepted yet.
    Pending,
    /// In force.
    Active,
    /// Taken back, or given back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl GrantStatus {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

impl Grant {
    /// Its state at this time.
    pub(super) const fn effective(&self, now: Now) -> GrantStatus {
        let now = now.wall.0 / 1_000;
        match self.status {
            GrantStatus::Pending if self.invite_until <= now || self.is_over(now) => GrantStatus::Expired,
            GrantStatus::Active if self.is_over(now) => GrantStatus::Expired,
            status => status,
        }
    }

    const fn is_over(&self, now: u64) -> bool {
        self.until != 0 && self.until <= now
    }

    pub(super) fn read(value: &Bytes) -> Option<Self> {
        records::read(value)
    }

    pub(super) fn keep(&self, id: &GrantId, ledger: &mut Ledger) {
        let change = Change::Put {
            value: records::write(self),
            expires_at: None,
        };
        ledger.change(TABLE, id.0.as_str(), change, Durability::Durable);
    }
}

/// What is kept of an invitation's token.
pub(super) fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_worked_digest() {
        assert_eq!(
            super::digest("example-invite-token"),
            "jfGaLAqyPKUJTqO-Yf3g_UP4regV6_VHCpDDvi226AU"
        );
    }
}
