//! What the commands answer. Spec: `spec/control.md` section 5.

use super::*;
use crate::jwt::{Claims, SigningKey, issue};
use crate::providers::{HealthReport, ProviderHealth};

const SWITCH_TO_KIMI: &str = r#","data":{"provider":"kimi"}"#;

#[test]
fn status_tells_the_active_provider_and_never_fails() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    world.pass(3);
    let id = world.control.token_id().clone();
    let version = env!("CARGO_PKG_VERSION");
    let expected = alloc::format!(
        r#"{{"ok":true,"cmd":"status","result":{{"provider":"Gemini","model":"gemini-1.5-pro","providerKey":"gemini","uptimeMs":3000,"nodeEnv":"development","configured":false,"version":"{version}","tokenId":"{id}","tokenExpiresAt":"2026-11-21T15:06:20.000Z","connections":1}}}}"#
    );
    assert_eq!(world.command(&mut client, "status", ""), expected);
    world.command(&mut client, "switch_provider", SWITCH_TO_KIMI);
    let status = world.command(&mut client, "status", "");
    assert!(
        status.contains(
            r#""provider":"Kimi (Moonshot AI)","model":"moonshot-v1-8k","providerKey":"kimi","uptimeMs":3000"#
        )
    );
    assert!(status.contains(r#""configured":true"#));
}

#[test]
fn a_switch_takes_place_whole_or_not_at_all() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let mut switch = |world: &mut World, data: &str| {
        let answer = world.command(&mut client, "switch_provider", &alloc::format!(r#","data":{data}"#));
        let rest = answer.split_once(r#""cmd":"switch_provider","#).unwrap().1.to_string();
        (rest, world.providers.active)
    };
    use ProviderKey::{Gemini, Kimi};
    for (data, answer, active) in [
        (
            r#"{"provider":"gemini"}"#,
            r#""error":"Provider \"gemini\" is not configured: GEMINI_API_KEY is not set"}"#,
            Gemini,
        ),
        (
            r#"{"provider":"kimi","model":"a//b"}"#,
            r#""error":"Invalid model \"a//b\"."}"#,
            Gemini,
        ),
        (
            r#"{"provider":"openai"}"#,
            r#""error":"Invalid provider \"openai\". Valid options: gemini | kimi"}"#,
            Gemini,
        ),
        (
            r#"{"provider":"kimi","model":"moonshot-v1-32k"}"#,
            r#""result":{"previous":"gemini","active":"kimi","model":"moonshot-v1-32k"}}"#,
            Kimi,
        ),
        (
            r#"{"provider":"kimi","model":"moonshot-v1-128k"}"#,
            r#""result":{"previous":"kimi","active":"kimi","model":"moonshot-v1-128k"}}"#,
            Kimi,
        ),
        (
            r#"{"provider":"kimi"}"#,
            r#""result":{"previous":"kimi","active":"kimi","model":"moonshot-v1-128k"}}"#,
            Kimi,
        ),
        (
            r#"{"provider":"gemini"}"#,
            r#""error":"Provider \"gemini\" is not configured: GEMINI_API_KEY is not set"}"#,
            Kimi,
        ),
    ] {
        assert_eq!(switch(&mut world, data), (answer.to_string(), active), "{data}");
    }
    let switches = world
        .audit
        .iter()
        .filter(|record| record.event == crate::audit::AuditEvent::ProviderSwitched);
    assert_eq!(switches.count(), 3);
}

fn report() -> HealthReport {
    let providers = [
        ProviderHealth {
            provider: ProviderKey::Kimi,
            model: "moonshot-v1-8k".into(),
            configured: true,
            ok: true,
            latency_ms: Some(412),
            error: None,
        },
        ProviderHealth {
            provider: ProviderKey::Gemini,
            model: "gemini-1.5-pro".into(),
            configured: false,
            ok: false,
            latency_ms: None,
            error: Some("GEMINI_API_KEY is not set".into()),
        },
    ];
    HealthReport {
        providers: providers.into(),
    }
}

#[test]
fn at_the_end_of_the_grace_a_health_check_is_answered_that_there_is_no_result() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let ask = alloc::format!(r#"{{"token":"{}","cmd":"health_check","id":7}}"#, world.token());
    assert!(world.say(&mut client, &ask).is_empty());
    let ticket = world.providers.asked[0];
    world.act(|control, cx| {
        control.drain();
        control.stop(cx);
    });
    assert_eq!(
        world.heard_by(client.conn),
        [r#"{"ok":false,"cmd":"health_check","error":"Command failed: server shutdown","id":7}"#]
    );
    assert_eq!(
        (world.control.in_progress(), world.control.take_released()),
        (0, Some(client.conn))
    );
    world.act(|control, cx| control.health_checked(cx, ticket, &report()));
    assert!(world.heard_by(client.conn).is_empty(), "it is answered once");
}

#[test]
fn a_health_check_is_answered_when_the_providers_are_and_messages_wait_for_it() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let ask = alloc::format!(r#"{{"token":"{}","cmd":"health_check","id":"h"}}"#, world.token());
    assert!(world.say(&mut client, &ask).is_empty());
    assert_eq!(
        (client.session.not_before(), world.control.in_progress()),
        (Instant::END, 1)
    );
    let ticket = world.providers.asked[0];
    world.act(|control, cx| control.health_checked(cx, ticket, &report()));
    let expected = r#"{"ok":true,"cmd":"health_check","result":{"message":"Health check complete — see server logs for details.","providers":[{"provider":"kimi","name":"Kimi (Moonshot AI)","model":"moonshot-v1-8k","configured":true,"ok":true,"latencyMs":412},{"provider":"gemini","name":"Gemini","model":"gemini-1.5-pro","configured":false,"ok":false,"error":"GEMINI_API_KEY is not set"}]},"id":"h"}"#;
    assert_eq!(world.heard_by(client.conn), [expected]);
    assert_eq!(world.control.take_released(), Some(client.conn));
    client.session.released();
    assert!(client.session.not_before() <= world.now.monotonic && world.control.in_progress() == 0);
    assert!(world.command(&mut client, "ping", "").contains("pong"));
    let checked = ControlFact::HealthChecked {
        providers: alloc::vec![(ProviderKey::Kimi, Ok(()))],
    };
    assert!(world.facts().contains(&checked));
}

#[test]
fn who_left_is_not_told_and_a_draining_server_begins_no_check() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let ask = alloc::format!(r#"{{"token":"{}","cmd":"health_check"}}"#, world.token());
    world.say(&mut client, &ask);
    let Client { conn, session } = client;
    world.act(|control, cx| control.closed(cx, conn, &session));
    assert_eq!(world.control.in_progress(), 0);
    let ticket = world.providers.asked[0];
    world.act(|control, cx| control.health_checked(cx, ticket, &report()));
    assert!(world.heard_by(conn).is_empty() && world.control.take_released().is_none());
    let mut late = world.connect(2, LOCAL);
    world.control.drain();
    assert_eq!(
        world.command(&mut late, "health_check", ""),
        r#"{"ok":false,"cmd":"health_check","error":"Command failed: server shutdown"}"#
    );
    assert!(world.command(&mut late, "ping", "").contains("pong"));
}

#[test]
fn a_token_allows_what_its_scopes_say() {
    let mut world = World::new();
    let mut client = world.connect(1, LOCAL);
    let key = SigningKey::new(SECRET.as_bytes());
    let id = world.control.token_id().clone();
    let all = ["ping", "status", "health_check", "switch_provider", "rotate_token"];
    for (scopes, allowed) in [
        (&[][..], &[][..]),
        (&["provider:read"], &all[..2]),
        (&["provider:write"], &all[3..4]),
        (
            &["provider:read", "provider:write", "x"],
            &["ping", "status", "switch_provider"],
        ),
        (
            &["gateway:admin"],
            &["ping", "status", "switch_provider", "rotate_token"],
        ),
    ] {
        for cmd in ["ping", "status", "switch_provider", "rotate_token"] {
            let claims = Claims {
                issued_at: 1,
                expires_at: START,
                id: world.control.token_id(),
                scopes,
            };
            let token = issue(&key, &claims).unwrap();
            let text = alloc::format!(
                r#"{{"token":"{}","cmd":"{cmd}","data":{{"provider":"kimi"}}}}"#,
                token.reveal()
            );
            let answer = world.say(&mut client, &text).concat();
            assert_eq!(
                answer.contains("\"ok\":true"),
                allowed.contains(&cmd),
                "{scopes:?} {cmd} {answer}"
            );
        }
    }
    assert_ne!(*world.control.token_id(), id, "the administrator rotated it");
    let claims = Claims {
        issued_at: 1,
        expires_at: START,
        id: world.control.token_id(),
        scopes: &[],
    };
    let token = issue(&key, &claims).unwrap();
    for (cmd, needs) in [
        ("ping", "provider:read or gateway:admin"),
        ("health_check", "provider:read or gateway:admin"),
        ("switch_provider", "provider:write or gateway:admin"),
        ("rotate_token", "gateway:admin"),
    ] {
        let text = alloc::format!(r#"{{"token":"{}","cmd":"{cmd}"}}"#, token.reveal());
        let expected =
            alloc::format!(r#"{{"ok":false,"cmd":"{cmd}","error":"Forbidden: {cmd} needs the scope {needs}"}}"#);
        assert_eq!(world.say(&mut client, &text), [expected]);
    }
}
