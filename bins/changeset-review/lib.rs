#![doc = include_str!("help.md")]

mod apply;
mod args;
mod plan;
mod recorded;
mod removal;
mod show;
mod undo;

use std::collections::BTreeMap;
use std::time::Duration;

use aws::Aws;
use changeset::approve::approve;
use changeset::fate::Need;
use changeset::judge::Rules;
use changeset::live::{Bucket, Cfn, SetRef};
use changeset::prepare::{Call, Prepared, files};
use changeset::request::StackArg;
use changeset::review::{Operation, Review, StackReview, State, Verdict, Wishes};
use changeset::show::allow;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Step};

pub use crate::args::ReviewArgs;

/// The step.
pub const STEP: Step = Step {
    name: "changeset-review",
    command: kit::command::<ReviewArgs>,
    outputs: &[
        Output { name: "verdict", description: "the worst verdict: safe, notice, in-place-risk, ... loss" },
        Output { name: "has-changes", description: "true when any stack changes" },
        Output { name: "blocked", description: "how many changes wait for an approval" },
        Output {
            name: "provisional",
            description: "the labels that can't be planned yet, separated by blanks",
        },
        Output {
            name: "fingerprint",
            description: "names the content of the review; deploy-stack compares with it",
        },
        Output { name: "report", description: "the file of --report" },
        Output { name: "change-set-arns", description: "JSON object of label to change set, with --keep" },
    ],
    permissions: &[
        Permission {
            action: "cloudformation:DescribeStacks",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "",
        },
        Permission {
            action: "cloudformation:CreateChangeSet",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "unless --dry-run or --from-file",
        },
        Permission {
            action: "cloudformation:DescribeChangeSet",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "unless --dry-run or --from-file",
        },
        Permission {
            action: "cloudformation:DeleteChangeSet",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "unless --keep",
        },
        Permission {
            action: "cloudformation:DeleteStack",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "a stack that does not exist yet: its change set leaves an empty one",
        },
        Permission {
            action: "cloudformation:ListChangeSets",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "",
        },
        Permission {
            action: "cloudformation:ListStackResources",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "--delete, --recreate, nested stacks that go",
        },
        Permission {
            action: "cloudformation:GetTemplate",
            resource: "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            when: "",
        },
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
        Permission { action: "cloudformation:ListExports", resource: "*", when: "--delete, --recreate" },
        Permission { action: "cloudformation:ListImports", resource: "*", when: "--delete, --recreate" },
        Permission {
            action: "s3:PutObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "a template of more than 51,200 bytes",
        },
        Permission {
            action: "s3:GetObject",
            resource: "arn:aws:s3:::BUCKET/PREFIX/*",
            when: "a template of more than 51,200 bytes, or one given by URL",
        },
        Permission { action: "pull-requests: write", resource: "the repository", when: "--pull-request" },
    ],
    exit_codes: &[
        ExitCode { code: Code::Failed, meaning: "a change set can't be made or can't be read whole" },
        ExitCode {
            code: Code::Refused,
            meaning: "a change needs an approval; the review is there all the same",
        },
        ExitCode {
            code: Code::Partial,
            meaning: "as 1 or 3, and change sets are left, as --keep asks; --undo takes them away",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(30),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: ReviewArgs, cx: Cx) -> Result<Outcome, Failure> {
    let wishes =
        Wishes { strict: args.strict, stateful: args.stateful.clone(), stateless: args.stateless.clone() };
    let rules = Rules::new(&wishes);
    if let Some(receipt) = cx.undo() {
        let cfn = Cfn::new(&Aws::connect(&cx, &args.aws).await?).every(args.interval);
        return undo::undo(&cx, &cfn, receipt).await;
    }
    args.check()?;
    check_types(&cx, &wishes);
    if !args.from_file.is_empty() {
        let stacks = recorded::review(&args.from_file, &rules)?;
        return conclude(&args, &cx, wishes, None, stacks).await;
    }
    let call = call(&args)?;
    call.check()?;
    // Every file, before AWS is asked for anything.
    for stack in &call.stacks {
        files(stack)?;
    }
    let aws = Aws::connect(&cx, &args.aws).await?;
    let cfn = Cfn::new(&aws).every(args.interval);
    let place = Some((aws.account.clone(), aws.region.clone()));
    let prepared = prepare(&cx, &cfn, &call, &args).await?;
    let plan = plan::plan(&prepared, args.keep);
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let mut kept: BTreeMap<String, SetRef> = BTreeMap::new();
    let mut stacks = Vec::new();
    let mut ahead: Vec<&str> = Vec::new();
    for arg in &call.stacks {
        let review = if let Some(operation) = args.removes(&arg.label) {
            let earlier = call.stacks.iter().take_while(|other| *other != arg);
            let deleted: Vec<&str> = earlier
                .filter(|other| args.removes(&other.label) == Some(Operation::Delete))
                .map(|other| other.stack.as_str())
                .collect();
            let before = removal::Before { changing: &ahead, deleted: &deleted };
            removal::review(&cx, &cfn, &call, arg, operation, &rules, before).await?
        } else {
            match prepared
                .iter()
                .find(|(prepared, _)| prepared.label == arg.label)
                .map(|(_, prepared)| prepared)
            {
                Some(Prepared::Ready(ready)) => {
                    let (review, set) =
                        apply::review(&cx, &cfn, &call, ready, &rules, args.keep, &ahead).await?;
                    kept.extend(set.map(|set| (arg.label.clone(), set)));
                    review
                }
                Some(Prepared::Provisional(why)) => removal::provisional(arg, why),
                None => continue,
            }
        };
        if review.state != State::NoChanges {
            ahead.push(&arg.label);
        }
        stacks.push(review);
    }
    if !kept.is_empty() {
        cx.output("change-set-arns", apply::kept_json(&kept));
    }
    conclude(&args, &cx, wishes, place, stacks).await
}

/// A type that is spelt as none in the table is more likely a slip than one that nobody knows.
fn check_types(cx: &Cx, wishes: &Wishes) {
    let own = changeset::types::Types::own();
    let holds = |name: &str| own.of(name).is_some() || own.unknown(name).is_some();
    for name in wishes.stateless.iter().filter(|name| !holds(name)) {
        let near = kit::nearest(name, &own.names())
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        cx.report().warn(&format!("--stateless {name}: it holds nothing anyway{near}"));
    }
}

fn call(args: &ReviewArgs) -> Result<Call, Failure> {
    Ok(Call {
        stacks: args.stack.clone(),
        params: args.param.clone(),
        capabilities: args.capability.clone(),
        bucket: args.template_bucket.as_deref().map(Bucket::parse).transpose()?,
    })
}

/// Every stack for which a change set is to be made, before the first one is.
async fn prepare(
    cx: &Cx,
    cfn: &Cfn,
    call: &Call,
    args: &ReviewArgs,
) -> Result<Vec<(StackArg, Prepared)>, Failure> {
    let mut prepared = Vec::new();
    let mut ahead: Vec<&str> = Vec::new();
    for arg in &call.stacks {
        if args.removes(&arg.label).is_none() {
            prepared.push((arg.clone(), call.prepare(cx, cfn, arg, &ahead).await?));
        }
        ahead.push(&arg.label);
    }
    Ok(prepared)
}

/// Approves what is approved, shows the review, and says whether it lets the release go on.
async fn conclude(
    args: &ReviewArgs,
    cx: &Cx,
    wishes: Wishes,
    place: Option<(String, String)>,
    mut stacks: Vec<StackReview>,
) -> Result<Outcome, Failure> {
    for line in approve_all(args, &mut stacks)? {
        cx.report().warn(&line);
    }
    let review = Review::new(env!("CARGO_PKG_VERSION"), place, wishes, stacks);
    let document =
        serde_json::to_value(&review).map_err(|error| Failure::failed("write the review").because(error))?;
    cx.observed(&document);
    show::publish(args, cx, &review, &document).await?;
    let verdict = document.get("verdict").and_then(|verdict| verdict.as_str()).unwrap_or_default().to_owned();
    let has_changes = review.rows().next().is_some();
    let provisional: Vec<&str> = review
        .stacks
        .iter()
        .filter(|stack| matches!(stack.state, State::Provisional(_)))
        .map(|stack| stack.label.as_str())
        .collect();
    cx.output("verdict", verdict);
    cx.output("has-changes", has_changes.to_string());
    cx.output("blocked", review.counts.blocked.to_string());
    cx.output("provisional", provisional.join(" "));
    cx.output("fingerprint", review.fingerprint.clone());
    let blockers = review.blockers();
    if blockers.is_empty() {
        let later = if provisional.is_empty() {
            String::new()
        } else {
            format!("; {} must be reviewed when what is ahead has run", provisional.join(", "))
        };
        let now = match review.verdict {
            _ if !has_changes => "nothing changes",
            Verdict::Safe => "every change is safe",
            _ => "no change waits for an approval",
        };
        return Ok(Outcome::unchanged(format!("{now}{later}")));
    }
    let mut failure = Failure::refused(match blockers.len() {
        1 => "let the change pass: it needs an approval".to_owned(),
        n => format!("let the changes pass: {n} need an approval"),
    });
    for row in blockers.iter().take(20) {
        let line = format!("{}: {} ({})", row.name(), row.verdict.title(), row.fate);
        // What is known to fail is not what anybody wants: its reason has the way that works.
        let fails = row.open().any(|need| *need == Need::WillFail);
        failure = failure.help(match row.risks.first().filter(|_| fails) {
            Some(risk) => format!("{line}: {risk}; to try it all the same: {}", allow(row)),
            None => format!("{line}; if that is what is wanted: {}", allow(row)),
        });
    }
    Err(failure)
}

fn approve_all(args: &ReviewArgs, stacks: &mut [StackReview]) -> Result<Vec<String>, Failure> {
    let mut idle = Vec::new();
    for approval in &args.allow {
        let label = approval.name.split('/').next().unwrap_or_default();
        let labels: Vec<String> = stacks.iter().map(|stack| stack.label.clone()).collect();
        let Some(stack) = stacks.iter_mut().find(|stack| stack.label == label) else {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            return Err(changeset::prepare::no_label(&format!("approve {}", approval.name), label, &labels));
        };
        idle.extend(approve(&mut stack.rows, std::slice::from_ref(approval)));
    }
    Ok(idle)
}
