//! The world outside the core, in memory: effects carried out with a record store, files in a map and scripted programs.
//! Deterministic: the same effects at the same virtual times have the same outcomes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use portcullis_core::effect::{Completion, Effect, Fault, FaultKind, Outcome, Progress};
use portcullis_core::id::EffectId;
use portcullis_core::time::{Instant, Now};

use super::network::Network;
use super::programs;
use super::store::MemoryStore;

/// Something that an effect has to tell the machine.
#[derive(Debug)]
pub(super) enum Told {
    Completed(EffectId, Outcome),
    Progress(EffectId, Progress),
}

/// Effects under way and what they work on.
#[derive(Debug, Default)]
pub(super) struct Host {
    store: MemoryStore,
    files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
    done: VecDeque<(EffectId, Outcome)>,
    programs: BTreeMap<EffectId, Program>,
    /// Lookups and dials.
    pub(super) network: Network,
}

#[derive(Debug)]
struct Program {
    output: VecDeque<(Instant, Progress)>,
    end: Instant,
    outcome: Outcome,
    /// The last progress was told and not continued yet.
    waits: bool,
}

impl Host {
    /// Begins an effect.
    pub(super) fn start(&mut self, effect: EffectId, what: Effect, now: Now) {
        let outcome = match what {
            Effect::Store(batch) => Ok(Completion::Stored(self.store.apply(&batch, now.wall))),
            Effect::Append { path, bytes, .. } => {
                let file = self.files.entry(path).or_default();
                if file.last().is_some_and(|last| *last != b'\n') {
                    file.push(b'\n');
                }
                file.extend_from_slice(&bytes);
                Ok(Completion::Done)
            }
            Effect::WriteFile { path, bytes, .. } => {
                self.files.insert(path, bytes.to_vec());
                Ok(Completion::Done)
            }
            Effect::Rename { from, to } => self.rename(&from, to),
            Effect::Remove { path } => {
                let folder = format!("{path}/");
                self.files.retain(|file, _| *file != path && !file.starts_with(&folder));
                Ok(Completion::Done)
            }
            Effect::ReadFile { path, max_bytes } => self.read(&path, max_bytes),
            Effect::RealPath { path } => self.real_path(&path),
            Effect::Spawn(spawn) => match programs::run(&spawn) {
                Ok(script) => return self.spawn(effect, script, now.monotonic),
                Err(fault) => Err(fault),
            },
            Effect::VerifySignature(_) => Err(Fault {
                kind: FaultKind::Unavailable,
                detail: "the in-memory host checks no signatures".into(),
            }),
            Effect::Resolve { host } => match self.network.resolve(effect, &host) {
                Some(outcome) => outcome,
                None => return,
            },
            Effect::Dial(dial) => match self.network.dial(effect, dial, now.monotonic) {
                Some(outcome) => outcome,
                None => return,
            },
        };
        self.done.push_back((effect, outcome));
    }

    /// A file's content.
    pub(super) fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    fn rename(&mut self, from: &str, to: String) -> Outcome {
        let file = self.files.remove(from).ok_or_else(|| Fault {
            kind: FaultKind::NotFound,
            detail: from.into(),
        })?;
        self.files.insert(to, file);
        Ok(Completion::Done)
    }

    fn spawn(&mut self, effect: EffectId, script: programs::Script, now: Instant) {
        let output = script.output.into_iter();
        let output = output.map(|(after, stream, bytes)| (now.plus(after), Progress::Output { stream, bytes }));
        let outcome = script.status.map(Completion::Exited);
        let outcome = outcome.ok_or_else(|| Fault {
            kind: FaultKind::Invalid,
            detail: "a script without an end".into(),
        });
        let program = Program {
            output: output.collect(),
            end: now.plus(script.end),
            outcome,
            waits: false,
        };
        self.programs.insert(effect, program);
    }

    fn read(&self, path: &str, max_bytes: u32) -> Outcome {
        let Some(file) = self.files.get(path) else {
            return Err(Fault {
                kind: FaultKind::NotFound,
                detail: path.to_owned(),
            });
        };
        let tail = file
            .get(file.len().saturating_sub(max_bytes as usize)..)
            .unwrap_or_default();
        Ok(Completion::File {
            bytes: Bytes::copy_from_slice(tail),
            size: file.len() as u64,
        })
    }

    /// Appends to a file behind the machine's back.
    pub(super) fn append(&mut self, path: &str, bytes: &[u8]) {
        self.files.entry(path.to_owned()).or_default().extend_from_slice(bytes);
    }

    /// Makes a link.
    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.links.insert(path.to_owned(), to.to_owned());
    }

    /// The real path of what `path` leads to, by way of one link at most.
    fn real_path(&self, path: &str) -> Outcome {
        let linked = self.links.iter().find_map(|(link, to)| {
            let rest = path.strip_prefix(link.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        });
        real_path(linked.as_deref().unwrap_or(path))
    }

    /// The machine has dealt with the last progress.
    pub(super) fn proceed(&mut self, effect: EffectId) {
        if let Some(program) = self.programs.get_mut(&effect) {
            program.waits = false;
        }
    }

    /// Ends an effect early.
    pub(super) fn cancel(&mut self, effect: EffectId) {
        if self.network.cancel(effect) || self.programs.remove(&effect).is_some() {
            let fault = Fault {
                kind: FaultKind::Cancelled,
                detail: String::new(),
            };
            self.done.push_back((effect, Err(fault)));
        }
    }

    /// When the next thing is told; `None`: nothing is under way.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        if !self.done.is_empty() {
            return Some(now);
        }
        let programs = self.programs.values().filter_map(Program::next_at);
        programs.chain(self.network.next_at()).min()
    }

    /// What is to be told by `now`, one thing at a time.
    pub(super) fn told(&mut self, now: Instant) -> Option<Told> {
        if let Some((effect, outcome)) = self.done.pop_front() {
            return Some(Told::Completed(effect, outcome));
        }
        if let Some((effect, outcome)) = self.network.given_up(now) {
            return Some(Told::Completed(effect, outcome));
        }
        let due = self
            .programs
            .iter()
            .filter_map(|(effect, program)| Some((program.next_at()?, *effect)))
            .min();
        let (_, effect) = due.filter(|(at, _)| *at <= now)?;
        let program = self.programs.get_mut(&effect)?;
        match program.output.pop_front() {
            Some((_, progress)) => {
                program.waits = true;
                Some(Told::Progress(effect, progress))
            }
            None => self
                .programs
                .remove(&effect)
                .map(|program| Told::Completed(effect, program.outcome)),
        }
    }

    /// The process is killed: effects under way are lost, and what is kept in memory only.
    pub(super) fn crash(&mut self) {
        self.done.clear();
        self.programs.clear();
        self.network.crash();
        self.store.crash();
    }
}

impl Program {
    fn next_at(&self) -> Option<Instant> {
        if self.waits {
            return None;
        }
        Some(self.output.front().map_or(self.end, |(at, _)| *at))
    }
}

/// Every absolute path exists and is its own real path, but for those under `/missing`, and `/link-to/X`, which is `/X`.
fn real_path(path: &str) -> Outcome {
    if path.starts_with("/missing") {
        return Err(Fault {
            kind: FaultKind::NotFound,
            detail: path.to_owned(),
        });
    }
    let path = path.strip_prefix("/link-to").unwrap_or(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(Completion::Path(format!("/{}", parts.join("/"))))
}
