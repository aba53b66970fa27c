//! The environment variables that the settings look at: those of the process, taken once at the start, and below them those
//! of private files. Nothing else reads the environment, and no file of the working directory is ever read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::problem::Problem;
use super::{paths, private_file};

/// Environment variables. Never printed: tokens are among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A variable that is not UTF-8 is left out.
    #[must_use]
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable's value; `None` also when it is empty or blank, as an unset variable often arrives.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }

    /// Whether a variable is there, blank or not.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// These variables, and those of the environment files that they do not name: `--env-file`, then `env` and `.env` in the
    /// OpenClaw folder.
    pub(crate) fn with_files(&self, env_file: Option<&str>, working_dir: &Path, problems: &mut Vec<Problem>) -> Self {
        let mut all = self.clone();
        if let Some(written) = env_file {
            let path = paths::absolute(written, working_dir, paths::home(self).as_deref());
            if !all.add_file(&path, problems) {
                problems.push(Problem::new("--env-file", format!("{} is not there", path.display())));
            }
        }
        // Where they are may itself stand in the first file.
        if let Some(folder) = paths::openclaw_dir(&all, working_dir) {
            for name in ["env", ".env"] {
                all.add_file(&folder.join(name), problems);
            }
        }
        all
    }

    /// Adds a variable that is not there, not even empty.
    pub(crate) fn add_missing(&mut self, name: &str, value: &str) {
        if !self.is_set(name) {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Adds what a file names and is not there yet; whether the file exists.
    fn add_file(&mut self, path: &Path, problems: &mut Vec<Problem>) -> bool {
        let text = match private_file::read(path) {
            Ok(Some(text)) => text,
            Ok(None) => return false,
            Err(what) => {
                problems.push(Problem::new(path.display().to_string(), what));
                return true;
            }
        };
        for (number, line) in (1_u32..).zip(text.lines()) {
            match variable(line) {
                Ok(Some((name, value))) if self.get(name).is_none() => {
                    self.0.insert(name.to_owned(), value.to_owned());
                }
                Ok(_) => {}
                Err(what) => {
                    problems.push(Problem::new(
                        path.display().to_string(),
                        format!("line {number} {what}"),
                    ));
                }
            }
        }
        true
    }

    /// The first of `names` that is set, with its value.
    #[must_use]
    pub fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}

/// One line of an environment file: `NAME=value`, with or without `export` and quotes around the value. Nothing in it is
/// expanded. `None`: an empty line or a comment.
fn variable(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("is not NAME=value")?;
    let sound = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !sound {
        return Err("is not NAME=value");
    }
    let value = value.trim();
    let quoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    match quoted {
        Some(inner) => Ok(Some((name, inner))),
        None if value.starts_with(['"', '\'']) => Err("has a quote that does not end"),
        None => Ok(Some((name, value))),
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_means_unset() {
        let environment = Environment::from_iter([("A", ""), ("B", " "), ("C", "c")]);
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.first(&["A", "B", "C"]), Some(("C", "c")));
        assert_eq!(format!("{environment:?}"), "Environment(3 variables)");
    }

    #[test]
    fn lines_of_files() {
        for (line, read) in [
            ("", Ok(None)),
            ("  # NAME=x", Ok(None)),
            ("A=b", Ok(Some(("A", "b")))),
            ("export A = b", Err("is not NAME=value")),
            ("export  A=b c # d", Ok(Some(("A", "b c # d")))),
            ("A=\"b c\"", Ok(Some(("A", "b c")))),
            ("A='$B'", Ok(Some(("A", "$B")))),
            ("A=", Ok(Some(("A", "")))),
            ("A='b", Err("has a quote that does not end")),
            ("1A=b", Err("is not NAME=value")),
            ("hunter22", Err("is not NAME=value")),
        ] {
            assert_eq!(variable(line), read, "{line}");
        }
    }

    #[test]
    fn files_add_below_the_process_in_their_order_and_the_working_directory_is_not_looked_at() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = scratch.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let given = file("given", "A=given\nB=given", 0o600);
        file(".openclaw/env", "A=env\nB=env\nC=env", 0o600);
        file(".openclaw/.env", "C=dot\nD=dot\noops", 0o600);
        file("cwd/.env", "E=cwd", 0o600);
        let home = scratch.path().to_str().unwrap();
        let process = Environment::from_iter([("A", "process"), ("HOME", home)]);
        let mut problems = Vec::new();
        let all = process.with_files(Some(&given), &scratch.path().join("cwd"), &mut problems);
        let seen = ["A", "B", "C", "D", "E"].map(|name| all.get(name));
        assert_eq!(seen, [Some("process"), Some("given"), Some("env"), Some("dot"), None]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].what.starts_with("line 3 is not NAME=value"), "{problems:?}");

        problems.clear();
        file("given", "A=given", 0o640);
        process.with_files(Some(&given), Path::new("/"), &mut problems);
        assert!(problems[0].what.contains("chmod 600"), "{problems:?}");
        process.with_files(Some("/no/such"), Path::new("/"), &mut problems);
        assert!(
            problems
                .iter()
                .any(|one| one.to_string() == "--env-file: /no/such is not there")
        );
    }
}
