//! What can go wrong between the command line and a gateway, in words for a person.

use std::fmt;
use std::io;
use std::time::Duration;

/// A failed connection or request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// No connection came about: the name, the network, TLS, the upgrade.
    Unreachable(String),
    /// The time given was over; what was waited for.
    TimedOut(&'static str),
    /// The other end does not speak the operator protocol.
    NotAGateway(String),
    /// The gateway closed the connection.
    Closed {
        /// The close code; `None` when the connection just ended.
        code: Option<u16>,
        /// The reason it gave.
        reason: String,
    },
    /// The gateway answered with an error.
    Refused {
        /// For example `UNAUTHORIZED`.
        code: String,
        /// In its words.
        message: String,
        /// When another try makes sense.
        retry_after: Option<Duration>,
    },
}

impl ClientError {
    /// The message alone, without the code: what OpenGoat's command line prints.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) => f.write_str(what),
            Self::TimedOut(what) => write!(f, "timed out waiting for {what}"),
            Self::NotAGateway(what) => write!(f, "the other end does not speak the gateway protocol: {what}"),
            Self::Closed { code: None, .. } => f.write_str("the connection ended before the answer came"),
            Self::Closed {
                code: Some(code),
                reason,
            } if reason.is_empty() => {
                write!(f, "the gateway closed the connection (code {code})")
            }
            Self::Closed {
                code: Some(code),
                reason,
            } => write!(f, "the gateway closed the connection: {reason} (code {code})"),
            Self::Refused {
                code,
                message,
                retry_after: None,
            } => write!(f, "{code}: {message}"),
            Self::Refused {
                code,
                message,
                retry_after: Some(delay),
            } => {
                write!(f, "{code}: {message} (retryAfterMs {})", delay.as_millis())
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// What a failed read or write means while `what` is waited for.
pub(super) fn from_websocket(error: tungstenite::Error, what: &'static str) -> ClientError {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Io(error) => from_io(&error, what),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => ClientError::Closed {
            code: None,
            reason: String::new(),
        },
        tungstenite::Error::Http(response) => from_http(&response),
        other => ClientError::NotAGateway(printable(&other.to_string())),
    }
}

pub(super) fn from_io(error: &io::Error, what: &'static str) -> ClientError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ClientError::TimedOut(what),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            ClientError::Closed {
                code: None,
                reason: String::new(),
            }
        }
        // rustls hands its own errors over as invalid data.
        io::ErrorKind::InvalidData => ClientError::Unreachable(format!("TLS: {error}")),
        _ => ClientError::Unreachable(error.to_string()),
    }
}

fn from_http(response: &tungstenite::handshake::client::Response) -> ClientError {
    let status = response.status();
    let mut what = format!("the server answered HTTP {status} instead of opening a WebSocket");
    let told = response
        .body()
        .as_deref()
        .and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
    if let Some(error) = told.as_ref().and_then(|body| body.get("error")) {
        let message = error.get("message").unwrap_or(error);
        if let Some(message) = message.as_str() {
            what.push_str(&format!(": {}", printable(message)));
        }
    }
    if let Some(seconds) = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok())
    {
        what.push_str(&format!(" (retry after {} s)", printable(seconds)));
    }
    if status.as_u16() == 404 {
        what.push_str("; check the path in the URL");
    }
    ClientError::Unreachable(what)
}

/// A text from the network, safe for a terminal: control characters are escaped and it is cut to a line's length.
#[must_use]
pub fn printable(text: &str) -> String {
    let safe = |c: char| {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.to_string()
        }
    };
    text.chars().take(1_000).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n\u{9b}ü"), "a\\u{1b}[2J\\n\\u{9b}ü");
        assert_eq!(printable(&"x".repeat(5_000)).len(), 1_000);
    }

    #[test]
    fn a_refusal_says_code_message_and_when_to_retry() {
        let refused = |retry_after| ClientError::Refused {
            code: "RATE_LIMITED".into(),
            message: "slow down".into(),
            retry_after,
        };
        assert_eq!(refused(None).to_string(), "RATE_LIMITED: slow down");
        assert_eq!(
            refused(Some(Duration::from_millis(1_500))).to_string(),
            "RATE_LIMITED: slow down (retryAfterMs 1500)"
        );
        assert_eq!(refused(None).message(), "slow down");
    }
}
