//! TLS on the listener, in both runtimes: a real client over a real socket. Proves `spec/cli.md` CLI-27 and the part of
//! `spec/settings.md` section 8 that is about certificates.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_blocking::clock::Clock;
use portcullis_blocking::remote::Remote;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::{CertificateFiles, ClientTls, ServerTls};
use portcullis_core::gateway::Gateway;
use portcullis_core::machine::DrainHow;
use portcullis_core::random::Seed;
use portcullis_core::settings::Settings;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(20);

fn certificate(folder: &tempfile::TempDir, name: &str) -> CertificateFiles {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let files = CertificateFiles {
        cert: folder.path().join(format!("{name}.pem")),
        key: folder.path().join(format!("{name}.key")),
        allow_tls12: false,
    };
    fs::write(&files.cert, cert.pem()).unwrap();
    fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
    files
}

/// A gateway behind TLS, on a thread of its own.
struct Served {
    address: SocketAddr,
    remote: Remote,
    thread: JoinHandle<io::Result<()>>,
}

impl Served {
    fn start(is_smol: bool, tls: &ServerTls, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (remote, tls) = (Remote::default(), tls.clone());
        let asked = remote.clone();
        let thread = std::thread::spawn(move || {
            let clock = Clock::start();
            let machine = Gateway::new(Arc::new(settings), Seed([7; 32]), clock.now());
            let (store, client) = (Store::memory(), ClientTls::new(None));
            if is_smol {
                let mut host = portcullis_smol::Host::new(store, client, clock);
                (host.remote, host.listener_tls) = (asked, Some(tls));
                portcullis_smol::serve(machine, vec![listener], host)
            } else {
                let mut host = portcullis_blocking::server::Host::new(store, client, clock);
                (host.remote, host.listener_tls) = (asked, Some(tls));
                portcullis_blocking::server::serve(machine, vec![listener], host)
            }
        });
        Self {
            address,
            remote,
            thread,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client that trusts just this certificate.
    fn secure(&self, trusted: &CertificateFiles, only_tls12: bool) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&trusted.cert).unwrap())
            .unwrap();
        let versions = if only_tls12 { [&TLS12] } else { [&TLS13] };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), self.connect())
    }

    fn end(self) {
        self.remote.drain(DrainHow::Quick);
        self.thread.join().unwrap().unwrap();
    }
}

/// One request for the health; the connection stays.
fn health(stream: &mut (impl Read + Write)) -> io::Result<String> {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1_024];
    while !answer.ends_with(b"}") {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend(&chunk[..count]);
    }
    Ok(String::from_utf8(answer).unwrap())
}

fn on_both(test: impl Fn(bool)) {
    for is_smol in [true, false] {
        test(is_smol);
    }
}

#[test]
fn a_client_of_tls_1_3_is_served_and_both_sides_end_in_order() {
    on_both(|is_smol| {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(&folder, "a");
        let served = Served::start(is_smol, &ServerTls::load(&files).unwrap(), Settings::default());
        let mut stream = served.secure(&files, false);
        for _ in 0..3 {
            assert!(health(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
        }
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut rest = Vec::new();
        // An end without the goodbye of TLS would be an error here.
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.starts_with(b"HTTP/1.1 200 "));
        drop(stream);
        served.end();
    });
}

#[test]
fn older_versions_and_no_tls_at_all_are_refused() {
    on_both(|is_smol| {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(&folder, "a");
        let served = Served::start(is_smol, &ServerTls::load(&files).unwrap(), Settings::default());
        let refused = health(&mut served.secure(&files, true)).unwrap_err();
        assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
        let mut plain = served.connect();
        assert!(!health(&mut plain).is_ok_and(|answer| answer.contains("200")));
        drop(plain);
        // With leave, 1.2 is spoken.
        let both = CertificateFiles {
            allow_tls12: true,
            ..files.clone()
        };
        served.end();
        let served = Served::start(is_smol, &ServerTls::load(&both).unwrap(), Settings::default());
        for only_tls12 in [true, false] {
            assert!(health(&mut served.secure(&files, only_tls12)).is_ok());
        }
        served.end();
    });
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    on_both(|is_smol| {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (certificate(&folder, "a"), certificate(&folder, "b"));
        let tls = ServerTls::load(&old).unwrap();
        let served = Served::start(is_smol, &tls, Settings::default());
        let mut before = served.secure(&old, false);
        health(&mut before).unwrap();
        tls.reload(&new).unwrap();
        assert!(health(&mut served.secure(&old, false)).is_err());
        health(&mut served.secure(&new, false)).unwrap();
        health(&mut before).unwrap();
        drop(before);
        served.end();
    });
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    on_both(|is_smol| {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(&folder, "a");
        let mut settings = Settings::default();
        settings.gateway.http.header_timeout = Duration::from_millis(100);
        let served = Served::start(is_smol, &ServerTls::load(&files).unwrap(), settings);
        let mut silent = served.connect();
        let mut rest = Vec::new();
        // It ends, whatever was said: within the patience of the test and long before that.
        let ended = silent.read_to_end(&mut rest);
        assert!(!ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        drop(silent);
        served.end();
    });
}
