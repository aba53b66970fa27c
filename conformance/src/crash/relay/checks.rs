//! What must be so after a restart: records, stored answers, messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::house::House;
use super::talk::text;
use super::user::User;
use crate::crash::dice::Dice;

impl House {
    /// Logins, devices, sessions and grants are there.
    pub(super) fn records(&mut self) -> Result<u64, String> {
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
    pub(super) fn replays(&mut self, dice: &mut Dice) -> Result<u64, String> {
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

    /// Every message that was acknowledged came to its agent.
    pub(super) fn everything_arrived(&self) -> Result<(), String> {
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
}

/// Every grant is as the owner was told.
fn grants_are_there(address: SocketAddr, user: &mut User) -> Result<u64, String> {
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
