//! A small blocking client over a real socket, from any address of this machine: HTTP requests one after the other, and a
//! WebSocket whose messages are JSON. For tests that need many clients rather than vectors.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;

use super::frames::{Arrival, Frames, client_frame};
use super::responses::{self, Response};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
    frames: Frames,
    ended: bool,
}

impl Talk {
    /// Connects to `to`, from the address `from` of this machine if one is given.
    ///
    /// # Errors
    /// What the system refused.
    pub fn open(to: SocketAddr, from: Option<SocketAddr>) -> Result<Self, String> {
        let stream = connect_from(to, from)?;
        let set = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_nodelay(true));
        set.and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(|why| why.to_string())?;
        Ok(Self {
            stream,
            host: to,
            buffer: Vec::new(),
            frames: Frames::default(),
            ended: false,
        })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response, String> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.write(format!("{head}\r\n{body}").as_bytes())?;
        loop {
            if let Some(response) = responses::next(&mut self.buffer, method == "HEAD", self.ended)? {
                return Ok(response);
            }
            self.read()?;
        }
    }

    /// Opens a WebSocket on this connection; the answer, whatever it is.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn upgrade(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response, String> {
        let mut all = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        all.extend_from_slice(headers);
        self.ask("GET", path, &all, "")
    }

    /// Sends a JSON value as a text message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, value: &Value) -> Result<(), String> {
        self.write(&client_frame(1, value.to_string().as_bytes()))
    }

    /// The next message as JSON; `None`: the server has closed the WebSocket.
    ///
    /// # Errors
    /// When the connection ends without a close frame, or what came is no JSON.
    pub fn receive(&mut self) -> Result<Option<Value>, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.frames.next(&mut self.buffer)? {
                Some(Arrival::Text(text)) => {
                    return serde_json::from_str(&text).map(Some).map_err(|why| why.to_string());
                }
                Some(Arrival::Close(..)) => return Ok(None),
                Some(Arrival::Ping(payload)) => self.write(&client_frame(10, &payload))?,
                Some(_) => {}
                None if Instant::now() > deadline => return Err("nothing came".into()),
                None => self.read()?,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream
            .write_all(bytes)
            .map_err(|why| format!("cannot send: {why}"))
    }

    fn read(&mut self) -> Result<(), String> {
        if self.ended {
            return Err("the connection has ended".into());
        }
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(size) => self.buffer.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(format!("cannot read: {why}")),
        }
        Ok(())
    }
}

/// A connection to `to`, from the address `from` of this machine if one is given.
pub(crate) fn connect_from(to: SocketAddr, from: Option<SocketAddr>) -> Result<TcpStream, String> {
    let stream = match from {
        None => TcpStream::connect_timeout(&to, PATIENCE).map_err(|why| why.to_string()),
        Some(from) => socket(AddressFamily::INET, SocketType::STREAM, None)
            .and_then(|fd| {
                bind(&fd, &from)?;
                connect(&fd, &to)?;
                Ok(TcpStream::from(fd))
            })
            .map_err(|why| why.to_string()),
    };
    stream.map_err(|why| format!("cannot connect to {to}: {why}"))
}
