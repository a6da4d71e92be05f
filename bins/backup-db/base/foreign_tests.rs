//! Archives and manifests of PostgreSQL that something happened to: found to be what they were, or refused.

use proptest::prelude::*;
use proptest::sample::Index;
use testkit::foreign::{config, hostile, mistaken};

use super::archive::{read, testing::archive};
use super::listing::compare;
use postgres::manifest::Base;

/// SHA-256 of nothing (NIST's `SHA256ShortMsg`, Len = 0) and of `abc` (FIPS 180-2, appendix B.1).
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// Of 1 MiB, the smallest that there is: <https://www.postgresql.org/docs/current/app-initdb.html>. It holds 0/2000028.
const SEGMENT: &str = "000000010000000000000020";

fn sum(text: &str) -> String {
    let mut sum = s3::Sha256::new();
    sum.update(text.as_bytes());
    kit::hex(&sum.finish())
}

/// A manifest in the form of <https://www.postgresql.org/docs/current/backup-manifest-format.html>, with this stretch of the log.
fn manifest(start: &str, end: &str) -> String {
    let lines = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 73,\n\"Files\": [\n\
         {{ \"Path\": \"base/1/2662\", \"Size\": 3, \"Last-Modified\": \"2026-11-21 22:02:27 GMT\", \"Checksum-Algorithm\": \"SHA256\", \
         \"Checksum\": \"{ABC}\" }},\n\
         {{ \"Path\": \"tablespace_map\", \"Size\": 0, \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{NOTHING}\" }}\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}\n],\n"
    );
    let sum = sum(&lines);
    format!("{lines}\"Manifest-Checksum\": \"{sum}\"}}\n")
}

fn whole() -> String {
    manifest("0/2000028", "0/2000100")
}

fn packed(manifest: &[u8]) -> Vec<u8> {
    archive(&[("base/1/2662", b"abc"), ("tablespace_map", b""), ("backup_manifest", manifest)])
}

/// The log is said to be there: a MiB of it takes a while to read.
fn judged(bytes: &[u8]) -> Result<Base, String> {
    let mut archive = read(bytes, None).map_err(|trouble| format!("{trouble:?}"))?;
    archive.wal.insert(SEGMENT.to_owned(), 1 << 20);
    compare(archive, Some("73"))
}

#[test]
fn hostile_manifests_and_archives_are_refused() {
    assert_eq!(judged(&packed(whole().as_bytes())).unwrap().files, 2);
    for text in &hostile() {
        assert!(judged(&packed(text)).is_err());
        assert!(judged(text).is_err());
    }
}

#[test]
fn a_stretch_of_the_log_that_ends_before_it_begins_is_none() {
    for (start, end) in [
        ("0/2000100", "0/2000028"),
        ("0/2000028", "0/0"),
        ("0/2000028", "FFFFFFFF/FFFFFFFF"),
        ("0/2000028", "1FFFFFFFF/0"),
        ("0/2000028", "-1/0"),
        ("", ""),
        ("0/2000028", "\\u001b[2J"),
    ] {
        let why = judged(&packed(manifest(start, end).as_bytes())).unwrap_err();
        assert!(
            why.contains("write-ahead log") && !why.contains(char::is_control),
            "{start} to {end}: {why:?}"
        );
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_manifest_with_mistakes_says_the_same_or_is_refused(text in mistaken(vec![whole()])) {
        if let Ok(base) = judged(&packed(text.as_bytes())) {
            prop_assert_eq!(Ok(base), judged(&packed(whole().as_bytes())));
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_is_whole_or_refused(at in any::<Index>()) {
        let bytes = packed(whole().as_bytes());
        let part = &bytes[..at.index(bytes.len())];
        if let Ok(base) = judged(part) {
            prop_assert_eq!(Ok(base), judged(&bytes));
            // What is missing is the mark of its end.
            prop_assert!(bytes[part.len()..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn an_archive_with_a_byte_changed_says_the_same_or_is_refused(at in any::<Index>(), to in any::<u8>()) {
        let mut bytes = packed(whole().as_bytes());
        let wanted = judged(&bytes);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(base) = judged(&bytes) {
            prop_assert_eq!(Ok(base), wanted);
        }
    }
}
