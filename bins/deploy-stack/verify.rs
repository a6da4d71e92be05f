//! Whether an operation came to the wished end. Pure.

use changeset::live::{Ended, Event, Phase, Recovery};
use changeset::request::StackArg;
use kit::Failure;

use crate::args::Act;
use crate::plan::named;

/// The end that is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wished {
    Settled,
    /// Settled, of a stack that is made again after its deletion.
    Again,
    Deleted,
    RolledBack,
}

/// The end of an operation of a stack.
pub(crate) fn verify(arg: &StackArg, ended: &Ended, wished: Wished) -> Result<(), Failure> {
    let (label, operand) = (&arg.label, named(arg));
    let reached = match wished {
        Wished::Settled | Wished::Again => ended.phase() == Phase::Settled,
        Wished::Deleted => ended.phase() == Phase::Deleted,
        Wished::RolledBack => ended.phase() == Phase::RolledBack,
    };
    if reached {
        return Ok(());
    }
    let attempt = match wished {
        Wished::Settled => format!("run stack {label}"),
        Wished::Again => format!("make stack {label} again"),
        Wished::Deleted => format!("delete stack {label}"),
        Wished::RolledBack => format!("roll stack {label} back"),
    };
    let mut failure = Failure::unverified(attempt).because(reason(ended));
    let status = &ended.status;
    failure = failure.state(format!("stack {label} is {status}"));
    Err(match ended.phase() {
        Phase::RolledBack => {
            failure.help("it is as it was before; correct what failed, review and run again")
        }
        Phase::NeedsRecovery(Recovery::ContinueRollback) if wished == Wished::RolledBack => {
            let skip = ended.first_failure.as_ref().map_or_else(|| "LogicalId".to_owned(), to_skip);
            failure.help("mend what the reason names, and run the same command again").help(format!(
                "or leave it as it is, though CloudFormation takes it for rolled back: deploy-stack --action recover --stack \
                 {operand} --skip {skip}"
            ))
        }
        Phase::NeedsRecovery(Recovery::ContinueRollback | Recovery::Rollback) => {
            failure.help(format!("bring it back: deploy-stack --action recover --stack {operand}"))
        }
        Phase::NeedsRecovery(Recovery::Delete) if wished == Wished::Deleted => failure
            .help("look at what could not be deleted, empty or keep it, and delete again; nothing is retained by force"),
        Phase::NeedsRecovery(Recovery::Delete) if wished == Wished::Again => failure
            .help("correct what failed, and run the same command again: it is made with what was saved of it"),
        Phase::NeedsRecovery(Recovery::Delete) => failure.help(format!(
            "it never came to work: deploy-stack --action delete --stack {operand} --save-to DIR, then create it again"
        )),
        _ => failure.help("look at it in the console"),
    })
}

/// Whether a run goes on when an operation that it did not begin has come to its end; what it tells of one that failed.
///
/// # Errors
/// It does not (exit 7): a person has to look first.
pub(crate) fn goes_on(
    arg: &StackArg,
    was: &str,
    ended: &Ended,
    action: Act,
) -> Result<Option<String>, Failure> {
    let (label, operand, status) = (&arg.label, named(arg), &ended.status);
    let deletion = was.starts_with("DELETE_");
    let phase = ended.phase();
    if phase == if deletion { Phase::Deleted } else { Phase::Settled } {
        return Ok(None);
    }
    let told = format!("it was {was} before this run came, and ended as {status}: {}", reason(ended));
    // It was to go, and still is: what is left of it is looked at next. A deletion that failed would fail again.
    let can_go = matches!(
        phase,
        Phase::RolledBack
            | Phase::NeedsRecovery(Recovery::Delete | Recovery::ContinueRollback | Recovery::Rollback)
    );
    if action.removes() && !deletion && can_go {
        return Ok(Some(format!("{label}: {told}")));
    }
    let failure = Failure::waiting(format!("follow what was going on in stack {label}"))
        .because(told)
        .state(format!("stack {label} is {status}"));
    Err(match phase {
        Phase::RolledBack => failure.help(
            "this run did not begin it: find out who did, an earlier run perhaps, and whether it is to be repeated; the stack is as it was before, and the \
             same command goes on from there",
        ),
        Phase::NeedsRecovery(Recovery::ContinueRollback | Recovery::Rollback) => {
            failure.help(format!("bring it back: deploy-stack --action recover --stack {operand}"))
        }
        Phase::NeedsRecovery(Recovery::Delete) if deletion => failure
            .help("look at what could not be deleted, empty or keep it, and run the same command again"),
        Phase::NeedsRecovery(Recovery::Delete) => failure.help(format!(
            "it never came to work: deploy-stack --action delete --stack {operand} --save-to DIR, then create it again"
        )),
        _ => failure.help("look at it in the console"),
    })
}

/// Why an operation came to another end.
fn reason(ended: &Ended) -> String {
    match (&ended.first_failure, &ended.reason) {
        (Some(first), _) => format!(
            "{} ({}): {}",
            first.path,
            first.resource_type,
            first.reason.as_deref().unwrap_or("AWS gives no reason")
        ),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "AWS gives no reason".to_owned(),
    }
}

/// As `ContinueUpdateRollback` names a resource: with the name of its stack when that is a nested one.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ContinueUpdateRollback.html>
fn to_skip(event: &Event) -> String {
    let nested = event.path.contains('/');
    let stack = event.stack_id.split(":stack/").nth(1).and_then(|rest| rest.split('/').next());
    match stack.filter(|_| nested) {
        Some(stack) => format!("{stack}.{}", event.logical_id),
        None => event.logical_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: &str) -> Ended {
        let first = Event {
            path: "S3Res/Bucket".into(),
            logical_id: "Bucket".into(),
            stack_id: "arn:aws:cloudformation:us-east-1:123456789012:stack/infra-S3Res-1ABC/0".into(),
            resource_type: "AWS::S3::Bucket".into(),
            reason: Some("jenkins-backups already exists".into()),
            ..Event::default()
        };
        Ended {
            status: status.into(),
            reason: None,
            first_failure: Some(first),
            kept: Vec::new(),
            undeleted: Vec::new(),
            outputs: std::collections::BTreeMap::new(),
        }
    }

    fn core() -> StackArg {
        "core:CoreProduction=core.template".parse().unwrap()
    }

    /// What a run does whose stack was at work: on, on with a word of it, or the next move of a person.
    #[test]
    fn what_others_began_lets_a_run_go_on_or_waits_for_a_person() {
        for (was, status, action, expected) in [
            ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE", Act::Update, "on"),
            ("CREATE_IN_PROGRESS", "CREATE_COMPLETE", Act::Delete, "on"),
            ("DELETE_IN_PROGRESS", "DELETE_COMPLETE", Act::Create, "on"),
            (
                "UPDATE_IN_PROGRESS",
                "UPDATE_ROLLBACK_COMPLETE",
                Act::Update,
                "the same command goes on from there",
            ),
            ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", Act::Delete, "told"),
            (
                "UPDATE_IN_PROGRESS",
                "UPDATE_ROLLBACK_FAILED",
                Act::Update,
                "--action recover --stack core:CoreProduction",
            ),
            ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED", Act::Recreate, "told"),
            (
                "CREATE_IN_PROGRESS",
                "ROLLBACK_COMPLETE",
                Act::Create,
                "--action delete --stack core:CoreProduction",
            ),
            ("CREATE_IN_PROGRESS", "ROLLBACK_COMPLETE", Act::Recreate, "told"),
            ("DELETE_IN_PROGRESS", "DELETE_FAILED", Act::Delete, "look at what could not be deleted"),
            ("IMPORT_IN_PROGRESS", "IMPORT_ROLLBACK_FAILED", Act::Delete, "in the console"),
        ] {
            let case = format!("{was} to {status}, {action:?}");
            match goes_on(&core(), was, &ended(status), action) {
                Ok(None) => assert_eq!(expected, "on", "{case}"),
                Ok(Some(told)) => {
                    assert_eq!(expected, "told", "{case}");
                    assert!(told.contains("jenkins-backups already exists"), "{case}: {told}");
                }
                Err(failure) => {
                    assert_eq!(failure.code(), kit::Code::Waiting, "{case}");
                    assert!(failure.chain()[0].contains("before this run came"), "{case}: {failure:?}");
                    assert!(format!("{failure:?}").contains(expected), "{case}: {failure:?}");
                }
            }
        }
    }

    #[test]
    fn only_the_wished_end_is_success() {
        for status in ["CREATE_COMPLETE", "UPDATE_COMPLETE"] {
            assert!(verify(&core(), &ended(status), Wished::Settled).is_ok(), "{status}");
        }
        assert!(verify(&core(), &ended("DELETE_COMPLETE"), Wished::Deleted).is_ok());
        assert!(verify(&core(), &ended("UPDATE_ROLLBACK_COMPLETE"), Wished::RolledBack).is_ok());
        for (status, help) in [
            ("UPDATE_ROLLBACK_COMPLETE", "it is as it was before"),
            ("ROLLBACK_COMPLETE", "--action delete --stack core:CoreProduction --save-to"),
            ("UPDATE_ROLLBACK_FAILED", "--action recover --stack core:CoreProduction"),
            ("UPDATE_FAILED", "--action recover"),
        ] {
            let failure = verify(&core(), &ended(status), Wished::Settled).unwrap_err();
            assert_eq!(failure.code(), kit::Code::Unverified, "{status}");
            assert_eq!(failure.chain(), ["S3Res/Bucket (AWS::S3::Bucket): jenkins-backups already exists"]);
            assert!(format!("{failure:?}").contains(help), "{failure:?}");
        }
        let failure = verify(&core(), &ended("UPDATE_ROLLBACK_FAILED"), Wished::RolledBack).unwrap_err();
        assert!(
            format!("{failure:?}").contains("--stack core:CoreProduction --skip infra-S3Res-1ABC.Bucket"),
            "{failure:?}"
        );
        let failure = verify(&core(), &ended("ROLLBACK_COMPLETE"), Wished::Again).unwrap_err();
        assert!(format!("{failure:?}").contains("run the same command again"), "{failure:?}");
        let failure = verify(&core(), &ended("DELETE_FAILED"), Wished::Deleted).unwrap_err();
        assert!(format!("{failure:?}").contains("nothing is retained by force"), "{failure:?}");
        assert!(verify(&core(), &ended("DELETE_COMPLETE"), Wished::Settled).is_err());
    }
}
