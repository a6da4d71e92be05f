//! A step with a bug: it panics where its argument says, for the tests of what the run loop makes of that.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use kit::{Action, Cx, Failure, Go, Outcome, Plan, Step};
use serde::Serialize;
use serde_json::json;

static STEP: Step = Step {
    name: "faulty-step",
    command: kit::command::<Args>,
    outputs: &[],
    permissions: &[],
    exit_codes: &[],
    image: kit::Image::Steps,
    timeout: Duration::from_mins(1),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Do one thing, and panic.
#[derive(Debug, clap::Args)]
struct Args {
    /// Where to panic
    #[arg(long)]
    panic: Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Where {
    BeforeThePlan,
    DuringTheCall,
    AfterTheCall,
    InAnotherTask,
}

#[derive(Serialize)]
struct Deed;

impl Plan for Deed {
    fn actions(&self) -> Vec<Action> {
        vec![Action::new("do-it", "do it", "undo it")]
    }

    fn unchanged(&self) -> String {
        String::new()
    }
}

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let bug = move |here: Where| assert!(args.panic != here, "no such thing as {here:?}");
    bug(Where::BeforeThePlan);
    if let Go::Stop(outcome) = cx.show(&Deed)? {
        return Ok(outcome);
    }
    cx.act("do-it", &json!({"before": 1}), async {
        bug(Where::DuringTheCall);
        Ok(2)
    })
    .await?;
    bug(Where::AfterTheCall);
    let task = tokio::spawn(async move { bug(Where::InAnotherTask) });
    // A step that goes on after a task of its own has panicked must not be able to report success.
    let _ = task.await;
    Ok(Outcome::changed("done"))
}

fn main() -> ExitCode {
    kit::main(&STEP, None)
}
