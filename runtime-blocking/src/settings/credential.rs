//! Which token or password is in effect, of all that were given: the strongest source wins, and that another one differs is
//! told. Reads the token file; writes nothing and shows no secret.

use std::path::Path;

use portcullis_core::secret::Secret;
use portcullis_core::settings::{Credential, ProxyIdentity};

use super::draft::{AuthMode, Draft, TokenSource};
use super::problem::Problem;
use super::token;

/// The credential that clients need, and where it comes from. The draft's auth settings are completed.
pub(crate) fn in_effect(
    draft: &mut Draft,
    state_dir: &Path,
    fresh: Secret,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<(TokenSource, Secret)> {
    let by_option = draft
        .tokens
        .iter()
        .map(|(source, _)| *source)
        .find(|source| matches!(source, TokenSource::Option | TokenSource::TokenFileOption));
    match draft.auth_mode {
        AuthMode::None => {
            if let Some(source) = by_option {
                problems.push(Problem::new(
                    source.to_string(),
                    format!(
                        "the settings turn auth off (gateway.auth.mode \"none\" or gateway.requireToken false); leave {source} out, \
                         or turn it on with --set gateway.auth.mode=token"
                    ),
                ));
            }
            None
        }
        AuthMode::Password => {
            draft.core.auth.credential = Credential::Password;
            if let Some(source) = by_option {
                let what = "the settings ask for a password (gateway.auth.mode \"password\"); leave it out";
                problems.push(Problem::new(source.to_string(), what));
            }
            let password = draft.password.take();
            if password.is_none() {
                problems.push(Problem::new(
                    "gateway.auth.password",
                    "is missing: gateway.auth.mode \"password\" needs it (better as OPENCLAW_GATEWAY_PASSWORD)",
                ));
            }
            password
        }
        AuthMode::TrustedProxy => {
            draft.core.auth.proxy_identity = identity(draft, problems);
            strongest(draft, warnings)
        }
        AuthMode::Token => Some(
            strongest(draft, warnings)
                .or_else(|| kept(state_dir, problems))
                .unwrap_or((TokenSource::Fresh, fresh)),
        ),
    }
}

fn strongest(draft: &mut Draft, warnings: &mut Vec<String>) -> Option<(TokenSource, Secret)> {
    let (source, token) = draft.tokens.pop()?;
    for (other, differing) in draft.tokens.iter().rev() {
        if *differing != token {
            warnings.push(format!(
                "gateway.env_token_overrides_config: {source} and {other} name different tokens; {source} is used"
            ));
        }
    }
    draft.tokens.clear();
    Some((source, token))
}

fn kept(state_dir: &Path, problems: &mut Vec<Problem>) -> Option<(TokenSource, Secret)> {
    let path = token::token_file(state_dir);
    match token::read_file(&path) {
        Ok(token) => token.map(|token| (TokenSource::File, token)),
        Err(what) => {
            problems.push(Problem::new(path.display().to_string(), what));
            None
        }
    }
}

fn identity(draft: &mut Draft, problems: &mut Vec<Problem>) -> Option<ProxyIdentity> {
    if draft.core.doors.trusted_proxies.is_empty() {
        problems.push(Problem::new(
            "gateway.trustedProxies",
            "is empty: gateway.auth.mode \"trusted-proxy\" needs the addresses of the proxies",
        ));
    }
    let proxy = std::mem::take(&mut draft.proxy);
    let Some(user_header) = proxy.user_header else {
        problems.push(Problem::new(
            "gateway.auth.trustedProxy.userHeader",
            "is missing: gateway.auth.mode \"trusted-proxy\" needs the header field with the user's name",
        ));
        return None;
    };
    Some(ProxyIdentity {
        user_header,
        required_headers: proxy.required_headers,
        allow_users: proxy.allow_users,
        allow_loopback: proxy.allow_loopback,
    })
}
