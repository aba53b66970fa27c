//! Which tools may be called over HTTP: the default deny list, what settings take off it and put on it. Pure decisions
//! over names; which tools exist is not known here. Spec: `spec/hardening.md`, HD-110 to HD-115.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::settings::ToolSettings;

/// Tools that nobody may call over HTTP unless the settings say otherwise: those that run programs, write files, move
/// messages, or steer the gateway itself. Sorted.
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

/// The deny list in force: (defaults - allow) + deny.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DenyList(BTreeSet<String>);

impl DenyList {
    /// The list that these settings make.
    #[must_use]
    pub fn new(settings: &ToolSettings) -> Self {
        let allowed: BTreeSet<String> = settings.allow.iter().map(|name| normalise(name)).collect();
        let defaults = DENIED_BY_DEFAULT.iter().map(|name| String::from(*name));
        let mut denied: BTreeSet<String> = defaults.filter(|name| !allowed.contains(name)).collect();
        denied.extend(settings.deny.iter().map(|name| normalise(name)));
        Self(denied)
    }

    /// Whether a tool must not be called, however its name is written.
    #[must_use]
    pub fn denies(&self, name: &str) -> bool {
        self.0.contains(&normalise(name))
    }
}

/// A name as names are compared: without blanks around it, in lower case.
#[must_use]
pub fn normalise(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Names that the settings take off the default deny list: each is worth a word in the security audit.
#[must_use]
pub fn dangerously_allowed(settings: &ToolSettings) -> Vec<&'static str> {
    let allowed: BTreeSet<String> = settings.allow.iter().map(|name| normalise(name)).collect();
    let denied = settings.deny.iter().map(|name| normalise(name));
    let denied: BTreeSet<String> = denied.collect();
    let defaults = DENIED_BY_DEFAULT.into_iter();
    defaults
        .filter(|name| allowed.contains(*name) && !denied.contains(*name))
        .collect()
}

/// Entries of `allow` that are not on the default deny list: they allow nothing, and are most likely misspelt.
#[must_use]
pub fn allowed_in_vain(settings: &ToolSettings) -> Vec<&str> {
    let names = settings.allow.iter();
    names
        .filter(|name| !DENIED_BY_DEFAULT.contains(&normalise(name).as_str()))
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

    fn settings(allow: &[&str], deny: &[&str]) -> ToolSettings {
        let texts = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect();
        ToolSettings {
            allow: texts(allow),
            deny: texts(deny),
            ..ToolSettings::default()
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_sheet() {
        let mut sheet: Vec<&str> = SHEET.split([' ', '/']).filter(|name| !name.is_empty()).collect();
        sheet.sort_unstable();
        assert_eq!(DENIED_BY_DEFAULT.to_vec(), sheet);
    }

    #[test]
    fn deny_wins_over_allow_and_names_are_normalised() {
        let list = DenyList::new(&settings(&[" Exec ", "cron"], &["CRON", "web_fetch"]));
        for (name, denied) in [
            ("exec", false),
            ("EXEC", false),
            (" cron", true),
            ("Web_Fetch", true),
            ("shell", true),
            ("health", false),
        ] {
            assert_eq!(list.denies(name), denied, "{name}");
        }
    }

    #[test]
    fn what_the_audit_and_the_warning_name() {
        let odd = settings(&["exec", "cron", "sheel"], &["cron"]);
        assert_eq!(dangerously_allowed(&odd), ["exec"]);
        assert_eq!(allowed_in_vain(&odd), ["sheel"]);
        assert!(dangerously_allowed(&ToolSettings::default()).is_empty());
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        let known = proptest::sample::select(DENIED_BY_DEFAULT.to_vec()).prop_map(String::from);
        let name = prop_oneof![known, "[ ]?[A-Za-z_]{1,6}[ ]?"];
        proptest::collection::vec(name, 0..8)
    }

    proptest! {
        #[test]
        fn the_algebra_of_the_lists(allow in names(), deny in names(), name in "[ ]?[A-Za-z_]{1,6}") {
            let settings = ToolSettings { allow: allow.clone(), deny: deny.clone(), ..ToolSettings::default() };
            let list = DenyList::new(&settings);
            let has = |names: &[String], name: &str| names.iter().any(|other| normalise(other) == normalise(name));
            let every = DENIED_BY_DEFAULT.iter().map(|name| String::from(*name)).chain([name]).chain(allow.clone()).chain(deny.clone());
            for name in every {
                let by_default = DENIED_BY_DEFAULT.contains(&normalise(&name).as_str());
                let expected = (by_default && !has(&allow, &name)) || has(&deny, &name);
                prop_assert_eq!(list.denies(&name), expected, "{}", name);
                prop_assert_eq!(list.denies(&name.to_uppercase()), expected);
            }
        }

        #[test]
        fn more_denied_never_allows_more(allow in names(), deny in names(), more in names()) {
            let fewer = DenyList::new(&ToolSettings { allow: allow.clone(), deny: deny.clone(), ..ToolSettings::default() });
            let deny = [deny, more].concat();
            let further = DenyList::new(&ToolSettings { allow, deny, ..ToolSettings::default() });
            prop_assert!(fewer.0.is_subset(&further.0));
        }
    }
}
