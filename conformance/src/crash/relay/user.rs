//! One user with two devices, one whose agent is there and one whose agent is away while the relay lives, and everything that
//! this user was told. Nobody else uses the account, so what it was told must be so afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::agent::Device;
use super::talk::{Answer, Body, ask, text};
use crate::crash::dice::Dice;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const OOB: &str = "urn:ietf:wg:oauth:2.0:oob";

/// A message that was sent.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) body: Value,
    /// The answer; `None`: a kill came first.
    pub(super) told: Option<Value>,
}

/// A session whose handshake was acknowledged, or not yet.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) device: usize,
    pub(super) handshake: String,
    /// The user was told that the agent acknowledged it.
    pub(super) established: bool,
    pub(super) messages: Vec<Message>,
}

/// A user and what it knows.
#[derive(Debug)]
pub(super) struct User {
    pub(super) email: String,
    number: u64,
    /// The present login; `None`: a kill came while it was renewed.
    pub(super) login: Option<(String, String)>,
    /// The first agent is there, the second away.
    pub(super) devices: [Device; 2],
    pub(super) sessions: BTreeMap<String, Session>,
    /// Further devices that were registered: their keys.
    pub(super) registered: BTreeMap<String, String>,
    /// Invitations that were made for the next user: grant, token, and whether it was told that it is active.
    pub(super) grants: BTreeMap<String, (String, bool)>,
    pub(super) in_doubt: u64,
}

impl User {
    pub(super) fn new(name: &str, number: u64) -> Self {
        let device = |what: &str, number| Device::new(format!("dev_{name}_{what}"), number);
        Self {
            email: format!("{name}@example.org"),
            number: 0,
            login: None,
            devices: [device("there", number), device("away", number)],
            sessions: BTreeMap::new(),
            registered: BTreeMap::new(),
            grants: BTreeMap::new(),
            in_doubt: 0,
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.login.as_ref().map(|(token, _)| token.as_str())
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// A new login, where there is none.
    pub(super) fn log_in(&mut self, address: SocketAddr) -> Result<(), String> {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let fields = [
            ("redirect_uri", OOB),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("demo_email", self.email.as_str()),
        ];
        let Some((200, code)) = self.expect(
            ask(address, "POST", "/oauth/authorize", None, Body::Form(&fields)),
            &[200],
        )?
        else {
            return Ok(());
        };
        let fields = [
            ("grant_type", "authorization_code"),
            ("redirect_uri", OOB),
            ("code_verifier", VERIFIER),
            ("code", text(&code, "code")),
        ];
        let tokens = self.expect(ask(address, "POST", "/oauth/token", None, Body::Form(&fields)), &[200])?;
        self.login = tokens.map(|(_, tokens)| pair(&tokens));
        Ok(())
    }

    /// Renews the login. Without an answer nobody knows which token is the good one: then there is a new login.
    pub(super) fn renew(&mut self, address: SocketAddr) -> Result<(), String> {
        let Some((_, refresh)) = self.login.take() else {
            return self.log_in(address);
        };
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let tokens = self.expect(ask(address, "POST", "/oauth/token", None, Body::Form(&fields)), &[200])?;
        self.login = tokens.map(|(_, tokens)| pair(&tokens));
        Ok(())
    }

    /// A request with the token.
    pub(super) fn call(
        &mut self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: Option<&Value>,
        good: &[u16],
    ) -> Result<Option<Answer>, String> {
        let body = body.map_or(Body::None, Body::Json);
        let answer = ask(address, method, &format!("/gateway/v1{path}"), self.token(), body);
        self.expect(answer, good)
            .map_err(|why| format!("{method} {path}: {why}"))
    }

    fn expect(&mut self, answer: Option<Answer>, good: &[u16]) -> Result<Option<Answer>, String> {
        match answer {
            None => {
                self.in_doubt += 1;
                Ok(None)
            }
            Some((status, value)) if good.contains(&status) => Ok(Some((status, value))),
            Some((status, value)) => Err(format!("{} is answered {status} {value}", self.email)),
        }
    }

    /// Registers a device's key; whether that was acknowledged.
    pub(super) fn register(&mut self, address: SocketAddr, id: &str, key: &str) -> Result<bool, String> {
        let body = json!({"public_key": key});
        let path = format!("/devices/{id}/identity-key");
        Ok(self.call(address, "PUT", &path, Some(&body), &[204])?.is_some())
    }

    /// Begins a session with one of the two devices.
    pub(super) fn begin(&mut self, address: SocketAddr, device: usize) -> Result<(), String> {
        let number = self.next();
        let id = format!("s-{}-{number}", self.email.replace('@', "-"));
        let handshake = format!("h-{number}");
        let Some(Device { id: device_id, .. }) = self.devices.get(device) else {
            return Ok(());
        };
        let body = json!({
            "device_id": device_id,
            "handshake_id": handshake,
            "client_ephemeral_public_key": STANDARD.encode(Sha256::digest(&id)),
            "client_session_nonce": "bm9uY2U=",
        });
        let path = format!("/sessions/{id}/handshake/client-init");
        if self.call(address, "POST", &path, Some(&body), &[202])?.is_some() {
            let session = Session {
                device,
                handshake,
                established: false,
                messages: Vec::new(),
            };
            self.sessions.insert(id, session);
        }
        Ok(())
    }

    /// Asks how far the handshakes are.
    pub(super) fn look(&mut self, address: SocketAddr) -> Result<(), String> {
        let all: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, session)| (id.clone(), session.clone()))
            .collect();
        for (id, session) in all {
            let path = format!("/sessions/{id}/handshake/{}", session.handshake);
            let Some((_, state)) = self.call(address, "GET", &path, None, &[200])? else {
                return Ok(());
            };
            let is_acknowledged = text(&state, "status") == "agent_acknowledged";
            if session.established && !is_acknowledged {
                return Err(format!("session {id} was acknowledged and is {state} now"));
            }
            if let Some(session) = self.sessions.get_mut(&id) {
                session.established = is_acknowledged;
            }
        }
        Ok(())
    }

    /// Sends the next message of a session, or the one that got no answer again.
    pub(super) fn send(&mut self, address: SocketAddr, id: &str) -> Result<(), String> {
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        if session.messages.last().is_none_or(|last| last.told.is_some()) {
            let seq = session.messages.len() as u64 + 1;
            session.messages.push(Message {
                body: envelope(id, seq),
                told: None,
            });
        }
        let Some(Message { body, .. }) = session.messages.last().cloned() else {
            return Ok(());
        };
        // 503: too many wait already for an agent that is away.
        let answer = self.call(
            address,
            "POST",
            &format!("/sessions/{id}/messages"),
            Some(&body),
            &[202, 503],
        )?;
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        match answer {
            Some((202, told)) => session.messages.last_mut().map(|last| last.told = Some(told)),
            Some(_) => session.messages.pop().map(drop),
            None => None,
        };
        Ok(())
    }

    /// Invites `guest` to a device of its own.
    pub(super) fn invite(&mut self, address: SocketAddr, guest: &str) -> Result<Option<String>, String> {
        let id = format!("dev_{}_{}", self.email.replace('@', "_"), self.next());
        let key = self.devices[0].public_key();
        if !self.register(address, &id, &key)? {
            return Ok(None);
        }
        self.registered.insert(id.clone(), key);
        let body = json!({"deviceId": id, "email": guest});
        let Some((_, invite)) = self.call(address, "POST", "/shares/invites", Some(&body), &[201])? else {
            return Ok(None);
        };
        let token = text(&invite, "inviteUrl")
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        self.grants
            .insert(text(&invite, "grantId").to_owned(), (token.clone(), false));
        Ok(Some(token))
    }

    /// What a user does until the relay is gone.
    pub(super) fn live(
        &mut self,
        address: SocketAddr,
        guest: &str,
        dice: &mut Dice,
        over: &AtomicBool,
        answered: &AtomicU64,
    ) -> Result<(), String> {
        // A request without an answer: the relay is gone.
        let before = self.in_doubt;
        while !over.load(Ordering::Relaxed) {
            if self.login.is_none() {
                self.log_in(address)?;
            }
            let ready: Vec<String> = self
                .sessions
                .iter()
                .filter(|(_, session)| session.established)
                .map(|(id, _)| id.clone())
                .collect();
            match dice.below(40) {
                0 => self.renew(address)?,
                1 => self.invite(address, guest).map(drop)?,
                2 if self.sessions.len() < 12 => self.begin(address, 0)?,
                3 => self.look(address)?,
                _ => {
                    let index = usize::try_from(dice.below(ready.len() as u64)).unwrap_or(0);
                    match ready.get(index) {
                        Some(id) => self.send(address, id)?,
                        None => self.look(address)?,
                    }
                }
            }
            if self.in_doubt > before {
                return Ok(());
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn pair(tokens: &Value) -> (String, String) {
    (
        text(tokens, "access_token").to_owned(),
        text(tokens, "refresh_token").to_owned(),
    )
}

/// The envelope of a message: right in form, sealed with nothing.
fn envelope(session: &str, seq: u64) -> Value {
    let mut nonce = *b"c2a\0\0\0\0\0\0\0\0\0";
    if let Some(number) = nonce.get_mut(4..) {
        number.copy_from_slice(&seq.to_be_bytes());
    }
    json!({
        "message_id": format!("{session}-m{seq}"),
        "encrypted": true,
        "seq": seq,
        "nonce": STANDARD.encode(nonce),
        "ciphertext": STANDARD.encode(format!("{session} {seq}")),
        "tag": STANDARD.encode([7; 16]),
    })
}
