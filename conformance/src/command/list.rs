//! `list`: the vectors, and what they prove.

use std::path::{Path, PathBuf};

use argh::FromArgs;
use portcullis_conformance::vector::{self, Vector};

/// list the vectors and the requirements that they prove
#[derive(FromArgs)]
#[argh(subcommand, name = "list")]
pub(super) struct List {
    /// only vectors whose name or requirements contain this
    #[argh(option)]
    filter: Option<String>,
    /// a folder to read vectors from, instead of those built in
    #[argh(option)]
    vectors: Option<PathBuf>,
}

impl List {
    pub(super) fn run(self) -> Result<bool, String> {
        for vector in chosen(vectors(self.vectors.as_deref())?, self.filter.as_deref())? {
            let place = vector
                .core_only
                .map(|why| format!(" (in memory only: {why})"))
                .unwrap_or_default();
            println!("{}  [{}]  {}{place}", vector.name, vector.proves.join(", "), vector.why);
        }
        Ok(true)
    }
}

/// The vectors of a folder, or those built in.
pub(super) fn vectors(folder: Option<&Path>) -> Result<Vec<Vector>, String> {
    folder.map_or_else(vector::all, vector::from_directory)
}

/// Those that the filter fits; none is a mistake.
pub(super) fn chosen(mut vectors: Vec<Vector>, filter: Option<&str>) -> Result<Vec<Vector>, String> {
    if let Some(filter) = filter {
        vectors.retain(|vector| {
            vector.name.contains(filter) || vector.proves.iter().any(|requirement| requirement == filter)
        });
    }
    if vectors.is_empty() {
        return Err("no vector fits (portcullis-conformance list shows them all)".into());
    }
    Ok(vectors)
}
