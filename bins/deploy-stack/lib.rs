#![doc = include_str!("help.md")]

mod args;
mod deploy;
mod drain;
#[cfg(test)]
mod foreign_tests;
mod plan;
mod protect;
mod remove;
mod repair;
mod reviewed;
mod saved;
mod still;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use aws::Aws;
use changeset::judge::Rules;
use changeset::live::{Bucket, Cfn, Phase, Stack};
use changeset::prepare::{Call, files, no_label};
use changeset::request::StackArg;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Note, Outcome, Output, Permission, Step, redact_value};

pub use crate::args::{Act, DeployArgs};
use crate::deploy::Deploy;
use crate::plan::{DeployPlan, Work};
use crate::remove::{Found, Known, removal_work};
use crate::reviewed::Reviewed;
use crate::saved::Place;

const STACK: &str = "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*";

const fn permission(action: &'static str, when: &'static str) -> Permission {
    Permission { action, resource: STACK, when }
}

/// The step.
pub const STEP: Step = Step {
    name: "deploy-stack",
    command: kit::command::<DeployArgs>,
    outputs: &[
        Output { name: "outputs", description: "JSON object of label to the stack's outputs" },
        Output { name: "statuses", description: "JSON object of label to the stack's status" },
    ],
    permissions: &[
        permission("cloudformation:DescribeStacks", ""),
        permission("cloudformation:DescribeStackEvents", ""),
        permission("cloudformation:GetTemplate", ""),
        permission("cloudformation:ListStackResources", ""),
        permission("cloudformation:ListChangeSets", "--action create, update, recreate"),
        permission("cloudformation:CreateChangeSet", "--action create, update, recreate"),
        permission("cloudformation:DescribeChangeSet", "--action create, update, recreate"),
        permission("cloudformation:ExecuteChangeSet", "--action create, update, recreate"),
        permission("cloudformation:DeleteChangeSet", "a change set that is not executed"),
        permission(
            "cloudformation:DeleteStack",
            "--action delete, recreate; a new stack whose change set is not executed",
        ),
        permission("cloudformation:CancelUpdateStack", "--action cancel"),
        permission("cloudformation:ContinueUpdateRollback", "--action recover"),
        permission("cloudformation:RollbackStack", "--action recover"),
        permission("cloudformation:GetStackPolicy", "--action delete, recreate; --protect"),
        permission(
            "cloudformation:SetStackPolicy",
            "--protect; --action recreate of a stack that has a policy",
        ),
        Permission {
            action: "cloudformation:DescribeEvents",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/* and arn:aws:cloudformation:REGION:ACCOUNT:changeSet/cutover-*/*",
            when: "AWS's own checks of a change set; without it they are not shown",
        },
        Permission {
            action: "iam:PassRole",
            resource: "arn:aws:iam::ACCOUNT:role/SERVICE-ROLE",
            when: "the stack has a service role",
        },
        Permission { action: "cloudformation:ListExports", resource: "*", when: "--action delete, recreate" },
        Permission { action: "cloudformation:ListImports", resource: "*", when: "--action delete, recreate" },
        Permission {
            action: "s3:PutObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "a template of more than 51,200 bytes; --save-to s3://",
        },
        Permission {
            action: "s3:GetObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "a template of more than 51,200 bytes; --save-to s3://",
        },
        Permission { action: "s3:ListBucket", resource: "arn:aws:s3:::BUCKET", when: "--save-to s3://" },
        Permission {
            action: "what the templates make",
            resource: "the stacks' resources",
            when: "unless the stack has a service role",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "a change goes beyond what was approved, or the stack's state does not allow it",
        },
        ExitCode {
            code: Code::Unverified,
            meaning: "an operation failed and AWS rolled it back, or left the stack for --action recover",
        },
        ExitCode {
            code: Code::Deadline,
            meaning: "an operation was still going on at the deadline; running again follows it",
        },
        ExitCode {
            code: Code::Waiting,
            meaning: "a stack must be reviewed now that those ahead of it have run, or was changed by others since it was looked at; an operation that this run did not begin failed",
        },
    ],
    image: Image::Clients,
    timeout: Duration::from_hours(1),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: DeployArgs, cx: Cx) -> Result<Outcome, Failure> {
    if cx.undo().is_some() {
        return Err(Failure::refused("take a run of deploy-stack back")
            .because("CloudFormation has no way back from an update that succeeded, but another update")
            .help("update with the former template; make a deleted stack again from what --save-to kept"));
    }
    args.check()?;
    let review = match (&args.review, &args.fingerprint) {
        (Some(file), Some(fingerprint)) => Some(reviewed::read(file, fingerprint)?),
        _ => None,
    };
    let rules = Rules::new(&review.as_ref().map(|review| review.rules.clone()).unwrap_or_default());
    let call = Call {
        stacks: args.stack.clone(),
        params: args.param.clone(),
        capabilities: args.capability.clone(),
        bucket: args.template_bucket.as_deref().map(Bucket::parse).transpose()?,
    };
    call.check()?;
    let labels: Vec<&str> = call.stacks.iter().map(|stack| stack.label.as_str()).collect();
    for approval in &args.allow {
        let label = approval.name.split('/').next().unwrap_or_default();
        if !labels.contains(&label) {
            return Err(no_label(&format!("approve {}", approval.name), label, &labels));
        }
    }
    // Every file, before the first stack is touched.
    for stack in &call.stacks {
        files(stack)?;
    }
    let aws = Aws::connect(&cx, &args.aws).await?;
    if let Some(review) = &review {
        reviewed::check_place(review, &aws.account, &aws.region)?;
    }
    let cfn = Cfn::new(&aws).every(args.interval);
    let reviewed = Reviewed { review, allow: args.allow.clone() };
    reviewed.check(&call.stacks, &args.review_command())?;
    let deploy = Deploy { cx: &cx, cfn: &cfn, args: &args, call: &call, rules: &rules, reviewed: &reviewed };
    let changed = match args.action {
        Act::Create | Act::Update => change(&deploy).await?,
        Act::Delete | Act::Recreate => remove(&deploy, &aws).await?,
        Act::Cancel | Act::Recover => repair(&deploy).await?,
    };
    let Some(changed) = changed else { return Ok(Outcome::unchanged("dry run: nothing was changed")) };
    report(&deploy).await?;
    let word = args.action.word();
    Ok(match changed.as_slice() {
        [] => Outcome::unchanged("every stack is as it is to be"),
        labels => Outcome::changed(format!("{word}: {}", labels.join(", "))),
    })
}

/// A stack as a receipt may have it: a parameter that holds a secret without saying `NoEcho` is none of its business.
fn masked(stack: &Stack) -> Stack {
    let mut stack = stack.clone();
    let values = stack
        .parameters
        .iter_mut()
        .chain(stack.outputs.iter_mut().map(|(name, output)| (name, &mut output.value)));
    for (name, value) in values {
        if let Some(masked) = redact_value(name, value) {
            *value = masked;
        }
    }
    stack
}

/// Creates or updates; the labels of what changed, none for a dry run.
async fn change(deploy: &Deploy<'_>) -> Result<Option<Vec<String>>, Failure> {
    let (cx, args) = (deploy.cx, deploy.args);
    let mut observed: BTreeMap<String, Stack> = BTreeMap::new();
    let mut plan = DeployPlan::default();
    for arg in &deploy.call.stacks {
        let stack = deploy.cfn.observe_stack(cx, &arg.stack).await?;
        plan::check_change(args.action, arg, stack.as_ref())?;
        let is_new =
            stack.as_ref().is_none_or(|stack| matches!(stack.phase(), Phase::Review | Phase::Deleted));
        if let Some(stack) = stack.as_ref().filter(|stack| stack.phase() == Phase::InProgress) {
            plan.notes.push(Note::Info(format!(
                "{} is {}: it is followed to its end first",
                arg.label, stack.status
            )));
        }
        if let Some(why) = deploy.reviewed.provisional(&arg.label) {
            plan.notes
                .push(Note::Warning(format!("{} will not be run, as it was not reviewed: {why}", arg.label)));
        }
        let is_made = stack.as_ref().is_some_and(|stack| stack.phase() != Phase::InProgress) && !is_new;
        plan.work.push(if args.action == Act::Create && is_made {
            Work::Compare { label: arg.label.clone(), stack: arg.stack.clone() }
        } else {
            Work::Change { label: arg.label.clone(), stack: arg.stack.clone(), is_new }
        });
        plan.work.extend(protection(args, arg));
        observed.extend(stack.map(|stack| (arg.label.clone(), stack)));
    }
    if deploy.reviewed.review.is_none() {
        plan.notes
            .push(Note::Info("there is no --review: only notices pass, and what --allow names".to_owned()));
    }
    cx.observed(&observed.iter().map(|(label, stack)| (label, masked(stack))).collect::<BTreeMap<_, _>>());
    if let Go::Stop(_) = cx.show(&plan)? {
        return Ok(None);
    }
    let mut changed = Vec::new();
    for (n, arg) in deploy.call.stacks.iter().enumerate() {
        match deploy.change(arg).await {
            Ok(true) => changed.push(arg.label.clone()),
            Ok(false) => {}
            Err(failure) => return Err(stopped(deploy, n, failure)),
        }
        protect_it(deploy, arg).await?;
    }
    Ok(Some(changed))
}

/// What ran and what did not, at the end of the message.
fn stopped(deploy: &Deploy<'_>, at: usize, failure: Failure) -> Failure {
    let labels: Vec<&str> = deploy.call.stacks.iter().map(|stack| stack.label.as_str()).collect();
    let (through, rest) = labels.split_at(at);
    let mut failure = failure;
    if !through.is_empty() {
        failure = failure.state(format!("through: {}", through.join(", ")));
    }
    if let Some((_, after)) = rest.split_first()
        && !after.is_empty()
    {
        failure = failure.state(format!("not begun: {}", after.join(", ")));
    }
    // What was refused is refused again.
    if labels.len() > 1 && !matches!(failure.code(), Code::Refused | Code::Usage | Code::Waiting) {
        let mut goes_on = "the same command goes on from here: stacks that are as wanted pass".to_owned();
        // Where no review names what was to go, what is saved alone tells that it is gone.
        let is_told = |label: &&str| deploy.reviewed.recreated(label).is_some();
        if deploy.args.action == Act::Recreate && !through.iter().all(is_told) {
            goes_on.push_str(&format!(
                ", and none is deleted a second time as long as {} has what was saved of it",
                deploy.args.save_to.as_deref().unwrap_or_default()
            ));
        }
        failure = failure.help(goes_on);
    }
    failure
}

/// Deletes, and makes again.
async fn remove(deploy: &Deploy<'_>, aws: &Aws) -> Result<Option<Vec<String>>, Failure> {
    let (cx, args) = (deploy.cx, deploy.args);
    let place = Place::parse(args.save_to.as_deref().unwrap_or_default(), aws)?;
    let again = args.action == Act::Recreate;
    let mut plan = DeployPlan::default();
    let mut all: Vec<Found> = Vec::new();
    let mut ahead: Vec<&str> = Vec::new();
    for arg in &deploy.call.stacks {
        let found = deploy.found(arg, &ahead, &place).await?;
        let (label, stack) = (arg.label.clone(), arg.stack.clone());
        let saved = match &found {
            Found::Going(going) => {
                plan.work.push(removal_work(arg, going, &place));
                Some(going.again())
            }
            Found::Gone(saved) => {
                plan.notes.push(Note::Info(format!("{label} does not exist, so nothing is deleted")));
                saved.as_deref()
            }
            Found::Anew(anew) => {
                let told =
                    format!("{label} was deleted and made anew already: it is not deleted a second time");
                plan.notes.push(match anew.known {
                    Known::Seen => Note::Info(told),
                    Known::Saved => Note::Warning(format!(
                        "{told}, as {} has what was there before; where that is wanted, give a review that names it: {}",
                        place.shown(),
                        args.review_command()
                    )),
                });
                None
            }
        };
        let had_policy = saved.filter(|_| again).is_some_and(|saved| saved.stack_policy.is_some());
        let again_with = |policy: bool| {
            let text = format!("give stack {stack} the policy that it had");
            (policy && !args.protect).then(|| Work::Policy { label: label.clone(), text })
        };
        if let Found::Anew(anew) = &found {
            plan.work.extend(again_with(anew.policy.is_some()));
            plan.work.push(Work::Compare { label: label.clone(), stack: stack.clone() });
        } else if again {
            plan.work.push(Work::MakeAgain { label: label.clone(), stack: stack.clone() });
        }
        plan.work.extend(again_with(had_policy));
        plan.work.extend(protection(args, arg).filter(|_| again));
        if !again {
            ahead.push(&arg.stack);
        }
        all.push(found);
    }
    let going = |(arg, found): (&StackArg, &Found)| match found {
        Found::Going(going) => Some((arg.label.clone(), masked(&going.stack))),
        Found::Gone(_) | Found::Anew(_) => None,
    };
    cx.observed(&deploy.call.stacks.iter().zip(&all).filter_map(going).collect::<BTreeMap<_, _>>());
    if let Go::Stop(_) = cx.show(&plan)? {
        return Ok(None);
    }
    let mut changed = Vec::new();
    for (n, (arg, found)) in deploy.call.stacks.iter().zip(all).enumerate() {
        match one_removed(deploy, arg, found, &place).await {
            Ok(true) => changed.push(arg.label.clone()),
            Ok(false) => {}
            Err(failure) => return Err(stopped(deploy, n, failure)),
        }
        if again {
            protect_it(deploy, arg).await?;
        }
    }
    Ok(Some(changed))
}

async fn one_removed(
    deploy: &Deploy<'_>,
    arg: &StackArg,
    found: Found,
    place: &Place,
) -> Result<bool, Failure> {
    let again = deploy.args.action == Act::Recreate;
    match found {
        Found::Going(mut going) => {
            deploy.remove(arg, &mut going, place).await?;
            if again {
                deploy.make_again(arg, going.again()).await?;
            }
            Ok(true)
        }
        Found::Gone(Some(saved)) if again => deploy.make_again(arg, &saved).await,
        Found::Gone(_) => Ok(false),
        Found::Anew(anew) => deploy.compare(arg, &anew).await,
    }
}

/// Cancels or recovers.
async fn repair(deploy: &Deploy<'_>) -> Result<Option<Vec<String>>, Failure> {
    let (cx, args) = (deploy.cx, deploy.args);
    let mut plan = DeployPlan::default();
    let mut found: Vec<(&StackArg, Stack, bool)> = Vec::new();
    for arg in &deploy.call.stacks {
        let stack = deploy.present(arg).await?;
        let work = if args.action == Act::Cancel {
            plan::cancellation(arg, &stack)?
        } else {
            plan::recovery(arg, &stack, &args.skip)?
        };
        found.push((arg, stack, work.is_some()));
        plan.work.extend(work);
    }
    cx.observed(&found.iter().map(|(arg, stack, _)| (&arg.label, masked(stack))).collect::<BTreeMap<_, _>>());
    if let Go::Stop(_) = cx.show(&plan)? {
        return Ok(None);
    }
    let mut work = plan.work.iter();
    let mut changed = Vec::new();
    for (arg, stack, to_do) in &found {
        if *to_do {
            if let Some(work) = work.next() {
                deploy.repair(arg, stack, work).await?;
                changed.push(arg.label.clone());
            }
        } else {
            deploy.follow_back(arg, stack).await?;
        }
    }
    Ok(Some(changed))
}

/// The policy that `--protect` writes.
fn protection(args: &DeployArgs, arg: &StackArg) -> Option<Work> {
    args.protect.then(|| Work::Policy {
        label: arg.label.clone(),
        text: format!(
            "write into the policy of stack {} that what holds data is not replaced or deleted",
            arg.stack
        ),
    })
}

async fn protect_it(deploy: &Deploy<'_>, arg: &StackArg) -> Result<(), Failure> {
    if !deploy.args.protect {
        return Ok(());
    }
    let Some(stack) = deploy.cfn.observe_stack(deploy.cx, &arg.stack).await? else { return Ok(()) };
    if protect::protect(deploy.cx, deploy.cfn, &arg.label, &stack, deploy.rules).await? {
        deploy
            .cx
            .report()
            .say(&format!("{}: its policy denies replacing and deleting what holds data", arg.label));
    }
    Ok(())
}

/// The outputs of the step: every stack as it is now.
async fn report(deploy: &Deploy<'_>) -> Result<(), Failure> {
    let mut outputs: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut statuses: BTreeMap<&str, String> = BTreeMap::new();
    for arg in &deploy.call.stacks {
        match deploy.cfn.observe_stack(deploy.cx, &arg.stack).await? {
            Some(stack) => {
                statuses.insert(&arg.label, stack.status.clone());
                let values = stack.outputs.into_iter().map(|(name, output)| (name, output.value));
                outputs.insert(&arg.label, values.collect());
            }
            None => {
                statuses.insert(&arg.label, "DELETE_COMPLETE".to_owned());
            }
        }
    }
    deploy.cx.output("outputs", serde_json::to_string(&outputs).unwrap_or_default());
    deploy.cx.output("statuses", serde_json::to_string(&statuses).unwrap_or_default());
    Ok(())
}
