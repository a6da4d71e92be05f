//! Inputs recorded in the world, which lie beside the project and are not part of it.

use std::io::Write as _;
use std::path::PathBuf;

/// The folder of recorded inputs: `CUTOVER_INPUTS`, else `../shared/inputs` beside the project. Where there is none a line on
/// standard error says that the caller is skipped, past the test harness, which keeps what a passing test prints to itself.
pub fn recorded(skipped: &str) -> Option<PathBuf> {
    folder("CUTOVER_INPUTS", "inputs", skipped)
}

/// The folder of recorded change sets, likewise: `CUTOVER_CHANGESETS`, else `../shared/changesets`.
pub fn change_sets(skipped: &str) -> Option<PathBuf> {
    folder("CUTOVER_CHANGESETS", "changesets", skipped)
}

/// Where recorded inputs are looked for, whether or not there are any.
pub fn place() -> PathBuf {
    place_of("CUTOVER_INPUTS", "inputs")
}

fn place_of(variable: &str, name: &str) -> PathBuf {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(name);
    std::env::var_os(variable).map_or_else(beside, PathBuf::from)
}

fn folder(variable: &str, name: &str, skipped: &str) -> Option<PathBuf> {
    let folder = place_of(variable, name);
    if folder.is_dir() {
        return Some(folder);
    }
    self::skipped(&format!("{skipped}: there are no recorded {name} in {}", folder.display()));
    None
}

/// Says on standard error what is skipped and why, past the test harness.
pub fn skipped(what: &str) {
    // Where nobody reads, nobody is told.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}
