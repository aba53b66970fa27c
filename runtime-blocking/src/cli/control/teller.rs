//! Tells what happens on the control plane, as the original does: its own lines for what it has lines for, the log for
//! the rest. That it listens is told last, once the token is where its reader will look for it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use portcullis_core::report::{ControlFact, Issued, Report};
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixMillis;

use super::lines::{self, Lines};
use crate::reporting;

/// Where lines go and what may be in them.
pub(super) struct Teller {
    pub(super) url: String,
    /// The token is shown; otherwise its file is named.
    pub(super) shows_token: bool,
    /// One line of JSON and no others.
    pub(super) json: bool,
    pub(super) streams: Mutex<Streams>,
}

/// Standard output and error.
pub(super) struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// It was told that we listen.
    announced: bool,
}

impl Streams {
    pub(super) fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            err,
            announced: false,
        }
    }

    /// A stream that nobody reads any more is no reason to end.
    fn write(&mut self, lines: &Lines) {
        let _ = self.out.write_all(lines.out.as_bytes());
        let _ = self.out.flush();
        let _ = self.err.write_all(lines.err.as_bytes());
        let _ = self.err.flush();
    }
}

impl Teller {
    /// Tells one report.
    pub(super) fn tell(&self, report: &Report) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match report {
            Report::Control(ControlFact::TokenIssued {
                id,
                expires_at,
                why,
                token,
                ..
            }) => {
                reporting::log(report);
                if *why == Issued::Rotated && !self.json {
                    streams.write(&Lines::out(lines::ROTATED.into()));
                }
                if let Some(token) = token.as_ref().filter(|_| self.shows_token) {
                    let fresh = Fresh {
                        id,
                        expires_at: *expires_at,
                        token: Some(token),
                        file: None,
                    };
                    self.show(&mut streams, &fresh);
                }
            }
            Report::Control(ControlFact::TokenStored { path, id, expires_at }) => {
                reporting::log(report);
                if !self.shows_token {
                    let fresh = Fresh {
                        id,
                        expires_at: *expires_at,
                        token: None,
                        file: Some(path),
                    };
                    self.show(&mut streams, &fresh);
                }
            }
            _ => match lines::of(report).filter(|_| !self.json) {
                Some(lines) => streams.write(&lines),
                None => reporting::log(report),
            },
        }
    }

    /// Everything has ended in order.
    pub(super) fn stopped(&self) {
        if !self.json {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.write(&Lines::out(lines::STOPPED.into()));
        }
    }

    /// Tells of a token, or where it is; the first time also that we listen.
    fn show(&self, streams: &mut Streams, fresh: &Fresh<'_>) {
        let first = !std::mem::replace(&mut streams.announced, true);
        if self.json {
            if first {
                streams.write(&Lines::out(format!("{}\n", self.object(fresh))));
            }
            return;
        }
        let mut text = match (fresh.token, fresh.file) {
            (Some(token), _) => lines::banner(fresh.id, fresh.expires_at, token),
            (None, Some(file)) => lines::token_file(file, fresh.id, fresh.expires_at),
            (None, None) => String::new(),
        };
        if first {
            text.push_str(&lines::listening(&self.url));
        }
        streams.write(&Lines::out(text));
    }

    fn object(&self, fresh: &Fresh<'_>) -> serde_json::Value {
        let mut object = serde_json::json!({
            "url": self.url,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "tokenId": fresh.id,
            "expiresAt": fresh.expires_at.to_utc().to_string(),
        });
        if let Some(fields) = object.as_object_mut() {
            if let Some(file) = fresh.file {
                fields.insert("tokenFile".into(), file.into());
            }
            if let Some(token) = fresh.token {
                fields.insert("token".into(), token.reveal().into());
            }
        }
        object
    }
}

/// A token that has just become good.
struct Fresh<'a> {
    id: &'a str,
    expires_at: UnixMillis,
    /// Where it may be shown.
    token: Option<&'a Secret>,
    /// Where it is.
    file: Option<&'a str>,
}
