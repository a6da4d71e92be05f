//! Receipts: what a run saw, did and can take back, on disk before each call is made.
//!
//! The format is public: `docs/receipts.md`.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset};

use crate::files::{create_folder, hand_over};
use crate::plan::{Shown, Undo};
use crate::secret::redact_json;
use crate::{Cause, Code, Failure};

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

/// A receipt and the place where it is kept.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) receipt: Receipt,
    /// The AWS account and region of what is continued, if it worked in one.
    pub(crate) place: Option<(String, String)>,
    /// Whether what is continued came to its end, and in no workflow run that this one is of too.
    pub(crate) ended: bool,
    /// What is continued, where there is something of it to be taken back.
    earlier: Option<Receipt>,
    /// Whether the file holds something of this run.
    written: bool,
}

impl Journal {
    /// A new receipt at `path`. One of an earlier run of the same step there is continued: what it did stays in the
    /// list, so that undoing takes all of it back. Anything else at that place is left alone and refused, and so is a run that came to
    /// its end and was another one: to undo both would lead behind what this one began with.
    pub(crate) fn open(path: PathBuf, mut receipt: Receipt) -> Result<Self, Failure> {
        let (mut place, mut ended, mut continued) = (None, false, None);
        if path.exists() {
            let earlier = Receipt::read(&path).map_err(|failure| {
                Failure::usage(format!("write the receipt {}", path.display()))
                    .because(format!("there is a file which is no receipt ({})", failure.chain().join(": ")))
                    .help("name another file with --receipt")
            })?;
            if earlier.step != receipt.step {
                return Err(Failure::usage(format!("write the receipt {}", path.display()))
                    .because(format!("there is a receipt of {} at that place", earlier.step))
                    .help("give each step its own file with --receipt"));
            }
            if !earlier.undoable().is_empty() {
                let verdict = earlier.verdict.as_ref().map(|verdict| verdict.code);
                if verdict == Some(Code::Done.number()) {
                    if let Some(other) = differs(&earlier, &receipt) {
                        return Err(another(&path, other));
                    }
                    ended = job(&receipt).is_none();
                }
                place = earlier.account.clone().zip(earlier.region.clone());
                continued = Some(earlier.clone());
            }
            receipt.actions =
                earlier.actions.into_iter().filter(|a| a.state != ActionState::Planned).collect();
        }
        Ok(Self { path, receipt, place, ended, earlier: continued, written: false })
    }

    /// At a place of its own, which is not looked at.
    pub(crate) fn new(path: PathBuf, receipt: Receipt) -> Self {
        Self { path, receipt, place: None, ended: false, earlier: None, written: false }
    }

    /// Puts the receipt of the earlier run back as it was, if this one failed before a call of its own may have had an effect, and
    /// says whether it is to stay: with this run's account, arguments and verdict in it, the next run would take it for one of its
    /// own, and `--undo` would look elsewhere.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn stays(&mut self) -> Result<bool, Failure> {
        let Some(earlier) = &self.earlier else { return Ok(false) };
        if self.own().any(|action| action.state != ActionState::Planned) {
            return Ok(false);
        }
        if self.written {
            save(&self.path, earlier).map_err(|error| self.unwritten(error))?;
            self.written = false;
        }
        Ok(true)
    }

    /// Refuses to go on with a receipt of another place, now that this run's is known, and with one of a run that came to its end where
    /// there is something to do again.
    ///
    /// # Errors
    /// A usage error: what is continued was done in another AWS account or region, or is over.
    pub(crate) fn continues(&self, shown: &Shown) -> Result<(), Failure> {
        if self.ended && !shown.actions.is_empty() {
            return Err(another(&self.path, "that came to its end, and this one has something to do"));
        }
        let Some((account, region)) = &self.place else { return Ok(()) };
        let known = |ours: &Option<String>, theirs: &String| ours.as_ref().is_none_or(|ours| ours == theirs);
        if known(&self.receipt.account, account) && known(&self.receipt.region, region) {
            return Ok(());
        }
        Err(another(&self.path, &format!("in account {account}, region {region}")))
    }

    pub(crate) fn plan(&mut self, shown: &Shown) {
        self.receipt.plan = shown.plan.clone();
        let run = self.receipt.run.clone();
        self.receipt.actions.retain(|action| !(action.run == run && action.state == ActionState::Planned));
        self.receipt.actions.extend(shown.actions.iter().map(|action| {
            let (undo, reversible) = match &action.undo {
                Undo::By(undo) => (undo.clone(), true),
                Undo::Impossible(why) => (why.clone(), false),
            };
            ActionRecord {
                id: action.id.clone(),
                run: run.clone(),
                does: action.does.clone(),
                undo,
                reversible,
                state: ActionState::Planned,
                inverse: Value::Null,
                result: Value::Null,
            }
        }));
    }

    pub(crate) fn action(&mut self, id: &str) -> Option<&mut ActionRecord> {
        let run = &self.receipt.run;
        self.receipt.actions.iter_mut().find(|action| action.id == id && action.run == *run)
    }

    /// The actions of this very run.
    pub(crate) fn own(&self) -> impl Iterator<Item = &ActionRecord> {
        self.receipt.actions.iter().filter(|action| action.run == self.receipt.run)
    }

    /// Temporary file, fsync, rename, fsync of the folder: at every instant the file is a whole receipt.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        save(&self.path, &self.receipt).map_err(|error| self.unwritten(error))?;
        self.written = true;
        Ok(())
    }

    /// The list of planned actions on disk. Over the receipt of an earlier run it is written with the first action that begins, and not
    /// before: a run that is killed in between has not touched it.
    pub(crate) fn save_plan(&mut self) -> Result<(), Failure> {
        if self.earlier.is_some() { Ok(()) } else { self.save() }
    }

    fn unwritten(&self, error: io::Error) -> Failure {
        Failure::failed(format!("write the receipt {}", self.path.display()))
            .because(error)
            .help(
                "a step makes no change that it can't record: make room or name another place with --receipt",
            )
            .untouched(true)
    }
}

/// What tells a run that came to its end from this one, if anything does. One that did not is gone on with, by whatever arguments help it.
fn differs(earlier: &Receipt, ours: &Receipt) -> Option<&'static str> {
    let arguments = |of: &Receipt| redact_json(of.arguments.clone().into());
    if earlier.undo_of != ours.undo_of {
        Some("that took something else back, or that took nothing back")
    } else if arguments(earlier) != arguments(ours) {
        Some("with other arguments")
    } else if job(earlier) != job(ours) {
        Some("in another workflow run")
    } else {
        None
    }
}

/// The workflow run.
fn job(of: &Receipt) -> Option<&String> {
    of.github.as_ref()?.get("GITHUB_RUN_ID")
}

fn another(path: &Path, how: &str) -> Failure {
    Failure::usage(format!("write the receipt {}", path.display()))
        .because(format!(
            "there is the receipt of a run {how}; with both in one, --undo would take both back"
        ))
        .help("name another file with --receipt; that one is needed to undo that run")
}

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

/// What state a failed run left: the code that fits it, whether anything was or may have been changed, and the lines
/// for the end of the error message.
pub(crate) fn residue<'a>(
    own: impl Iterator<Item = &'a ActionRecord>,
    code: Code,
    path: &Path,
) -> (Code, bool, Vec<String>) {
    let actions: Vec<&ActionRecord> = own.collect();
    let of =
        |state: ActionState| actions.iter().filter(move |action| action.state == state).collect::<Vec<_>>();
    let (done, started, undone) = (of(ActionState::Done), of(ActionState::Started), of(ActionState::Undone));
    if done.is_empty() && started.is_empty() {
        let line = if undone.is_empty() {
            "nothing was changed"
        } else {
            "nothing was changed: what this run did is taken back"
        };
        return (code, false, vec![line.to_owned()]);
    }
    let mut lines = Vec::new();
    lines.extend(done.iter().map(|action| format!("done: {}", action.does)));
    lines.extend(
        started
            .iter()
            .map(|action| format!("in doubt: {} (started; running again looks first)", action.does)),
    );
    lines.extend(of(ActionState::Planned).iter().map(|action| format!("not done: {}", action.does)));
    lines.push(format!("receipt: {}", path.display()));
    let code = match code {
        Code::Failed | Code::Refused | Code::Usage => Code::Partial,
        other => other,
    };
    (code, true, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(step: &str, run: &str) -> Receipt {
        Receipt::new(step, "0", run.to_owned(), OffsetDateTime::UNIX_EPOCH)
    }

    fn record(id: &str, run: &str, state: ActionState) -> ActionRecord {
        ActionRecord {
            id: id.into(),
            run: run.into(),
            does: format!("do {id}"),
            undo: "undo".into(),
            reversible: true,
            state,
            inverse: Value::Null,
            result: Value::Null,
        }
    }

    #[test]
    fn a_second_run_continues_the_receipt_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let mut first = blank("x", "1");
        first.actions = vec![
            record("a", "1", ActionState::Done),
            record("b", "1", ActionState::Started),
            record("c", "1", ActionState::Planned),
        ];
        save(&path, &first).unwrap();
        let journal = Journal::open(path.clone(), blank("x", "2")).unwrap();
        let kept: Vec<&str> = journal.receipt.actions.iter().map(|a| a.id.as_str()).collect();
        assert_eq!(kept, ["a", "b"]);
        let undo: Vec<&str> = journal.receipt.undoable().iter().map(|a| a.id.as_str()).collect();
        assert_eq!(undo, ["b", "a"]);
        let other = Journal::open(path, blank("y", "3")).unwrap_err();
        assert_eq!(other.code(), Code::Usage);
    }

    #[test]
    fn a_run_that_came_to_its_end_is_not_gone_on_with_by_another_release() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let of = |release: &str, job: &str| Receipt {
            arguments: Map::from_iter([("release".to_owned(), release.into())]),
            github: Some(BTreeMap::from([("GITHUB_RUN_ID".to_owned(), job.to_owned())])),
            ..blank("x", "now")
        };
        let leave = |code: Option<u8>, state: ActionState| {
            let verdict =
                Verdict { code: 0, message: String::new(), causes: vec![], help: vec![], state: vec![] };
            let mut earlier = of("v1", "7");
            earlier.verdict = code.map(|code| Verdict { code, ..verdict });
            earlier.actions = vec![record("a", "1", state)];
            (earlier.account, earlier.region) = (Some("111".into()), Some("us-east-1".into()));
            save(&path, &earlier).unwrap();
        };
        let open = |release: &str, job: &str| Journal::open(path.clone(), of(release, job));
        leave(Some(0), ActionState::Done);
        let why = |refused: Failure| {
            assert_eq!(refused.code(), Code::Usage);
            refused.chain().join(": ")
        };
        assert!(why(open("v2", "7").unwrap_err()).contains("with other arguments"));
        assert!(why(open("v1", "8").unwrap_err()).contains("in another workflow run"));
        let mut again = open("v1", "7").unwrap();
        assert_eq!(again.receipt.actions.len(), 1);
        let shown = |actions: usize| Shown {
            plan: Value::Null,
            actions: (0..actions).map(|_| crate::Action::new("a", "do a", "undo a")).collect(),
            notes: Vec::new(),
            unchanged: String::new(),
        };
        again.continues(&shown(1)).unwrap();
        again.receipt.account = Some("111".into());
        again.receipt.region = Some("eu-west-1".into());
        assert!(why(again.continues(&shown(0)).unwrap_err()).contains("in account 111, region us-east-1"));
        // At a terminal nothing tells a release from the next one: what ended is not gone on with.
        let alone = Receipt { github: None, ..of("v1", "7") };
        let mut earlier = alone.clone();
        earlier.actions = vec![record("a", "1", ActionState::Done)];
        earlier.verdict =
            Some(Verdict { code: 0, message: String::new(), causes: vec![], help: vec![], state: vec![] });
        save(&path, &earlier).unwrap();
        let night = Journal::open(path.clone(), alone).unwrap();
        night.continues(&shown(0)).unwrap();
        assert!(why(night.continues(&shown(1)).unwrap_err()).contains("came to its end"));
        // One that failed is gone on with, whatever argument lets it; and nothing is to be taken back of one that did nothing.
        leave(Some(4), ActionState::Done);
        assert_eq!(open("v2", "8").unwrap().receipt.actions.len(), 1);
        leave(None, ActionState::Started);
        assert_eq!(open("v2", "8").unwrap().receipt.actions.len(), 1);
        leave(Some(0), ActionState::Undone);
        open("v2", "8").unwrap();
    }

    #[test]
    fn a_run_that_did_nothing_leaves_the_earlier_receipt_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let mut first = blank("x", "1");
        first.actions = vec![record("a", "1", ActionState::Done)];
        save(&path, &first).unwrap();
        let before = fs::read(&path).unwrap();
        let is_as_before = || fs::read(&path).unwrap() == before;
        let shown = Shown {
            plan: Value::Null,
            actions: vec![crate::Action::new("b", "do b", "undo b")],
            notes: Vec::new(),
            unchanged: String::new(),
        };
        let mut second = Journal::open(path.clone(), blank("x", "2")).unwrap();
        second.plan(&shown);
        second.save_plan().unwrap();
        assert!(is_as_before(), "killed here, nothing of the second run is in it");
        let mut began = |state: ActionState| {
            second.action("b").unwrap().state = state;
            second.save().unwrap();
        };
        began(ActionState::Started);
        began(ActionState::Planned);
        assert!(!is_as_before());
        assert!(second.stays().unwrap() && is_as_before(), "its call was refused: nothing was done");
        second.action("b").unwrap().state = ActionState::Started;
        second.save().unwrap();
        assert!(!second.stays().unwrap() && !is_as_before(), "what is in doubt is kept");
        // Nothing of an earlier run is there: the plan is written, and stays.
        let alone = dir.path().join("alone.json");
        let mut third = Journal::open(alone.clone(), blank("x", "3")).unwrap();
        third.plan(&shown);
        third.save_plan().unwrap();
        assert!(alone.exists() && !third.stays().unwrap());
    }

    #[test]
    fn a_receipt_can_be_read_by_whom_the_umask_lets() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, path) = (dir.path().join("plain"), dir.path().join("r.json"));
        fs::write(&plain, "").unwrap();
        save(&path, &blank("x", "1")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn a_file_that_is_no_receipt_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert_eq!(Journal::open(path.clone(), blank("x", "1")).unwrap_err().code(), Code::Usage);
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
        for device in ["/dev/full", "/dev/zero"] {
            let refused = Journal::open(device.into(), blank("x", "1")).unwrap_err();
            assert_eq!(refused.code(), Code::Usage);
            assert!(refused.chain()[0].contains("it is a device"), "{:?}", refused.chain());
        }
    }

    #[test]
    fn exit_one_means_that_nothing_was_changed() {
        let path = Path::new("r.json");
        let none = [record("a", "1", ActionState::Planned)];
        assert_eq!(
            residue(none.iter(), Code::Failed, path),
            (Code::Failed, false, vec!["nothing was changed".to_owned()])
        );
        let some = [record("a", "1", ActionState::Started)];
        assert_eq!(residue(some.iter(), Code::Failed, path).0, Code::Partial);
        let put_back = [record("a", "1", ActionState::Undone)];
        let (code, changed, lines) = residue(put_back.iter(), Code::Refused, path);
        assert_eq!((code, changed), (Code::Refused, false));
        assert_eq!(lines, ["nothing was changed: what this run did is taken back"]);
        assert_eq!(residue(some.iter(), Code::Unverified, path).0, Code::Unverified);
    }
}
