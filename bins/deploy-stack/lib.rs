#![doc = include_str!("help.md")]

use std::time::Duration;

use aws::AwsArgs;
use kit::{Cx, Failure, Outcome, Step};

/// Arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    aws: AwsArgs,
}

/// The step.
pub const STEP: Step = Step {
    name: "deploy-stack",
    command: kit::command::<Args>,
    outputs: &[],
    permissions: &[],
    exit_codes: &[],
    timeout: Duration::from_mins(60),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, _cx: Cx) -> Result<Outcome, Failure> {
    let _ = args.aws;
    Err(Failure::usage("not written"))
}
