#![doc = include_str!("help.md")]

mod apply;
mod observe;
mod plan;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::time::Duration;

use clap::ValueEnum;
use github::{Github, GithubArgs};
use kit::{
    Action, Code, Cx, Env, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Plan, Poll, Receipt,
    Step, Wait,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::apply::Inverse;
use crate::observe::{Run, observe};
use crate::plan::{DISPATCH, Mark, Request, Start, What};

/// The step.
pub const STEP: Step = Step {
    name: "dispatch-workflow",
    command: kit::command::<Args>,
    outputs: &[
        Output { name: "run-id", description: "GitHub's number of the run" },
        Output { name: "run-url", description: "page of the run" },
        Output { name: "conclusion", description: "how the run ended; absent with --no-wait" },
        Output { name: "sha", description: "the commit that the run is on" },
        Output { name: "dispatched", description: "true when this run of the step started it, else false" },
    ],
    permissions: &[
        Permission { action: "actions: write", resource: "REPOSITORY", when: "" },
        Permission { action: "contents: read", resource: "REPOSITORY", when: "" },
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "no such workflow or ref, the ref leads elsewhere, or a run is there that may be this one",
        },
        ExitCode { code: Code::Partial, meaning: "whether a run was started is not known" },
        ExitCode {
            code: Code::Unverified,
            meaning: "the run ended without success, or is on another commit",
        },
        ExitCode { code: Code::Deadline, meaning: "the run goes on; the same command goes on waiting" },
    ],
    image: Image::Steps,
    timeout: Duration::from_hours(1),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Start a workflow on a tag or branch and follow its run
#[derive(clap::Args, Clone, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct Args {
    /// The workflow, by its file's name, as in build.yml
    #[arg(long, value_name = "FILE", value_parser = file)]
    workflow: String,

    /// The tag or branch whose version of the workflow runs
    #[arg(long = "ref", value_name = "NAME", value_parser = git_ref)]
    git_ref: String,

    /// The commit that the ref must lead to: a full SHA
    #[arg(long, value_name = "SHA", value_parser = sha)]
    commit: Option<String>,

    /// An input of the workflow; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = input)]
    input: Vec<(String, String)>,

    /// The input that takes the text by which the run is known
    #[arg(long, value_name = "NAME")]
    id_input: Option<String>,

    /// That text [default: in a GitHub job the same in all its attempts; elsewhere another each time]
    #[arg(long, value_name = "TEXT", requires = "id_input", value_parser = id)]
    id: Option<String>,

    /// Without --id-input: start one more, whatever runs of it are there
    #[arg(long)]
    again: bool,

    /// End when the run is started
    #[arg(long)]
    no_wait: bool,

    /// What becomes of the run when this step is cancelled or its --timeout is over
    #[arg(long, value_name = "WHAT", value_enum, default_value = "leave")]
    on_cancel: OnCancel,

    /// Time between two looks at the run
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = kit::parse_duration)]
    interval: Duration,

    #[command(flatten)]
    github: GithubArgs,
}

/// What becomes of a run that nobody follows any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnCancel {
    /// It goes on; the same command follows it again.
    Leave,
    /// It is cancelled.
    Cancel,
}

fn file(text: &str) -> Result<String, String> {
    let name = text.strip_prefix(".github/workflows/").unwrap_or(text);
    let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if (name.ends_with(".yml") || name.ends_with(".yaml")) && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err("write the file's name, as in build.yml".to_owned())
    }
}

fn git_ref(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("refs/tags/").or_else(|| text.strip_prefix("refs/heads/")).unwrap_or(text);
    if name.is_empty()
        || name.starts_with('/')
        || name.contains("..")
        || name.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err("write the name of a tag or branch".to_owned());
    }
    Ok(name.to_owned())
}

fn sha(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("write the full SHA: 40 hexadecimal digits".to_owned())
    }
}

fn input(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

fn id(text: &str) -> Result<String, String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if (4..=100).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write 4 to 100 letters, digits and ._-".to_owned())
    }
}

impl Args {
    fn request(&self, env: &Env, run: &str, repository: String) -> Result<Request, Failure> {
        let mut inputs = self.input.clone();
        inputs.sort();
        if let Some(twice) = inputs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Failure::usage("use --input").because(format!("{} is given twice", twice[0].0)));
        }
        let mark = self.id_input.as_ref().map(|_| self.mark(env, run, &repository, &inputs));
        if let (Some(name), Some(mark)) = (&self.id_input, &mark) {
            if inputs.iter().any(|(given, _)| given == name) {
                return Err(
                    Failure::usage("use --input").because(format!("{name} is what --id-input fills in"))
                );
            }
            inputs.push((name.clone(), mark.text.clone()));
        }
        Ok(Request {
            repository,
            workflow: self.workflow.clone(),
            git_ref: self.git_ref.clone(),
            commit: self.commit.clone(),
            inputs,
            mark,
            again: self.again,
        })
    }

    /// Of a job: the run's number, and a sum of what is asked for, since a run may ask for several things.
    fn mark(&self, env: &Env, run: &str, repository: &str, inputs: &[(String, String)]) -> Mark {
        if let Some(text) = &self.id {
            return Mark { text: text.clone(), is_stable: true };
        }
        match env.get("GITHUB_RUN_ID").filter(|_| env.in_github_job()) {
            Some(number) => {
                let job = env.get("GITHUB_JOB").unwrap_or_default();
                let asked = format!("{job}\0{repository}\0{}\0{}\0{inputs:?}", self.workflow, self.git_ref);
                let sum = crc_fast::crc64_nvme(asked.as_bytes());
                Mark { text: format!("cutover-{number}-{sum:016x}"), is_stable: true }
            }
            None => Mark { text: format!("cutover-{run}"), is_stable: false },
        }
    }
}

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        return take_back(&args, &cx, receipt).await;
    }
    let github = Github::new(&cx, &args.github)?;
    let request = args.request(cx.env(), &cx.run_id(), github.repository().to_string())?;
    let seen = observe(&cx, &github, &request.workflow, &request.git_ref, request.mark.as_ref()).await?;
    cx.observed(&seen);
    let plan = plan::plan(&request, &seen)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let (there, is_new) = match &plan.what {
        What::Done(there) | What::Follow(there) => (there.clone(), false),
        What::Dispatch => {
            let inverse = Inverse {
                repository: request.repository.clone(),
                workflow: request.workflow.clone(),
                head: seen.head.clone(),
                mark: request.mark.clone(),
                earlier: seen.runs.iter().map(|run| run.id).collect(),
            };
            let known = Cell::new(None);
            let call = apply::dispatch(&cx, &github, &request, &inverse, &known);
            match (cx.act(DISPATCH, &inverse, call).await, known.get()) {
                (Ok(run), _) => (run, true),
                (Err(failure), Some(id)) => {
                    return Err(abandoned(&args, &cx, &github, failure.untouched(false), id).await);
                }
                (Err(failure), None) => return Err(failure),
            }
        }
    };
    cx.report().say(&format!("the run: {}", there.html_url));
    cx.output("run-id", there.id.to_string());
    cx.output("run-url", &there.html_url);
    cx.output("sha", &there.head_sha);
    cx.output("dispatched", is_new.to_string());
    checked(&cx, &request, &plan, &there)?;
    if args.no_wait {
        let headline = format!("{} is started: {}", request.workflow, there.html_url);
        return Ok(if is_new { Outcome::changed(headline) } else { Outcome::unchanged(plan.unchanged()) });
    }
    let ended = follow(&args, &cx, &github, &request.workflow, there).await?;
    let conclusion = ended.conclusion.clone().unwrap_or_default();
    cx.output("conclusion", &conclusion);
    let jobs =
        if conclusion == "success" { Vec::new() } else { observe::jobs(&cx, &github, ended.id).await? };
    plan::verdict(&request.workflow, &ended, &jobs)?;
    let headline = format!("{} ended with success: {}", request.workflow, ended.html_url);
    Ok(if is_new { Outcome::changed(headline) } else { Outcome::unchanged(headline) })
}

/// Whether the run is on what was asked for, and can be known again.
fn checked(cx: &Cx, request: &Request, plan: &Start, there: &Run) -> Result<(), Failure> {
    if there.head_sha != plan.head {
        return Err(Failure::unverified(format!("start {} on {}", request.workflow, plan.head))
            .because(format!(
                "{} was moved meanwhile: the run is on {}, {}",
                request.git_ref, there.head_sha, there.html_url
            ))
            .help("decide there whether it may go on; --undo RECEIPT cancels it"));
    }
    if let Some(mark) = &request.mark
        && !mark.is_of(there)
    {
        cx.report().warn(&format!(
            "the name of the run does not show {}: add it to `run-name` in {}, or the next try can't know the run again",
            mark.text, request.workflow
        ));
    }
    Ok(())
}

async fn follow(args: &Args, cx: &Cx, github: &Github, workflow: &str, there: Run) -> Result<Run, Failure> {
    let what = format!("the run of {workflow}");
    let shows = Instant::now() + apply::APPEARS;
    let ended = cx
        .wait(Wait::until(&what, args.interval), async || {
            let run = match observe::seek(cx, github, there.id).await? {
                Some(run) => run,
                None if Instant::now() < shows => {
                    return Ok(Poll::Pending("GitHub does not show it everywhere yet".to_owned()));
                }
                None => observe::run(cx, github, there.id).await?,
            };
            if run.status == "completed" {
                return Ok(Poll::Ready(run));
            }
            let jobs = observe::jobs(cx, github, run.id).await?;
            Ok(Poll::Pending(plan::progress(&run, &jobs)))
        })
        .await;
    match ended {
        Ok(run) => Ok(run),
        Err(failure) => Err(abandoned(args, cx, github, failure, there.id).await),
    }
}

/// A run that is not followed to its end: what becomes of it was chosen beforehand.
async fn abandoned(args: &Args, cx: &Cx, github: &Github, failure: Failure, id: u64) -> Failure {
    let given_up = matches!(failure.code(), Code::Deadline | Code::Interrupted | Code::Terminated);
    if !given_up || args.on_cancel == OnCancel::Leave {
        return failure.state(format!("the run {id} may go on"));
    }
    match apply::cancel(cx, github, id).await {
        Ok(()) => failure.state(format!("the run {id} was asked to end (--on-cancel cancel)")),
        Err(left) => failure.state(format!(
            "the run {id} could not be cancelled and may go on: {left}: {}",
            left.chain().join(": ")
        )),
    }
}

/// Cancels the run that the receipt's run started.
#[derive(Serialize)]
struct Back {
    run: Option<Run>,
}

impl Plan for Back {
    fn actions(&self) -> Vec<Action> {
        let cancel = |run: &Run| {
            Action::irreversible(
                "cancel-run",
                format!("cancel the run {}", run.html_url),
                "it can only be started anew",
            )
        };
        self.run.iter().map(cancel).collect()
    }

    fn unchanged(&self) -> String {
        "nothing to take back: that run of the step left no run under way".to_owned()
    }
}

async fn take_back(args: &Args, cx: &Cx, receipt: &Receipt) -> Result<Outcome, Failure> {
    let Some((action, inverse)) = receipt.inverses::<Inverse>()?.into_iter().next() else {
        return Ok(Outcome::unchanged(Back { run: None }.unchanged()));
    };
    let mut to = args.github.clone();
    to.repository = inverse.repository.parse().ok();
    let github = Github::new(cx, &to)?;
    let there = match action.result.get("id").and_then(Value::as_u64) {
        Some(id) => Some(observe::run(cx, &github, id).await?),
        // Killed before the answer came.
        None => apply::started(cx, &github, &inverse, None).await?,
    };
    cx.observed(&there);
    if let Some(run) = there.as_ref().filter(|_| inverse.mark.is_none() && action.result.is_null()) {
        return Err(Failure::refused("take the run back")
            .because(format!(
                "that run of the step was killed before GitHub told it the number, and nothing tells whether this is the run or somebody else's: {}",
                run.html_url
            ))
            .help("look who started it, and cancel it there if it is yours; with --id-input runs can be told apart"));
    }
    if let Some(run) = there
        .as_ref()
        .filter(|run| run.status == "completed" && run.conclusion.as_deref() != Some("cancelled"))
    {
        return Err(Failure::refused("take the run back")
            .because(format!(
                "it is over, with {}: {}",
                run.conclusion.as_deref().unwrap_or_default(),
                run.html_url
            ))
            .help("what it did has to be taken back by what it did it with"));
    }
    let back = Back { run: there.filter(|run| run.status != "completed") };
    if let Go::Stop(outcome) = cx.show(&back)? {
        return Ok(outcome);
    }
    let Some(run) = &back.run else {
        cx.mark_undone(&action)?;
        return Ok(Outcome::unchanged(back.unchanged()));
    };
    cx.act("cancel-run", &Value::Null, apply::cancel(cx, &github, run.id)).await?;
    let what = format!("the run {} to end", run.html_url);
    let ended = cx
        .wait(Wait::until(&what, args.interval), async || {
            let run = observe::run(cx, &github, run.id).await?;
            Ok(if run.status == "completed" { Poll::Ready(run) } else { Poll::Pending(run.status) })
        })
        .await?;
    // A run that has nothing left to cancel, or a job with `if: always()`, ends as it would have.
    match ended.conclusion.as_deref() {
        Some("cancelled") => {
            cx.mark_undone(&action)?;
            Ok(Outcome::changed(format!("the run {} is cancelled", run.html_url)))
        }
        other => Err(Failure::unverified("take the run back")
            .because(format!(
                "it was cancelled, and ended with {} before that took effect: {}",
                other.unwrap_or_default(),
                run.html_url
            ))
            .help("what it did has to be taken back by what it did it with")),
    }
}
