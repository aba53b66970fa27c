//! Health checks: one at a time, joined by whoever asks meanwhile, and told again for a while. What a check finds are our
//! own texts, in which no key can be.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::endpoint::NotConfigured;
use super::fault::{ProviderFault, Trouble};
use super::{ProviderEvent, Providers};
use crate::settings::ProviderKey;
use crate::time::Instant;

/// How long what was found is told again.
const FRESH: Duration = Duration::from_secs(10);
/// Requests that wait for one check.
const MAX_WAITING: usize = 4_096;

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HealthReport {
    /// Every provider, in the order in which people read them.
    pub providers: Vec<ProviderHealth>,
}

/// What was found of one provider. It is written as the control protocol tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderHealth {
    /// Which one.
    pub provider: ProviderKey,
    /// The model in force.
    pub model: String,
    /// Whether it can be asked.
    pub configured: bool,
    /// Whether it answered as it should.
    pub ok: bool,
    /// How long it took, if it was asked.
    pub latency_ms: Option<u64>,
    /// What was wrong.
    pub error: Option<String>,
}

impl Serialize for ProviderHealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional = usize::from(self.latency_ms.is_some()) + usize::from(self.error.is_some());
        let mut out = serializer.serialize_struct("ProviderHealth", 5 + optional)?;
        out.serialize_field("provider", self.provider.as_str())?;
        out.serialize_field("name", self.provider.display_name())?;
        out.serialize_field("model", &self.model)?;
        out.serialize_field("configured", &self.configured)?;
        out.serialize_field("ok", &self.ok)?;
        if let Some(latency) = self.latency_ms {
            out.serialize_field("latencyMs", &latency)?;
        }
        if let Some(error) = &self.error {
            out.serialize_field("error", error)?;
        }
        out.end()
    }
}

/// The check under way, and the last one.
#[derive(Debug, Default)]
pub(super) struct Health {
    running: Option<Running>,
    waiting: Vec<u64>,
    last: Option<(Instant, HealthReport)>,
}

#[derive(Debug)]
struct Running {
    started: Instant,
    found: Vec<ProviderHealth>,
    /// Probes that are not over.
    open: usize,
    /// The settings changed meanwhile: it is told, but not told again.
    stale: bool,
}

impl Health {
    /// What is known already; otherwise the ticket waits.
    pub(super) fn ask(&mut self, now: Instant, ticket: u64) -> Option<HealthReport> {
        let fresh = self.last.as_ref().filter(|(at, _)| now.since(*at) < FRESH);
        if let Some((_, report)) = fresh {
            return Some(report.clone());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Some(HealthReport::default());
        }
        self.waiting.push(ticket);
        None
    }

    /// Whether a check is to begin now; then it counts as begun.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let begin = self.running.is_none();
        if begin {
            self.running = Some(Running {
                started: now,
                found: Vec::new(),
                open: 0,
                stale: false,
            });
        }
        begin
    }

    /// What was found does not count any more.
    pub(super) fn forget(&mut self) {
        self.last = None;
        if let Some(running) = &mut self.running {
            running.stale = true;
        }
    }

    pub(super) fn under_way(&mut self, provider: ProviderKey, model: String) {
        if let Some(running) = &mut self.running {
            running.open += 1;
            running.found.push(ProviderHealth {
                provider,
                model,
                configured: true,
                ok: false,
                latency_ms: None,
                error: None,
            });
        }
    }

    pub(super) fn unconfigured(&mut self, provider: ProviderKey, model: String, error: &NotConfigured) {
        if let Some(running) = &mut self.running {
            running.found.push(ProviderHealth {
                provider,
                model,
                configured: false,
                ok: false,
                latency_ms: None,
                error: Some(Trouble::NotConfigured(error.clone()).to_string()),
            });
        }
    }

    pub(super) fn found(&mut self, provider: ProviderKey, now: Instant, fault: Option<&ProviderFault>) {
        if let Some(running) = &mut self.running {
            running.open = running.open.saturating_sub(1);
            let started = running.started;
            for found in running.found.iter_mut().filter(|found| found.provider == provider) {
                found.ok = fault.is_none();
                found.latency_ms = Some(now.since(started).as_millis() as u64);
                found.error = fault.map(|fault| fault.trouble_text());
            }
        }
    }
}

impl ProviderFault {
    /// The text without the provider's name, where it stands beside it; but for texts that clients know whole.
    fn trouble_text(&self) -> String {
        match self.trouble {
            Trouble::Empty | Trouble::LastMessage => self.to_string(),
            _ => self.trouble.to_string(),
        }
    }
}

impl Providers {
    /// Tells everybody who waits, once every provider is through.
    pub(super) fn finish_health(&mut self, now: Instant) {
        let Some(running) = self.health.running.take_if(|running| running.open == 0) else {
            return;
        };
        let report = HealthReport {
            providers: running.found,
        };
        for ticket in core::mem::take(&mut self.health.waiting) {
            let report = report.clone();
            self.events.push_back(ProviderEvent::Health { ticket, report });
        }
        if !running.stale {
            self.health.last = Some((now, report));
        }
    }
}
