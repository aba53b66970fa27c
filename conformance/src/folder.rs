//! A folder of its own for each gateway that the suite starts, with the state folder in it. It goes with its owner.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh folder, its owner's alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    state: PathBuf,
}

impl Folder {
    /// Makes one in the system's folder for such things.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh() -> Result<Self, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot make the folder {}: {error}", path.display()))?;
        let state = path.join("state");
        Ok(Self { path, state })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state folder in it, which the gateway makes.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind in the system's folder for such things does no harm.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
