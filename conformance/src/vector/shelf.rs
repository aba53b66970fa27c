//! Where vectors come from: those built into this program (`spec/vectors`), or a folder of the same shape.

use std::path::Path;

use serde_json::Value;

use super::Vector;

macro_rules! shelf {
    ($($topic:literal),* $(,)?) => {
        /// Every built-in file: its topic and its text.
        const BUILT_IN: &[(&str, &str)] = &[
            $(($topic, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/", $topic, ".json")))),*
        ];
    };
}

include!("list.rs");

/// The vectors built into this program.
///
/// # Errors
/// Says which file, vector and step is wrong.
pub fn all() -> Result<Vec<Vector>, String> {
    let mut vectors = Vec::new();
    for (topic, text) in BUILT_IN {
        vectors.extend(from_text(topic, text)?);
    }
    Ok(vectors)
}

/// The vectors of one file's text.
///
/// # Errors
/// Says which vector and step is wrong.
pub fn from_text(topic: &str, text: &str) -> Result<Vec<Vector>, String> {
    let file: Value = serde_json::from_str(text).map_err(|why| format!("{topic}: {why}"))?;
    let vectors = file.get("vectors").and_then(Value::as_array);
    let vectors = vectors.ok_or_else(|| format!("{topic}: \"vectors\" must be an array"))?;
    vectors.iter().map(|vector| Vector::parse(topic, vector)).collect()
}

/// The vectors of all `*.json` files in the folders of `directory`, in the order of their names.
///
/// # Errors
/// Says which file cannot be read, or is wrong.
pub fn from_directory(directory: &Path) -> Result<Vec<Vector>, String> {
    let mut vectors = Vec::new();
    for folder in sorted(directory)?.iter().filter(|path| path.is_dir()) {
        for file in sorted(folder)?
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
        {
            let text = std::fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
            let topic = file.with_extension("");
            let topic = topic
                .strip_prefix(directory)
                .unwrap_or(&topic)
                .to_string_lossy()
                .into_owned();
            vectors.extend(from_text(&topic, &text)?);
        }
    }
    Ok(vectors)
}

fn sorted(directory: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let entries = std::fs::read_dir(directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spec() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec")
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let built_in: Vec<_> = all().unwrap().into_iter().map(|vector| vector.name).collect();
        let on_disk: Vec<_> = from_directory(&spec().join("vectors"))
            .unwrap()
            .into_iter()
            .map(|vector| vector.name)
            .collect();
        assert_eq!(
            built_in.iter().collect::<BTreeSet<_>>(),
            on_disk.iter().collect::<BTreeSet<_>>()
        );
        assert_eq!(
            built_in.len(),
            built_in.iter().collect::<BTreeSet<_>>().len(),
            "two vectors have the same name"
        );
    }
}
