//! Programs that the in-memory host can run: the few that vectors use, with the output and timing of the real ones.
//!
//! `/bin/cat`, `/bin/true`, `/bin/false`, `/bin/sleep N`, and `/bin/sh -c` with commands separated by `;` out of: `cat`,
//! `echo WORDS` (with `$NAME` and a trailing `>&2`), `sleep N`, `pwd`, `exit N`, and `head -c N /dev/zero`.

use std::time::Duration;

use bytes::Bytes;
use portcullis_core::effect::{ExitStatus, Fault, FaultKind, OutputStream, Spawn};

/// What a program does: output at times after its start, and its end.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) output: Vec<(Duration, OutputStream, Bytes)>,
    pub(super) end: Duration,
    pub(super) status: Option<ExitStatus>,
}

/// What `spawn` would do.
pub(super) fn run(spawn: &Spawn) -> Result<Script, Fault> {
    let args: Vec<&str> = spawn.args.iter().map(String::as_str).collect();
    let line = match (spawn.program.rsplit('/').next().unwrap_or_default(), args.as_slice()) {
        ("cat", []) => "cat".to_owned(),
        ("true", []) => String::new(),
        ("false", []) => "exit 1".to_owned(),
        ("sleep", [seconds]) => format!("sleep {seconds}"),
        ("sh", ["-c", line]) => (*line).to_owned(),
        _ => {
            let detail = format!("{} (the in-memory host has no such program)", spawn.program);
            return Err(Fault {
                kind: FaultKind::NotFound,
                detail,
            });
        }
    };
    let mut script = Script::default();
    for command in line.split(';') {
        if script.status.is_none() {
            script.command(command.trim(), spawn);
        }
    }
    script.status.get_or_insert(ExitStatus::Code(0));
    Ok(script)
}

impl Script {
    fn command(&mut self, command: &str, spawn: &Spawn) {
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "" => {}
            "cat" => self.write(OutputStream::Stdout, &spawn.stdin),
            "pwd" => self.write(
                OutputStream::Stdout,
                format!("{}\n", spawn.dir.as_deref().unwrap_or("/")).as_bytes(),
            ),
            "echo" => {
                let (words, stream) = match rest.strip_suffix(">&2") {
                    Some(words) => (words.trim_end(), OutputStream::Stderr),
                    None => (rest, OutputStream::Stdout),
                };
                self.write(stream, format!("{}\n", expanded(words, spawn)).as_bytes());
            }
            "sleep" => self.end += Duration::try_from_secs_f64(rest.parse().unwrap_or(0.0)).unwrap_or_default(),
            "head" => {
                let size = rest
                    .strip_prefix("-c ")
                    .and_then(|rest| rest.split(' ').next())
                    .and_then(|size| size.parse().ok());
                self.write(OutputStream::Stdout, &vec![0; size.unwrap_or(0)]);
            }
            "exit" => self.status = Some(ExitStatus::Code(rest.parse().unwrap_or(0))),
            _ => {
                self.write(OutputStream::Stderr, format!("sh: {name}: not found\n").as_bytes());
                self.status = Some(ExitStatus::Code(127));
            }
        }
    }

    fn write(&mut self, stream: OutputStream, bytes: &[u8]) {
        for chunk in bytes.chunks(16_384) {
            self.output.push((self.end, stream, Bytes::copy_from_slice(chunk)));
        }
    }
}

fn expanded(words: &str, spawn: &Spawn) -> String {
    let words = words.split(' ').map(|word| {
        let word = word.trim_matches('"');
        match word.strip_prefix('$') {
            Some(name) => spawn
                .env
                .iter()
                .find(|(key, _)| key == name)
                .map_or("", |(_, value)| value),
            None => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_shell_line_runs_as_the_real_one_would() {
        let script = run(&Spawn {
            program: "/bin/sh".into(),
            args: vec![
                "-c".into(),
                "cat; sleep 0.5; echo $WHO says no >&2; exit 3; echo never".into(),
            ],
            env: vec![("WHO".into(), "goat".into())],
            stdin: Bytes::from_static(b"hello"),
            dir: None,
        })
        .unwrap();
        assert_eq!(script.status, Some(ExitStatus::Code(3)));
        assert_eq!(script.end, Duration::from_millis(500));
        assert_eq!(script.output.len(), 2);
        assert_eq!(
            script.output[1],
            (
                Duration::from_millis(500),
                OutputStream::Stderr,
                Bytes::from_static(b"goat says no\n")
            )
        );
    }
}
