//! TLS on a listener: a certificate and its key, read from files and read again when somebody asks. Connections keep what
//! they began with. Nothing here makes a certificate, and a key that others can read is refused.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::effect::Fault;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

use super::{TlsSession, refused};

/// No chain and no key is larger.
const MAX_PEM_BYTES: u64 = 1_048_576;

/// Where the certificate of a listener is, and what is spoken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its root, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// TLS 1.2 is spoken besides 1.3.
    pub allow_tls12: bool,
}

/// What sessions of a listener begin with. Clones share it.
#[derive(Clone)]
pub struct ServerTls(Arc<Mutex<Arc<ServerConfig>>>);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub fn load(files: &CertificateFiles) -> Result<Self, String> {
        Ok(Self(Arc::new(Mutex::new(build(files)?))))
    }

    /// Reads the files again: for the sessions that begin from now on.
    ///
    /// # Errors
    /// Which of them cannot be used, and why; then everything stays as it was.
    pub fn reload(&self, files: &CertificateFiles) -> Result<(), String> {
        let config = build(files)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// A session for a connection that was accepted.
    ///
    /// # Errors
    /// When the library refuses its own settings.
    pub fn session(&self) -> Result<TlsSession, Fault> {
        let config = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let connection = ServerConnection::new(config).map_err(|error| refused(&error))?;
        Ok(TlsSession::new(connection.into()))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

fn build(files: &CertificateFiles) -> Result<Arc<ServerConfig>, String> {
    let about = |path: &Path, what: &dyn fmt::Display| format!("{}: {what}", path.display());
    let (pem, _) = read(&files.cert).map_err(|error| about(&files.cert, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| about(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(about(&files.cert, &"there is no certificate in the file (PEM)"));
    }
    let (pem, meta) = read(&files.key).map_err(|error| about(&files.key, &error))?;
    if others_can_read(&meta) {
        let what = format!("other users can read the key: run chmod 600 {}", files.key.display());
        return Err(about(&files.key, &what));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        about(
            &files.key,
            &"there is no private key in the file (PEM, without a password)",
        )
    })?;
    let versions: &[_] = if files.allow_tls12 {
        &[&TLS13, &TLS12]
    } else {
        &[&TLS13]
    };
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            about(
                &files.cert,
                &format!("does not go with {}: {error}", files.key.display()),
            )
        })?;
    Ok(Arc::new(config))
}

/// The group may read a key that belongs to root: that is how systems hand one key to several services.
fn others_can_read(meta: &std::fs::Metadata) -> bool {
    let group_is_fine = meta.uid() == 0;
    meta.mode() & if group_is_fine { 0o037 } else { 0o077 } != 0
}

fn read(path: &Path) -> io::Result<(Vec<u8>, std::fs::Metadata)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::other(format!("is larger than {MAX_PEM_BYTES} bytes")));
    }
    Ok((bytes, meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientTls;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn certificate(folder: &Path, name: &str) -> CertificateFiles {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([String::from("peer.test")]).unwrap();
        let files = CertificateFiles {
            cert: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
            allow_tls12: false,
        };
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// Lets two sessions talk until both are silent; what the server heard.
    fn settle(client: &mut TlsSession, server: &mut TlsSession) -> Result<Vec<u8>, Fault> {
        let (mut heard, mut ignored) = (Vec::new(), Vec::new());
        loop {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            client.take_wire(&mut there);
            server.received(&there, &mut heard)?;
            server.take_wire(&mut back);
            client.received(&back, &mut ignored)?;
            if there.is_empty() && back.is_empty() {
                return Ok(heard);
            }
        }
    }

    fn talks(tls: &ServerTls, trusted: &CertificateFiles) -> bool {
        let mut client = ClientTls::new(Some(trusted.cert.clone())).session("peer.test").unwrap();
        client.send(b"hello");
        let heard = settle(&mut client, &mut tls.session().unwrap());
        heard.is_ok_and(|heard| heard == b"hello")
    }

    #[test]
    fn a_listener_speaks_with_its_certificate_and_after_a_reload_with_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (certificate(folder.path(), "a"), certificate(folder.path(), "b"));
        let tls = ServerTls::load(&first).unwrap();
        assert!(talks(&tls, &first) && !talks(&tls, &second));
        let begun = tls.session().unwrap();
        tls.reload(&second).unwrap();
        assert!(talks(&tls, &second) && !talks(&tls, &first));
        // The session that began before keeps its certificate.
        let mut client = ClientTls::new(Some(first.cert.clone())).session("peer.test").unwrap();
        let mut begun = begun;
        assert!(settle(&mut client, &mut begun).is_ok() && !begun.is_handshaking());
        fs::write(&second.cert, "nothing").unwrap();
        assert!(tls.reload(&second).is_err());
        assert!(!talks(&tls, &first));
        // It still speaks with the one that it read.
        assert!(tls.session().is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (certificate(folder.path(), "a"), certificate(folder.path(), "b"));
        let told = |files: &CertificateFiles| ServerTls::load(files).unwrap_err();
        let mixed = CertificateFiles {
            key: other.key.clone(),
            ..one.clone()
        };
        assert!(told(&mixed).contains("does not go with"));
        let swapped = CertificateFiles {
            cert: one.key.clone(),
            ..one.clone()
        };
        assert!(told(&swapped).contains("no certificate"));
        let none = CertificateFiles {
            key: one.cert.clone(),
            ..one.clone()
        };
        fs::set_permissions(&one.cert, Permissions::from_mode(0o600)).unwrap();
        assert!(told(&none).contains("no private key"));
        fs::set_permissions(&one.key, Permissions::from_mode(0o604)).unwrap();
        assert!(told(&one).contains("chmod 600"));
        let missing = CertificateFiles {
            cert: folder.path().join("missing"),
            ..other
        };
        assert!(told(&missing).contains("missing"));
    }
}
