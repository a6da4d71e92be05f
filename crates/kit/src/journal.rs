//! The receipt of the run that is going on, at its place: a new one, or that of an earlier run, which is gone on with or left alone.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::plan::{Shown, Undo};
use crate::receipt::{ActionRecord, ActionState, Receipt, save};
use crate::secret::redact_json;
use crate::{Code, Failure};

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

    /// The receipt on disk.
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
    use std::collections::BTreeMap;
    use std::fs;

    use serde_json::Map;
    use time::OffsetDateTime;

    use super::*;
    use crate::Verdict;

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
