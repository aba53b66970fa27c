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

fn with_role<'a>(facts: &'a Facts<'_>, role: FileRole) -> impl Iterator<Item = &'a FileFact> {
    facts.files.iter().filter(move |file| file.role == role)
}

fn finding(id: &'static str, severity: Severity, title: &'static str, file: &FileFact, mode: &str) -> Finding {
    let detail = format!("{} has mode {:03o}.", file.path, file.mode & 0o777);
    Finding::new(id, severity, title, detail).fix(format!("chmod {mode} {}", file.path))
}

fn symlink(id: &'static str, file: &FileFact, found: &mut Vec<Finding>) {
    if file.is_symlink {
        let detail = format!("{} is a symbolic link: whoever owns its target owns it.", file.path);
        found.push(
            Finding::new(id, Severity::Warn, "A link in the place of a file", detail)
                .fix("Put the file or folder itself there."),
        );
    }
}

pub(super) fn state_dir(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for file in with_role(facts, FileRole::StateDir) {
        let (mode, title) = (file.mode, "Others can get at the state directory");
        if !file.is_symlink {
            if mode & WORLD_WRITE != 0 {
                found.push(finding(
                    "fs.state_dir.perms_world_writable",
                    Severity::Critical,
                    title,
                    file,
                    "700",
                ));
            } else if mode & GROUP_WRITE != 0 {
                found.push(finding(
                    "fs.state_dir.perms_group_writable",
                    Severity::Warn,
                    title,
                    file,
                    "700",
                ));
            } else if mode & OTHERS_READ != 0 {
                found.push(finding(
                    "fs.state_dir.perms_readable",
                    Severity::Warn,
                    title,
                    file,
                    "700",
                ));
            }
        }
        symlink("fs.state_dir.symlink", file, found);
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

pub(super) fn config(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for file in with_role(facts, FileRole::Config) {
        let mode = file.mode;
        if !file.is_symlink {
            if mode & OTHERS_WRITE != 0 {
                let title = "Others can change the settings";
                found.push(finding(
                    "fs.config.perms_writable",
                    Severity::Critical,
                    title,
                    file,
                    "600",
                ));
            } else if mode & WORLD_READ != 0 {
                let title = "Everybody on this machine can read the settings";
                found.push(finding(
                    "fs.config.perms_world_readable",
                    Severity::Critical,
                    title,
                    file,
                    "600",
                ));
            } else if mode & GROUP_READ != 0 {
                let title = "The group can read the settings";
                found.push(finding(
                    "fs.config.perms_group_readable",
                    Severity::Warn,
                    title,
                    file,
                    "600",
                ));
            }
        }
        symlink("fs.config.symlink", file, found);
    }
}

pub(super) fn secrets(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for role in [FileRole::Secret, FileRole::PrivateKey] {
        for file in with_role(facts, role) {
            let open = file.mode & (OTHERS_READ | OTHERS_WRITE) != 0;
            if !file.is_symlink && file.is_regular && file.is_own && !open {
                continue;
            }
            let what = match (file.is_symlink, file.is_regular, file.is_own) {
                (true, ..) => "is a symbolic link",
                (_, false, _) => "is not a regular file",
                (.., false) => "belongs to another user",
                _ => "can be read or changed by others",
            };
            found.push(
                Finding::new(
                    "fs.token_file.perms",
                    Severity::Critical,
                    "A secret is not kept to its owner",
                    format!("{} {what} (mode {:03o}).", file.path, file.mode & 0o777),
                )
                .fix(format!(
                    "chmod 600 {}, and rotate the secret if others could read it.",
                    file.path
                )),
            );
        }
    }
}

pub(super) fn others(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for file in with_role(facts, FileRole::CredentialsDir) {
        let title = "Others can get at the credentials";
        if file.mode & OTHERS_WRITE != 0 {
            found.push(finding(
                "fs.credentials_dir.perms_writable",
                Severity::Critical,
                title,
                file,
                "700",
            ));
        } else if file.mode & OTHERS_READ != 0 {
            found.push(finding(
                "fs.credentials_dir.perms_readable",
                Severity::Warn,
                title,
                file,
                "700",
            ));
        }
    }
    for file in with_role(facts, FileRole::SessionsStore) {
        if file.mode & OTHERS_READ != 0 {
            let title = "Others can read the sessions";
            found.push(finding(
                "fs.sessions_store.perms_readable",
                Severity::Warn,
                title,
                file,
                "600",
            ));
        }
    }
    for file in with_role(facts, FileRole::Log) {
        if file.mode & OTHERS_READ != 0 {
            let title = "Others can read the logs";
            found.push(finding(
                "fs.log_file.perms_readable",
                Severity::Warn,
                title,
                file,
                "600",
            ));
        }
    }
}
