//! What will be done to which stack, in order. Pure.

use changeset::live::{Phase, Recovery, Stack};
use changeset::request::StackArg;
use changeset::review::{Row, StackReview};
use changeset::show::becomes;
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use crate::args::Act;

/// What is done to one stack.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "does")]
pub(crate) enum Work {
    /// A change set is made, compared with the review, and executed.
    Change { label: String, stack: String, is_new: bool },
    /// It is deleted.
    Delete { label: String, stack: String, stack_id: String, removes: Vec<String>, saved_to: String },
    /// It is made again.
    MakeAgain { label: String, stack: String },
    /// It is there already: a change set shows whether it is as it is to be, and is not executed.
    Compare { label: String, stack: String },
    /// Its policy is written.
    Policy { label: String, text: String },
    /// A running update is ended.
    Cancel { label: String, stack: String },
    /// A failed roll-back goes on.
    ContinueRollback { label: String, stack: String, skip: Vec<String> },
    /// A failed update is rolled back.
    Rollback { label: String, stack: String },
}

/// The whole call.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DeployPlan {
    pub(crate) work: Vec<Work>,
    pub(crate) notes: Vec<Note>,
}

/// Names the action that makes a stack's change set in the receipt.
pub(crate) fn set_id(label: &str) -> String {
    format!("change-set-{label}")
}

/// Names the action that runs it.
pub(crate) fn run_id(label: &str) -> String {
    format!("run-{label}")
}

/// Names the action that deletes a stack.
pub(crate) fn delete_id(label: &str) -> String {
    format!("delete-{label}")
}

/// Names the action that writes a stack's policy.
pub(crate) fn policy_id(label: &str) -> String {
    format!("policy-{label}")
}

/// Names the action that repairs a stack.
pub(crate) fn repair_id(label: &str) -> String {
    format!("repair-{label}")
}

/// A stack as an operand without its files, for the commands that messages name: its label alone would be taken for its name.
pub(crate) fn named(arg: &StackArg) -> String {
    StackArg { template: None, parameters: None, ..arg.clone() }.to_string()
}

impl Plan for DeployPlan {
    fn actions(&self) -> Vec<Action> {
        self.work.iter().flat_map(actions).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        "every stack is as it is to be".to_owned()
    }
}

fn actions(work: &Work) -> Vec<Action> {
    let change = |label: &str, stack: &str, verb: &str, back: &str| {
        vec![
            Action::irreversible(
                set_id(label),
                format!("make a change set for stack {stack} and compare it with what was approved"),
                "nothing stays of it: it is executed, or this run deletes it",
            ),
            Action::irreversible(
                run_id(label),
                format!("{verb} stack {stack} by executing exactly that change set"),
                back,
            ),
        ]
    };
    match work {
        Work::Change { label, stack, is_new: true } => change(
            label,
            stack,
            "make",
            "a new stack is taken back with --action delete, after a look at what it holds by then",
        ),
        Work::Change { label, stack, is_new: false } => {
            change(label, stack, "update", "an update is taken back by an update to the former template")
        }
        Work::MakeAgain { label, stack } => {
            change(label, stack, "make", "it was deleted; what it was is saved")
        }
        Work::Compare { label, stack } => vec![Action::irreversible(
            set_id(label),
            format!("make a change set for stack {stack}, which is there, to see that it is as it is to be"),
            "nothing stays of it: this run deletes it",
        )],
        Work::Policy { label, text } => vec![Action::irreversible(
            policy_id(label),
            text,
            "a policy can be replaced, not taken away; the one before is in the receipt",
        )],
        Work::Delete { label, stack, removes, saved_to, .. } => vec![
            Action::irreversible(
                delete_id(label),
                format!("delete stack {stack}, after what it was is saved to {saved_to}"),
                "it can be made again from what is saved, without the data that are deleted with it",
            )
            .detail(removes.join("\n")),
        ],
        Work::Cancel { label, stack } => vec![Action::irreversible(
            repair_id(label),
            format!("cancel the running update of stack {stack}, which is rolled back"),
            "the update is run again with --action update",
        )],
        Work::ContinueRollback { label, stack, skip } => vec![Action::irreversible(
            repair_id(label),
            match skip.as_slice() {
                [] => format!("go on with the roll-back of stack {stack}"),
                skip => format!(
                    "go on with the roll-back of stack {stack}, and leave {} as it is though CloudFormation takes it for rolled back",
                    skip.join(", ")
                ),
            },
            "what is rolled back is updated again with --action update",
        )],
        Work::Rollback { label, stack } => vec![Action::irreversible(
            repair_id(label),
            format!("roll the failed update of stack {stack} back"),
            "what is rolled back is updated again with --action update",
        )],
    }
}

/// What of a stack's resources goes, a line each, the dangerous ones first.
pub(crate) fn removal_lines(review: &StackReview) -> Vec<String> {
    let mut rows: Vec<&Row> = review.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.verdict));
    rows.iter()
        .map(|row| {
            let held = if row.needs.is_empty() { "" } else { "  (approved)" };
            format!("{}  {}  {}{held}", row.name(), row.resource_type, becomes(&row.fate))
        })
        .collect()
}

/// Whether a stack may be created or updated as the action says; what is unfinished is followed before this is asked.
pub(crate) fn check_change(act: Act, arg: &StackArg, stack: Option<&Stack>) -> Result<(), Failure> {
    let exists = stack.is_some_and(|stack| !matches!(stack.phase(), Phase::Review | Phase::Deleted));
    if act == Act::Update && !exists {
        return Err(Failure::refused(format!("update stack {}", arg.stack))
            .because("it does not exist")
            .help("correct its name, or make it with --action create"));
    }
    Ok(())
}

/// How a stuck stack is brought back.
pub(crate) fn recovery(arg: &StackArg, stack: &Stack, skip: &[String]) -> Result<Option<Work>, Failure> {
    let (label, name) = (arg.label.clone(), arg.stack.clone());
    let refused = |why: String| Failure::refused(format!("recover stack {name}")).because(why);
    match stack.phase() {
        Phase::NeedsRecovery(Recovery::ContinueRollback) => {
            Ok(Some(Work::ContinueRollback { label, stack: name, skip: skip.to_vec() }))
        }
        Phase::NeedsRecovery(Recovery::Rollback) if skip.is_empty() => {
            Ok(Some(Work::Rollback { label, stack: name }))
        }
        Phase::NeedsRecovery(Recovery::Rollback) => Err(refused(
            "it is UPDATE_FAILED: resources can be skipped only when a roll-back has failed".to_owned(),
        )
        .help("recover it without --skip first")),
        Phase::NeedsRecovery(Recovery::Delete) => {
            Err(refused(format!("it is {}, and can only be deleted", stack.status))
                .help("look at what is left of it, then: --action delete"))
        }
        Phase::NeedsRecovery(Recovery::Person) => Err(refused(format!("it is {}", stack.status))
            .help("look at it in the console: there is no call that brings it back")),
        Phase::Settled | Phase::RolledBack => Ok(None),
        // An earlier run began it: it is followed.
        Phase::InProgress if stack.status.contains("ROLLBACK") => Ok(None),
        Phase::Review | Phase::Deleted | Phase::InProgress => {
            Err(refused(format!("it is {}", stack.status)).help("there is nothing to recover"))
        }
    }
}

/// Whether the running operation of a stack is one that can be cancelled.
pub(crate) fn cancellation(arg: &StackArg, stack: &Stack) -> Result<Option<Work>, Failure> {
    match stack.status.as_str() {
        "UPDATE_IN_PROGRESS" => Ok(Some(Work::Cancel { label: arg.label.clone(), stack: arg.stack.clone() })),
        // Already on its way back.
        "UPDATE_ROLLBACK_IN_PROGRESS" | "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => Ok(None),
        _ if stack.phase() == Phase::RolledBack => Ok(None),
        other => Err(Failure::refused(format!("cancel the update of stack {}", arg.stack))
            .because(format!("it is {other}: there is no update to cancel"))
            .help("only an update in progress can be cancelled, and not any more while it is cleaning up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> StackArg {
        "core:CoreProduction".parse().unwrap()
    }

    fn stack(status: &str) -> Stack {
        Stack { status: status.to_owned(), ..Stack::default() }
    }

    /// The rows are those of
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html#cfn-console-view-stack-data-resources-status-codes>.
    #[test]
    fn a_stuck_stack_has_one_way_back() {
        let way = |status: &str, skip: &[String]| match recovery(&core(), &stack(status), skip) {
            Ok(Some(Work::ContinueRollback { skip, .. })) => format!("continue {}", skip.join(",")),
            Ok(Some(Work::Rollback { .. })) => "roll back".to_owned(),
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => "nothing".to_owned(),
            Err(failure) => failure.code().number().to_string(),
        };
        let skip = ["Db".to_owned()];
        for (status, expected, skipping) in [
            ("UPDATE_ROLLBACK_FAILED", "continue ", "continue Db"),
            ("UPDATE_FAILED", "roll back", "3"),
            ("UPDATE_ROLLBACK_IN_PROGRESS", "nothing", "nothing"),
            ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "nothing", "nothing"),
            ("UPDATE_ROLLBACK_COMPLETE", "nothing", "nothing"),
            ("UPDATE_COMPLETE", "nothing", "nothing"),
            ("UPDATE_IN_PROGRESS", "3", "3"),
            ("CREATE_FAILED", "3", "3"),
            ("ROLLBACK_COMPLETE", "3", "3"),
            ("DELETE_FAILED", "3", "3"),
            ("REVIEW_IN_PROGRESS", "3", "3"),
            ("A_WORD_OF_TOMORROW", "3", "3"),
        ] {
            assert_eq!(way(status, &[]), expected, "{status}");
            assert_eq!(way(status, &skip), skipping, "{status} with --skip");
        }
    }

    #[test]
    fn only_a_running_update_is_cancelled() {
        for (status, expected) in [
            ("UPDATE_IN_PROGRESS", Some(true)),
            ("UPDATE_ROLLBACK_IN_PROGRESS", Some(false)),
            ("UPDATE_ROLLBACK_COMPLETE", Some(false)),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None),
            ("CREATE_IN_PROGRESS", None),
            ("UPDATE_COMPLETE", None),
        ] {
            let found = cancellation(&core(), &stack(status)).ok().map(|work| work.is_some());
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn an_update_takes_a_stack_that_is_there() {
        assert!(check_change(Act::Update, &core(), None).is_err());
        assert!(check_change(Act::Update, &core(), Some(&stack("REVIEW_IN_PROGRESS"))).is_err());
        assert!(check_change(Act::Update, &core(), Some(&stack("UPDATE_COMPLETE"))).is_ok());
        assert!(check_change(Act::Create, &core(), None).is_ok());
    }
}
