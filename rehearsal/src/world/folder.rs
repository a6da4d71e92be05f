//! The state folder: one world at a time, and what it keeps between runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Description;

pub(super) const DESCRIPTION: &str = "world.json";
pub(super) const LOCK: &str = "world.lock";
/// Ports and passwords stay the same from run to run.
const KEPT: &str = "kept.json";

/// A folder that this process alone uses; the lock ends with the process, however that ends.
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
}

impl Folder {
    pub(super) fn claim(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = fs::canonicalize(root)?;
        // It holds passwords, if only of this world.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))?;
        let lock = lock_file(&root)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("another world runs in {}", root.display()))
        })?;
        let folder = Self { root, _lock: lock };
        folder.unpublish()?;
        Ok(folder)
    }

    /// Whether a world runs here.
    pub(super) fn is_claimed(root: &Path) -> io::Result<bool> {
        if !root.join(LOCK).exists() {
            return Ok(false);
        }
        Ok(flock(lock_file(root)?, FlockOperation::NonBlockingLockShared).is_err())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn description(&self) -> PathBuf {
        self.path(DESCRIPTION)
    }

    /// From now on the world can be found.
    pub(super) fn publish(&self, world: &Description) -> io::Result<()> {
        self.write(DESCRIPTION, &serde_json::to_vec_pretty(world)?)
    }

    pub(super) fn unpublish(&self) -> io::Result<()> {
        match fs::remove_file(self.description()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What the world kept from an earlier run.
    pub(super) fn kept<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        match fs::read(self.path(KEPT)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep<T: Serialize>(&self, kept: &T) -> io::Result<()> {
        self.write(KEPT, &serde_json::to_vec_pretty(kept)?)
    }

    /// Readers see the old file or the new one.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        file.write_all(bytes)?;
        file.persist(self.path(name)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn lock_file(root: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(root.join(LOCK))
}
