//! Deleting, and making again.

use changeset::live::{Phase, Stack};
use changeset::look::{check_removable, look_at_removal};
use changeset::prepare::{Former, Prepared, Ready};
use changeset::request::StackArg;
use changeset::review::{Operation, StackReview};
use kit::Failure;

use crate::args::Act;
use crate::deploy::Deploy;
use crate::drain;
use crate::plan::{Work, delete_id, removal_lines};
use crate::protect::restore;
use crate::saved::{Place, Saved, worked};
use crate::still::{Sight, differences, moved};
use crate::verify::{Wished, verify};

/// A stack that is to go, looked at.
pub(crate) struct Going {
    pub(crate) stack: Stack,
    review: StackReview,
    pub(crate) saved: Saved,
    /// What is saved of the stack in whose place this one was to come, which itself never came to work.
    before: Option<Saved>,
    /// What it is made of again, when it is.
    next: Option<Box<Ready>>,
}

impl Going {
    /// What it is made again with.
    pub(crate) fn again(&self) -> &Saved {
        self.before.as_ref().unwrap_or(&self.saved)
    }
}

/// What is there of a stack that is to be deleted, or deleted and made again.
pub(crate) enum Found {
    /// It is to go.
    Going(Box<Going>),
    /// It is gone; what was saved of it, when it is to be made again.
    Gone(Option<Box<Saved>>),
    /// It was deleted and made again already, since it was reviewed or by an earlier run that was cut off.
    Anew(Anew),
}

/// A stack that was made in the place of another.
pub(crate) struct Anew {
    stack_id: String,
    pub(crate) known: Known,
    /// What the one before had of a policy, which this one has not: the run that made it was cut off.
    pub(crate) policy: Option<String>,
}

/// By what it is known that a stack was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Another stack was reviewed, or this run has seen how it was made.
    Seen,
    /// What is saved is of another stack of its name.
    Saved,
}

/// What the plan says of it.
pub(crate) fn removal_work(arg: &StackArg, going: &Going, place: &Place) -> Work {
    Work::Delete {
        label: arg.label.clone(),
        stack: arg.stack.clone(),
        stack_id: going.stack.id.clone(),
        removes: removal_lines(&going.review),
        saved_to: place.of(&going.saved),
    }
}

impl Deploy<'_> {
    fn operation(&self) -> Operation {
        if self.args.action == Act::Recreate { Operation::Recreate } else { Operation::Delete }
    }

    /// Looks at a stack that is to go, and refuses what was not approved, what CloudFormation would refuse, and what could not be
    /// made again. `ahead` are the stacks that are deleted before it.
    pub(crate) async fn found(
        &self,
        arg: &StackArg,
        ahead: &[&str],
        place: &Place,
    ) -> Result<Found, Failure> {
        let (cx, cfn) = (self.cx, self.cfn);
        let again = self.args.action == Act::Recreate;
        let running = cfn.observe_stack(cx, &arg.stack).await?.map(|stack| stack.status);
        let stack = self.settled(arg).await?;
        // The empty stack of a change set that was not executed is no stack that was made.
        let stack = stack.filter(|stack| match stack.phase() {
            Phase::Deleted => false,
            Phase::Review => !again,
            _ => true,
        });
        let Some(stack) = stack else {
            return if again { self.gone(arg, place).await } else { Ok(Found::Gone(None)) };
        };
        // One that never came to work holds nothing, and is made room for as the one before it was.
        if again && worked(&stack.status) {
            let is_made = running.as_deref() == Some("CREATE_IN_PROGRESS");
            if let Some(anew) = self.anew(arg, &stack, is_made, place).await? {
                return Ok(Found::Anew(anew));
            }
        }
        check_removable(cx, cfn, &arg.label, &stack, ahead).await?;
        let saved = Saved::of(cx, cfn, &stack).await?;
        let before =
            if again && !worked(&stack.status) { place.newest(cx, cfn, &arg.stack).await? } else { None };
        let next = if again {
            Some(self.makeable(arg, &before.as_ref().unwrap_or(&saved).former()).await?)
        } else {
            None
        };
        let (label, operation) = (&arg.label, self.operation());
        let mut review =
            look_at_removal(cx, cfn, label, &stack, operation, self.rules, next.as_deref()).await?;
        if let Err(refused) = self.admit(&mut review) {
            self.show(&mut review);
            return Err(refused.help(format!("review it: {}", self.args.review_command())));
        }
        Ok(Found::Going(Box::new(Going { stack, review, saved, before, next })))
    }

    /// Whether a stack that works was made in the place of the one that is to go, and by what that is known. A review names the one that
    /// is to go. Without one it is the one that is there, unless what is saved tells of another that was there before: a run that is
    /// repeated can't be told from a new wish, and only one of the two deletes what was restored since.
    async fn anew(
        &self,
        arg: &StackArg,
        stack: &Stack,
        is_made: bool,
        place: &Place,
    ) -> Result<Option<Anew>, Failure> {
        let (cx, cfn) = (self.cx, self.cfn);
        let reviewed = self.reviewed.recreated(&arg.label);
        if !is_made && reviewed.is_some_and(|reviewed| *reviewed == stack.id) {
            return Ok(None);
        }
        let saved = place.newest(cx, cfn, &arg.stack).await?.filter(|saved| saved.stack_id != stack.id);
        let known = match &saved {
            _ if is_made || reviewed.is_some() => Known::Seen,
            Some(_) => Known::Saved,
            None => return Ok(None),
        };
        let mut policy = saved.and_then(|saved| saved.stack_policy);
        if policy.is_some() && cfn.stack_policy(cx, &stack.id).await?.is_some() {
            policy = None;
        }
        Ok(Some(Anew { stack_id: stack.id.clone(), known, policy }))
    }

    /// A stack whose deletion an earlier run began: what it was is known from what was saved alone.
    async fn gone(&self, arg: &StackArg, place: &Place) -> Result<Found, Failure> {
        let Some(saved) = place.newest(self.cx, self.cfn, &arg.stack).await? else {
            return Err(Failure::refused(format!("make stack {} again", arg.label))
                .because(format!(
                    "there is no stack {}, and nothing of it is saved in {}",
                    arg.stack,
                    place.shown()
                ))
                .help("correct the stack's name, or name the place where it was saved with --save-to")
                .help("make a stack that was never there with --action create"));
        };
        self.makeable(arg, &saved.former()).await?;
        Ok(Found::Gone(Some(Box::new(saved))))
    }

    async fn makeable(&self, arg: &StackArg, former: &Former) -> Result<Box<Ready>, Failure> {
        match self.call.prepare_again(self.cx, self.cfn, arg, former, &[]).await? {
            Prepared::Ready(ready) => Ok(ready),
            Prepared::Provisional(why) => {
                Err(Failure::refused(format!("make stack {} again", arg.label)).because(why))
            }
        }
    }

    /// Saves what it was, checks that it is drained, looks once more whether it is still that, and deletes it.
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
        let since = cfn.mark(cx, &going.stack.id).await?;
        self.still(label, going).await?;
        cx.report().group(&format!("{label}: events"));
        let token = format!("delete-{}", cx.run_id());
        let inverse = serde_json::json!({ "saved": at });
        cx.act(&delete_id(label), &inverse, cfn.delete_stack(&going.stack.id, &token)).await?;
        let ended = cfn.follow(cx, &going.stack.id, since).await?;
        cx.report().end_group();
        verify(arg, &ended, Wished::Deleted)?;
        self.tell(label, &ended);
        Ok(())
    }

    /// Refuses to delete what is not what was looked at and saved: other stacks of the call and the drain check can have taken hours.
    async fn still(&self, label: &str, going: &Going) -> Result<(), Failure> {
        let (cx, cfn) = (self.cx, self.cfn);
        let now = cfn.observe_stack(cx, &going.stack.id).await?;
        let lines = match (moved(&going.stack, now.as_ref()), &now) {
            (Some(why), _) => vec![why],
            (None, None) => Vec::new(),
            (None, Some(now)) => {
                let (operation, next) = (self.operation(), going.next.as_deref());
                let review = look_at_removal(cx, cfn, label, now, operation, self.rules, next).await?;
                let saved = Saved::of(cx, cfn, now).await?;
                let then = Sight { stack: &going.stack, review: &going.review, saved: &going.saved };
                differences(then, Sight { stack: now, review: &review, saved: &saved })
            }
        };
        if lines.is_empty() {
            return Ok(());
        }
        Err(Failure::waiting(format!("delete stack {label}"))
            .because(format!("others changed it since this run looked at it:\n{}", lines.join("\n")))
            .help(format!(
                "review what is left of this call, and run it with those stacks alone: {}",
                self.args.review_from(label)
            ))
            .help("or run the same command again, when it is to go as it is now: what was not approved is refused")
            .state(format!("nothing of stack {label} was deleted")))
    }

    /// Makes a deleted stack again, with what is saved of it for what is not given.
    pub(crate) async fn make_again(&self, arg: &StackArg, saved: &Saved) -> Result<bool, Failure> {
        let made = match self.call.prepare_again(self.cx, self.cfn, arg, &saved.former(), &[]).await? {
            Prepared::Ready(ready) => self.run(&ready).await?,
            Prepared::Provisional(why) => {
                return Err(Failure::refused(format!("make stack {} again", arg.label)).because(why));
            }
        };
        if let Some(policy) = &saved.stack_policy
            && let Some(stack) = self.cfn.observe_stack(self.cx, &arg.stack).await?
        {
            restore(self.cx, self.cfn, &arg.label, &stack.id, policy).await?;
        }
        Ok(made)
    }

    /// A stack that was made again already gets the policy that the one before it had, and is as it is to be, or the run ends.
    pub(crate) async fn compare(&self, arg: &StackArg, anew: &Anew) -> Result<bool, Failure> {
        // First, as it guards what is in the stack by now, whatever the comparison comes to.
        if let Some(policy) = &anew.policy {
            restore(self.cx, self.cfn, &arg.label, &anew.stack_id, policy).await?;
        }
        match self.call.prepare(self.cx, self.cfn, arg, &[]).await? {
            Prepared::Ready(ready) => Ok(self.run(&ready).await? || anew.policy.is_some()),
            Prepared::Provisional(why) => {
                Err(Failure::refused(format!("compare stack {}", arg.label)).because(why))
            }
        }
    }
}
