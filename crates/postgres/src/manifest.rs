//! The document that a backup leaves last beside what it stored, and that a migration asks for.
//!
//! A dump without its manifest is no backup: the manifest is written only after the object was committed and verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The version of the format that this code writes, and the only one it reads.
pub const SCHEMA: &str = "cutover-backup/1";

/// What a manifest's key ends in: the dump's key and this.
pub const SUFFIX: &str = ".manifest.json";

/// The kind of a backup that `pg_dump` made, of one database.
pub const DUMP: &str = "dump";

/// The kind of a backup that `pg_basebackup` made, of a whole server.
pub const BASE: &str = "base";

/// A backup that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// How it was made: [`DUMP`] or [`BASE`].
    pub kind: String,
    /// The bucket that holds it.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
    /// CRC-64/NVME of its bytes as S3 writes it: base64 of the eight bytes, most significant first
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>).
    pub checksum_crc64nvme: String,
    /// Its `ETag`, which tells whether the object still is the one that was verified: not every object has a checksum of
    /// the whole, and one that was copied or uploaded again has another `ETag`.
    pub etag: String,
    /// The number of parts of its upload.
    pub parts: u32,
    /// The S3 version of the object, in a bucket with versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// What the archive's data are compressed with: `none`, `gzip` or `zstd`; absent where that was left to `pg_dump`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Whether the object is a zstd stream with the archive in it (its key ends in `.zst`), and not the archive itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd_stream: bool,
    /// The key of the roles and tablespaces (`pg_dumpall --globals-only`) that belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals_key: Option<String>,
    /// The age recipients that the globals are encrypted to; absent where they are in clear, without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals_recipients: Option<Vec<String>>,
    /// The database, as `current_database()` says; empty in a base backup, which is of all of them.
    pub database: String,
    /// The database's size on the server in bytes, with which the next backup compares itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_bytes: Option<u64>,
    /// The number of tables, in the catalogue and in the dump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Names the backup in every run that is to make it, so that a second one finds it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// The cluster, as `pg_control_system()` says; absent where the role may not ask.
    pub system_identifier: Option<String>,
    /// The server's version, as `server_version` says.
    pub server_version: String,
    /// The version of the program that made it, `pg_dump` or `pg_basebackup`.
    pub client_version: String,
    /// The exported snapshot that the dump was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Exact row counts in the same snapshot, by qualified table name ([`qualified`]). Partitions are counted, their parents
    /// are not: they hold no rows of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
    /// The server's estimates for the tables that were not counted, which prove nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_estimated: Option<BTreeMap<String, u64>>,
    /// Why tables that should have been counted were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_unknown: Option<BTreeMap<String, String>>,
    /// The number of objects of each kind in the same snapshot: `tables`, `indexes`, `large-objects` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<BTreeMap<String, u64>>,
    /// The extensions and their versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<BTreeMap<String, String>>,
    /// The roles that own something in the database or that it names, which must be there before it is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// What a new database must be made with to be like this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Locale>,
    /// What a base backup holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// How far it was verified.
    pub rung: Rung,
    /// When the dump was started: its data are from no earlier than this.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it had been stored and verified.
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
    /// The version of this program.
    pub tool_version: String,
    /// The id of the run, as in its receipt.
    pub run: String,
    /// The workflow run, inside a GitHub job: repository, run id, attempt, commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<BTreeMap<String, String>>,
}

/// The files of a base backup, as PostgreSQL's own manifest in it lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// How many there are, the write-ahead log beside.
    pub files: u64,
    /// How many bytes they unpack to, the write-ahead log included.
    pub unpacked_bytes: u64,
    /// The write-ahead log that makes them consistent; all of it is in the archive.
    pub wal: Vec<WalRange>,
    /// The databases of the server that take connections; absent where another run took the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<Vec<String>>,
}

/// A stretch of the write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRange {
    /// Its timeline.
    pub timeline: u32,
    /// Where it begins, as in `0/2000028`.
    pub start: String,
    /// Where it ends.
    pub end: String,
}

/// The encoding and collation of a database, as `pg_database` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locale {
    /// `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub provider: String,
    /// The locale of a provider other than `libc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

/// The name of a table as manifests have it: `schema.table`, where a part that is not of lower-case letters, digits and `_`
/// is quoted as in SQL. Keywords are not quoted, since which words are differs between versions of the server.
pub fn qualified(schema: &str, table: &str) -> String {
    let part = |name: &str| {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    format!("{}.{}", part(schema), part(table))
}

/// How far a backup was verified; each rung includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The object is there with the size and checksum of what was sent.
    Present,
    /// A dump's table of contents can be read and names what the catalogue names; the files of a base backup are those of
    /// PostgreSQL's own manifest, with their sizes and checksums, when they were sent.
    Contents,
    /// All of it was read back from S3: the same bytes, and `pg_restore` reads them to the end, or every file has the
    /// checksum of PostgreSQL's manifest.
    ReadBack,
    /// It was restored into a scratch server.
    Restored,
}

impl Rung {
    /// Its name in manifests, flags and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Contents => "contents",
            Self::ReadBack => "read-back",
            Self::Restored => "restored",
        }
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Manifest {
    /// Reads a manifest; the error says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            Some(SCHEMA) => {
                serde_json::from_value(value).map_err(|error| format!("it is not whole: {error}"))
            }
            Some(other) => Err(format!("its schema is {other}, this version reads {SCHEMA}")),
            None => Err(format!("it has no schema; a manifest of backup-db has {SCHEMA}")),
        }
    }

    /// The URI of the stored object.
    pub fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "schema": "cutover-backup/1", "kind": "dump", "bucket": "backups", "key": "rally/2026-11-21.dump",
        "bytes": 25500000, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "checksum_crc64nvme": "fLmqkjK9GWM=", "etag": "\"5eb63bbbe01eeed093cb22bb8f5acdc3-2\"", "parts": 2, "database": "rally",
        "system_identifier": "7300000000000000001", "server_version": "15.18", "client_version": "15.18",
        "rung": "read-back", "started": "2026-11-21T11:00:00Z", "ended": "2026-11-21T11:02:00Z",
        "tool_version": "0.1.0", "run": "r"
    }"#;

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let manifest = Manifest::parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(manifest.rung, Rung::ReadBack);
        assert_eq!(manifest.uri(), "s3://backups/rally/2026-11-21.dump");
        assert_eq!(Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn names_of_tables_are_unambiguous() {
        assert_eq!(qualified("public", "answers_2026"), "public.answers_2026");
        assert_eq!(qualified("odd; \"x\"", "A.b"), r#""odd; ""x"""."A.b""#);
        assert_ne!(qualified("a.b", "c"), qualified("a", "b.c"));
        assert_eq!(qualified("a", "1b"), "a.\"1b\"");
    }

    #[test]
    fn what_is_no_manifest_says_why() {
        for (text, why) in [
            ("PGDMP", "not JSON"),
            ("{}", "no schema"),
            (r#"{"schema":"cutover-backup/2"}"#, "cutover-backup/2"),
            (r#"{"schema":"cutover-backup/1"}"#, "missing field"),
        ] {
            let said = Manifest::parse(text.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_higher_rung_includes_the_lower() {
        assert!(
            Rung::Restored > Rung::ReadBack
                && Rung::ReadBack > Rung::Contents
                && Rung::Contents > Rung::Present
        );
    }
}
