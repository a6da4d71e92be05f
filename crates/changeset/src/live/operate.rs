//! The calls that change a stack. Each carries a token, and a refusal is believed only when no operation began with it: the
//! first of two tries may have taken effect and its answer been lost.

use std::time::Duration;

use aws::failure;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use kit::Failure;

use super::describe::set_of;
use super::{Cfn, SetRef, short};

/// Before each look whether an operation has begun whose answer did not come.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

impl Cfn {
    /// Executes exactly that change set.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html>
    pub async fn execute(&self, set: &SetRef, token: &str) -> Result<(), Failure> {
        let call = self.client.execute_change_set().change_set_name(&set.arn).client_request_token(token);
        self.recent.executed();
        let attempt =
            format!("execute the change set {} of stack {}", set_of(&set.arn), short(&set.stack_id));
        let sent = call.send().await.map(drop);
        self.begun(sent, attempt, "cloudformation:ExecuteChangeSet", &set.stack_id, token).await
    }

    /// Deletes a stack by its ARN, no resource retained but those whose own policy says so.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteStack.html>
    pub async fn delete_stack(&self, stack_id: &str, token: &str) -> Result<(), Failure> {
        let call = self.client.delete_stack().stack_name(stack_id).client_request_token(token);
        let attempt = format!("delete stack {}", short(stack_id));
        let sent = call.send().await.map(drop);
        self.begun(sent, attempt, "cloudformation:DeleteStack", stack_id, token).await
    }

    /// Cancels a running update, which is rolled back then.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CancelUpdateStack.html>
    pub async fn cancel_update(&self, stack_id: &str, token: &str) -> Result<(), Failure> {
        let call = self.client.cancel_update_stack().stack_name(stack_id).client_request_token(token);
        let attempt = format!("cancel the update of stack {}", short(stack_id));
        let sent = call.send().await.map(drop);
        self.begun(sent, attempt, "cloudformation:CancelUpdateStack", stack_id, token).await
    }

    /// Goes on with a roll-back that failed. The resources of `skip` (`LogicalId`, or `NestedStack.LogicalId`) are taken as
    /// rolled back though they are not.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ContinueUpdateRollback.html>
    pub async fn continue_rollback(
        &self,
        stack_id: &str,
        skip: &[String],
        token: &str,
    ) -> Result<(), Failure> {
        let skipped = (!skip.is_empty()).then(|| skip.to_vec());
        let call = self
            .client
            .continue_update_rollback()
            .stack_name(stack_id)
            .set_resources_to_skip(skipped)
            .client_request_token(token);
        let attempt = format!("continue the roll-back of stack {}", short(stack_id));
        let sent = call.send().await.map(drop);
        self.begun(sent, attempt, "cloudformation:ContinueUpdateRollback", stack_id, token).await
    }

    /// Rolls back an update that failed with roll-back disabled. Of a stack whose *creation* failed it deletes everything: that
    /// is [`Cfn::delete_stack`], and said so.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_RollbackStack.html>
    pub async fn rollback_stack(&self, stack_id: &str, token: &str) -> Result<(), Failure> {
        let call = self.client.rollback_stack().stack_name(stack_id).client_request_token(token);
        let attempt = format!("roll stack {} back", short(stack_id));
        let sent = call.send().await.map(drop);
        self.begun(sent, attempt, "cloudformation:RollbackStack", stack_id, token).await
    }

    async fn begun<E>(
        &self,
        sent: Result<(), SdkError<E>>,
        attempt: String,
        action: &str,
        stack_id: &str,
        token: &str,
    ) -> Result<(), Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let Err(error) = sent else { return Ok(()) };
        // A set is obsolete because another one was executed, never because it was itself.
        let obsolete = error.message().is_some_and(|text| text.contains("[OBSOLETE]"));
        let doubtful = !obsolete && says_that_it_is_late(error.code(), error.message());
        // Events come some moments after the call: what is not seen by then is in doubt still, as the failure says.
        let is_unanswered = error.as_service_error().is_none();
        for pause in LOOKS.into_iter().take(if doubtful || is_unanswered { LOOKS.len() } else { 1 }) {
            tokio::time::sleep(pause).await;
            if self.has_begun(stack_id, token).await.unwrap_or_default() {
                return Ok(());
            }
        }
        let mut failed = failure(attempt, action, &self.arn(stack_id), error);
        if obsolete {
            failed = failed.help(
                "somebody else changed the stack since it was made: look at what, and run the same command again",
            );
        }
        Err(if doubtful { failed.untouched(false) } else { failed })
    }
}

/// Whether a refusal is also what a second try is told after a first one that took effect.
fn says_that_it_is_late(code: Option<&str>, message: Option<&str>) -> bool {
    match code {
        Some("ValidationError") => message.is_some_and(|text| text.contains("current stack status")),
        Some(code) => ["InvalidChangeSetStatus", "TokenAlreadyExists", "ChangeSetNotFound"]
            .iter()
            .any(|late| code.starts_with(late)),
        None => false,
    }
}
