//! The login page: one form, no assets of others but Google's own scripts where Firebase is the identity provider. Every
//! text that somebody chose is escaped, and the page says in its policy that nothing else may run in it.

use alloc::string::String;
use core::fmt::Write as _;

use bytes::Bytes;

use super::redirect::form_action;
use crate::http::Status;
use crate::random::Random;
use crate::settings::{RelayAuth, RelaySettings};
use crate::surfaces::relay::http::Answer;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1b1f24}\
main{max-width:24rem;margin:12vh auto;padding:2rem;background:#fff;border-radius:.75rem}\
h1{font-size:1.25rem;margin:0 0 1rem}label{display:block;margin:.75rem 0}\
input,textarea,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;border-radius:.4rem;border:1px solid #b6bcc4}\
button{margin-top:.75rem;border:0;background:#1f5fbf;color:#fff;cursor:pointer}p{color:#57606a}\
@media(prefers-color-scheme:dark){body{background:#111418;color:#e6e9ed}main{background:#1b2027}\
input,textarea{background:#111418;color:inherit;border-color:#3a424c}p{color:#9aa4af}}";

const FIREBASE_SCRIPTS: [&str; 2] = [
    "https://www.gstatic.com/firebasejs/10.14.1/firebase-app-compat.js",
    "https://www.gstatic.com/firebasejs/10.14.1/firebase-auth-compat.js",
];

/// Reads its two values from the page, so that nothing configured is ever part of a script.
const FIREBASE_LOGIN: &str = "const form=document.querySelector('form'),note=document.getElementById('note');\
firebase.initializeApp({apiKey:form.dataset.key,authDomain:form.dataset.project+'.firebaseapp.com',projectId:form.dataset.project});\
for(const button of document.querySelectorAll('button[data-with]'))button.addEventListener('click',async()=>{try{\
const provider=button.dataset.with==='github'?new firebase.auth.GithubAuthProvider():new firebase.auth.GoogleAuthProvider();\
const result=await firebase.auth().signInWithPopup(provider);form.elements.id_token.value=await result.user.getIdToken();form.submit()\
}catch(error){note.textContent=error.message}});";

/// The page for a request with these parameters, which the form sends back.
pub(super) fn login(
    settings: &RelaySettings,
    random: &mut Random,
    hidden: &[(&str, &str)],
    redirect_uri: &str,
) -> Answer {
    let nonce = random.token();
    let firebase = firebase_of(&settings.auth);
    let mut page = String::with_capacity(4_096);
    let title = Escaped(&settings.client_name);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>{title}: log in</title><style nonce=\"{nonce}\">{STYLE}</style></head><body><main><h1>{title}</h1>\
<form method=\"post\" action=\"/oauth/authorize\""
    );
    if let Some((project, key)) = firebase {
        let (project, key) = (Escaped(project), Escaped(key));
        let _ = write!(page, " data-project=\"{project}\" data-key=\"{key}\"");
    }
    page.push('>');
    for (name, value) in hidden.iter().filter(|(_, value)| !value.is_empty()) {
        let value = Escaped(value);
        let _ = write!(page, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
    }
    page.push_str(match (&settings.auth, firebase) {
        (RelayAuth::Demo, _) => {
            "<p>Demo mode: you are who you say you are.</p>\
<label>E-mail<input type=\"email\" name=\"demo_email\" required autofocus autocomplete=\"email\"></label>\
<label>Display name<input name=\"demo_name\" maxlength=\"200\" autocomplete=\"name\"></label><button>Log in</button>"
        }
        (_, None) => {
            "<label>ID token of your identity provider\
<textarea name=\"id_token\" rows=\"6\" required autofocus spellcheck=\"false\"></textarea></label><button>Log in</button>"
        }
        (_, Some(_)) => {
            "<input type=\"hidden\" name=\"id_token\" value=\"\"><button type=\"button\" data-with=\"google\">Log in with Google</button>\
<button type=\"button\" data-with=\"github\">Log in with GitHub</button><p id=\"note\" role=\"status\"></p>"
        }
    });
    page.push_str("</form></main>");
    if firebase.is_some() {
        for script in FIREBASE_SCRIPTS {
            let _ = write!(page, "<script nonce=\"{nonce}\" src=\"{script}\"></script>");
        }
        let _ = write!(page, "<script nonce=\"{nonce}\">{FIREBASE_LOGIN}</script>");
    }
    page.push_str("</body></html>");
    let answer = Answer {
        status: Status::OK,
        content_type: "text/html; charset=utf-8",
        headers: alloc::vec::Vec::new(),
        body: Bytes::from(page),
    };
    answer
        .with("Cache-Control", "no-store")
        .with("Content-Security-Policy", policy(&nonce, firebase, redirect_uri))
        .with("X-Content-Type-Options", "nosniff")
        .with("X-Frame-Options", "DENY")
        .with("Referrer-Policy", "same-origin")
}

/// The project and the key of a page with popups.
const fn firebase_of(auth: &RelayAuth) -> Option<(&str, &str)> {
    match auth {
        RelayAuth::Firebase {
            project_id,
            api_key: Some(key),
        } => Some((project_id.as_str(), key.as_str())),
        _ => None,
    }
}

fn policy(nonce: &str, firebase: Option<(&str, &str)>, redirect_uri: &str) -> String {
    let mut policy = alloc::format!(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'nonce-{nonce}'; form-action 'self'"
    );
    if let Some(target) = form_action(redirect_uri) {
        let _ = write!(policy, " {target}");
    }
    if let Some((project, _)) = firebase {
        let _ = write!(
            policy,
            "; script-src 'nonce-{nonce}' https://apis.google.com; \
connect-src https://identitytoolkit.googleapis.com https://securetoken.googleapis.com"
        );
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if project.bytes().all(is_label) {
            let _ = write!(policy, "; frame-src https://{project}.firebaseapp.com");
        }
    }
    policy
}

/// A text inside HTML, in an attribute or between tags.
struct Escaped<'a>(&'a str);

impl core::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            char => f.write_char(char),
        })
    }
}
