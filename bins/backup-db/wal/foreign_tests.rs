//! What `wal-e` and `wal-g` left, and what is no longer quite that: read for what it says or refused, never taken for more.
//!
//! The texts of the corpus have the fields of <https://github.com/wal-e/wal-e/blob/master/wal_e/operator/backup.py> and of
//! `BackupSentinelDto` and `BackupSentinelDtoV2` in
//! <https://github.com/wal-g/wal-g/blob/master/internal/databases/postgres/backup_sentinel_dto.go>, with values of ours.

use proptest::prelude::*;
use proptest::sample::select;
use s3::Listed;
use serde_json::{Value, json};
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};
use time::OffsetDateTime;

use super::sentinel::{archives, corrupt_files, fresh, missing, name_of, needed, parse};
use crate::segment;

const SIZE: u64 = 16 << 20;
const KIND: &str = "wal-sentinels";
/// Both positions of the corpus: `0x1684000028` and `0x1685000100`, of which the upper half is the log.
const NAME: &str = "base_000000010000001600000084";
const LAST: &str = "000000010000001600000085";

/// A text of the corpus that is a sentinel as a tool writes it.
fn whole(name: &str) -> String {
    let found = corpus(KIND).into_iter().find(|(path, _)| path.ends_with(name));
    String::from_utf8(found.unwrap().1).unwrap()
}

const WHOLE: [&str; 6] = [
    "/wal-e.json",
    "/wal-e-with-spec.json",
    "/wal-g-1.json",
    "/wal-g-2.json",
    "/wal-g-difference.json",
    "/of-tomorrow.json",
];

/// What is read says nothing that is not in the text, and what is refused repeats no control character.
fn holds(name: &str, text: &[u8], size: u64) {
    match parse(name, text, size) {
        Ok(sentinel) => {
            let said: Value = serde_json::from_slice(text).unwrap();
            let bytes = said.get("expanded_size_bytes").or_else(|| said.get("UncompressedSize"));
            assert_eq!(bytes.and_then(Value::as_u64), Some(sentinel.bytes));
            assert!(sentinel.bytes > 0);
            let segments = needed(&sentinel, size).unwrap();
            assert_eq!((segments.first(), segments.last()), (Some(&sentinel.first), Some(&sentinel.last)));
            assert!(segments.len() <= 1 << 20 && segments.is_sorted());
            // The commands that name it take it as one word.
            assert_eq!(kit::shell_word(&sentinel.name), sentinel.name);
        }
        Err(why) => {
            assert!(!why.contains(char::is_control) && why.chars().count() < 1_000, "{why:?}");
        }
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (path, text) in &corpus(KIND) {
        holds(NAME, text, SIZE);
        let read = parse(NAME, text, SIZE);
        if WHOLE.iter().any(|whole| path.ends_with(whole)) {
            let last = if path.ends_with("with-spec.json") { "000000010000001600000084" } else { LAST };
            assert_eq!(read.unwrap().last, last, "{path}");
        } else {
            assert!(read.is_err(), "{path}: {read:?}");
        }
    }
    for text in &hostile() {
        holds(NAME, text, SIZE);
        holds(&String::from_utf8_lossy(text), whole("/wal-g-2.json").as_bytes(), SIZE);
        let _ = corrupt_files(text);
    }
}

/// The object is written in one request; a copy of it may end anywhere.
#[test]
fn a_sentinel_that_is_cut_off_is_none() {
    for name in WHOLE {
        let text = whole(name);
        for end in 0..text.trim_end().len() {
            assert!(parse(NAME, &text.as_bytes()[..end], SIZE).is_err(), "{name} to {end}");
        }
    }
}

/// 64 bits of positions are 2^40 segments: a list of their names fills any machine's memory.
#[test]
fn the_end_of_all_positions_is_no_end_of_a_backup() {
    let why = parse(NAME, whole("/end-of-all-positions.json").as_bytes(), SIZE).unwrap_err();
    assert!(why.contains("which no backup does"), "{why}");
    let text = whole("/wal-e.json").replace(LAST, "00000001FFFFFFFF000000FF");
    assert!(parse(NAME, text.as_bytes(), SIZE).unwrap_err().contains("which no backup does"));
}

#[test]
fn a_name_that_a_shell_would_obey_is_none_of_a_backup() {
    let text = whole("/wal-g-2.json");
    for more in ["", "_00000040", "_D_000000010000000000000001"] {
        assert!(parse(&format!("{NAME}{more}"), text.as_bytes(), SIZE).is_ok(), "{more}");
    }
    for more in ["; reboot", "$(reboot)", "'", " x", "\n", "\u{1b}[2J", "é", "-x"] {
        let why = parse(&format!("{NAME}{more}"), text.as_bytes(), SIZE).unwrap_err();
        assert!(why.contains("does not name the segment") && !why.contains(char::is_control), "{why:?}");
    }
}

fn with(text: &str, field: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(text).unwrap();
    document[field] = value;
    document.to_string()
}

/// What no field of a sentinel can be: a text, a part of a number, a list.
fn wrong() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![json!(-1), json!(0.5), json!(1e300), json!(true), json!([]), json!({}), json!([1])]),
        anything().prop_map(Value::from),
        (i64::MIN..0).prop_map(Value::from),
    ]
}

fn listed(at: i64, key: String, bytes: u64) -> Listed {
    let modified = OffsetDateTime::from_unix_timestamp(at).unwrap();
    Listed { etag: format!("\"{at}-{bytes}\""), key, bytes, modified }
}

/// Objects of an archive of the log, in any order.
fn archive() -> impl Strategy<Value = (Vec<Listed>, Vec<Listed>)> {
    let end = select(vec!["", ".lz4", ".lzo", ".zst", ".br", ".partial", ".json", ".00000028.backup.lz4"]);
    let one = (0x82..0x88_u8, end, select(vec![0, 1, u64::MAX]));
    proptest::collection::vec(one, 0..12).prop_flat_map(|all| {
        let objects: Vec<Listed> = all
            .into_iter()
            .map(|(segment, end, bytes)| {
                listed(1, format!("p/wal_005/0000000100000016000000{segment:02X}{end}"), bytes)
            })
            .collect();
        (Just(objects.clone()), Just(objects).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_sentinel_with_mistakes_is_read_or_refused(text in mistaken(seeds(KIND)), size in select(vec![1 << 20, SIZE, 1 << 30])) {
        holds(NAME, text.as_bytes(), size);
        let _ = corrupt_files(text.as_bytes());
    }

    #[test]
    fn a_name_with_mistakes_is_read_or_refused(name in mistaken(vec![format!("p/basebackups_005/{NAME}_backup_stop_sentinel.json")])) {
        let text = whole("/wal-g-2.json");
        if let Some(name) = name_of(&name, "p/") {
            holds(name, text.as_bytes(), SIZE);
        }
    }

    /// Both tools add fields from version to version.
    #[test]
    fn fields_of_tomorrow_change_nothing(which in select(WHOLE.to_vec()), name in "[A-Z][a-zA-Z]{3,12}Tomorrow", value in wrong()) {
        let text = whole(which);
        let today = parse(NAME, text.as_bytes(), SIZE);
        prop_assert_eq!(parse(NAME, with(&text, &name, value).as_bytes(), SIZE), today);
    }

    #[test]
    fn a_field_of_another_type_is_refused(
        field in select(vec!["LSN", "FinishLSN", "Timeline", "SystemIdentifier", "UncompressedSize"]), value in wrong(),
    ) {
        let text = with(&whole("/wal-g-2.json"), field, value);
        let why = parse(NAME, text.as_bytes(), SIZE).unwrap_err();
        prop_assert!(!why.contains(char::is_control), "{:?}", why);
    }

    #[test]
    fn a_field_of_wal_e_of_another_type_is_refused(
        field in select(vec!["wal_segment_backup_stop", "expanded_size_bytes"]), value in wrong(),
    ) {
        let why = parse(NAME, with(&whole("/wal-e.json"), field, value).as_bytes(), SIZE).unwrap_err();
        prop_assert!(!why.contains(char::is_control), "{:?}", why);
    }

    /// A backup needs what was written from its begin to its end, and no more.
    #[test]
    fn the_log_that_is_needed_is_that_from_begin_to_end(start in 1..1_u64 << 48, more in 0..1_u64 << 34) {
        let finish = start + more;
        let text = with(&with(&whole("/wal-g-2.json"), "LSN", start.into()), "FinishLSN", finish.into());
        let name = format!("base_{}", segment::name(1, start / SIZE, SIZE));
        match parse(&name, text.as_bytes(), SIZE) {
            Ok(sentinel) => {
                let segments = needed(&sentinel, SIZE).unwrap();
                // The last byte before the end is in the last of them.
                let last = segment::parse(segments.last().unwrap(), SIZE).unwrap().1;
                prop_assert_eq!(last, (finish - 1) / SIZE);
                prop_assert_eq!(segments.len() as u64, last - start / SIZE + 1);
            }
            // It ends at the very byte where its first segment begins.
            Err(why) => prop_assert!(more == 0 && start % SIZE == 0, "{}", why),
        }
    }

    /// That a file is bad is not overlooked, however a version writes it.
    #[test]
    fn bad_blocks_are_never_overlooked(path in "/[a-z0-9/]{1,20}", blocks in wrong()) {
        let is_none = blocks.as_array().is_some_and(Vec::is_empty);
        let text = json!({"Files": {&path: {"CorruptBlocks": blocks, "IsSkipped": false}}}).to_string();
        let expected = if is_none { Vec::new() } else { vec![path] };
        prop_assert_eq!(corrupt_files(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_so_in_whatever_order_it_is_listed((objects, shuffled) in archive()) {
        let sentinel = parse(NAME, whole("/wal-g-2.json").as_bytes(), SIZE).unwrap();
        let needed = needed(&sentinel, SIZE).unwrap();
        let found = missing(&needed, &objects, "p/wal_005/");
        prop_assert_eq!(&missing(&needed, &shuffled, "p/wal_005/"), &found);
        if found == Ok(Vec::new()) {
            for name in &needed {
                let is = |key: &str| ["", ".lz4", ".lzo", ".zst", ".br"].iter().any(|end| key == format!("p/wal_005/{name}{end}"));
                prop_assert!(objects.iter().any(|object| is(&object.key) && object.bytes > 0));
            }
        }
        let _ = archives(&objects);
    }

    /// One and only one that was not there before.
    #[test]
    fn of_several_new_sentinels_none_is_taken(before in 0..3_usize, new in 0..4_usize) {
        let key = |n: usize| format!("p/basebackups_005/base_00000001000000000000000{n}_backup_stop_sentinel.json");
        let all: Vec<Listed> = (0..before + new).map(|n| listed(1, key(n), 9)).collect();
        let found = fresh(&all[..before], &all);
        prop_assert_eq!(found.map(|object| object.key.clone()).ok(), (new == 1).then(|| key(before)));
    }
}

/// No store has so much; a listing may say it all the same.
#[test]
fn sizes_that_no_store_has_do_not_wrap() {
    let part =
        |n: u8| listed(1, format!("p/basebackups_005/base_1/tar_partitions/part_{n}.tar.lz4"), u64::MAX);
    assert_eq!(archives(&[part(1), part(2)]), Ok((2, u64::MAX)));
}
