//! What a client writes and reads: an upgrade, masked frames, and the messages in what it was sent.

use portcullis_core::id::ConnId;

use super::{TOKEN, World};

/// What a client remembers of its connection.
#[derive(Debug, Default)]
pub(crate) struct Client {
    requests: u32,
}

pub(crate) const UPGRADE: &str = "GET /gateway HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0xa2, 0x33, 0xc4];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0xff);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub(crate) fn text(message: &str) -> Vec<u8> {
    frame(0x81, message.as_bytes())
}

pub(crate) fn request(id: &str, method: &str, params: &str) -> Vec<u8> {
    text(&format!(
        r#"{{"type":"req","id":"{id}","method":"{method}","params":{params}}}"#
    ))
}

pub(crate) fn hello(token: &str) -> Vec<u8> {
    let client = r#"{"id":"c","version":"1","platform":"p","mode":"m"}"#;
    let params = format!(r#"{{"minProtocol":1,"maxProtocol":1,"client":{client},"auth":{{"token":"{token}"}}}}"#);
    request("hello", "connect", &params)
}

/// One frame of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap_or("not UTF-8")
    }
}

/// The frames after the answer to the upgrade. A server that writes anything else fails the test.
pub(crate) fn frames(written: &[u8]) -> Vec<Frame> {
    let Some(start) = written.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Vec::new();
    };
    assert!(written.starts_with(b"HTTP/1.1 101 "), "not upgraded");
    let mut rest = &written[start + 4..];
    let mut frames = Vec::new();
    while let [first, second, after @ ..] = rest {
        assert_eq!(first & 0x70, 0, "reserved bits");
        assert_eq!(first & 0x80, 0x80, "a fragment");
        let (length, skip) = match second {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), 2),
            127 => (u64::from_be_bytes(after[..8].try_into().unwrap()) as usize, 8),
            short => (usize::from(*short), 0),
        };
        let payload = after[skip..skip + length].to_vec();
        assert!(
            frames.last().is_none_or(|last: &Frame| last.opcode != 8),
            "a frame after the close frame"
        );
        let opcode = first & 0x0f;
        frames.push(Frame { opcode, payload });
        rest = &after[skip + length..];
    }
    assert!(rest.is_empty(), "half a header");
    frames
}

impl World {
    /// A connection that finished its handshake.
    pub(crate) fn client(&mut self) -> ConnId {
        let conn = self.connect("127.0.0.1:9");
        self.bytes(conn, UPGRADE.as_bytes());
        self.bytes(conn, &hello(TOKEN));
        self.take_all(conn);
        conn
    }

    /// A request with an id of its own.
    pub(crate) fn ask(&mut self, conn: ConnId, method: &str, params: &str) -> String {
        let id = match self.sockets.get_mut(&conn) {
            Some(socket) => {
                socket.client.requests += 1;
                format!("r{}", socket.client.requests)
            }
            None => String::new(),
        };
        self.bytes(conn, &request(&id, method, params));
        id
    }

    pub(crate) fn run(&mut self, conn: ConnId, key: &str, more: &str) -> String {
        let params = format!(r#"{{"idempotencyKey":"{key}","message":"hi"{more}}}"#);
        self.ask(conn, "agent.run", &params)
    }

    /// The client takes everything that waits for it.
    pub(crate) fn take_all(&mut self, conn: ConnId) {
        self.sent(conn, usize::MAX);
    }

    pub(crate) fn frames(&self, conn: ConnId) -> Vec<Frame> {
        frames(&self.sockets[&conn].written)
    }

    /// The answers to a request: there should be one.
    pub(crate) fn answers(&self, conn: ConnId, id: &str) -> Vec<String> {
        let start = format!(r#"{{"type":"res","id":"{id}","#);
        let texts = self.frames(conn).into_iter().filter(|frame| frame.opcode == 1);
        texts
            .map(|frame| frame.text().to_string())
            .filter(|text| text.starts_with(&start))
            .collect()
    }
}
