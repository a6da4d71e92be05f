//! The names of what a backup leaves: `PREFIX/DATABASE/TIME-SYSTEM-ID.dump` or, where zstd was put around it, `.dump.zst`, and
//! beside it `.globals.sql` (`.globals.sql.age` where they are encrypted) and `.manifest.json`.
//!
//! TIME sorts. SYSTEM is the cluster's identifier, so that an unfinished upload, which has no metadata, tells whose it
//! was. ID is the backup id.

use postgres::manifest;
use time::OffsetDateTime;

const DUMP: &str = ".dump";
/// What the key of a dump inside of a zstd stream ends in.
pub(crate) const ZST: &str = ".dump.zst";
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

/// Names the backups of one database of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    folder: String,
    system: String,
    id: String,
}

impl Names {
    pub(crate) fn new(prefix: &str, database: &str, system: Option<&str>, id: &str) -> Self {
        Self {
            folder: folder(prefix, database),
            system: system.unwrap_or("unknown").to_owned(),
            id: slug(id),
        }
    }

    /// What all of the database's backups begin with.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// The key of a dump that is taken now.
    pub(crate) fn dump(&self, now: OffsetDateTime, zstd: bool) -> String {
        let end = if zstd { ZST } else { DUMP };
        format!("{}{}-{}-{}{end}", self.folder, time(now), self.system, self.id)
    }

    /// Whether a dump of this cluster, by any run of this step, has such a key.
    pub(crate) fn is_ours(&self, key: &str) -> bool {
        self.after_time(key)
            .is_some_and(|rest| rest.strip_prefix(&self.system).is_some_and(|r| r.starts_with('-')))
    }

    /// Whether a dump with this backup id has such a key; two ids can share one.
    pub(crate) fn may_be_same(&self, key: &str) -> bool {
        let id =
            self.after_time(key).and_then(|rest| rest.strip_suffix(ZST).or_else(|| rest.strip_suffix(DUMP)));
        id.is_some_and(|rest| rest.ends_with(&format!("-{}", self.id)))
    }

    /// `SYSTEM-ID.dump` of a dump's key.
    fn after_time<'a>(&self, key: &'a str) -> Option<&'a str> {
        after_time(key.strip_prefix(&self.folder)?)
    }
}

/// `SYSTEM-ID.dump` of a dump's name, if it is one that this step gives.
fn after_time(name: &str) -> Option<&str> {
    let (time, rest) = name.split_at_checked(TIME)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time.get(8..9) == Some("T")
        && time.get(15..) == Some("Z")
        && time.get(..8).is_some_and(digits)
        && time.get(9..15).is_some_and(digits);
    (is_time && is_dump(name)).then(|| rest.strip_prefix('-'))?
}

fn is_dump(name: &str) -> bool {
    name.ends_with(DUMP) || name.ends_with(ZST)
}

/// Whether a dump that this step took has such a key, wherever it lies.
pub(crate) fn is_any_dump(key: &str) -> bool {
    after_time(key.rsplit('/').next().unwrap_or(key)).is_some()
}

/// The dump that a manifest or globals with such a key belong to.
pub(crate) fn dump_of(key: &str) -> Option<&str> {
    let dump =
        [manifest::SUFFIX, GLOBALS, ".globals.sql.age"].into_iter().find_map(|end| key.strip_suffix(end))?;
    is_any_dump(dump).then_some(dump)
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
        let key = names("rally", "acme/rally-77").dump(noon(), false);
        assert_eq!(key, "releases/rally/20261121T120000Z-7300000000000000001-acme-rally-77.dump");
        assert_eq!(manifest_of(&key), format!("{key}.manifest.json"));
        assert_eq!(
            names("../Größe 1", "x").dump(noon(), false),
            "releases/..%2FGr%C3%B6%C3%9Fe%201/20261121T120000Z-7300000000000000001-x.dump"
        );
        assert!(names("..", "x").dump(noon(), false).starts_with("releases/%2E%2E/"));
        assert!(names("rally", "x").dump(noon(), true).ends_with("-x.dump.zst"));
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

    #[test]
    fn what_lies_beside_a_dump_names_it() {
        let dump = "x/rally/20261120T010203Z-1-a.dump.zst";
        for beside in [manifest_of(dump), globals_of(dump, false), globals_of(dump, true)] {
            assert_eq!(dump_of(&beside), Some(dump), "{beside}");
        }
        assert_eq!(dump_of("x/by-hand.dump.manifest.json"), None);
        assert!(is_any_dump(dump) && !is_any_dump("x/y.dump"));
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
