//! What clients read about this server before they log in: its metadata (RFC 8414), its key (RFC 7517), and the answer to
//! a registration, which registers nothing.

use alloc::vec::Vec;

use serde::Serialize;

use super::scope;
use crate::http::Status;
use crate::settings::{RelayAuth, RelaySettings};
use crate::surfaces::relay::http::Answer;
use crate::surfaces::relay::keys::Keys;

/// Where a code is shown to a person.
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";

pub(super) fn metadata(settings: &RelaySettings) -> Answer {
    #[derive(Serialize)]
    struct Metadata<'a> {
        issuer: &'a str,
        authorization_endpoint: alloc::string::String,
        token_endpoint: alloc::string::String,
        jwks_uri: alloc::string::String,
        response_types_supported: [&'a str; 1],
        grant_types_supported: &'a [&'a str],
        token_endpoint_auth_methods_supported: [&'a str; 1],
        code_challenge_methods_supported: [&'a str; 1],
        scopes_supported: [&'a str; 2],
    }
    const GRANTS: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];
    let base = &settings.public_base_url;
    let grants = if settings.auth == RelayAuth::Demo { 3 } else { 2 };
    let metadata = Metadata {
        issuer: base,
        authorization_endpoint: alloc::format!("{base}/oauth/authorize"),
        token_endpoint: alloc::format!("{base}/oauth/token"),
        jwks_uri: alloc::format!("{base}/.well-known/jwks.json"),
        response_types_supported: ["code"],
        grant_types_supported: GRANTS.get(..grants).unwrap_or_default(),
        token_endpoint_auth_methods_supported: ["none"],
        code_challenge_methods_supported: ["S256"],
        scopes_supported: scope::KNOWN,
    };
    Answer::json(Status::OK, &metadata)
}

pub(super) fn keys(keys: &Keys) -> Answer {
    #[derive(Serialize)]
    struct Key<'a> {
        kty: &'a str,
        crv: &'a str,
        x: &'a str,
        r#use: &'a str,
        alg: &'a str,
        kid: &'a str,
    }
    #[derive(Serialize)]
    struct Set<'a> {
        keys: [Key<'a>; 1],
    }
    let key = Key {
        kty: "OKP",
        crv: "Ed25519",
        x: keys.public(),
        r#use: "sig",
        alg: "EdDSA",
        kid: keys.kid(),
    };
    Answer::json(Status::OK, &Set { keys: [key] })
}

pub(super) fn registration(settings: &RelaySettings) -> Answer {
    #[derive(Serialize)]
    struct Registration<'a> {
        client_id: &'a str,
        client_name: &'a str,
        token_endpoint_auth_method: &'a str,
        redirect_uris: Vec<&'a str>,
        grant_types: [&'a str; 2],
        response_types: [&'a str; 1],
    }
    let mut redirect_uris: Vec<&str> = settings.oauth_redirect_uris.iter().map(|uri| uri.as_str()).collect();
    if !redirect_uris.contains(&OUT_OF_BAND) {
        redirect_uris.push(OUT_OF_BAND);
    }
    let registration = Registration {
        client_id: settings.client_ids.first().map_or("", |id| id.as_str()),
        client_name: &settings.client_name,
        token_endpoint_auth_method: "none",
        redirect_uris,
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
    };
    Answer::json(Status::OK, &registration)
}
