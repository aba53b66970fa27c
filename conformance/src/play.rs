//! Plays one vector in one world, step by step, and says where what came is not what was expected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::client::{device, jwt, responses};
use crate::crypto;
use crate::line::Line;
use crate::pattern::Bindings;
use crate::program::Job;
use crate::seen;
use crate::vector::{Action, DialAnswer, DialPattern, Jwt, Made, Mint, Run, Step, Surface, Vector};
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

/// The secret that control-plane vectors set and sign with.
const CONTROL_SECRET: &str = "control-plane-test-secret-0123456789abcdef";
/// How long what is expected may take to come, unless the step says otherwise: in virtual time.
const PATIENCE_VIRTUAL: Duration = Duration::from_millis(1_000);
/// The same, and the least, over sockets: a busy machine is no failure.
const PATIENCE_REAL: Duration = Duration::from_millis(4_000);
/// The same, for a run of the program.
const PATIENCE_RUN: Duration = Duration::from_secs(20);
/// How long a relay may take to read its records.
const READY: Duration = Duration::from_secs(10);

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
        is_relay: vector.surface == Surface::Relay,
    };
    for (name, value) in player.world.facts() {
        player.bindings.bind(&name, value.into());
    }
    player.ready().map_err(|why| Failure {
        step: "0".into(),
        source: "waiting until the relay is ready".into(),
        why,
    })?;
    player.steps(&vector.steps)?;
    player.no_dials().map_err(|why| Failure {
        step: "-".into(),
        source: "the end of the vector".into(),
        why,
    })
}

/// Whether what came is what was expected; `None` when it has not come yet.
type Verdict = Option<Result<(), String>>;
/// Looks whether what is expected has come.
type Attempt<'a> = dyn FnMut(&mut Line, &mut Bindings) -> Verdict + 'a;

/// Looks whether the world is as expected; says what is not.
type Fits<'a> = dyn FnMut(&mut dyn World, &mut Bindings) -> Result<(), String> + 'a;

struct Player<'a> {
    world: &'a mut dyn World,
    lines: BTreeMap<String, Line>,
    bindings: Bindings,
    skip_ticks: bool,
    is_relay: bool,
}

impl Player<'_> {
    /// A relay reads its records after it has begun to listen: waits until it says that it has.
    fn ready(&mut self) -> Result<(), String> {
        const NAME: &str = "the relay's readiness";
        let mut left = READY;
        while self.is_relay && !left.is_zero() {
            self.world.open(NAME, None)?;
            self.world
                .send(NAME, b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
            let mut came = Vec::new();
            while !left.is_zero() {
                came.extend(self.world.take(NAME).bytes);
                if let Some(response) = responses::next(&mut came, false, false)? {
                    self.world.drop_connection(NAME);
                    if response.status == 200 {
                        return Ok(());
                    }
                    break;
                }
                left = left.saturating_sub(self.world.pass(left));
            }
            self.world.pass(Duration::from_millis(2));
            left = left.saturating_sub(Duration::from_millis(2));
        }
        if self.is_relay {
            Err("it does not become ready".into())
        } else {
            Ok(())
        }
    }

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
            Action::Drain(how) => self.world.drain(*how),
            Action::Reload(changes) => self.world.reload(changes),
            Action::Restart => {
                self.lines.clear();
                self.world.restart()?;
                self.ready()
            }
            Action::Drop => {
                self.world.drop_connection(&step.on);
                Ok(())
            }
            Action::Reset => {
                self.world.reset(&step.on);
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
            Action::Write { path, text } => {
                let (path, text) = (self.bindings.fill_text(path), self.bindings.fill_text(text));
                self.world.write(&path, text.as_bytes())
            }
            Action::Remove(path) => self.world.remove(&self.bindings.fill_text(path)),
            Action::Mode { path, mode } => self.world.set_mode(&self.bindings.fill_text(path), *mode),
            Action::Run(run) => self.run(step, run),
            Action::Stream { run, stream, text } => self.stream(step, run, stream, text),
            Action::ExpectDial(pattern) => self.dial(step, pattern),
            Action::ExpectNoDial => self.no_dials(),
            Action::ExpectLookups(counts) => {
                let lookups = Value::Object(self.world.lookups());
                self.bindings.check(&Value::Object(counts.clone()), &lookups)
            }
            Action::ExpectExit(code) => self.exit(step, *code),
            Action::ExpectFile(pattern) => {
                self.until(step, &mut |world, bindings| seen::file(world, bindings, pattern))
            }
            Action::ExpectLog { has, lacks } => self.until(step, &mut |world, bindings| {
                seen::words(&world.log(), has, lacks, bindings)
            }),
            Action::Token(name) => self.until(step, &mut |world, bindings| token(world, bindings, name)),
            Action::Mint(mint) => self.mint(mint),
            Action::Device { bind, text, offset } => {
                let at = self.world.wall().saturating_add_signed(*offset);
                self.bindings.bind(&format!("{bind}.id"), device::id().into());
                self.bindings.bind(&format!("{bind}.key"), device::public_key().into());
                self.bindings.bind(&format!("{bind}.at"), at.into());
                let signature = device::sign(&self.bindings.fill_text(text));
                self.bindings.bind(bind, signature.into());
                Ok(())
            }
            Action::Jwt(jwt) => self.jwt(jwt),
            Action::JwtOf { token, header, claims } => {
                let [actual_header, actual] = crypto::token::parts(&self.bindings.fill_text(token))?;
                self.bindings.check(header, &actual_header)?;
                self.bindings.check(claims, &actual)
            }
            Action::Claims(name) => {
                let token = self.bindings.fill_text(&format!("${{{name}}}"));
                claims(&mut self.bindings, name, &token)
            }
            action => self.talk(step, action),
        }
    }

    fn dial(&mut self, step: &Step, pattern: &DialPattern) -> Result<(), String> {
        let mut left = self.patience(step);
        loop {
            self.read_all()?;
            if let Some(dialled) = self.world.dialled(&step.on, pattern) {
                let server_name = dialled?;
                let actual = server_name.map_or_else(|| json!({}), |name| json!({"tls": name}));
                if pattern.tls != "$any" {
                    self.bindings.check(&json!({"tls": pattern.tls}), &actual)?;
                }
                if matches!(pattern.answer, DialAnswer::Accept | DialAnswer::AcceptAs(_)) {
                    self.lines.insert(step.on.clone(), Line::new(false));
                }
                return Ok(());
            }
            if left.is_zero() {
                let other = self.lines.iter_mut();
                let other = other.filter_map(|(name, line)| Some(format!("{name:?} got {}", line.pending()?)));
                let other: Vec<_> = other.collect();
                return Err(format!("nothing was dialled; {}", other.join("; ")));
            }
            left = left.saturating_sub(self.world.pass(left));
        }
    }

    fn no_dials(&mut self) -> Result<(), String> {
        match self.world.unexpected_dials() {
            dials if dials.is_empty() => Ok(()),
            dials => Err(format!(
                "the gateway dialled what no step expects: {}",
                dials.join(", ")
            )),
        }
    }

    fn run(&mut self, step: &Step, run: &Run) -> Result<(), String> {
        let fill = |text: &String| self.bindings.fill_text(text);
        let job = Job {
            args: run.args.iter().map(fill).collect(),
            environment: run
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), value.as_ref().map(fill)))
                .collect(),
            stop_at: run.stop_at.as_ref().map(fill),
            patience: step.within.unwrap_or(PATIENCE_RUN).max(PATIENCE_RUN),
        };
        let ended = self.world.run(job)?;
        seen::run(&ended, run, &mut self.bindings)
    }

    fn exit(&mut self, step: &Step, code: i32) -> Result<(), String> {
        self.until(step, &mut |world, _| match world.exit_code() {
            Some(came) if came == code => Ok(()),
            Some(came) => Err(format!("expected the exit code {code}, came {came}")),
            None => Err("the gateway has not ended".into()),
        })
    }

    /// Lets time pass until `fits` has nothing to say against it, but no longer than the step may take.
    fn until(&mut self, step: &Step, fits: &mut Fits<'_>) -> Result<(), String> {
        let mut left = self.patience(step);
        loop {
            self.read_all()?;
            match fits(self.world, &mut self.bindings) {
                Ok(()) => return Ok(()),
                Err(why) if left.is_zero() => return Err(why),
                Err(_) => left = left.saturating_sub(self.world.pass(left)),
            }
        }
    }

    fn mint(&mut self, mint: &Mint) -> Result<(), String> {
        const SCOPES: [&str; 3] = ["provider:read", "provider:write", "gateway:admin"];
        let now = i64::try_from(self.world.wall() / 1_000).unwrap_or(0);
        let usual =
            json!({"iss": "openclaw-gateway", "iat": now, "exp": now + 3_600, "jti": "$ref:T.jti", "scope": SCOPES});
        let (header, payload) = match &mint.raw {
            Some((header, payload)) => (self.bindings.fill_text(header), self.bindings.fill_text(payload)),
            None => {
                let header = merged(json!({"alg": "HS256", "typ": "JWT"}), &mint.header);
                let claims = in_seconds(&merged(usual, &mint.claims), now);
                (
                    self.bindings.fill(&header)?.to_string(),
                    self.bindings.fill(&claims)?.to_string(),
                )
            }
        };
        let secret = mint.secret.as_deref().unwrap_or(CONTROL_SECRET);
        let token = jwt::sign(&header, &payload, secret, mint.signature)?;
        self.bindings.bind(&mint.bind, token.into());
        Ok(())
    }

    fn jwt(&mut self, jwt: &Jwt) -> Result<(), String> {
        let token = match &jwt.made {
            Made::Altered { of, at } => crypto::token::altered(&self.bindings.fill_text(of), *at)?,
            Made::Signed {
                key,
                how,
                header,
                claims,
                raw,
            } => {
                let now = i64::try_from(self.world.wall() / 1_000).unwrap_or(0);
                let (header, claims) = match raw {
                    Some((header, claims)) => (self.bindings.fill_text(header), self.bindings.fill_text(claims)),
                    None => (
                        self.bindings.fill(header)?.to_string(),
                        self.bindings.fill(&in_seconds(claims, now))?.to_string(),
                    ),
                };
                crypto::token::signed(key, how, &header, &claims)?
            }
        };
        self.bindings.bind(&jwt.bind, token.into());
        Ok(())
    }

    fn patience(&self, step: &Step) -> Duration {
        if self.world.is_virtual() {
            step.within.unwrap_or(PATIENCE_VIRTUAL)
        } else {
            step.within.unwrap_or(PATIENCE_REAL).max(PATIENCE_REAL)
        }
    }

    /// Sends what the step sends, or waits for what it expects.
    fn talk(&mut self, step: &Step, action: &Action) -> Result<(), String> {
        if !self.lines.contains_key(&step.on) {
            if matches!(action, Action::ExpectRequest(_) | Action::Respond(_)) {
                return Err(format!("the gateway has not dialled {:?}", step.on));
            }
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
        let patience = self.patience(step);
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

/// Reads the control plane's token, and binds it and its claims.
fn token(world: &mut dyn World, bindings: &mut Bindings, name: &str) -> Result<(), String> {
    let path = bindings.fill_text("${tokenFile}");
    let bytes = world.file(&path).ok_or_else(|| format!("there is no {path}"))?;
    let token = String::from_utf8_lossy(&bytes).trim().to_owned();
    claims(bindings, name, &token)?;
    bindings.bind(name, token.into());
    Ok(())
}

/// Binds the claims of a token.
fn claims(bindings: &mut Bindings, name: &str, token: &str) -> Result<(), String> {
    for (claim, value) in jwt::payload(token)?.as_object().into_iter().flatten() {
        bindings.bind(&format!("{name}.{claim}"), value.clone());
    }
    Ok(())
}

/// `changes` put over `value`; `"$absent"` takes a key away.
fn merged(mut value: Value, changes: &Value) -> Value {
    if let (Some(map), Some(changes)) = (value.as_object_mut(), changes.as_object()) {
        for (key, change) in changes {
            if change == "$absent" {
                map.remove(key);
            } else {
                map.insert(key.clone(), change.clone());
            }
        }
    }
    value
}

/// `$now+N` and `$now-N` among claims, as seconds since 1970.
fn in_seconds(claims: &Value, now: i64) -> Value {
    let pairs = claims.as_object().into_iter().flatten().map(|(name, value)| {
        let offset = value
            .as_str()
            .and_then(|text| text.strip_prefix("$now")?.parse::<i64>().ok());
        (
            name.clone(),
            offset.map_or_else(|| value.clone(), |offset| json!(now + offset)),
        )
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}
