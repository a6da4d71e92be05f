//! The two files beside a receipt, which are copied with it from machine to machine: what they say is read as it was written, and a
//! part of them is not taken for all.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use testkit::foreign::{anything, config, hostile, mistaken};

use super::item::{Done, Item, Line, Work};
use super::manifest::{Files, Lines};

fn line() -> impl Strategy<Value = Line> {
    let item = (anything(), any::<u64>(), anything(), any::<i64>(), anything())
        .prop_map(|(key, bytes, etag, modified, class)| Item { key, bytes, etag, modified, class });
    let work = select(vec![Work::Keep, Work::Copy, Work::Replace]);
    (item, work, option::of(anything()), option::of(anything()))
        .prop_map(|(item, work, there, sha256)| Line { item, work, there, sha256 })
}

fn done() -> impl Strategy<Value = Done> {
    (anything(), any::<u64>(), anything(), option::of(anything()), option::of(anything()))
        .prop_map(|(key, bytes, etag, version, sha256)| Done { key, bytes, etag, version, sha256 })
}

fn text<T: Serialize>(all: &[T]) -> Vec<u8> {
    all.iter().flat_map(|one| [serde_json::to_vec(one).unwrap(), b"\n".to_vec()].concat()).collect()
}

/// Both files with this text in them.
fn files(text: &[u8]) -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::beside(&folder.path().join("r.json"), "r-1");
    std::fs::write(&files.listed, text).unwrap();
    std::fs::write(&files.written, text).unwrap();
    (folder, files)
}

/// All lines, each with its place; a failure names the file.
fn read<T: DeserializeOwned>(mut lines: Lines<T>) -> Result<Vec<(u64, T)>, String> {
    let mut all = Vec::new();
    loop {
        match lines.next() {
            Ok(Some(line)) => all.push(line),
            Ok(None) => return Ok(all),
            Err(failure) => {
                assert_eq!(failure.code(), kit::Code::Usage);
                let told = failure.to_string();
                assert!(
                    told.contains(&format!("line {} of", all.len() + 1)) && told.contains("r-1."),
                    "{told}"
                );
                return Err(format!("{told}: {:?}", failure.chain()));
            }
        }
    }
}

fn values<T>(read: Vec<(u64, T)>) -> Vec<T> {
    read.into_iter().map(|(_, value)| value).collect()
}

#[test]
fn hostile_texts_are_read_or_refused() {
    for text in &hostile() {
        let (_folder, files) = files(text);
        let _ = (read(files.read_listed().unwrap()), read(files.read_written().unwrap()));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lines_are_read_as_they_were_written(lines in vec(line(), 0..6), dones in vec(done(), 0..6)) {
        let (_folder, listed) = files(&text(&lines));
        let found = read(listed.read_listed().unwrap()).unwrap();
        // Each begins where it is said to.
        let whole = text(&lines);
        for (at, line) in &found {
            let rest = &whole[usize::try_from(*at).unwrap()..];
            prop_assert!(rest.starts_with(&serde_json::to_vec(line).unwrap()));
        }
        prop_assert_eq!(values(found), lines);
        let (_folder, written) = files(&text(&dones));
        prop_assert_eq!(values(read(written.read_written().unwrap()).unwrap()), dones);
    }

    /// The list was whole before the first copy. What was written is noted as it happens: its last line may be a part of one.
    #[test]
    fn a_list_that_is_cut_off_is_none(lines in vec(line(), 1..5), dones in vec(done(), 1..5), at in any::<Index>()) {
        let whole = text(&lines);
        let end = at.index(whole.len());
        let (_folder, listed) = files(&whole[..end]);
        let kept = whole[..end].split(|byte| *byte == b'\n').count() - 1;
        match read(listed.read_listed().unwrap()) {
            Ok(found) => {
                prop_assert!(end == 0 || whole[end - 1] == b'\n');
                prop_assert_eq!(values(found), &lines[..kept]);
            }
            Err(told) => prop_assert!(told.contains("cut off"), "{}", told),
        }
        let whole = text(&dones);
        let end = at.index(whole.len());
        let kept = whole[..end].split(|byte| *byte == b'\n').count() - 1;
        let (_folder, written) = files(&whole[..end]);
        prop_assert_eq!(values(read(written.read_written().unwrap()).unwrap()), &dones[..kept]);
    }

    /// No line is passed over: an object that is not in the list would stay, and the others be said to be all.
    #[test]
    fn lines_with_mistakes_are_read_or_refused(text in mistaken(vec![String::from_utf8(text(&[
        Done { key: "a/b".into(), bytes: 7, etag: "\"e\"".into(), version: Some("v".into()), sha256: None },
        Done { key: "ä ".into(), bytes: 0, etag: String::new(), version: None, sha256: Some("00".into()) },
    ])).unwrap()])) {
        let ends = text.matches('\n').count();
        let (_folder, files) = files(text.as_bytes());
        if let Ok(found) = read(files.read_written().unwrap()) {
            prop_assert_eq!(found.len(), ends);
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused(number in select(vec!["-1", "18446744073709551616", "1.5", "\"7\"", "null"])) {
        let text = format!("{{\"key\":\"a\",\"bytes\":{number},\"etag\":\"e\"}}\n");
        let (_folder, files) = files(text.as_bytes());
        prop_assert!(read(files.read_written().unwrap()).is_err());
    }
}
