//! What the control plane tells on a terminal: the lines of the original, word for word, since scripts look for them.
//! It renders and decides nothing; the token is in the banner and in no other line. Spec: `spec/cli.md`.

use portcullis_core::report::{ControlFact, Report};
use portcullis_core::secret::Secret;
use portcullis_core::settings::ProviderKey;
use portcullis_core::time::UnixMillis;

/// What is to be written where, each a whole number of lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Lines {
    pub(super) out: String,
    pub(super) err: String,
}

impl Lines {
    pub(super) fn out(text: String) -> Self {
        Self {
            out: text,
            err: String::new(),
        }
    }

    fn err(text: String) -> Self {
        Self {
            out: String::new(),
            err: text,
        }
    }
}

/// The token as the original shows it.
pub(super) fn banner(id: &str, expires_at: UnixMillis, token: &Secret) -> String {
    let rule = "━".repeat(58);
    let expires = expires_at.to_utc();
    let token = token.reveal();
    format!(
        "\n{rule}\n🔑  OPENCLAW GATEWAY — SESSION TOKEN\n{rule}\n   Token ID : {id}\n   Expires  : {expires}\n   Token    : {token}\n{rule}\n\n"
    )
}

/// Where the token is, in the banner's columns.
pub(super) fn token_file(path: &str, id: &str, expires_at: UnixMillis) -> String {
    let expires = expires_at.to_utc();
    format!("   Token ID : {id}\n   Expires  : {expires}\n   File     : {path}\n")
}

/// The listener's real address.
pub(super) fn listening(url: &str) -> String {
    format!(
        "🔌  Control plane WebSocket listening on {url}\n    Connect with: {{ \"token\": \"<session-token>\", \"cmd\": \"ping\" }}\n"
    )
}

/// The lines of a report; `None`: the original has none for it, and it goes to the log.
pub(super) fn of(report: &Report) -> Option<Lines> {
    match report {
        Report::Control(fact) => of_fact(fact),
        Report::Draining { .. } => Some(Lines::out("🛑 Shutting down gracefully...\n".into())),
        _ => None,
    }
}

fn of_fact(fact: &ControlFact) -> Option<Lines> {
    Some(match fact {
        ControlFact::EphemeralSecret => {
            Lines::err("⚠️  JWT_SECRET not set — using ephemeral secret for this session only.\n".into())
        }
        ControlFact::Connected { client, .. } => Lines::out(format!("🔗  WS client connected from {client}\n")),
        ControlFact::Disconnected { client, .. } => Lines::out(format!("🔌  WS client disconnected ({client})\n")),
        ControlFact::Failed { client, reason, .. } => {
            Lines::err(format!("❌  WS client error ({client}): {}\n", plain(reason)))
        }
        ControlFact::Rejected { client, .. } => Lines::err(format!(
            "🚫  Rejected connection from {client}: Connection from untrusted IP [{client}] rejected. Add it to TRUSTED_CLIENT_IPS to allow access.\n"
        )),
        ControlFact::ProviderSwitched { from, to, model, .. } => {
            let name = to.display_name();
            Lines::out(format!(
                "🧠 AI Provider initialised: {name} ({model})\n🔀  Provider switched: {from} → {to} (model: {model})\n"
            ))
        }
        ControlFact::HealthChecked { providers } => checked(providers),
        _ => return None,
    })
}

fn checked(providers: &[(ProviderKey, Result<(), String>)]) -> Lines {
    let mut lines = Lines::default();
    for (key, answer) in providers {
        match answer {
            Ok(()) => lines.out.push_str(&format!("✅ Provider [{key}] health check: PASS\n")),
            Err(why) => {
                lines.out.push_str(&format!("❌ Provider [{key}] health check: FAIL\n"));
                let name = key.display_name();
                lines
                    .err
                    .push_str(&format!("[{name}] Health check failed: {}\n", plain(why)));
            }
        }
    }
    lines
}

/// The last line.
pub(super) const STOPPED: &str = "👋 OpenClaw Gateway stopped\n";

/// The rotation's own line; the banner follows it.
pub(super) const ROTATED: &str = "🔄  Session token rotated — existing connections will need to re-authenticate.\n";

/// What another machine wrote cannot begin a line of its own or command a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::id::ConnId;
    use portcullis_core::machine::Peer;
    use portcullis_core::policy::forwarded::Client;

    fn client(address: &str) -> Client {
        Client::of_peer(Peer::Tcp(address.parse().unwrap()))
    }

    #[test]
    fn the_banner_is_the_originals() {
        let token = Secret::new("aaa.bbb.ccc".into());
        let text = banner(
            "00112233445566778899aabbccddeeff",
            UnixMillis(1_795_273_580_000),
            &token,
        );
        let lines: Vec<&str> = text.split('\n').collect();
        let rule = "\u{2501}".repeat(58);
        assert_eq!(
            lines,
            [
                "",
                &rule,
                "\u{1f511}  OPENCLAW GATEWAY \u{2014} SESSION TOKEN",
                &rule,
                "   Token ID : 00112233445566778899aabbccddeeff",
                "   Expires  : 2026-11-21T15:06:20.000Z",
                "   Token    : aaa.bbb.ccc",
                &rule,
                "",
                "",
            ]
        );
    }

    #[test]
    fn lines_are_the_originals_and_on_its_streams() {
        let conn = ConnId::FIRST;
        for (fact, lines) in [
            (
                ControlFact::Connected { conn, client: client("127.0.0.1:9") },
                Lines::out("🔗  WS client connected from 127.0.0.1\n".into()),
            ),
            (
                ControlFact::Disconnected { conn, client: client("[::1]:9") },
                Lines::out("🔌  WS client disconnected (::1)\n".into()),
            ),
            (
                ControlFact::Rejected { client: client("[::ffff:192.0.2.1]:9"), untold: 3 },
                Lines::err("🚫  Rejected connection from 192.0.2.1: Connection from untrusted IP [192.0.2.1] rejected. Add it to TRUSTED_CLIENT_IPS to allow access.\n".into()),
            ),
            (
                ControlFact::Failed { conn, client: client("127.0.0.1:9"), reason: "bad\nframe".into() },
                Lines::err("❌  WS client error (127.0.0.1): bad?frame\n".into()),
            ),
            (
                ControlFact::HealthChecked {
                    providers: vec![(ProviderKey::Kimi, Ok(())), (ProviderKey::Gemini, Err("429 busy".into()))],
                },
                Lines {
                    out: "✅ Provider [kimi] health check: PASS\n❌ Provider [gemini] health check: FAIL\n".into(),
                    err: "[Gemini] Health check failed: 429 busy\n".into(),
                },
            ),
            (
                ControlFact::ProviderSwitched {
                    client: client("127.0.0.1:9"),
                    token_id: "id".into(),
                    from: ProviderKey::Gemini,
                    to: ProviderKey::Kimi,
                    model: "m".into(),
                },
                Lines::out("🧠 AI Provider initialised: Kimi (Moonshot AI) (m)\n🔀  Provider switched: gemini → kimi (model: m)\n".into()),
            ),
        ] {
            assert_eq!(of(&Report::Control(fact)), Some(lines));
        }
    }
}
