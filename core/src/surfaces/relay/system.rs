//! What the relay tells about itself: its name and paths, whether it lives, whether it takes requests, the figures of a user,
//! and the description of its interface. It changes nothing. Spec: `spec/relay.md` section 5.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::Serialize;

use super::http::{Answer, Caller};
use super::routes::Page;
use super::{Relay, stamp};
use crate::http::Status;
use crate::time::Now;

/// `spec/openapi.yaml`, as JSON.
pub(super) const OPENAPI: &str = include_str!("../../../../spec/openapi.json");

#[derive(Serialize)]
struct Index<'a> {
    auth_mode: &'a str,
    endpoints: Endpoints<'a>,
    name: &'a str,
    state_backend: &'a str,
}

#[derive(Serialize)]
struct Endpoints<'a> {
    console: &'a str,
    gateway: &'a str,
    healthz: &'a str,
    integration_routes: &'a str,
    oauth: &'a str,
    readyz: &'a str,
    webhook_ingress: &'a str,
}

#[derive(Serialize)]
struct Health<'a> {
    auth_mode: &'a str,
    service: &'a str,
    state_backend: &'a str,
    status: &'a str,
    timestamp: String,
}

#[derive(Serialize)]
struct Ready<'a> {
    state_backend: &'a str,
    status: &'a str,
    timestamp: String,
}

#[derive(Serialize)]
struct Alive<'a> {
    status: &'a str,
}

#[derive(Serialize)]
struct Figures<'a> {
    agents: usize,
    devices: usize,
    event_backlogs: usize,
    grants: usize,
    inflight: usize,
    routes: usize,
    sessions: usize,
    state_backend: &'a str,
    status: &'a str,
    tunnels: usize,
}

impl Relay {
    pub(super) fn page(&self, now: Now, page: Page, caller: Option<&Caller>) -> Answer {
        match page {
            Page::Index => self.index(),
            Page::Health => self.health(now),
            Page::Ready => self.ready(now),
            Page::Figures => self.figures(caller),
            Page::OpenApi => Answer {
                status: Status::OK,
                content_type: "application/json; charset=utf-8",
                headers: Vec::new(),
                body: Bytes::from_static(OPENAPI.as_bytes()),
            }
            .with("Cache-Control", "public, max-age=300"),
        }
    }

    fn index(&self) -> Answer {
        let index = Index {
            auth_mode: self.config.auth.name(),
            endpoints: Endpoints {
                console: "/console",
                gateway: "/gateway/v1",
                healthz: "/healthz",
                integration_routes: "/gateway/v1/integrations/routes",
                oauth: "/oauth",
                readyz: "/readyz",
                webhook_ingress: "/integrations/:route_id/:route_token",
            },
            name: "OSS Commands Gateway",
            state_backend: &self.config.state_backend,
        };
        Answer::json(Status::OK, &index)
    }

    fn health(&self, now: Now) -> Answer {
        let health = Health {
            auth_mode: self.config.auth.name(),
            service: "oss-commands-gateway",
            state_backend: &self.config.state_backend,
            status: "ok",
            timestamp: stamp::text(now.wall),
        };
        Answer::json(Status::OK, &health)
    }

    /// It takes requests once its records are read, as long as what it acknowledges reaches the disk, until it goes away.
    fn ready(&self, now: Now) -> Answer {
        let trouble = if self.is_draining {
            Some("draining")
        } else if !self.is_ready() {
            Some("starting")
        } else if self.ledger.is_failing() {
            Some("storage_unavailable")
        } else {
            None
        };
        let ready = Ready {
            state_backend: &self.config.state_backend,
            status: trouble.unwrap_or("ready"),
            timestamp: stamp::text(now.wall),
        };
        match trouble {
            None => Answer::json(Status::OK, &ready),
            Some(_) => Answer::json(Status::SERVICE_UNAVAILABLE, &ready).with("Retry-After", "1"),
        }
    }

    fn figures(&self, caller: Option<&Caller>) -> Answer {
        let Some(caller) = caller else {
            return Answer::json(Status::OK, &Alive { status: "ok" });
        };
        let (devices, grants) = self.parts.devices.counts(&caller.uid);
        let counts = self.parts.sessions.counts(&self.parts.devices, &caller.uid);
        let figures = Figures {
            agents: counts.agents,
            devices,
            event_backlogs: counts.event_backlogs,
            grants,
            inflight: 0,
            routes: 0,
            sessions: counts.sessions,
            state_backend: &self.config.state_backend,
            status: "ok",
            tunnels: 0,
        };
        Answer::json(Status::OK, &figures)
    }
}
