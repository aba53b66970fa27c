//! Any query, body and redirect URI: no panic, bounded results, and an address that is allowed is never one of another
//! host than the list names. The first line is the content type, the second the query, the third the redirect URI.
#![no_main]

use portcullis_core::surfaces::relay::oauth::form::{Form, MAX_VALUE_BYTES};
use portcullis_core::surfaces::relay::oauth::redirect::{form_action, is_allowed, with_query};
use portcullis_core::surfaces::relay::percent;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(4, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (content_type, query, redirect) = (text(), text(), text());
    let body = lines.next().unwrap_or_default();
    let form = Form::read(&query, &content_type, body);
    for name in ["code", "redirect_uri", "state", "client_id"] {
        assert!(form.get(name).len() <= MAX_VALUE_BYTES);
    }
    let _ = percent::decode(&query);
    let list = ["http://localhost:3000/callback".to_owned(), "https://app.example/cb?x=1".to_owned()];
    for uri in [redirect.as_str(), form.get("redirect_uri")] {
        let target = with_query(uri, &[("code", "c"), ("state", form.get("state"))]);
        if is_allowed(uri, &list) {
            let lower = uri.to_ascii_lowercase();
            let good = ["http://localhost:", "http://127.0.0.1:", "http://[::1]:", "https://app.example/cb?x=1"];
            assert!(good.iter().any(|start| lower.starts_with(start)), "{uri}");
            assert!(!uri.contains('@') || uri.find('@') > uri.find("/callback"), "{uri}");
            assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
            assert!(target.contains("code=c"));
        }
        if let Some(source) = form_action(uri) {
            assert!(source.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b','), "{source}");
        }
    }
});
