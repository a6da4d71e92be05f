//! Servers of the system, else those that `setup.sh` unpacked from Debian's packages; and machines to run them on.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use tempfile::TempDir;

use crate::server::{User, find_on_path};

/// Nobody, as Debian numbers him.
const NOBODY: User = User { uid: 65534, gid: 65534 };

/// Where `setup.sh` unpacks packages.
fn root() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let folder = cache.join("cutover/debian-2");
    folder.join(".complete").exists().then(|| folder.join("root"))
}

/// A program of the system, else an unpacked one.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let folders = ["usr/sbin", "usr/bin", "usr/local/sbin", "sbin", "bin"];
    let system = folders.iter().map(|folder| Path::new("/").join(folder).join(name));
    let unpacked = root().into_iter().flat_map(|root| folders.map(|folder| root.join(folder).join(name)));
    find_on_path(name).or_else(|| system.chain(unpacked).find(|path| path.is_file()))
}

/// The unpacked library whose name begins so.
pub(crate) fn library(name: &str) -> Option<PathBuf> {
    libraries()
        .into_iter()
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
}

fn libraries() -> Vec<PathBuf> {
    let Some(root) = root() else { return Vec::new() };
    let folders = ["lib", "usr/lib"].map(|folder| root.join(folder));
    let inner = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let folders: Vec<PathBuf> = inner.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    files.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains(".so")).collect()
}

/// A folder that stands for a machine of its own: its programs run as an ordinary user even where root runs the tests, and all
/// they need lies in it, since root's own folders are closed to them.
#[derive(Debug)]
pub struct Machine {
    folder: TempDir,
    user: Option<User>,
}

impl Machine {
    /// # Errors
    /// The folder can't be made.
    pub fn new() -> io::Result<Self> {
        Self::of(rustix::process::geteuid().is_root().then_some(NOBODY))
    }

    /// The machine that runs the tests, with programs of the very user that runs them.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn local() -> io::Result<Self> {
        Self::of(None)
    }

    fn of(user: Option<User>) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let machine = Self { folder, user };
        fs::set_permissions(machine.path(), fs::Permissions::from_mode(0o755))?;
        for name in ["bin", "lib"] {
            fs::create_dir(machine.path().join(name))?;
        }
        for library in libraries() {
            let name = library.file_name().unwrap_or_default();
            fs::copy(&library, machine.path().join("lib").join(name))?;
        }
        machine.give(machine.path())?;
        Ok(machine)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The user that its programs run as; none is the one that runs the tests.
    pub(crate) fn user(&self) -> Option<User> {
        self.user
    }

    /// Makes its user the owner of a file or folder.
    ///
    /// # Errors
    /// It is not there.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        self.user.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid)))
    }

    /// Writes a file that its user owns.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text)?;
        self.give(&path)?;
        Ok(path)
    }

    /// A program in its `bin`, with its libraries in reach.
    ///
    /// # Errors
    /// It can't be copied.
    pub(crate) fn install(&self, program: &Path) -> io::Result<PathBuf> {
        let unpacked = root().is_some_and(|root| program.starts_with(root));
        if !unpacked {
            return Ok(program.to_owned());
        }
        let name = program.file_name().unwrap_or_default();
        let copy = self.path().join("bin").join(name);
        // In a process of its own: what another test starts at that moment would inherit the file open for writing, and it could not
        // be run (ETXTBSY).
        let copied = Command::new("install").args(["-m", "755"]).arg(program).arg(&copy).status()?;
        if copied.success() {
            Ok(copy)
        } else {
            Err(io::Error::other(format!("install ended with {copied}")))
        }
    }

    pub(crate) fn libraries(&self) -> PathBuf {
        self.path().join("lib")
    }

    /// A command of its user, without any right beyond that, that ends with this process.
    ///
    /// # Errors
    /// There is no `setpriv`, and root runs the tests.
    pub(crate) fn command(&self, program: &Path) -> io::Result<Command> {
        let Some(setpriv) = find_on_path("setpriv") else {
            return match self.user {
                None => Ok(Command::new(program)),
                Some(_) => Err(io::Error::new(io::ErrorKind::NotFound, "there is no `setpriv`")),
            };
        };
        let mut command = Command::new(setpriv);
        if let Some(User { uid, gid }) = self.user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
            command.arg("--inh-caps=-all");
        }
        command.args(["--pdeathsig=TERM", "--"]).arg(program);
        Ok(command)
    }
}

/// A search path with the unpacked programs behind the system's.
pub(crate) fn search_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = root().into_iter().map(|root| root.join("usr/bin"));
    let all: Vec<PathBuf> =
        std::env::split_paths(&path).chain(unpacked).chain(iter::once("/usr/bin".into())).collect();
    std::env::join_paths(all).unwrap_or(path)
}
