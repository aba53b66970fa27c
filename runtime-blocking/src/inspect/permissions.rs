//! Permission bits and owners of files and folders, links not followed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use portcullis_core::security::{FileFact, FileRole};

/// Whose the files of the gateway over this state folder should be: this process's user's, or for an administrator who looks
/// at a service's, the folder's owner's.
#[must_use]
pub fn user_of(state_dir: &Path) -> u32 {
    let user = rustix::process::geteuid();
    match fs::metadata(state_dir) {
        Ok(about) if user.is_root() => about.uid(),
        _ => user.as_raw(),
    }
}

/// What lies at a path, and whether it belongs to `user` or to root; `None`: nothing.
#[must_use]
pub fn look(role: FileRole, path: &Path, user: u32) -> Option<FileFact> {
    let about = fs::symlink_metadata(path).ok()?;
    Some(FileFact {
        role,
        path: path.to_string_lossy().into_owned(),
        mode: about.mode() & 0o7777,
        is_own: about.uid() == user || about.uid() == 0,
        is_symlink: about.file_type().is_symlink(),
        is_regular: about.is_file(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_links_and_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let user = user_of(folder.path());
        let file = folder.path().join("f");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let fact = look(FileRole::Secret, &file, user).unwrap();
        assert_eq!(
            (fact.mode, fact.is_own, fact.is_symlink, fact.is_regular),
            (0o640, true, false, true)
        );
        let link = folder.path().join("l");
        symlink(&file, &link).unwrap();
        assert!(look(FileRole::Config, &link, user).unwrap().is_symlink);
        assert_eq!(look(FileRole::Config, &folder.path().join("no"), user), None);
    }
}
