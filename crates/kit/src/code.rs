//! The exit codes: public, documented in `docs/exit-codes.md`, and the same for every step.

use serde::Serialize;

/// How a run of a step ended, as its process exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// 0: done, or nothing to do.
    Done,
    /// 1: failed before anything was changed.
    Failed,
    /// 2: the arguments can't be used.
    Usage,
    /// 3: refused by a guard before anything was changed.
    Refused,
    /// 4: failed after some changes were made; the receipt lists them and running again continues.
    Partial,
    /// 5: applied, and the check afterwards failed, or the platform rolled it back.
    Unverified,
    /// 6: the deadline passed while waiting; the operation may go on and running again goes on waiting.
    Deadline,
    /// 7: waits for a person, or was superseded by someone else's change.
    Waiting,
    /// 130: cancelled by SIGINT; the receipt is written.
    Interrupted,
    /// 143: cancelled by SIGTERM; the receipt is written.
    Terminated,
}

impl Code {
    /// Every code, in the order of the documented table.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::Partial,
        Self::Unverified,
        Self::Deadline,
        Self::Waiting,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The process exit code.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Partial => 4,
            Self::Unverified => 5,
            Self::Deadline => 6,
            Self::Waiting => 7,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The code that has this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The word that names this code in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage error",
            Self::Refused => "refused",
            Self::Partial => "failed part-way",
            Self::Unverified => "not verified",
            Self::Deadline => "deadline passed",
            Self::Waiting => "waiting or superseded",
            Self::Interrupted | Self::Terminated => "cancelled",
        }
    }

    /// What the code means, as `--help` and the documentation say it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed; nothing was changed",
            Self::Usage => "usage error; nothing was changed",
            Self::Refused => "refused by a guard; nothing was changed",
            Self::Partial => "failed part-way; the receipt lists the changes, running again continues",
            Self::Unverified => "applied, and the check afterwards failed, or the platform rolled it back",
            Self::Deadline => "deadline passed while waiting; running again goes on waiting",
            Self::Waiting => "waits for a person, or was superseded by someone else's change",
            Self::Interrupted => "cancelled by SIGINT; the receipt is written",
            Self::Terminated => "cancelled by SIGTERM; the receipt is written",
        }
    }
}
