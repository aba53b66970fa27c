//! `/oauth/token` and `/oauth/token/revoke`.

use super::*;

const NOT_FOUND: &str = r#"{"error":"invalid_grant","error_description":"refresh token not found or expired"}"#;

#[test]
fn a_code_becomes_tokens() {
    let mut world = World::new(RelayAuth::Demo);
    let told = world.login("Alice@Example.com");
    assert_eq!(told.status, 200);
    let (access, refresh) = (told.get("access_token"), told.get("refresh_token"));
    assert_eq!(
        told.body,
        format!(
            r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":3600,"scope":"profile email","refresh_token":"{refresh}"}}"#
        )
    );
    assert_eq!(
        (told.header("Cache-Control"), told.header("Pragma")),
        ("no-store", "no-cache")
    );
    assert_eq!(refresh.len(), 54);
    let caller = world.judge(&access).unwrap();
    assert_eq!(caller.uid.0, "demo-29a06794dd30fb91");
    assert_eq!(caller.email_written.as_deref(), Some("Alice@Example.com"));
    assert!(caller.email_verified && caller.login.is_some() && caller.token_id.len() == 22);
    assert_eq!(caller.expires_at, START + 3_600);
    assert!(!format!("{:?}", world.store).contains(&refresh), "no token is on disk");
    world.wait(3_600);
    assert_eq!(world.judge(&access), Err(TokenFault::Expired));
}

#[test]
fn the_checks_of_a_code_in_their_order_burn_nothing() {
    let mut world = World::new(RelayAuth::Demo);
    let code = world.code("a@b.c");
    let good = format!(
        "grant_type=authorization_code&code={code}&client_id=commands-agent&redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
    );
    let code_field = format!("code={code}");
    for (from, to, status, body) in [
        (
            "grant_type=authorization_code",
            "",
            400,
            r#"{"error":"unsupported grant_type"}"#,
        ),
        (
            "authorization_code",
            "password",
            400,
            r#"{"error":"unsupported grant_type"}"#,
        ),
        (code_field.as_str(), "code=", 400, r#"{"error":"code is required"}"#),
        (&code_field, "code=other", 400, r#"{"error":"invalid_grant"}"#),
        (
            "commands-agent",
            "commands-desktop-public",
            401,
            r#"{"error":"invalid_client"}"#,
        ),
        (CALLBACK, "", 400, r#"{"error":"invalid_grant"}"#),
        (
            CALLBACK,
            "http://localhost:61697/callback",
            400,
            r#"{"error":"invalid_grant"}"#,
        ),
        (
            VERIFIER,
            "",
            400,
            r#"{"error":"invalid_grant","error_description":"code_verifier is required"}"#,
        ),
        (
            VERIFIER,
            "short",
            400,
            r#"{"error":"invalid_grant","error_description":"code_verifier must be 43-128 characters (RFC 7636)"}"#,
        ),
        (
            "dBjft",
            "%2BBjft",
            400,
            r#"{"error":"invalid_grant","error_description":"code_verifier contains invalid characters (RFC 7636)"}"#,
        ),
        (
            "dBjft",
            "eBjft",
            400,
            r#"{"error":"invalid_grant","error_description":"pkce mismatch"}"#,
        ),
    ] {
        assert!(good.contains(from));
        let told = world.post("/oauth/token", &good.replacen(from, to, 1));
        assert_eq!((told.status, told.body.as_str()), (status, body), "{to}");
        assert_eq!(told.header("Cache-Control"), "no-store");
    }
    let told = world.post("/oauth/token", &good.replacen("client_id=commands-agent&", "", 1));
    assert_eq!(told.status, 200, "a client that does not say who it is");
    let query = world.code("a@b.c");
    let good = good.replacen(&code, &query, 1);
    assert_eq!(
        world.post(&format!("/oauth/token?{good}"), "").status,
        200,
        "the query is read, too"
    );
}

#[test]
fn a_code_is_good_once_and_a_second_use_ends_the_login() {
    let mut world = World::new(RelayAuth::Demo);
    let code = world.code("a@b.c");
    let tokens = world.exchange(&code);
    let access = tokens.get("access_token");
    assert!(world.judge(&access).is_ok());
    let told = world.exchange(&code);
    assert_eq!((told.status, told.body.as_str()), (400, r#"{"error":"invalid_grant"}"#));
    assert_eq!(world.judge(&access), Err(TokenFault::LoginOver));
    assert_eq!(world.refresh(&tokens.get("refresh_token")).body, NOT_FOUND);
    assert!(world.oauth.take_ended().is_some() && world.oauth.take_ended().is_none());
    assert!(world.store.is_empty());
    assert!(world.audit.iter().any(|record| record.event == AuditEvent::TokenReused));
}

#[test]
fn refresh_tokens_rotate_and_a_second_use_ends_the_login() {
    let mut world = World::new(RelayAuth::Demo);
    let first = world.login("a@b.c").get("refresh_token");
    let told = world.refresh(&first);
    let second = told.get("refresh_token");
    assert_eq!((told.status, told.get("scope").as_str()), (200, "profile email"));
    assert_ne!(first, second);
    let told = world.refresh(&second);
    let (third, access) = (told.get("refresh_token"), told.get("access_token"));
    assert!(world.judge(&access).is_ok());
    let replayed = world.refresh(&first);
    assert_eq!((replayed.status, replayed.body.as_str()), (400, NOT_FOUND));
    assert_eq!(world.refresh(&third).body, NOT_FOUND, "the family is dead");
    assert_eq!(world.judge(&access), Err(TokenFault::LoginOver));
    let other = world.login("a@b.c");
    assert_eq!(
        world.refresh(&other.get("refresh_token")).status,
        200,
        "other logins live on"
    );
}

#[test]
fn the_checks_of_a_refresh_token_in_their_order() {
    let mut world = World::new(RelayAuth::Demo);
    let token = world.login("a@b.c").get("refresh_token");
    for (form, status, body) in [
        ("".into(), 400, r#"{"error":"refresh_token is required"}"#),
        ("&refresh_token=unknown".into(), 400, NOT_FOUND),
        (format!("&refresh_token={}", "A".repeat(54)), 400, NOT_FOUND),
        (
            format!("&refresh_token={token}&client_id=commands-desktop-public"),
            401,
            r#"{"error":"invalid_client"}"#,
        ),
    ] {
        let told = world.post("/oauth/token", &format!("grant_type=refresh_token{form}"));
        assert_eq!((told.status, told.body.as_str()), (status, body));
    }
    let told = world.post(
        "/oauth/token",
        &format!("grant_type=refresh_token&refresh_token={token}&client_id=commands-agent&scope=admin"),
    );
    assert_eq!((told.status, told.get("scope").as_str()), (200, "profile email"));
}

#[test]
fn a_refresh_restarts_the_lifetime_but_not_the_login() {
    let mut world = World::new(RelayAuth::Demo);
    let mut token = world.login("a@b.c").get("refresh_token");
    // Nearly a day each; ten days in all.
    for _ in 0..11 {
        world.wait(78_000);
        let told = world.refresh(&token);
        assert_eq!(told.status, 200);
        token = told.get("refresh_token");
    }
    world.wait(5_000);
    let told = world.refresh(&token);
    assert_eq!(told.get("expires_in"), "1000", "no token outlives its login");
    world.wait(1_000);
    assert_eq!(world.refresh(&told.get("refresh_token")).body, NOT_FOUND);
    assert_eq!(world.oauth.logins.len(), 0, "swept");
    let token = world.login("a@b.c").get("refresh_token");
    world.wait(86_400);
    assert_eq!(world.refresh(&token).body, NOT_FOUND, "idle for its whole lifetime");
}

#[test]
fn what_was_handed_out_is_there_after_a_crash() {
    let mut world = World::new(RelayAuth::Demo);
    let code = world.code("a@b.c");
    let used = world.code("b@b.c");
    let tokens = world.exchange(&used);
    let refreshed = world.refresh(&tokens.get("refresh_token"));
    world.crash();
    assert_eq!(world.exchange(&code).status, 200);
    assert!(world.judge(&refreshed.get("access_token")).is_ok());
    let again = world.refresh(&refreshed.get("refresh_token"));
    assert_eq!(again.status, 200);
    world.crash();
    assert_eq!(world.refresh(&tokens.get("refresh_token")).body, NOT_FOUND);
    assert_eq!(
        world.refresh(&again.get("refresh_token")).body,
        NOT_FOUND,
        "reuse is seen across a crash"
    );
    let third = world.code("c@b.c");
    let tokens = world.exchange(&third);
    world.crash();
    assert_eq!(world.exchange(&third).status, 400);
    assert_eq!(world.judge(&tokens.get("access_token")), Err(TokenFault::LoginOver));
}

#[test]
fn no_token_is_handed_out_before_its_login_is_on_disk() {
    let mut world = World::new(RelayAuth::Demo);
    let code = world.code("a@b.c");
    world.is_disk_stuck = true;
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id=commands-agent&redirect_uri={CALLBACK}"
    );
    assert!(world.ask(Method::Post, "/oauth/token", &[FORM], &form).is_none());
    world.crash();
    assert_eq!(
        world.exchange(&code).status,
        200,
        "nothing was promised, the code is still good"
    );
}

#[test]
fn logins_are_bounded() {
    let mut world = World::new(RelayAuth::Demo);
    world.relay.limits.logins_per_user = 2;
    world.relay.limits.logins = 3;
    let first = world.login("a@b.c");
    world.wait(1);
    let second = world.login("a@b.c");
    world.wait(1);
    assert_eq!(
        world.refresh(&first.get("refresh_token")).status,
        200,
        "now it is the younger one"
    );
    world.wait(1);
    let third = world.login("a@b.c");
    assert!(world.judge(&third.get("access_token")).is_ok());
    assert!(world.oauth.take_ended().is_some(), "its streams end, too");
    assert_eq!(world.judge(&second.get("access_token")), Err(TokenFault::LoginOver));
    assert!(world.judge(&first.get("access_token")).is_ok());
    assert_eq!(world.login("b@b.c").status, 200);
    let code = world.code("c@b.c");
    let full = world.exchange(&code);
    assert_eq!(
        (full.status, full.get("error").as_str()),
        (503, "temporarily_unavailable")
    );
    world.wait(86_400);
    let code = world.code("c@b.c");
    assert_eq!(world.exchange(&code).status, 200);
}

#[test]
fn programs_log_in_by_their_name_in_demo_mode_only() {
    let mut world = World::new(RelayAuth::Demo);
    let told = world.post(
        "/oauth/token",
        "grant_type=client_credentials&client_id=any.one&scope=x%3Ay+z",
    );
    assert_eq!(told.status, 200);
    assert_eq!(
        (told.get("scope").as_str(), told.get("refresh_token").as_str()),
        ("x:y z", "")
    );
    assert_eq!(
        (told.get("expires_in").as_str(), told.header("Cache-Control")),
        ("3600", "no-store")
    );
    let caller = world.judge(&told.get("access_token")).unwrap();
    assert_eq!(
        (caller.uid.0.as_str(), caller.name.as_deref()),
        ("client:any.one", Some("any.one"))
    );
    assert_eq!((caller.email, caller.login), (None, None));
    let told = world.post("/oauth/token", "grant_type=client_credentials");
    let caller = world.judge(&told.get("access_token")).unwrap();
    assert_eq!(
        (caller.uid.0.as_str(), told.get("scope").as_str()),
        ("client:commands-agent", "")
    );
    let odd = world.post("/oauth/token", "grant_type=client_credentials&client_id=a%0Ab");
    assert_eq!(odd.status, 401);
    let odd = world.post("/oauth/token", "grant_type=client_credentials&scope=a%22b");
    assert_eq!(odd.body, r#"{"error":"invalid_scope"}"#);
    let mut world = World::new(upstream::oidc());
    let told = world.post("/oauth/token", "grant_type=client_credentials");
    assert_eq!(
        (told.status, told.body.as_str()),
        (400, r#"{"error":"unsupported_grant_type"}"#)
    );
}

#[test]
fn logins_of_another_mode_are_good_for_nothing() {
    let mut world = World::new(RelayAuth::Demo);
    let tokens = world.login("a@b.c");
    let code = world.code("a@b.c");
    world.relay.auth = upstream::oidc();
    world.with(OAuth::reconfigure);
    world.settle();
    assert_eq!(world.judge(&tokens.get("access_token")), Err(TokenFault::Mode));
    assert_eq!(world.refresh(&tokens.get("refresh_token")).body, NOT_FOUND);
    assert_eq!(world.exchange(&code).status, 400);
}

#[test]
fn unknown_scopes_of_published_clients_are_dropped() {
    let mut world = World::new(RelayAuth::Demo);
    let form = format!(
        "{}&demo_email=a@b.c&response_mode=json&scope=read_assets%20write_assets%20offline_access%20device",
        asking()
    );
    let code = world.post("/oauth/authorize", &form).get("code");
    assert_eq!(world.exchange(&code).get("scope"), "profile email");
}

#[test]
fn revoking() {
    let mut world = World::new(RelayAuth::Demo);
    let tokens = world.login("a@b.c");
    let (access, refresh) = (tokens.get("access_token"), tokens.get("refresh_token"));
    for form in ["".into(), "token=x".into(), format!("token={access}")] {
        let told = world.post("/oauth/token/revoke", &form);
        assert_eq!((told.status, told.body.as_str()), (200, "OK"));
        assert!(told.header("Content-Type").starts_with("text/plain"));
    }
    let other = format!("token={refresh}&client_id=commands-desktop-public");
    let told = world.post("/oauth/token/revoke", &other);
    assert_eq!(
        (told.status, told.body.as_str()),
        (401, r#"{"error":"invalid_client"}"#)
    );
    assert!(world.judge(&access).is_ok());
    let told = world.post(
        "/oauth/token/revoke",
        &format!("token={refresh}&client_id=commands-agent"),
    );
    assert_eq!((told.status, told.body.as_str()), (200, "OK"));
    assert_eq!(world.refresh(&refresh).body, NOT_FOUND);
    assert_eq!(world.judge(&access), Err(TokenFault::LoginOver));
    assert!(world.store.is_empty() && world.oauth.take_ended().is_some());
}

#[test]
fn while_the_disk_fails_no_refresh_token_is_used_up() {
    let mut world = World::new(RelayAuth::Demo);
    let token = world.login("a@b.c").get("refresh_token");
    world.is_disk_broken = true;
    let form = format!("{}&demo_email=a@b.c", asking());
    assert!(world.ask(Method::Post, "/oauth/authorize", &[FORM], &form).is_none());
    let told = world.refresh(&token);
    assert_eq!((told.status, told.get("error").as_str()), (503, "storage_unavailable"));
    world.is_disk_broken = false;
    world.wait(1);
    assert_eq!(world.answer().unwrap().status, 302, "it waited for the disk");
    assert_eq!(world.refresh(&token).status, 200);
}

#[test]
fn tokens_that_nobody_got_use_nothing_up() {
    let mut world = World::new(RelayAuth::Demo);
    let by_refresh = |token: &str| format!("grant_type=refresh_token&client_id=commands-agent&refresh_token={token}");
    let by_code = |code: &str| {
        format!(
            "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id=commands-agent&redirect_uri={CALLBACK}"
        )
    };
    let token = world.login("a@b.c").get("refresh_token");
    let code = world.code("a@b.c");
    for form in [by_refresh(&token), by_code(&code)] {
        // The disk does not take it in time, or the client leaves before it does: who asks again is no thief.
        world.is_disk_stuck = true;
        assert!(world.ask(Method::Post, "/oauth/token", &[FORM], &form).is_none());
        world.wait(5);
        assert_eq!(world.answer().unwrap().status, 503);
        assert!(world.ask(Method::Post, "/oauth/token", &[FORM], &form).is_none());
        world.oauth.closed(ConnId::FIRST);
        world.with(OAuth::take_back);
        world.is_disk_stuck = false;
        world.settle();
        while world.answer().is_some() {}
        let told = world.post("/oauth/token", &form);
        assert_eq!(told.status, 200, "{}", told.body);
        assert_eq!(world.post("/oauth/token", &form).status, 400, "but once only");
    }
    assert!(world.oauth.handing.is_empty() && world.oauth.undo.is_empty());
}

#[test]
fn an_agents_token_is_good_for_longer_and_ends_with_its_login() {
    let mut world = World::new(RelayAuth::Demo);
    world.relay.agent_token_ttl = core::time::Duration::from_secs(86_400);
    let asked = |world: &mut World, scope: &str| {
        let form = format!("{}&demo_email=a@b.c&response_mode=json&scope={scope}", asking());
        let code = world.post("/oauth/authorize", &form).get("code");
        world.exchange(&code)
    };
    let agent = asked(&mut world, "offline_access+device");
    assert!(agent.body.contains("\"expires_in\":86400"), "{}", agent.body);
    assert!(agent.body.contains("\"scope\":\"profile email\""));
    let bound = asked(&mut world, "device%3Adev_1");
    assert!(bound.body.contains("\"expires_in\":86400"));
    let usual = asked(&mut world, "email");
    assert!(usual.body.contains("\"expires_in\":3600"));
    let again = world.refresh(&agent.get("refresh_token"));
    assert!(again.body.contains("\"expires_in\":86400"));
    world.wait(10 * 86_400 + 60);
    assert_eq!(
        core::iter::from_fn(|| world.oauth.take_ended()).count(),
        3,
        "what they opened ends with them"
    );
}
