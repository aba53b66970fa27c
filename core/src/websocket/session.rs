//! One connection's WebSocket: messages in, with what the protocol itself owes (pongs, the close handshake) written
//! without asking. It decides nothing about messages.

use bytes::BytesMut;

use super::receiver::{Frame, Receiver};
use super::{CloseCode, Opcode, PeerFault, close, send};

/// Something that the peer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping (answered already): the peer is there.
    Alive,
    /// A pong with this content: the peer is there, and has read what was sent before the ping.
    Pong(&'a [u8]),
    /// The close handshake is complete, or the peer broke the protocol before it was; flush and close the connection.
    Closed,
    /// The peer broke the protocol; the close frame is written; flush and close the connection.
    Failed(PeerFault),
}

/// The server's side of a WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    receiver: Receiver,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// We sent a close frame; the peer's is awaited, messages are discarded.
    CloseSent,
    /// Nothing that arrives means anything any more.
    Done,
}

impl WebSocket {
    /// A connection that was just upgraded; messages are at most `max_message` bytes long.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self {
            receiver: Receiver::new(max_message),
            state: State::Open,
        }
    }

    /// Takes another limit, for the messages that begin from now on.
    pub const fn set_max_message(&mut self, max_message: usize) {
        self.receiver.set_max_message(max_message);
    }

    /// Whether messages may still be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// The next event in `input`, which is left at what follows; `None`: all of it is consumed. `out` takes what the
    /// protocol owes.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i mut [u8], out: &mut BytesMut) -> Option<Event<'s>> {
        if self.state == State::Done {
            *input = &mut [];
            return None;
        }
        let state = self.state;
        match self.receiver.next(input) {
            Ok(None) => None,
            Ok(Some(Frame::Control(Opcode::Close, body))) => match close::parse(body) {
                Ok(code) => {
                    if state == State::Open {
                        match code {
                            Some(code) => send::close(out, code, ""),
                            None => send::frame(out, Opcode::Close, &[]),
                        }
                    }
                    self.state = State::Done;
                    Some(Event::Closed)
                }
                Err(fault) => Some(Self::fail(&mut self.state, fault, out)),
            },
            Ok(Some(_)) if state == State::CloseSent => Some(Event::Alive),
            Ok(Some(Frame::Control(opcode, body))) => {
                if opcode == Opcode::Pong {
                    return Some(Event::Pong(body));
                }
                send::frame(out, Opcode::Pong, body);
                Some(Event::Alive)
            }
            Ok(Some(Frame::Text(text))) => Some(Event::Text(text)),
            Ok(Some(Frame::Binary(bytes))) => Some(Event::Binary(bytes)),
            Err(fault) => Some(Self::fail(&mut self.state, fault, out)),
        }
    }

    /// Begins the close handshake; harmless when it has begun.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut BytesMut) {
        if self.state == State::Open {
            send::close(out, code, reason);
            self.state = State::CloseSent;
        }
    }

    fn fail<'a>(state: &mut State, fault: PeerFault, out: &mut BytesMut) -> Event<'a> {
        let before = core::mem::replace(state, State::Done);
        if before == State::Open {
            send::close(out, fault.close_code(), fault.reason());
            Event::Failed(fault)
        } else {
            Event::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn events(socket: &mut WebSocket, bytes: &[u8]) -> (Vec<alloc::string::String>, Vec<u8>) {
        let mut bytes = bytes.to_vec();
        let mut rest = &mut bytes[..];
        let mut out = BytesMut::new();
        let mut seen = Vec::new();
        while let Some(event) = socket.next(&mut rest, &mut out) {
            seen.push(alloc::format!("{event:?}"));
        }
        (seen, out.to_vec())
    }

    #[test]
    fn a_close_is_answered_with_its_code_and_ends_everything() {
        let mut socket = WebSocket::new(100);
        let (seen, out) = events(
            &mut socket,
            &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8, 0x81, 0x80, 0, 0, 0, 0],
        );
        assert_eq!(
            (seen, out),
            (alloc::vec!["Closed".into()], alloc::vec![0x88, 2, 0x03, 0xe8])
        );
        assert_eq!(events(&mut socket, &[0xff; 20]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn after_our_close_messages_are_discarded_until_the_peers() {
        let mut socket = WebSocket::new(100);
        let mut out = BytesMut::new();
        socket.close(CloseCode::POLICY, "no", &mut out);
        socket.close(CloseCode::NORMAL, "again", &mut out);
        assert_eq!(out[..], [0x88, 4, 0x03, 0xf0, b'n', b'o']);
        let (seen, out) = events(&mut socket, &[0x81, 0x81, 0, 0, 0, 0, b'x', 0x88, 0x80, 0, 0, 0, 0]);
        assert_eq!(seen, ["Alive", "Closed"]);
        assert!(out.is_empty());
    }

    #[test]
    fn a_ping_is_answered_and_a_fault_closes_with_its_code() {
        let mut socket = WebSocket::new(100);
        let (seen, out) = events(
            &mut socket,
            &[0x89, 0x81, 0, 0, 0, 0, b'p', 0x8a, 0x80, 0, 0, 0, 0, 0xf1],
        );
        assert_eq!(seen, ["Alive", "Pong([])", "Failed(ReservedBits)"]);
        assert_eq!(out[..3], [0x8a, 1, b'p']);
        assert_eq!(out[3..7], [0x88, 23, 0x03, 0xea]);
    }
}
