//! The pipeline of a message. Spec: `spec/control.md` section 4.

use proptest::prelude::*;

use super::*;

const MISSING: &str = "Unauthorised: Token validation failed: jwt must be provided";

fn failure(cmd: &str, error: &str) -> String {
    alloc::format!(r#"{{"ok":false,"cmd":{cmd},"error":"{error}"}}"#)
}

#[test]
fn what_is_no_json_and_what_shows_no_token() {
    let mut world = World::new();
    for (text, answer) in [
        ("not json", failure(r#""(parse error)""#, "Invalid JSON")),
        ("", failure(r#""(parse error)""#, "Invalid JSON")),
        (
            r#"{"cmd":"ping","cmd":"x"}"#,
            failure(r#""(parse error)""#, "Invalid JSON"),
        ),
        ("null", failure(r#""(auth)""#, MISSING)),
        ("5", failure(r#""(auth)""#, MISSING)),
        ("\"x\"", failure(r#""(auth)""#, MISSING)),
        ("true", failure(r#""(auth)""#, MISSING)),
        ("[]", failure(r#""(auth)""#, MISSING)),
        (r#"{"cmd":"ping"}"#, failure(r#""ping""#, MISSING)),
        (r#"{"cmd":"ping","token":""}"#, failure(r#""ping""#, MISSING)),
        (r#"{"cmd":"","token":0}"#, failure(r#""""#, MISSING)),
        (r#"{"cmd":7}"#, failure("7", MISSING)),
        (
            r#"{"cmd":"ping","token":5}"#,
            failure(
                r#""ping""#,
                "Unauthorised: Token validation failed: jwt must be a string",
            ),
        ),
        (
            r#"{"cmd":"ping","token":"abc"}"#,
            failure(r#""ping""#, "Unauthorised: Token validation failed: jwt malformed"),
        ),
        (
            r#"{"cmd":"ping","token":"a.b.c"}"#,
            failure(r#""ping""#, "Unauthorised: Token validation failed: invalid token"),
        ),
    ] {
        // Each on a connection of its own: the count of failures is not what is tested here.
        let mut client = world.connect(1, LOCAL);
        assert_eq!(world.say(&mut client, text), [answer], "{text}");
    }
    let mut client = world.connect(2, LOCAL);
    let Client { conn, session } = &mut client;
    world.act(|control, cx| control.message(cx, *conn, session, None));
    assert_eq!(
        world.heard_by(client.conn),
        [failure(r#""(parse error)""#, "Invalid JSON")]
    );
}

#[test]
fn unknown_commands_and_ids() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let token = world.token();
    let unknown = |cmd: &str| {
        alloc::format!(
            r#"{{"ok":false,"cmd":"{cmd}","error":"Unknown command: \"{cmd}\". Valid commands: ping, status, switch_provider, health_check, rotate_token"}}"#
        )
    };
    for (rest, cmd) in [
        (r#","cmd":"PING""#, "PING"),
        (r#","cmd":" ping""#, " ping"),
        (r#","cmd":"""#, ""),
        (r#","cmd":5"#, "(none)"),
        (r#","cmd":null"#, "(none)"),
        ("", "(none)"),
    ] {
        let answers = world.say(&mut client, &alloc::format!(r#"{{"token":"{token}"{rest}}}"#));
        assert_eq!(answers, [unknown(cmd)], "{rest}");
    }
    let pong = alloc::format!(r#"{{"ok":true,"cmd":"ping","result":{{"pong":true,"ts":{START}}}"#);
    assert_eq!(world.command(&mut client, "ping", ""), alloc::format!("{pong}}}"));
    assert_eq!(
        world.command(&mut client, "ping", r#","extra":1"#),
        alloc::format!("{pong}}}")
    );
    assert_eq!(
        world.command(&mut client, "ping", r#","id":7"#),
        alloc::format!(r#"{pong},"id":7}}"#)
    );
    let named = world.command(&mut client, "ping", r#","id":"a\"b""#);
    assert_eq!(named, alloc::format!(r#"{pong},"id":"a\"b"}}"#));
    let unknown = world.command(&mut client, "nope", r#","id":-1"#);
    assert!(unknown.ends_with(r#","id":-1}"#), "{unknown}");
}

#[test]
fn ten_in_a_row_without_a_good_token_are_answered_and_the_next_one_closes() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let bad = [r#"{"cmd":"ping","token":"a.b.c"}"#, "nonsense", "null"];
    for text in bad.iter().cycle().take(10) {
        assert_eq!(world.say(&mut client, text).len(), 1);
    }
    assert_eq!(
        world.say(&mut client, "null"),
        ["close 1008 too many unauthorised messages"]
    );
    let mut patient = world.connect(2, LOCAL);
    for _ in 0..3 {
        for text in bad.iter().cycle().take(10) {
            assert_eq!(world.say(&mut patient, text).len(), 1);
        }
        assert!(
            world.command(&mut patient, "ping", "").contains("pong"),
            "a good token ends the row"
        );
    }
}

#[test]
fn a_guessing_address_is_locked_out_and_who_is_in_stays_in() {
    let mut world = World::with(settings(ControlSettings {
        trusted_clients: alloc::vec!["192.0.2.0/24".parse().unwrap()],
        ..with_secret()
    }));
    let address = "192.0.2.7:1000";
    let mut inside = world.connect(1, address);
    assert!(world.command(&mut inside, "ping", "").contains("pong"));
    let forged = alloc::format!("{}A", world.token());
    let guess = alloc::format!(r#"{{"cmd":"ping","token":"{forged}"}}"#);
    let mut answered = 0;
    for number in 2..40 {
        let mut guesser = world.connect(number, address);
        let answers = world.say(&mut guesser, &guess);
        if answers == ["close 1008 too many unauthorised messages"] {
            break;
        }
        answered += 1;
    }
    assert_eq!(answered, 10, "as many as the settings of auth allow");
    assert!(
        world
            .reports
            .iter()
            .any(|report| matches!(report, Report::LockedOut { seconds: 300, .. }))
    );
    let mut late = world.connect(50, address);
    let token = world.token();
    let good = alloc::format!(r#"{{"cmd":"ping","token":"{token}"}}"#);
    assert_eq!(
        world.say(&mut late, &good),
        ["close 1008 too many unauthorised messages"]
    );
    assert!(world.command(&mut inside, "ping", "").contains("pong"));
    let peer = client(address);
    let refusal = world.act(|control, cx| control.judge(cx, peer, None)).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.retry_after),
        (429, Some(Duration::from_secs(300)))
    );
    world.pass(300);
    assert_eq!(world.act(|control, cx| control.judge(cx, peer, None)), Ok(()));
    let mut later = world.connect(51, address);
    assert!(world.command(&mut later, "ping", "").contains("pong"));
}

#[test]
fn old_tokens_are_no_guesses() {
    let mut world = World::with(settings(ControlSettings {
        trusted_clients: alloc::vec!["192.0.2.0/24".parse().unwrap()],
        ..with_secret()
    }));
    let old = world.token();
    world.act(|control, cx| control.renew(cx));
    let text = alloc::format!(r#"{{"cmd":"ping","token":"{old}"}}"#);
    for number in 1..40 {
        let mut client = world.connect(number, "192.0.2.7:1000");
        let answers = world.say(&mut client, &text);
        assert!(
            answers.concat().contains("Token JTI does not match active session"),
            "{answers:?}"
        );
    }
}

/// Texts that look like messages, with a good token in some of them.
fn message() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_string()),
        Just("5".to_string()),
        Just("\"TOKEN\"".to_string()),
        Just("\"ping\"".to_string()),
        Just("\"switch_provider\"".to_string()),
        Just(r#"{"provider":"kimi"}"#.to_string()),
        Just(r#"{"provider":"kimi","provider":"gemini"}"#.to_string()),
        Just("[[[".to_string()),
        Just(r#""\ud800""#.to_string()),
        "[ -~]{0,12}",
    ];
    let member = (
        prop_oneof![Just("token"), Just("cmd"), Just("data"), Just("id"), Just("x")],
        value,
    );
    let members = proptest::collection::vec(member, 0..6).prop_map(|members| {
        let members = members.iter().map(|(name, value)| alloc::format!("\"{name}\":{value}"));
        alloc::format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    });
    prop_oneof![members, ".{0,60}"]
}

proptest! {
    #[test]
    fn every_message_has_one_answer_which_is_json(texts in proptest::collection::vec(message(), 1..8)) {
        let mut world = World::new();
        let mut client = world.connect(1, LOCAL);
        for text in texts {
            let text = text.replace("TOKEN", &world.token());
            let answers = world.say(&mut client, &text);
            prop_assert_eq!(answers.len(), 1, "{}", text);
            for answer in answers {
                // What came as an unpaired surrogate goes back as one, which not every reader takes.
                let is_json = serde_json::from_str::<serde_json::Value>(&answer).is_ok();
                prop_assert!(is_json || text.contains("\\ud800"), "{}", answer);
                prop_assert!(answer.starts_with("{\"ok\":"), "{}", answer);
            }
        }
    }
}
