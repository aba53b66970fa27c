//! Files that hold secrets: read only when nobody else can have read or written them, and written so that nobody else can
//! at any moment. It knows nothing of what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// A larger one is a mistake.
const MAX_BYTES: u64 = 65_536;
/// Names tried for a temporary file, in case one was left behind by a crash.
const ATTEMPTS: u32 = 16;

/// Reads a file that only its owner, the user of this process, can read or write. `None`: it is not there. The administrator
/// may look at a service's files: for root the owner of the folder is as good.
///
/// # Errors
/// What is wrong with it and what to do about it.
pub(crate) fn read(path: &Path) -> Result<Option<String>, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) => {
            return Err("is a link; put the file itself there".into());
        }
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let meta = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !meta.is_file() {
        return Err("is not a file".into());
    }
    if !is_ours(path, &meta) {
        return Err("belongs to another user; it must be this user's own".into());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "other users can read or write it: run chmod 600 {}",
            path.display()
        ));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    Ok(Some(text))
}

/// Whether a file belongs to the user of this process, or where that is root, to whom its folder belongs.
fn is_ours(path: &Path, meta: &fs::Metadata) -> bool {
    let user = rustix::process::geteuid();
    meta.uid() == user.as_raw()
        || (user.is_root() && fs::metadata(folder(path)).is_ok_and(|about| about.uid() == meta.uid()))
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

/// Puts `text` in the place of the file at `path`: whole or not at all, for the owner alone (0600), on the disk when this
/// returns. The folder is made (0700) when it is not there. What root writes belongs to whom the folder belongs: the service
/// that lives there shall read it.
///
/// # Errors
/// What the system refuses; the old file is then still there.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = folder(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (temporary, mut file) = fresh(path)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| give_to_owner_of(folder, &file))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // It holds what nobody asked to keep.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let about = fs::metadata(folder)?;
    std::os::unix::fs::fchown(file, Some(about.uid()), Some(about.gid()))
}

/// A new file beside `path`: created exclusively, so that nobody can have put one there before.
fn fresh(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..ATTEMPTS {
        let temporary = path.with_file_name(format!(".{name}.{}.{attempt}.tmp", std::process::id()));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
        {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_written_is_private_and_can_be_read_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("inner/secret");
        assert_eq!(read(&path), Ok(None));
        replace(&path, "one\n").unwrap();
        replace(&path, "two\n").unwrap();
        assert_eq!(read(&path), Ok(Some("two\n".into())));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn root_looks_after_the_files_of_the_folders_owner() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("secret");
        replace(&path, "root's\n").unwrap();
        std::os::unix::fs::chown(scratch.path(), Some(4_711), Some(4_712)).unwrap();
        replace(&path, "theirs\n").unwrap();
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.uid(), about.gid()), (4_711, 4_712));
        assert_eq!(read(&path), Ok(Some("theirs\n".into())));
        std::os::unix::fs::chown(&path, Some(4_713), None).unwrap();
        assert!(read(&path).unwrap_err().contains("another user"));
    }

    #[test]
    fn what_others_may_have_touched_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("secret");
        fs::write(&path, "x").unwrap();
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), fine, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let link = scratch.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(read(&link).unwrap_err().contains("is a link"));
        assert!(read(scratch.path()).unwrap_err().contains("is not a file"));
        fs::write(&path, "x".repeat(65_537)).unwrap();
        assert!(read(&path).unwrap_err().contains("larger"));
    }
}
