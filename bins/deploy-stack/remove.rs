//! Deleting, and making again.

use changeset::live::{Phase, Stack};
use changeset::look::{check_removable, look_at_removal};
use changeset::prepare::{Former, Prepared};
use changeset::request::StackArg;
use changeset::review::{Operation, StackReview};
use kit::Failure;

use crate::args::Act;
use crate::deploy::Deploy;
use crate::drain;
use crate::plan::{Work, delete_id, removal_lines};
use crate::saved::{Place, Saved};
use crate::verify::{Wished, verify};

/// A stack that is to go, looked at.
pub(crate) struct Going {
    pub(crate) stack: Stack,
    review: StackReview,
    saved: Saved,
}

impl Deploy<'_> {
    fn operation(&self) -> Operation {
        if self.args.action == Act::Recreate { Operation::Recreate } else { Operation::Delete }
    }

    /// Looks at a stack that is to go, and refuses what was not approved, what CloudFormation would refuse, and what could not be
    /// made again. None when there is none any more.
    pub(crate) async fn going(&self, arg: &StackArg) -> Result<Option<Going>, Failure> {
        let (cx, cfn) = (self.cx, self.cfn);
        let stack = self.settled(arg).await?.filter(|stack| stack.phase() != Phase::Deleted);
        let Some(stack) = stack else { return Ok(None) };
        check_removable(cx, cfn, &arg.label, &stack).await?;
        let mut review = look_at_removal(cx, cfn, &arg.label, &stack, self.operation(), self.rules).await?;
        if let Err(refused) = self.admit(&mut review) {
            self.show(&mut review);
            return Err(refused.help(format!("review it: {}", self.args.review_command(arg))));
        }
        if self.args.action == Act::Recreate {
            let again = self.call.prepare_again(cx, cfn, arg, &Former::from(&stack), &[]).await?;
            if let Prepared::Provisional(why) = again {
                return Err(Failure::refused(format!("make stack {} again", arg.label)).because(why));
            }
        }
        let saved = Saved::of(cx, cfn, &stack).await?;
        Ok(Some(Going { stack, review, saved }))
    }

    /// What the plan says of it.
    pub(crate) fn removal_work(&self, arg: &StackArg, going: &Going, place: &Place) -> Work {
        Work::Delete {
            label: arg.label.clone(),
            stack: arg.stack.clone(),
            stack_id: going.stack.id.clone(),
            removes: removal_lines(&going.review),
            saved_to: place.of(&going.saved),
        }
    }

    /// Saves what it was, checks that it is drained, and deletes it.
    pub(crate) async fn remove(
        &self,
        arg: &StackArg,
        going: &mut Going,
        place: &Place,
    ) -> Result<(), Failure> {
        let (cx, cfn, label) = (self.cx, self.cfn, &arg.label);
        self.show(&mut going.review);
        let at = place.save(cx, &going.saved).await?;
        cx.report().say(&format!("{label}: what it was is saved to {at}"));
        if let Some(program) = &self.args.drain_check {
            drain::check(cx, label, program).await?;
        }
        cx.report().group(&format!("{label}: events"));
        let since = cfn.mark(cx, &going.stack.id).await?;
        let token = format!("delete-{}", cx.run_id());
        let inverse = serde_json::json!({ "saved": at });
        cx.act(&delete_id(label), &inverse, cfn.delete_stack(&going.stack.id, &token)).await?;
        let ended = cfn.follow(cx, &going.stack.id, since).await?;
        cx.report().end_group();
        verify(arg, &ended, Wished::Deleted)?;
        self.tell(label, &ended);
        Ok(())
    }

    /// Makes a deleted stack again, with what is saved of it for what is not given.
    pub(crate) async fn make_again(&self, arg: &StackArg, former: &Former) -> Result<bool, Failure> {
        match self.call.prepare_again(self.cx, self.cfn, arg, former, &[]).await? {
            Prepared::Ready(ready) => self.run(&ready).await,
            Prepared::Provisional(why) => {
                Err(Failure::refused(format!("make stack {} again", arg.label)).because(why))
            }
        }
    }
}
