use super::*;
use std::os::unix::fs::PermissionsExt;

fn path_in(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn append_effect(path: &str, bytes: &'static [u8]) -> Effect {
    Effect::Append {
        path: path.to_owned(),
        bytes: Bytes::from_static(bytes),
        mode: 0o600,
    }
}

fn kind_of(outcome: Outcome) -> FaultKind {
    outcome.unwrap_err().kind
}

#[test]
fn reading_brings_the_end_of_the_file_and_its_whole_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "f");
    fs::write(&path, b"0123456789").unwrap();
    for (max_bytes, expected) in [(0, &b""[..]), (3, b"789"), (10, b"0123456789"), (11, b"0123456789")] {
        let outcome = run(&Effect::ReadFile {
            path: path.clone(),
            max_bytes,
        });
        assert_eq!(
            outcome,
            Ok(Completion::File {
                bytes: Bytes::from_static(expected),
                size: 10
            })
        );
    }
}

#[test]
fn reading_what_is_no_file_fails_and_never_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = path_in(&folder, "pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let read = |path: &str| {
        kind_of(run(&Effect::ReadFile {
            path: path.to_owned(),
            max_bytes: 10,
        }))
    };
    assert_eq!(read(&path_in(&folder, "none")), FaultKind::NotFound);
    assert_eq!(read(folder.path().to_str().unwrap()), FaultKind::Invalid);
    assert_eq!(read(&pipe), FaultKind::Invalid);
    assert_eq!(read("relative"), FaultKind::Invalid);
}

#[test]
fn writing_replaces_the_whole_file_with_its_mode_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "a/b/f");
    for content in [&b"first, and longer"[..], b"second"] {
        let bytes = Bytes::from_static(content);
        assert_eq!(
            run(&Effect::WriteFile {
                path: path.clone(),
                bytes,
                mode: 0o600
            }),
            Ok(Completion::Done)
        );
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path_in(&folder, "a")), 0o700);
    assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
}

#[test]
fn a_failed_replacement_leaves_the_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "taken");
    fs::create_dir_all(format!("{path}/inside")).unwrap();
    assert!(
        run(&Effect::WriteFile {
            path,
            bytes: Bytes::from_static(b"x"),
            mode: 0o600
        })
        .is_err()
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn removing_takes_folders_whole_follows_no_link_and_may_find_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let remove = |name: &str| {
        run(&Effect::Remove {
            path: path_in(&folder, name),
        })
    };
    fs::create_dir_all(folder.path().join("kept")).unwrap();
    fs::write(folder.path().join("kept/f"), b"x").unwrap();
    fs::create_dir_all(folder.path().join("gone/deep")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("kept"), folder.path().join("gone/link")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("kept"), folder.path().join("link")).unwrap();
    for name in ["gone", "link", "never/was"] {
        assert_eq!(remove(name), Ok(Completion::Done), "{name}");
        assert!(!folder.path().join(name).exists());
    }
    assert_eq!(fs::read(folder.path().join("kept/f")).unwrap(), b"x");
    assert_eq!(
        kind_of(run(&Effect::Remove {
            path: "relative".into()
        })),
        FaultKind::Invalid
    );
}

#[test]
fn appending_adds_and_ends_a_torn_line_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "deep/log");
    assert_eq!(run(&append_effect(&path, b"one\n")), Ok(Completion::Done));
    assert_eq!(run(&append_effect(&path, b"two\n")), Ok(Completion::Done));
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, b"one\nto").unwrap();
    assert_eq!(run(&append_effect(&path, b"three\n")), Ok(Completion::Done));
    assert_eq!(fs::read(&path).unwrap(), b"one\nto\nthree\n");
}

#[test]
fn appends_of_many_threads_never_cut_into_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(&folder, "log");
    let line = |number: usize| format!("{number}:{}\n", "x".repeat(number * 37));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..8 {
                    let effect = Effect::Append {
                        path: path.clone(),
                        bytes: line(number).into(),
                        mode: 0o600,
                    };
                    assert_eq!(run(&effect), Ok(Completion::Done));
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    for number in 0..8 {
        assert_eq!(
            text.lines().filter(|found| *found == line(number).trim_end()).count(),
            8
        );
    }
}

#[test]
fn real_paths_have_no_links() {
    let folder = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir(base.join("real")).unwrap();
    std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
    let real = |name: &str| {
        run(&Effect::RealPath {
            path: base.join(name).to_str().unwrap().to_owned(),
        })
    };
    assert_eq!(
        real("link/../link"),
        Ok(Completion::Path(base.join("real").to_str().unwrap().to_owned()))
    );
    assert_eq!(kind_of(real("none")), FaultKind::NotFound);
}

#[test]
fn renaming_replaces_and_keeps_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (path_in(&folder, "a"), path_in(&folder, "b"));
    fs::write(&from, b"new").unwrap();
    fs::write(&to, b"old").unwrap();
    let rename = Effect::Rename { from, to: to.clone() };
    assert_eq!(run(&rename), Ok(Completion::Done));
    assert_eq!(fs::read(&to).unwrap(), b"new");
    assert_eq!(kind_of(run(&rename)), FaultKind::NotFound);
}
