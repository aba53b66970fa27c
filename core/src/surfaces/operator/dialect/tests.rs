use alloc::string::{String, ToString};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::*;
use crate::policy::forwarded::Client;

const NOW: u64 = 1_795_264_496_007;

fn awaiting(client: Client) -> Awaiting {
    Awaiting {
        nonce: "the-nonce".to_string(),
        conn_id: "c".to_string(),
        origin: None,
        host: None,
        connected_at: UnixMillis(NOW),
        client,
        vouched_for: false,
    }
}

fn remote() -> Client {
    Client::Remote([203, 0, 113, 7].into())
}

/// `connect` params with a device whose proof is made over `signed` (the text after the device id).
fn params(version: &str, signed: &str, signed_at: u64, nonce: &str) -> String {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    let id: String = Sha256::digest(public)
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    let text = alloc::format!("{version}|{id}|{signed}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes());
    let public = URL_SAFE_NO_PAD.encode(public);
    alloc::format!(
        r#"{{"minProtocol":4,"maxProtocol":4,"client":{{"id":"cli","version":"1","platform":"Linux","mode":"cli"}},"caps":[],"role":"operator","scopes":["operator.read","operator.pairing"],"auth":{{"token":"secret-token"}},"device":{{"id":"{id}","publicKey":"{public}","signature":"{signature}","signedAt":{signed_at},"nonce":"{nonce}"}}}}"#
    )
}

fn check(text: &str, client: Client) -> Result<(), String> {
    let raw: &RawValue = serde_json::from_str(text).unwrap();
    let params = parse(Some(raw)).unwrap().unwrap();
    let dialect = params.dialect.as_ref().unwrap();
    dialect
        .check_device(&params, &awaiting(client), UnixMillis(NOW))
        .map_err(|error| error.details.unwrap_or_default().into_owned())
}

#[test]
fn a_devices_proof_is_checked_in_each_form_and_nothing_else_passes() {
    let rest = alloc::format!("cli|cli|operator|operator.read,operator.pairing|{NOW}|secret-token|the-nonce");
    let v3 = alloc::format!("{rest}|linux|");
    assert_eq!(check(&params("v2", &rest, NOW, "the-nonce"), remote()), Ok(()));
    assert_eq!(check(&params("v3", &v3, NOW, "the-nonce"), remote()), Ok(()));
    for (text, code) in [
        (params("v2", &v3, NOW, "the-nonce"), "SIGNATURE_INVALID"),
        (params("v1", &rest, NOW, "the-nonce"), "SIGNATURE_INVALID"),
        (params("v2", &rest, NOW, "other"), "NONCE_MISMATCH"),
        (params("v2", &rest, NOW - 120_001, "the-nonce"), "SIGNATURE_EXPIRED"),
        (params("v2", &rest, NOW + 120_001, "the-nonce"), "SIGNATURE_EXPIRED"),
        (
            params("v2", &rest, NOW, "the-nonce").replace(r#""device":{"id":""#, r#""device":{"id":"00"#),
            "DEVICE_ID_MISMATCH",
        ),
        (
            params("v2", &rest, NOW, "the-nonce").replace(r#""publicKey":""#, r#""publicKey":"AA"#),
            "PUBLIC_KEY_INVALID",
        ),
    ] {
        let told = check(&text, remote()).unwrap_err();
        assert_eq!(told, alloc::format!(r#"{{"code":"DEVICE_AUTH_{code}"}}"#), "{text}");
    }
}

#[test]
fn a_weak_key_proves_nothing() {
    // The neutral element: with it one signature fits every text.
    let mut weak = [0; 32];
    weak[0] = 1;
    let rest = alloc::format!("cli|cli|operator|operator.read,operator.pairing|{NOW}|secret-token|the-nonce");
    let good = params("v2", &rest, NOW, "the-nonce");
    let id: String = Sha256::digest(weak)
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    let key = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let old: String = Sha256::digest(key)
        .iter()
        .map(|byte| alloc::format!("{byte:02x}"))
        .collect();
    let text = good
        .replace(&URL_SAFE_NO_PAD.encode(key), &URL_SAFE_NO_PAD.encode(weak))
        .replace(&old, &id);
    assert_eq!(
        check(&text, remote()).unwrap_err(),
        r#"{"code":"DEVICE_AUTH_PUBLIC_KEY_INVALID"}"#
    );
}

#[test]
fn who_speaks_the_dialect() {
    let read = |range: &str| {
        let text = alloc::format!(
            r#"{{{range},"client":{{"id":"c","version":"1","platform":"p","mode":"m"}},"auth":{{"password":"p4ssword"}}}}"#
        );
        let raw: &RawValue = serde_json::from_str(&text).unwrap();
        parse(Some(raw)).map(|params| params.unwrap().dialect.unwrap().version)
    };
    assert_eq!(
        read(r#""minProtocol":1,"maxProtocol":4"#),
        None,
        "it speaks our own protocol"
    );
    assert_eq!(read(r#""minProtocol":2,"maxProtocol":2"#), None);
    assert_eq!(read(r#""minProtocol":3,"maxProtocol":3"#), Some(Some(3)));
    assert_eq!(read(r#""minProtocol":3,"maxProtocol":4"#), Some(Some(4)));
    assert_eq!(read(r#""minProtocol":4,"maxProtocol":9"#), Some(Some(4)));
    assert_eq!(read(r#""minProtocol":5,"maxProtocol":9"#), Some(None));
}

#[test]
fn scopes_that_nobody_knows_are_not_granted_and_grant_nothing_else() {
    let granted = |text: &str| scopes(Some(serde_json::from_str(text).unwrap())).unwrap().0;
    assert_eq!(granted(r#"["operator.approvals"]"#), Scopes::NONE);
    assert_eq!(granted("[]").names(), ["operator.admin"]);
    assert_eq!(granted(r#"["operator.read","operator.x"]"#).names(), ["operator.read"]);
}
