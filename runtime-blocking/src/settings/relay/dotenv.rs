//! The file of variables beside the relay, read as its original reads it. What is in the environment already stays, even
//! when it is empty. Nothing in a value is expanded. Spec: `spec/relay.md` section 1.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::super::environment::Environment;

/// A larger file is a mistake.
const MAX_BYTES: u64 = 1_048_576;
/// Where the file is, when it is not the usual one; `-`: there is none.
const VARIABLE: &str = "DOTENV_PATH";
const USUAL: &str = ".env";

/// The environment with what the file adds.
///
/// # Errors
/// Why the file cannot be used, in the words of the original.
pub(super) fn read(environment: &Environment, working_dir: &Path) -> Result<Environment, String> {
    let name = environment.get(VARIABLE).map_or(USUAL, str::trim);
    if name == "-" {
        return Ok(environment.clone());
    }
    let text = match contents(&working_dir.join(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(environment.clone()),
        Err(error) => return Err(format!("dotenv: {name}: {error}")),
    };
    let mut all = environment.clone();
    for (number, line) in (1_u32..).zip(text.lines()) {
        match variable(line) {
            Ok(Some((key, value))) => all.add_missing(key, value),
            Ok(None) => {}
            Err(Malformed) => {
                return Err(format!("dotenv: {name}:{number}: malformed line, expected KEY=VALUE"));
            }
        }
    }
    Ok(all)
}

fn contents(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    Ok(text)
}

#[derive(PartialEq, Eq, Debug)]
struct Malformed;

/// One line; `None`: it is empty or a comment.
fn variable(line: &str) -> Result<Option<(&str, &str)>, Malformed> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (key, value) = line.split_once('=').ok_or(Malformed)?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err(Malformed);
    }
    let quoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let value = quoted.unwrap_or_else(|| value.split_once(" #").map_or(value, |(value, _)| value.trim_end()));
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_original_reads_them() {
        for (line, read) in [
            ("", Ok(None)),
            ("  # A=b", Ok(None)),
            (" A = b c ", Ok(Some(("A", "b c")))),
            ("export A=b", Ok(Some(("A", "b")))),
            ("export export A=b", Ok(Some(("export A", "b")))),
            ("A=b # c", Ok(Some(("A", "b")))),
            ("A=b#c", Ok(Some(("A", "b#c")))),
            ("A=\"b # c\"", Ok(Some(("A", "b # c")))),
            ("A='b\\n$C'", Ok(Some(("A", "b\\n$C")))),
            ("A=\"b\" # c", Ok(Some(("A", "\"b\"")))),
            ("A=\"b'", Ok(Some(("A", "\"b'")))),
            ("A=\"", Ok(Some(("A", "\"")))),
            ("A=b=c", Ok(Some(("A", "b=c")))),
            ("A=", Ok(Some(("A", "")))),
            ("A", Err(Malformed)),
            ("=b", Err(Malformed)),
            (" = b", Err(Malformed)),
        ] {
            assert_eq!(variable(line), read, "{line}");
        }
    }

    #[test]
    fn the_environment_wins_and_a_file_that_is_not_there_is_fine() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        let process = Environment::from_iter([("A", "process"), ("B", "")]);
        assert!(read(&process, dir).unwrap().get("C").is_none());
        std::fs::write(dir.join(".env"), "A=file\nB=file\nC=file\n").unwrap();
        let all = read(&process, dir).unwrap();
        assert_eq!(
            ["A", "B", "C"].map(|name| all.get(name)),
            [Some("process"), None, Some("file")]
        );
        std::fs::write(dir.join("other"), "C=other\noops\n").unwrap();
        let other = Environment::from_iter([(VARIABLE, "other")]);
        assert_eq!(
            read(&other, dir).unwrap_err(),
            "dotenv: other:2: malformed line, expected KEY=VALUE"
        );
        let none = Environment::from_iter([(VARIABLE, "-")]);
        assert!(read(&none, dir).unwrap().get("C").is_none());
        std::fs::create_dir(dir.join("folder")).unwrap();
        let folder = Environment::from_iter([(VARIABLE, "folder")]);
        assert_eq!(read(&folder, dir).unwrap_err(), "dotenv: folder: is not a file");
    }
}
