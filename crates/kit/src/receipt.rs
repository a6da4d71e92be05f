//! Receipts: what a run saw, did and can take back, on disk before each call is made.
//!
//! The format is public: `docs/receipts.md`.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset};

use crate::files::{create_folder, hand_over};
use crate::secret::redact_json;
use crate::{Cause, Failure};

/// The version of the format that this code writes, and the only one it reads.
const SCHEMA: &str = "cutover-receipt/1";

/// The document that one run of a step leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// [`SCHEMA`].
    pub schema: String,
    /// The step's name.
    pub step: String,
    /// The version that wrote it, with the commit where the build knew it.
    pub version: String,
    /// Unique to the run.
    pub run: String,
    /// The arguments as given, wherever they came from, without those that belong to one run only.
    pub arguments: Map<String, Value>,
    /// The AWS account, once known.
    pub account: Option<String>,
    /// The AWS region, once known.
    pub region: Option<String>,
    /// The workflow run, inside a GitHub job: repository, run id, attempt, commit.
    pub github: Option<BTreeMap<String, String>>,
    /// When the run started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it ended; absent when it was killed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
    /// What was observed before planning.
    pub observed: Value,
    /// The plan as it was shown.
    pub plan: Value,
    /// The planned changes, those of earlier runs that this receipt continues first.
    pub actions: Vec<ActionRecord>,
    /// The step's outputs.
    pub outputs: BTreeMap<String, String>,
    /// How it ended; absent when it was killed.
    pub verdict: Option<Verdict>,
    /// The run that this one took back.
    pub undo_of: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The process exit code.
    pub code: u8,
    /// One line.
    pub message: String,
    /// Why it failed, outermost first; absent in receipts of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The next moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub help: Vec<String>,
    /// What state was left, beyond what the actions tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
}

/// One action of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// The action's id in the plan.
    pub id: String,
    /// The run that did it.
    pub run: String,
    /// What it does.
    pub does: String,
    /// How it is taken back, in words.
    pub undo: String,
    /// Whether it can be taken back.
    pub reversible: bool,
    /// How far it got.
    pub state: ActionState,
    /// What the step needs to take it back, written before the call was made.
    pub inverse: Value,
    /// What the call answered, as far as it matters.
    pub result: Value,
}

/// How far an action got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// Not yet tried, or surely without effect.
    Planned,
    /// The call was about to be made: whether it took effect has to be looked up.
    Started,
    /// The call was made and answered.
    Done,
    /// Taken back.
    Undone,
}

impl Receipt {
    /// The receipt of a run that has done nothing yet.
    pub(crate) fn new(step: &str, version: &str, run: String, started: OffsetDateTime) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            step: step.to_owned(),
            version: version.to_owned(),
            run,
            arguments: Map::new(),
            account: None,
            region: None,
            github: None,
            started,
            ended: None,
            observed: Value::Null,
            plan: Value::Null,
            actions: Vec::new(),
            outputs: BTreeMap::new(),
            verdict: None,
            undo_of: None,
        }
    }

    /// Reads a receipt that a step wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        // A device such as /dev/full or /dev/zero never ends.
        let endless = fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device());
        let text = if endless { Err(io::Error::other("it is a device")) } else { fs::read_to_string(path) };
        let text = text.map_err(|error| {
            Failure::usage(format!("read the receipt {name}"))
                .because(error)
                .help("--undo takes the file that --receipt named in the run to take back")
        })?;
        Self::parse(&text, &name)
    }

    /// Reads the text of the receipt that lies at `name`.
    ///
    /// # Errors
    /// A usage error: the text is no receipt, or one that this version does not read.
    pub fn parse(text: &str, name: &impl std::fmt::Display) -> Result<Self, Failure> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!("read the receipt {name}"))
                .because(error)
                .help("the file is not a receipt, or was cut off")
        })?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or("none");
        if schema != SCHEMA {
            return Err(Failure::usage(format!("read the receipt {name}"))
                .because(format!("its schema is {schema}, this version reads {SCHEMA}"))
                .help("use the version of the step that wrote it"));
        }
        let unread = |cause: Cause| {
            Failure::usage(format!("read the receipt {name}"))
                .because(cause)
                .help("the file was cut off or edited; give it as the step wrote it")
        };
        let receipt: Self = serde_json::from_value(value).map_err(|error| unread(error.into()))?;
        // In the first and last hours of the calendar, with an offset: in UTC they are no dates.
        let times = [Some(receipt.started), receipt.ended];
        if times.into_iter().flatten().any(|time| time.checked_to_offset(UtcOffset::UTC).is_none()) {
            return Err(unread("its times are beyond the calendar".into()));
        }
        Ok(receipt)
    }

    /// The actions to take back, last first: those done, and those started, of which the step looks whether they took
    /// effect.
    pub fn undoable(&self) -> Vec<&ActionRecord> {
        let took = |action: &&ActionRecord| matches!(action.state, ActionState::Started | ActionState::Done);
        self.actions.iter().rev().filter(took).collect()
    }

    /// Refuses a receipt with something to take back that is not `known` to the step: to pass over it would say that nothing of that
    /// run is left.
    ///
    /// # Errors
    /// A usage error that names the first such action.
    pub fn understood(&self, known: impl Fn(&ActionRecord) -> bool) -> Result<(), Failure> {
        match self.undoable().into_iter().find(|action| action.reversible && !known(action)) {
            None => Ok(()),
            Some(action) => Err(unreadable(&action.id).because("this version does not know what it says")),
        }
    }

    /// [`Receipt::undoable`] with the inverses, read as the step that undoes keeps them.
    ///
    /// # Errors
    /// A usage error: an inverse is none of this step, or of this version of it.
    pub fn inverses<T: DeserializeOwned>(&self) -> Result<Vec<(ActionRecord, T)>, Failure> {
        let read = |action: &ActionRecord| {
            let inverse =
                T::deserialize(&action.inverse).map_err(|error| unreadable(&action.id).because(error))?;
            Ok((action.clone(), inverse))
        };
        self.undoable().into_iter().map(read).collect()
    }
}

fn unreadable(id: &str) -> Failure {
    Failure::usage(format!("read how to take back what the receipt has as {id}"))
        .help("undo with the version that wrote the receipt; one that was edited can't be used")
}

/// Temporary file, fsync, rename, fsync of the folder: at every instant the file is a whole receipt.
pub(crate) fn save(path: &Path, receipt: &Receipt) -> io::Result<()> {
    let value = redact_json(serde_json::to_value(receipt)?);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    // In a container action root writes it and the runner's own user uploads it: no secret is in it, so the umask decides who
    // reads it, where a temporary file would be root's alone.
    let mut file = tempfile::Builder::new()
        .prefix(".receipt-")
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(format!("{value:#}\n").as_bytes())?;
    hand_over(file.path())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_can_be_read_by_whom_the_umask_lets() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, path) = (dir.path().join("plain"), dir.path().join("r.json"));
        fs::write(&plain, "").unwrap();
        save(&path, &Receipt::new("x", "0", "1".to_owned(), OffsetDateTime::UNIX_EPOCH)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
