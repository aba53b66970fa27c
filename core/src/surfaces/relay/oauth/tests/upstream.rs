//! Users whom an identity provider vouches for.

use super::*;

use crate::effect::{ShaLength, SignatureScheme};

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/keys";
const FIREBASE_JWKS: &str = "/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

pub(in super::super) fn oidc() -> RelayAuth {
    RelayAuth::Oidc {
        issuer: "https://id.example".into(),
        client_id: "client-1".into(),
    }
}

fn provider() -> Keys {
    Keys::derive(&Secret::new("the-identity-provider-of-the-tests-0123".into()))
}

fn ed25519_key(kid: &str) -> String {
    format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}","kid":"{kid}"}}"#,
        provider().public()
    )
}

fn rsa_key(kid: &str) -> String {
    let n = URL_SAFE_NO_PAD.encode([0xfb_u8; 256]);
    format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","kid":"{kid}","use":"sig"}}"#)
}

fn configuration(issuer: &str, algorithms: &str) -> String {
    format!(
        r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}{JWKS}","id_token_signing_alg_values_supported":[{algorithms}]}}"#
    )
}

fn world() -> World {
    world_with(&[ed25519_key("ed"), rsa_key("rsa")])
}

fn world_with(keys: &[String]) -> World {
    let mut world = World::unloaded(oidc());
    let algorithms = r#""RS256","PS384","ES256","EdDSA","none","HS256""#;
    world
        .documents
        .insert(CONFIGURATION.into(), configuration("https://id.example", algorithms));
    world.documents.insert(JWKS.into(), set(keys));
    world.load();
    world
}

fn set(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn payload() -> String {
    format!(
        r#"{{"iss":"https://id.example","aud":"client-1","sub":"u-1","exp":{},"email":"a@b.c","email_verified":true,"name":"Ann"}}"#,
        START + 60
    )
}

/// A token of the provider.
fn token(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = provider().sign(input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const ED: &str = r#"{"alg":"EdDSA","kid":"ed"}"#;
const RSA: &str = r#"{"alg":"RS256","kid":"rsa"}"#;

fn login(world: &mut World, token: &str) -> Told {
    let form = format!("{}&response_mode=json&id_token={token}", asking());
    world.post("/oauth/authorize", &form)
}

fn refused(world: &mut World, token: &str) -> String {
    let told = login(world, token);
    assert_eq!(told.status, 401, "{told:?}");
    told.get("error")
}

const NOT_VERIFIED: &str = "id token verification failed";

#[test]
fn a_good_id_token_logs_its_user_in() {
    let mut world = world();
    assert_eq!(world.asked, [CONFIGURATION, JWKS], "before anybody logs in");
    let told = login(&mut world, &token(ED, &payload()));
    let tokens = world.exchange(&told.get("code"));
    let caller = world.judge(&tokens.get("access_token")).unwrap();
    assert_eq!((caller.uid.0.as_str(), caller.name.as_deref()), ("u-1", Some("Ann")));
    assert!(caller.email_verified && caller.email.is_some());
    let unverified = payload().replace(",\"email_verified\":true", "");
    let told = login(&mut world, &token(ED, &unverified));
    let tokens = world.exchange(&told.get("code"));
    let caller = world.judge(&tokens.get("access_token")).unwrap();
    assert!(!caller.email_verified && caller.email.is_some());
    assert_eq!(world.asked.len(), 2, "the documents are kept");
}

#[test]
fn the_token_comes_in_the_header_or_in_either_field() {
    let mut world = world();
    let good = token(ED, &payload());
    let target = format!("/oauth/authorize?{}", asking());
    let field = format!("bearer  {good} ");
    assert_eq!(world.get(&target, &[("Authorization", &field)]).status, 302);
    let told = world.get(&format!("{target}&id_token={good}&firebase_token=x"), &[]);
    assert_eq!(told.status, 302);
    assert_eq!(world.get(&format!("{target}&firebase_token={good}"), &[]).status, 302);
    let told = world.get(&target, &[("Authorization", "Basic eDp5")]);
    assert!(
        told.status == 200 && told.body.contains("name=\"id_token\""),
        "the page"
    );
    let told = world.post(&target, "demo_email=a@b.c");
    assert_eq!((told.status, told.get("error").as_str()), (401, "id token is required"));
}

#[test]
fn rsa_is_checked_outside_with_the_key_that_the_token_names() {
    let mut world = world();
    assert_eq!(login(&mut world, &token(RSA, &payload())).status, 200);
    let check = world.checked.pop().unwrap();
    let SignatureScheme::RsaPkcs1(ShaLength::Sha256, key) = &check.scheme else {
        panic!("{check:?}");
    };
    assert_eq!((key.modulus.len(), &key.exponent[..]), (256, &[1, 0, 1][..]));
    let text = token(RSA, &payload());
    assert_eq!(check.message, text.rsplit_once('.').unwrap().0);
    let told = login(&mut world, &token(r#"{"alg":"PS384","kid":"rsa"}"#, &payload()));
    assert_eq!(told.status, 200);
    assert!(matches!(
        world.checked.pop().unwrap().scheme,
        SignatureScheme::RsaPss(ShaLength::Sha384, _)
    ));
    world.is_signature_right = false;
    assert_eq!(refused(&mut world, &token(RSA, &payload())), NOT_VERIFIED);
}

#[test]
fn a_header_never_chooses_how_a_key_is_used() {
    let mut world = world();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"rsa"}"#,
        r#"{"alg":"ES256","kid":"rsa"}"#,
        r#"{"alg":"RS512","kid":"rsa"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"alg":"EdDSA","kid":"ed","crit":["x"]}"#,
        r#"{"kid":"ed"}"#,
    ] {
        assert_eq!(
            refused(&mut world, &token(header, &payload())),
            NOT_VERIFIED,
            "{header}"
        );
    }
    assert!(world.checked.is_empty());
    assert_eq!(refused(&mut world, "a.b.c"), NOT_VERIFIED);
    let good = token(ED, &payload());
    let other = token(ED, &payload().replace("u-1", "u-2"));
    let mixed = format!(
        "{}.{}",
        other.rsplit_once('.').unwrap().0,
        good.rsplit_once('.').unwrap().1
    );
    assert_eq!(refused(&mut world, &mixed), NOT_VERIFIED);
    let nobody = payload().replace("u-1", "");
    assert_eq!(refused(&mut world, &token(ED, &nobody)), "token missing subject");
    assert_eq!(
        login(&mut world, &token(r#"{"alg":"EdDSA"}"#, &payload())).status,
        200,
        "no choice, no kid"
    );
}

#[test]
fn without_an_id_a_token_is_taken_only_when_one_key_fits() {
    let mut world = world_with(&[ed25519_key("a"), ed25519_key("b")]);
    assert_eq!(
        refused(&mut world, &token(r#"{"alg":"EdDSA"}"#, &payload())),
        NOT_VERIFIED
    );
    assert_eq!(
        login(&mut world, &token(r#"{"alg":"EdDSA","kid":"b"}"#, &payload())).status,
        200
    );
}

#[test]
fn a_nonce_that_the_client_names_must_be_in_the_token() {
    let mut world = world();
    let fresh = payload().replace("\"sub\"", "\"nonce\":\"n-1\",\"sub\"");
    let good = token(ED, &fresh);
    for (nonce, status) in [("n-1", 200), ("n-2", 401)] {
        let form = format!("{}&response_mode=json&id_token={good}&id_token_nonce={nonce}", asking());
        assert_eq!(world.post("/oauth/authorize", &form).status, status);
    }
}

#[test]
fn new_keys_are_fetched_for_an_unknown_id_once_a_minute() {
    let mut world = world();
    let rotated = token(r#"{"alg":"EdDSA","kid":"new"}"#, &payload());
    assert_eq!(refused(&mut world, &rotated), NOT_VERIFIED);
    assert_eq!(world.asked.len(), 3, "at once, however new they are");
    world.documents.insert(JWKS.into(), set(&[ed25519_key("new")]));
    world.wait(59);
    let later = payload().replace(&format!("{}", START + 60), &format!("{}", START + 600));
    let rotated = token(r#"{"alg":"EdDSA","kid":"new"}"#, &later);
    assert_eq!(refused(&mut world, &rotated), NOT_VERIFIED);
    world.wait(1);
    assert_eq!(login(&mut world, &rotated).status, 200);
    assert_eq!(world.asked.len(), 4, "the keys and nothing else");
    assert_eq!(
        refused(&mut world, &token(ED, &later)),
        NOT_VERIFIED,
        "the old key is gone"
    );
    assert_eq!(world.asked.len(), 4);
}

#[test]
fn keys_are_kept_as_long_as_the_provider_says_and_not_longer() {
    let mut world = world();
    world.wait(599);
    let lasting = payload().replace(&format!("{}", START + 60), &format!("{}", START + 9_000));
    assert_eq!(login(&mut world, &token(ED, &lasting)).status, 200);
    assert_eq!(world.asked.len(), 2);
    world.wait(1);
    assert_eq!(login(&mut world, &token(ED, &lasting)).status, 200);
    assert_eq!(world.asked[2..], [CONFIGURATION, JWKS]);
    world.wait(600);
    world.documents.clear();
    let told = login(&mut world, &token(ED, &lasting));
    assert_eq!(
        (told.status, told.header("Retry-After")),
        (503, "5"),
        "old keys are not used"
    );
    assert_eq!(world.asked.len(), 5);
    assert_eq!(login(&mut world, &token(ED, &lasting)).status, 503);
    assert_eq!(world.asked.len(), 5, "nobody is asked again at once");
    assert_eq!(world.reports.len(), 1);
}

#[test]
fn documents_that_are_not_the_providers_are_not_used() {
    let good = configuration("https://id.example", "\"EdDSA\"");
    let inside = good.replace("https://id.example/keys", "https://10.0.0.1/keys");
    for (configuration, keys) in [
        (
            configuration("https://id.example/", "\"EdDSA\""),
            set(&[ed25519_key("ed")]),
        ),
        (
            configuration("https://evil.example", "\"EdDSA\""),
            set(&[ed25519_key("ed")]),
        ),
        (
            good.replace("https://id.example/keys", "http://id.example/keys"),
            set(&[ed25519_key("ed")]),
        ),
        (inside, set(&[ed25519_key("ed")])),
        (
            configuration("https://id.example", "\"HS256\""),
            set(&[ed25519_key("ed")]),
        ),
        ("[]".into(), set(&[ed25519_key("ed")])),
        (good.clone(), "{}".into()),
        (good, set(&[])),
    ] {
        let mut world = World::unloaded(oidc());
        world.documents.insert(CONFIGURATION.into(), configuration.clone());
        world.documents.insert(JWKS.into(), keys);
        world.load();
        assert_eq!(login(&mut world, &token(ED, &payload())).status, 503, "{configuration}");
        assert_eq!(world.reports.len(), 1);
    }
}

#[test]
fn a_name_that_leads_inside_is_not_asked_and_a_provider_without_algorithms_signs_with_rs256() {
    let mut world = World::unloaded(oidc());
    world.addresses = alloc::vec!["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    world.load();
    assert!(world.asked.is_empty() && world.reports.len() == 1);
    let mut world = world_with(&[ed25519_key("ed"), rsa_key("rsa")]);
    world
        .documents
        .insert(CONFIGURATION.into(), configuration("https://id.example", ""));
    world.wait(600);
    let lasting = payload().replace(&format!("{}", START + 60), &format!("{}", START + 9_000));
    assert_eq!(refused(&mut world, &token(ED, &lasting)), NOT_VERIFIED);
    assert_eq!(login(&mut world, &token(RSA, &lasting)).status, 200);
}

#[test]
fn firebase() {
    let mut world = World::unloaded(RelayAuth::Firebase {
        project_id: "proj-1".into(),
        api_key: Some("key\"1".into()),
    });
    world
        .documents
        .insert(FIREBASE_JWKS.into(), set(&[rsa_key("rsa"), ed25519_key("ed")]));
    world.load();
    assert_eq!(world.asked, [FIREBASE_JWKS]);
    let good = format!(
        r#"{{"iss":"https://securetoken.google.com/proj-1","aud":"proj-1","sub":"u-1","iat":{START},"exp":{}}}"#,
        START + 60
    );
    let told = login(&mut world, &token(RSA, &good));
    let tokens = world.exchange(&told.get("code"));
    assert_eq!(world.judge(&tokens.get("access_token")).unwrap().uid.0, "u-1");
    for header in [r#"{"alg":"RS256"}"#, ED, r#"{"alg":"PS256","kid":"rsa"}"#] {
        assert_eq!(refused(&mut world, &token(header, &good)), NOT_VERIFIED, "{header}");
    }
    let told = world.get(&format!("/oauth/authorize?{}", asking()), &[]);
    assert!(told.body.contains(r#"data-project="proj-1" data-key="key&quot;1""#));
    let policy = told.header("Content-Security-Policy");
    assert!(policy.contains("script-src 'nonce-") && policy.contains("frame-src https://proj-1.firebaseapp.com"));
    for script in told.body.split("<script ").skip(1) {
        assert!(script.starts_with("nonce=\""));
    }
}

#[test]
fn a_provider_that_does_not_answer_and_users_who_leave() {
    let mut world = World::unloaded(oidc());
    world.with(OAuth::load);
    // Only the records are read; nobody looks the provider's name up.
    while let Some(output) = world.calls.take_output() {
        if let Output::Start { effect, what } = output
            && matches!(*what, Effect::Store(_))
        {
            world.carry_out(effect, *what);
        }
    }
    let form = format!("{}&id_token={}", asking(), token(ED, &payload()));
    assert!(world.ask(Method::Post, "/oauth/authorize", &[FORM], &form).is_none());
    world.oauth.closed(ConnId::FIRST);
    assert!(world.oauth.pending.is_empty());
    assert!(world.ask(Method::Post, "/oauth/authorize", &[FORM], &form).is_none());
    world.wait(12);
    assert_eq!(world.answer().unwrap().status, 503);
    assert!(world.answer().is_none() && world.oauth.pending.is_empty());
}

#[test]
fn how_many_wait_is_bounded() {
    let mut world = World::unloaded(oidc());
    world.load();
    world.wait(6);
    let text = token(ED, &payload());
    world.with(|oauth, cx| {
        let upstream = oauth.upstream.as_mut().unwrap();
        for number in 0..300 {
            upstream.verify(cx, ConnId::new(number + 1).unwrap(), &text, None);
        }
        let mut refused = 0;
        while let Some((_, verdict)) = upstream.take_verdict() {
            assert_eq!(verdict, Err(Refusal::Unavailable));
            refused += 1;
        }
        assert_eq!(refused, 300 - 256);
    });
}
