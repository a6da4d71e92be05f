#![doc = include_str!("help.md")]

mod apply;
mod deploy;
mod follow;
mod observe;
mod plan;
mod rollback;
mod rollout;
mod scale;
mod service;
mod settings;
mod targets;
mod tasks;
mod verify;
mod why;

use std::time::Duration;

use aws::{Aws, AwsArgs};
use clap::{Args, ValueEnum};
use ecs::{ServiceRef, parse_revision, parse_service};
use kit::{Code, Cx, ExitCode, Failure, Image, Outcome, Output, Permission, Receipt, Step};

use crate::follow::Options;
use crate::observe::Ecs;
use crate::plan::Request;

/// Both are asked for: what a deployment is of, and itself.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment-permissions.html>
const DEPLOYMENT: &str = "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE and arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/*";
const REVISION: &str = "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE and arn:aws:ecs:REGION:ACCOUNT:service-revision/CLUSTER/SERVICE/*";

/// The step.
pub const STEP: Step = Step {
    name: "deploy-service",
    command: kit::command::<DeployArgs>,
    outputs: &[
        Output { name: "deployment-id", description: "id of the deployment that was followed (ecs-svc/...)" },
        Output {
            name: "service-deployment-arn",
            description: "ARN of the service deployment that carries it, where the role may read it",
        },
        Output {
            name: "status",
            description: "how the deployment stands at the end, as ECS says it: SUCCESSFUL, IN_PROGRESS, STOPPED, ROLLBACK_SUCCESSFUL and so on",
        },
        Output { name: "task-definition-arn", description: "ARN of the revision that the service is to run" },
        Output {
            name: "previous-task-definition-arn",
            description: "ARN of the revision that it ran before",
        },
        Output {
            name: "live-task-definition-arn",
            description: "ARN of the revision that serves at the end, also after a failure",
        },
        Output {
            name: "rolled-back",
            description: "true when the deployment was rolled back; false where the earlier revision was deployed anew",
        },
        Output {
            name: "failure-reason",
            description: "why tasks of the new revision stopped, or why ECS ended the deployment",
        },
        Output { name: "desired-count", description: "the number of tasks that --scale set or restored" },
        Output { name: "previous-desired-count", description: "the number of tasks before" },
        Output { name: "hook-id", description: "the pause at which the deployment waits for a person" },
    ],
    permissions: &[
        Permission {
            action: "ecs:DescribeServices",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "",
        },
        Permission { action: "ecs:DescribeTaskDefinition", resource: "*", when: "" },
        Permission { action: "ecs:ListTasks", resource: "*", when: "" },
        Permission {
            action: "ecs:DescribeTasks",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/*",
            when: "",
        },
        Permission {
            action: "ecs:UpdateService",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "unless --dry-run",
        },
        Permission {
            action: "ecs:DescribeServiceDeployments",
            resource: DEPLOYMENT,
            when: "to see ECS's own verdict; else the deployment's id decides",
        },
        Permission {
            action: "ecs:ListServiceDeployments",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "as the one before, and for --action roll-back",
        },
        Permission { action: "ecs:DescribeServiceRevisions", resource: REVISION, when: "as the one before" },
        Permission {
            action: "ecs:StopServiceDeployment",
            resource: DEPLOYMENT,
            when: "to roll back a deployment that goes on",
        },
        Permission {
            action: "ecs:ContinueServiceDeployment",
            resource: DEPLOYMENT,
            when: "at a pause, for --action continue and roll-back",
        },
        Permission {
            action: "logs:GetLogEvents",
            resource: "arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:log-stream:*",
            when: "to show the end of a failing container's log",
        },
        Permission {
            action: "elasticloadbalancing:DescribeTargetHealth",
            resource: "*",
            when: "to show why the load balancer's health check fails",
        },
        Permission {
            action: "ecs:ListTagsForResource",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "for --scale",
        },
        Permission {
            action: "ecs:TagResource",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "for --scale",
        },
        Permission {
            action: "ecs:UntagResource",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "for --scale restore, forget",
        },
        Permission {
            action: "application-autoscaling:DescribeScalableTargets",
            resource: "*",
            when: "for --scale",
        },
        Permission {
            action: "application-autoscaling:RegisterScalableTarget",
            resource: "arn:aws:application-autoscaling:REGION:ACCOUNT:scalable-target/*",
            when: "for --scale, where the service scales itself",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Unverified,
            meaning: "the new revision did not come to serve, or was rolled back",
        },
        ExitCode {
            code: Code::Deadline,
            meaning: "the deployment was still going on at the deadline; running again follows it",
        },
        ExitCode {
            code: Code::Waiting,
            meaning: "somebody else's deployment took the place of this one, or it waits for a person at a pause",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(30),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Put an ECS service on a task-definition revision and follow its own deployment to the end
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct DeployArgs {
    /// The service
    #[arg(long, value_name = "CLUSTER/SERVICE", value_parser = parse_service)]
    service: ServiceRef,

    /// What to do with it
    #[arg(long, value_enum, default_value = "deploy", value_name = "ACTION")]
    action: Act,

    /// The revision, as the ARN that register-task-def gives
    ///
    /// For roll-back it is the revision to leave. For continue it is the one that the paused deployment brings; without it that
    /// is the service's newest.
    #[arg(long, value_name = "ARN", value_parser = parse_revision)]
    task_definition: Option<String>,

    /// Change the number of tasks instead, or restore it: what was there is kept in a tag of the service, and Application Auto
    /// Scaling is suspended until then; forget drops what is kept
    #[arg(long, value_name = "N|restore|forget", value_parser = scale::parse_want, conflicts_with_all = ["task_definition"])]
    scale: Option<scale::Want>,

    /// Whose change of the number it is [default: in a GitHub job its workflow run; elsewhere `a terminal`]
    #[arg(long, value_name = "TEXT", value_parser = kit::parse_release)]
    release: Option<String>,

    /// What to do with a deployment that fails and that ECS does not roll back
    #[arg(long, value_enum, default_value = "leave", value_name = "WHAT")]
    on_failure: OnFailure,

    /// Give up after so many tasks in a row that stopped for the same reason; 0 for never
    ///
    /// Where the circuit breaker is on, ending the deployment is left to it.
    #[arg(long, value_name = "N", default_value = "3")]
    fail_after: usize,

    /// Go on waiting at a pause instead of ending with exit 7
    #[arg(long)]
    wait_paused: bool,

    /// Time between two looks at the deployment
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration, default_value = "5s")]
    interval: Duration,

    #[command(flatten)]
    aws: AwsArgs,
}

/// What to do with the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    /// Put it on --task-definition and follow that
    Deploy,
    /// Let a deployment that waits at a pause go on, and follow it
    Continue,
    /// End the deployment of --task-definition, or take it back when it has ended: back to the last other revision that was deployed successfully
    RollBack,
}

/// What to do with a deployment that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Report it; a person decides
    Leave,
    /// Do what --action roll-back does
    RollBack,
}

async fn run(args: DeployArgs, cx: Cx) -> Result<Outcome, Failure> {
    let aws = Aws::connect(&cx, &args.aws).await?;
    let ecs = Ecs::new(&cx, aws, args.service.clone());
    if let Some(want) = args.scale {
        let waiting = scale::Waiting { interval: args.interval, fail_after: args.fail_after };
        let now = cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now());
        let wish = scale::Wish { want, by: cx.env().release(args.release.as_deref()), now };
        return scale::run(&cx, &ecs, &wish, &waiting).await;
    }
    if let Some(receipt) = cx.undo() {
        return undo(&cx, &ecs, &args, receipt).await;
    }
    match args.action {
        Act::Deploy => {
            let target = args.task_definition.clone().ok_or_else(|| {
                Failure::usage(format!("deploy to {}", args.service))
                    .because("--task-definition is not given")
                    .help("give the ARN that register-task-def gave as an output")
            })?;
            let request = request(&args, &cx, target);
            let observed = ecs.observe(&request.target).await?;
            cx.observed(&observed);
            let plan = plan::plan(&request, &observed)?;
            deploy::carry_out(&cx, &ecs, &request, &plan, options(&args)).await
        }
        Act::Continue => {
            let observed = ecs.observe_service().await?;
            cx.observed(&observed);
            let newest = observed.rollout_brings.as_ref().unwrap_or(&observed.service.task_definition);
            let request = request(&args, &cx, args.task_definition.as_ref().unwrap_or(newest).clone());
            let plan = rollback::go_on(&request, &observed)?;
            deploy::carry_out(&cx, &ecs, &request, &plan, options(&args)).await
        }
        Act::RollBack => {
            // Without it a run that was killed and is started again would take the good revision for the one to leave.
            let leave = args.task_definition.clone().ok_or_else(|| {
                Failure::usage(format!("roll {} back", args.service))
                    .because("--task-definition does not say which revision to leave")
                    .help("give the ARN of the revision that is to go, so that running again does not bring it back")
            })?;
            let request = request(&args, &cx, leave);
            let plan = deploy::way_back(&ecs, &request).await?;
            deploy::carry_out(&cx, &ecs, &request, &plan, options(&args)).await
        }
    }
}

fn options(args: &DeployArgs) -> Options {
    Options { interval: args.interval, fail_after: args.fail_after, wait_paused: args.wait_paused }
}

fn request(args: &DeployArgs, cx: &Cx, target: String) -> Request {
    Request {
        service: args.service.clone(),
        target,
        budget: cx.remaining(),
        roll_back: args.on_failure == OnFailure::RollBack,
    }
}

async fn undo(cx: &Cx, ecs: &Ecs<'_>, args: &DeployArgs, receipt: &Receipt) -> Result<Outcome, Failure> {
    receipt.understood(|action| action.inverse.get("task-definition").is_some())?;
    let undoable = receipt.undoable();
    // With several runs in the receipt, what was there before the first of them is put back.
    let first = undoable.iter().rev().find_map(|action| action.inverse["task-definition"].as_str());
    let Some(previous) = first else {
        return Ok(Outcome::unchanged(
            "the receipt's run changed nothing, so there is nothing to take back; to leave the revision all the same, use \
             --action roll-back",
        ));
    };
    let latest = undoable.iter().find_map(|action| action.inverse["deployed"].as_str());
    let left = latest.or(args.task_definition.as_deref()).unwrap_or_default();
    let request = request(args, cx, previous.to_owned());
    let observed = ecs.observe(&request.target).await?;
    cx.observed(&observed);
    let plan = plan::undo(&request, left, &observed)?;
    let outcome = deploy::carry_out(cx, ecs, &request, &plan, options(args)).await?;
    if !cx.dry_run() {
        for action in undoable {
            cx.mark_undone(action)?;
        }
    }
    Ok(outcome)
}
