//! The network of the in-memory host: answers lookups of names as the vector says, and keeps dials until the vector answers
//! them. It connects nothing; the links of accepted dials are connections of the world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis_core::effect::{Completion, Dial, DialTo, Fault, FaultKind, Outcome};
use portcullis_core::id::EffectId;
use portcullis_core::time::Instant;
use serde_json::{Map, Value};

use crate::vector::DialPattern;

/// The port of the first upstream; the others follow.
const FIRST_PORT: u16 = 47_001;

/// Where the upstream with this place in the vector's (sorted) list is.
#[must_use]
pub(crate) fn upstream_address(place: usize) -> SocketAddr {
    let port = FIRST_PORT.saturating_add(u16::try_from(place).unwrap_or(0));
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Lookups and dials under way.
#[derive(Debug, Default)]
pub(super) struct Network {
    names: BTreeMap<String, VecDeque<Answer>>,
    lookups: BTreeMap<String, u64>,
    hanging: BTreeSet<EffectId>,
    upstreams: BTreeMap<String, SocketAddr>,
    closed: BTreeSet<SocketAddr>,
    dials: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
enum Answer {
    Addresses(Vec<IpAddr>),
    NotFound,
    Hang,
}

/// A dial that nobody has answered yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The effect.
    pub(super) effect: EffectId,
    /// What it dials.
    pub(super) dial: Dial,
    until: Instant,
    ignored: bool,
}

impl Network {
    /// The network that a vector describes.
    ///
    /// # Errors
    /// Says which name has an answer that makes no sense.
    pub(super) fn new(names: &Map<String, Value>, upstreams: &BTreeMap<String, bool>) -> Result<Self, String> {
        let mut network = Self::default();
        for (name, written) in names {
            let several = written
                .as_array()
                .filter(|list| list.iter().any(|one| one.is_array() || is_word(one)));
            let answers = several.map_or_else(|| vec![written.clone()], Clone::clone);
            let answers: Result<_, String> = answers.iter().map(|one| answer(name, one)).collect();
            network.names.insert(name.clone(), answers?);
        }
        for (place, (name, listens)) in upstreams.iter().enumerate() {
            let address = upstream_address(place);
            network.upstreams.insert(name.clone(), address);
            if !listens {
                network.closed.insert(address);
            }
        }
        Ok(network)
    }

    /// Looks a name up; `None`: the answer never comes.
    pub(super) fn resolve(&mut self, effect: EffectId, host: &str) -> Option<Outcome> {
        *self.lookups.entry(host.to_owned()).or_default() += 1;
        let answers = self.names.get_mut(host);
        let answer = answers.and_then(|answers| {
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        });
        match answer.unwrap_or(Answer::NotFound) {
            Answer::Addresses(addresses) => Some(Ok(Completion::Resolved(addresses))),
            Answer::NotFound => Some(Err(fault(FaultKind::NotFound, host))),
            Answer::Hang => {
                self.hanging.insert(effect);
                None
            }
        }
    }

    /// Takes a dial; where nobody listens it is refused at once.
    pub(super) fn dial(&mut self, effect: EffectId, dial: Dial, now: Instant) -> Option<Outcome> {
        if matches!(&dial.to, DialTo::Tcp(address) if self.closed.contains(address)) {
            return Some(Err(fault(FaultKind::Refused, "nobody listens there")));
        }
        let until = now.plus(dial.timeout);
        self.dials.push_back(Waiting {
            effect,
            dial,
            until,
            ignored: false,
        });
        None
    }

    /// Ends a lookup or dial early; whether it was under way.
    pub(super) fn cancel(&mut self, effect: EffectId) -> bool {
        let dials = self.dials.len();
        self.dials.retain(|waiting| waiting.effect != effect);
        self.hanging.remove(&effect) || self.dials.len() < dials
    }

    /// The next dial that a vector may expect: of an upstream any that goes there, else the first of all, whatever it dials.
    pub(super) fn take(&mut self, pattern: &DialPattern) -> Option<Waiting> {
        let wanted = self.upstreams.get(&pattern.to).copied();
        let mut fitting = self.dials.iter().enumerate().filter(|(_, waiting)| !waiting.ignored);
        let place = match wanted {
            Some(address) => fitting.find(|(_, waiting)| waiting.dial.to == DialTo::Tcp(address)),
            None => fitting.next(),
        };
        let place = place.map(|(place, _)| place)?;
        self.dials.remove(place)
    }

    /// Puts a dial back that nobody will answer.
    pub(super) fn ignore(&mut self, mut waiting: Waiting) {
        waiting.ignored = true;
        self.dials.push_back(waiting);
    }

    /// Dials that no step has expected, in words.
    pub(super) fn unexpected(&self) -> Vec<String> {
        let waiting = self.dials.iter().filter(|waiting| !waiting.ignored);
        waiting.map(|waiting| words(&waiting.dial.to)).collect()
    }

    /// How often each name was looked up.
    pub(super) fn lookups(&self) -> &BTreeMap<String, u64> {
        &self.lookups
    }

    /// When the next dial gives up.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.dials.iter().map(|waiting| waiting.until).min()
    }

    /// A dial that has given up by `now`.
    pub(super) fn given_up(&mut self, now: Instant) -> Option<(EffectId, Outcome)> {
        let place = self.dials.iter().position(|waiting| waiting.until <= now)?;
        let waiting = self.dials.remove(place)?;
        Some((waiting.effect, Err(fault(FaultKind::TimedOut, "nobody answered"))))
    }

    /// The process is killed.
    pub(super) fn crash(&mut self) {
        self.dials.clear();
        self.hanging.clear();
    }
}

/// Where a dial goes, as vectors write it.
pub(super) fn words(to: &DialTo) -> String {
    match to {
        DialTo::Tcp(address) => address.to_string(),
        DialTo::Unix(path) => path.clone(),
    }
}

pub(super) fn fault(kind: FaultKind, detail: &str) -> Fault {
    Fault {
        kind,
        detail: detail.to_owned(),
    }
}

fn is_word(value: &Value) -> bool {
    matches!(value.as_str(), Some("notFound" | "hang"))
}

fn answer(name: &str, written: &Value) -> Result<Answer, String> {
    let addresses = match written {
        Value::String(word) if word == "notFound" => return Ok(Answer::NotFound),
        Value::String(word) if word == "hang" => return Ok(Answer::Hang),
        Value::Array(list) => list
            .iter()
            .map(|one| one.as_str()?.parse().ok())
            .collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let addresses = addresses.filter(|list| !list.is_empty());
    addresses
        .map(Answer::Addresses)
        .ok_or_else(|| format!("name {name:?}: {written} is no list of addresses"))
}
