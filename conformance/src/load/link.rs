//! One connection of the load client: the opening steps on a blocking socket, minimal framing, counting answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::frames::client_frame;
use crate::vector::TOKEN;

/// How long the opening steps may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The request of every scenario but `http`.
pub(super) fn health_frame() -> Vec<u8> {
    client_frame(1, br#"{"type":"req","id":"1","method":"health"}"#)
}

/// Opens a connection with the opening handshake and the operator handshake; what it returns is authenticated.
pub(crate) fn authenticated(address: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = open(address)?;
    stream
        .write_all(&opening(address))
        .map_err(|error| format!("cannot send: {error}"))?;
    let mut buffer = Vec::new();
    // The answer to the upgrade, the challenge, hello-ok: then all is quiet.
    skip_head(&mut stream, &mut buffer)?;
    for awaited in ["the challenge", "hello-ok"] {
        next_text(&mut stream, &mut buffer).map_err(|why| format!("waiting for {awaited}: {why}"))?;
    }
    Ok(stream)
}

/// A blocking connection with time limits.
pub(crate) fn open(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let ready = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    ready
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The upgrade and `connect` in one write.
pub(super) fn opening(address: SocketAddr) -> Vec<u8> {
    let mut bytes = format!(
        "GET /gateway HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes();
    let connect = format!(
        r#"{{"type":"req","id":"c","method":"connect","params":{{"minProtocol":1,"maxProtocol":1,"client":{{"id":"load","version":"1","platform":"test","mode":"test"}},"auth":{{"token":"{TOKEN}"}}}}}}"#
    );
    bytes.extend(client_frame(1, connect.as_bytes()));
    bytes
}

/// Reads over a response head, which must be a 101.
pub(crate) fn skip_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            if !buffer.starts_with(b"HTTP/1.1 101 ") {
                return Err(format!("the gateway answered {:?}", String::from_utf8_lossy(buffer)));
            }
            buffer.drain(..end + 4);
            return Ok(());
        }
        more(stream, buffer)?;
    }
}

/// Takes the next frame off the stream: its opcode and payload.
pub(crate) fn next_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(u8, Vec<u8>), String> {
    loop {
        if let Some((opcode, header, length)) = frame_header(buffer)
            && buffer.len() >= header + length
        {
            return Ok((opcode, buffer.drain(..header + length).skip(header).collect()));
        }
        more(stream, buffer)?;
    }
}

/// Takes the next text message off the stream. A close frame in its place is an error that says why the gateway closed.
pub(super) fn next_text(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    match next_frame(stream, buffer)? {
        (1, text) => Ok(text),
        (8, payload) => Err(format!("the gateway closed: {}", close_reason(&payload))),
        (opcode, _) => Err(format!("a frame with opcode {opcode} instead of a text")),
    }
}

/// The code and the reason of a close frame, for people.
pub(super) fn close_reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("{code} {:?}", String::from_utf8_lossy(reason))
        }
        _ => "no code".into(),
    }
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), String> {
    let mut chunk = [0; 4_096];
    match stream.read(&mut chunk) {
        Ok(0) => Err("the gateway ended the connection".into()),
        Ok(size) => {
            buffer.extend_from_slice(chunk.get(..size).unwrap_or_default());
            Ok(())
        }
        Err(error) => Err(format!("cannot receive: {error}")),
    }
}

/// Opcode, size of the header, length of the payload; `None`: the header is not all there.
pub(super) fn frame_header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let &[first, second, ref rest @ ..] = bytes else {
        return None;
    };
    let big = |size: usize| {
        let digits = rest.get(..size)?;
        Some((
            first & 0x0f,
            2 + size,
            digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        ))
    };
    match second & 0x7f {
        126 => big(2),
        127 => big(8),
        short => Some((first & 0x0f, 2, usize::from(short))),
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// A text frame.
    Frame,
    /// An HTTP response with a Content-Length.
    Http,
    /// So many bytes.
    Bytes(usize),
}

impl Answer {
    /// The size of the answer at the front of `bytes` and whether it counts; `None`: it is not all there.
    pub(super) fn size(self, bytes: &[u8]) -> Option<(usize, bool)> {
        let (size, counts) = match self {
            Self::Bytes(size) => (size, true),
            Self::Frame => {
                let (opcode, header, length) = frame_header(bytes)?;
                (header + length, opcode == 1)
            }
            Self::Http => {
                let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
                let head = str::from_utf8(bytes.get(..end)?).unwrap_or_default();
                let length = head.split("\r\n").find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    if name.eq_ignore_ascii_case("content-length") {
                        value.trim().parse::<usize>().ok()
                    } else {
                        None
                    }
                });
                (end + length.unwrap_or(0), true)
            }
        };
        (bytes.len() >= size).then_some((size, counts))
    }
}
