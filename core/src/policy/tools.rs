//! Which tools may be called over HTTP: a list that is denied by default, what the settings take off it, and what they add.
//! Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;

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

/// Entries of `allow` that are not denied by default: they allow nothing, and are most likely misspelt.
#[must_use]
pub fn allowed_in_vain(allow: &[String]) -> Vec<&str> {
    allow
        .iter()
        .filter(|name| DENIED_BY_DEFAULT.binary_search(&normalise(name).as_str()).is_err())
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The column "ours" of the sheet's table, row by row.
    const SHEET: &str = "exec spawn shell / fs_write fs_delete fs_move apply_patch / sessions_spawn sessions_send / \
        cron automations / gateway / nodes / whatsapp_login / terminal portal plugins computer mobile_ui openclaw \
        conversations_list conversations_send conversations_turn / write edit process browser canvas message";

    #[test]
    fn the_defaults_are_those_of_the_sheet() {
        let mut sheet: Vec<&str> = SHEET.split([' ', '/']).filter(|name| !name.is_empty()).collect();
        sheet.sort_unstable();
        assert_eq!(DENIED_BY_DEFAULT.to_vec(), sheet);
    }

    #[test]
    fn what_allows_nothing_is_named() {
        let allow = ["Exec", "sheel"].map(String::from);
        assert_eq!(allowed_in_vain(&allow), ["sheel"]);
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        let known = proptest::sample::select(DENIED_BY_DEFAULT.to_vec()).prop_map(String::from);
        let name = prop_oneof![known, "[ ]?[A-Za-z_]{1,6}[ ]?"];
        proptest::collection::vec(name, 0..8)
    }

    proptest! {
        #[test]
        fn the_algebra_of_the_lists(allow in names(), deny in names(), more in names(), name in "[ ]?[A-Za-z_]{1,6}") {
            let has = |names: &[String], name: &str| names.iter().any(|other| normalise(other) == name);
            let further = [deny.clone(), more].concat();
            let defaults = DENIED_BY_DEFAULT.iter().map(|name| String::from(*name));
            for name in defaults.chain([name]).chain(allow.clone()).chain(further.clone()) {
                let name = normalise(&name);
                let by_default = DENIED_BY_DEFAULT.contains(&name.as_str());
                let expected = (by_default && !has(&allow, &name)) || has(&deny, &name);
                prop_assert_eq!(is_denied(&name, &allow, &deny), expected, "{}", name);
                prop_assert!(!expected || is_denied(&name, &allow, &further), "more denied never allows more");
                prop_assert!(is_denied(&name, &[], &deny) || !expected, "allowing never denies");
            }
        }
    }

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
