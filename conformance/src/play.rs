//! Plays one vector in one world, step by step, and says where what came is not what was expected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::line::Line;
use crate::pattern::Bindings;
use crate::vector::{Action, Step, Vector};
use crate::world::World;

/// The step at which a vector failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number in the file.
    pub step: String,
    /// The step as it was written.
    pub source: String,
    /// What was expected and what came.
    pub why: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {}: {}\n    {}", self.step, self.source, self.why)
    }
}

/// How long what is expected may take to come, unless the step says otherwise: in virtual time.
const PATIENCE_VIRTUAL: Duration = Duration::from_millis(1_000);
/// The same, and the least, over sockets: a busy machine is no failure.
const PATIENCE_REAL: Duration = Duration::from_millis(4_000);

/// Plays `vector` in `world`.
///
/// # Errors
/// The first step that failed.
pub fn play(vector: &Vector, world: &mut dyn World) -> Result<(), Failure> {
    let mut player = Player {
        world,
        lines: BTreeMap::new(),
        bindings: Bindings::default(),
        skip_ticks: vector.skip_ticks,
    };
    player.steps(&vector.steps)
}

/// Whether what came is what was expected; `None` when it has not come yet.
type Verdict = Option<Result<(), String>>;
/// Looks whether what is expected has come.
type Attempt<'a> = dyn FnMut(&mut Line, &mut Bindings) -> Verdict + 'a;

struct Player<'a> {
    world: &'a mut dyn World,
    lines: BTreeMap<String, Line>,
    bindings: Bindings,
    skip_ticks: bool,
}

impl Player<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            if let Action::Repeat { times, steps } = &step.action {
                for round in 1..=*times {
                    self.bindings.bind("n", round.into());
                    self.steps(steps)?;
                }
                continue;
            }
            self.step(step).map_err(|why| Failure {
                step: step.number.clone(),
                source: step.source.clone(),
                why,
            })?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.action {
            Action::Open { peer } => {
                // A connection of a known name that has ended is opened anew.
                self.world.open(&step.on, *peer)?;
                self.lines.insert(step.on.clone(), Line::new(self.skip_ticks));
                Ok(())
            }
            Action::Wait(time) => self.wait(*time),
            Action::Silence(time) => self.silence(&step.on, *time),
            Action::Drain => self.world.drain(),
            Action::Restart => {
                self.lines.clear();
                self.world.restart()
            }
            Action::Drop => {
                self.world.drop_connection(&step.on);
                Ok(())
            }
            Action::HalfClose => {
                self.world.half_close(&step.on);
                Ok(())
            }
            Action::Reading(reads) => {
                self.world.set_reading(&step.on, *reads);
                Ok(())
            }
            Action::ExpectReading(reads) => self.expect_reading(step, *reads),
            Action::Append { path, text } => {
                let (path, text) = (self.bindings.fill_text(path), self.bindings.fill_text(text));
                self.world.append(&path, text.as_bytes())
            }
            Action::Link { path, to } => {
                let (path, to) = (self.bindings.fill_text(path), self.bindings.fill_text(to));
                self.world.link(&path, &to)
            }
            Action::Stream { run, stream, text } => self.stream(step, run, stream, text),
            action => self.talk(step, action),
        }
    }

    /// Sends what the step sends, or waits for what it expects.
    fn talk(&mut self, step: &Step, action: &Action) -> Result<(), String> {
        if !self.lines.contains_key(&step.on) {
            self.world.open(&step.on, None)?;
            self.lines.insert(step.on.clone(), Line::new(self.skip_ticks));
        }
        if let Some(line) = self.lines.get_mut(&step.on)
            && let Some(bytes) = line.outgoing(action, &self.bindings)?
        {
            return self.world.send(&step.on, &bytes);
        }
        self.await_match(step, &mut |line, bindings| line.expected(action, bindings))
    }

    /// Lets time pass until `attempt` has an answer, but no longer than the step may take.
    fn await_match(&mut self, step: &Step, attempt: &mut Attempt<'_>) -> Result<(), String> {
        let patience = if self.world.is_virtual() {
            step.within.unwrap_or(PATIENCE_VIRTUAL)
        } else {
            step.within.unwrap_or(PATIENCE_REAL).max(PATIENCE_REAL)
        };
        let mut left = patience;
        loop {
            self.read_all()?;
            let Some(line) = self.lines.get_mut(&step.on) else {
                return Err("the connection is not open".into());
            };
            if let Some(verdict) = attempt(line, &mut self.bindings) {
                return verdict;
            }
            if line.has_ended() {
                return Err(format!(
                    "the gateway ended the connection; before that came {}",
                    line.unread()
                ));
            }
            if left.is_zero() {
                let unread = line.unread();
                return Err(format!(
                    "nothing fitting came within {} ms; unread: {unread}",
                    patience.as_millis()
                ));
            }
            left = left.saturating_sub(self.world.pass(left));
        }
    }

    fn stream(&mut self, step: &Step, run: &Value, stream: &str, text: &str) -> Result<(), String> {
        let mut so_far = String::new();
        while so_far != text {
            self.await_match(step, &mut |line, bindings| {
                line.chunk(run, stream, &mut so_far, bindings)
            })?;
            if !text.starts_with(&so_far) {
                return Err(format!("expected the stream to be {text:?}, so far came {so_far:?}"));
            }
        }
        Ok(())
    }

    /// Lets time pass until the gateway reads from the connection, or does not.
    fn expect_reading(&mut self, step: &Step, reads: bool) -> Result<(), String> {
        let patience = step.within.unwrap_or(PATIENCE_VIRTUAL);
        let mut left = patience;
        loop {
            match self.world.is_read(&step.on) {
                Some(now) if now == reads => return Ok(()),
                Some(now) if left.is_zero() => {
                    let is = if now { "still reads" } else { "does not read" };
                    return Err(format!("the gateway {is} after {} ms", patience.as_millis()));
                }
                Some(_) => left = left.saturating_sub(self.world.pass(left)),
                None => return Err("the connection is not open".into()),
            }
        }
    }

    fn wait(&mut self, time: Duration) -> Result<(), String> {
        let mut left = time;
        while !left.is_zero() {
            left = left.saturating_sub(self.world.pass(left));
            self.read_all()?;
        }
        Ok(())
    }

    fn silence(&mut self, on: &str, time: Duration) -> Result<(), String> {
        self.read_all()?;
        // A silence usually ends where something is due. On a busy machine real time runs ahead of the vector's, so over
        // sockets only its first half is proved; the core proves all of it.
        let time = if self.world.is_virtual() { time } else { time / 2 };
        self.wait(time)?;
        match self.lines.get_mut(on).and_then(Line::pending) {
            None => Ok(()),
            Some(came) => Err(format!("expected nothing for {} ms, came {came}", time.as_millis())),
        }
    }

    /// Reads what has come on every connection, and answers pings and close frames where the client has manners.
    fn read_all(&mut self) -> Result<(), String> {
        for (name, line) in &mut self.lines {
            let taken = self.world.take(name);
            let replies = line
                .incoming(taken)
                .map_err(|why| format!("connection {name:?}: {why}"))?;
            if !replies.is_empty() {
                self.world.send(name, &replies)?;
            }
            if line.just_ended() {
                self.world.drop_connection(name);
            }
        }
        Ok(())
    }
}
