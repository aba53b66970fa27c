//! The life of the token. Spec: `spec/control.md` section 3.

use super::*;

const FILE: &str = "/state/control-token";

fn with_file() -> ControlSettings {
    ControlSettings {
        token_file: Some(FILE.into()),
        ..with_secret()
    }
}

fn issued(facts: &[ControlFact]) -> Vec<(Issued, Option<String>, bool)> {
    let issued = facts.iter().filter_map(|fact| match fact {
        ControlFact::TokenIssued {
            why, replaces, token, ..
        } => Some((*why, replaces.clone(), token.is_some())),
        _ => None,
    });
    issued.collect()
}

#[test]
fn without_a_secret_one_is_drawn_once_and_its_token_works() {
    let mut world = World::with(settings(ControlSettings::default()));
    assert_eq!(world.facts()[0], ControlFact::EphemeralSecret);
    let mut client = world.connect(1, LOCAL);
    assert!(world.command(&mut client, "ping", "").contains("pong"));
    assert!(world.command(&mut client, "ping", "").contains("pong"));
    let token = world.token();
    // The same settings again: the same secret, the same token.
    world.act(|control, cx| control.reconfigure(cx));
    assert_eq!(world.token(), token);
    assert!(!world.facts().contains(&ControlFact::EphemeralSecret));
}

#[test]
fn the_token_is_in_its_file_and_the_last_one_stays_there() {
    let mut world = World::with(settings(with_file()));
    let first = world.token();
    world.act(|control, cx| {
        control.renew(cx);
        control.renew(cx);
    });
    let last = world.token();
    let files = world.write_files();
    let file = |token: &str| (FILE.to_string(), alloc::format!("{token}\n"), 0o600);
    assert_eq!(files, [file(&first), file(&last)]);
    let facts = world.facts();
    assert!(matches!(facts.last(), Some(ControlFact::TokenStored { id, .. }) if id == world.control.token_id()));
    let fault = crate::effect::Fault {
        kind: crate::effect::FaultKind::PermissionDenied,
        detail: "no".into(),
    };
    world.act(|control, cx| control.renew(cx));
    let Some(Output::Start { effect, .. }) = world.calls.take_output() else {
        panic!("nothing was written")
    };
    world.act(|control, cx| control.completed(cx, effect, Err(fault)));
    let report = world.reports.pop().unwrap().to_string();
    assert!(
        report.contains(FILE) && report.contains("permission denied"),
        "{report}"
    );
}

#[test]
fn rotation_is_at_once_and_for_everybody() {
    let mut world = World::new();
    let (mut one, mut other) = (world.connect(1, LOCAL), world.connect(2, LOCAL));
    let old = world.token();
    let old_id = world.control.token_id().clone();
    let old_ping = alloc::format!(r#"{{"token":"{old}","cmd":"ping"}}"#);
    assert!(world.say(&mut other, &old_ping).concat().contains("pong"));
    world.pass(2);
    let answer = world.command(&mut one, "rotate_token", "");
    let (new, id) = (world.token(), world.control.token_id().clone());
    let expected = alloc::format!(
        r#"{{"ok":true,"cmd":"rotate_token","result":{{"token":"{new}","tokenId":"{id}","expiresAt":"2026-11-21T15:06:22.000Z"}}}}"#
    );
    assert_eq!(answer, expected);
    let gone = r#"{"ok":false,"cmd":"ping","error":"Unauthorised: Token JTI does not match active session — please use the current startup token"}"#;
    for client in [&mut one, &mut other] {
        assert_eq!(world.say(client, &old_ping), [gone]);
        assert!(
            world.command(client, "ping", "").contains("pong"),
            "the connection stays"
        );
    }
    let facts = world.facts();
    assert!(
        issued(&facts).contains(&(Issued::Rotated, Some(old_id.clone()), false)),
        "{facts:?}"
    );
    let written = alloc::format!("{facts:?} {:?}", world.audit);
    assert!(written.contains(&alloc::format!("jti {old_id} to {id}")));
    assert!(!written.contains(&new) && !written.contains(&old));
}

#[test]
fn others_are_closed_when_the_settings_want_it() {
    let mut world = World::with(settings(ControlSettings {
        close_on_rotate: true,
        hand_out_token: true,
        ..with_secret()
    }));
    let (mut one, other) = (world.connect(1, LOCAL), world.connect(2, LOCAL));
    assert!(world.command(&mut one, "rotate_token", "").contains("\"ok\":true"));
    assert_eq!(world.heard_by(other.conn), ["close 4001 token rotated"]);
    let facts = world.facts();
    assert!(issued(&facts).iter().all(|(_, _, handed_out)| *handed_out));
}

#[test]
fn an_expired_token_is_renewed_by_a_reload_and_a_good_one_is_not() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let first = world.token();
    world.act(|control, cx| control.reconfigure(cx));
    assert_eq!(world.token(), first);
    world.pass(24 * 3_600 - 1);
    assert!(world.command(&mut client, "ping", "").contains("pong"));
    world.pass(1);
    assert!(
        world
            .command(&mut client, "rotate_token", "")
            .contains("Token validation failed: jwt expired")
    );
    world.act(|control, cx| control.reconfigure(cx));
    assert_ne!(world.token(), first);
    assert!(world.command(&mut client, "ping", "").contains("pong"));
    assert!(issued(&world.facts()).iter().any(|(why, _, _)| *why == Issued::Renewed));
}

#[test]
fn another_secret_or_another_lifetime_makes_another_token() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    for changed in [
        ControlSettings {
            session_ttl: Duration::from_secs(3_600),
            ..with_secret()
        },
        ControlSettings::default(),
        with_secret(),
    ] {
        let old = world.token();
        world.settings = Arc::new(settings(changed));
        world.act(|control, cx| control.reconfigure(cx));
        assert_ne!(world.token(), old);
        assert!(world.command(&mut client, "ping", "").contains("pong"));
    }
    let token = world.token();
    world.settings = Arc::new(settings(with_file()));
    world.act(|control, cx| control.reconfigure(cx));
    assert_eq!(
        world.write_files(),
        [(FILE.to_string(), alloc::format!("{token}\n"), 0o600)]
    );
    // Turning the control plane off needs a restart: until then it stays as it was.
    world.settings = Arc::new(Settings::default());
    world.act(|control, cx| control.reconfigure(cx));
    assert_eq!(world.token(), token);
}

#[test]
fn every_start_has_another_token() {
    let mut world = World::new();
    let mut random = Random::new(Seed([8; 32]));
    let after = Tokens::new(&with_secret(), world.now.wall, &mut random);
    let mut client = world.connect(1, LOCAL);
    let text = alloc::format!(r#"{{"token":"{}","cmd":"ping"}}"#, after.active.token.reveal());
    let answers = world.say(&mut client, &text).concat();
    assert!(answers.contains("Token JTI does not match active session"), "{answers}");
}
