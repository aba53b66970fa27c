//! TLS for dialled links and for listeners, without input or output: bytes from the wire go in, plain bytes come out, and
//! the other way round. Whoever owns the socket moves the bytes. Nothing here opens a connection or trusts a peer without
//! proof.

mod pinned;
mod server;

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use portcullis_core::effect::{Fault, FaultKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore};

use crate::effects::fault::fault;
pub use pinned::pinned_session;
pub use server::{CertificateFiles, ServerTls};

/// What links are dialled with: the trust anchors of the Mozilla programme, and those of a PEM file for private ones.
/// Built when the first link needs it, since most gateways never dial.
#[derive(Clone)]
pub struct ClientTls {
    extra_anchors: Option<PathBuf>,
    config: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

impl ClientTls {
    /// Trusts the public anchors and, besides, the certificates in the PEM file `extra_anchors`.
    #[must_use]
    pub fn new(extra_anchors: Option<PathBuf>) -> Self {
        Self {
            extra_anchors,
            config: Arc::default(),
        }
    }

    /// A session with the peer that can prove to be `server_name` (a DNS name or an address).
    ///
    /// # Errors
    /// A name that no certificate can be for, or a file of anchors that cannot be used.
    pub fn session(&self, server_name: &str) -> Result<TlsSession, Fault> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            fault(
                FaultKind::Tls,
                format!("{server_name:?} is neither a DNS name nor an address"),
            )
        })?;
        let config = self.config().map_err(|why| fault(FaultKind::Tls, why))?;
        let connection = ClientConnection::new(config, name).map_err(|error| refused(&error))?;
        Ok(TlsSession::new(connection.into()))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        self.config.get_or_init(|| build(self.extra_anchors.as_ref())).clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("extra_anchors", &self.extra_anchors)
            .finish_non_exhaustive()
    }
}

fn build(extra_anchors: Option<&PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = extra_anchors {
        let about = |error: &dyn fmt::Display| format!("trust anchors in {}: {error}", path.display());
        let mut count = 0_usize;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| about(&error))? {
            let certificate = certificate.map_err(|error| about(&error))?;
            roots.add(certificate).map_err(|error| about(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(about(&"no certificate in the file"));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// One TLS session, on either side.
pub struct TlsSession {
    // Large, and there are thousands of links: it has a place of its own.
    connection: Box<Connection>,
    peer_closed: bool,
}

impl TlsSession {
    fn new(mut connection: Connection) -> Self {
        // The bytes that wait for the wire are bounded by whoever calls `send`.
        connection.set_buffer_limit(None);
        Self {
            connection: Box::new(connection),
            peer_closed: false,
        }
    }

    /// Takes what came from the wire and adds what it says to `plain`. Afterwards there may be something to send: see
    /// [`Self::take_wire`], also after an error (an alert for the peer).
    ///
    /// # Errors
    /// The peer broke the protocol or could not prove who it is; the session is over.
    pub fn received(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        while !wire.is_empty() {
            let taken = self
                .connection
                .read_tls(&mut wire)
                .map_err(|error| fault(FaultKind::Tls, error.to_string()))?;
            let state = self.connection.process_new_packets().map_err(|error| refused(&error))?;
            self.peer_closed |= state.peer_has_closed();
            self.drain(state.plaintext_bytes_to_read(), plain)?;
            if taken == 0 {
                // After the peer's close_notify nothing more has a meaning.
                break;
            }
        }
        Ok(())
    }

    fn drain(&mut self, count: usize, plain: &mut Vec<u8>) -> Result<(), Fault> {
        let start = plain.len();
        plain.resize(start.saturating_add(count), 0);
        let room = plain.get_mut(start..).unwrap_or_default();
        self.connection
            .reader()
            .read_exact(room)
            .map_err(|error| fault(FaultKind::Tls, error.to_string()))
    }

    /// Queues plain bytes for the peer; before the handshake is done they wait for it.
    pub fn send(&mut self, plain: &[u8]) {
        // Without a buffer limit the writer takes everything and cannot fail.
        let _ = self.connection.writer().write_all(plain);
    }

    /// Queues close_notify: nothing more will be sent.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// Adds to `out` all that must go to the wire now.
    pub fn take_wire(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            if !matches!(self.connection.write_tls(out), Ok(count) if count > 0) {
                return;
            }
        }
    }

    /// Whether the handshake is still under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said in order (close_notify) that it will send nothing more. An end of the stream without it
    /// is a truncation: the connection has failed.
    #[must_use]
    pub const fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("is_handshaking", &self.is_handshaking())
            .field("peer_closed", &self.peer_closed)
            .finish_non_exhaustive()
    }
}

fn refused(error: &rustls::Error) -> Fault {
    match error {
        // What our own verifier says needs no "unexpected error" before it.
        rustls::Error::General(text) => fault(FaultKind::Tls, text.clone()),
        _ => fault(FaultKind::Tls, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
