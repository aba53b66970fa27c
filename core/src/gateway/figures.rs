//! `GET /metrics`: what was counted, in the Prometheus text format 0.0.4. Written when somebody asks; nothing here runs
//! otherwise. Spec: `spec/hardening.md`.

use alloc::string::String;
use core::fmt::{Display, Write};

use super::Gateway;
use super::connection::{Session, Stage};
use crate::metrics::{METHODS, OUTCOMES, RUN_ENDS, SECONDS, SURFACES};
use crate::surfaces::relay::CLASSES;
use crate::time::Now;

/// The media type of the format.
pub(super) const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes series. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, "", value);
    }

    /// A counter with one label.
    fn labelled(&mut self, name: &str, help: &str, label: &str, values: &[&str], counts: &[u64]) {
        self.family(name, "counter", help);
        for (value, count) in values.iter().zip(counts) {
            self.value(name, &alloc::format!("{label}=\"{value}\""), count);
        }
    }
}

impl Gateway {
    /// The whole page.
    pub(super) fn figures(&self, now: Now) -> String {
        let mut page = Page(String::with_capacity(8_192));
        self.state(&mut page, now);
        self.traffic(&mut page);
        self.requests(&mut page);
        self.relayed(&mut page);
        self.work_done(&mut page);
        page.0
    }

    fn state(&self, page: &mut Page, now: Now) {
        let version = alloc::format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        page.family("portcullis_build_info", "gauge", "The version that runs.");
        page.value("portcullis_build_info", &version, 1);
        let uptime = now.monotonic.since(self.started.monotonic).as_millis();
        let seconds = alloc::format!("{}.{:03}", uptime / 1_000, uptime % 1_000);
        page.one(
            "portcullis_uptime_seconds",
            "gauge",
            "Seconds since the start.",
            seconds,
        );
        let draining = u8::from(self.draining.is_some());
        page.one(
            "portcullis_draining",
            "gauge",
            "1 while the gateway goes away.",
            draining,
        );
        let (mut http, mut operator, mut control, mut agents) = (0_u32, 0_u32, 0_u32, 0_u32);
        for connection in self.connections.values() {
            match &connection.stage {
                Stage::Http(_) => http += 1,
                Stage::WebSocket(stage) => match &stage.session {
                    Session::Operator(_) => operator += 1,
                    Session::Control(_) => control += 1,
                    Session::Agent => agents += 1,
                    Session::Over => {}
                },
                Stage::Flushing | Stage::Ended => {}
            }
        }
        page.family(
            "portcullis_connections",
            "gauge",
            "Open connections, by what they speak.",
        );
        page.value("portcullis_connections", "surface=\"http\"", http);
        page.value("portcullis_connections", "surface=\"operator\"", operator);
        page.value("portcullis_connections", "surface=\"control\"", control);
        page.value("portcullis_connections", "surface=\"relay\"", agents);
        let help = "Operator clients that finished the handshake.";
        page.one("portcullis_operator_clients", "gauge", help, self.operator.clients());
        page.one(
            "portcullis_work",
            "gauge",
            "Runs and tool calls under way.",
            self.work(),
        );
        let oldest = self.operator.oldest_run();
        page.one(
            "portcullis_work_oldest_seconds",
            "gauge",
            "Seconds since the run began that has been under way for longest; 0: none is.",
            oldest.map_or(0, |began| now.monotonic.since(began).as_secs()),
        );
    }

    fn traffic(&self, page: &mut Page) {
        let metrics = &self.metrics;
        let help = "Bytes of accepted connections.";
        page.labelled(
            "portcullis_bytes_total",
            help,
            "direction",
            &["in", "out"],
            metrics.bytes.all(),
        );
        let help = "Connections and requests that were not served.";
        let counts = metrics.turned_away.all();
        page.labelled(
            "portcullis_turned_away_total",
            help,
            "reason",
            &["room", "door"],
            counts,
        );
        let help = "HTTP responses, by the class of their status.";
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        page.labelled(
            "portcullis_http_responses_total",
            help,
            "status",
            &classes,
            metrics.http_responses.all(),
        );
        let help = "Requests to other servers.";
        page.family("portcullis_exchanges_total", "counter", help);
        for (asker, counts) in ["fetch", "provider", "relay"].iter().zip(&metrics.exchanges) {
            for (outcome, count) in ["ok", "failed"].iter().zip(counts.all()) {
                let labels = alloc::format!("asker=\"{asker}\",outcome=\"{outcome}\"");
                page.value("portcullis_exchanges_total", &labels, count);
            }
        }
    }

    fn relayed(&self, page: &mut Page) {
        let Some(relay) = &self.relay else { return };
        let help = "Event streams of the relay that are open.";
        page.one("portcullis_relay_streams", "gauge", help, relay.streams());
        let name = "portcullis_relay_requests_total";
        page.family(
            name,
            "counter",
            "Requests to the relay, by what they are for and the class of the answer.",
        );
        for (route, counts) in CLASSES.iter().zip(&self.metrics.relay_requests) {
            for (status, count) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(counts.all()) {
                if *count > 0 {
                    page.value(name, &alloc::format!("route=\"{route}\",status=\"{status}\""), count);
                }
            }
        }
    }

    fn requests(&self, page: &mut Page) {
        let metrics = &self.metrics;
        let help = "Handshakes of the operator protocol.";
        let (name, counts) = (
            "portcullis_operator_handshakes_total",
            metrics.operator_handshakes.all(),
        );
        page.labelled(name, help, "outcome", &["ok", "refused"], counts);
        let help = "Wrong or missing credentials.";
        let counts = metrics.auth_failures.all();
        page.labelled("portcullis_auth_failures_total", help, "surface", &SURFACES, counts);
        let help = "Guessers that were locked out.";
        page.one("portcullis_auth_lockouts_total", "counter", help, metrics.lockouts);
        let name = "portcullis_operator_requests_total";
        page.family(name, "counter", "Requests of operator clients.");
        for (method, outcomes) in METHODS.iter().zip(&metrics.operator_requests) {
            for (outcome, count) in OUTCOMES.iter().zip(outcomes.all()) {
                // Pairs that never came are left out: the page stays short, and the list is closed all the same.
                if *count > 0 {
                    page.value(
                        name,
                        &alloc::format!("method=\"{method}\",outcome=\"{outcome}\""),
                        count,
                    );
                }
            }
        }
    }

    fn work_done(&self, page: &mut Page) {
        let metrics = &self.metrics;
        let help = "Runs of agents that ended.";
        page.labelled("portcullis_runs_total", help, "outcome", &RUN_ENDS, metrics.runs.all());
        let name = "portcullis_run_duration_seconds";
        page.family(name, "histogram", "How long runs took.");
        let mut below = 0;
        let buckets = metrics.run_seconds.buckets.all();
        for (index, count) in buckets.iter().enumerate() {
            below += count;
            let bound = SECONDS
                .get(index)
                .map_or_else(|| String::from("+Inf"), |bound| alloc::format!("{bound}"));
            page.value(
                &alloc::format!("{name}_bucket"),
                &alloc::format!("le=\"{bound}\""),
                below,
            );
        }
        let sum = metrics.run_seconds.sum_ms;
        let seconds = alloc::format!("{}.{:03}", sum / 1_000, sum % 1_000);
        page.value(&alloc::format!("{name}_sum"), "", seconds);
        page.value(&alloc::format!("{name}_count"), "", below);
        let help = "Calls of tools.";
        let outcomes = ["ok", "denied", "failed"];
        page.labelled(
            "portcullis_tool_calls_total",
            help,
            "outcome",
            &outcomes,
            metrics.tool_calls.all(),
        );
        let help = "Fetches that were not made or given up.";
        let kinds = ["ssrf_blocked", "url_denied", "fetch_rejected"];
        page.labelled(
            "portcullis_fetches_blocked_total",
            help,
            "kind",
            &kinds,
            metrics.fetches_blocked.all(),
        );
    }
}
