//! `audit verify`: the chain of the audit journal, from the oldest file to the newest.

use std::io::Write as _;

use serde_json::json;

use super::super::commands::SecurityCommand;
use super::super::{Process, Refusal, printed};
use super::facts::Ground;
use super::{CLEAN, FAILED, FOUND};
use crate::inspect::journal::{self, JournalFault};

pub(super) fn run(command: &SecurityCommand, process: &mut Process) -> Result<u8, Refusal> {
    let path = match &command.journal {
        Some(path) => process.working_dir.join(path),
        None => {
            let ground = Ground::read(command, process)?;
            let audit = ground.loaded.core.audit.as_ref();
            audit
                .ok_or("The settings turn the audit journal off.")?
                .path
                .clone()
                .into()
        }
    };
    // A gateway that never ran has no journal; one that somebody names should be there.
    if command.journal.is_some() && journal::files(&path).is_empty() {
        return Err(format!("{}: there is no such file", path.display()).into());
    }
    let (status, text) = match journal::verify(&path) {
        Ok(found) => {
            let span = |end: &Option<(u64, String)>| end.clone().unwrap_or_default();
            let ((first, from), (last, to)) = (span(&found.first), span(&found.last));
            let text = if command.json {
                format!(
                    "{}\n",
                    json!({"ok": true, "journal": path.to_string_lossy(), "records": found.records, "first": first, "last": last,
                           "from": from, "to": to, "torn": found.torn, "lost": found.lost})
                )
            } else if found.records == 0 {
                format!("{}: no records.\n", path.display())
            } else {
                let mut text = format!(
                    "{}: {} records, {first} ({from}) to {last} ({to}); the chain is whole.\n",
                    path.display(),
                    found.records
                );
                if found.torn > 0 {
                    text.push_str(&format!("{} lines were left unfinished by a crash.\n", found.torn));
                }
                if found.lost > 0 {
                    text.push_str(&format!(
                        "{} records could not be written, says the gateway.\n",
                        found.lost
                    ));
                }
                text
            };
            (CLEAN, text)
        }
        Err(fault) => {
            let status = match fault {
                JournalFault::Flawed(..) => FOUND,
                JournalFault::Unreadable(..) => FAILED,
            };
            if !command.json {
                // When standard error is gone, the exit status still tells.
                let _ = writeln!(process.stderr, "{fault}");
                return Ok(status);
            }
            (
                status,
                format!(
                    "{}\n",
                    json!({"ok": false, "journal": path.to_string_lossy(), "error": fault.to_string()})
                ),
            )
        }
    };
    printed(process, &text)?;
    Ok(status)
}
