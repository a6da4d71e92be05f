//! The names of what a backup leaves: `PREFIX/DATABASE/TIME-SYSTEM-ID.dump` or, where zstd was put around it, `.dump.zst`, and
//! beside it `.globals.sql` (`.globals.sql.age` where they are encrypted) and `.manifest.json`. A base backup is
//! `PREFIX/base/TIME-SYSTEM-ID.base.tar` or, compressed, `.base.tar.zst`. A database may be called `base` too: what a key ends
//! in tells what it is.
//!
//! TIME sorts. SYSTEM is the cluster's identifier, so that an unfinished upload, which has no metadata, tells whose it
//! was. ID is the backup id.

use postgres::manifest;
use time::OffsetDateTime;

/// What the key of an archive inside of a zstd stream ends in.
pub(crate) const ZST: &str = ".zst";

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `pg_dump`'s archive of one database.
    Dump,
    /// `pg_basebackup`'s of a whole server.
    Base,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Dump, Self::Base];

    const fn ending(self) -> &'static str {
        match self {
            Self::Dump => ".dump",
            Self::Base => ".base.tar",
        }
    }

    /// What manifests call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Dump => manifest::DUMP,
            Self::Base => manifest::BASE,
        }
    }

    /// The kind of an archive with such a key, whoever put it there.
    pub(crate) fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.strip(key).is_some())
    }

    /// The key without what tells the kind.
    fn strip(self, key: &str) -> Option<&str> {
        key.strip_suffix(ZST).unwrap_or(key).strip_suffix(self.ending())
    }
}

/// The folder of base backups below a prefix.
pub(crate) fn base_folder(prefix: &str) -> String {
    format!("{prefix}base/")
}

const GLOBALS: &str = ".globals.sql";
/// What is encrypted ends in this, as the tool `age` has it.
const AGE: &str = ".age";
/// `20261121T120000Z`
const TIME: usize = 16;

/// A bucket and a prefix in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) bucket: String,
    /// Empty, or ends in a slash.
    pub(crate) prefix: String,
}

impl std::str::FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text} is not of the form s3://BUCKET/PREFIX");
        let rest = text.strip_prefix("s3://").ok_or_else(form)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() || prefix.contains("//") {
            return Err(form());
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }
}

/// Behind the identifier of the system, in the keys of a standby's backups.
const STANDBY: &str = ".standby";

/// In the place of the identifier of a system that does not tell it.
const UNKNOWN: &str = "unknown";

/// Names the backups of one kind, of one database or of the whole of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    kind: Kind,
    folder: String,
    system: String,
    id: String,
}

impl Names {
    /// Of the dumps of a database.
    pub(crate) fn new(prefix: &str, database: &str, system: Option<&str>, id: &str) -> Self {
        Self::of(Kind::Dump, folder(prefix, database), system, id)
    }

    /// Of the base backups of a cluster.
    pub(crate) fn base(prefix: &str, system: Option<&str>, id: &str) -> Self {
        Self::of(Kind::Base, base_folder(prefix), system, id)
    }

    fn of(kind: Kind, folder: String, system: Option<&str>, id: &str) -> Self {
        Self { kind, folder, system: system.unwrap_or(UNKNOWN).to_owned(), id: slug(id) }
    }

    /// Of a standby, which has the identifier of its primary: the lock that tells living runs from dead ones is each server's own.
    pub(crate) fn on_standby(mut self, standby: bool) -> Self {
        if standby {
            self.system.push_str(STANDBY);
        }
        self
    }

    /// What all of these backups begin with.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// The key of one that is made now.
    pub(crate) fn key(&self, now: OffsetDateTime, zstd: bool) -> String {
        let (end, zst) = (self.kind.ending(), if zstd { ZST } else { "" });
        format!("{}{}-{}-{}{end}{zst}", self.folder, time(now), self.system, self.id)
    }

    /// Whether such a backup of this server, by any run of this step, has such a key.
    pub(crate) fn is_ours(&self, key: &str) -> bool {
        let system_first = |rest: &str| rest.strip_prefix(&self.system).is_some_and(|r| r.starts_with('-'));
        self.after_time(key).is_some_and(system_first)
    }

    /// [`Self::is_ours`], of its primary or a standby too.
    pub(crate) fn is_of_cluster(&self, key: &str) -> bool {
        let system = self.system.strip_suffix(STANDBY).unwrap_or(&self.system);
        let Some(rest) = self.after_time(key).and_then(|rest| rest.strip_prefix(system)) else {
            return false;
        };
        rest.strip_prefix(STANDBY).unwrap_or(rest).starts_with('-')
    }

    /// Whether what is unfinished under such a key was left by a dead run, where no other one works on this server. Of a server that
    /// does not tell its identifier only those of the same id are known.
    pub(crate) fn is_dead(&self, key: &str) -> bool {
        self.is_ours(key) && (!self.system.starts_with(UNKNOWN) || self.may_be_same(key))
    }

    /// Whether one with this backup id has such a key; two ids can share one.
    pub(crate) fn may_be_same(&self, key: &str) -> bool {
        self.after_time(key).is_some_and(|rest| rest.ends_with(&format!("-{}", self.id)))
    }

    /// `SYSTEM-ID` of the key of one of this kind.
    fn after_time<'a>(&self, key: &'a str) -> Option<&'a str> {
        self.kind.strip(after_time(key.strip_prefix(&self.folder)?)?)
    }
}

/// `SYSTEM-ID.dump` of an archive's name, if it is one that this step gives.
fn after_time(name: &str) -> Option<&str> {
    let (time, rest) = name.split_at_checked(TIME)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time.get(8..9) == Some("T")
        && time.get(15..) == Some("Z")
        && time.get(..8).is_some_and(digits)
        && time.get(9..15).is_some_and(digits);
    (is_time && Kind::of(name).is_some()).then(|| rest.strip_prefix('-'))?
}

/// Whether an archive that this step made has such a key, wherever it lies.
pub(crate) fn is_archive(key: &str) -> bool {
    after_time(key.rsplit('/').next().unwrap_or(key)).is_some()
}

/// The archive that a manifest or globals with such a key belong to.
pub(crate) fn archive_of(key: &str) -> Option<&str> {
    let archive =
        [manifest::SUFFIX, GLOBALS, ".globals.sql.age"].into_iter().find_map(|end| key.strip_suffix(end))?;
    is_archive(archive).then_some(archive)
}

/// `20261121T120000Z`, which sorts.
pub(crate) fn time(at: OffsetDateTime) -> String {
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// What all backups of a database lie below.
pub(crate) fn folder(prefix: &str, database: &str) -> String {
    format!("{prefix}{}/", encode(database))
}

pub(crate) fn globals_of(dump: &str, encrypted: bool) -> String {
    format!("{dump}{GLOBALS}{}", if encrypted { AGE } else { "" })
}

pub(crate) fn manifest_of(dump: &str) -> String {
    format!("{dump}{}", manifest::SUFFIX)
}

/// A database's name in a key: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html> names the
/// characters that are safe; the others are percent-encoded, and so are names that browsers and tools would resolve.
fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    let dots = name.chars().all(|c| c == '.');
    name.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && !dots) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A backup id in a key: readable rather than unique, since the whole id is in the object's metadata and the manifest.
pub(crate) fn slug(id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    id.chars().map(safe).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(database: &str, id: &str) -> Names {
        Names::new("releases/", database, Some("7300000000000000001"), id)
    }

    fn noon() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap()
    }

    #[test]
    fn a_key_says_database_time_cluster_and_id() {
        let key = names("rally", "acme/rally-77").key(noon(), false);
        assert_eq!(key, "releases/rally/20261121T120000Z-7300000000000000001-acme-rally-77.dump");
        assert_eq!(manifest_of(&key), format!("{key}.manifest.json"));
        assert_eq!(
            names("../Größe 1", "x").key(noon(), false),
            "releases/..%2FGr%C3%B6%C3%9Fe%201/20261121T120000Z-7300000000000000001-x.dump"
        );
        assert!(names("..", "x").key(noon(), false).starts_with("releases/%2E%2E/"));
        assert!(names("rally", "x").key(noon(), true).ends_with("-x.dump.zst"));
    }

    #[test]
    fn only_dumps_of_the_same_cluster_are_ours() {
        let names = names("rally", "a");
        let key = |name: &str| format!("releases/rally/{name}");
        assert!(names.is_ours(&key("20261120T010203Z-7300000000000000001-other.dump")));
        assert!(!names.is_ours(&key("20261120T010203Z-73000000000000000012-other.dump")));
        assert!(!names.is_ours(&key("20261120T010203Z-7300000000000000001-other.dump.manifest.json")));
        assert!(!names.is_ours(&key("by-hand-7300000000000000001-a.dump")));
        assert!(!names.is_ours("releases/rally2/20261120T010203Z-7300000000000000001-a.dump"));
        assert!(names.may_be_same(&key("20261120T010203Z-1-a.dump")));
        assert!(!names.may_be_same(&key("20261120T010203Z-1-b.dump")));
        assert!(names.may_be_same(&key("20261120T010203Z-1-a.dump.zst")));
        assert!(names.is_ours(&key("20261120T010203Z-7300000000000000001-other.dump.zst")));
    }

    /// <https://www.postgresql.org/docs/current/warm-standby.html>: a standby is a copy of the primary, its identifier too.
    #[test]
    fn what_a_standby_has_unfinished_is_not_the_primarys() {
        let standby = || names("rally", "a").on_standby(true);
        let (ours, theirs) = (names("rally", "b").key(noon(), true), standby().key(noon(), true));
        assert_eq!(theirs, "releases/rally/20261121T120000Z-7300000000000000001.standby-a.dump.zst");
        let primary = names("rally", "a");
        assert!(primary.is_dead(&ours) && !primary.is_dead(&theirs));
        assert!(standby().is_dead(&theirs) && !standby().is_dead(&ours));
        for key in [&ours, &theirs] {
            assert!(primary.is_of_cluster(key) && standby().is_of_cluster(key), "{key}");
        }
        let unknown = |id: &str| Names::new("releases/", "rally", None, id);
        let key = unknown("a").key(noon(), true);
        assert!(unknown("a").is_dead(&key) && !unknown("b").is_dead(&key) && unknown("b").is_ours(&key));
        assert!(!primary.is_of_cluster(&key));
    }

    #[test]
    fn what_lies_beside_a_dump_names_it() {
        let dump = "x/rally/20261120T010203Z-1-a.dump.zst";
        for beside in [manifest_of(dump), globals_of(dump, false), globals_of(dump, true)] {
            assert_eq!(archive_of(&beside), Some(dump), "{beside}");
        }
        assert_eq!(archive_of("x/by-hand.dump.manifest.json"), None);
        assert!(is_archive(dump) && !is_archive("x/y.dump"));
    }

    #[test]
    fn a_base_backup_is_told_from_a_dump_of_a_database_of_that_name() {
        let (dumps, bases) = (Names::new("x/", "base", Some("73"), "a"), Names::base("x/", Some("73"), "a"));
        let (dump, base) = (dumps.key(noon(), true), bases.key(noon(), true));
        assert_eq!(base, "x/base/20261121T120000Z-73-a.base.tar.zst");
        assert_eq!(bases.key(noon(), false), "x/base/20261121T120000Z-73-a.base.tar");
        assert!(bases.is_ours(&base) && bases.may_be_same(&base) && !bases.is_ours(&dump));
        assert!(dumps.is_ours(&dump) && !dumps.is_ours(&base) && !dumps.may_be_same(&base));
        assert_eq!((Kind::of(&dump), Kind::of(&base)), (Some(Kind::Dump), Some(Kind::Base)));
        assert_eq!(Kind::of("x/base/20261121T120000Z-vault-a.jsonl.age"), None);
        assert!(!Names::base("x/", Some("73"), "b").may_be_same(&base));
    }

    #[test]
    fn a_destination_is_a_bucket_and_a_prefix() {
        let read = |text: &str| text.parse::<Destination>().map(|to| (to.bucket, to.prefix));
        assert_eq!(read("s3://b/x/y/"), Ok(("b".into(), "x/y/".into())));
        assert_eq!(read("s3://b"), Ok(("b".into(), String::new())));
        for wrong in ["b/x", "s3://", "s3:///x", "s3://b/x//y", "https://b/x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
