//! What the world in memory is made of besides its machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::machine::Machine;
use portcullis_core::settings::Settings;
use portcullis_core::time::Now;
use serde_json::{Map, Value};

/// Makes a machine: at the start and after a restart.
pub type Maker = Box<dyn Fn(Now) -> Box<dyn Machine>>;
/// Reads the settings anew, with these changes.
pub type Reader = Box<dyn Fn(&Map<String, Value>) -> Result<Arc<Settings>, String>>;

/// What a world is besides its machine.
#[derive(Default)]
pub struct Surroundings {
    /// What vectors can refer to.
    pub facts: Vec<(String, String)>,
    /// See [`Vector::names`](crate::vector::Vector::names).
    pub names: Map<String, Value>,
    /// See [`Vector::upstreams`](crate::vector::Vector::upstreams).
    pub upstreams: BTreeMap<String, bool>,
    /// How settings are read when they change.
    pub reader: Option<Reader>,
}
