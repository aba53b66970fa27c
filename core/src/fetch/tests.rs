//! Fetches against a scripted resolver and scripted servers, in virtual time.

use alloc::format;
use alloc::string::ToString;
use core::net::IpAddr;

use super::*;
use crate::audit::AuditEvent;
use crate::effect::{Fault, FaultKind};
use crate::machine::Output;
use crate::outbound::{ClientResponse, ExchangeFault};

/// Remembers what is asked of it.
struct Desk {
    next: ExchangeId,
    started: VecDeque<(ExchangeId, Exchange)>,
    cancelled: Vec<ExchangeId>,
}

impl Asking for Desk {
    fn start(&mut self, _: Now, _: &mut Calls, exchange: Exchange) -> ExchangeId {
        let id = self.next;
        self.next = id.next();
        self.started.push_back((id, exchange));
        id
    }

    fn cancel(&mut self, _: &mut Calls, exchange: ExchangeId) {
        self.cancelled.push(exchange);
    }
}

struct World {
    fetches: Fetches,
    settings: FetchSettings,
    calls: Calls,
    desk: Desk,
    now: Now,
}

const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
const INSIDE: &str = "Blocked hostname or private/internal/special-use IP address";

impl World {
    fn new() -> Self {
        Self {
            fetches: Fetches::default(),
            settings: FetchSettings::default(),
            calls: Calls::default(),
            desk: Desk {
                next: ExchangeId::FIRST,
                started: VecDeque::new(),
                cancelled: Vec::new(),
            },
            now: Now::default(),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Fetches, &mut FetchContext<'_>) -> T) -> T {
        let mut cx = FetchContext {
            now: self.now,
            settings: &self.settings,
            calls: &mut self.calls,
            exchanges: &mut self.desk,
        };
        act(&mut self.fetches, &mut cx)
    }

    fn fetch(&mut self, kind: SourceKind, url: &str) -> FetchId {
        self.with(|fetches, cx| fetches.start(cx, kind, url, FetchAsker::Tools))
    }

    fn file(&mut self, url: &str) -> FetchId {
        self.fetch(SourceKind::File, url)
    }

    /// The next name that is asked for.
    fn asked_name(&mut self) -> Option<(EffectId, String)> {
        loop {
            match self.calls.take_output()? {
                Output::Start { effect, what } => match *what {
                    Effect::Resolve { host } => return Some((effect, host)),
                    other => panic!("{other:?}"),
                },
                Output::Cancel { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn answers(&mut self, expected: &str, addresses: &[&str]) {
        let (effect, host) = self.asked_name().expect("a name is asked for");
        assert_eq!(host, expected);
        let answers: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let outcome = if answers.is_empty() {
            Err(Fault {
                kind: FaultKind::NotFound,
                detail: "no such name at 10.9.9.9".to_string(),
            })
        } else {
            Ok(Completion::Resolved(answers))
        };
        self.calls.finish(effect);
        self.with(|fetches, cx| fetches.completed(cx, effect, outcome));
    }

    /// The next server that is asked: `URL @ addresses`.
    fn asked_server(&mut self) -> Option<(ExchangeId, String)> {
        let (id, exchange) = self.desk.started.pop_front()?;
        let Destination::Pinned(addresses) = exchange.to else {
            panic!("not pinned");
        };
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert!(exchange.request.credentials.is_empty() && exchange.request.body.is_empty());
        assert_eq!(exchange.request.method, Method::Get);
        assert!(
            exchange
                .request
                .headers
                .contains(&("User-Agent", "OpenClaw-Gateway/1.0".to_string()))
        );
        Some((id, format!("{} @ {}", exchange.request.url, addresses.join(" "))))
    }

    fn server(&mut self, expected: &str) -> ExchangeId {
        let (id, asked) = self.asked_server().expect("a server is asked");
        assert_eq!(asked, expected);
        id
    }

    fn tell(&mut self, exchange: ExchangeId, event: ExchangeEvent) {
        self.with(|fetches, cx| fetches.exchange_event(cx, exchange, event));
    }

    fn head(&mut self, exchange: ExchangeId, status: u16, headers: &[(&str, &str)]) {
        let head = ClientResponse {
            status,
            reason: "Reason".to_string(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        };
        self.tell(exchange, ExchangeEvent::Head(head));
    }

    fn body(&mut self, exchange: ExchangeId, bytes: &[u8]) {
        self.tell(exchange, ExchangeEvent::Body(Bytes::copy_from_slice(bytes)));
    }

    fn wait(&mut self, millis: u64) {
        self.now.monotonic = self.now.monotonic.plus(Duration::from_millis(millis));
        self.with(Fetches::on_deadline);
    }

    fn result(&mut self) -> Result<Fetched, FetchFault> {
        let (asker, _, result) = self.fetches.take_event().expect("a fetch is over");
        assert_eq!(asker, FetchAsker::Tools);
        result
    }

    /// What a fetch that failed tells, and as what it is recorded.
    fn fault(&mut self) -> (AuditEvent, String) {
        let fault = self.result().expect_err("a fault");
        assert!(!fault.text().contains("10.9.9.9"), "{fault}");
        (fault.record(), fault.to_string())
    }

    fn rejected(&mut self, text: &str) {
        assert_eq!(self.fault(), (AuditEvent::FetchRejected, text.to_string()));
        self.nothing_left();
    }

    fn nothing_left(&self) {
        assert!(self.fetches.is_empty() && self.fetches.waiting.is_empty());
        assert!(self.fetches.effects.is_empty() && self.fetches.exchanges.is_empty());
        assert_eq!(self.fetches.next_deadline(), None);
    }

    /// A fetch of `http://a.example.com/` up to the request.
    fn asked(kind: SourceKind) -> (Self, ExchangeId) {
        let mut world = Self::new();
        world.fetch(kind, "http://a.example.com/");
        world.answers("a.example.com", &["1.1.1.1"]);
        let exchange = world.server("http://a.example.com/ @ 1.1.1.1:80");
        (world, exchange)
    }
}

#[test]
fn a_file_from_its_name_to_its_bytes() {
    let mut world = World::new();
    world.file("https://a.example.com:443/x?y#z");
    assert_eq!(world.asked_server(), None, "nothing is dialled before the verdict");
    world.answers("a.example.com", &["2606:4700::1", "1.1.1.1"]);
    let exchange = world.server("https://a.example.com/x?y @ 1.1.1.1:443 [2606:4700::1]:443");
    world.head(exchange, 200, &[TEXT, ("content-length", "5")]);
    world.body(exchange, b"he");
    world.body(exchange, b"llo");
    world.tell(exchange, ExchangeEvent::End);
    let fetched = world.result().unwrap();
    assert_eq!(fetched.url.to_string(), "https://a.example.com/x?y");
    assert_eq!(
        (fetched.status, fetched.mime.as_str(), &fetched.bytes[..]),
        (200, "text/plain", &b"hello"[..])
    );
    assert!(world.desk.cancelled.is_empty());
    world.nothing_left();
}

#[test]
fn what_is_denied_is_neither_resolved_nor_dialled() {
    let mut world = World::new();
    for (url, record, text) in [
        ("http://127.0.0.1/", AuditEvent::SsrfBlocked, INSIDE),
        ("http://[::ffff:7f00:1]/", AuditEvent::SsrfBlocked, INSIDE),
        ("http://0x7f000001/", AuditEvent::SsrfBlocked, INSIDE),
        (
            "http://metadata.google.internal/",
            AuditEvent::SsrfBlocked,
            "Blocked hostname: metadata.google.internal",
        ),
        (
            "ftp://a.example.com/",
            AuditEvent::UrlDenied,
            "Invalid URL: must be http or https",
        ),
        (
            "http://a.example.com:22/",
            AuditEvent::UrlDenied,
            "Blocked port: 22 (allowed: 80, 443)",
        ),
    ] {
        world.file(url);
        assert_eq!(world.fault(), (record, text.to_string()), "{url}");
        assert_eq!((world.asked_name(), world.asked_server()), (None, None));
        world.nothing_left();
    }
    world.settings.files.allow_url = false;
    world.file("http://a.example.com/");
    assert_eq!(world.fault().1, "input_file URL sources are disabled by config");
    world.fetch(SourceKind::Web, "http://1.1.1.1/");
    world.server("http://1.1.1.1/ @ 1.1.1.1:80");
}

#[test]
fn the_answers_are_judged_and_the_name_is_not_asked_for_again() {
    for answers in [&["10.0.0.1"][..], &["1.1.1.1", "::1"], &["1.1.1.1", "169.254.169.254"]] {
        let mut world = World::new();
        world.file("http://a.example.com/");
        world.answers("a.example.com", answers);
        let text = "Blocked: resolves to private/internal/special-use IP address";
        assert_eq!(world.fault(), (AuditEvent::SsrfBlocked, text.to_string()));
        assert_eq!(world.asked_server(), None);
        world.nothing_left();
    }
    let (mut world, exchange) = World::asked(SourceKind::File);
    assert_eq!(world.asked_name(), None);
    world.head(exchange, 200, &[TEXT]);
    assert_eq!(world.asked_name(), None);
}

#[test]
fn names_without_an_address_and_slow_resolvers() {
    let mut world = World::new();
    world.file("http://a.example.com/");
    world.answers("a.example.com", &[]);
    world.rejected("Unable to resolve hostname: a.example.com");

    world.file("http://a.example.com/");
    let (effect, _) = world.asked_name().unwrap();
    world.wait(4_999);
    assert!(world.fetches.take_event().is_none());
    world.wait(1);
    world.rejected("Unable to resolve hostname: a.example.com");
    let late = Ok(Completion::Resolved(alloc::vec![IpAddr::from([1, 1, 1, 1])]));
    world.with(|fetches, cx| fetches.completed(cx, effect, late));
    assert_eq!(world.asked_server(), None, "too late");
}

#[test]
fn each_redirect_is_judged_whole() {
    for status in [301, 302, 303, 307, 308] {
        let (mut world, first) = World::asked(SourceKind::File);
        world.head(first, status, &[("location", "https://b.example.com/p")]);
        assert_eq!(world.desk.cancelled, [first]);
        world.answers("b.example.com", &["8.8.8.8"]);
        let second = world.server("https://b.example.com/p @ 8.8.8.8:443");
        world.body(first, b"what still comes of the first");
        world.head(second, 200, &[TEXT]);
        world.tell(second, ExchangeEvent::End);
        assert_eq!(world.result().unwrap().url.to_string(), "https://b.example.com/p");
        world.nothing_left();
    }
    let (mut world, first) = World::asked(SourceKind::File);
    world.head(first, 302, &[("location", "http://b.example.com/")]);
    world.answers("b.example.com", &["10.0.0.1"]);
    let text = "Blocked: resolves to private/internal/special-use IP address";
    assert_eq!(world.fault(), (AuditEvent::SsrfBlocked, text.to_string()));
}

#[test]
fn redirects_that_lead_nowhere() {
    let listed = |world: &mut World| {
        world.settings.files.url_allowlist = Some(alloc::vec!["a.example.com".parse().unwrap()]);
    };
    for (location, record, text) in [
        (Some("http://169.254.169.254/latest"), AuditEvent::SsrfBlocked, INSIDE),
        (
            Some("//localhost/"),
            AuditEvent::SsrfBlocked,
            "Blocked hostname: localhost",
        ),
        (
            Some("http://a.example.com/"),
            AuditEvent::FetchRejected,
            "Redirect loop detected",
        ),
        (Some("/"), AuditEvent::FetchRejected, "Redirect loop detected"),
        (Some("#x"), AuditEvent::FetchRejected, "Redirect loop detected"),
        (
            None,
            AuditEvent::FetchRejected,
            "Redirect missing location header (302)",
        ),
        (
            Some("file:///etc/passwd"),
            AuditEvent::UrlDenied,
            "Invalid URL: must be http or https",
        ),
        (
            Some("http://u:p@a.example.com/"),
            AuditEvent::UrlDenied,
            "Invalid URL: must not contain credentials",
        ),
    ] {
        let (mut world, first) = World::asked(SourceKind::File);
        let headers: Vec<(&str, &str)> = location.iter().map(|location| ("location", *location)).collect();
        world.head(first, 302, &headers);
        assert_eq!(world.fault(), (record, text.to_string()), "{location:?}");
        assert_eq!(world.desk.cancelled, [first]);
        assert_eq!((world.asked_name(), world.asked_server()), (None, None));
        world.nothing_left();
    }
    for (location, text) in [
        (
            "http://b.example.com/",
            "Blocked hostname (not in allowlist): b.example.com",
        ),
        ("http://127.0.0.1/", "Blocked hostname (not in allowlist): 127.0.0.1"),
    ] {
        let (mut world, first) = World::asked(SourceKind::File);
        listed(&mut world);
        world.head(first, 302, &[("location", location)]);
        assert_eq!(world.fault(), (AuditEvent::UrlDenied, text.to_string()));
    }
    let mut world = World::new();
    world.file("https://1.1.1.1/");
    let first = world.server("https://1.1.1.1/ @ 1.1.1.1:443");
    world.head(first, 301, &[("location", "http://1.1.1.1/")]);
    assert_eq!(
        world.fault(),
        (AuditEvent::UrlDenied, "Blocked redirect from https to http".to_string())
    );
}

#[test]
fn three_redirects_and_no_more() {
    let (mut world, mut exchange) = World::asked(SourceKind::File);
    for hop in 1..=3 {
        world.head(exchange, 302, &[("location", &format!("/{hop}"))]);
        world.answers("a.example.com", &["1.1.1.1"]);
        exchange = world.server(&format!("http://a.example.com/{hop} @ 1.1.1.1:80"));
    }
    world.head(exchange, 302, &[("location", "/4")]);
    world.rejected("Too many redirects (limit: 3)");
    // Back to where it was, and a name that changes its address in between.
    let (mut world, first) = World::asked(SourceKind::File);
    world.head(first, 302, &[("location", "/other")]);
    world.answers("a.example.com", &["1.1.1.1"]);
    let second = world.server("http://a.example.com/other @ 1.1.1.1:80");
    world.head(second, 302, &[("location", "/")]);
    world.rejected("Redirect loop detected");
    let (mut world, first) = World::asked(SourceKind::File);
    world.head(first, 302, &[("location", "/other")]);
    world.answers("a.example.com", &["192.168.0.1"]);
    assert_eq!(world.fault().0, AuditEvent::SsrfBlocked);
}

#[test]
fn sizes() {
    let limit = 10;
    let over = "Content too large: 11 bytes (limit: 10 bytes)";
    let small = |kind| {
        let (mut world, exchange) = World::asked(kind);
        world.settings.files.max_bytes = limit;
        (world, exchange)
    };
    let (mut world, exchange) = small(SourceKind::File);
    world.head(exchange, 200, &[TEXT, ("content-length", "11")]);
    world.rejected(over);
    assert_eq!(world.desk.cancelled, [exchange]);
    let (mut world, exchange) = small(SourceKind::File);
    world.head(exchange, 200, &[TEXT]);
    world.body(exchange, b"0123456789");
    world.body(exchange, b"many more");
    world.rejected(over);
    assert_eq!(world.desk.cancelled, [exchange]);
    for announced in [None, Some(11)] {
        let (mut world, exchange) = small(SourceKind::File);
        world.tell(
            exchange,
            ExchangeEvent::Failed(ExchangeFault::TooLarge { limit, announced }),
        );
        world.rejected(over);
    }
    let (mut world, exchange) = small(SourceKind::File);
    world.head(exchange, 200, &[TEXT, ("content-length", "10")]);
    world.body(exchange, b"0123456789");
    world.tell(exchange, ExchangeEvent::End);
    assert_eq!(world.result().unwrap().bytes.len(), 10);
}

#[test]
fn types_and_answers_that_are_no_use() {
    for (kind, status, content_type, body, text) in [
        (
            SourceKind::File,
            404,
            Some("text/plain"),
            "",
            "Failed to fetch: 404 Reason",
        ),
        (SourceKind::File, 304, None, "", "Failed to fetch: 304 Reason"),
        (SourceKind::File, 200, None, "", "input_file missing media type"),
        (
            SourceKind::File,
            200,
            Some("Video/MP4; x=y"),
            "",
            "Unsupported file MIME type: video/mp4",
        ),
        (
            SourceKind::Image,
            200,
            Some("image/png"),
            "<html><script>",
            "Unsupported image MIME type: text/html",
        ),
        (
            SourceKind::Image,
            200,
            None,
            "nothing",
            "Unsupported image MIME type: application/octet-stream",
        ),
    ] {
        let (mut world, exchange) = World::asked(kind);
        let headers: Vec<(&str, &str)> = content_type.iter().map(|mime| ("content-type", *mime)).collect();
        world.head(exchange, status, &headers);
        if !body.is_empty() {
            world.body(exchange, body.as_bytes());
            world.tell(exchange, ExchangeEvent::End);
        }
        world.rejected(text);
    }
    // What an image is shows as soon as there is enough of it.
    let (mut world, exchange) = World::asked(SourceKind::Image);
    world.head(exchange, 200, &[("content-type", "image/png")]);
    world.body(exchange, &[b"%PDF-1.7".as_slice(), &[b' '; 60]].concat());
    world.rejected("Unsupported image MIME type: application/pdf");
    let (mut world, exchange) = World::asked(SourceKind::Image);
    world.head(exchange, 200, &[("content-type", "application/octet-stream")]);
    world.body(exchange, b"\x89PNG\r\n\x1a\n");
    world.tell(exchange, ExchangeEvent::End);
    assert_eq!(world.result().unwrap().mime, "image/png", "what was sniffed wins");
}

#[test]
fn faults_below_tell_no_address() {
    for (fault, text) in [
        (
            ExchangeFault::Unreachable("10.9.9.9 refused".to_string()),
            "Failed to fetch: cannot connect",
        ),
        (
            ExchangeFault::Tls("10.9.9.9: unknown issuer".to_string()),
            "Failed to fetch: the server's certificate or TLS is no good",
        ),
        (ExchangeFault::TimedOut, "Failed to fetch: timed out after 10000 ms"),
        (
            ExchangeFault::Cut { before_head: true },
            "Failed to fetch: the connection ended too early",
        ),
        (
            ExchangeFault::Malformed("bad chunk"),
            "Failed to fetch: not HTTP: bad chunk",
        ),
        (
            ExchangeFault::Busy,
            "Too many fetches at the same time; try again later",
        ),
    ] {
        let (mut world, exchange) = World::asked(SourceKind::File);
        world.tell(exchange, ExchangeEvent::Failed(fault));
        world.rejected(text);
    }
}

#[test]
fn one_time_limit_over_all_hops() {
    let (mut world, first) = World::asked(SourceKind::File);
    world.wait(6_000);
    world.head(first, 302, &[("location", "/2")]);
    world.answers("a.example.com", &["1.1.1.1"]);
    let limits = world.desk.started.front().unwrap().1.limits;
    assert_eq!(limits.total, Duration::from_secs(4));
    let second = world.server("http://a.example.com/2 @ 1.1.1.1:80");
    world.head(second, 200, &[TEXT]);
    world.wait(3_999);
    world.body(second, b"slow");
    assert!(world.fetches.take_event().is_none());
    world.wait(1);
    world.rejected("Failed to fetch: timed out after 10000 ms");
    assert_eq!(world.desk.cancelled, [first, second]);
    world.tell(second, ExchangeEvent::Failed(ExchangeFault::Cancelled));
    assert!(world.fetches.take_event().is_none());
}

#[test]
fn as_many_as_the_settings_allow_and_a_bounded_queue() {
    let mut world = World::new();
    world.settings.max_concurrent = 2;
    let ids: Vec<FetchId> = (0..4).map(|_| world.file("http://1.1.1.1/")).collect();
    let first = world.server("http://1.1.1.1/ @ 1.1.1.1:80");
    let second = world.server("http://1.1.1.1/ @ 1.1.1.1:80");
    assert_eq!(world.asked_server(), None, "two at a time");
    world.with(|fetches, cx| fetches.cancel(cx, ids[2]));
    world.head(first, 200, &[TEXT]);
    world.tell(first, ExchangeEvent::End);
    assert!(world.result().is_ok());
    let fourth = world.server("http://1.1.1.1/ @ 1.1.1.1:80");
    world.with(|fetches, cx| fetches.cancel(cx, ids[1]));
    assert_eq!(world.desk.cancelled, [second]);
    world.tell(fourth, ExchangeEvent::Failed(ExchangeFault::TimedOut));
    world.rejected("Failed to fetch: timed out after 10000 ms");

    for _ in 0..2 + MAX_WAITING {
        world.file("http://1.1.1.1/");
    }
    assert!(world.fetches.take_event().is_none());
    world.file("http://1.1.1.1/");
    assert_eq!(world.fault().1, "Too many fetches at the same time; try again later");
    // Those that wait do not wait longer than a fetch may take.
    world.wait(10_000);
    for _ in 0..2 + MAX_WAITING {
        assert_eq!(world.fault().1, "Failed to fetch: timed out after 10000 ms");
    }
    world.nothing_left();
}

#[test]
fn a_reload_holds_from_the_next_hop_on() {
    let (mut world, first) = World::asked(SourceKind::File);
    world.settings.files.url_allowlist = Some(Vec::new());
    world.head(first, 302, &[("location", "/2")]);
    assert_eq!(
        world.fault(),
        (
            AuditEvent::UrlDenied,
            "Blocked hostname (not in allowlist): a.example.com".to_string()
        )
    );
    assert_eq!(world.fetches.len(), 0);
}
