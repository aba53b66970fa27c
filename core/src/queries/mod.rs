//! What clients may ask about the gateway without changing anything: its agents, their sessions, its health. Every surface
//! answers these with the same bytes, so they are here and not in one of them. A query is a machine: it says which effect
//! it needs and takes the outcome; it starts none, and knows of whoever asked only what it was given to hand back.
//! Spec: `spec/operator.md` section 6.

mod agents;
mod health;
mod params;
mod sessions;

pub(crate) use agents::AgentList;
pub(crate) use health::Health;
pub(crate) use params::{HistoryParams, ListParams};
pub(crate) use sessions::{Advance, Queries, QueryKey, Refused};
