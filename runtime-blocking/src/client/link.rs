//! The byte stream to a gateway: TCP, or TLS over TCP, with a deadline that holds however slowly the peer sends.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::error::{ClientError, from_io};
use super::url::GatewayUrl;

/// A connected stream.
pub(super) enum Link {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Link {
    /// Connects before the deadline; TLS begins with the first write.
    pub(super) fn open(url: &GatewayUrl, tls: Option<Arc<ClientConfig>>, until: Instant) -> Result<Self, ClientError> {
        let stream = Timed {
            stream: dial(url, until)?,
            until: Some(until),
        };
        if !url.secure {
            return Ok(Self::Plain(stream));
        }
        let config = tls.map_or_else(|| trust(None).map_err(ClientError::Unreachable), Ok)?;
        let name = ServerName::try_from(url.host.clone())
            .map_err(|_| ClientError::Unreachable(format!("{} is no name that a certificate can have", url.host)))?;
        let session =
            ClientConnection::new(config, name).map_err(|error| ClientError::Unreachable(format!("TLS: {error}")))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// From now on reads and writes fail with `TimedOut` after `until`; `None`: they wait.
    pub(super) fn set_deadline(&mut self, until: Option<Instant>) {
        match self {
            Self::Plain(timed) => timed.until = until,
            Self::Tls(tls) => tls.sock.until = until,
        }
    }
}

fn dial(url: &GatewayUrl, until: Instant) -> Result<TcpStream, ClientError> {
    let unreachable =
        |error: io::Error| ClientError::Unreachable(format!("cannot reach {}:{}: {error}", url.host, url.port));
    let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(unreachable)?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::TimedOut("the connection"));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                // Requests are small and an answer is awaited: batching them only delays it.
                stream.set_nodelay(true).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    match failed.kind() {
        io::ErrorKind::TimedOut => Err(from_io(&failed, "the connection")),
        _ => Err(unreachable(failed)),
    }
}

/// What a TLS client believes: the public web's anchors and those in the PEM file `ca`, if any.
///
/// # Errors
/// Why the file cannot be used.
pub fn trust(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca {
        let wrong = |what: &dyn std::fmt::Display| format!("{} cannot be used as trust anchor: {what}", path.display());
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
        let before = roots.len();
        for certificate in certificates {
            roots
                .add(certificate.map_err(|error| wrong(&error))?)
                .map_err(|error| wrong(&error))?;
        }
        if roots.len() == before {
            return Err(wrong(&"it has no PEM certificate"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A socket whose reads and writes end at a point in time, not after a pause: a peer that sends a byte now and then does
/// not keep it alive.
pub(super) struct Timed {
    stream: TcpStream,
    until: Option<Instant>,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

/// A socket's time-out shows as `WouldBlock`, which libraries take for "try again".
fn over(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(over)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(over)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
