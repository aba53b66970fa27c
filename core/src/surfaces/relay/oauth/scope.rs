//! Scopes. Published clients ask for more than there is; they get what there is and are told what they got. One scope takes
//! instead of giving: `device:<id>` binds the token to that device (`bound.rs`).

use alloc::string::String;
use alloc::vec::Vec;

use super::bound::{device_of, is_binding};

/// The scopes that there are.
pub(super) const KNOWN: [&str; 2] = ["profile", "email"];
/// The client id of the published agent.
const AGENT: &str = "commands-agent";
/// The longest list that is read.
const MAX_BYTES: usize = 1_024;

/// What is granted of what was asked for: the known ones and one device, in the order of the request; all known ones when
/// none is left. `None`: a device was asked for that cannot be one; whoever wants a bound token must not get a free one.
pub(super) fn grant(asked: &str) -> Option<String> {
    let mut granted: Vec<&str> = Vec::new();
    for scope in asked.split_ascii_whitespace() {
        if is_binding(scope) && device_of(scope).is_none() {
            return None;
        }
        let is_bound = granted.iter().any(|granted| device_of(granted).is_some());
        let is_device = device_of(scope).is_some() && !is_bound;
        if (KNOWN.contains(&scope) && !granted.contains(&scope)) || is_device {
            granted.push(scope);
        }
    }
    if granted.is_empty() {
        granted.extend(KNOWN);
    }
    Some(granted.join(" "))
}

/// Whether tokens with these scopes are for an agent: they are bound to a device, or the published agent asks for them with
/// the scope that it alone knows (its desktop app has another client id).
pub(super) fn is_of_agent(client: &str, asked: &str) -> bool {
    let mut scopes = asked.split_ascii_whitespace();
    scopes.any(|scope| device_of(scope).is_some() || (client == AGENT && scope == "device"))
}

/// What a program in demo mode asked for, as it is: only its form is checked (RFC 6749 section 3.3).
pub(super) fn as_asked(asked: &str) -> Option<String> {
    let is_scope = |byte: u8| matches!(byte, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let good = asked.len() <= MAX_BYTES && asked.bytes().all(is_scope);
    good.then(|| asked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_are_dropped() {
        for (asked, granted) in [
            ("", "profile email"),
            ("openid", "profile email"),
            ("email", "email"),
            ("openid email profile email", "email profile"),
            ("read_assets write_assets offline_access device", "profile email"),
            ("device email", "email"),
            ("Profile", "profile email"),
            ("device:dev_1", "device:dev_1"),
            ("email device:dev_1 device:dev_2", "email device:dev_1"),
        ] {
            assert_eq!(grant(asked).as_deref(), Some(granted), "{asked}");
        }
        for asked in ["device:", "email device:a/b", "device:dev_1 device:x"] {
            assert_eq!(grant(asked), None, "{asked}");
        }
    }

    #[test]
    fn agents_are_known_by_what_they_ask_for() {
        for (client, asked, is_agent) in [
            ("commands-agent", "read_assets write_assets offline_access device", true),
            (
                "commands-desktop-public",
                "read_assets write_assets offline_access device",
                false,
            ),
            ("commands-agent", "profile email", false),
            ("commands-agent", "", false),
            ("other", "email device:dev_1", true),
            ("other", "device:", false),
        ] {
            assert_eq!(is_of_agent(client, asked), is_agent, "{client} {asked}");
        }
    }

    #[test]
    fn programs_get_what_they_ask_for_if_it_is_a_scope() {
        assert_eq!(as_asked("a:b c/d").as_deref(), Some("a:b c/d"));
        assert_eq!(as_asked(""), Some(String::new()));
        for odd in ["a\"b", "a\\b", "a\nb", "\u{e4}"] {
            assert_eq!(as_asked(odd), None, "{odd}");
        }
        assert_eq!(as_asked(&"x".repeat(1_025)), None);
    }
}
