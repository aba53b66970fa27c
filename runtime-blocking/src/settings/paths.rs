//! Paths that a person wrote, made absolute and real. Reads the file system, changes nothing.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::environment::Environment;

/// What the environment may call the state folder, best first.
const STATE_VARIABLES: [&str; 2] = ["PORTCULLIS_STATE_DIR", "OPENCLAW_STATE_DIR"];
/// What the settings file is called when nobody names one.
pub(crate) const SETTINGS_FILE: &str = "openclaw.json";

/// `written` seen from `base`; `~/` is the home folder. `.` and `..` are taken out by name.
pub(crate) fn absolute(written: &str, base: &Path, home: Option<&Path>) -> PathBuf {
    let joined = match (written.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => base.join(written),
    };
    let mut plain = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// The path without links, as far as it exists: what the system will call a file that is made there.
pub(crate) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// The state folder: the flag, `PORTCULLIS_STATE_DIR`, `OPENCLAW_STATE_DIR`, `$XDG_STATE_HOME/portcullis`,
/// `~/.local/state/portcullis`.
pub(crate) fn state_dir(flag: Option<&str>, environment: &Environment, working_dir: &Path) -> Option<PathBuf> {
    written_state_dir(flag, environment, working_dir).map(|folder| real(&folder))
}

/// The same as it is written: it may be a link.
pub(crate) fn written_state_dir(flag: Option<&str>, environment: &Environment, working_dir: &Path) -> Option<PathBuf> {
    let home = home(environment);
    let named = || environment.first(&STATE_VARIABLES).map(|(_, written)| written);
    if let Some(written) = flag.or_else(named) {
        return Some(absolute(written, working_dir, home.as_deref()));
    }
    // The XDG specification has relative paths ignored.
    let xdg = environment
        .get("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    xdg.or_else(|| home.map(|home| home.join(".local/state")))
        .map(|folder| folder.join("portcullis"))
}

/// The user's home folder: `OPENCLAW_HOME`, else `HOME`.
pub(crate) fn home(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("OPENCLAW_HOME").or_else(|| absolute("HOME"))
}

/// Where OpenClaw keeps its files, and ours may lie: `OPENCLAW_STATE_DIR`, else `~/.openclaw`.
pub(crate) fn openclaw_dir(environment: &Environment, working_dir: &Path) -> Option<PathBuf> {
    let home = home(environment);
    match environment.get("OPENCLAW_STATE_DIR") {
        Some(written) => Some(absolute(written, working_dir, home.as_deref())),
        None => home.map(|home| home.join(".openclaw")),
    }
}

/// The settings file: the flag, `OPENCLAW_CONFIG_PATH`, and `openclaw.json` in the state folder and in OpenClaw's, where it
/// is there. The second says that a person named it.
pub(crate) fn settings_file(
    flag: Option<&Path>,
    environment: &Environment,
    state_dir: Option<&Path>,
    working_dir: &Path,
) -> Option<(PathBuf, bool)> {
    if let Some(written) = flag {
        return Some((working_dir.join(written), true));
    }
    if let Some(written) = environment.get("OPENCLAW_CONFIG_PATH") {
        return Some((absolute(written, working_dir, home(environment).as_deref()), true));
    }
    let folders = [state_dir.map(Path::to_path_buf), openclaw_dir(environment, working_dir)];
    let files = folders.into_iter().flatten().map(|folder| folder.join(SETTINGS_FILE));
    // Also when it cannot be read: that is for the reader to tell.
    files
        .filter(|file| file.symlink_metadata().is_ok())
        .map(|file| (file, false))
        .next()
}

/// The program that `written` names: itself when it is a path, else the first of that name on `search`.
pub(crate) fn program(written: &str, search: Option<&str>) -> Option<PathBuf> {
    if written.contains('/') {
        return Some(PathBuf::from(written)).filter(|path| is_program(path));
    }
    std::env::split_paths(OsStr::new(search?))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(written))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_paths_become_absolute() {
        let home = Path::new("/home/goat");
        for (written, path) in [
            ("/a/b", "/a/b"),
            ("b/../c/./d", "/base/c/d"),
            ("../x", "/x"),
            ("../../../x", "/x"),
            ("~/x", "/home/goat/x"),
            ("~x", "/base/~x"),
        ] {
            assert_eq!(
                absolute(written, Path::new("/base"), Some(home)),
                Path::new(path),
                "{written}"
            );
        }
    }

    #[test]
    fn the_state_folder_in_its_order() {
        let all = [
            ("PORTCULLIS_STATE_DIR", "/p"),
            ("OPENCLAW_STATE_DIR", "/o"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        let of = |flag, from: usize| state_dir(flag, &all.into_iter().skip(from).collect(), Path::new("/cwd"));
        assert_eq!(of(Some("flag"), 0), Some("/cwd/flag".into()));
        assert_eq!(of(None, 0), Some("/p".into()));
        assert_eq!(of(None, 1), Some("/o".into()));
        assert_eq!(of(None, 2), Some("/x/portcullis".into()));
        assert_eq!(of(None, 3), Some("/h/.local/state/portcullis".into()));
        assert_eq!(of(None, 4), None);
        let moved = Environment::from_iter([("HOME", "/h"), ("OPENCLAW_HOME", "/oh")]);
        assert_eq!(
            state_dir(None, &moved, Path::new("/cwd")),
            Some("/oh/.local/state/portcullis".into())
        );
    }

    #[test]
    fn the_settings_file_in_its_order() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let home = folder.to_str().unwrap();
        let environment = Environment::from_iter([("HOME", home)]);
        let state = folder.join("state");
        let found = |flag: Option<&str>, environment: &Environment| {
            settings_file(flag.map(Path::new), environment, Some(&state), Path::new("/cwd"))
        };
        assert_eq!(found(None, &environment), None);
        std::fs::create_dir_all(folder.join(".openclaw")).unwrap();
        std::fs::write(folder.join(".openclaw/openclaw.json"), "{}").unwrap();
        assert_eq!(
            found(None, &environment),
            Some((folder.join(".openclaw/openclaw.json"), false))
        );
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("openclaw.json"), "{}").unwrap();
        assert_eq!(found(None, &environment), Some((state.join("openclaw.json"), false)));
        let named = Environment::from_iter([("HOME", home), ("OPENCLAW_CONFIG_PATH", "~/x.json")]);
        assert_eq!(found(None, &named), Some((folder.join("x.json"), true)));
        assert_eq!(found(Some("y.json"), &named), Some(("/cwd/y.json".into(), true)));
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(program("sh", Some("/nowhere:/bin:/usr/bin")).unwrap().is_absolute());
        assert!(program("/bin/sh", None).is_some());
        assert_eq!(program("no-such-program-here", Some("/bin")), None);
        assert_eq!(program("/etc/passwd", None), None);
        assert_eq!(program("sh", Some("")), None);
    }
}
