#![doc = include_str!("help.md")]

mod apply;
mod follow;
mod observe;
mod plan;
mod verify;

use std::time::Duration;

use aws::{Arn, Aws, AwsArgs};
use clap::Args;
use ecs::{ServiceRef, parse_service, short};
use kit::{Code, Cx, ExitCode, Failure, Go, Outcome, Output, Permission, Plan as _, Receipt, Step};

use crate::observe::Ecs;
use crate::plan::{Deploy, Request};

/// The step.
pub const STEP: Step = Step {
    name: "deploy-service",
    command: kit::command::<DeployArgs>,
    outputs: &[
        Output { name: "deployment-id", description: "id of the deployment that was followed (ecs-svc/...)" },
        Output { name: "task-definition-arn", description: "ARN of the revision that the service is to run" },
        Output {
            name: "previous-task-definition-arn",
            description: "ARN of the revision that it ran before",
        },
        Output {
            name: "live-task-definition-arn",
            description: "ARN of the revision that serves at the end, also after a failure",
        },
        Output { name: "rolled-back", description: "true when ECS put the earlier revision back" },
        Output { name: "failure-reason", description: "why tasks of the new revision stopped, when any did" },
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
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Unverified,
            meaning: "the new revision did not come to serve, or ECS rolled the deployment back",
        },
        ExitCode {
            code: Code::Deadline,
            meaning: "the deployment was still going on at the deadline; running again follows it",
        },
        ExitCode { code: Code::Waiting, meaning: "somebody else's deployment took the place of this one" },
    ],
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

    /// The revision, as the ARN that register-task-def gives
    #[arg(long, value_name = "ARN", value_parser = parse_revision)]
    task_definition: String,

    /// Time between two looks at the deployment
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration, default_value = "5s")]
    interval: Duration,

    #[command(flatten)]
    aws: AwsArgs,
}

/// Only a full ARN with a revision says what will run: a family alone means whatever is newest by then.
fn parse_revision(text: &str) -> Result<String, String> {
    let arn = text.parse::<Arn>().ok().filter(|arn| arn.service == "ecs");
    let revision =
        arn.as_ref().and_then(|arn| arn.resource.strip_prefix("task-definition/")?.rsplit_once(':'));
    match revision {
        Some((family, number)) if !family.is_empty() && number.parse::<u32>().is_ok() => Ok(text.to_owned()),
        _ => Err(
            "write the full ARN with the revision, as arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:7"
                .to_owned(),
        ),
    }
}

async fn run(args: DeployArgs, cx: Cx) -> Result<Outcome, Failure> {
    let aws = Aws::connect(&cx, &args.aws).await?;
    let ecs = Ecs::new(&cx, aws, args.service.clone());
    if let Some(receipt) = cx.undo() {
        return undo(&cx, &ecs, &args, receipt).await;
    }
    let request = Request { service: args.service, target: args.task_definition };
    let observed = ecs.observe(&request.target).await?;
    cx.observed(&observed);
    let plan = plan::plan(&request, &observed)?;
    deploy(&cx, &ecs, &request, plan, args.interval).await
}

/// Shows, applies and follows one plan; undoing is deploying the revision that was there before.
async fn deploy(
    cx: &Cx,
    ecs: &Ecs<'_>,
    request: &Request,
    plan: Deploy,
    interval: Duration,
) -> Result<Outcome, Failure> {
    let go = cx.show(&plan)?;
    cx.output("task-definition-arn", &request.target);
    cx.output("previous-task-definition-arn", &plan.previous);
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    let deployment = apply::apply(cx, ecs, request, &plan).await?;
    cx.output("deployment-id", &deployment);
    let ended = follow::follow(cx, ecs, &deployment, request, interval).await;
    let live = ecs.service().await.ok().and_then(|service| service.live());
    if let Some(live) = &live {
        cx.output("live-task-definition-arn", live);
    }
    cx.output(
        "rolled-back",
        ended
            .as_ref()
            .is_err_and(|failure| {
                failure.code() == Code::Unverified
                    && live.as_ref() == Some(&plan.previous)
                    && live.as_ref() != Some(&request.target)
            })
            .to_string(),
    );
    let said = match &live {
        Some(live) => format!("{} serves", short(live)),
        None => "what serves could not be looked up".to_owned(),
    };
    ended.map_err(|failure| failure.state(said))?;
    verify::verify(&request.target, &ecs.service().await?, &ecs.running_tasks().await?)?;
    Ok(if plan.actions().is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        Outcome::changed(format!("{} runs {}", request.service, short(&request.target)))
    })
}

async fn undo(cx: &Cx, ecs: &Ecs<'_>, args: &DeployArgs, receipt: &Receipt) -> Result<Outcome, Failure> {
    let undoable = receipt.undoable();
    // With several runs in the receipt, what was there before the first of them is put back.
    let Some(previous) = undoable.last().and_then(|action| action.inverse["task-definition"].as_str()) else {
        return Ok(Outcome::unchanged("the receipt's run changed nothing, so there is nothing to take back"));
    };
    let request = Request { service: args.service.clone(), target: previous.to_owned() };
    let observed = ecs.observe(&request.target).await?;
    cx.observed(&observed);
    let plan = plan::undo(&request, &args.task_definition, &observed)?;
    let outcome = deploy(cx, ecs, &request, plan, args.interval).await?;
    if !cx.dry_run() {
        for action in undoable {
            cx.mark_undone(action)?;
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_arn_says_what_will_run() {
        assert!(parse_revision("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:42").is_ok());
        for bad in [
            "rally-prod",
            "rally-prod:42",
            "arn:aws:ecs:us-east-1:1:task-definition/rally-prod",
            "arn:aws:ecs:us-east-1:1:service/a:1",
        ] {
            assert!(parse_revision(bad).is_err(), "{bad}");
        }
    }
}
