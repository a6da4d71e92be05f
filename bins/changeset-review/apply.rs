//! Makes change sets, has them looked at, and takes them away again.

use std::collections::BTreeMap;

use changeset::judge::Rules;
use changeset::live::{Cfn, SetRef, Shell, Want, purpose_of, set_name};
use changeset::look::{Looked, look};
use changeset::prepare::{Call, Ready};
use changeset::review::{StackReview, State};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

use crate::plan::id;

/// What `--undo` needs to take a change set away: its name was chosen before it was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) stack: String,
    pub(crate) set: String,
    /// Whether the stack did not exist before.
    pub(crate) is_new: bool,
}

/// Reviews one stack by a change set of its own.
pub(crate) async fn review(
    cx: &Cx,
    cfn: &Cfn,
    call: &Call,
    ready: &Ready,
    rules: &Rules,
    keep: bool,
    ahead: &[&str],
) -> Result<(StackReview, Option<SetRef>), Failure> {
    let label = &ready.arg.label;
    cx.report().group(&format!("{label}: change set"));
    let id = id(label);
    let purpose = purpose(cx, ready, keep);
    let name = set_name(&purpose, &cx.run_id());
    // Those that are kept are there to be looked at.
    let left = if keep || ready.absent {
        Vec::new()
    } else {
        cfn.left(cx, &ready.arg.stack, &set_name(&purpose, "")).await?
    };
    // The empty stack of a review that was cut off goes with this one's, unless it has another change set still.
    let is_new = ready.observed.is_none() && (ready.absent || !keep);
    let inverse = Inverse { stack: ready.arg.stack.clone(), set: name.clone(), is_new };
    let mut want = Want {
        description: "made by changeset-review to be looked at; safe to delete".to_owned(),
        ..ready.want.clone()
    };
    let set = cx
        .act(&id, &inverse, async {
            for set in &left {
                if let Err(error) = cfn.delete_set(set).await {
                    let why = error.chain().join(": ");
                    cx.report().warn(&format!("{error}, which an earlier review left: {why}"));
                }
            }
            if let Some(body) = &ready.body {
                want.template = cfn.template_source(cx, body, call.bucket.as_ref()).await?;
            }
            cfn.make_set(&want, &name).await
        })
        .await?;
    let looked = look(cx, cfn, ready, &set, rules).await;
    let empty = matches!(&looked, Ok(Looked::Review(review)) if review.state == State::NoChanges);
    let broken = matches!(&looked, Ok(Looked::Failed { .. }) | Err(_));
    let kept = keep && !empty && !broken;
    let mut left = None;
    if !kept {
        let gone =
            cx.put_back(&id, take_away(cx, cfn, Some(&set), is_new.then_some(set.stack_id.as_str()))).await;
        left = gone.err().map(|error| {
            let shell = if is_new { ", or the empty stack that it made," } else { "" };
            let why = std::iter::once(error.to_string()).chain(error.chain()).collect::<Vec<_>>();
            format!("the change set {name}{shell} is left ({})", why.join(": "))
        });
    }
    cx.report().end_group();
    let takes_away = "changeset-review --undo with the receipt takes it away";
    let looked = match (looked, left) {
        (Err(failure), Some(left)) => return Err(failure.help(takes_away).state(left)),
        (looked, Some(left)) => {
            // What was found out is worth more than a set that is left.
            cx.report().warn(&format!("{left}: {takes_away}"));
            looked?
        }
        (looked, None) => looked?,
    };
    match looked {
        Looked::Review(mut review) => {
            if !kept {
                // It is gone: a link to it would lead nowhere.
                review.change_set = None;
            }
            Ok((*review, kept.then_some(set)))
        }
        Looked::Failed { reason, details } => {
            if let Some(because) = provisional(&reason, &details, ahead) {
                return Ok((ready.review(State::Provisional(because), Vec::new()), None));
            }
            let mut failure = Failure::failed(format!("make a change set for stack {label}"))
                .because(std::iter::once(reason).chain(details).collect::<Vec<_>>().join("\n"));
            failure = failure.help("correct what it names, and review again");
            Err(failure)
        }
    }
}

/// The same for all attempts of one review: of a stack, a template, and the job, or the user at a terminal, that asks. Others
/// review the same stack at the same time, and theirs is let alone.
fn purpose(cx: &Cx, ready: &Ready, keep: bool) -> String {
    let env = cx.env();
    let of = |name: &str| env.get(name).unwrap_or_default();
    let asks = if env.in_github_job() {
        ["GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_JOB"].map(of)
    } else {
        ["USER", "HOSTNAME", ""].map(of)
    };
    let body = ready.body.as_deref().unwrap_or_default();
    let what = [&asks[..], &[&ready.arg.label, &ready.arg.stack, body]].concat();
    purpose_of(if keep { "kept" } else { "review" }, &what)
}

/// A set that can't be made because it imports what a stack ahead of it is still to export.
fn provisional(reason: &str, details: &[String], ahead: &[&str]) -> Option<String> {
    let missing = std::iter::once(reason)
        .chain(details.iter().map(String::as_str))
        .find(|line| line.contains("No export named"))?;
    (!ahead.is_empty()).then(|| format!("{missing}; {} runs ahead of it", ahead.join(", ")))
}

/// Deletes a change set, and the empty stack that the first one of a new stack leaves.
pub(crate) async fn take_away(
    cx: &Cx,
    cfn: &Cfn,
    set: Option<&SetRef>,
    shell: Option<&str>,
) -> Result<(), Failure> {
    if let Some(set) = set {
        cfn.delete_set(set).await?;
    }
    if let Some(stack_id) = shell {
        let token = format!("shell-{}", cx.run_id());
        if let Shell::Kept(why) = cfn.delete_shell(cx, stack_id, &token).await? {
            cx.report().say(&format!("the empty stack is left: {why}"));
        }
    }
    Ok(())
}

/// The change sets that were kept, for the output.
pub(crate) fn kept_json(kept: &BTreeMap<String, SetRef>) -> String {
    let arns: BTreeMap<&String, &String> = kept.iter().map(|(label, set)| (label, &set.arn)).collect();
    serde_json::to_string(&arns).unwrap_or_default()
}
