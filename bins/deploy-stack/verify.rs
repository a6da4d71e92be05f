//! Whether an operation came to the wished end. Pure.

use changeset::live::{Ended, Event, Phase, Recovery};
use changeset::request::StackArg;
use kit::Failure;

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
    let mut failure = Failure::unverified(attempt);
    failure = failure.because(match &ended.first_failure {
        Some(first) => format!(
            "{} ({}): {}",
            first.path,
            first.resource_type,
            first.reason.as_deref().unwrap_or("AWS gives no reason")
        ),
        None => match &ended.reason {
            Some(reason) => reason.clone(),
            None => "AWS gives no reason".to_owned(),
        },
    });
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
