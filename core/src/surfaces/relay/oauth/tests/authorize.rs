//! `/oauth/authorize` in demo mode.

use super::*;

fn changed(from: &str, to: &str) -> String {
    let good = format!("{}&demo_email=a@b.c", asking());
    assert!(good.contains(from), "{from}");
    good.replacen(from, to, 1)
}

#[test]
fn the_checks_in_their_order() {
    let mut world = World::new(RelayAuth::Demo);
    let all = |left: usize| {
        // The first `left` checks pass, the others fail.
        let parts = [
            ("response_type=code", "response_type=token"),
            ("client_id=commands-agent", "client_id=x"),
            ("redirect_uri=http://localhost:61696/callback", ""),
            ("demo_email=a@b.c", "demo_name=%07"),
            ("code_challenge_method=S256", "code_challenge_method=plain"),
        ];
        let mut form = changed("", "");
        for (from, to) in parts.iter().skip(left) {
            form = form.replacen(from, to, 1);
        }
        form
    };
    for (left, status, body) in [
        (0, 400, r#"{"error":"unsupported response_type"}"#),
        (
            1,
            400,
            r#"{"error":"invalid_client","error_description":"unknown client_id"}"#,
        ),
        (2, 400, r#"{"error":"redirect_uri is required"}"#),
        (
            3,
            401,
            r#"{"error":"demo_uid, demo_email or demo_name is too long or holds control characters"}"#,
        ),
        (
            4,
            400,
            r#"{"error":"invalid_request","error_description":"code_challenge_method 'plain' is not supported; use S256"}"#,
        ),
    ] {
        let told = world.post("/oauth/authorize", &all(left));
        assert_eq!((told.status, told.body.as_str()), (status, body));
    }
    for (from, to, body) in [
        (
            "http://localhost:61696/callback",
            "http://evil.example/",
            r#"{"error":"redirect_uri not allowed"}"#,
        ),
        (
            CHALLENGE,
            "",
            r#"{"error":"invalid_request","error_description":"code_challenge is required (PKCE)"}"#,
        ),
        (
            CHALLENGE,
            "short",
            r#"{"error":"invalid_request","error_description":"code_challenge must be 43-128 characters (RFC 7636)"}"#,
        ),
        (
            "=S256",
            "=",
            r#"{"error":"invalid_request","error_description":"code_challenge_method is required; use S256"}"#,
        ),
        (
            "state=",
            "scope=device:x&state=",
            r#"{"error":"invalid_scope","error_description":"device:<id> needs the id of a device"}"#,
        ),
        (
            "=S256",
            "=S1",
            r#"{"error":"invalid_request","error_description":"unsupported code_challenge_method: S1"}"#,
        ),
    ] {
        let told = world.post("/oauth/authorize", &changed(from, to));
        assert_eq!((told.status, told.body.as_str()), (400, body));
        assert_eq!(told.header("Cache-Control"), "no-store");
    }
    assert!(world.store.is_empty());
}

#[test]
fn both_published_clients_and_none_are_taken() {
    let mut world = World::new(RelayAuth::Demo);
    for client in ["commands-agent", "commands-desktop-public", ""] {
        let told = world.post("/oauth/authorize", &changed("commands-agent", client));
        assert_eq!(told.status, 302, "{client}");
    }
    let told = world.post("/oauth/authorize", &changed("response_type=code&", ""));
    assert_eq!(told.status, 302);
}

#[test]
fn a_code_goes_back_by_redirect_or_as_json() {
    let mut world = World::new(RelayAuth::Demo);
    let told = world.post("/oauth/authorize", &changed("", ""));
    assert_eq!((told.status, told.body.as_str()), (302, ""));
    assert!(
        told.header("Location")
            .starts_with("http://localhost:61696/callback?code=")
    );
    assert!(told.header("Location").ends_with("&state=s%201"));
    assert_eq!(told.parameter("code").len(), 43);
    assert_eq!(told.header("Cache-Control"), "no-store");
    let blank = world.post("/oauth/authorize", &changed("state=s%201", "state=%20"));
    assert!(!blank.header("Location").contains("state"));
    let out_of_band = changed("http://localhost:61696/callback", "urn:ietf:wg:oauth:2.0:oob");
    let accept = ("Accept", "text/html, Application/JSON;q=0.5");
    for (form, fields) in [
        (out_of_band, alloc::vec![FORM]),
        (changed("state=", "response_mode=JSON&state="), alloc::vec![FORM]),
        (changed("", ""), alloc::vec![FORM, accept]),
    ] {
        let told = world.ask(Method::Post, "/oauth/authorize", &fields, &form).unwrap();
        assert_eq!(told.status, 200);
        assert_eq!(told.header("Content-Type"), "application/json; charset=utf-8");
        assert_eq!(told.header("Cache-Control"), "no-store");
        let code = told.get("code");
        assert_eq!(
            told.body,
            format!(
                r#"{{"code":"{code}","state":"s 1","redirect_uri":"{}","expires_in":300,"code_challenge":"{CHALLENGE}","challenge_method":"S256"}}"#,
                told.get("redirect_uri")
            )
        );
    }
}

#[test]
fn parameters_come_from_the_query_then_from_the_form() {
    let mut world = World::new(RelayAuth::Demo);
    let target = format!("/oauth/authorize?{}&demo_email=query@b.c&response_mode=json", asking());
    let told = world
        .ask(Method::Post, &target, &[FORM], "demo_email=body@b.c")
        .unwrap();
    let tokens = world.exchange(&told.get("code"));
    let caller = world.judge(&tokens.get("access_token")).unwrap();
    assert_eq!(caller.email_written.as_deref(), Some("query@b.c"));
    let told = world.get(&format!("{target}&x"), &[]);
    assert_eq!(told.status, 200, "a GET with an e-mail is answered with a code at once");
    let multipart = ("Content-Type", "multipart/form-data; boundary=b");
    let body = "--b\r\nContent-Disposition: form-data; name=\"demo_email\"\r\n\r\nm@b.c\r\n--b--\r\n";
    let target = format!("/oauth/authorize?{}", asking());
    let told = world.ask(Method::Post, &target, &[multipart], body).unwrap();
    assert_eq!(told.status, 302);
    let json = ("Content-Type", "application/json");
    let told = world
        .ask(Method::Post, "/oauth/authorize", &[json], r#"{"redirect_uri":"x"}"#)
        .unwrap();
    assert_eq!(told.body, r#"{"error":"redirect_uri is required"}"#);
    let large = world.post("/oauth/authorize", &"x".repeat(70_000));
    assert_eq!((large.status, large.get("error").as_str()), (400, "invalid_request"));
}

#[test]
fn the_login_page() {
    let mut world = World::new(RelayAuth::Demo);
    world.relay.client_name = "A <b>&\"x\"".into();
    let asked = asking().replace("state=s%201", "state=%22%3E%3Cscript%3E%27%26");
    let told = world.get(&format!("/oauth/authorize?{asked}"), &[("Accept", "text/html")]);
    assert_eq!(
        (told.status, told.header("Content-Type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        told.body
            .contains("<title>A &lt;b&gt;&amp;&quot;x&quot;: log in</title>")
    );
    assert!(
        told.body
            .contains(r#"<input type="hidden" name="state" value="&quot;&gt;&lt;script&gt;&#39;&amp;">"#)
    );
    assert!(!told.body.contains("<script") && !told.body.contains("http-equiv"));
    for name in [
        "response_type",
        "client_id",
        "redirect_uri",
        "code_challenge",
        "code_challenge_method",
    ] {
        assert!(told.body.contains(&format!("name=\"{name}\"")), "{name}");
    }
    assert!(told.body.contains(r#"name="demo_email" required"#));
    let policy = told.header("Content-Security-Policy");
    assert!(policy.starts_with("default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'nonce-"));
    assert!(
        policy.ends_with("form-action 'self' http://localhost:61696"),
        "{policy}"
    );
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
    ] {
        assert_eq!(told.header(name), value);
    }
    assert!(world.store.is_empty());
}

#[test]
fn a_person_is_told_before_the_login_and_the_client_is_told_too() {
    let mut world = World::new(RelayAuth::Demo);
    let asked = asking().replace("S256", "plain");
    let told = world.get(&format!("/oauth/authorize?{asked}"), &[("Accept", "text/html,*/*")]);
    assert_eq!(told.status, 302);
    assert_eq!(told.parameter("error"), "invalid_request");
    assert_eq!(told.parameter("state"), "s 1");
    assert!(told.parameter("error_description").contains("'plain' is not supported"));
    let program = world.get(&format!("/oauth/authorize?{asked}"), &[]);
    assert_eq!(program.status, 200, "a program gets the page, as from the original");
}

#[test]
fn a_page_of_another_site_logs_nobody_in() {
    let mut world = World::new(RelayAuth::Demo);
    let cross = ("Sec-Fetch-Site", "cross-site");
    let target = format!("/oauth/authorize?{}&demo_email=a@b.c", asking());
    let told = world.ask(Method::Post, &target, &[FORM, cross], "").unwrap();
    assert_eq!(told.status, 403);
    let told = world.get(&target, &[cross]);
    assert!(
        told.status == 200 && told.body.contains("<form"),
        "a person must send the form"
    );
    let told = world.get(&target, &[("Sec-Fetch-Site", "none")]);
    assert_eq!(told.status, 302);
}

#[test]
fn codes_are_bounded_and_on_disk_before_they_are_handed_out() {
    let mut world = World::new(RelayAuth::Demo);
    world.relay.limits.auth_codes = 2;
    world.is_disk_stuck = true;
    let form = format!("{}&demo_email=a@b.c&response_mode=json", asking());
    assert!(world.ask(Method::Post, "/oauth/authorize", &[FORM], &form).is_none());
    world.is_disk_stuck = false;
    world.settle();
    let code = world.answer().unwrap().get("code");
    assert_eq!(world.store.len(), 1);
    let written = format!("{:?}", world.store);
    assert!(!written.contains(&code), "only its digest is on disk");
    world.code("b@b.c");
    let full = world.post("/oauth/authorize", &form);
    assert_eq!((full.status, full.header("Retry-After")), (503, "60"));
    world.wait(300);
    assert_eq!(world.oauth.codes.len(), 0);
    assert_eq!(world.exchange(&code).body, r#"{"error":"invalid_grant"}"#);
    let events: Vec<AuditEvent> = world.audit.iter().map(|record| record.event).collect();
    assert_eq!(
        events,
        [AuditEvent::AuthOk, AuditEvent::AuthOk, AuditEvent::TokenRefused]
    );
}
