//! The Python environment that `setup.sh` makes for the user.

use std::path::PathBuf;
use std::{fs, io};

use sha2::{Digest as _, Sha256};

const PINS: &str = include_str!("../requirements.txt");

/// The environment's folder, made for exactly the present pins.
///
/// # Errors
/// It has not been made yet.
pub fn dir() -> io::Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    let digest = format!("{:x}", Sha256::digest(PINS));
    let dir = cache.join("cutover").join(format!("venv-{}", digest.get(..12).unwrap_or_default()));
    if dir.join(".complete").exists() {
        return Ok(dir);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} is absent or incomplete: run `make setup`", dir.display()),
    ))
}

/// The environment's interpreter.
pub fn python() -> io::Result<PathBuf> {
    Ok(dir()?.join("bin/python"))
}

/// The SQL migrations that ship in the package `procrastinate`; its `schema.sql` lies beside this folder.
pub fn procrastinate_migrations() -> io::Result<PathBuf> {
    package("procrastinate").map(|package| package.join("sql/migrations"))
}

/// The folder of an installed package.
pub(crate) fn package(name: &str) -> io::Result<PathBuf> {
    let lib = dir()?.join("lib");
    for python in fs::read_dir(&lib)? {
        let package = python?.path().join("site-packages").join(name);
        if package.is_dir() {
            return Ok(package);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} is not installed in {}", lib.display())))
}
