//! What vectors are played against: the core in memory, a runtime in a child process, or somebody else's gateway.

mod core;
mod relay;

use std::net::SocketAddr;

pub use core::core_settings;

use crate::child::{self, Child, Program};
use crate::play::{Failure, play};
use crate::vector::{Surface, Vector};
use crate::world::socket::SocketWorld;
use crate::world::upstreams::Upstreams;

/// Something to play vectors against.
#[derive(Clone, Debug)]
pub enum Target {
    /// The core in memory, with splitting invariance.
    Core,
    /// A runtime over loopback sockets.
    Runtime {
        /// `smol` or `blocking`.
        name: String,
        /// How it is started.
        program: Program,
    },
    /// A gateway that somebody else runs with the token of the vectors.
    At {
        /// As it was written.
        url: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

/// What became of a vector.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Everything came as expected.
    Passed,
    /// Something did not.
    Failed(Failure),
    /// It cannot be played here, and why.
    Skipped(String),
}

impl Target {
    /// A target by its name on the command line; `program` says how a runtime is started.
    ///
    /// # Errors
    /// Says what a target can be.
    pub fn parse(name: &str, program: impl FnOnce(&str) -> Result<Program, String>) -> Result<Self, String> {
        match name {
            "core" => Ok(Self::Core),
            "smol" | "blocking" => Ok(Self::Runtime {
                name: name.to_owned(),
                program: program(name)?,
            }),
            url if url.contains("://") => Ok(Self::At {
                url: url.to_owned(),
                address: child::address_of_url(url)?,
            }),
            other => Err(format!(
                "{other:?} is no target: core, smol, blocking or a URL such as ws://127.0.0.1:18789"
            )),
        }
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Core => "core",
            Self::Runtime { name, .. } => name,
            Self::At { url, .. } => url,
        }
    }

    /// Plays one vector.
    #[must_use]
    pub fn play(&self, vector: &Vector) -> Verdict {
        if let (false, Some(why)) = (matches!(self, Self::Core), &vector.core_only) {
            return Verdict::Skipped(why.clone());
        }
        if let (Self::Core, Some(why)) = (self, &vector.program_only) {
            return Verdict::Skipped(why.clone());
        }
        if let Some(words) = &vector.start_fails {
            return self.start_fails(vector, words);
        }
        let played = match self {
            Self::Core => core::play_all_splits(vector),
            Self::Runtime { program, .. } => match own_world(program, vector) {
                Ok(mut world) => play(vector, &mut world),
                Err(why) => Err(at_start(why)),
            },
            Self::At { .. } if vector.needs_own_gateway() => {
                return Verdict::Skipped("it needs a gateway with settings of its own".into());
            }
            Self::At { address, .. } => play(vector, &mut SocketWorld::at(*address)),
        };
        played.map_or_else(Verdict::Failed, |()| Verdict::Passed)
    }
}

impl Target {
    /// A start that must fail: exit code 1, these words, and nothing written. The core is asked about its settings only.
    fn start_fails(&self, vector: &Vector, words: &str) -> Verdict {
        let told = match self {
            Self::Core => match core_settings(vector) {
                Err(told) => format!("configuration error: {told}"),
                Ok(_) => return Verdict::Skipped("the command refuses it, not the settings".into()),
            },
            Self::Runtime { program, .. } => match Child::refused(program, vector) {
                Ok(told) => told,
                Err(why) => return Verdict::Failed(at_start(why)),
            },
            Self::At { .. } => return Verdict::Skipped("it needs a gateway with settings of its own".into()),
        };
        if told.starts_with(&format!("configuration error: {words}")) {
            Verdict::Passed
        } else {
            Verdict::Failed(at_start(format!(
                "expected \"configuration error: {words}\", came {told:?}"
            )))
        }
    }
}

fn own_world(program: &Program, vector: &Vector) -> Result<SocketWorld, String> {
    let upstreams = Upstreams::listen(&vector.upstreams)?;
    let vector = vector.expanded(&upstreams.facts());
    if vector.surface == Surface::Nothing {
        return SocketWorld::of_program(program, child::environment(&vector), upstreams);
    }
    let child = Child::for_vector(program, &vector)?;
    Ok(SocketWorld::of_child(child, child::environment(&vector), upstreams))
}

fn at_start(why: String) -> Failure {
    Failure {
        step: "0".into(),
        source: "starting the gateway".into(),
        why,
    }
}
