//! One gateway with its state, through all its lives: work, a kill, a restart, and the checks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::audit::{self, Found};
use super::client::{self, Work};
use super::dice::Dice;
use super::ledger::{Acknowledged, Job, Ledger};
use super::{Program, Tally};
use crate::child::Child;

/// Connections at the same time.
const CONNECTIONS: usize = 4;
/// More runs than a round has time for.
const JOBS_EACH: u32 = 400;
/// The sessions that runs name; the first is the main one.
const SESSIONS: [&str; 5] = ["main", "plan", "Big Plan!", "agent:goat:x", "another"];
/// A kill comes at the latest so long after the work has begun.
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);
/// What a replayed request carries as its message: no agent may ever see it.
pub(super) const NEVER: &str = "NEVER this must not run";

/// A gateway and what its clients know.
pub(super) struct House {
    child: Child,
    ledger: Ledger,
    /// What the last audit counted.
    found: Found,
    /// Where the program writes down what it was asked; `None`: the built-in agent works here.
    outside: Option<Outside>,
}

/// A file outside of the gateway's state, removed with its owner.
pub(super) struct Outside(PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        // What is left behind in the system's folder for such things does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl House {
    /// Starts a gateway on a state folder of its own.
    pub(super) fn open(program: &Program, with_program: bool) -> Result<Self, String> {
        let mut set = vec![
            "gateway.rateLimitPerMinute=100000000".to_owned(),
            "gateway.idempotencyTtlMs=86400000".to_owned(),
            "gateway.idempotencyMaxEntries=1000000".to_owned(),
            "gateway.maxBufferedBytes=100000000".to_owned(),
            "gateway.tickIntervalMs=3600000".to_owned(),
            "session.mode=never".to_owned(),
        ];
        let outside = with_program.then(|| {
            let name = format!(
                "portcullis-crash-{}-{}",
                std::process::id(),
                super::seed_of_the_moment()
            );
            Outside(std::env::temp_dir().join(name))
        });
        if let Some(Outside(file)) = &outside {
            // Builtins only: the program's environment is empty, and a life is short.
            let line = format!(
                "IFS= read -r m; printf '%s\\n' \"${{m%% *}}\" >> '{}'; printf 'did %s' \"$m\"",
                file.display()
            );
            let list = json!([{"id": "scribe", "displayName": "Scribe", "command": ["/bin/sh", "-c", line]}]);
            set.push(format!("agents.list={list}"));
        }
        let args = set.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect();
        Ok(Self {
            child: Child::start(program, args, true)?,
            ledger: Ledger::default(),
            found: Found::default(),
            outside,
        })
    }

    /// Its name in reports.
    pub(super) fn name(&self) -> &'static str {
        if self.outside.is_some() {
            "with a program"
        } else {
            "built-in agent"
        }
    }

    /// Work, a kill at a random moment, a restart, and every check.
    pub(super) fn round(&mut self, round: u32, dice: &mut Dice) -> Result<Tally, String> {
        let work = self.work_and_kill(round, dice);
        let mut tally = Tally {
            kills: 1,
            acknowledged: work.acknowledged.len() as u64,
            interrupted: work.interrupted.len() as u64,
            ..Tally::default()
        };
        let keys: Vec<String> = work.acknowledged.iter().map(|one| one.job.key.clone()).collect();
        self.note(work, true)?;
        self.tear(dice)?;
        self.child.restart()?;
        let some = keys.into_iter().chain(self.some_earlier(dice));
        tally.replays = self.replay(some.collect())?;
        tally.answer_lost = self.run_interrupted_again()?;
        let found = audit::audit(self.child.address(), &self.ledger, self.outside_lines()?.as_ref())?;
        tally.extra_turns = found.extra_turns.saturating_sub(self.found.extra_turns);
        tally.torn_lines = found.torn_lines.saturating_sub(self.found.torn_lines);
        self.found = found;
        Ok(tally)
    }

    fn work_and_kill(&mut self, round: u32, dice: &mut Dice) -> Work {
        let address = self.child.address();
        let answered = AtomicU64::new(0);
        let (enough, delay) = (dice.below(60), Duration::from_micros(dice.below(8_000)));
        let started = Instant::now();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|connection| {
                    let (jobs, answered) = (jobs(round, connection, &mut dice.split()), &answered);
                    scope.spawn(move || client::work(address, jobs, None, answered))
                })
                .collect();
            while answered.load(Ordering::Relaxed) < enough && started.elapsed() < LONGEST_LIFE {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(delay);
            self.child.kill();
            let mut all = Work::default();
            for work in clients.into_iter().filter_map(|client| client.join().ok()) {
                all.acknowledged.extend(work.acknowledged);
                all.interrupted.extend(work.interrupted);
                all.refused.extend(work.refused);
                all.streamed.extend(work.streamed);
            }
            all
        })
    }

    /// Writes down what a client was told, after looking at it. `fresh`: nothing of it was asked for in an earlier life.
    fn note(&mut self, work: Work, fresh: bool) -> Result<u64, String> {
        if let Some((job, frame)) = work.refused.first() {
            return Err(format!("{} is answered {frame}", job.key));
        }
        let mut replayed = 0;
        for one in work.acknowledged {
            let id = format!("{}#{}", one.job.key, one.job.lives);
            let ran_now = one.payload.get("runId").and_then(Value::as_str) == Some(&id);
            let expected = self.answer_to(&one.job.message);
            if one.text("stdout") != expected || one.payload.pointer("/result/code") != Some(&json!(0)) {
                return Err(format!(
                    "{id} is answered {}, its output should be {expected:?}",
                    one.payload
                ));
            }
            let streamed = work.streamed.get(&id).map(String::as_str).unwrap_or_default();
            if streamed != if ran_now { expected.as_str() } else { "" } {
                return Err(format!("{id} streamed {streamed:?} (ran now: {ran_now})"));
            }
            if fresh && !ran_now {
                return Err(format!("{id} is new and answered by another run: {}", one.payload));
            }
            replayed += u64::from(!ran_now);
            self.ledger.acknowledged.insert(one.job.key.clone(), one);
        }
        self.ledger.interrupted.extend(work.interrupted);
        Ok(replayed)
    }

    fn answer_to(&self, message: &str) -> String {
        if self.outside.is_some() {
            format!("did {message}")
        } else {
            message.to_owned()
        }
    }

    /// Sometimes the end of a transcript is torn, as a loss of power would leave it.
    fn tear(&self, dice: &mut Dice) -> Result<(), String> {
        let Some(one) = self.ledger.acknowledged.values().next_back().filter(|_| dice.one_in(2)) else {
            return Ok(());
        };
        let path = one.text("transcriptPath");
        let torn = |error: std::io::Error| format!("cannot tear {path}: {error}");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(torn)?;
        let part = b"{\"type\":\"message\",\"role\":\"user\",\"content\":\"torn \xc3";
        std::io::Write::write_all(&mut file, part).map_err(torn)
    }

    fn some_earlier(&self, dice: &mut Dice) -> Vec<String> {
        let of = (self.ledger.acknowledged.len() as u64 / 40).max(1);
        self.ledger
            .acknowledged
            .keys()
            .filter(|_| dice.one_in(of))
            .cloned()
            .collect()
    }

    /// Asks for acknowledged runs again: the same payload, and no agent works.
    fn replay(&self, keys: Vec<String>) -> Result<u64, String> {
        let before = self.outside_lines()?;
        let jobs = keys.iter().filter_map(|key| self.ledger.acknowledged.get(key));
        let jobs: Vec<Job> = jobs.map(|one| again(&one.job)).collect();
        let work = client::work(self.child.address(), jobs, Some(NEVER), &AtomicU64::new(0));
        if let Some((job, frame)) = work.refused.first() {
            return Err(format!("the replay of {} is answered {frame}", job.key));
        }
        if let Some(job) = work.interrupted.first() {
            return Err(format!("the replay of {} is not answered", job.key));
        }
        if let Some((run, text)) = work.streamed.first_key_value() {
            return Err(format!("replays must not run, but {run} streamed {text:?}"));
        }
        for Acknowledged { job, payload } in &work.acknowledged {
            let told = self.ledger.acknowledged.get(&job.key).map(|one| &one.payload);
            if told != Some(payload) {
                return Err(format!(
                    "{} was acknowledged with {told:?}, its replay is {payload}",
                    job.key
                ));
            }
        }
        let keys: std::collections::BTreeSet<_> = keys.into_iter().collect();
        let answered: std::collections::BTreeSet<_> = work.acknowledged.iter().map(|one| one.job.key.clone()).collect();
        if let Some(missing) = keys.difference(&answered).next() {
            return Err(format!("the replay of {missing} was not answered"));
        }
        match (&before, &self.outside_lines()?) {
            (Some(before), Some(after)) if self.ledger.interrupted.is_empty() && before != after => {
                Err("programs ran during replays".into())
            }
            _ => Ok(answered.len() as u64),
        }
    }

    /// Asks again for everything that was acknowledged.
    pub(super) fn replay_everything(&mut self) -> Result<u64, String> {
        self.replay(self.ledger.acknowledged.keys().cloned().collect())
    }

    /// What was interrupted is asked for again, and now it is answered. Returns how much of it had been done before.
    fn run_interrupted_again(&mut self) -> Result<u64, String> {
        let jobs = std::mem::take(&mut self.ledger.interrupted);
        let count = jobs.len();
        let jobs = jobs.iter().map(again).collect();
        let work = client::work(self.child.address(), jobs, None, &AtomicU64::new(0));
        if let Some(job) = work.interrupted.first() {
            return Err(format!(
                "the interrupted {} is not answered when it is asked for again",
                job.key
            ));
        }
        let answered = work.acknowledged.len() + work.refused.len();
        let replayed = self.note(work, false)?;
        if answered == count {
            Ok(replayed)
        } else {
            Err(format!(
                "{count} runs were interrupted, {answered} of them are answered when asked for again"
            ))
        }
    }

    /// How often the program wrote each key down.
    fn outside_lines(&self) -> Result<Option<BTreeMap<String, u64>>, String> {
        let Some(Outside(file)) = &self.outside else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        Ok(Some(lines))
    }
}

/// The same request in the next life.
fn again(job: &Job) -> Job {
    Job {
        lives: job.lives + 1,
        ..job.clone()
    }
}

fn jobs(round: u32, connection: usize, dice: &mut Dice) -> Vec<Job> {
    let job = |number| {
        let key = format!("r{round}-{connection}-{number}");
        // Most messages are small; some make a transcript's line longer than a page.
        let size = if dice.one_in(12) {
            dice.below(9_000)
        } else {
            dice.below(120)
        };
        let filler = "words and w\u{f6}rter ".repeat(usize::try_from(size / 17).unwrap_or(0));
        Job {
            message: format!("{key} {filler}end"),
            key,
            session: (!dice.one_in(6)).then(|| dice.pick(&SESSIONS)),
            force_new: dice.one_in(25),
            lives: 0,
        }
    };
    (0..JOBS_EACH).map(job).collect()
}
