//! Tokens that are bound to one device: the scope `device:<id>`. An agent that asks for it holds a token that does nothing
//! but serve that device, so that whoever steals it has not the owner's whole account. The front asks here once for every
//! request with a good token; ownership is judged elsewhere, as for every other token. Spec: `spec/relay.md` section 12.

use crate::http::{Method, Status};
use crate::json::{Object, string};
use crate::surfaces::relay::http::{Answer, Caller, Request};
use crate::surfaces::relay::ids::DeviceId;
use crate::surfaces::relay::oauth::form::Form;
use crate::surfaces::relay::percent::decode;

const PREFIX: &str = "device:";

/// Whether a scope is one of this kind, good or not.
pub(super) fn is_binding(scope: &str) -> bool {
    scope.starts_with(PREFIX)
}

/// The device of a scope, if it is such a scope.
pub(super) fn device_of(scope: &str) -> Option<&str> {
    let id = scope.strip_prefix(PREFIX)?;
    DeviceId::parse(id)
        .is_ok_and(|parsed| parsed.as_str() == id)
        .then_some(id)
}

/// Whether a token with these scopes may make this request.
///
/// # Errors
/// 403: it is bound to a device, and this is nothing that a device's agent does.
pub fn check(caller: &Caller, request: &Request<'_>) -> Result<(), Answer> {
    let mut scopes = caller.scope.split_ascii_whitespace();
    let Some(bound) = scopes.find(|scope| is_binding(scope)) else {
        return Ok(());
    };
    // A scope of this kind that cannot be read allows nothing.
    if device_of(bound).is_some_and(|device| is_of_agent(device, request)) {
        Ok(())
    } else {
        Err(Answer::error(Status::FORBIDDEN, "insufficient_scope"))
    }
}

fn is_of_agent(device: &str, request: &Request<'_>) -> bool {
    let Some(path) = request.path.strip_prefix("/gateway/v1/") else {
        return false;
    };
    let is_device = |segment: &str| decode(segment).is_some_and(|id| id.trim() == device);
    let mut segments = path.split('/');
    let five = [(); 5].map(|()| segments.next());
    match (request.method, five) {
        (Method::Get | Method::Head, [Some("health"), None, ..]) => true,
        (Method::Get | Method::Head | Method::Put, [Some("devices"), Some(id), Some("identity-key"), None, _]) => {
            is_device(id)
        }
        (Method::Get, [Some("agent"), Some("connect"), None, ..]) => {
            Form::read(request.query, "", b"").get("device_id").trim() == device
        }
        (Method::Post, [Some("sessions"), Some(_), Some("handshake"), Some("agent-ack"), None]) => {
            names_only(device, request.body)
        }
        _ => false,
    }
}

/// Whether a body names this device and no other, in either spelling.
fn names_only(device: &str, body: &[u8]) -> bool {
    let Some(body) = core::str::from_utf8(body)
        .ok()
        .and_then(|text| Object::parse(text).ok())
    else {
        return false;
    };
    let named = ["device_id", "deviceId"].map(|field| body.get(field));
    let mut named = named.into_iter().flatten().peekable();
    named.peek().is_some() && named.all(|value| string(value).is_some_and(|id| id.trim() == device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Event, Headers, Limits, ServerConnection};
    use crate::id::ConnId;
    use crate::surfaces::relay::ids::Uid;
    use alloc::string::String;

    fn headers() -> Headers {
        let mut connection = ServerConnection::new(Limits::default());
        connection.received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        match connection.poll(&mut bytes::BytesMut::new()) {
            Event::Request(request) => request.headers().clone(),
            other => panic!("{other:?}"),
        }
    }

    fn may(scope: &str, method: Method, target: &str, body: &str) -> bool {
        let caller = Caller {
            uid: Uid("u".into()),
            email: None,
            email_verified: false,
            email_written: None,
            name: None,
            scope: scope.into(),
            expires_at: 0,
            token_id: String::new(),
            login: None,
        };
        let headers = headers();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            conn: ConnId::FIRST,
            method,
            path,
            query,
            headers: &headers,
            client: None,
            body: body.as_bytes(),
            wants_websocket: false,
        };
        check(&caller, &request).is_ok()
    }

    #[test]
    fn a_bound_token_serves_its_device_and_nothing_else() {
        use Method::{Delete, Get, Post, Put};
        let bound = "profile device:dev:1";
        let ack = "/gateway/v1/sessions/s-1/handshake/agent-ack";
        for (method, target, body, allowed) in [
            (Get, "/gateway/v1/health", "", true),
            (Put, "/gateway/v1/devices/dev:1/identity-key", "", true),
            (Get, "/gateway/v1/devices/dev%3A1/identity-key", "", true),
            (Get, "/gateway/v1/agent/connect?device_id=dev%3A1", "", true),
            (Post, ack, r#"{"device_id":"dev:1"}"#, true),
            (Post, ack, r#"{"deviceId":" dev:1 "}"#, true),
            (Post, ack, r#"{"device_id":"dev:1","deviceId":"dev:2"}"#, false),
            (Post, ack, r#"{"device_id":"dev:2"}"#, false),
            (Post, ack, r#"{"device_id":7}"#, false),
            (Post, ack, "{}", false),
            (Post, ack, "[]", false),
            (Put, "/gateway/v1/devices/dev:2/identity-key", "", false),
            (Delete, "/gateway/v1/devices/dev:1", "", false),
            (Get, "/gateway/v1/devices", "", false),
            (Get, "/gateway/v1/devices/events", "", false),
            (Get, "/gateway/v1/agent/connect?device_id=dev:2", "", false),
            (Get, "/gateway/v1/agent/connect", "", false),
            (
                Post,
                "/gateway/v1/sessions/s-1/messages",
                r#"{"device_id":"dev:1"}"#,
                false,
            ),
            (Post, "/gateway/v1/shares/invites", r#"{"deviceId":"dev:1"}"#, false),
        ] {
            assert_eq!(may(bound, method, target, body), allowed, "{target} {body}");
            assert!(may("profile email", method, target, body), "other tokens are not bound");
            assert!(!may("device:", method, target, body) && !may("device:a/b", method, target, body));
        }
    }
}
