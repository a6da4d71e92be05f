//! PostgreSQL's own manifest of a base backup, and whether an archive holds just the files that it lists: pure.
//!
//! Format: <https://www.postgresql.org/docs/current/backup-manifest-format.html>. As `pg_verifybackup` has it, only the manifest
//! itself and the write-ahead log are not listed (<https://www.postgresql.org/docs/current/app-pgverifybackup.html>).

use std::borrow::Cow;

use postgres::manifest::{Base, WalRange};
use s3::Sha256;
use serde::Deserialize;

use super::archive::Archive;
use crate::segment::{lsn, name};

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u32,
    /// Since version 2, of PostgreSQL 17.
    #[serde(rename = "System-Identifier")]
    system: Option<u64>,
    #[serde(rename = "Files", borrow)]
    files: Vec<Listed<'a>>,
    #[serde(rename = "WAL-Ranges")]
    ranges: Vec<Range>,
    #[serde(rename = "Manifest-Checksum")]
    checksum: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    /// In hexadecimal, where the path is not UTF-8.
    #[serde(rename = "Encoded-Path", borrow)]
    encoded: Option<Cow<'a, str>>,
    size: u64,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<&'a str>,
    checksum: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

/// How many troubles are named.
const NAMED: usize = 5;

/// Compares the archive with the manifest in it, which must be of this server. `Err` says what differs.
pub(super) fn compare(mut archive: Archive, system: Option<&str>) -> Result<Base, String> {
    let text = archive
        .manifest
        .take()
        .ok_or("there is no backup_manifest in the archive: it was cut off, or the server makes none")?;
    let unreadable = |why: &dyn std::fmt::Display| format!("its backup_manifest can't be read: {why}");
    let document: Document<'_> = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    if !(1..=2).contains(&document.version) {
        return Err(unreadable(&format!("it is of version {}", document.version)));
    }
    let own = own_checksum(&text);
    if !document.checksum.eq_ignore_ascii_case(&own) {
        return Err(format!(
            "the checksum of its backup_manifest is {own}, and it says {}",
            document.checksum
        ));
    }
    if let (Some(says), Some(system)) = (document.system, system)
        && says.to_string() != system
    {
        return Err(format!("its backup_manifest is of the server {says}, and this one is {system}"));
    }
    let mut troubles = Troubles::default();
    let files = document.files.len() as u64;
    let mut unpacked: u64 = archive.wal.values().sum();
    for listed in &document.files {
        let path = listed.path().map_err(|why| unreadable(&why))?;
        let shown = || String::from_utf8_lossy(&path).into_owned();
        let Some(member) = archive.files.remove(&*path) else {
            troubles.add(|| format!("{} is missing", shown()));
            continue;
        };
        unpacked += member.bytes;
        if member.bytes != listed.size {
            troubles.add(|| {
                format!("{} has {} bytes, and is listed with {}", shown(), member.bytes, listed.size)
            });
        } else if listed.algorithm != Some("SHA256") {
            troubles.add(|| format!("{} is listed without a SHA-256", shown()));
        } else if !listed.checksum.unwrap_or_default().eq_ignore_ascii_case(&kit::hex(&member.sha256)) {
            troubles.add(|| format!("{} has another SHA-256 than is listed", shown()));
        }
    }
    // Histories of timelines, and notes on what is archived.
    let mut more: Vec<&Vec<u8>> = archive.files.keys().filter(|path| !path.starts_with(b"pg_wal/")).collect();
    more.sort();
    for path in more {
        troubles.add(|| format!("{} is not listed", String::from_utf8_lossy(path)));
    }
    troubles.end()?;
    for range in &document.ranges {
        segments(range, &document.ranges, &archive)?;
    }
    if document.ranges.is_empty() {
        return Err("its backup_manifest names no write-ahead log".to_owned());
    }
    let wal = document
        .ranges
        .into_iter()
        .map(|range| WalRange { timeline: range.timeline, start: range.start, end: range.end })
        .collect();
    Ok(Base { files, unpacked_bytes: unpacked, wal, databases: None })
}

impl Listed<'_> {
    fn path(&self) -> Result<Cow<'_, [u8]>, String> {
        if let Some(path) = &self.path {
            return Ok(Cow::Borrowed(path.as_bytes()));
        }
        let encoded = self.encoded.as_deref().unwrap_or_default().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let path: Option<Vec<u8>> = encoded.chunks(2).map(byte).collect();
        match path.filter(|path| !path.is_empty()) {
            Some(path) => Ok(Cow::Owned(path)),
            None => Err("a file in it has no path".to_owned()),
        }
    }
}

/// SHA-256 of all lines but the last, which holds it.
fn own_checksum(text: &[u8]) -> String {
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    sha256(text.get(..end).unwrap_or_default())
}

fn sha256(bytes: &[u8]) -> String {
    let mut sum = Sha256::new();
    sum.update(bytes);
    kit::hex(&sum.finish())
}

#[derive(Default)]
struct Troubles {
    named: Vec<String>,
    more: usize,
}

impl Troubles {
    fn add(&mut self, trouble: impl FnOnce() -> String) {
        if self.named.len() < NAMED {
            self.named.push(trouble());
        } else {
            self.more += 1;
        }
    }

    fn end(self) -> Result<(), String> {
        match (self.named.is_empty(), self.more) {
            (true, _) => Ok(()),
            (false, 0) => Err(self.named.join("; ")),
            (false, more) => Err(format!("{}; and {more} more", self.named.join("; "))),
        }
    }
}

/// Whether every segment of a stretch of the write-ahead log is there, and whole. The one in which a timeline begins may be there
/// under the later timeline alone.
fn segments(range: &Range, all: &[Range], archive: &Archive) -> Result<(), String> {
    let size = archive.wal.values().copied().max().unwrap_or(0);
    if !size.is_power_of_two() || !(1 << 20..=1 << 30).contains(&size) {
        return Err("there is no whole segment of the write-ahead log in the archive".to_owned());
    }
    let named = || kit::one_line(&format!("{}..{}", range.start, range.end));
    let (Some(start), Some(end)) = (lsn(&range.start), lsn(&range.end)) else {
        return Err(format!("its backup_manifest names the write-ahead log {}", named()));
    };
    if end < start {
        return Err(format!(
            "its backup_manifest names the write-ahead log {}, which ends before it begins",
            named()
        ));
    }
    let last = end.saturating_sub(1).max(start) / size;
    for number in start / size..=last {
        let timelines = all.iter().map(|range| range.timeline).filter(|timeline| *timeline >= range.timeline);
        let found = timelines.clone().find_map(|timeline| archive.wal.get(&name(timeline, number, size)));
        match found {
            Some(bytes) if *bytes == size => {}
            Some(bytes) => {
                return Err(format!(
                    "the segment {} of the write-ahead log has {bytes} bytes, and should have {size}",
                    name(range.timeline, number, size)
                ));
            }
            None => {
                return Err(format!(
                    "the segment {} of the write-ahead log is missing, without which the files are not consistent",
                    name(range.timeline, number, size)
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::archive::{read, testing::archive};
    use super::*;

    /// SHA-256 of `abc` (FIPS 180-2, appendix B.1) and of nothing (NIST's `SHA256ShortMsg`, Len = 0).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const SEGMENT: &str = "pg_wal/000000010000000000000002";

    fn listing(files: &str, ranges: &str, more: &str) -> String {
        let lines = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n{more}\"Files\": [\n{files}\n],\n\"WAL-Ranges\": [\n{ranges}\n],\n"
        );
        let sum = sha256(lines.as_bytes());
        format!("{lines}\"Manifest-Checksum\": \"{sum}\"}}\n")
    }

    fn file(path: &str, size: u64, sum: &str) -> String {
        format!(
            "{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"2026-11-21 22:02:27 GMT\", \
             \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{sum}\" }}"
        )
    }

    const RANGE: &str = r#"{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }"#;

    fn judged(members: &[(&str, &[u8])], listing: &str) -> Result<Base, String> {
        let mut all = members.to_vec();
        all.push(("backup_manifest", listing.as_bytes()));
        compare(read(&*archive(&all), None).unwrap(), Some("73"))
    }

    #[test]
    fn an_archive_with_just_what_is_listed_is_whole() {
        let wal = vec![0; 1 << 20];
        let files = [file("base/1/2662", 3, ABC), file("tablespace_map", 0, NOTHING)].join(",\n");
        // The segment of 1 MiB that holds 0/2000028 is the 33rd.
        let members: [(&str, &[u8]); 4] = [
            ("base/1/2662", b"abc"),
            ("tablespace_map", b""),
            ("pg_wal/000000010000000000000020", &wal),
            ("pg_wal/archive_status/000000010000000000000020.done", b""),
        ];
        let base = judged(&members, &listing(&files, RANGE, "")).unwrap();
        assert_eq!((base.files, base.unpacked_bytes), (2, 3 + (1 << 20)));
        assert_eq!(base.wal[0].start, "0/2000028");
        assert!(judged(&members, &listing(&files, RANGE, "\"System-Identifier\": 73,\n")).is_ok());
        let other = judged(&members, &listing(&files, RANGE, "\"System-Identifier\": 74,\n")).unwrap_err();
        assert!(other.contains("of the server 74, and this one is 73"), "{other}");
    }

    #[test]
    fn each_difference_is_named() {
        let wal = vec![0; 16 << 20];
        let good: [(&str, &[u8]); 2] = [("base/1/2662", b"abc"), (SEGMENT, &wal)];
        let listed = listing(&file("base/1/2662", 3, ABC), RANGE, "");
        assert!(judged(&good, &listed).is_ok());
        let case = |members: &[(&str, &[u8])], listing: &str, says: &str| {
            let said = judged(members, listing).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        };
        case(&[("base/1/2662", b"abd"), good[1]], &listed, "base/1/2662 has another SHA-256");
        case(&[("base/1/2662", b"ab"), good[1]], &listed, "base/1/2662 has 2 bytes, and is listed with 3");
        case(&[good[1]], &listed, "base/1/2662 is missing");
        case(&[good[0], good[1], ("base/1/9", b"")], &listed, "base/1/9 is not listed");
        case(&[good[0]], &listed, "no whole segment");
        case(
            &[good[0], ("pg_wal/000000010000000000000003", &wal)],
            &listed,
            "000000010000000000000002 of the write-ahead log is missing",
        );
        case(
            &[good[0], (SEGMENT, &wal[..1000]), ("pg_wal/000000010000000000000003", &wal)],
            &listed,
            "000000010000000000000002 of the write-ahead log has 1000 bytes",
        );
        case(&good, &listed.replace("\"Size\": 3", "\"Size\": 4"), "the checksum of its backup_manifest");
        case(
            &good,
            &listing(&file("base/1/2662", 3, ABC).replace("SHA256", "CRC32C"), RANGE, ""),
            "without a SHA-256",
        );
        case(&good, &listing(&file("base/1/2662", 3, ABC), "", ""), "names no write-ahead log");
        case(&good, "{", "can't be read");
        assert!(compare(read(&*archive(&good), None).unwrap(), None).unwrap_err().contains("cut off"));
        let many: Vec<String> = (0..9).map(|n| file(&format!("x{n}"), 3, ABC)).collect();
        case(&good, &listing(&many.join(",\n"), RANGE, ""), "x4 is missing; and 5 more");
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_read_too() {
        let wal = vec![0; 16 << 20];
        let listed = file("x", 3, ABC).replace("\"Path\": \"x\"", "\"Encoded-Path\": \"782f79\"");
        assert!(judged(&[("x/y", b"abc"), (SEGMENT, &wal)], &listing(&listed, RANGE, "")).is_ok());
    }
}
