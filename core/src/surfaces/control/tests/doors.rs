//! Who may connect, and how long a connection lives. Spec: `spec/control.md` sections 2 and 6.

use super::*;

#[test]
fn a_stranger_is_upgraded_and_closed_and_nothing_it_says_is_read() {
    let mut world = World::new();
    let stranger = "192.0.2.1:9";
    assert_eq!(
        world.act(|control, cx| control.judge(cx, client(stranger), None)),
        Ok(())
    );
    let mut client = world.connect(1, stranger);
    assert_eq!(world.heard_by(client.conn), ["close 1008 IP not permitted"]);
    let good = alloc::format!(r#"{{"token":"{}","cmd":"ping"}}"#, world.token());
    for text in ["null", good.as_str()] {
        assert!(world.say(&mut client, text).is_empty());
    }
    assert_eq!(client.session.deadline(), Instant::END);
    assert!(matches!(
        world.facts()[..],
        [.., ControlFact::Rejected { untold: 0, .. }]
    ));
    let Client { conn, session } = client;
    world.act(|control, cx| control.closed(cx, conn, &session));
    assert!(world.facts().is_empty() && world.control.clients() == 0);
}

#[test]
fn strangers_and_pages_before_the_upgrade() {
    let mut strict = settings(ControlSettings {
        refuse_before_upgrade: true,
        ..with_secret()
    });
    strict.gateway.allowed_origins = alloc::vec!["https://app.example".into()];
    let mut world = World::with(strict);
    for (address, origin, refused) in [
        (LOCAL, None, None),
        (LOCAL, Some(""), None),
        (LOCAL, Some("https://app.example"), None),
        (LOCAL, Some("http://localhost:3000"), Some("Origin not allowed")),
        (LOCAL, Some("null"), Some("Origin not allowed")),
        ("192.0.2.1:9", None, Some("IP not permitted")),
        ("192.0.2.1:9", Some("null"), Some("IP not permitted")),
    ] {
        let judged = world.act(|control, cx| control.judge(cx, client(address), origin));
        let refusal = judged.err();
        assert!(refusal.iter().all(|refusal| refusal.status == 403));
        assert_eq!(refusal.map(|refusal| refusal.body), refused, "{address} {origin:?}");
    }
    let events: Vec<_> = world.audit.iter().map(|record| record.event).collect();
    let rejected = crate::audit::AuditEvent::ConnRejected;
    assert_eq!(events[1..], [rejected; 2], "the gateway records refused origins itself");
}

#[test]
fn nothing_is_said_first_and_a_silent_stranger_is_closed() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    assert!(world.heard_by(client.conn).is_empty());
    assert_eq!(
        client.session.deadline(),
        world.now.monotonic.plus(Duration::from_secs(10))
    );
    world.pass(10);
    let Client { conn, session } = &mut client;
    assert_eq!(world.act(|control, cx| control.due(cx, *conn, session)), Due::Keep);
    assert_eq!(world.heard_by(client.conn), ["close 1008 authentication timeout"]);
}

#[test]
fn who_is_in_is_pinged_and_dropped_when_nothing_comes_back() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    assert!(!client.session.is_authenticated());
    world.command(&mut client, "ping", "");
    assert!(client.session.is_authenticated());
    let begin = world.now.monotonic;
    let mut pings = 0;
    loop {
        world.now.monotonic = client.session.deadline();
        let Client { conn, session } = &mut client;
        if world.act(|control, cx| control.due(cx, *conn, session)) == Due::Drop {
            break;
        }
        assert_eq!(world.heard_by(client.conn), ["ping"]);
        pings += 1;
    }
    assert_eq!((pings, world.now.monotonic.since(begin)), (3, Duration::from_secs(85)));
}

#[test]
fn what_is_told_of_a_connection() {
    let mut world = World::new();
    world.reports.clear();
    world.audit.clear();
    let mut client = world.connect(1, LOCAL);
    for _ in 0..3 {
        world.say(&mut client, r#"{"token":"secret-looking","cmd":"ping"}"#);
    }
    let token = world.token();
    world.command(&mut client, "ping", &alloc::format!(r#","id":"{token}""#));
    let Client { conn, session } = client;
    world.act(|control, cx| control.closed(cx, conn, &session));
    let told = world.facts();
    let kinds: Vec<_> = told.iter().map(ControlFact::kind).collect();
    assert_eq!(
        kinds,
        [
            "ControlConnected",
            "ControlUnauthorised",
            "ControlAuthenticated",
            "ControlCommand",
            "ControlUnauthorisedMore",
            "ControlDisconnected"
        ]
    );
    let written = alloc::format!("{told:?} {:?}", world.audit);
    assert!(!written.contains("secret-looking") && !written.contains(&token[..20]));
    assert_eq!(world.audit.len(), 1 + 3 + 1 + 1 + 1);
}
