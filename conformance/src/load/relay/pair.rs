//! One client and one agent with their session: what each sends, and what it makes of what comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::setup::{AgentLink, Device, Names, login};
use crate::client::frames::client_frame;
use crate::load::link::{self, Answer, frame_header};

/// About as many bytes has a prompt on its way, and about as many an answer.
pub(super) const USUAL_SIZE: usize = 1_024;
/// What is sealed.
const SEALED: [u8; 200] = [b's'; 200];
/// The end of an event, inside the end of its chunk.
const EVENT_ENDS: &[u8] = b"}\n\n\r\n";

/// A client and an agent.
#[derive(Debug)]
pub(super) struct Pair {
    address: SocketAddr,
    path: String,
    access: String,
    token: String,
    names: Names,
    /// The client's requests, the agent's socket, the client's events.
    links: [Link; 3],
    seq: u64,
    /// What has not come of the current message: its 202, its event.
    awaits: [bool; 2],
    sent_at: Instant,
}

/// One of its connections.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// Which of the connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Requests,
    Agent,
    Events,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Requests, Self::Agent, Self::Events];
}

impl Pair {
    /// Logs in, registers, connects, shakes hands, listens.
    pub(super) fn new(address: SocketAddr, number: usize) -> Result<Self, String> {
        let access = login(address, &format!("user{number}"))?;
        let mut client = link::open(address)?;
        let device = Device::register(&mut client, address, format!("dev-load-{number:04}"), &access)?;
        let mut agent = device.connect(address)?;
        let names = device.shake(&mut client, address, &mut agent)?;
        let events = device.listen(address, &names)?;
        let AgentLink { stream, buffer, token } = agent;
        let link = |stream, inbox| Link { stream, inbox };
        let pair = Self {
            address,
            path: format!("/gateway/v1/sessions/{}/messages", names.session),
            access,
            token,
            names,
            links: [link(client, Vec::new()), link(stream, buffer), link(events, Vec::new())],
            seq: 0,
            awaits: [false; 2],
            sent_at: Instant::now(),
        };
        for link in &pair.links {
            link.stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        }
        Ok(pair)
    }

    pub(super) fn stream(&self, side: Side) -> &TcpStream {
        &self.link(side).stream
    }

    fn link(&self, side: Side) -> &Link {
        let [requests, agent, events] = &self.links;
        match side {
            Side::Requests => requests,
            Side::Agent => agent,
            Side::Events => events,
        }
    }

    fn link_mut(&mut self, side: Side) -> &mut Link {
        let [requests, agent, events] = &mut self.links;
        match side {
            Side::Requests => requests,
            Side::Agent => agent,
            Side::Events => events,
        }
    }

    /// The members of a sealed message.
    fn sealed(&self, seq: u64, direction: &str, prefix: &[u8; 4]) -> String {
        let mut nonce = prefix.to_vec();
        nonce.extend(seq.to_be_bytes());
        let session = &self.names.session;
        format!(
            "\"session_id\":\"{session}\",\"handshake_id\":\"{}\",\"conversation_id\":\"{}\",\"message_id\":\"{}\",\
             \"encrypted\":true,\"alg\":\"aes-256-gcm\",\"direction\":\"{direction}\",\"seq\":{seq},\"nonce\":\"{}\",\
             \"ciphertext\":\"{}\",\"tag\":\"{}\",\"aad\":\"{}\"",
            self.names.handshake,
            self.names.conversation,
            message_id(seq),
            STANDARD.encode(nonce),
            STANDARD.encode(SEALED),
            STANDARD.encode([0x5a; 16]),
            STANDARD.encode(format!("{session}|{}|{seq}|{direction}", message_id(seq))),
        )
    }

    /// Sends the next prompt.
    pub(super) fn prompt(&mut self) -> Result<(), String> {
        self.seq += 1;
        let body = format!(
            "{{\"type\":\"session.message\",{}}}",
            self.sealed(self.seq, "client_to_agent", b"c2a\0")
        );
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             X-Idempotency-Key: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            self.access,
            message_id(self.seq),
            body.len()
        );
        self.awaits = [true; 2];
        self.sent_at = Instant::now();
        self.link_mut(Side::Requests).write(request.as_bytes())
    }

    /// Takes what came on one of the connections; how long the message took, when it is complete with that.
    pub(super) fn receive(&mut self, side: Side) -> Result<Option<Duration>, String> {
        if !self.link_mut(side).read()? {
            return Ok(None);
        }
        match side {
            Side::Agent => {
                self.answer()?;
                return Ok(None);
            }
            Side::Requests => {
                let inbox = &mut self.link_mut(side).inbox;
                let Some((size, _)) = Answer::Http.size(inbox) else {
                    return Ok(None);
                };
                if !inbox.starts_with(b"HTTP/1.1 202 ") {
                    return Err(format!("a message was refused: {:?}", String::from_utf8_lossy(inbox)));
                }
                inbox.drain(..size);
                self.awaits[0] = false;
            }
            Side::Events => {
                let id = format!("\"message_id\":\"{}\"", message_id(self.seq));
                let inbox = &mut self.link_mut(side).inbox;
                if !inbox.ends_with(EVENT_ENDS) {
                    return Ok(None);
                }
                // A heartbeat may have come with it, or instead of it.
                let is_it = inbox.windows(id.len()).any(|window| window == id.as_bytes());
                inbox.clear();
                self.awaits[1] &= !is_it;
            }
        }
        Ok((self.awaits == [false; 2]).then(|| self.sent_at.elapsed()))
    }

    /// The agent answers each prompt.
    fn answer(&mut self) -> Result<(), String> {
        loop {
            let inbox = &mut self.link_mut(Side::Agent).inbox;
            let Some((opcode, header, length)) = frame_header(inbox) else {
                return Ok(());
            };
            if inbox.len() < header + length {
                return Ok(());
            }
            let frame: Vec<u8> = inbox.drain(..header + length).skip(header).collect();
            if opcode == 9 {
                // The relay asks what the agent has.
                self.link_mut(Side::Agent).write(&client_frame(10, &frame))?;
                continue;
            }
            let is_prompt = opcode == 1 && frame.starts_with(b"{\"type\":\"session.message\"");
            if opcode != 1 || frame.windows(13).any(|window| window == b"\"agent.error\"") {
                return Err(format!("the agent was told {:?}", String::from_utf8_lossy(&frame)));
            }
            if is_prompt {
                let text = format!(
                    "{{\"type\":\"session.result\",{},\"transport_token\":\"{}\",\"t_seq\":{}}}",
                    self.sealed(self.seq, "agent_to_client", b"a2c\0"),
                    self.token,
                    self.seq
                );
                self.link_mut(Side::Agent).write(&client_frame(1, text.as_bytes()))?;
            }
        }
    }
}

fn message_id(seq: u64) -> String {
    format!("msg_{seq:016x}")
}

impl Link {
    /// Everything fits into an empty socket.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream
            .write_all(bytes)
            .map_err(|error| format!("cannot send: {error}"))
    }

    /// Reads once; whether anything came.
    fn read(&mut self) -> Result<bool, String> {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err("the relay ended a connection".into()),
            Ok(size) => {
                self.inbox.extend_from_slice(chunk.get(..size).unwrap_or_default());
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(format!("cannot receive: {error}")),
        }
    }
}
