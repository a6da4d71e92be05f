//! What all end-to-end tests together have shown, judged when they are through: `make test` gives them a folder
//! (`CUTOVER_RECORD_DIR`) in which they leave what was called and printed, and cargo runs this executable after theirs.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod actions;
mod permissions;
mod reference;
mod secrets;

use std::path::PathBuf;

/// The texts of the files whose name begins so. `None`, said aloud, where nothing was recorded.
fn recorded(kind: &str) -> Option<Vec<String>> {
    let Some(folder) = std::env::var_os("CUTOVER_RECORD_DIR").map(PathBuf::from) else {
        testkit::inputs::skipped(
            "what all tests recorded: CUTOVER_RECORD_DIR names no folder; make test does",
        );
        return None;
    };
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut texts = Vec::new();
    for file in files.map(|file| file.unwrap().path()) {
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)) {
            texts.push(String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned());
        }
    }
    if texts.is_empty() {
        testkit::inputs::skipped("what all tests recorded: no end-to-end test has left a record");
        return None;
    }
    Some(texts)
}
