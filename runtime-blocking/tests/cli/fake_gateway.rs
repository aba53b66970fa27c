//! The other end for the client's tests: a WebSocket server of tungstenite's that says what a test tells it to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

pub(crate) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One accepted client.
pub(crate) struct Peer {
    websocket: WebSocket<Box<dyn Stream>>,
    /// Path and query that the client asked for.
    pub(crate) path: String,
}

impl Peer {
    fn accept(stream: Box<dyn Stream>) -> Self {
        let mut path = String::new();
        let look = |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        };
        let websocket = tungstenite::accept_hdr(stream, look)
            .map_err(|error| error.to_string())
            .unwrap();
        Self { websocket, path }
    }

    pub(crate) fn send(&mut self, frame: Value) {
        self.text(&frame.to_string());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.websocket.send(Message::text(text)).unwrap();
    }

    pub(crate) fn binary(&mut self, frame: Value) {
        self.websocket
            .send(Message::binary(frame.to_string().into_bytes()))
            .unwrap();
    }

    pub(crate) fn ping(&mut self) {
        self.websocket.send(Message::Ping("?".into())).unwrap();
    }

    /// The next request of the client.
    pub(crate) fn request(&mut self) -> Value {
        loop {
            match self.websocket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn answer(&mut self, request: &Value, payload: Value) {
        self.send(json!({"type": "res", "id": request["id"], "ok": true, "payload": payload}));
    }

    pub(crate) fn refuse(&mut self, request: &Value, error: Value) {
        self.send(json!({"type": "res", "id": request["id"], "ok": false, "error": error}));
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.websocket.close(Some(frame)).unwrap();
        self.end();
    }

    pub(crate) fn challenge(&mut self) {
        self.send(json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": "the-nonce", "ts": 1}}));
    }

    /// Challenge and hello; the `connect` request that came.
    pub(crate) fn welcome(&mut self) -> Value {
        self.challenge();
        let connect = self.request();
        self.answer(
            &connect,
            json!({"type": "hello-ok", "protocol": 1, "policy": {"tickIntervalMs": 30_000}}),
        );
        connect
    }

    /// Reads until the client is gone.
    pub(crate) fn end(&mut self) {
        while self.websocket.read().is_ok() {}
    }
}

/// A listener that serves one client.
pub(crate) struct FakeGateway<T> {
    port: u16,
    served: JoinHandle<T>,
}

impl<T: Send + 'static> FakeGateway<T> {
    /// Serves the first client's bytes as they are.
    pub(crate) fn raw(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || serve(listener.accept().unwrap().0));
        Self { port, served }
    }

    /// Serves the first client's messages.
    pub(crate) fn start(serve: impl FnOnce(&mut Peer) -> T + Send + 'static) -> Self {
        Self::raw(move |stream| {
            let mut peer = Peer::accept(Box::new(stream));
            let served = serve(&mut peer);
            peer.end();
            served
        })
    }

    /// The same over TLS with a fresh certificate for `localhost`; the certificate as PEM beside it.
    pub(crate) fn tls(serve: impl FnOnce(&mut Peer) -> T + Send + 'static) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let pem = made.cert.pem();
        let gateway = Self::raw(move |stream| {
            let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut peer = Peer::accept(Box::new(rustls::StreamOwned::new(session, stream)));
            let served = serve(&mut peer);
            peer.end();
            served
        });
        (gateway, pem)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the serving function saw.
    pub(crate) fn saw(self) -> T {
        self.served.join().unwrap()
    }
}
