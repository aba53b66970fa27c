//! The environment variables that stand for one key each. Those of the control plane count only where it is on: their
//! names are common, and other programs use them for other things.

use serde_json::Value;

use super::draft::{Draft, TokenSource};
use super::environment::Environment;
use super::problem::Problem;
use super::reader::{Reader, Source};
use super::token::TOKEN_VARIABLES;
use super::{Purpose, Sources, number};

/// What a variable's text becomes.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    /// Items with commas between them.
    List,
}

/// Names (best first) and the key that they stand for.
const VARIABLES: &[(&[&str], &str, Form)] = &[
    (&["OPENCLAW_GATEWAY_PASSWORD"], "gateway.auth.password", Form::Text),
    (&["OPENCLAW_GATEWAY_PORT"], "gateway.port", Form::Number),
    (&["ACTIVE_AI_PROVIDER"], "providers.active", Form::Text),
    (
        &["MOONSHOT_API_KEY", "KIMI_API_KEY"],
        "providers.kimi.apiKey",
        Form::Text,
    ),
    (&["MOONSHOT_MODEL", "KIMI_MODEL"], "providers.kimi.model", Form::Text),
    (
        &["MOONSHOT_BASE_URL", "KIMI_BASE_URL"],
        "providers.kimi.baseUrl",
        Form::Text,
    ),
    (
        &["MOONSHOT_TIMEOUT_MS", "KIMI_TIMEOUT_MS"],
        "providers.kimi.timeoutMs",
        Form::Number,
    ),
    (&["GEMINI_API_KEY"], "providers.gemini.apiKey", Form::Text),
    (&["GEMINI_MODEL"], "providers.gemini.model", Form::Text),
    (&["GEMINI_BASE_URL"], "providers.gemini.baseUrl", Form::Text),
    (&["GEMINI_TIMEOUT_MS"], "providers.gemini.timeoutMs", Form::Number),
];

/// Those of the control plane.
const CONTROL: &[(&[&str], &str, Form)] = &[
    (&["JWT_SECRET"], "control.jwtSecret", Form::Text),
    (&["SESSION_TTL_HOURS"], "control.sessionTtlHours", Form::Number),
    (&["TRUSTED_CLIENT_IPS"], "control.trustedClients", Form::List),
    (&["NODE_ENV"], "control.nodeEnv", Form::Text),
];

/// Lays the environment over the draft. Returns the mistakes that count only if the control plane is on.
pub(super) fn read(
    environment: &Environment,
    sources: &Sources<'_>,
    draft: &mut Draft,
    problems: &mut Vec<Problem>,
) -> Vec<Problem> {
    let here = sources.working_dir;
    // Until a variable that holds a secret says its own name.
    draft.begin_layer(here, TokenSource::Environment("the environment"));
    if let Some((name, token)) = environment.first(&TOKEN_VARIABLES) {
        draft.begin_layer(here, TokenSource::Environment(name));
        Reader::new(draft, problems, Source::Named(name)).at("gateway.auth.token", &token.into());
    }
    for (names, path, form) in VARIABLES {
        if let Some((name, written)) = environment.first(names) {
            if *path == "gateway.auth.password" {
                draft.begin_layer(here, TokenSource::Environment(name));
            }
            Reader::new(draft, problems, Source::Named(name)).at(path, &form.value(written));
        }
    }
    let mut late = Vec::new();
    for (names, path, form) in CONTROL {
        if let Some((name, written)) = environment.first(names) {
            Reader::new(draft, &mut late, Source::Named(name)).at(path, &form.value(written));
        }
    }
    if environment.is_set("TRUSTED_CLIENT_IPS") && environment.get("TRUSTED_CLIENT_IPS").is_none() {
        let what = "must not be empty: nobody could connect; unset it to let this machine in";
        late.push(Problem::new("TRUSTED_CLIENT_IPS", what));
    }
    if sources.purpose == Purpose::Control
        && let Some(port) = environment.get("WS_CONTROL_PORT")
    {
        Reader::new(draft, problems, Source::Named("WS_CONTROL_PORT")).at("gateway.port", &Form::Number.value(port));
    }
    late
}

impl Form {
    fn value(self, written: &str) -> Value {
        match self {
            Self::Text => written.into(),
            Self::Number => number(written),
            Self::List => {
                let items = written.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.collect::<Vec<_>>().into()
            }
        }
    }
}
