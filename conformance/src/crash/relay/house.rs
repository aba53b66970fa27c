//! One relay with its state and its users, through all its lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Tally;
use super::agent::{self, Delivered};
use super::talk::text;
use super::user::User;
use crate::child::{Child, Program};
use crate::crash::dice::Dice;

/// The users; each invites the next one.
const NAMES: [&str; 3] = ["ada", "bert", "cleo"];
/// A kill comes at the latest so long after the work has begun.
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);
/// How long a relay may take to read its records.
const START: Duration = Duration::from_secs(10);

/// A relay and what its users know.
pub(super) struct House {
    child: Child,
    users: Vec<User>,
    /// What agents were sent, over all lives, in the order of its coming.
    delivered: Vec<Delivered>,
}

impl House {
    pub(super) fn open(program: &Program) -> Result<Self, String> {
        let set = [
            ("JWT_SIGNING_KEY", "a-signing-key-for-the-crash-test-only"),
            ("DOTENV_PATH", "-"),
            // The port changes with every life, and who tokens are from must not.
            ("PUBLIC_BASE_URL", "http://localhost:8091"),
            ("RELAY_OAUTH_LIMIT_PER_WINDOW", "100000"),
            ("RELAY_MAX_DEVICES_PER_OWNER", "100000"),
            ("IDEMPOTENCY_TTL_SECONDS", "86400"),
        ];
        let environment = set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut house = Self {
            child: Child::relay(program, environment)?,
            users: (0..).zip(NAMES).map(|(number, name)| User::new(name, number)).collect(),
            delivered: Vec::new(),
        };
        house.furnish()?;
        Ok(house)
    }

    /// Adds to a failure what the relay has to do with it.
    pub(super) fn explain(&mut self, failure: &str) -> String {
        self.child.explain(failure)
    }

    /// Every user with a login, its devices, and sessions with both.
    fn furnish(&mut self) -> Result<(), String> {
        self.wait_until_ready()?;
        let address = self.child.address();
        for user in &mut self.users {
            user.log_in(address)?;
            for device in user.devices.clone() {
                let key = device.public_key();
                user.register(address, &device.id, &key)?;
                user.registered.insert(device.id, key);
            }
            for device in [0, 1, 1] {
                user.begin(address, device)?;
            }
        }
        // For the handshakes also the agents are there that are away later.
        self.with_agents(&[0, 1], |users| {
            let end = Instant::now() + START;
            for user in users.iter_mut() {
                while user.sessions.values().any(|session| !session.established) {
                    if Instant::now() > end {
                        return Err("agents do not acknowledge handshakes".into());
                    }
                    user.look(address)?;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(())
        })
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let end = Instant::now() + START;
        while Instant::now() < end {
            if let Some((200, _)) =
                super::talk::ask(self.child.address(), "GET", "/readyz", None, super::talk::Body::None)
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err("the relay does not get ready".into())
    }

    /// Does something while the agents of these devices (by their place) are there; what they are sent is noted.
    fn with_agents(
        &mut self,
        places: &[usize],
        work: impl FnOnce(&mut Vec<User>) -> Result<(), String>,
    ) -> Result<(), String> {
        let address = self.child.address();
        let over = AtomicBool::new(false);
        let (done, delivered) = std::thread::scope(|scope| {
            let mut agents = Vec::new();
            for user in &self.users {
                for device in places.iter().filter_map(|place| user.devices.get(*place)) {
                    let (device, token, over) = (device.clone(), user.token().unwrap_or_default().to_owned(), &over);
                    agents.push(scope.spawn(move || agent::serve(address, &device, &token, over)));
                }
            }
            let done = work(&mut self.users);
            over.store(true, Ordering::Relaxed);
            let delivered: Vec<_> = agents
                .into_iter()
                .map(|agent| agent.join().unwrap_or_else(|_| Err("an agent panicked".into())))
                .collect();
            (done, delivered)
        });
        done?;
        for one in delivered {
            self.note(one?)?;
        }
        Ok(())
    }

    /// Notes what one connection of an agent was sent; it must be in order.
    fn note(&mut self, delivered: Vec<Delivered>) -> Result<(), String> {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for (session, seq, _) in &delivered {
            let before = last.insert(session, *seq).unwrap_or(0);
            if *seq <= before {
                return Err(format!(
                    "session {session}: number {seq} came after {before} on one connection"
                ));
            }
        }
        self.delivered.extend(delivered);
        Ok(())
    }

    /// Work, a kill at a random moment, a restart, and every check.
    pub(super) fn round(&mut self, dice: &mut Dice) -> Result<Tally, String> {
        let before = self.counts();
        self.work_and_kill(dice)?;
        self.child.restart()?;
        self.wait_until_ready()?;
        let mut tally = Tally {
            kills: 1,
            records: self.records()?,
            replays: self.replays(dice)?,
            ..Tally::default()
        };
        self.agents_come()?;
        self.everything_arrived()?;
        let after = self.counts();
        tally.forwarded = after.forwarded - before.forwarded;
        tally.queued = after.queued - before.queued;
        tally.in_doubt = after.in_doubt - before.in_doubt;
        tally.sent_again = after.sent_again - before.sent_again;
        Ok(tally)
    }

    fn work_and_kill(&mut self, dice: &mut Dice) -> Result<(), String> {
        let address = self.child.address();
        let (enough, delay) = (dice.below(600), Duration::from_micros(dice.below(8_000)));
        let late = dice.one_in(2);
        let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let started = Instant::now();
        let (worked, delivered) = std::thread::scope(|scope| {
            let mut agents = Vec::new();
            for user in &self.users {
                for (place, device) in user.devices.iter().cloned().enumerate() {
                    let (token, over, answered) = (user.token().unwrap_or_default().to_owned(), &over, &answered);
                    agents.push(scope.spawn(move || {
                        // An agent that was away sometimes comes before the kill.
                        while place == 1 && (!late || answered.load(Ordering::Relaxed) < enough.saturating_sub(20)) {
                            if over.load(Ordering::Relaxed) {
                                return Ok(Vec::new());
                            }
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        agent::serve(address, &device, &token, &AtomicBool::new(false))
                    }));
                }
            }
            let guests: Vec<String> = NAMES
                .iter()
                .cycle()
                .skip(1)
                .map(|name| format!("{name}@example.org"))
                .take(NAMES.len())
                .collect();
            let users: Vec<_> = self
                .users
                .iter_mut()
                .zip(guests)
                .map(|(user, guest)| {
                    let (mut dice, over, answered) = (dice.split(), &over, &answered);
                    scope.spawn(move || user.live(address, &guest, &mut dice, over, answered))
                })
                .collect();
            while answered.load(Ordering::Relaxed) < enough
                && started.elapsed() < LONGEST_LIFE
                && !users.iter().all(|user| user.is_finished())
            {
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(delay);
            // What is asked while it dies is in doubt, and then nobody asks any more.
            self.child.kill();
            over.store(true, Ordering::Relaxed);
            let gone = || Err(String::from("a client panicked"));
            let worked: Vec<_> = users
                .into_iter()
                .map(|user| user.join().unwrap_or_else(|_| gone()))
                .collect();
            let delivered: Vec<_> = agents
                .into_iter()
                .map(|agent| agent.join().unwrap_or_else(|_| Err("an agent panicked".into())))
                .collect();
            (worked, delivered)
        });
        worked.into_iter().collect::<Result<Vec<_>, _>>()?;
        for one in delivered {
            self.note(one?)?;
        }
        Ok(())
    }

    /// Logins, devices, sessions and grants are there.
    fn records(&mut self) -> Result<u64, String> {
        let address = self.child.address();
        let mut kept = 0;
        for user in &mut self.users {
            if user.login.is_some() {
                // The old access token first, then its successor.
                user.call(address, "GET", "/devices", None, &[200])?;
                kept += 2;
            }
            user.renew(address)?;
            for (id, key) in user.registered.clone() {
                let (_, found) = user
                    .call(address, "GET", &format!("/devices/{id}/identity-key"), None, &[200])?
                    .ok_or("gone")?;
                if text(&found, "public_key") != key {
                    return Err(format!("device {id} has another key: {found}"));
                }
                kept += 1;
            }
            user.look(address)?;
            kept += user.sessions.len() as u64;
        }
        let mut invitations = Vec::new();
        for (place, user) in self.users.iter_mut().enumerate() {
            kept += grants_are_there(address, user)?;
            let open = user.grants.iter().filter(|(_, (_, active))| !active);
            invitations.extend(
                open.map(|(grant, (token, _))| (place, grant.clone(), token.clone()))
                    .take(3),
            );
        }
        // Invitations of earlier lives are good: the next user takes some of them.
        for (place, grant, token) in invitations {
            let guest = (place + 1) % self.users.len();
            let accepted = match self.users.get_mut(guest) {
                Some(guest) => guest.call(
                    address,
                    "POST",
                    "/shares/invites/accept",
                    Some(&json!({"token": token})),
                    &[200],
                )?,
                None => None,
            };
            let found = accepted.is_some_and(|(_, told)| text(&told, "grantId") == grant);
            if let Some((_, active)) = self.users.get_mut(place).and_then(|user| user.grants.get_mut(&grant)) {
                *active = found;
            }
        }
        Ok(kept)
    }

    /// Messages that were acknowledged are answered again with what was told; those in doubt are sent again.
    fn replays(&mut self, dice: &mut Dice) -> Result<u64, String> {
        let address = self.child.address();
        let got: BTreeSet<(String, u64)> = self
            .delivered
            .iter()
            .map(|(session, seq, _)| (session.clone(), *seq))
            .collect();
        let mut same = 0;
        for user in &mut self.users {
            for (id, session) in user.sessions.clone() {
                for message in session.messages.iter().rev().take(30) {
                    if !dice.one_in(3) {
                        continue;
                    }
                    let Some(told) = &message.told else { continue };
                    let seq = message.body.get("seq").and_then(Value::as_u64).unwrap_or(0);
                    let waits = text(told, "status") == "queued_for_agent" && !got.contains(&(id.clone(), seq));
                    // What went out in the last moments may have lost its answer, but not its number, or both.
                    if !waits && !dice.one_in(4) {
                        continue;
                    }
                    let good: &[u16] = if waits { &[202] } else { &[202, 409] };
                    let path = format!("/sessions/{id}/messages");
                    let (status, again) = user
                        .call(address, "POST", &path, Some(&message.body), good)?
                        .ok_or("gone")?;
                    if status == 202 && waits && again != *told {
                        return Err(format!(
                            "{id} {seq} was acknowledged with {told}, its replay is {again}"
                        ));
                    }
                    same += u64::from(status == 202);
                }
                if session.messages.last().is_some_and(|last| last.told.is_none()) {
                    user.send(address, &id)?;
                }
            }
        }
        Ok(same)
    }

    /// Agents come back; everything that waited for them arrives.
    fn agents_come(&mut self) -> Result<(), String> {
        self.with_agents(&[0, 1], |_| {
            std::thread::sleep(Duration::from_millis(150));
            Ok(())
        })
    }

    fn everything_arrived(&self) -> Result<(), String> {
        let got: BTreeSet<(&str, u64)> = self
            .delivered
            .iter()
            .map(|(session, seq, _)| (session.as_str(), *seq))
            .collect();
        for user in &self.users {
            for (id, session) in &user.sessions {
                for message in &session.messages {
                    let seq = message.body.get("seq").and_then(Value::as_u64).unwrap_or(0);
                    let Some(told) = &message.told else { continue };
                    if !got.contains(&(id.as_str(), seq)) {
                        return Err(format!(
                            "message {seq} of {id} (device {}) was acknowledged ({}) and never arrived",
                            session.device,
                            text(told, "status")
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn counts(&self) -> Tally {
        let mut tally = Tally::default();
        for user in &self.users {
            tally.in_doubt += user.in_doubt;
            for message in user.sessions.values().flat_map(|session| &session.messages) {
                match message.told.as_ref().map(|told| text(told, "status")) {
                    Some("queued_for_agent") => tally.queued += 1,
                    Some(_) => tally.forwarded += 1,
                    None => {}
                }
            }
        }
        let distinct: BTreeSet<_> = self.delivered.iter().collect();
        tally.sent_again = (self.delivered.len() - distinct.len()) as u64;
        tally
    }
}

/// Every grant is as the owner was told.
fn grants_are_there(address: std::net::SocketAddr, user: &mut User) -> Result<u64, String> {
    let mut listed: BTreeMap<String, String> = BTreeMap::new();
    for device in user.registered.keys().cloned().collect::<Vec<_>>() {
        let (_, grants) = user
            .call(
                address,
                "GET",
                &format!("/shares/devices/{device}/grants"),
                None,
                &[200],
            )?
            .ok_or("gone")?;
        for grant in grants.get("grants").and_then(Value::as_array).into_iter().flatten() {
            listed.insert(text(grant, "grantId").to_owned(), text(grant, "status").to_owned());
        }
    }
    for (grant, (_, active)) in &user.grants {
        let expected = if *active { "active" } else { "pending" };
        if listed.get(grant).map(String::as_str) != Some(expected) {
            return Err(format!(
                "grant {grant} of {} should be {expected} and is {:?}",
                user.email,
                listed.get(grant)
            ));
        }
    }
    Ok(user.grants.len() as u64)
}
