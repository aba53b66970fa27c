//! The effects on files: read the end of one, replace one, add to one, remove one, find a path's real name. Whatever is answered with
//! [`Completion::Done`] is on disk. Which paths may be touched is decided in the core.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use portcullis_core::effect::{Completion, Effect, FaultKind, Outcome};

use super::fault::{doing, fault};

/// Folders that are made on the way are for their owner alone.
const FOLDER_MODE: u32 = 0o700;
/// The most links that [`real_path`] follows are the system's business; a path longer than this is refused before.
const MAX_PATH_BYTES: usize = 4_096;

/// Appends to one path never interleave: a path always has the same one of these locks.
static APPEND_LOCKS: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];
/// Makes the names of temporary files differ inside this process; the process id makes them differ between processes.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Carries out [`Effect::ReadFile`], [`Effect::WriteFile`], [`Effect::Append`], [`Effect::Remove`] or [`Effect::RealPath`];
/// any other effect is none of this module's and answers [`FaultKind::Invalid`]. Blocks until the disk has answered.
pub fn run(effect: &Effect) -> Outcome {
    match effect {
        Effect::ReadFile { path, max_bytes } => read_end(absolute(path)?, *max_bytes).map_err(|e| doing(path, &e)),
        Effect::WriteFile { path, bytes, mode } => replace(absolute(path)?, bytes, *mode).map_err(|e| doing(path, &e)),
        Effect::Append { path, bytes, mode } => append(absolute(path)?, bytes, *mode).map_err(|e| doing(path, &e)),
        Effect::Rename { from, to } => rename(absolute(from)?, absolute(to)?).map_err(|e| doing(from, &e)),
        Effect::Remove { path } => remove(absolute(path)?).map_err(|e| doing(path, &e)),
        Effect::RealPath { path } => real_path(absolute(path)?).map_err(|e| doing(path, &e)),
        Effect::Resolve { .. } | Effect::Dial(_) | Effect::Spawn(_) | Effect::Store(_) | Effect::VerifySignature(_) => {
            Err(fault(FaultKind::Invalid, "not an effect on files"))
        }
    }
}

fn absolute(path: &str) -> Result<&Path, portcullis_core::effect::Fault> {
    if !path.starts_with('/') || path.contains('\0') || path.len() > MAX_PATH_BYTES {
        return Err(fault(
            FaultKind::Invalid,
            format!("{path:?} is not an absolute path of at most {MAX_PATH_BYTES} bytes"),
        ));
    }
    Ok(Path::new(path))
}

fn read_end(path: &Path, max_bytes: u32) -> io::Result<Completion> {
    let mut file = OpenOptions::new().read(true).custom_flags(no_wait()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let size = about.len();
    file.seek(SeekFrom::Start(size.saturating_sub(u64::from(max_bytes))))?;
    let mut bytes = Vec::new();
    file.take(u64::from(max_bytes)).read_to_end(&mut bytes)?;
    Ok(Completion::File {
        bytes: Bytes::from(bytes),
        size,
    })
}

/// A pipe or a device in the place of a file must not hold its reader up while it is opened.
fn no_wait() -> i32 {
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default()
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Completion> {
    let (folder, name) = split(path)?;
    make_folder(folder)?;
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{name}.{}.{number}.new", std::process::id()));
    let written = write_new(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What could not be finished is not left lying about; that it may fail too changes nothing.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_folder(folder)?;
    Ok(Completion::Done)
}

fn rename(from: &Path, to: &Path) -> io::Result<Completion> {
    let (folder, _) = split(to)?;
    fs::rename(from, to)?;
    sync_folder(folder)?;
    Ok(Completion::Done)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A file of this name can only be left over from an earlier process with our process id.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file, a link, or a folder with all that is in it. Links are removed themselves, never followed.
fn remove(path: &Path) -> io::Result<Completion> {
    let (folder, _) = split(path)?;
    let removed = fs::symlink_metadata(path).and_then(|about| {
        if about.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    });
    match removed {
        Ok(()) => sync_folder(folder)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(Completion::Done)
}

fn append(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Completion> {
    let (folder, _) = split(path)?;
    let _alone = append_lock(path);
    let (mut file, is_new) = open_to_append(path, folder, mode)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let before = about.len();
    let torn = ends_torn(&file, before)?;
    // One write of one buffer: another process that appends to the same file cannot cut into the middle.
    let written = if torn {
        let mut whole = Vec::with_capacity(bytes.len().saturating_add(1));
        whole.push(b'\n');
        whole.extend_from_slice(bytes);
        file.write_all(&whole)
    } else {
        file.write_all(bytes)
    };
    if let Err(error) = written.and_then(|()| file.sync_data()) {
        // What was refused must not be found later; a torn line is ended by the next append if this fails too.
        let _ = file.set_len(before);
        return Err(error);
    }
    if is_new {
        sync_folder(folder)?;
    }
    Ok(Completion::Done)
}

fn open_to_append(path: &Path, folder: &Path, mode: u32) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(no_wait());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(folder)?;
            Ok((options.create(true).mode(mode).open(path)?, true))
        }
        opened => Ok((opened?, false)),
    }
}

fn ends_torn(file: &File, size: u64) -> io::Result<bool> {
    let Some(last) = size.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != [b'\n'])
}

fn append_lock(path: &Path) -> MutexGuard<'static, ()> {
    let slot = path.as_os_str().as_encoded_bytes().iter().fold(7_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    }) % APPEND_LOCKS.len();
    // The lock guards no data, so a panic of an earlier holder has broken nothing.
    #[expect(clippy::indexing_slicing, reason = "the slot is a remainder by the length")]
    APPEND_LOCKS[slot].lock().unwrap_or_else(PoisonError::into_inner)
}

fn real_path(path: &Path) -> io::Result<Completion> {
    match fs::canonicalize(path)?.into_os_string().into_string() {
        Ok(path) => Ok(Completion::Path(path)),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the real path is not UTF-8")),
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    match (path.parent(), path.file_name().and_then(std::ffi::OsStr::to_str)) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")),
    }
}

/// Makes a folder and those above it, and has their names on disk before anything is put inside.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = folder
        .ancestors()
        .take_while(|ancestor| !ancestor.is_dir())
        .map(Path::to_path_buf)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    missing
        .iter()
        .filter_map(|made| made.parent())
        .try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
