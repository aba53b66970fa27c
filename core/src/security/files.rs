//! The checks of permission bits: who else on this machine can read or change what the gateway trusts.

use alloc::format;
use alloc::vec::Vec;

use super::facts::{Facts, FileFact, FileRole};
use super::finding::{Finding, Severity};

const GROUP_READ: u32 = 0o040;
const GROUP_WRITE: u32 = 0o020;
const WORLD_READ: u32 = 0o004;
const WORLD_WRITE: u32 = 0o002;
const OTHERS_WRITE: u32 = GROUP_WRITE | WORLD_WRITE;
const OTHERS_READ: u32 = GROUP_READ | WORLD_READ;
/// Parts of paths that folders have which are copied to other machines by themselves.
const SYNCED: [&str; 5] = ["icloud", "dropbox", "google drive", "googledrive", "onedrive"];

/// Bits that must not be set; the first rule of a role that a file breaks is its finding.
struct Rule {
    role: FileRole,
    bits: u32,
    id: &'static str,
    severity: Severity,
    title: &'static str,
    /// The mode to set instead.
    mode: &'static str,
}

const fn rule(
    role: FileRole,
    bits: u32,
    id: &'static str,
    severity: Severity,
    title: &'static str,
    mode: &'static str,
) -> Rule {
    Rule {
        role,
        bits,
        id,
        severity,
        title,
        mode,
    }
}

#[rustfmt::skip]
const RULES: [Rule; 10] = {
    use FileRole::{Config, CredentialsDir, Log, SessionsStore, StateDir};
    use Severity::{Critical, Warn};
    [
        rule(StateDir, WORLD_WRITE, "fs.state_dir.perms_world_writable", Critical, "Everybody can change the state directory", "700"),
        rule(StateDir, GROUP_WRITE, "fs.state_dir.perms_group_writable", Warn, "The group can change the state directory", "700"),
        rule(StateDir, OTHERS_READ, "fs.state_dir.perms_readable", Warn, "Others can read the state directory", "700"),
        rule(Config, OTHERS_WRITE, "fs.config.perms_writable", Critical, "Others can change the settings", "600"),
        rule(Config, WORLD_READ, "fs.config.perms_world_readable", Critical, "Everybody on this machine can read the settings", "600"),
        rule(Config, GROUP_READ, "fs.config.perms_group_readable", Warn, "The group can read the settings", "600"),
        rule(CredentialsDir, OTHERS_WRITE, "fs.credentials_dir.perms_writable", Critical, "Others can change the credentials", "700"),
        rule(CredentialsDir, OTHERS_READ, "fs.credentials_dir.perms_readable", Warn, "Others can read the credentials", "700"),
        rule(SessionsStore, OTHERS_READ, "fs.sessions_store.perms_readable", Warn, "Others can read the sessions", "600"),
        rule(Log, OTHERS_READ, "fs.log_file.perms_readable", Warn, "Others can read the logs", "600"),
    ]
};

/// The bits of every file but those of secrets.
pub(super) fn permissions(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    // The bits of a link say nothing.
    for file in facts.files.iter().filter(|file| !file.is_symlink) {
        let mut broken = RULES
            .iter()
            .filter(|rule| rule.role == file.role && file.mode & rule.bits != 0);
        if let Some(rule) = broken.next() {
            let detail = format!("{} has mode {:03o}.", file.path, file.mode & 0o777);
            let fix = format!("chmod {} {}", rule.mode, file.path);
            found.push(Finding::new(rule.id, rule.severity, rule.title, detail).fix(fix));
        }
    }
}

/// Links in the place of the state directory and the settings.
pub(super) fn links(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for file in facts.files.iter().filter(|file| file.is_symlink) {
        let id = match file.role {
            FileRole::StateDir => "fs.state_dir.symlink",
            FileRole::Config => "fs.config.symlink",
            _ => continue,
        };
        let detail = format!("{} is a symbolic link: whoever owns its target owns it.", file.path);
        found.push(
            Finding::new(id, Severity::Warn, "A link in the place of a file", detail)
                .fix("Put the file or folder itself there."),
        );
    }
}

/// State that a service copies to other machines.
pub(super) fn synced(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for file in facts.files.iter().filter(|file| file.role == FileRole::StateDir) {
        let lower = file.path.to_ascii_lowercase();
        if SYNCED.iter().any(|part| lower.contains(part)) {
            found.push(
                Finding::new(
                    "fs.synced_dir",
                    Severity::Warn,
                    "The state directory is copied to other machines",
                    format!("{} looks like a folder that a service synchronises.", file.path),
                )
                .fix("Choose another with --state-dir."),
            );
        }
    }
}

/// Tokens, environment files and private keys: their owner's alone, and no links.
pub(super) fn secrets(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let secrets = [FileRole::Secret, FileRole::PrivateKey];
    for file in facts.files.iter().filter(|file| secrets.contains(&file.role)) {
        if let Some(fault) = fault_of_secret(file) {
            found.push(
                Finding::new(
                    "fs.token_file.perms",
                    Severity::Critical,
                    "A secret is not kept to its owner",
                    format!("{} {fault} (mode {:03o}).", file.path, file.mode & 0o777),
                )
                .fix(format!(
                    "chmod 600 {}, and rotate the secret if others could read it.",
                    file.path
                )),
            );
        }
    }
}

const fn fault_of_secret(file: &FileFact) -> Option<&'static str> {
    if file.is_symlink {
        Some("is a symbolic link")
    } else if !file.is_regular {
        Some("is not a regular file")
    } else if !file.is_own {
        Some("belongs to another user")
    } else if file.mode & (OTHERS_READ | OTHERS_WRITE) != 0 {
        Some("can be read or changed by others")
    } else {
        None
    }
}
