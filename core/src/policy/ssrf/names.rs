//! Host names that mean something inside: this machine, a cloud's metadata service, a home or company network. Such a
//! name is refused before anybody asks a resolver about it.

const NAMES: &[&str] = &["localhost.localdomain", "metadata.google.internal", "metadata.goog"];

/// Suffixes that no public server has (RFC 6761, RFC 6762, RFC 8375, ICANN's collision list).
const SUFFIXES: &[&str] = &[
    ".localhost",
    ".local",
    ".internal",
    ".localdomain",
    ".home.arpa",
    ".lan",
    ".intranet",
    ".corp",
    ".home",
    ".test",
    ".invalid",
    ".onion",
];

/// Whether the name (lower case, without a final dot) is one of those. A single label is one: what it means depends on
/// the search list of whoever resolves it (`localhost`, `metadata`, `instance-data`, `ip6-loopback`, `printer`).
#[must_use]
pub fn is_internal(name: &str) -> bool {
    !name.contains('.')
        || NAMES.contains(&name)
        || SUFFIXES
            .iter()
            .any(|suffix| name.ends_with(suffix) || suffix.strip_prefix('.') == Some(name))
}
