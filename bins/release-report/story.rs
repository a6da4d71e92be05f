//! A release as it is told: plain data, and the words for its states.

use kit::{ActionState, Code};
use serde::Serialize;
use time::OffsetDateTime;

use crate::jobs::Job;

/// A release.
#[derive(Debug, Serialize)]
pub(crate) struct Story {
    pub(crate) title: String,
    pub(crate) verdict: Stand,
    pub(crate) headline: String,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) began: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) ended: Option<OffsetDateTime>,
    /// Workflow runs, commits, accounts: each as a name and a value.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// As the workflow says it.
    pub(crate) jobs: Vec<Job>,
    /// Those that did not end well without a receipt that says so.
    pub(crate) silent: Vec<Job>,
    pub(crate) changes: usize,
    pub(crate) in_doubt: usize,
    /// In the order in which they began.
    pub(crate) runs: Vec<Run>,
    /// What was expected and left no receipt.
    pub(crate) missing: Vec<String>,
    /// The last change first.
    pub(crate) back: Vec<Back>,
    /// The command that fetches the receipts again, where one does.
    pub(crate) fetch: Option<String>,
    pub(crate) notes: Vec<String>,
}

/// How a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    None,
    Done,
    Incomplete,
    Ended(Code),
    /// A code that this version does not know.
    Unknown,
    Killed,
}

/// What a run without a verdict may have come to.
pub(crate) const KILLED: &str = "killed, or it still went on when its receipt was fetched";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "code")]
pub(crate) enum End {
    Code(u8),
    /// There is no verdict.
    Killed,
}

/// One run of a step.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) step: String,
    pub(crate) version: String,
    pub(crate) receipt: String,
    pub(crate) job: Option<String>,
    pub(crate) attempt: Option<u64>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) began: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) ended: Option<OffsetDateTime>,
    pub(crate) end: End,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) help: Vec<String>,
    pub(crate) state: Vec<String>,
    pub(crate) actions: Vec<Act>,
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) arguments: Vec<(String, String)>,
    /// The run after which this one counts no more for how the release stands.
    pub(crate) superseded_by: Option<usize>,
    /// The run whose receipt holds what this one did too.
    pub(crate) continued_by: Option<usize>,
    /// The run that this one took back.
    pub(crate) takes_back: Option<String>,
    /// The run that took this one back.
    pub(crate) taken_back_by: Option<usize>,
}

/// One action of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Act {
    #[serde(skip)]
    pub(crate) id: String,
    #[serde(skip)]
    pub(crate) run: String,
    pub(crate) does: String,
    pub(crate) undo: String,
    pub(crate) reversible: bool,
    pub(crate) state: ActionState,
    /// An earlier run did it, whose receipt this one continues.
    pub(crate) earlier: bool,
}

/// How what one run did is taken back.
#[derive(Debug, Serialize)]
pub(crate) struct Back {
    /// The number of the run.
    pub(crate) run: usize,
    pub(crate) step: String,
    pub(crate) kind: Way,
    /// With `--dry-run` where it is to be read first.
    pub(crate) command: String,
    /// What it does, in its order.
    pub(crate) takes_back: Vec<String>,
    pub(crate) stays: Vec<Stays>,
    /// What to restore instead, where the step keeps that.
    pub(crate) restore: Option<String>,
    pub(crate) cautions: Vec<String>,
}

/// What can't be taken back, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Stays {
    pub(crate) does: String,
    pub(crate) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    Whole,
    Partly,
    Not,
}

impl Stand {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Done | Self::Ended(Code::Done) => "done",
            Self::Incomplete => "incomplete",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
            Self::Ended(Code::Failed) => "failed",
            Self::Ended(Code::Usage) => "usage",
            Self::Ended(Code::Refused) => "refused",
            Self::Ended(Code::Partial) => "partial",
            Self::Ended(Code::Unverified) => "unverified",
            Self::Ended(Code::Deadline) => "deadline",
            Self::Ended(Code::Waiting) => "waiting",
            Self::Ended(Code::Interrupted) => "interrupted",
            Self::Ended(Code::Terminated) => "terminated",
        }
    }

    pub(crate) fn of_job(job: &Job) -> Self {
        Self::Ended(if job.result == "cancelled" { Code::Interrupted } else { Code::Failed })
    }

    /// For a heading.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::None => "no receipts",
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Killed => "a run has no verdict",
            Self::Unknown => "ended with an unknown code",
            Self::Ended(code) => code.word(),
        }
    }

    /// The worse, the higher.
    pub(crate) fn weight(self) -> u8 {
        match self {
            Self::None | Self::Done | Self::Ended(Code::Done) => 0,
            Self::Incomplete => 1,
            Self::Ended(Code::Usage) => 2,
            Self::Ended(Code::Refused) => 3,
            Self::Ended(Code::Failed) => 4,
            Self::Ended(Code::Waiting) => 5,
            Self::Ended(Code::Interrupted | Code::Terminated) => 6,
            Self::Ended(Code::Deadline) => 7,
            Self::Ended(Code::Unverified) => 8,
            Self::Ended(Code::Partial) => 9,
            Self::Unknown => 10,
            Self::Killed => 11,
        }
    }
}

impl Serialize for Stand {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl End {
    pub(crate) fn stand(self) -> Stand {
        match self {
            Self::Killed => Stand::Killed,
            Self::Code(number) => Code::of(number).map_or(Stand::Unknown, |code| match code {
                Code::Done => Stand::Done,
                code => Stand::Ended(code),
            }),
        }
    }

    pub(crate) fn is_well(self) -> bool {
        self.stand() == Stand::Done
    }

    /// Follows the step's name.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Killed => format!("has no verdict: {KILLED}"),
            Self::Code(number) => match Code::of(number) {
                Some(code) => code.word().to_owned(),
                None => format!("ended with {number}, which this version does not know"),
            },
        }
    }

    /// One or two words, for a table or a diagram.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Killed => "no verdict",
            Self::Code(number) => Code::of(number).map_or("unknown code", Code::word),
        }
    }
}

impl Act {
    /// It took effect, or may have.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.state, ActionState::Started | ActionState::Done)
    }

    pub(crate) fn state_words(&self) -> &'static str {
        match self.state {
            ActionState::Planned => "not done",
            ActionState::Started => "in doubt",
            ActionState::Done => "done",
            ActionState::Undone => "taken back",
        }
    }
}

impl Run {
    /// `deploy-service (3)`.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.step, self.number)
    }

    pub(crate) fn is_current(&self) -> bool {
        self.superseded_by.is_none()
    }

    /// Job and attempt, where it ran in a job.
    pub(crate) fn place(&self) -> Option<String> {
        let job = self.job.as_ref()?;
        Some(match self.attempt {
            Some(attempt) if attempt > 1 => format!("job {job}, attempt {attempt}"),
            _ => format!("job {job}"),
        })
    }
}

impl Story {
    /// All that did not end well, whether or not a later attempt did.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.end.is_well())
    }

    pub(crate) fn one_day(&self) -> bool {
        let day = |time: OffsetDateTime| time.to_offset(time::UtcOffset::UTC).date();
        self.began.map(day) == self.ended.map(day)
    }
}
