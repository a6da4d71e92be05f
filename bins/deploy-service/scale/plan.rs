//! What is changed, in which order, and what takes it back. Pure.

use kit::{Action, Failure, Note, Plan, clock};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::TAG;
use super::saved::{Mark, Saved, Suspended};

/// What `--scale` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Count(i32),
    Restore,
    Forget,
}

/// What is wanted, by which release, and when.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) want: Want,
    pub(crate) by: String,
    pub(crate) now: OffsetDateTime,
}

pub(crate) fn parse_want(text: &str) -> Result<Want, String> {
    match (text, text.parse()) {
        ("restore", _) => Ok(Want::Restore),
        ("forget", _) => Ok(Want::Forget),
        (_, Ok(count)) if count >= 0 => Ok(Want::Count(count)),
        _ => Err("write a number of tasks, restore or forget".to_owned()),
    }
}

/// Said where there is no scalable target to put back.
pub(super) const GONE: &str = "the service is no scalable target any more; register it again";

pub(super) const ALL: Suspended = Suspended { scale_in: true, scale_out: true, scheduled: true };

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
    /// The tag gets this value in the place of `over`.
    Save {
        value: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<String>,
    },
    Forget {
        value: String,
    },
    Scaling {
        from: Suspended,
        to: Suspended,
    },
    Count {
        from: i32,
        to: i32,
    },
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
            Self::Save { value, over: None } => Self::Forget { value },
            Self::Save { value, over: Some(over) } => Self::Save { value: over, over: Some(value) },
            Self::Forget { value } => Self::Save { value, over: None },
            Self::Scaling { from, to } => Self::Scaling { from: to, to: from },
            Self::Count { from, to } => Self::Count { from: to, to: from },
        }
    }

    pub(super) fn in_effect(&self, observed: &Observed) -> bool {
        match self {
            Self::Save { value, .. } => observed.saved.as_ref() == Some(value),
            Self::Forget { .. } => observed.saved.is_none(),
            Self::Scaling { to, .. } => observed.suspended == Some(*to),
            Self::Count { to, .. } => observed.desired == *to,
        }
    }
}

impl Suspended {
    pub(super) fn words(self) -> String {
        let all = [
            (self.scale_in, "scaling in"),
            (self.scale_out, "scaling out"),
            (self.scheduled, "scheduled scaling"),
        ];
        let on: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if on.is_empty() { "nothing suspended".to_owned() } else { format!("{} suspended", on.join(", ")) }
    }
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Scale {
    pub(super) changes: Vec<Change>,
    /// The number of tasks at the end.
    pub(super) count: i32,
    /// The number before, also before a run that did not end.
    pub(super) before: i32,
    pub(super) service: String,
    pub(super) notes: Vec<Note>,
    pub(super) unchanged: String,
}

impl Plan for Scale {
    fn actions(&self) -> Vec<Action> {
        let Self { service, .. } = self;
        let actions = self.changes.iter().map(|change| match change {
            Change::Save { value, over } => Action::new(
                change.id(),
                format!("keep what was there in the tag {TAG} of {service}: {value}"),
                over.as_ref().map_or("remove the tag".to_owned(), |over| format!("set it to {over}")),
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

/// What is kept; a tag that can't be read is refused, since nothing could be restored from it.
fn kept(service: &str, observed: &Observed) -> Result<Option<Saved>, Failure> {
    let Some(tag) = &observed.saved else { return Ok(None) };
    Saved::of(tag).map(Some).ok_or_else(|| {
        Failure::refused(format!("read what is kept of the number of tasks of {service}"))
            .because(format!("its tag {TAG} has the value `{tag}`, which this step did not write"))
            .help("see whose tag that is and correct it; --scale forget removes it")
    })
}

/// What another release has kept is not this one's to use: it may be from long ago.
fn ours(wish: &Wish, service: &str, saved: &Saved, observed: &Observed) -> Result<(), Failure> {
    let Some(Mark { left, since, by, .. }) = saved.mark.as_ref().filter(|mark| mark.by != wish.by) else {
        return Ok(());
    };
    Err(Failure::refused(format!("change the number of tasks of {service} for {}", wish.by))
        .because(format!(
            "{by}, since {}, has set it to {left} and kept that it was {}; it is {}",
            clock(*since),
            saved.count,
            observed.desired
        ))
        .help(format!("to put back what it was: --scale restore --release '{by}'"))
        .help("to keep it as it is now: --scale forget"))
}

/// Whether the service is as the release left it, as it found it, or on the way from one to the other.
///
/// Of a tag without a mark it is not known what was left: `0` is taken for it, as for a maintenance, or any number while auto scaling
/// is suspended.
fn as_left(saved: &Saved, observed: &Observed) -> bool {
    let number = observed.desired == saved.count
        || match &saved.mark {
            Some(mark) => observed.desired == mark.left || Some(observed.desired) == mark.over,
            None => observed.desired == 0 || observed.suspended == Some(ALL),
        };
    let scaling = match (observed.suspended, saved.suspended) {
        (Some(now), Some(was)) => now == ALL || now == was,
        _ => true,
    };
    number && scaling
}

fn moved(attempt: String, saved: &Saved, observed: &Observed) -> Failure {
    let words = |count: i32, suspended: Option<Suspended>| {
        suspended.map_or(count.to_string(), |suspended| format!("{count} with {}", suspended.words()))
    };
    let left = saved.mark.as_ref().map_or(String::new(), |mark| {
        format!("this release left it {}, and ", words(mark.left, saved.suspended.map(|_| ALL)))
    });
    Failure::refused(attempt)
        .because(format!(
            "somebody has changed it: it is {}; {left}before it was {}",
            words(observed.desired, observed.suspended),
            words(saved.count, saved.suspended)
        ))
        .help("--scale forget keeps it as it is; then --scale N sets another number")
}

/// What the tag has to say before the number is set to `count`.
fn keeps(wish: &Wish, service: &str, observed: &Observed, count: i32) -> Result<Saved, Failure> {
    let mark = |over| Mark { left: count, over, since: wish.now, by: wish.by.clone() };
    let fresh = || Saved { count: observed.desired, suspended: observed.suspended, mark: Some(mark(None)) };
    let Some(saved) = kept(service, observed)? else { return Ok(fresh()) };
    ours(wish, service, &saved, observed)?;
    if !as_left(&saved, observed) {
        // Auto scaling goes on as before and has its own number: a run that was killed before it suspended that, or what a
        // person put back by hand. What is there now is what was there before.
        let goes_on = saved.suspended.is_some_and(|was| was != ALL && observed.suspended == Some(was));
        if goes_on {
            return Ok(fresh());
        }
        return Err(moved(format!("set the number of tasks of {service} to {count}"), &saved, observed));
    }
    let over = Some(observed.desired).filter(|now| *now != saved.count && *now != count);
    let mark = match &saved.mark {
        Some(there) if there.left == count => there.clone(),
        Some(there) => Mark { since: there.since, ..mark(over) },
        None => mark(over),
    };
    // Auto scaling that was set up meanwhile is suspended too, and has to come back.
    Ok(Saved { suspended: saved.suspended.or(observed.suspended), mark: Some(mark), ..saved })
}

/// The changes that bring about the wish, in their order: the tag goes first and goes away last.
pub(super) fn plan(wish: &Wish, service: &str, observed: &Observed) -> Result<Scale, Failure> {
    let want = wish.want;
    let mut changes = Vec::new();
    let mut notes = Vec::new();
    let mut before = observed.desired;
    let count = match want {
        Want::Count(count) => {
            let saved = keeps(wish, service, observed, count)?;
            before = saved.count;
            changes.push(Change::Save { value: saved.tag(), over: observed.saved.clone() });
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
        Want::Restore => match (kept(service, observed)?, &observed.saved) {
            (Some(saved), Some(value)) => {
                ours(wish, service, &saved, observed)?;
                if !as_left(&saved, observed) {
                    let attempt = format!("restore the number of tasks of {service}");
                    return Err(moved(attempt, &saved, observed));
                }
                changes.push(Change::Count { from: observed.desired, to: saved.count });
                match (observed.suspended, saved.suspended) {
                    (Some(from), Some(to)) => changes.push(Change::Scaling { from, to }),
                    (None, None) => {}
                    (Some(_), None) => notes.push(Note::Warning(
                        "auto scaling was set up since the number was changed; it is left as it is"
                            .to_owned(),
                    )),
                    (None, Some(_)) => notes.push(Note::Warning(GONE.to_owned())),
                }
                changes.push(Change::Forget { value: value.clone() });
                saved.count
            }
            _ => observed.desired,
        },
        Want::Forget => {
            if let Some(value) = &observed.saved {
                changes.push(Change::Forget { value: value.clone() });
                if observed.suspended == Some(ALL) {
                    notes.push(Note::Warning(format!(
                        "Application Auto Scaling of {service} is suspended, and stays so: resume it by hand"
                    )));
                }
            }
            observed.desired
        }
    };
    changes.retain(|change| !change.in_effect(observed));
    // Nothing but the tag: there is nothing to keep.
    if matches!(changes.as_slice(), [Change::Save { over: None, .. }]) {
        changes.clear();
    }
    if observed.in_progress {
        notes.push(Note::Warning("a deployment of the service is in progress".to_owned()));
    }
    let unchanged = match want {
        Want::Restore if observed.saved.is_none() => {
            format!("{service} wants {count} tasks, and there is nothing kept to restore")
        }
        _ => format!("{service} wants {count} tasks"),
    };
    Ok(Scale { changes, count, before, service: service.to_owned(), notes, unchanged })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
