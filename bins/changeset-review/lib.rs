#![doc = include_str!("help.md")]

mod args;
mod recorded;

use std::path::Path;
use std::time::Duration;

use changeset::approve::approve;
use changeset::judge::Rules;
use changeset::review::{Review, StackReview, Verdict, Wishes};
use kit::{Code, Cx, ExitCode, Failure, Outcome, Output, Step};

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
            name: "fingerprint",
            description: "names the content of the review; deploy-stack compares with it",
        },
        Output { name: "report", description: "the file of --report" },
        Output {
            name: "change-set-arns",
            description: "JSON object of stack label to change set; with --keep",
        },
    ],
    permissions: &[],
    exit_codes: &[
        ExitCode { code: Code::Failed, meaning: "a change set can't be made or can't be read whole" },
        ExitCode {
            code: Code::Refused,
            meaning: "a change needs an approval; the review is there all the same",
        },
    ],
    timeout: Duration::from_mins(30),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: ReviewArgs, cx: Cx) -> Result<Outcome, Failure> {
    let wishes =
        Wishes { strict: args.strict, stateful: args.stateful.clone(), stateless: args.stateless.clone() };
    let rules = Rules::new(&wishes);
    let (place, stacks) = if args.from_file.is_empty() {
        return Err(
            Failure::usage("choose what to review").because("neither --stack nor --from-file is given")
        );
    } else {
        (None, recorded::review(&args.from_file, &rules)?)
    };
    conclude(&args, &cx, wishes, place, stacks)
}

/// Approves what is approved, shows the review, and says whether it lets the release go on.
fn conclude(
    args: &ReviewArgs,
    cx: &Cx,
    wishes: Wishes,
    place: Option<(String, String)>,
    mut stacks: Vec<StackReview>,
) -> Result<Outcome, Failure> {
    let mut idle = Vec::new();
    for approval in &args.allow {
        let label = approval.name.split('/').next().unwrap_or_default();
        match stacks.iter_mut().find(|stack| stack.label == label) {
            Some(stack) => idle.extend(approve(&mut stack.rows, std::slice::from_ref(approval))),
            None => {
                let labels: Vec<&str> = stacks.iter().map(|stack| stack.label.as_str()).collect();
                return Err(Failure::usage(format!("approve {}", approval.name)).because(format!(
                    "there is no stack {label} in this review; there is {}",
                    labels.join(", ")
                )));
            }
        }
    }
    for line in idle {
        cx.report().warn(&line);
    }
    let review = Review::new(env!("CARGO_PKG_VERSION"), place, wishes, stacks);
    let document =
        serde_json::to_value(&review).map_err(|error| Failure::failed("write the review").because(error))?;
    cx.observed(&document);
    if let Some(file) = &args.report {
        write(file, &format!("{document:#}\n"))?;
        cx.output("report", file.display().to_string());
    }
    cx.report().result(String::new(), "review", document);
    let has_changes = review.rows().next().is_some();
    cx.output(
        "verdict",
        serde_json::to_value(review.verdict)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default(),
    );
    cx.output("has-changes", has_changes.to_string());
    cx.output("blocked", review.counts.blocked.to_string());
    cx.output("fingerprint", review.fingerprint.clone());
    let blockers = review.blockers();
    if blockers.is_empty() {
        return Ok(Outcome::unchanged(match review.verdict {
            _ if !has_changes => "nothing changes".to_owned(),
            Verdict::Safe => "every change is safe".to_owned(),
            _ => "no change waits for an approval".to_owned(),
        }));
    }
    let mut failure = Failure::refused(match blockers.len() {
        1 => "let the change pass: it needs an approval".to_owned(),
        n => format!("let the changes pass: {n} need an approval"),
    });
    for row in blockers.iter().take(20) {
        failure = failure.help(format!("if {} is what is wanted: {}", row.fate, row.allow_argument()));
    }
    Err(failure)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        Failure::failed(format!("write {}", file.display()))
            .because(error)
            .help("name a file that can be written")
    })
}
