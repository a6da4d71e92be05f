//! What is changed, in which order, and what takes it back. Pure.

use kit::{Action, Failure, Note, Plan, Receipt};
use serde::{Deserialize, Serialize};

use super::TAG;

/// What `--scale` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Count(i32),
    Restore,
}

pub(crate) fn parse_want(text: &str) -> Result<Want, String> {
    if text == "restore" {
        return Ok(Want::Restore);
    }
    match text.parse() {
        Ok(count) if count >= 0 => Ok(Want::Count(count)),
        _ => Err("write a number of tasks, or restore".to_owned()),
    }
}

/// Which of the activities of Application Auto Scaling are suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspended {
    pub(super) scale_in: bool,
    pub(super) scale_out: bool,
    pub(super) scheduled: bool,
}

const ALL: Suspended = Suspended { scale_in: true, scale_out: true, scheduled: true };

/// What the decision needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    pub(super) desired: i32,
    pub(super) running: i32,
    pub(super) pending: i32,
    pub(super) in_progress: bool,
    /// Absent where the service is no scalable target.
    pub(super) suspended: Option<Suspended>,
    /// The value of [`TAG`].
    pub(super) saved: Option<String>,
}

/// One change, which is the inverse of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    Save { value: String },
    Forget { value: String },
    Scaling { from: Suspended, to: Suspended },
    Count { from: i32, to: i32 },
}

impl Change {
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Save { .. } => "save",
            Self::Forget { .. } => "forget",
            Self::Scaling { .. } => "auto-scaling",
            Self::Count { .. } => "set-count",
        }
    }

    pub(super) fn inverse(&self) -> Self {
        match self.clone() {
            Self::Save { value } => Self::Forget { value },
            Self::Forget { value } => Self::Save { value },
            Self::Scaling { from, to } => Self::Scaling { from: to, to: from },
            Self::Count { from, to } => Self::Count { from: to, to: from },
        }
    }

    pub(super) fn in_effect(&self, observed: &Observed) -> bool {
        match self {
            Self::Save { value } => observed.saved.as_ref() == Some(value),
            Self::Forget { .. } => observed.saved.is_none(),
            Self::Scaling { to, .. } => observed.suspended == Some(*to),
            Self::Count { to, .. } => observed.desired == *to,
        }
    }
}

impl Suspended {
    fn words(self) -> String {
        let all = [
            (self.scale_in, "scaling in"),
            (self.scale_out, "scaling out"),
            (self.scheduled, "scheduled scaling"),
        ];
        let on: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if on.is_empty() { "nothing suspended".to_owned() } else { format!("{} suspended", on.join(", ")) }
    }
}

/// The tag's value: `count=2 in=false out=false scheduled=true`, without the last three where there is no auto scaling.
fn written(desired: i32, suspended: Option<Suspended>) -> String {
    let more = suspended.map_or(String::new(), |suspended| {
        format!(" in={} out={} scheduled={}", suspended.scale_in, suspended.scale_out, suspended.scheduled)
    });
    format!("count={desired}{more}")
}

fn read(value: &str) -> Option<(i32, Option<Suspended>)> {
    let field = |name: &str| {
        value
            .split(' ')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    };
    let count = field("count")?.parse().ok().filter(|count| *count >= 0)?;
    let flag = |name: &str| field(name)?.parse().ok();
    // One of three alone is no auto scaling that was absent: to leave it as it is would leave it suspended.
    let suspended = match [field("in"), field("out"), field("scheduled")] {
        [None, None, None] => None,
        _ => {
            Some(Suspended { scale_in: flag("in")?, scale_out: flag("out")?, scheduled: flag("scheduled")? })
        }
    };
    Some((count, suspended))
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scale {
    pub(super) changes: Vec<Change>,
    /// The number of tasks at the end.
    pub(super) count: i32,
    /// The number before, also before a run that did not end.
    pub(super) before: i32,
    service: String,
    notes: Vec<Note>,
    unchanged: String,
}

impl Plan for Scale {
    fn actions(&self) -> Vec<Action> {
        let Self { service, .. } = self;
        let actions = self.changes.iter().map(|change| match change {
            Change::Save { value } => Action::new(
                change.id(),
                format!("keep what is there in the tag {TAG} of {service}: {value}"),
                "remove the tag",
            ),
            Change::Forget { value } => Action::new(
                change.id(),
                format!("remove the tag {TAG} of {service}"),
                format!("set it to {value}"),
            ),
            Change::Scaling { from, to } => Action::new(
                change.id(),
                format!("set Application Auto Scaling of {service} to: {}", to.words()),
                format!("set it to: {}", from.words()),
            ),
            Change::Count { from, to } => Action::new(
                change.id(),
                format!("set the number of tasks of {service} from {from} to {to}, and wait until {to} run"),
                format!("set it to {from}"),
            ),
        });
        actions.collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

pub(super) fn plan(want: Want, service: &str, observed: &Observed) -> Result<Scale, Failure> {
    let mut changes = Vec::new();
    let mut notes = Vec::new();
    let count = match want {
        Want::Count(count) => {
            // What an earlier run kept is what was there before all of them.
            if observed.saved.is_none() {
                let value = written(observed.desired, observed.suspended);
                changes.push(Change::Save { value });
            }
            if let Some(from) = observed.suspended {
                changes.push(Change::Scaling { from, to: ALL });
            }
            changes.push(Change::Count { from: observed.desired, to: count });
            if count == 0 {
                notes.push(Note::Warning(
                    "with 0 tasks the service does not answer: put the maintenance page up before".to_owned(),
                ));
            }
            count
        }
        Want::Restore => match &observed.saved {
            None => observed.desired,
            Some(value) => {
                let Some((count, suspended)) = read(value) else {
                    return Err(Failure::refused(format!("restore the number of tasks of {service}"))
                        .because(format!(
                            "its tag {TAG} has the value `{value}`, which this step did not write"
                        ))
                        .help("set the number with --scale N, and correct or remove the tag"));
                };
                changes.push(Change::Count { from: observed.desired, to: count });
                match (observed.suspended, suspended) {
                    (Some(from), Some(to)) => changes.push(Change::Scaling { from, to }),
                    (None, None) => {}
                    (Some(_), None) => notes.push(Note::Warning(
                        "auto scaling was set up since the number was changed; it is left as it is"
                            .to_owned(),
                    )),
                    (None, Some(_)) => notes.push(Note::Warning(
                        "the service is no scalable target any more; register it again".to_owned(),
                    )),
                }
                changes.push(Change::Forget { value: value.clone() });
                count
            }
        },
    };
    changes.retain(|change| !change.in_effect(observed));
    // Nothing but the tag: there is nothing to keep.
    if matches!(want, Want::Count(_)) && matches!(changes.as_slice(), [Change::Save { .. }]) {
        changes.clear();
    }
    if observed.in_progress {
        notes.push(Note::Warning("a deployment of the service is in progress".to_owned()));
    }
    let unchanged = if want == Want::Restore && observed.saved.is_none() {
        format!("{service} wants {count} tasks, and there is nothing kept to restore")
    } else {
        format!("{service} wants {count} tasks")
    };
    let kept = observed.saved.as_deref().filter(|_| want != Want::Restore).and_then(read);
    let before = kept.map_or(observed.desired, |(count, _)| count);
    Ok(Scale { changes, count, before, service: service.to_owned(), notes, unchanged })
}

/// The inverses of what a run did, last first.
pub(super) fn plan_undo(receipt: &Receipt, service: &str, observed: &Observed) -> Result<Scale, Failure> {
    let mut changes: Vec<Change> = Vec::new();
    for (_, change) in receipt.inverses::<Change>()? {
        // Begun by a run that was killed, and done by the next: once, at the place of the first.
        changes.retain(|later| *later != change);
        changes.push(change);
    }
    for change in &changes {
        if let Change::Count { from, to } = change
            && ![*from, *to].contains(&observed.desired)
        {
            return Err(Failure::refused(format!("put the number of tasks of {service} back to {to}"))
                .because(format!(
                    "it is {}, which is neither what that run left ({from}) nor what it found ({to})",
                    observed.desired
                ))
                .help("somebody changed it since; set the number you want with --scale N"));
        }
    }
    changes.retain(|change| !change.in_effect(observed));
    let count = changes.iter().find_map(|change| match change {
        Change::Count { to, .. } => Some(*to),
        _ => None,
    });
    let count = count.unwrap_or(observed.desired);
    let unchanged = format!("{service} wants {count} tasks");
    let before = observed.desired;
    Ok(Scale { changes, count, before, service: service.to_owned(), notes: Vec::new(), unchanged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn observed(desired: i32, suspended: Option<Suspended>, saved: Option<&str>) -> Observed {
        Observed {
            desired,
            running: desired,
            pending: 0,
            in_progress: false,
            suspended,
            saved: saved.map(str::to_owned),
        }
    }

    const NONE: Suspended = Suspended { scale_in: false, scale_out: false, scheduled: false };
    const IN: Suspended = Suspended { scale_in: true, scale_out: false, scheduled: false };

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_tag_is_read_as_it_was_written(count in 0..i32::MAX, flags in proptest::option::of(proptest::prelude::any::<[bool; 3]>())) {
            let suspended = flags.map(|[scale_in, scale_out, scheduled]| Suspended { scale_in, scale_out, scheduled });
            proptest::prop_assert_eq!(read(&written(count, suspended)), Some((count, suspended)));
        }

        /// What it says is what is restored: nothing of it is left out, and a number that is none is not made one.
        #[test]
        fn a_tag_that_somebody_edited_is_read_or_refused(parts in proptest::collection::vec("(count|in|out|scheduled)=(true|false|-?[0-9]{1,11}|)", 0..5)) {
            if let Some((count, suspended)) = read(&parts.join(" ")) {
                proptest::prop_assert!(count >= 0);
                let flags = parts.iter().any(|part| !part.starts_with("count="));
                proptest::prop_assert_eq!(suspended.is_some(), flags);
            }
        }
    }

    fn ids(want: Want, seen: &Observed) -> Vec<&'static str> {
        plan(want, "web", seen).unwrap().changes.iter().map(Change::id).collect()
    }

    #[test]
    fn what_is_there_is_kept_before_it_is_changed() {
        let seen = observed(2, Some(IN), None);
        let changes = plan(Want::Count(0), "web", &seen).unwrap().changes;
        assert_eq!(
            changes,
            [
                Change::Save { value: "count=2 in=true out=false scheduled=false".into() },
                Change::Scaling { from: IN, to: ALL },
                Change::Count { from: 2, to: 0 },
            ]
        );
        // Killed on the way: the rest, and never what the first half made of it.
        let kept = Some("count=2 in=true out=false scheduled=false");
        assert_eq!(ids(Want::Count(0), &observed(2, Some(ALL), kept)), ["set-count"]);
        assert!(ids(Want::Count(0), &observed(0, Some(ALL), kept)).is_empty());
        assert_eq!(ids(Want::Count(0), &observed(2, None, None)), ["save", "set-count"]);
        assert!(ids(Want::Count(2), &observed(2, None, None)).is_empty());
    }

    #[test]
    fn it_is_restored_exactly_and_auto_scaling_last() {
        let seen = observed(0, Some(ALL), Some("count=2 in=true out=false scheduled=false"));
        let changes = plan(Want::Restore, "web", &seen).unwrap().changes;
        assert_eq!(changes[0], Change::Count { from: 0, to: 2 });
        assert_eq!(changes[1], Change::Scaling { from: ALL, to: IN });
        assert!(matches!(&changes[2], Change::Forget { .. }));
        assert!(ids(Want::Restore, &observed(2, Some(NONE), None)).is_empty());
        assert_eq!(ids(Want::Restore, &observed(0, None, Some("count=2"))), ["set-count", "forget"]);
        let strange = plan(Want::Restore, "web", &observed(0, None, Some("two"))).unwrap_err();
        assert_eq!(strange.code(), Code::Refused);
    }

    #[test]
    fn a_change_is_the_inverse_of_its_inverse() {
        for change in [
            Change::Save { value: "count=1".into() },
            Change::Scaling { from: NONE, to: ALL },
            Change::Count { from: 2, to: 0 },
        ] {
            assert_eq!(change.inverse().inverse(), change);
            let kept = serde_json::to_value(&change).unwrap();
            assert_eq!(Change::deserialize(&kept).unwrap(), change);
        }
    }

    #[test]
    fn a_number_or_restore() {
        assert_eq!(parse_want("0"), Ok(Want::Count(0)));
        assert_eq!(parse_want("restore"), Ok(Want::Restore));
        assert!(parse_want("-1").is_err());
        assert!(parse_want("all").is_err());
    }
}
