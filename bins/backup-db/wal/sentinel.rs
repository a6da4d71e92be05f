//! The object with which `wal-e` and `wal-g` end a backup, and what lies beside it: pure.
//!
//! Both write `PREFIX/basebackups_005/NAME_backup_stop_sentinel.json` last, the data before it below `NAME/tar_partitions/`, and
//! the write-ahead log to `PREFIX/wal_005/SEGMENT.EXTENSION`. What is in it differs:
//! <https://github.com/wal-e/wal-e/blob/master/wal_e/operator/backup.py>,
//! <https://github.com/wal-g/wal-g/blob/master/internal/databases/postgres/backup_sentinel_dto.go>.

use std::collections::BTreeMap;

use s3::Listed;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::segment;

const END: &str = "_backup_stop_sentinel.json";

/// The most segments that a backup is believed to need: of the usual size they are 16 TiB of write-ahead log.
const SEGMENTS: u64 = 1 << 20;

/// How much of a foreign text is shown, in characters.
const SHOWN: usize = 200;

fn shown(text: &str) -> String {
    kit::clip(&kit::one_line(text), SHOWN)
}

/// The folder of the backups below a prefix.
pub(super) fn backups(prefix: &str) -> String {
    format!("{prefix}basebackups_005/")
}

/// The folder of the write-ahead log below a prefix.
pub(super) fn log(prefix: &str) -> String {
    format!("{prefix}wal_005/")
}

/// The name of the backup whose sentinel has this key: `base_000000010000000000000002_00000040`, as `wal-g` has it without
/// the second number, and with `_D_` and the start of another for a difference to that.
pub(super) fn name_of<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    let name = key.strip_prefix(&backups(prefix))?.strip_suffix(END)?;
    (name.starts_with("base_") && !name.contains('/')).then_some(name)
}

/// A backup, as its sentinel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sentinel {
    pub(super) name: String,
    /// The segments of the write-ahead log that it needs: the first and the last.
    pub(super) first: String,
    pub(super) last: String,
    /// What the backup unpacks to.
    pub(super) bytes: u64,
    /// The server, as `wal-g` says.
    pub(super) system_identifier: Option<String>,
    /// The id of the backup, where this step gave `wal-g` one.
    pub(super) backup_id: Option<String>,
    /// The backup that it is a difference to.
    pub(super) of: Option<String>,
    /// Files with bad blocks, where the sentinel itself names them, as `wal-g` did before 2.0.
    pub(super) corrupt: Vec<String>,
}

/// What `wal-g` is told to keep of a backup.
pub(super) const BACKUP_ID: &str = "cutover-backup-id";

#[derive(Deserialize)]
struct OfWalE {
    wal_segment_backup_stop: String,
    expanded_size_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfWalG {
    #[serde(rename = "LSN")]
    start: u64,
    #[serde(rename = "FinishLSN")]
    finish: u64,
    timeline: Option<u32>,
    system_identifier: Option<u64>,
    uncompressed_size: u64,
    user_data: Option<Value>,
    delta_from: Option<String>,
    #[serde(default)]
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    corrupt_blocks: Option<Value>,
}

/// Reads a sentinel; `size` is that of the server's segments. `Err` says what is wrong with it.
pub(super) fn parse(name: &str, text: &[u8], size: u64) -> Result<Sentinel, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
    // The name becomes a word of the commands with which the backup is fetched and deleted.
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let first = name.get(5..29).filter(|first| plain(name) && segment::parse(first, size).is_some());
    let first =
        first.ok_or_else(|| format!("{} does not name the segment with which it begins", shown(name)))?;
    let whole = |error: serde_json::Error| format!("it is not whole: {}", shown(&error.to_string()));
    let sentinel = if value.get("wal_segment_backup_stop").is_some() {
        let said: OfWalE = serde_json::from_value(value).map_err(whole)?;
        Sentinel {
            name: name.to_owned(),
            first: first.to_owned(),
            last: said.wal_segment_backup_stop,
            bytes: said.expanded_size_bytes,
            system_identifier: None,
            backup_id: None,
            of: None,
            corrupt: Vec::new(),
        }
    } else {
        let said: OfWalG = serde_json::from_value(value).map_err(whole)?;
        if said.finish < said.start {
            return Err("it ends before it begins".to_owned());
        }
        let own = segment::parse(first, size).map_or(0, |(timeline, _)| timeline);
        Sentinel {
            name: name.to_owned(),
            first: first.to_owned(),
            last: segment::name(said.timeline.unwrap_or(own), said.finish.saturating_sub(1) / size, size),
            bytes: said.uncompressed_size,
            system_identifier: said.system_identifier.map(|system| system.to_string()),
            backup_id: said.user_data.and_then(|data| data.get(BACKUP_ID)?.as_str().map(str::to_owned)),
            of: said.delta_from,
            corrupt: corrupt(&said.files),
        }
    };
    needed(&sentinel, size)?;
    if sentinel.bytes == 0 {
        return Err("it says that the backup is empty".to_owned());
    }
    Ok(sentinel)
}

/// Files with bad blocks in `NAME/files_metadata.json`, where `wal-g` keeps them from 2.0 on
/// (<https://github.com/wal-g/wal-g/pull/1114>).
pub(super) fn corrupt_files(text: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "Files", default)]
        files: BTreeMap<String, File>,
    }
    let metadata: Metadata = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(corrupt(&metadata.files))
}

/// A list of block numbers, or from 2.0 on an object with their number.
fn corrupt(files: &BTreeMap<String, File>) -> Vec<String> {
    let bad = |file: &File| match &file.corrupt_blocks {
        None | Some(Value::Null) => false,
        Some(Value::Array(blocks)) => !blocks.is_empty(),
        Some(Value::Object(blocks)) => {
            blocks.get("CorruptBlocksCount").and_then(Value::as_u64).is_none_or(|count| count > 0)
        }
        Some(_) => true,
    };
    files.iter().filter(|(_, file)| bad(file)).map(|(path, _)| path.clone()).collect()
}

/// Every segment from the first to the last.
pub(super) fn needed(sentinel: &Sentinel, size: u64) -> Result<Vec<String>, String> {
    let (first, last) = (segment::parse(&sentinel.first, size), segment::parse(&sentinel.last, size));
    match (first, last) {
        (Some((from, first)), Some((to, last))) if from == to && first <= last && last - first < SEGMENTS => {
            Ok((first..=last).map(|number| segment::name(from, number, size)).collect())
        }
        (Some((from, first)), Some((to, last))) if from == to && first <= last => Err(format!(
            "it needs {} segments of the write-ahead log, from {} to {}, which no backup does",
            last - first + 1,
            sentinel.first,
            sentinel.last
        )),
        _ => Err(format!(
            "it needs the write-ahead log from {} to {}, which is no stretch of one timeline",
            sentinel.first,
            shown(&sentinel.last)
        )),
    }
}

/// The one sentinel that was not there before, or is another now.
pub(super) fn fresh<'a>(before: &[Listed], after: &'a [Listed]) -> Result<&'a Listed, String> {
    let known = |object: &Listed| before.iter().any(|old| old.key == object.key && old.etag == object.etag);
    let new: Vec<&Listed> = after.iter().filter(|object| !known(object)).collect();
    match new.as_slice() {
        [one] => Ok(one),
        [] => Err("no sentinel was written: there is no new backup, whatever the exit code says".to_owned()),
        many => Err(format!(
            "{} sentinels are new ({}): another run or server pushes to the same prefix, which makes backups of both useless",
            many.len(),
            many.iter().map(|object| object.key.as_str()).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// How many archives the backup has, and their size; one without content is no backup
/// (<https://github.com/wal-g/wal-g/issues/85>).
pub(super) fn archives(listed: &[Listed]) -> Result<(usize, u64), String> {
    let archives: Vec<&Listed> =
        listed.iter().filter(|object| object.key.contains("/tar_partitions/")).collect();
    if archives.is_empty() {
        return Err("none of its archives is there".to_owned());
    }
    if let Some(empty) = archives.iter().find(|object| object.bytes == 0) {
        return Err(format!("its archive {} has no content", empty.key));
    }
    Ok((archives.len(), archives.iter().fold(0, |all, object| all.saturating_add(object.bytes))))
}

/// The segments that are not in the archive of the log yet. `Err` names one that is there without content.
pub(super) fn missing(needed: &[String], listed: &[Listed], folder: &str) -> Result<Vec<String>, String> {
    let mut there: BTreeMap<&str, u64> = BTreeMap::new();
    for object in listed {
        let Some(name) = object.key.strip_prefix(folder) else { continue };
        let (name, extension) = name.split_once('.').unwrap_or((name, ""));
        // `.00000028.backup` and `.partial` are notes and halves.
        if !extension.contains('.') && extension != "partial" && extension != "json" {
            // Two of one segment, by two compressors: the tool takes either.
            there.entry(name).and_modify(|bytes| *bytes = object.bytes.min(*bytes)).or_insert(object.bytes);
        }
    }
    let empty = needed.iter().find(|name| there.get(name.as_str()) == Some(&0));
    match empty {
        Some(name) => Err(format!(
            "the segment {name} of the write-ahead log was archived without content, and the backup can't be restored without it"
        )),
        None => Ok(needed.iter().filter(|name| !there.contains_key(name.as_str())).cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const SIZE: u64 = 16 << 20;

    /// As `wal_e/operator/backup.py` writes it.
    const WAL_E: &str = r#"{"wal_segment_backup_stop": "000000010000000000000004", "wal_segment_offset_backup_stop": "00000256",
        "expanded_size_bytes": 31457280, "spec": {"base_prefix": "/var/lib/postgresql/9.3/main", "tablespaces": []}}"#;
    /// As `backup_sentinel_dto.go` has its fields.
    const WAL_G: &str = r#"{"LSN": 33554472, "Timeline": 1, "PgVersion": 150018, "FinishLSN": 67109120,
        "SystemIdentifier": 7320280665284567118, "UncompressedSize": 31457280, "CompressedSize": 4194304, "Spec": null,
        "UserData": {"cutover-backup-id": "release-7"}, "Version": 2, "IsPermanent": false}"#;

    fn object(key: &str, bytes: u64) -> Listed {
        Listed { key: key.into(), bytes, etag: "\"e\"".into(), modified: OffsetDateTime::UNIX_EPOCH }
    }

    #[test]
    fn both_tools_say_where_a_backup_begins_and_ends() {
        let e = parse("base_000000010000000000000002_00000040", WAL_E.as_bytes(), SIZE).unwrap();
        assert_eq!(
            (e.first.as_str(), e.last.as_str()),
            ("000000010000000000000002", "000000010000000000000004")
        );
        let g = parse("base_000000010000000000000002", WAL_G.as_bytes(), SIZE).unwrap();
        assert_eq!(
            (g.first.as_str(), g.last.as_str()),
            ("000000010000000000000002", "000000010000000000000004")
        );
        assert_eq!(g.system_identifier.as_deref(), Some("7320280665284567118"));
        assert_eq!(g.backup_id.as_deref(), Some("release-7"));
        assert_eq!((e.bytes, g.bytes), (31_457_280, 31_457_280));
        assert_eq!(needed(&g, SIZE).unwrap()[1], "000000010000000000000003");
        // A backup that ends where a segment does needs nothing of the next.
        let edge = WAL_G.replace("67109120", "67108864");
        let edge = parse("base_000000010000000000000002", edge.as_bytes(), SIZE).unwrap();
        assert_eq!(edge.last, "000000010000000000000003");
    }

    #[test]
    fn a_sentinel_of_no_backup_says_why() {
        let name = "base_000000010000000000000002";
        for (name, text, says) in [
            (name, "", "not JSON"),
            (name, "{}", "not whole"),
            ("base_x", WAL_G, "does not name the segment"),
            (name, &*WAL_G.replace("31457280", "0"), "is empty"),
            (name, &*WAL_G.replace("67109120", "1"), "ends before it begins"),
            (name, &*WAL_G.replace("\"Timeline\": 1", "\"Timeline\": 2"), "no stretch of one timeline"),
            (name, &*WAL_E.replace("000000010000000000000004", "000000010000000000000001"), "no stretch"),
        ] {
            let said = parse(name, text.as_bytes(), SIZE).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn bad_blocks_are_found_wherever_a_version_of_wal_g_writes_them() {
        // The first is from wal-g's documentation of --verify (docs/PostgreSQL.md).
        let old = r#"{"Files": {"/base/13690/13535": {"IsSkipped": true, "MTime": "2020-08-20T21:02:56.690095409+05:00", "IsIncremented": false},
            "/base/16384/16397": {"CorruptBlocks": [1], "IsIncremented": false, "IsSkipped": false, "MTime": "2020-08-21T19:09:52.966149937+05:00"}}}"#;
        assert_eq!(corrupt_files(old.as_bytes()).unwrap(), ["/base/16384/16397"]);
        let new = r#"{"Files": {"/a": {"CorruptBlocks": {"CorruptBlocksCount": 3, "SomeCorruptBlocks": [1, 2, 3]}},
            "/b": {"CorruptBlocks": {"CorruptBlocksCount": 0}}, "/c": {"CorruptBlocks": null}}, "TarFileSets": {}}"#;
        assert_eq!(corrupt_files(new.as_bytes()).unwrap(), ["/a"]);
        let within = WAL_G.replace("\"Spec\": null", &format!("\"Spec\": null, {}", &old[1..old.len() - 1]));
        let sentinel = parse("base_000000010000000000000002", within.as_bytes(), SIZE).unwrap();
        assert_eq!(sentinel.corrupt, ["/base/16384/16397"]);
    }

    #[test]
    fn the_new_sentinel_is_the_one_that_was_not_there_or_is_another_now() {
        let key =
            |n: u8| format!("p/basebackups_005/base_00000001000000000000000{n}_backup_stop_sentinel.json");
        let before = [object(&key(1), 9)];
        let after = [object(&key(1), 9), object(&key(2), 9)];
        assert_eq!(fresh(&before, &after).unwrap().key, key(2));
        assert!(fresh(&after, &after).unwrap_err().contains("no sentinel was written"));
        assert!(fresh(&[], &after).unwrap_err().contains("same prefix"));
        let again = [Listed { etag: "\"f\"".into(), ..object(&key(1), 9) }];
        assert_eq!(fresh(&before, &again).unwrap().key, key(1));
        assert_eq!(name_of(&key(2), "p/"), Some("base_000000010000000000000002"));
        assert_eq!(name_of("p/basebackups_005/base_1/x_backup_stop_sentinel.json", "p/"), None);
    }

    #[test]
    fn archives_and_segments_without_content_are_none() {
        let partition = |bytes| object("p/basebackups_005/base_1/tar_partitions/part_1.tar.lzo", bytes);
        assert_eq!(
            archives(&[partition(5), object("p/basebackups_005/base_1/metadata.json", 0)]),
            Ok((1, 5))
        );
        assert!(archives(&[partition(0)]).unwrap_err().contains("no content"));
        assert!(archives(&[]).unwrap_err().contains("none of its archives"));
        let needed = ["000000010000000000000002".to_owned(), "000000010000000000000003".to_owned()];
        let wal = |name: &str, bytes| object(&format!("p/wal_005/{name}"), bytes);
        let listed =
            [wal("000000010000000000000002.lz4", 7), wal("000000010000000000000003.00000028.backup.lz4", 7)];
        assert_eq!(missing(&needed, &listed, "p/wal_005/"), Ok(vec![needed[1].clone()]));
        let empty = [wal("000000010000000000000002.lz4", 0)];
        assert!(missing(&needed, &empty, "p/wal_005/").unwrap_err().contains("without content"));
        let all = [wal("000000010000000000000002.zst", 7), wal("000000010000000000000003", 7)];
        assert_eq!(missing(&needed, &all, "p/wal_005/"), Ok(Vec::new()));
    }
}
