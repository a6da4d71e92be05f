//! Stacks that are to be deleted, or made again: without a change set.

use changeset::judge::Rules;
use changeset::live::{Cfn, Phase};
use changeset::look::{check_removable, look_at_removal};
use changeset::prepare::{Call, Former, Prepared};
use changeset::request::StackArg;
use changeset::review::{Operation, StackReview, State};
use kit::{Cx, Failure};

/// What runs before a stack.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The labels of those that change.
    pub(crate) changing: &'a [&'a str],
    /// The names of those that go.
    pub(crate) deleted: &'a [&'a str],
}

pub(crate) async fn review(
    cx: &Cx,
    cfn: &Cfn,
    call: &Call,
    arg: &StackArg,
    operation: Operation,
    rules: &Rules,
    before: Before<'_>,
) -> Result<StackReview, Failure> {
    let stack = cfn.observe_stack(cx, &arg.stack).await?.filter(|stack| match stack.phase() {
        Phase::Deleted => false,
        // The empty stack of a change set is no stack that could be made again.
        Phase::Review => operation == Operation::Delete,
        _ => true,
    });
    let Some(stack) = stack else {
        let mut review = blank(arg, operation, State::NoChanges);
        review.warnings.push("there is no such stack, so nothing is deleted".to_owned());
        return Ok(review);
    };
    check_removable(cx, cfn, &arg.label, &stack, before.deleted).await?;
    // What it is to be made of again must be there before it is approved to go.
    let mut again = None;
    if operation == Operation::Recreate {
        let prepared = call.prepare_again(cx, cfn, arg, &Former::from(&stack), before.changing).await?;
        again = match prepared {
            Prepared::Ready(ready) => Some(ready),
            // deploy-stack looks before it deletes whether what is kept is in the way.
            Prepared::Provisional(_) => None,
        };
    }
    look_at_removal(cx, cfn, &arg.label, &stack, operation, rules, again.as_deref()).await
}

/// A stack that can't be planned yet.
pub(crate) fn provisional(arg: &StackArg, why: &str) -> StackReview {
    blank(arg, Operation::Create, State::Provisional(why.to_owned()))
}

fn blank(arg: &StackArg, operation: Operation, state: State) -> StackReview {
    StackReview {
        label: arg.label.clone(),
        stack: arg.stack.clone(),
        stack_id: None,
        change_set: None,
        operation,
        state,
        rows: Vec::new(),
        warnings: Vec::new(),
    }
}
