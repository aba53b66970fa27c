//! Facts of the control plane. The token itself is in one of them only where the embedding program asked for it, and
//! then as a secret: no fact shows it when it is written out.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::{Level, OneLine};
use crate::id::ConnId;
use crate::policy::forwarded::Client;
use crate::secret::Secret;
use crate::settings::ProviderKey;
use crate::time::UnixMillis;

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlFact {
    /// No secret is configured: one was drawn, for as long as the process lives.
    EphemeralSecret,
    /// There is a new token; every older one is worth nothing from now on.
    TokenIssued {
        /// Its id.
        id: String,
        /// When it expires.
        expires_at: UnixMillis,
        /// Why there is a new one.
        why: Issued,
        /// The id of the one before.
        replaces: Option<String>,
        /// The token, if the settings hand it out.
        token: Option<Secret>,
    },
    /// The token is in its file.
    TokenStored {
        /// The file.
        path: String,
        /// The token's id.
        id: String,
        /// When it expires.
        expires_at: UnixMillis,
    },
    /// A client whose address may connect did.
    Connected {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        client: Client,
    },
    /// A client whose address may not connect was turned away.
    Rejected {
        /// Its address.
        client: Client,
        /// How many of the same address were turned away since the last one that was told.
        untold: u32,
    },
    /// A browser page whose origin is not allowed was turned away.
    OriginRejected {
        /// Its address.
        client: Client,
        /// What it says where it is from, cut short.
        origin: String,
    },
    /// A client showed a good token for the first time.
    Authenticated {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        client: Client,
    },
    /// The first message of a connection that showed no good token.
    Unauthorised {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        client: Client,
        /// What the client was told.
        reason: String,
    },
    /// How many further messages of a connection showed none; told when it ends.
    UnauthorisedMore {
        /// Its connection.
        conn: ConnId,
        /// How many.
        count: u64,
    },
    /// A client's connection ended.
    Disconnected {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        client: Client,
    },
    /// A client broke the protocol, or its connection failed.
    Failed {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        client: Client,
        /// Why.
        reason: String,
    },
    /// A command was answered.
    Command {
        /// The connection.
        conn: ConnId,
        /// Its address.
        client: Client,
        /// Which.
        command: &'static str,
        /// Why it was not carried out.
        refused: Option<String>,
    },
    /// Another provider answers from now on, or the same one with another model.
    ProviderSwitched {
        /// Who did it.
        client: Client,
        /// With which token.
        token_id: String,
        /// Who answered before.
        from: ProviderKey,
        /// Who answers now.
        to: ProviderKey,
        /// With which model.
        model: String,
    },
    /// The providers were asked whether they answer.
    HealthChecked {
        /// Each that has a key, with the reason when it does not answer.
        providers: Vec<(ProviderKey, Result<(), String>)>,
    },
}

/// Why there is a new token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Issued {
    /// The gateway started.
    Started,
    /// A client asked for it.
    Rotated,
    /// The old one had expired, or the settings changed, and somebody reloaded them.
    Renewed,
}

impl ControlFact {
    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::EphemeralSecret => "ControlEphemeralSecret",
            Self::TokenIssued { .. } => "ControlTokenIssued",
            Self::TokenStored { .. } => "ControlTokenStored",
            Self::Connected { .. } => "ControlConnected",
            Self::Rejected { .. } => "ControlRejected",
            Self::OriginRejected { .. } => "ControlOriginRejected",
            Self::Authenticated { .. } => "ControlAuthenticated",
            Self::Unauthorised { .. } => "ControlUnauthorised",
            Self::UnauthorisedMore { .. } => "ControlUnauthorisedMore",
            Self::Disconnected { .. } => "ControlDisconnected",
            Self::Failed { .. } => "ControlFailed",
            Self::Command { .. } => "ControlCommand",
            Self::ProviderSwitched { .. } => "ControlProviderSwitched",
            Self::HealthChecked { .. } => "ControlHealthChecked",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Command { .. } => Level::Debug,
            Self::TokenIssued { .. }
            | Self::TokenStored { .. }
            | Self::Connected { .. }
            | Self::Authenticated { .. }
            | Self::Disconnected { .. }
            | Self::ProviderSwitched { .. } => Level::Info,
            Self::HealthChecked { providers } if providers.iter().all(|(_, answer)| answer.is_ok()) => Level::Info,
            Self::EphemeralSecret
            | Self::Rejected { .. }
            | Self::OriginRejected { .. }
            | Self::Unauthorised { .. }
            | Self::UnauthorisedMore { .. }
            | Self::Failed { .. }
            | Self::HealthChecked { .. } => Level::Warn,
        }
    }

    fn token(f: &mut fmt::Formatter<'_>, id: &str, why: Issued, expires_at: UnixMillis) -> fmt::Result {
        let why = match why {
            Issued::Started => "issued",
            Issued::Rotated => "rotated by a client",
            Issued::Renewed => "renewed",
        };
        write!(f, "control token {why}: id {id}, expires {}", expires_at.to_utc())
    }
}

impl fmt::Display for ControlFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EphemeralSecret => {
                f.write_str("control plane: no JWT_SECRET is set; one was drawn for this process only")
            }
            Self::TokenIssued {
                id, expires_at, why, ..
            } => Self::token(f, id, *why, *expires_at),
            Self::TokenStored { path, id, .. } => {
                write!(f, "control token {id} is in {}", OneLine(path))
            }
            Self::Connected { conn, client } => write!(f, "{conn}: control client connected from {client}"),
            Self::Rejected { client, untold } => {
                write!(
                    f,
                    "control client {client} rejected: its address is not in TRUSTED_CLIENT_IPS (control.trustedClients)"
                )?;
                match untold {
                    0 => Ok(()),
                    count => write!(f, "; {count} more of this address before"),
                }
            }
            Self::OriginRejected { client, origin } => {
                let origin = OneLine(origin);
                write!(
                    f,
                    "control client {client} rejected: the origin {origin} is not allowed"
                )
            }
            Self::Authenticated { conn, client } => write!(f, "{conn}: control client {client} authenticated"),
            Self::Unauthorised { conn, client, reason } => {
                let reason = OneLine(reason);
                write!(f, "{conn}: control client {client} showed no good token: {reason}")
            }
            Self::UnauthorisedMore { conn, count } => {
                write!(f, "{conn}: {count} further messages without a good token")
            }
            Self::Disconnected { conn, client } => write!(f, "{conn}: control client {client} disconnected"),
            Self::Failed { conn, client, reason } => {
                write!(f, "{conn}: control client {client} failed: {}", OneLine(reason))
            }
            Self::Command {
                conn,
                client,
                command,
                refused,
            } => match refused {
                None => write!(f, "{conn}: {command} of {client}"),
                Some(why) => write!(f, "{conn}: {command} of {client} was not carried out: {}", OneLine(why)),
            },
            Self::ProviderSwitched {
                client,
                from,
                to,
                model,
                ..
            } => {
                let model = OneLine(model);
                write!(
                    f,
                    "provider switched by {client}: from {from} to {to} with the model {model}"
                )
            }
            Self::HealthChecked { providers } => {
                f.write_str("providers were asked:")?;
                providers.iter().try_for_each(|(key, answer)| match answer {
                    Ok(()) => write!(f, " {key} answers;"),
                    Err(why) => write!(f, " {key} does not: {};", OneLine(why)),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn no_fact_shows_the_token() {
        let fact = ControlFact::TokenIssued {
            id: "0a".into(),
            expires_at: UnixMillis(0),
            why: Issued::Rotated,
            replaces: None,
            token: Some(Secret::new("eyJ.secret.sig".into())),
        };
        assert!(!format!("{fact} {fact:?}").contains("secret.sig"));
        assert_eq!(
            format!("{fact}"),
            "control token rotated by a client: id 0a, expires 1970-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn what_peers_wrote_stays_on_its_line() {
        let fact = ControlFact::OriginRejected {
            client: Client::Local(None),
            origin: "http://x\nfake line".into(),
        };
        assert!(!format!("{fact}").contains('\n'));
    }
}
