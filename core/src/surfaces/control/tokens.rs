//! The one token that is good now: drawn at the start, replaced at once for everybody when it is rotated or renewed, and
//! kept in a file of its own where the settings want it. It judges what clients show, and never lets a token out but as
//! a secret. Spec: `spec/control.md` section 3.

use alloc::string::String;
use core::fmt::Write;
use core::time::Duration;

use bytes::{BufMut, BytesMut};
use zeroize::Zeroizing;

use crate::calls::{Calls, Owner};
use crate::effect::Effect;
use crate::id::EffectId;
use crate::jwt::{self, Claims, Expected, Granted, SigningKey, TokenFault};
use crate::random::Random;
use crate::secret::Secret;
use crate::settings::ControlSettings;
use crate::time::UnixMillis;

/// What a token is good for, in the order in which it says so.
pub(super) const SCOPES: [&str; 3] = ["provider:read", "provider:write", "gateway:admin"];

/// The token that is good now.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) token: Secret,
    pub(super) id: String,
    /// Seconds since 1970.
    expires_at: u64,
}

impl Active {
    pub(super) const fn expires_at(&self) -> UnixMillis {
        UnixMillis(self.expires_at.saturating_mul(1_000))
    }
}

/// The active token and the key that signs.
#[derive(Debug)]
pub(super) struct Tokens {
    configured: Option<Secret>,
    /// Drawn once, when the settings have no secret, and kept for the life of the process.
    ephemeral: Option<SigningKey>,
    key: SigningKey,
    ttl: Duration,
    pub(super) active: Active,
}

impl Tokens {
    pub(super) fn new(settings: &ControlSettings, now: UnixMillis, random: &mut Random) -> Self {
        let mut ephemeral = None;
        let key = signing_key(settings, &mut ephemeral, random);
        let active = draw(&key, settings.session_ttl, now, random);
        Self {
            configured: settings.jwt_secret.clone(),
            ephemeral,
            key,
            ttl: settings.session_ttl,
            active,
        }
    }

    /// Whether the secret is one that dies with the process.
    pub(super) const fn is_ephemeral(&self) -> bool {
        self.configured.is_none()
    }

    /// Draws a new token; the old one is worth nothing from now on. Returns the old one's id.
    pub(super) fn replace(&mut self, now: UnixMillis, random: &mut Random) -> String {
        let fresh = draw(&self.key, self.ttl, now, random);
        core::mem::replace(&mut self.active, fresh).id
    }

    /// Takes new settings; whether the active token must be replaced: it has expired, or was signed with another secret
    /// or for another time.
    pub(super) fn reconfigure(&mut self, settings: &ControlSettings, now: UnixMillis, random: &mut Random) -> bool {
        let is_other = self.configured != settings.jwt_secret || self.ttl != settings.session_ttl;
        if is_other {
            self.key = signing_key(settings, &mut self.ephemeral, random);
            self.configured.clone_from(&settings.jwt_secret);
            self.ttl = settings.session_ttl;
        }
        is_other || seconds(now) >= self.active.expires_at
    }

    pub(super) fn judge(&self, now: UnixMillis, token: &str) -> Result<Granted, TokenFault> {
        let expected = Expected {
            id: &self.active.id,
            now: seconds(now),
        };
        jwt::verify(&self.key, token, expected)
    }
}

const fn seconds(now: UnixMillis) -> u64 {
    now.0 / 1_000
}

fn signing_key(settings: &ControlSettings, ephemeral: &mut Option<SigningKey>, random: &mut Random) -> SigningKey {
    match &settings.jwt_secret {
        Some(secret) => SigningKey::new(secret.reveal().as_bytes()),
        None => ephemeral
            .get_or_insert_with(|| SigningKey::new(&*Zeroizing::new(random.bytes::<48>())))
            .clone(),
    }
}

fn draw(key: &SigningKey, ttl: Duration, now: UnixMillis, random: &mut Random) -> Active {
    let mut id = String::with_capacity(32);
    for byte in random.bytes::<16>() {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    let issued_at = seconds(now);
    let expires_at = issued_at.saturating_add(ttl.as_secs());
    let claims = Claims {
        issued_at,
        expires_at,
        id: &id,
        scopes: &SCOPES,
    };
    // Without a token nobody comes in.
    let token = jwt::issue(key, &claims).unwrap_or_else(|| Secret::new(String::new()));
    Active { token, id, expires_at }
}

/// The file with the token: written by one effect at a time, so that the last token is the one that stays.
#[derive(Debug, Default)]
pub(super) struct TokenFile {
    under_way: Option<Writing>,
    /// The token was replaced while an older one was being written.
    is_stale: bool,
}

/// What is being written.
#[derive(Debug)]
struct Writing {
    effect: EffectId,
    stored: Stored,
}

/// A token that lies in its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) expires_at: UnixMillis,
}

impl TokenFile {
    /// Writes the active token, now or as soon as the one before is written.
    pub(super) fn write(&mut self, path: Option<&String>, active: &Active, calls: &mut Calls) {
        let Some(path) = path else { return };
        if self.under_way.is_some() {
            self.is_stale = true;
            return;
        }
        let mut bytes = BytesMut::with_capacity(active.token.reveal().len() + 1);
        bytes.put_slice(active.token.reveal().as_bytes());
        bytes.put_u8(b'\n');
        let what = Effect::WriteFile {
            path: path.clone(),
            bytes: bytes.freeze(),
            mode: 0o600,
        };
        let stored = Stored {
            path: path.clone(),
            id: active.id.clone(),
            expires_at: active.expires_at(),
        };
        let effect = calls.start(what, Owner::Control);
        self.under_way = Some(Writing { effect, stored });
        self.is_stale = false;
    }

    /// The effect is over: what was written, and whether there is a newer token to write.
    pub(super) fn written(&mut self, effect: EffectId) -> Option<(Stored, bool)> {
        let Writing { stored, .. } = self.under_way.take_if(|write| write.effect == effect)?;
        Some((stored, core::mem::take(&mut self.is_stale)))
    }
}
