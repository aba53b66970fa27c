//! Fetches over the layer that dials: what reaches the network, byte by byte, and that nothing does before the verdict.

use alloc::string::{String, ToString};
use core::net::IpAddr;

use super::*;
use crate::effect::{Dial, DialTo};
use crate::id::ConnId;
use crate::machine::{Output, Peer};

#[derive(Default)]
struct Links {
    fetches: Fetches,
    settings: FetchSettings,
    calls: Calls,
    exchanges: Exchanges,
    conns: u64,
}

impl Links {
    fn with<T>(&mut self, act: impl FnOnce(&mut Fetches, &mut FetchContext<'_>) -> T) -> T {
        let mut cx = FetchContext {
            now: Now::default(),
            settings: &self.settings,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
        };
        act(&mut self.fetches, &mut cx)
    }

    fn file(&mut self, url: &str) {
        self.with(|fetches, cx| fetches.start(cx, SourceKind::File, url, FetchAsker::Operator));
    }

    fn settle(&mut self) {
        while let Some((asker, id, event)) = self.exchanges.take_event() {
            assert_eq!(asker, Asker::Fetch);
            self.with(|fetches, cx| fetches.exchange_event(cx, id, event));
        }
    }

    fn effect(&mut self) -> Option<(EffectId, Effect)> {
        loop {
            if let Output::Start { effect, what } = self.calls.take_output()? {
                return Some((effect, *what));
            }
        }
    }

    /// The next name that is asked for has these addresses.
    fn resolve(&mut self, answers: &[&str]) {
        let Some((effect, Effect::Resolve { .. })) = self.effect() else {
            panic!("no name is asked for");
        };
        assert_eq!(self.calls.finish(effect), Some(Owner::Fetch));
        let answers: Vec<IpAddr> = answers.iter().map(|text| text.parse().unwrap()).collect();
        self.with(|fetches, cx| fetches.completed(cx, effect, Ok(Completion::Resolved(answers))));
    }

    /// The next dial, to this address, is answered with these bytes; what was sent.
    fn serve(&mut self, address: &str, tls: Option<&str>, response: &str) -> String {
        let Some((effect, Effect::Dial(Dial { to, tls: asked, .. }))) = self.effect() else {
            panic!("nothing is dialled");
        };
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(to, DialTo::Tcp(address));
        assert_eq!(asked.map(|tls| tls.server_name).as_deref(), tls);
        self.conns += 1;
        let conn = ConnId::new(self.conns).unwrap();
        let dialled = Completion::Dialled {
            conn,
            peer: Peer::Tcp(address),
        };
        assert_eq!(self.calls.finish(effect), Some(Owner::Outbound));
        self.exchanges
            .completed(Now::default(), &mut self.calls, effect, Ok(dialled));
        let mut sent = String::new();
        while let Some(output) = self.exchanges.take_output() {
            if let Output::Transmit { bytes, .. } = output {
                sent.push_str(core::str::from_utf8(&bytes).unwrap());
            }
        }
        let mut bytes = response.to_string().into_bytes();
        self.exchanges.received(Now::default(), conn, &mut bytes);
        self.settle();
        sent
    }

    fn result(&mut self) -> String {
        match self.fetches.take_event() {
            Some((FetchAsker::Operator, _, Ok(fetched))) => String::from_utf8(fetched.bytes.to_vec()).unwrap(),
            Some((_, _, Err(fault))) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_judged_addresses_are_dialled_and_the_name_is_kept() {
    let mut links = Links::default();
    links.file("https://a.example.com/x?y#z");
    links.resolve(&["2606:4700::1", "1.1.1.1"]);
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://b.example.com/\r\nContent-Length: 0\r\n\r\n";
    let sent = links.serve("1.1.1.1:443", Some("a.example.com"), redirect);
    assert!(
        sent.starts_with("GET /x?y HTTP/1.1\r\nHost: a.example.com\r\n"),
        "{sent}"
    );
    assert!(sent.contains("User-Agent: OpenClaw-Gateway/1.0\r\n"), "{sent}");
    for never in ["Cookie", "Authorization", "Referer", "#z"] {
        assert!(!sent.contains(never), "{sent}");
    }
    assert_eq!(links.result(), "Blocked redirect from https to http");
    assert!(links.effect().is_none());

    links.file("http://a.example.com/");
    links.resolve(&["1.1.1.1"]);
    let redirect = "HTTP/1.1 307 x\r\nLocation: http://rebound.example.com/\r\nContent-Length: 0\r\n\r\n";
    links.serve("1.1.1.1:80", None, redirect);
    links.resolve(&["8.8.8.8"]);
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    links.serve("8.8.8.8:80", None, page);
    assert_eq!(links.result(), "hi");
    assert!(links.fetches.is_empty() && links.exchanges.is_empty());
}

#[test]
fn nothing_is_dialled_for_what_is_blocked() {
    let mut links = Links::default();
    links.file("http://[64:ff9b::127.0.0.1]/");
    assert!(links.effect().is_none());
    links.result();
    links.file("http://a.example.com/");
    links.resolve(&["1.1.1.1", "127.0.0.1"]);
    assert!(links.effect().is_none());
    assert_eq!(
        links.result(),
        "Blocked: resolves to private/internal/special-use IP address"
    );
    links.file("http://a.example.com/");
    links.resolve(&["1.1.1.1"]);
    let redirect = "HTTP/1.1 301 x\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n";
    links.serve("1.1.1.1:80", None, redirect);
    assert!(links.effect().is_none());
    links.result();
}

#[test]
fn a_body_that_is_too_large_is_given_up() {
    let mut links = Links::default();
    links.settings.files.max_bytes = 4;
    for head in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        links.file("http://1.1.1.1/");
        let response =
            alloc::format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        links.serve("1.1.1.1:80", None, &response);
        assert_eq!(links.result(), "Content too large: 5 bytes (limit: 4 bytes)", "{head}");
    }
    assert!(links.fetches.is_empty() && links.exchanges.is_empty());
}
