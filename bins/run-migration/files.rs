//! The folder of migrations: which file is which version, and which way it goes.

use std::fs;
use std::path::Path;

use kit::Failure;
use serde::Serialize;
use sha2::{Digest as _, Sha256, Sha384};

use crate::ledger::{Ledger, sqlx};
use crate::sql::{Kind, Script, parse};
use crate::version;

/// The folder of migrations.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Directory {
    pub(crate) path: String,
    /// By name.
    pub(crate) files: Vec<File>,
    /// What lies there and is no migration.
    pub(crate) ignored: Vec<String>,
    /// Names that can't be read as migrations.
    pub(crate) problems: Vec<String>,
}

/// A migration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Of its bytes, in lower-case hexadecimal: SHA-256, or for sqlx's ledger SHA-384.
    pub(crate) checksum: String,
    pub(crate) bytes: usize,
    /// Its statements, or why it can't be read as text.
    #[serde(skip)]
    pub(crate) script: Result<Script, String>,
    /// The file that takes it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down: Option<Box<File>>,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A name without the endings that say which way it goes, as sqlx and golang-migrate write them.
pub(crate) fn stem(name: &str) -> (&str, Way) {
    let lower = name.to_ascii_lowercase();
    for (ending, way) in [(".down.sql", Way::Down), (".up.sql", Way::Up), (".sql", Way::Up)] {
        if lower.ends_with(ending) {
            return (name.get(..name.len() - ending.len()).unwrap_or(name), way);
        }
    }
    (name, Way::Up)
}

/// Reads the folder.
pub(crate) fn directory(path: &Path, ledger: &Ledger) -> Result<Directory, Failure> {
    let attempt = format!("read the migrations in {}", path.display());
    let failed = |error: std::io::Error| {
        Failure::usage(&attempt).because(error).help("--migrations names a folder of .sql files")
    };
    let mut found = Vec::new();
    let mut ignored = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let sql = Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
        if !sql || name.starts_with('.') || !entry.path().metadata().map_err(failed)?.is_file() {
            ignored.push(name);
            continue;
        }
        let bytes = fs::read(entry.path())
            .map_err(|error| Failure::usage(format!("read {}", entry.path().display())).because(error))?;
        found.push((name, bytes));
    }
    found.sort();
    ignored.sort();
    let mut directory =
        Directory { path: path.display().to_string(), files: Vec::new(), ignored, problems: Vec::new() };
    directory.sort_out(found, ledger);
    Ok(directory)
}

impl Directory {
    /// Makes migrations of files: each way back to the file that it takes back.
    pub(crate) fn sort_out(&mut self, found: Vec<(String, Vec<u8>)>, ledger: &Ledger) {
        let mut downs: Vec<File> = Vec::new();
        for (name, bytes) in found {
            match file(name, &bytes, ledger) {
                Err(problem) => self.problems.push(problem),
                Ok((file, Way::Up)) => self.files.push(file),
                Ok((file, Way::Down)) => downs.push(file),
            }
        }
        for down in downs {
            match self.files.iter_mut().find(|file| file.version == down.version) {
                None => self.problems.push(format!("{} takes back no file that is here", down.name)),
                Some(File { down: Some(other), .. }) => {
                    self.problems.push(format!("{} and {} have the same version", other.name, down.name));
                }
                Some(file) => file.down = Some(Box::new(down)),
            }
        }
    }
}

fn file(name: String, bytes: &[u8], ledger: &Ledger) -> Result<(File, Way), String> {
    let (stem, way) = stem(&name);
    let (version, checksum) = match ledger {
        Ledger::Own { .. } => (version::of(stem).to_owned(), kit::hex(&Sha256::digest(bytes))),
        Ledger::Sqlx { .. } => (sqlx::version(&name)?.to_string(), kit::hex(&Sha384::digest(bytes))),
    };
    Ok((File { version, name, checksum, bytes: bytes.len(), script: script(bytes), down: None }, way))
}

fn script(bytes: &[u8]) -> Result<Script, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 (byte {} of the file)", error.valid_up_to() + 1))?;
    if text.contains('\0') {
        return Err("holds a NUL character, as a file in UTF-16 does".to_owned());
    }
    Ok(parse(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// What the statements of a file that have run were, so that a later one can be corrected and they can't. A setting of the
/// session has left nothing behind and may be another one by then.
pub(crate) fn prefix(script: &Script, statements: usize) -> String {
    let mut digest = Sha256::new();
    for statement in script.statements.iter().take(statements) {
        if statement.kind != Kind::Session {
            digest.update(&statement.text);
        }
        digest.update([0]);
    }
    kit::hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::parse_ledger;

    fn sorted(names: &[&str], ledger: &str) -> Directory {
        let mut directory = Directory { path: "m".into(), files: vec![], ignored: vec![], problems: vec![] };
        let found = names.iter().map(|name| ((*name).to_owned(), b"SELECT 1".to_vec())).collect();
        directory.sort_out(found, &parse_ledger(ledger).unwrap());
        directory
    }

    #[test]
    fn a_way_back_belongs_to_the_file_that_it_takes_back() {
        let directory =
            sorted(&["0001_a.down.sql", "0001_a.up.sql", "0002_b.sql", "c.down.sql", "c.up.sql"], "a.b");
        let pairs: Vec<(&str, &str, Option<&str>)> = directory
            .files
            .iter()
            .map(|file| {
                (file.version.as_str(), file.name.as_str(), file.down.as_ref().map(|down| down.name.as_str()))
            })
            .collect();
        assert_eq!(
            pairs,
            [
                ("0001", "0001_a.up.sql", Some("0001_a.down.sql")),
                ("0002", "0002_b.sql", None),
                ("c", "c.up.sql", Some("c.down.sql"))
            ]
        );
        assert_eq!(
            sorted(&["1_a.sql", "1_a.down.sql", "1_b.down.sql", "2_c.down.sql"], "a.b").problems,
            [
                "1_a.down.sql and 1_b.down.sql have the same version",
                "2_c.down.sql takes back no file that is here"
            ]
        );
    }

    #[test]
    fn sqlx_s_names_are_numbers_and_its_checksum_is_sha_384() {
        let directory =
            sorted(&["0007_add_user.up.sql", "20240101120000_x.sql", "init.sql", "x_1.sql"], "sqlx");
        assert_eq!(directory.files[0].version, "7");
        // printf 'SELECT 1' | sha384sum
        assert_eq!(
            directory.files[0].checksum,
            "a87be5ea59a50f1537b8361d62582b67f0f8665b89a1afa8f5f5ccc3ec84e9b8c62649fb92c16783942166f392ecc20e"
        );
        assert_eq!(directory.files[1].version, "20240101120000");
        assert_eq!(directory.problems.len(), 2, "{:?}", directory.problems);
    }
}
