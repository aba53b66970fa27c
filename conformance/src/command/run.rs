//! `run`: plays vectors and reports.

use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use portcullis_conformance::report::{self, Counts};
use portcullis_conformance::run::run;
use portcullis_conformance::serve;
use portcullis_conformance::target::Target;

use super::list::{chosen, vectors};

/// play the vectors and report; exit code 1 when one fails
#[derive(FromArgs)]
#[argh(subcommand, name = "run")]
pub(super) struct Run {
    /// core, smol, blocking or a URL of a gateway that expects the token conformance-token-1; may be repeated
    /// (default: core, smol and blocking)
    #[argh(option)]
    target: Vec<String>,
    /// only vectors whose name or requirements contain this
    #[argh(option)]
    filter: Option<String>,
    /// a folder to read vectors from, instead of those built in
    #[argh(option)]
    vectors: Option<PathBuf>,
    /// a gateway program to start for the targets smol and blocking, instead of this program's own
    #[argh(option)]
    binary: Option<PathBuf>,
    /// write a page of HTML
    #[argh(option)]
    html: Option<PathBuf>,
    /// write JUnit XML
    #[argh(option)]
    junit: Option<PathBuf>,
    /// print JSON instead of the table
    #[argh(switch)]
    json: bool,
}

impl Run {
    /// Whether everything passed.
    pub(super) fn run(self) -> Result<bool, String> {
        let vectors = chosen(vectors(self.vectors.as_deref())?, self.filter.as_deref())?;
        let names = if self.target.is_empty() {
            vec!["core".into(), "smol".into(), "blocking".into()]
        } else {
            self.target
        };
        let program = |name: &str| serve::program(name, self.binary.as_deref());
        let targets = names
            .iter()
            .map(|name| Target::parse(name, program))
            .collect::<Result<Vec<_>, _>>()?;
        let shows = stderr().is_terminal();
        let outcomes = run(&vectors, &targets, &|done, all| {
            if shows {
                // Progress is a courtesy; a closed standard error is no reason to stop.
                let _ = write!(stderr(), "\r{done}/{all}{}", if done == all { "\r\x1b[K" } else { "" });
            }
        });
        if self.json {
            println!("{}", report::json(&outcomes));
        } else {
            print!("{}", report::table(&outcomes));
        }
        write_report(self.html.as_deref(), || report::html(&outcomes))?;
        write_report(self.junit.as_deref(), || report::junit(&outcomes))?;
        Ok(Counts::of(&outcomes).failed == 0)
    }
}

fn write_report(file: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, text()).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
