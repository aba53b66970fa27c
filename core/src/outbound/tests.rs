//! Exchanges in virtual time, with a server that is played by hand.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use super::*;
use crate::calls::Calls;
use crate::effect::{Completion, Dial, DialTo, Effect, Fault, FaultKind};
use crate::id::{ConnId, EffectId, ExchangeId};
use crate::machine::{CloseHow, GoneReason, Output, Peer};
use crate::time::{Instant, Now, UnixMillis};

struct Play {
    exchanges: Exchanges,
    calls: Calls,
    now: Now,
    conns: u64,
}

impl Play {
    fn new() -> Self {
        let now = Now {
            monotonic: Instant::from_millis(1_000),
            wall: UnixMillis(0),
        };
        Self {
            exchanges: Exchanges::default(),
            calls: Calls::default(),
            now,
            conns: 0,
        }
    }

    fn start(&mut self, exchange: Exchange) -> ExchangeId {
        self.exchanges.start(self.now, &mut self.calls, exchange, Asker::Fetch)
    }

    fn wait(&mut self, millis: u64) {
        self.now.monotonic = self.now.monotonic.plus(Duration::from_millis(millis));
        self.exchanges.on_deadline(self.now, &mut self.calls);
    }

    /// The effect that was started; nothing else was asked for.
    fn started(&mut self) -> (EffectId, Effect) {
        match self.calls.take_output() {
            Some(Output::Start { effect, what }) => (effect, *what),
            other => panic!("{other:?} instead of a start"),
        }
    }

    fn dialled(&mut self) -> (EffectId, Dial, SocketAddr) {
        match self.started() {
            (effect, Effect::Dial(dial)) => match dial.to {
                DialTo::Tcp(address) => (effect, dial, address),
                DialTo::Unix(path) => panic!("{path}"),
            },
            (_, other) => panic!("{other:?} instead of a dial"),
        }
    }

    fn complete(&mut self, effect: EffectId, outcome: crate::effect::Outcome) {
        self.calls.finish(effect);
        self.exchanges.completed(self.now, &mut self.calls, effect, outcome);
    }

    fn resolve(&mut self, addresses: &[&str]) {
        let (effect, what) = self.started();
        assert!(matches!(what, Effect::Resolve { .. }), "{what:?}");
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.complete(effect, Ok(Completion::Resolved(addresses)));
    }

    fn connect(&mut self, effect: EffectId, peer: SocketAddr) -> ConnId {
        self.conns += 1;
        let conn = ConnId::new(self.conns).unwrap();
        let peer = Peer::Tcp(peer);
        self.complete(effect, Ok(Completion::Dialled { conn, peer }));
        conn
    }

    /// An exchange with a connection and its request sent.
    fn connected(&mut self, exchange: Exchange) -> (ExchangeId, ConnId) {
        let id = self.start(exchange);
        let (effect, _, address) = self.dialled();
        let conn = self.connect(effect, address);
        assert!(matches!(self.exchanges.take_output(), Some(Output::Transmit { .. })));
        (id, conn)
    }

    fn receive(&mut self, conn: ConnId, bytes: &str) {
        let mut bytes = bytes.as_bytes().to_vec();
        self.exchanges.received(self.now, conn, &mut bytes);
    }

    fn events(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((asker, _, event)) = self.exchanges.take_event() {
            assert_eq!(asker, Asker::Fetch);
            all.push(match event {
                ExchangeEvent::Head(head) => format!("head {}", head.status),
                ExchangeEvent::Body(piece) => format!("body {}", String::from_utf8_lossy(&piece)),
                ExchangeEvent::End => "end".into(),
                ExchangeEvent::Failed(fault) => format!("failed: {fault}"),
            });
        }
        all
    }

    fn aborted(&mut self) -> Option<ConnId> {
        match self.exchanges.take_output()? {
            Output::Close {
                conn,
                how: CloseHow::Abort,
            } => Some(conn),
            other => panic!("{other:?} instead of an abort"),
        }
    }

    /// Nothing is left of anything.
    fn rest(&mut self) {
        assert_eq!(self.exchanges.len(), 0);
        assert_eq!(self.exchanges.connections(), 0);
        assert_eq!(self.exchanges.next_deadline(), None);
        assert!(self.exchanges.take_event().is_none() && self.exchanges.take_output().is_none());
    }
}

fn exchange(url: &str) -> Exchange {
    Exchange {
        to: Destination::Named,
        request: ClientRequest {
            method: Method::Get,
            url: Url::parse(url).unwrap(),
            headers: Vec::new(),
            credentials: Vec::new(),
            body: Bytes::new(),
        },
        limits: ExchangeLimits {
            resolve: Duration::from_secs(1),
            connect: Duration::from_secs(4),
            head: Duration::from_secs(10),
            total: Duration::from_secs(20),
            max_body_bytes: 100,
        },
    }
}

fn fault(kind: FaultKind) -> crate::effect::Outcome {
    Err(Fault {
        kind,
        detail: "as the system says".into(),
    })
}

const LOCAL: &str = "http://127.0.0.1:8080/a";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_named_server_is_resolved_dialled_asked_and_let_go() {
    let mut play = Play::new();
    let mut asked = exchange("https://example.com/path?query");
    asked.request.method = Method::Post;
    asked.request.headers.push(("Content-Type", "text/plain".into()));
    asked
        .request
        .credentials
        .push(("Authorization", Secret::new("Bearer hunter2".into())));
    asked.request.body = Bytes::from_static(b"body");
    assert!(!format!("{asked:?}").contains("hunter2"));
    play.start(asked);
    assert!(!format!("{:?}", play.exchanges).contains("hunter2"));
    play.resolve(&["2001:db8::1", "192.0.2.1"]);
    let (effect, dial, address) = play.dialled();
    assert_eq!(address.to_string(), "192.0.2.1:443", "IPv4 first");
    assert_eq!(dial.tls.map(|tls| tls.server_name).as_deref(), Some("example.com"));
    assert_eq!(
        dial.timeout,
        Duration::from_secs(2),
        "half of the time for the first of two"
    );
    let conn = play.connect(effect, address);
    let mut sent = Vec::new();
    while let Some(Output::Transmit { conn: to, bytes }) = play.exchanges.take_output() {
        assert_eq!(to, conn);
        sent.extend_from_slice(&bytes);
    }
    let sent = String::from_utf8(sent).unwrap();
    assert!(
        sent.starts_with("POST /path?query HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n"),
        "{sent}"
    );
    assert!(
        sent.ends_with("Content-Type: text/plain\r\nAuthorization: Bearer hunter2\r\nContent-Length: 4\r\n\r\nbody")
    );
    assert!(play.exchanges.owns(conn));
    play.receive(conn, OK);
    assert_eq!(play.events(), ["head 200", "body ok", "end"]);
    assert_eq!(play.aborted(), Some(conn), "a connection serves one exchange");
    play.receive(conn, "late");
    assert_eq!(play.events(), [""; 0]);
    play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    assert!(!play.exchanges.owns(conn));
    play.rest();
}

#[test]
fn an_address_is_not_resolved_and_http_has_no_tls() {
    let mut play = Play::new();
    play.start(exchange("http://[::1]:81/"));
    let (_, dial, address) = play.dialled();
    assert_eq!((address.to_string().as_str(), dial.tls), ("[::1]:81", None));
}

#[test]
fn pinned_addresses_are_tried_in_their_order_and_no_others() {
    let mut play = Play::new();
    let pinned = ["[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"];
    play.start(Exchange {
        to: Destination::Pinned(pinned.iter().map(|address| address.parse().unwrap()).collect()),
        ..exchange("https://example.com/")
    });
    for (expected, kind) in pinned
        .iter()
        .zip([FaultKind::Unreachable, FaultKind::TimedOut, FaultKind::Refused])
    {
        let (effect, dial, address) = play.dialled();
        assert_eq!(address.to_string(), *expected);
        assert_eq!(dial.tls.map(|tls| tls.server_name).as_deref(), Some("example.com"));
        play.complete(effect, fault(kind));
    }
    assert_eq!(play.events(), ["failed: cannot connect: refused: as the system says"]);
    play.start(Exchange {
        to: Destination::Pinned(Vec::new()),
        ..exchange(LOCAL)
    });
    assert_eq!(
        play.events(),
        ["failed: cannot connect: there is no address to connect to"]
    );
    play.rest();
}

#[test]
fn another_peer_than_the_one_that_was_dialled_gets_no_byte() {
    let mut play = Play::new();
    for peer in ["192.0.2.9:8080", "127.0.0.1:8081"] {
        play.start(exchange(LOCAL));
        let (effect, _, _) = play.dialled();
        let conn = play.connect(effect, peer.parse().unwrap());
        assert_eq!(play.aborted(), Some(conn));
        assert!(play.events()[0].contains("another peer"));
        play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    }
    play.start(exchange(LOCAL));
    let (effect, _, _) = play.dialled();
    play.connect(effect, "[::ffff:127.0.0.1]:8080".parse().unwrap());
    assert!(
        matches!(play.exchanges.take_output(), Some(Output::Transmit { .. })),
        "the same address in IPv6 form"
    );
}

#[test]
fn every_step_has_its_own_time() {
    let mut play = Play::new();
    play.start(exchange("http://example.com/"));
    let (effect, _) = play.started();
    play.wait(999);
    assert_eq!(play.events(), [""; 0]);
    play.wait(1);
    assert_eq!(play.events(), ["failed: timed out"]);
    assert!(matches!(play.calls.take_output(), Some(Output::Cancel { .. })));
    play.complete(
        effect,
        Ok(Completion::Resolved(Vec::from(["192.0.2.1".parse().unwrap()]))),
    );
    assert!(play.calls.take_output().is_none(), "what comes late begins nothing");

    play.start(exchange(LOCAL));
    let (effect, _, address) = play.dialled();
    play.wait(4_000);
    assert_eq!(play.events(), ["failed: timed out"]);
    assert!(matches!(play.calls.take_output(), Some(Output::Cancel { .. })));
    let late = play.connect(effect, address);
    assert_eq!(play.aborted(), Some(late), "a late connection is closed");
    play.exchanges.gone(play.now, late, GoneReason::Aborted);

    let (_, conn) = play.connected(exchange(LOCAL));
    play.wait(9_999);
    play.receive(conn, "HTTP/1.1 200 OK\r\n");
    assert_eq!(play.events(), [""; 0]);
    play.wait(1);
    assert_eq!(play.events(), ["failed: timed out"]);
    assert_eq!(play.aborted(), Some(conn));
    play.exchanges.gone(play.now, conn, GoneReason::Aborted);

    let (_, conn) = play.connected(exchange(LOCAL));
    play.wait(9_000);
    play.receive(conn, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(play.events(), ["head 200"]);
    play.wait(10_999);
    play.receive(conn, "drop by drop");
    assert_eq!(play.events(), ["body drop by drop"]);
    play.wait(1);
    assert_eq!(play.events(), ["failed: timed out"]);
    play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    play.exchanges.take_output();
    play.rest();
}

#[test]
fn names_that_do_not_resolve() {
    let mut play = Play::new();
    for (outcome, event) in [
        (fault(FaultKind::NotFound), "failed: the name cannot be resolved"),
        (fault(FaultKind::TimedOut), "failed: timed out"),
        (
            Ok(Completion::Resolved(Vec::new())),
            "failed: the name cannot be resolved",
        ),
        (Ok(Completion::Done), "failed: the name cannot be resolved"),
    ] {
        play.start(exchange("http://example.com/"));
        let (effect, _) = play.started();
        play.complete(effect, outcome);
        assert_eq!(play.events(), [event]);
    }
    play.start(exchange("http://example.com/"));
    let many: Vec<String> = (0..40).map(|number| format!("192.0.2.{}", number / 2)).collect();
    play.resolve(&many.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..MAX_ADDRESSES {
        let (effect, _, _) = play.dialled();
        play.complete(effect, fault(FaultKind::Tls));
    }
    assert_eq!(play.events(), ["failed: TLS: as the system says"]);
    play.rest();
}

#[test]
fn cancelled_in_every_state() {
    let mut play = Play::new();
    let id = play.start(exchange("http://example.com/"));
    play.exchanges.cancel(&mut play.calls, id);
    play.exchanges.cancel(&mut play.calls, id);
    let (resolve, _) = play.started();
    assert!(matches!(play.calls.take_output(), Some(Output::Cancel { effect }) if effect == resolve));
    assert!(play.calls.take_output().is_none());
    assert_eq!(play.events(), ["failed: cancelled"]);
    play.complete(resolve, fault(FaultKind::Cancelled));

    let id = play.start(exchange(LOCAL));
    let (dial, _, address) = play.dialled();
    play.exchanges.cancel(&mut play.calls, id);
    assert_eq!(play.events(), ["failed: cancelled"]);
    assert!(matches!(play.calls.take_output(), Some(Output::Cancel { effect }) if effect == dial));
    let late = play.connect(dial, address);
    assert_eq!(play.aborted(), Some(late));
    assert!(play.exchanges.owns(late));
    play.receive(late, OK);
    play.exchanges.gone(play.now, late, GoneReason::Aborted);

    let (id, conn) = play.connected(exchange(LOCAL));
    play.receive(conn, OK);
    play.exchanges.cancel(&mut play.calls, id);
    assert_eq!(
        play.events(),
        ["failed: cancelled"],
        "what was not told is not told any more"
    );
    assert_eq!(play.aborted(), Some(conn));
    play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    play.calls.take_output();

    let (id, conn) = play.connected(exchange(LOCAL));
    play.receive(conn, "HTTP/1.1 200 OK\r\n\r\npart");
    assert_eq!(play.events(), ["head 200", "body part"]);
    play.exchanges.hold(id);
    play.exchanges.cancel_all(&mut play.calls);
    assert_eq!(play.events(), ["failed: cancelled"], "also while it is held");
    play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    while play.exchanges.take_output().is_some() {}
    play.rest();
}

#[test]
fn who_holds_is_told_nothing_and_nothing_is_read() {
    let mut play = Play::new();
    let (id, conn) = play.connected(exchange(LOCAL));
    play.exchanges.hold(id);
    assert!(
        play.exchanges.take_output().is_none(),
        "the head is waited for in any case"
    );
    play.receive(conn, "HTTP/1.1 200 OK\r\n\r\none");
    assert_eq!(play.events(), ["head 200"]);
    assert!(matches!(
        play.exchanges.take_output(),
        Some(Output::PauseReading { .. })
    ));
    play.exchanges.hold(id);
    play.exchanges.read_closed(play.now, conn);
    play.exchanges.gone(play.now, conn, GoneReason::Closed);
    assert_eq!(play.events(), [""; 0]);
    play.exchanges.proceed(id);
    assert_eq!(play.events(), ["body one", "end"]);
    play.rest();

    let (id, conn) = play.connected(exchange(LOCAL));
    play.receive(conn, "HTTP/1.1 200 OK\r\n\r\none");
    assert_eq!(play.events(), ["head 200", "body one"]);
    play.exchanges.hold(id);
    assert!(matches!(
        play.exchanges.take_output(),
        Some(Output::PauseReading { .. })
    ));
    play.exchanges.proceed(id);
    play.exchanges.proceed(id);
    assert!(matches!(
        play.exchanges.take_output(),
        Some(Output::ResumeReading { .. })
    ));
    assert!(play.exchanges.take_output().is_none());
}

#[test]
fn too_many_at_once_fail_at_once() {
    let mut play = Play::new();
    for _ in 0..MAX_EXCHANGES {
        play.start(exchange(LOCAL));
    }
    let refused = play.start(exchange(LOCAL));
    assert_eq!(play.events(), ["failed: too many requests to other servers"]);
    play.exchanges.cancel(&mut play.calls, refused);
    assert_eq!(play.exchanges.len(), MAX_EXCHANGES);
    play.exchanges.cancel_all(&mut play.calls);
    assert_eq!(play.events().len(), MAX_EXCHANGES);
}

#[test]
fn a_request_that_cannot_be_written_dials_nobody() {
    let mut play = Play::new();
    let mut asked = exchange(LOCAL);
    asked
        .request
        .credentials
        .push(("Authorization", Secret::new("a\r\nX: y".into())));
    play.start(asked);
    assert!(play.calls.take_output().is_none());
    assert_eq!(
        play.events(),
        ["failed: cannot connect: the request's fields cannot be written"]
    );
    play.rest();
}

#[test]
fn faults_of_the_response_close_the_connection() {
    let mut play = Play::new();
    for (response, end) in [
        (
            "nonsense\r\n\r\n",
            "failed: the response is not HTTP: it does not begin with HTTP/1.1 or HTTP/1.0",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
            "failed: the response is larger than 100 bytes",
        ),
    ] {
        let (_, conn) = play.connected(exchange(LOCAL));
        play.receive(conn, response);
        assert_eq!(play.events().last().map(String::as_str), Some(end));
        assert_eq!(play.aborted(), Some(conn));
        play.exchanges.gone(play.now, conn, GoneReason::Aborted);
    }
    let (_, conn) = play.connected(exchange(LOCAL));
    play.exchanges.gone(play.now, conn, GoneReason::Failed);
    assert_eq!(
        play.exchanges.take_event().map(|(_, _, event)| event),
        Some(ExchangeEvent::Failed(ExchangeFault::Cut { before_head: true }))
    );
    play.rest();
}
