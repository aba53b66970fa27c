use std::net::Ipv4Addr;
use std::path::Path;

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection};

fn pair(trusted: bool, name: &str) -> (TlsSession, ServerConnection) {
    pair_with(|anchors| {
        ClientTls::new(trusted.then(|| anchors.to_owned()))
            .session(name)
            .unwrap()
    })
}

/// A server, and the client that is made for the file of its certificate.
fn pair_with(client: impl FnOnce(&Path) -> TlsSession) -> (TlsSession, ServerConnection) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([String::from("peer.test")]).unwrap();
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
    (client(&anchors), ServerConnection::new(Arc::new(config)).unwrap())
}

/// Moves bytes both ways until neither has any; what the server heard is the answer.
fn settle(client: &mut TlsSession, server: &mut ServerConnection, plain: &mut Vec<u8>) -> Result<Vec<u8>, Fault> {
    let mut heard = Vec::new();
    loop {
        let mut wire = Vec::new();
        client.take_wire(&mut wire);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            let Ok(state) = server.process_new_packets() else {
                return Ok(heard);
            };
            let start = heard.len();
            heard.resize(start + state.plaintext_bytes_to_read(), 0);
            server.reader().read_exact(&mut heard[start..]).unwrap();
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        if wire.is_empty() && back.is_empty() {
            return Ok(heard);
        }
        // One byte at a time: where the wire is cut must not matter.
        for byte in back {
            client.received(&[byte], plain)?;
        }
    }
}

#[test]
fn bytes_go_both_ways_and_both_sides_close_in_order() {
    let (mut client, mut server) = pair(true, "peer.test");
    let mut plain = Vec::new();
    assert!(client.is_handshaking());
    client.send(b"early, it waits for the handshake; ");
    client.send(&[b'x'; 100_000]);
    let heard = settle(&mut client, &mut server, &mut plain).unwrap();
    assert!(!client.is_handshaking());
    assert_eq!(heard.len(), 35 + 100_000);
    server.writer().write_all(b"answer").unwrap();
    settle(&mut client, &mut server, &mut plain).unwrap();
    assert_eq!(plain, b"answer");
    assert!(!client.peer_has_closed());
    server.send_close_notify();
    settle(&mut client, &mut server, &mut plain).unwrap();
    assert!(client.peer_has_closed());
    client.close();
    let mut wire = Vec::new();
    client.take_wire(&mut wire);
    assert!(!wire.is_empty(), "close_notify goes to the wire");
}

#[test]
fn a_peer_without_proof_is_refused_with_an_alert() {
    for (trusted, name) in [(false, "peer.test"), (true, "other.test")] {
        let (mut client, mut server) = pair(trusted, name);
        let fault = settle(&mut client, &mut server, &mut Vec::new()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Tls, "{fault}");
        let mut wire = Vec::new();
        client.take_wire(&mut wire);
        assert!(!wire.is_empty(), "the alert goes to the wire");
    }
}

#[test]
fn unusable_names_and_anchor_files_are_told() {
    assert_eq!(
        ClientTls::new(None).session("not a name").unwrap_err().kind,
        FaultKind::Tls
    );
    let fault = ClientTls::new(Some("/nonexistent/anchors.pem".into()))
        .session("peer.test")
        .unwrap_err();
    assert!(fault.detail.contains("/nonexistent/anchors.pem"), "{fault}");
}

#[test]
fn a_pinned_certificate_is_trusted_whatever_its_name_and_no_other_is() {
    let here = || Ipv4Addr::LOCALHOST.into();
    let (mut client, mut server) = pair_with(|file| pinned_session(file, here()).unwrap());
    client.send(b"hello");
    assert_eq!(settle(&mut client, &mut server, &mut Vec::new()).unwrap(), b"hello");
    let (mut client, mut server) = pair_with(|file| {
        let another = generate_simple_self_signed([String::from("peer.test")]).unwrap();
        std::fs::write(file, another.cert.pem()).unwrap();
        pinned_session(file, here()).unwrap()
    });
    let fault = settle(&mut client, &mut server, &mut Vec::new()).unwrap_err();
    assert!(fault.detail.contains("another certificate"), "{fault}");
    assert!(pinned_session(Path::new("/nonexistent/cert.pem"), here()).is_err());
}
