//! The rule of the pages of `spec/`: each numbered requirement is named by a vector, or stands in the table "Proved elsewhere"
//! of `spec/vectors.md` with a test that is there; each number is given once; and what is named is written down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use portcullis_conformance::vector;

/// Pages whose requirements are not under the rule yet: the relay's vectors are still to come.
const NOT_YET: &str = "relay";
/// Requirements of the relay on other pages.
const NOT_YET_ELSEWHERE: [&str; 1] = ["AU-14"];
/// What no test can show.
const UNPROVABLE: [&str; 1] = ["MC-13"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Each requirement with the pages that give it, in the form `- **OP-1** ...`.
fn requirements() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    let entries = std::fs::read_dir(root().join("spec")).unwrap_or_else(|why| panic!("spec: {why}"));
    for path in entries.flatten().map(|entry| entry.path()) {
        let page = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        for line in text(&path).lines() {
            let Some((name, _)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("**")) else {
                continue;
            };
            let number = name.split_once('-').is_some_and(|(letters, number)| {
                letters.bytes().all(|byte| byte.is_ascii_uppercase()) && number.parse::<u32>().is_ok()
            });
            if number {
                found.entry(name.to_owned()).or_default().push(page.clone());
            }
        }
    }
    found
}

/// `OP-1` in its parts.
fn numbered(name: &str) -> (&str, u32) {
    name.split_once('-')
        .and_then(|(letters, number)| Some((letters, number.parse().ok()?)))
        .unwrap_or_else(|| panic!("{name:?} is no requirement"))
}

/// The requirements of a table's cell: `OP-1, OP-2`, and `WS-1 to WS-19`.
fn names(cell: &str) -> Vec<String> {
    let items = cell.split(", ").map(str::trim);
    let expand = |item: &str| match item.split_once(" to ") {
        None => vec![item.to_owned()],
        Some((first, last)) => {
            let (letters, from) = numbered(first);
            let (_, to) = numbered(last);
            (from..=to).map(|number| format!("{letters}-{number}")).collect()
        }
    };
    items.flat_map(expand).collect()
}

/// The table: each requirement with its proofs.
fn proved_elsewhere() -> BTreeMap<String, String> {
    let page = text(&root().join("spec/vectors.md"));
    let (_, table) = page.split_once("## Proved elsewhere").unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter(|row| !row.starts_with("requirement ") && !row.starts_with("---"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let [requirements, proof, _why] = cells.as_slice() else {
                panic!("a row of \"Proved elsewhere\" has other than three cells: {cells:?}");
            };
            let proof = (*proof).to_owned();
            names(requirements).into_iter().map(move |name| (name, proof.clone()))
        })
        .collect()
}

#[test]
fn every_requirement_has_a_vector_or_a_proof() {
    let vectors = vector::all().unwrap();
    let proved: BTreeSet<_> = vectors.iter().flat_map(|vector| vector.proves.iter()).collect();
    let elsewhere = proved_elsewhere();
    let lacking: Vec<_> = requirements()
        .into_iter()
        .filter(|(_, pages)| !pages.iter().all(|page| page.starts_with(NOT_YET)))
        .filter(|(name, _)| !NOT_YET_ELSEWHERE.contains(&name.as_str()))
        .filter(|(name, _)| !proved.contains(name) && !elsewhere.contains_key(name))
        .map(|(name, pages)| format!("{name} ({})", pages.concat()))
        .collect();
    assert!(
        lacking.is_empty(),
        "no vector proves these, and spec/vectors.md names no test that does: {}",
        lacking.join(", ")
    );
}

#[test]
fn every_proof_elsewhere_is_a_test_that_is_there() {
    let known = requirements();
    for (name, proofs) in proved_elsewhere() {
        assert!(
            known.contains_key(&name),
            "spec/vectors.md proves {name}, which no page has"
        );
        for proof in proofs.split(", ") {
            if proof == "-" {
                assert!(UNPROVABLE.contains(&name.as_str()), "{name} has no proof");
                continue;
            }
            let proof = proof.trim_matches('`');
            let (path, test) = proof
                .split_once("::")
                .unwrap_or_else(|| panic!("{name}: {proof} names no test"));
            let source = text(&root().join(path));
            let declared = source.split_once(&format!("fn {test}()"));
            let (before, _) = declared.unwrap_or_else(|| panic!("{name}: there is no test {test} in {path}"));
            assert!(
                before.trim_end().ends_with("#[test]"),
                "{name}: {test} in {path} is no test"
            );
        }
    }
}

#[test]
fn every_number_is_given_once() {
    for (name, pages) in requirements() {
        assert_eq!(pages.len(), 1, "{name} is given {} times: {pages:?}", pages.len());
    }
}

#[test]
fn every_requirement_named_by_a_vector_is_written_down() {
    let known = requirements();
    for vector in vector::all().unwrap() {
        for requirement in &vector.proves {
            assert!(
                known.contains_key(requirement),
                "{}: no {requirement} in spec/*.md",
                vector.name
            );
        }
    }
}
