//! The two files that a tree leaves beside its receipt: what was listed, and what was written. While the run goes on, the
//! first is also its memory: of each object only a few bytes are kept.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kit::{Cx, Failure};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use super::item::{Done, Line};

/// One JSON document a line.
const LISTED: &str = "listed.jsonl";
const WRITTEN: &str = "written.jsonl";

fn failed(what: &str, path: &Path, error: io::Error) -> Failure {
    Failure::failed(format!("{what} {}", path.display()))
        .because(error)
        .help("make room, or name another place: TMPDIR, --receipt")
        .untouched(true)
}

/// The list of what is to be copied while it is made: a temporary file that goes away with the run.
#[derive(Debug)]
pub(crate) struct Listing {
    file: BufWriter<NamedTempFile>,
    at: u64,
}

impl Listing {
    pub(crate) fn new() -> Result<Self, Failure> {
        let file = tempfile::Builder::new()
            .prefix("copy-objects-")
            .tempfile()
            .map_err(|error| failed("write a temporary file in", &std::env::temp_dir(), error))?;
        Ok(Self { file: BufWriter::new(file), at: 0 })
    }

    /// Adds a line and says where it begins.
    pub(crate) fn add(&mut self, line: &Line) -> Result<u64, Failure> {
        let write = |error: io::Error| failed("write the list to", &std::env::temp_dir(), error);
        let mut text = serde_json::to_vec(line).map_err(|error| write(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(write)?;
        let began = self.at;
        self.at += text.len() as u64;
        Ok(began)
    }

    pub(crate) fn finish(self) -> Result<Listed, Failure> {
        let write = |error: io::Error| failed("write the list to", &std::env::temp_dir(), error);
        let file = self.file.into_inner().map_err(|error| write(error.into_error()))?;
        Ok(Listed { file })
    }
}

/// The finished list.
#[derive(Debug)]
pub(crate) struct Listed {
    file: NamedTempFile,
}

impl Listed {
    pub(crate) fn lines(&self) -> Result<Lines<Line>, Failure> {
        Lines::open(self.file.path())
    }

    /// The lines that begin at these places, in whatever order they are asked for.
    pub(crate) fn places(&self) -> Result<Places, Failure> {
        let path = self.file.path().to_owned();
        let file = File::open(&path).map_err(|error| failed("read", &path, error))?;
        Ok(Places { file: BufReader::new(file), path })
    }

    /// Puts the list beside the receipt, on disk, and begins the file of what is written.
    pub(crate) fn keep(&self, files: &Files) -> Result<Written, Failure> {
        let write = |error: io::Error| failed("write", &files.listed, error);
        if let Some(folder) = files.listed.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            kit::create_folder(folder).map_err(write)?;
        }
        fs::copy(self.file.path(), &files.listed).map_err(write)?;
        File::open(&files.listed).and_then(|file| file.sync_all()).map_err(write)?;
        kit::hand_over(&files.listed).map_err(write)?;
        let file = File::create(&files.written)
            .and_then(|file| kit::hand_over(&files.written).map(|()| file))
            .map_err(|error| failed("write", &files.written, error))?;
        Ok(Written { file: BufWriter::new(file), path: files.written.clone() })
    }
}

/// Reads lines here and there.
#[derive(Debug)]
pub(crate) struct Places {
    file: BufReader<File>,
    path: PathBuf,
}

impl Places {
    pub(crate) fn at(&mut self, place: u64) -> Result<Line, Failure> {
        let mut text = String::new();
        let here = self.file.stream_position().map_err(|error| failed("read", &self.path, error))?;
        // Most often the next line, which is in the buffer.
        let step = i64::try_from(place).unwrap_or(i64::MAX) - i64::try_from(here).unwrap_or(0);
        self.file
            .seek_relative(step)
            .or_else(|_| self.file.seek(SeekFrom::Start(place)).map(|_| ()))
            .and_then(|()| self.file.read_line(&mut text))
            .map_err(|error| failed("read", &self.path, error))?;
        serde_json::from_str(&text).map_err(|error| failed("read", &self.path, error.into()))
    }
}

/// What was written, line by line as it happens.
#[derive(Debug)]
pub(crate) struct Written {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Written {
    /// A line is with the system when this returns: it outlives the process, and `--undo` looks for what the disk lost.
    pub(crate) fn add(&mut self, done: &Done) -> Result<(), Failure> {
        let write = |error: io::Error| failed("write", &self.path, error).untouched(false);
        let mut text = serde_json::to_vec(done).map_err(|error| write(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).and_then(|()| self.file.flush()).map_err(write)
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|error| failed("write", &self.path, error).untouched(false))
    }
}

/// Where both files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) listed: PathBuf,
    pub(crate) written: PathBuf,
}

impl Files {
    /// Beside the receipt, told from those of other runs that the receipt continues.
    pub(crate) fn of_run(cx: &Cx) -> (Self, String) {
        let receipt = cx.receipt_path();
        let stem = receipt.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let run = cx.run_id();
        let short = run.split('-').next().unwrap_or(&run);
        let name = if stem.ends_with(short) { stem } else { format!("{stem}-{short}") };
        (Self::beside(&receipt, &name), name)
    }

    /// The files of that name beside a receipt.
    pub(crate) fn beside(receipt: &Path, name: &str) -> Self {
        Self {
            listed: receipt.with_file_name(format!("{name}.{LISTED}")),
            written: receipt.with_file_name(format!("{name}.{WRITTEN}")),
        }
    }

    /// It was on disk before the first copy: an end without a line break is not its own.
    pub(crate) fn read_listed(&self) -> Result<Lines<Line>, Failure> {
        Ok(Lines { is_whole: true, ..Lines::open(&self.listed)? })
    }

    pub(crate) fn read_written(&self) -> Result<Lines<Done>, Failure> {
        Lines::open(&self.written)
    }
}

/// The lines of one of the files.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    file: BufReader<File>,
    path: PathBuf,
    number: u64,
    at: u64,
    /// Whether it has an end of its own, and a last line that was cut off is a mistake.
    is_whole: bool,
    is: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| {
            Failure::usage(format!("read {}", path.display()))
                .because(error)
                .help("it belongs to the receipt and has to lie beside it")
        })?;
        Ok(Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            number: 0,
            at: 0,
            is_whole: false,
            is: std::marker::PhantomData,
        })
    }

    /// The next line and where it begins.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, T)>, Failure> {
        self.number += 1;
        // In bytes: what was cut off may end within a character.
        let mut text = Vec::new();
        let failed = |cause: kit::Cause, number: u64| {
            Failure::usage(format!("read line {number} of {}", self.path.display()))
                .because(cause)
                .help("the file is not one of this step's, or was changed")
        };
        let length =
            self.file.read_until(b'\n', &mut text).map_err(|error| failed(error.into(), self.number))?;
        if length > 0 && text.last() != Some(&b'\n') && self.is_whole {
            return Err(failed("the file was cut off".into(), self.number));
        }
        // The last line of a run that was killed can be cut off.
        if text.last() != Some(&b'\n') {
            return Ok(None);
        }
        let began = self.at;
        self.at += length as u64;
        let value = serde_json::from_slice(&text).map_err(|error| failed(error.into(), self.number))?;
        Ok(Some((began, value)))
    }
}
