//! The transcripts in `docs/transcripts`, which stand in the steps' pages: each is run again here, and compared.
//!
//! A transcript's commands are those of its file: change them there, and `make transcripts` writes what they print now.

mod aws;
mod data;
mod github;
mod servers;
mod stacks;
mod terminal;

use std::collections::BTreeSet;

use self::terminal::{Terminal, folder};
use crate::world::run_bare;

#[tokio::test]
async fn every_step_has_a_transcript_and_every_transcript_a_step() {
    let list = run_bare(&["--list".to_owned()]).await.expect(0).stdout;
    let steps: BTreeSet<String> = list.lines().map(str::to_owned).collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, steps.iter().map(|step| format!("{step}.txt")).collect());
}
