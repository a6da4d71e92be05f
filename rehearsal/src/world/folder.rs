//! The state folder: one world at a time, and what it keeps between runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::World;

pub(super) const DESCRIPTION: &str = "world.json";
pub(super) const LOCK: &str = "world.lock";
const KEPT: &str = "kept.json";

/// A folder that this process alone uses; the lock ends with the process, however that ends.
pub(super) struct Folder {
    root: PathBuf,
    _lock: File,
}

/// Ports and passwords stay the same from run to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) superuser_password: String,
    pub(super) password: String,
    pub(super) front_port: u16,
    pub(super) balancer_port: u16,
    pub(super) postgres_port: u16,
    pub(super) github_port: u16,
}

impl Kept {
    pub(super) fn with_ports(self, world: &World) -> io::Result<Self> {
        let port = |url: &str| {
            let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            port.ok_or_else(|| io::Error::other(format!("{url} has no port")))
        };
        Ok(Self {
            front_port: port(&world.aws.endpoint)?,
            balancer_port: port(&world.service.url)?,
            postgres_port: world.database.port,
            github_port: port(&world.github.api)?,
            ..self
        })
    }
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
    pub(super) fn publish(&self, world: &World) -> io::Result<()> {
        self.write(DESCRIPTION, &serde_json::to_vec_pretty(world)?)
    }

    pub(super) fn unpublish(&self) -> io::Result<()> {
        match fs::remove_file(self.description()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What was kept, or new passwords for a new world.
    pub(super) fn kept(&self) -> io::Result<Kept> {
        match fs::read(self.path(KEPT)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let kept = Kept {
                    superuser_password: password(),
                    password: password(),
                    front_port: 0,
                    balancer_port: 0,
                    postgres_port: 0,
                    github_port: 0,
                };
                // Before the server is made with them.
                self.keep(&kept)?;
                Ok(kept)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep(&self, kept: &Kept) -> io::Result<()> {
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

fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
