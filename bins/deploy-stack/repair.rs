//! Ending a running update, and bringing back a stack that is stuck.

use changeset::live::{Phase, Since, Stack};
use changeset::request::StackArg;
use kit::Failure;

use crate::deploy::Deploy;
use crate::plan::{Work, repair_id};
use crate::verify::{Wished, verify};

impl Deploy<'_> {
    /// The stack, which must be there.
    pub(crate) async fn present(&self, arg: &StackArg) -> Result<Stack, Failure> {
        let stack = self.cfn.observe_stack(self.cx, &arg.stack).await?;
        stack.filter(|stack| stack.phase() != Phase::Deleted).ok_or_else(|| {
            Failure::refused(format!("{} stack {}", self.args.action.word(), arg.stack))
                .because("it does not exist")
                .help("correct its name")
        })
    }

    /// Does what was planned for a stack, and sees it rolled back.
    pub(crate) async fn repair(&self, arg: &StackArg, stack: &Stack, work: &Work) -> Result<(), Failure> {
        let (cx, cfn, label) = (self.cx, self.cfn, &arg.label);
        let token = format!("repair-{}", cx.run_id());
        cx.report().group(&format!("{label}: events"));
        // A cancelled update is one operation with its roll-back.
        let since = match (work, cfn.last_operation(cx, &stack.id).await?) {
            (Work::Cancel { .. }, Some(running)) => Since::from(&running),
            _ => cfn.mark(cx, &stack.id).await?,
        };
        let call = async {
            match work {
                Work::ContinueRollback { skip, .. } => cfn.continue_rollback(&stack.id, skip, &token).await,
                Work::Rollback { .. } => cfn.rollback_stack(&stack.id, &token).await,
                _ => cfn.cancel_update(&stack.id, &token).await,
            }
        };
        cx.act(&repair_id(label), &serde_json::Value::Null, call).await?;
        let ended = cfn.follow(cx, &stack.id, since).await?;
        cx.report().end_group();
        verify(arg, &ended, Wished::RolledBack)?;
        self.tell(label, &ended);
        Ok(())
    }

    /// Follows a roll-back that goes on already.
    pub(crate) async fn follow_back(&self, arg: &StackArg, stack: &Stack) -> Result<(), Failure> {
        if stack.phase() != Phase::InProgress {
            return Ok(());
        }
        let Some(running) = self.cfn.last_operation(self.cx, &stack.id).await? else { return Ok(()) };
        let ended = self.cfn.follow(self.cx, &stack.id, Since::from(&running)).await?;
        verify(arg, &ended, Wished::RolledBack)
    }
}
