//! The receipts below folders, and what else lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kit::{Failure, Receipt};
use serde_json::Value;

use crate::expect::is_step;

/// More files than a release's artefacts have: somebody named the wrong folder.
const FILES: usize = 20_000;

/// No receipt comes near it: bulk steps keep their lists in files beside it.
const BYTES: u64 = 64 * 1024 * 1024;

/// What a receipt has near its beginning.
const MARK: &str = "\"cutover-receipt/";

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By path, in its order.
    pub(crate) receipts: Vec<Lying>,
    /// Files in folders that are no receipts.
    pub(crate) passed_over: Vec<PathBuf>,
    /// Folders that are not there.
    pub(crate) absent: Vec<PathBuf>,
}

/// A receipt and where it lies.
#[derive(Debug)]
pub(crate) struct Lying {
    pub(crate) path: PathBuf,
    pub(crate) receipt: Receipt,
    /// Files that `--undo` needs beside it and that are not there.
    pub(crate) lacks: Vec<String>,
}

pub(crate) fn observe(places: &[PathBuf], allow_none: bool) -> Result<Found, Failure> {
    let mut found = Found::default();
    // The same file may be named twice, as itself and by its folder.
    let mut files: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for place in places {
        match fs::metadata(place) {
            Ok(meta) if meta.is_dir() => walk(place, &mut files)?,
            Ok(meta) if meta.is_file() => {
                files.insert(place.clone(), true);
            }
            Ok(_) => return Err(unreadable(place).because("it is neither a file nor a folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && allow_none => {
                found.absent.push(place.clone());
            }
            Err(error) => {
                return Err(unreadable(place).because(error).help(
                    "--receipts names a folder of receipts, or one; --allow-none if there may be none",
                ));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (path, by_name) in files {
        if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue;
        }
        match receipt(&path, by_name)? {
            Some(receipt) if receipt.step == crate::STEP.name => found.passed_over.push(path),
            Some(receipt) => {
                let lacks = lacks(&path, &receipt);
                found.receipts.push(Lying { path, receipt, lacks });
            }
            None => found.passed_over.push(path),
        }
    }
    if found.receipts.is_empty() && !allow_none {
        let names = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        let others = match found.passed_over.len() {
            0 => String::new(),
            1 => " (1 other file is there)".to_owned(),
            n => format!(" ({n} other files are there)"),
        };
        return Err(Failure::usage(format!("find receipts in {names}"))
            .because(format!("there is none{others}"))
            .help(
                "download the artefacts that the jobs left, or give --allow-none where there may be none",
            ));
    }
    Ok(found)
}

fn unreadable(path: &Path) -> Failure {
    Failure::usage(format!("read {}", path.display()))
}

/// Every regular file below a folder. Links to folders are not followed: they may lead back up.
fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, bool>) -> Result<(), Failure> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder).because(error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder).because(error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| unreadable(&path).because(error))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() || fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
                files.entry(path).or_insert(false);
            }
            if files.len() > FILES {
                return Err(Failure::usage(format!("search {}", folder.display()))
                    .because(format!("there are more than {FILES} files"))
                    .help("name the folder of the receipts"));
            }
        }
    }
    Ok(())
}

/// The receipt in a file, or none where it is no receipt. One that was meant to be a receipt and can't be read is an error.
fn receipt(path: &Path, by_name: bool) -> Result<Option<Receipt>, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !by_name && name.starts_with(".receipt-") && name.ends_with(".tmp") {
        // What a run that was killed while it wrote left beside the whole receipt.
        return Ok(None);
    }
    let shown = path.display();
    let failed = || Failure::usage(format!("read the receipt {shown}"));
    let mut file = File::open(path).map_err(|error| failed().because(error))?;
    let mut text = Vec::new();
    file.by_ref().take(1024).read_to_end(&mut text).map_err(|error| failed().because(error))?;
    let marked = String::from_utf8_lossy(&text).contains(MARK);
    if !by_name && !marked && !name.ends_with(".json") {
        return Ok(None);
    }
    file.take(BYTES).read_to_end(&mut text).map_err(|error| failed().because(error))?;
    if text.len() as u64 >= BYTES {
        return Err(failed().because("it is larger than 64 MiB, and no receipt is"));
    }
    let text = String::from_utf8(text).map_err(|error| failed().because(error))?;
    if !by_name && !marked {
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            failed()
                .because(error)
                .help("the file was cut off, or is no receipt: then move it, or name the receipts one by one")
        })?;
        let is_meant = value
            .get("schema")
            .and_then(Value::as_str)
            .is_some_and(|schema| schema.starts_with(MARK.trim_start_matches('"')));
        if !is_meant {
            return Ok(None);
        }
    }
    let receipt = Receipt::parse(&text, &shown)?;
    if !is_step(&receipt.step) {
        return Err(failed().because("no step is called as it says"));
    }
    if path.to_str().is_none_or(|path| kit::one_line(path) != path) {
        return Err(failed()
            .because("its path has characters that no report could show, nor a command to copy name")
            .help("rename it"));
    }
    Ok(Some(receipt))
}

/// `docs/receipts.md`: what a bulk step did stands in two files beside the receipt.
fn lacks(path: &Path, receipt: &Receipt) -> Vec<String> {
    let mut lacks: Vec<String> = receipt
        .undoable()
        .into_iter()
        .filter_map(|action| action.inverse.get("files")?.as_str())
        .flat_map(|name| ["listed", "written"].map(|part| format!("{name}.{part}.jsonl")))
        .filter(|name| !name.contains('/') && !path.with_file_name(name).is_file())
        .collect();
    lacks.sort();
    lacks.dedup();
    lacks
}
