//! Asks the gateway that runs on this machine: one HTTP request, one answer. It decides nothing about what is answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_core::http::Method;
use portcullis_core::http::client::{RequestParts, ResponseEvent, ResponseReader, write_request};
use portcullis_core::secret::Secret;

use crate::tls::{TlsSession, pinned_session};

/// More than any answer of a gateway to a probe.
const MAX_ANSWER: u64 = 4 << 20;

/// Where a gateway is asked, and with what.
pub(super) struct Target<'a> {
    pub(super) address: SocketAddr,
    /// The certificate of a gateway with TLS: exactly this one is trusted, whatever name it is for.
    pub(super) certificate: Option<PathBuf>,
    pub(super) token: Option<&'a Secret>,
    pub(super) timeout: Duration,
}

/// What was answered.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Target<'_> {
    /// Asks for `path`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) fn get(&self, path: &str) -> Result<Answered, String> {
        let until = Instant::now() + self.timeout;
        let authority = self.address.to_string();
        let bearer = self
            .token
            .map(|token| Secret::new(format!("Bearer {}", token.reveal())));
        let fields: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.reveal())).collect();
        let mut request = BytesMut::new();
        let parts = RequestParts {
            method: Method::Get,
            target: path,
            authority: &authority,
            fields: &fields,
            body_bytes: 0,
        };
        write_request(&parts, &mut request).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect_timeout(&self.address, self.timeout).map_err(|error| error.to_string())?;
        let session = match &self.certificate {
            None => None,
            Some(file) => {
                let session = pinned_session(file, self.address.ip().into());
                Some(session.map_err(|fault| fault.to_string())?)
            }
        };
        Wire { stream, session, until }.exchange(&request)
    }
}

struct Wire {
    stream: TcpStream,
    session: Option<TlsSession>,
    until: Instant,
}

impl Wire {
    fn exchange(mut self, request: &[u8]) -> Result<Answered, String> {
        self.send(request)?;
        let mut reader = ResponseReader::new(false, MAX_ANSWER);
        let (mut status, mut body) = (0, Vec::new());
        loop {
            match reader.poll() {
                ResponseEvent::Head(head) => status = head.status,
                ResponseEvent::Body(piece) => body.extend_from_slice(&piece),
                ResponseEvent::Failed(fault) => return Err(format!("the answer is no HTTP: {fault:?}")),
                ResponseEvent::End => {
                    let body = String::from_utf8(body).map_err(|_| String::from("the answer is not UTF-8"))?;
                    return Ok(Answered { status, body });
                }
                ResponseEvent::NeedInput => match self.receive()? {
                    bytes if bytes.is_empty() => reader.read_closed(),
                    bytes => reader.received(&bytes),
                },
            }
        }
    }

    fn send(&mut self, plain: &[u8]) -> Result<(), String> {
        match &mut self.session {
            None => self.stream.write_all(plain).map_err(|error| error.to_string()),
            Some(session) => {
                session.send(plain);
                self.flush()
            }
        }
    }

    /// Sends what TLS wants to say.
    fn flush(&mut self) -> Result<(), String> {
        let mut wire = Vec::new();
        if let Some(session) = &mut self.session {
            session.take_wire(&mut wire);
        }
        self.stream.write_all(&wire).map_err(|error| error.to_string())
    }

    /// Some bytes of the answer; none at its end.
    fn receive(&mut self) -> Result<Vec<u8>, String> {
        let mut chunk = [0; 16_384];
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("no answer in time".into());
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|error| error.to_string())?;
            let read = self.stream.read(&mut chunk).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => String::from("no answer in time"),
                _ => error.to_string(),
            })?;
            let bytes = chunk.get(..read).unwrap_or_default();
            let Some(session) = &mut self.session else {
                return Ok(bytes.to_vec());
            };
            if read == 0 {
                return Ok(Vec::new());
            }
            let mut plain = Vec::new();
            session.received(bytes, &mut plain).map_err(|fault| fault.to_string())?;
            self.flush()?;
            if !plain.is_empty() {
                return Ok(plain);
            }
        }
    }
}
