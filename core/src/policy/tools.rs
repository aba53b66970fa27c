//! Which tools may be called over HTTP: a list that is denied by default, what the settings take off it, and what they add.
//! Spec: `spec/hardening.md`.

use alloc::string::String;

/// Tools that run programs, change files, reach other machines or speak for others: denied unless the settings allow them,
/// whether there are such tools here or not. In the order of the alphabet.
pub const DENIED_BY_DEFAULT: [&str; 29] = [
    "apply_patch",
    "automations",
    "browser",
    "canvas",
    "computer",
    "conversations_list",
    "conversations_send",
    "conversations_turn",
    "cron",
    "edit",
    "exec",
    "fs_delete",
    "fs_move",
    "fs_write",
    "gateway",
    "message",
    "mobile_ui",
    "nodes",
    "openclaw",
    "plugins",
    "portal",
    "process",
    "sessions_send",
    "sessions_spawn",
    "shell",
    "spawn",
    "terminal",
    "whatsapp_login",
    "write",
];

/// A tool's name as it is compared: trimmed, in lower case.
#[must_use]
pub fn normalise(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

/// Whether a tool (its name normalised) is denied: (defaults - `allow`) and `deny`; `deny` wins.
#[must_use]
pub fn is_denied(name: &str, allow: &[String], deny: &[String]) -> bool {
    let in_list = |list: &[String]| list.iter().any(|entry| normalise(entry) == name);
    in_list(deny) || (DENIED_BY_DEFAULT.binary_search(&name).is_ok() && !in_list(allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_the_algebra_holds() {
        assert!(DENIED_BY_DEFAULT.is_sorted());
        let list = |name: &str| [String::from(name)];
        assert!(is_denied("exec", &[], &[]));
        assert!(!is_denied("exec", &list(" EXEC "), &[]));
        assert!(is_denied("exec", &list("exec"), &list("Exec")));
        assert!(!is_denied("session.list", &[], &[]));
        assert!(is_denied("session.list", &[], &list("session.list")));
    }
}
