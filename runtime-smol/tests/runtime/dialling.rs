//! Dialled links: a connection like an accepted one, over TCP, a Unix socket, and TLS to a peer that proves its name.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::effect::{Completion, Dial, DialTo, Effect, FaultKind, TlsClient};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{CloseHow, GoneReason, Input, Output, Peer};
use portcullis_smol::Host;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::effects::outcome;
use crate::script::{PATIENCE, host, host_with, run_on};

fn dial(to: DialTo, tls: Option<&str>, timeout: Duration) -> Effect {
    let tls = tls.map(|name| TlsClient {
        server_name: name.into(),
    });
    Effect::Dial(Dial { to, tls, timeout })
}

/// What a machine heard on a link.
#[derive(Default)]
struct Heard {
    peer: Option<Peer>,
    bytes: Vec<u8>,
    sent: usize,
    read_closed: bool,
    gone: Option<GoneReason>,
}

/// Dials, says `words`, hears `expected` bytes, says goodbye and waits for the end. The peer ends after us, so that its
/// end is the connection's.
fn converse(host: Host, effect: Effect, words: Bytes, expected: usize) -> Heard {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let (told, mut effect) = (heard.clone(), Some(effect));
    run_on(host, move |_, input, out| {
        let mut told = told.borrow_mut();
        if let Some(what) = effect.take() {
            out.push(Output::Start {
                effect: EffectId::FIRST,
                what: Box::new(what),
            });
        }
        match input {
            Input::Completed { outcome, .. } => {
                let Ok(Completion::Dialled { conn, peer }) = outcome else {
                    panic!("{outcome:?}")
                };
                told.peer = Some(peer);
                out.push(Output::Transmit {
                    conn,
                    bytes: words.clone(),
                });
            }
            Input::Received { conn, bytes } => {
                told.bytes.extend_from_slice(bytes);
                if told.bytes.len() == expected {
                    out.push(Output::Close {
                        conn,
                        how: CloseHow::Flush,
                    });
                }
            }
            Input::Sent { bytes, .. } => told.sent += bytes,
            Input::ReadClosed { .. } => told.read_closed = true,
            Input::Gone { why, .. } => {
                assert_eq!(told.gone.replace(why), None, "its end was told twice");
                out.push(Output::Drained { clean: true });
            }
            _ => {}
        }
    });
    heard.take()
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = stream.read(&mut buffer)
        && count > 0
    {
        stream.write_all(&buffer[..count]).unwrap();
    }
}

#[test]
fn a_tcp_link_is_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || echo(listener.accept().unwrap().0));
    let heard = converse(
        host(),
        dial(DialTo::Tcp(address), None, PATIENCE),
        Bytes::from_static(b"hello"),
        5,
    );
    peer.join().unwrap();
    assert_eq!(heard.peer, Some(Peer::Tcp(address)));
    assert_eq!(heard.bytes, b"hello");
    assert_eq!(
        (heard.sent, heard.read_closed, heard.gone),
        (5, false, Some(GoneReason::Closed))
    );
}

#[test]
fn a_unix_link_is_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = std::thread::spawn(move || echo(listener.accept().unwrap().0));
    let to = DialTo::Unix(path.to_str().unwrap().into());
    let heard = converse(
        host(),
        dial(to, None, PATIENCE),
        Bytes::from(vec![3; 3_000_000]),
        3_000_000,
    );
    peer.join().unwrap();
    assert_eq!(heard.peer, Some(Peer::Local));
    assert_eq!((heard.sent, heard.gone), (3_000_000, Some(GoneReason::Closed)));
}

#[test]
fn a_link_that_cannot_be_made_says_why() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = outcome(dial(DialTo::Tcp(closed), None, PATIENCE)).unwrap_err();
    assert_eq!(refused.kind, FaultKind::Refused, "{refused}");
    let missing = outcome(dial(DialTo::Unix("/no/such/socket".into()), None, PATIENCE)).unwrap_err();
    assert_eq!(missing.kind, FaultKind::NotFound, "{missing}");
}

#[test]
fn the_time_limit_includes_the_handshake() {
    // It accepts in its backlog and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = DialTo::Tcp(listener.local_addr().unwrap());
    let late = outcome(dial(to, Some("peer.test"), Duration::from_millis(50))).unwrap_err();
    assert_eq!(late.kind, FaultKind::TimedOut, "{late}");
}

#[test]
fn dialling_can_be_cancelled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut effect = Some(dial(
        DialTo::Tcp(listener.local_addr().unwrap()),
        Some("peer.test"),
        PATIENCE,
    ));
    run_on(host(), move |_, input, out| {
        if let Some(what) = effect.take() {
            out.push(Output::Start {
                effect: EffectId::FIRST,
                what: Box::new(what),
            });
            out.push(Output::Cancel {
                effect: EffectId::FIRST,
            });
        }
        if let Input::Completed { outcome, .. } = input {
            assert_eq!(outcome.unwrap_err().kind, FaultKind::Cancelled);
            out.push(Output::Drained { clean: true });
        }
    });
}

/// A TLS server on loopback that can prove to be `peer.test`, and a host that trusts it.
struct TlsPeer {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    anchors: PathBuf,
    _folder: tempfile::TempDir,
}

impl TlsPeer {
    fn new() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([String::from("peer.test")]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let anchors = folder.path().join("anchors.pem");
        std::fs::write(&anchors, cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            listener,
            config: Arc::new(config),
            anchors,
            _folder: folder,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn accept(&self) -> StreamOwned<ServerConnection, TcpStream> {
        let stream = self.listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ServerConnection::new(self.config.clone()).unwrap(), stream)
    }

    fn host(&self) -> Host {
        host_with(ClientTls::new(Some(self.anchors.clone())))
    }

    fn dial(&self) -> Effect {
        dial(DialTo::Tcp(self.address()), Some("peer.test"), PATIENCE)
    }
}

#[test]
fn a_tls_link_carries_much_both_ways_and_closes_in_order() {
    let peer = TlsPeer::new();
    let (host, effect) = (peer.host(), peer.dial());
    let serving = std::thread::spawn(move || {
        let mut stream = peer.accept();
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        // Speaks first, right behind the handshake; then listens to everything before it answers.
        stream.write_all(b"hi").unwrap();
        while all.len() < 4_000_000 {
            let count = stream.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(&all).unwrap();
        assert_eq!(stream.read(&mut buffer).unwrap(), 0, "the machine closes in order");
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let words: Vec<u8> = (0..4_000_000_u32).map(|number| (number / 7) as u8).collect();
    let heard = converse(host, effect, Bytes::from(words.clone()), 2 + words.len());
    serving.join().unwrap();
    assert_eq!(heard.bytes[..2], *b"hi");
    assert!(heard.bytes[2..] == words);
    assert_eq!(
        (heard.sent, heard.read_closed, heard.gone),
        (words.len(), false, Some(GoneReason::Closed))
    );
}

#[test]
fn a_tls_link_that_ends_without_a_goodbye_has_failed() {
    let peer = TlsPeer::new();
    let (host, effect) = (peer.host(), peer.dial());
    let serving = std::thread::spawn(move || {
        let mut stream = peer.accept();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"hel").unwrap();
    });
    let heard = converse(host, effect, Bytes::from_static(b"hello"), 5);
    serving.join().unwrap();
    assert_eq!(heard.bytes, b"hel");
    assert_eq!((heard.read_closed, heard.gone), (false, Some(GoneReason::Failed)));
}

#[test]
fn a_tls_peer_must_prove_its_name() {
    let peer = TlsPeer::new();
    let to = DialTo::Tcp(peer.address());
    let serving = std::thread::spawn(move || peer.accept().read(&mut [0]).is_err());
    // Nobody vouches for it here.
    let fault = outcome(dial(to, Some("peer.test"), PATIENCE)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
    assert!(serving.join().unwrap());
}
