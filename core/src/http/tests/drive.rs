//! An owner of a connection for tests and fuzz targets: it feeds bytes in pieces, answers by a fixed plan and writes down
//! everything it sees. The fuzz crate includes this file, so that it names only the public face.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::BytesMut;

use crate::http::{Event, Fields, Limits, PeerFault, Phase, Response, ResponseHead, ServerConnection, Status};
use crate::time::UnixMillis;

/// When the owner answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// As soon as the head is there, without looking at the body.
    AtOnce,
    /// When the request is wholly read.
    WhenRead,
    /// It begins a streaming response with the head and finishes it when the request is wholly read.
    Stream,
}

/// What the owner saw. Adjoining pieces of a body count as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Request {
        method: String,
        path: String,
        query: Option<String>,
        fields: Vec<(String, String)>,
        has_body: bool,
    },
    Body(Vec<u8>),
    BodyEnd,
    Refused(PeerFault),
    Ended,
    Upgraded(Vec<u8>),
}

/// Everything that can be told about a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) seen: Vec<Seen>,
    pub(crate) written: Vec<u8>,
    pub(crate) must_close: bool,
    pub(crate) phase: Phase,
}

impl Run {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    pub(crate) fn fault(&self) -> Option<PeerFault> {
        self.seen.iter().find_map(|seen| {
            if let Seen::Refused(fault) = seen {
                Some(*fault)
            } else {
                None
            }
        })
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Request { .. }))
            .count()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.seen
            .iter()
            .flat_map(|seen| {
                if let Seen::Body(body) = seen {
                    body.clone()
                } else {
                    Vec::new()
                }
            })
            .collect()
    }
}

/// A connection and its owner.
pub(crate) struct Drive {
    pub(crate) connection: ServerConnection,
    pub(crate) out: BytesMut,
    plan: Plan,
    seen: Vec<Seen>,
    /// The most bytes that the connection ever held after a poll.
    pub(crate) most_buffered: usize,
}

impl Drive {
    pub(crate) fn new(limits: Limits, plan: Plan) -> Self {
        let connection = ServerConnection::new(limits);
        Self {
            connection,
            out: BytesMut::new(),
            plan,
            seen: Vec::new(),
            most_buffered: 0,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Some(Seen::Upgraded(rest)) = self.seen.last_mut() {
            rest.extend_from_slice(bytes);
            return;
        }
        self.connection.received(bytes);
        self.turn();
    }

    pub(crate) fn end(mut self) -> Run {
        if !matches!(self.seen.last(), Some(Seen::Upgraded(_))) {
            self.connection.read_closed();
            self.turn();
        }
        let (must_close, phase) = (self.connection.must_close(), self.connection.phase());
        Run {
            seen: self.seen,
            written: self.out.to_vec(),
            must_close,
            phase,
        }
    }

    fn turn(&mut self) {
        loop {
            match self.connection.poll(&mut self.out) {
                Event::NeedInput => break,
                Event::Paused => self.answer(),
                Event::Ended => {
                    if self.seen.last() != Some(&Seen::Ended) {
                        self.seen.push(Seen::Ended);
                    }
                    break;
                }
                Event::Request(request) => {
                    self.seen.push(Seen::Request {
                        method: request.method_name().to_owned(),
                        path: request.target().path().to_owned(),
                        query: request.target().query().map(ToOwned::to_owned),
                        fields: request
                            .headers()
                            .iter()
                            .map(|(n, v)| (n.to_owned(), v.to_owned()))
                            .collect(),
                        has_body: request.has_body(),
                    });
                    if request.wants_upgrade("websocket") && !request.has_body() {
                        let rest = self
                            .connection
                            .switch_protocols("websocket", Fields::NONE, &mut self.out);
                        self.seen
                            .push(Seen::Upgraded(rest.map(|rest| rest.to_vec()).unwrap_or_default()));
                        return;
                    }
                    if self.plan == Plan::AtOnce {
                        self.answer();
                    } else if self.plan == Plan::Stream {
                        let head = ResponseHead {
                            status: Status::OK,
                            headers: Fields::NONE,
                            date: UnixMillis(0),
                        };
                        self.connection.respond_streaming(&head, &mut self.out);
                        self.connection.write(b"begun", &mut self.out);
                    }
                }
                Event::Body(piece) => {
                    assert!(!piece.is_empty(), "an empty piece of a body");
                    if let Some(Seen::Body(body)) = self.seen.last_mut() {
                        body.extend_from_slice(&piece);
                    } else {
                        self.seen.push(Seen::Body(piece.to_vec()));
                    }
                }
                Event::BodyEnd => self.seen.push(Seen::BodyEnd),
                Event::Refused(fault) => {
                    self.seen.push(Seen::Refused(fault));
                    self.respond(fault.status());
                }
            }
        }
        self.most_buffered = self.most_buffered.max(self.connection.buffered());
    }

    fn answer(&mut self) {
        if self.plan == Plan::Stream {
            self.connection.write(b"!", &mut self.out);
            self.connection.finish(&mut self.out);
        } else {
            self.respond(Status::OK);
        }
    }

    pub(crate) fn respond(&mut self, status: Status) {
        let response = Response {
            status,
            headers: Fields::of(&[("Server", "test")]),
            body: b"answer",
            date: UnixMillis(0),
        };
        self.connection.respond(&response, &mut self.out);
    }
}

/// Runs the bytes, cut where `cuts` says (sorted or not, beyond the end or not), and then the end of the stream.
pub(crate) fn run_cut(limits: Limits, plan: Plan, bytes: &[u8], cuts: &[usize]) -> Run {
    let mut cuts: Vec<usize> = cuts
        .iter()
        .copied()
        .filter(|&cut| cut > 0 && cut < bytes.len())
        .collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    cuts.dedup();
    let mut drive = Drive::new(limits, plan);
    let mut start = 0;
    for cut in cuts {
        let piece = bytes.get(start..cut).unwrap_or_default();
        if !piece.is_empty() {
            drive.feed(piece);
        }
        start = cut;
    }
    drive.end()
}

/// Runs the bytes one at a time.
pub(crate) fn run_bytewise(limits: Limits, plan: Plan, bytes: &[u8]) -> Run {
    let mut drive = Drive::new(limits, plan);
    for byte in bytes {
        drive.feed(core::slice::from_ref(byte));
    }
    drive.end()
}

/// Runs the bytes at once.
pub(crate) fn run(limits: Limits, plan: Plan, bytes: &[u8]) -> Run {
    run_cut(limits, plan, bytes, &[])
}
