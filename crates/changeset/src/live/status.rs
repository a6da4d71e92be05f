//! What a stack's status allows.

use serde::{Deserialize, Serialize};

/// What the words of a stack's status come to.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html#cfn-console-view-stack-data-resources-status-codes>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The last operation did what it was to do; the stack can be updated.
    Settled,
    /// An operation goes on, a roll-back and the cleaning up after it included.
    InProgress,
    /// The last operation failed and was taken back; the stack is as before and can be updated.
    RolledBack,
    /// Nothing can be done before the stack was brought back.
    NeedsRecovery(Recovery),
    /// There are no resources yet, only a change set that would make them.
    Review,
    /// It is gone.
    Deleted,
}

/// The way back for a stack that can't be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// `ContinueUpdateRollback`.
    ContinueRollback,
    /// `RollbackStack`, to the state before the failed update.
    Rollback,
    /// It never came to work, or only part of it is left: it can only be deleted.
    Delete,
    /// AWS offers no call for it, or the status is not known to this version.
    Person,
}

impl Phase {
    /// What a status means. A word that is not known is one in progress when it says so, else one for a person.
    pub fn of(status: &str) -> Self {
        match status {
            "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Self::Settled,
            "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_COMPLETE" => Self::RolledBack,
            "REVIEW_IN_PROGRESS" => Self::Review,
            "DELETE_COMPLETE" => Self::Deleted,
            "UPDATE_ROLLBACK_FAILED" => Self::NeedsRecovery(Recovery::ContinueRollback),
            "UPDATE_FAILED" => Self::NeedsRecovery(Recovery::Rollback),
            "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "DELETE_FAILED" => {
                Self::NeedsRecovery(Recovery::Delete)
            }
            other if other.ends_with("_IN_PROGRESS") => Self::InProgress,
            _ => Self::NeedsRecovery(Recovery::Person),
        }
    }

    /// Whether the last operation has come to its end, whichever that is.
    pub fn is_over(self) -> bool {
        self != Self::InProgress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_documentation() {
        use Phase::{Deleted, InProgress, NeedsRecovery, Review, RolledBack, Settled};
        // The page of the doc comment on `Phase`, row by row; "can only be deleted" is what it says of ROLLBACK_COMPLETE.
        for (status, phase) in [
            ("CREATE_COMPLETE", Settled),
            ("CREATE_IN_PROGRESS", InProgress),
            ("CREATE_FAILED", NeedsRecovery(Recovery::Delete)),
            ("DELETE_COMPLETE", Deleted),
            ("DELETE_FAILED", NeedsRecovery(Recovery::Delete)),
            ("DELETE_IN_PROGRESS", InProgress),
            ("REVIEW_IN_PROGRESS", Review),
            ("ROLLBACK_COMPLETE", NeedsRecovery(Recovery::Delete)),
            ("ROLLBACK_FAILED", NeedsRecovery(Recovery::Delete)),
            ("ROLLBACK_IN_PROGRESS", InProgress),
            ("UPDATE_COMPLETE", Settled),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", InProgress),
            ("UPDATE_FAILED", NeedsRecovery(Recovery::Rollback)),
            ("UPDATE_IN_PROGRESS", InProgress),
            ("UPDATE_ROLLBACK_COMPLETE", RolledBack),
            ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", InProgress),
            ("UPDATE_ROLLBACK_FAILED", NeedsRecovery(Recovery::ContinueRollback)),
            ("UPDATE_ROLLBACK_IN_PROGRESS", InProgress),
            ("IMPORT_IN_PROGRESS", InProgress),
            ("IMPORT_COMPLETE", Settled),
            ("IMPORT_ROLLBACK_IN_PROGRESS", InProgress),
            ("IMPORT_ROLLBACK_FAILED", NeedsRecovery(Recovery::Person)),
            ("IMPORT_ROLLBACK_COMPLETE", RolledBack),
        ] {
            assert_eq!(Phase::of(status), phase, "{status}");
        }
    }

    #[test]
    fn a_word_of_tomorrow_is_never_taken_for_settled() {
        assert_eq!(Phase::of("REFACTOR_IN_PROGRESS"), Phase::InProgress);
        assert_eq!(Phase::of("REFACTOR_COMPLETE"), Phase::NeedsRecovery(Recovery::Person));
        assert_eq!(Phase::of(""), Phase::NeedsRecovery(Recovery::Person));
    }
}
