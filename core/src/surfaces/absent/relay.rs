//! The relay of a build without it: a type that has no value, so nothing of it can be called.

use crate::calls::Calls;
use crate::effect::Outcome;
use crate::id::{ConnId, EffectId};
use crate::settings::{RelaySettings, Settings};
use crate::time::Instant;

/// There is none.
#[derive(Debug)]
pub enum Relay {}

/// What the surface would use.
pub type Context<'a> = core::marker::PhantomData<&'a ()>;

/// Requests to it are of no class.
pub const CLASSES: [&str; 0] = [];

impl Relay {
    /// There is none, whatever the settings say.
    pub const fn new(_settings: &Settings, _calls: &mut Calls) -> Option<Self> {
        None
    }

    /// Nothing is loaded.
    pub fn load(&mut self, _cx: &mut Context<'_>) {
        match *self {}
    }

    /// Nothing is reconfigured.
    pub fn reconfigure(&mut self, _cx: &mut Context<'_>, _config: &RelaySettings) {
        match *self {}
    }

    /// Nothing is drained.
    pub fn drain(&mut self) {
        match *self {}
    }

    /// Nothing waits to be written.
    pub fn flush(&mut self, _cx: &mut Context<'_>) {
        match *self {}
    }

    /// Nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        match *self {}
    }

    /// No effect is its own.
    pub fn completed(&mut self, _cx: &mut Context<'_>, _effect: EffectId, _outcome: Outcome) {
        match *self {}
    }

    /// Nothing is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match *self {}
    }

    /// Nothing is due.
    pub fn on_deadline(&mut self, _cx: &mut Context<'_>) {
        match *self {}
    }

    /// No agent speaks.
    pub fn agent_pong(&mut self, _cx: &mut Context<'_>, _conn: ConnId, _content: &[u8]) {
        match *self {}
    }

    /// No agent speaks.
    pub fn agent_message(&mut self, _cx: &mut Context<'_>, _conn: ConnId, _text: &str) {
        match *self {}
    }

    /// No agent leaves.
    pub fn agent_closed(&mut self, _cx: &mut Context<'_>, _conn: ConnId) {
        match *self {}
    }

    /// Nothing goes out.
    pub fn has_output(&self) -> bool {
        match *self {}
    }

    /// No stream is open.
    pub fn streams(&self) -> usize {
        match *self {}
    }
}
