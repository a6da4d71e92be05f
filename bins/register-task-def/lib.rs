#![doc = include_str!("help.md")]

mod apply;
mod document;
mod image;
mod observe;
mod plan;
mod verify;

use std::time::Duration;

use aws::{Aws, AwsArgs};
use clap::Args;
use ecs::{ServiceRef, parse_service, short};
use kit::{Code, Cx, ExitCode, Failure, Go, Outcome, Output, Permission, Step};

use crate::image::{ContainerImage, parse_container_image};
use crate::observe::Clients;

/// The step.
pub const STEP: Step = Step {
    name: "register-task-def",
    command: kit::command::<RegisterArgs>,
    outputs: &[
        Output {
            name: "task-definition-arn",
            description: "ARN of the revision to deploy: the new one, or the one that already is as wanted",
        },
        Output {
            name: "previous-task-definition-arn",
            description: "ARN of the revision that the service runs",
        },
        Output { name: "family", description: "the task definition's family" },
        Output { name: "revision", description: "the revision's number" },
        Output { name: "images", description: "JSON object of container name to image, pinned by digest" },
    ],
    permissions: &[
        Permission {
            action: "ecs:DescribeServices",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "",
        },
        Permission { action: "ecs:DescribeTaskDefinition", resource: "*", when: "" },
        Permission {
            action: "ecr:BatchGetImage",
            resource: "arn:aws:ecr:REGION:ACCOUNT:repository/REPOSITORY",
            when: "",
        },
        Permission {
            action: "ecs:RegisterTaskDefinition",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:*",
            when: "unless --dry-run",
        },
        Permission {
            action: "ecs:TagResource",
            resource: "arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:*",
            when: "the definition has tags",
        },
        Permission {
            action: "iam:PassRole",
            resource: "the definition's task role and execution role",
            when: "unless --dry-run",
        },
        Permission { action: "ecs:DeregisterTaskDefinition", resource: "*", when: "--undo" },
    ],
    exit_codes: &[ExitCode {
        code: Code::Unverified,
        meaning: "registered, and the revision read back is not what was sent",
    }],
    timeout: Duration::from_mins(5),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Register a task-definition revision with an image replaced and pinned by digest
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct RegisterArgs {
    /// The service whose running revision is the base
    #[arg(long, value_name = "CLUSTER/SERVICE", value_parser = parse_service)]
    from_service: ServiceRef,

    /// The image for one container, by the container's exact name; may be repeated
    #[arg(long, value_name = "CONTAINER=IMAGE", value_parser = parse_container_image, required = true)]
    image: Vec<ContainerImage>,

    /// With --dry-run: show the plan although the image is not in ECR yet, as before its build
    #[arg(long)]
    allow_absent_image: bool,

    #[command(flatten)]
    aws: AwsArgs,
}

async fn run(args: RegisterArgs, cx: Cx) -> Result<Outcome, Failure> {
    if args.allow_absent_image && !cx.dry_run() {
        return Err(Failure::usage("use --allow-absent-image")
            .because("it is for plans: a revision with an image that does not exist can't start")
            .help("add --dry-run, or build the image first"));
    }
    let aws = Aws::connect(&cx, &args.aws).await?;
    let clients = Clients::new(&aws);
    if let Some(receipt) = cx.undo() {
        return undo(&cx, &clients, &args, receipt).await;
    }
    let observed = observe::observe(&cx, &clients, &args.from_service, &args.image).await?;
    cx.observed(&observed);
    let plan = plan::plan(&args.image, &observed, args.allow_absent_image)?;
    let go = cx.show(&plan)?;
    cx.output("previous-task-definition-arn", &observed.running.arn);
    cx.output("family", &observed.running.family);
    cx.output("images", plan.images_json());
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    let (arn, outcome) = match &plan.register {
        None => (plan.arn.clone(), Outcome::unchanged(kit::Plan::unchanged(&plan))),
        Some(document) => {
            let arn = apply::register(&cx, &clients, document, &observed).await?;
            let seen = observe::definition(&cx, &clients, &arn).await?;
            verify::verify(document, &seen)?;
            let outcome = Outcome::changed(format!("registered {}", short(&arn)));
            (arn, outcome)
        }
    };
    cx.output("revision", arn.rsplit(':').next().unwrap_or_default());
    cx.output("task-definition-arn", arn);
    Ok(outcome)
}

async fn undo(
    cx: &Cx,
    clients: &Clients,
    args: &RegisterArgs,
    receipt: &kit::Receipt,
) -> Result<Outcome, Failure> {
    let registered = observe::registered(cx, clients, receipt).await?;
    let running = observe::service(cx, clients, &args.from_service).await?;
    let plan = plan::undo(&registered, &running, &args.from_service)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    apply::deregister(cx, clients, receipt, &registered).await?;
    verify::deregistered(&observe::registered(cx, clients, receipt).await?)?;
    Ok(if kit::Plan::actions(&plan).is_empty() {
        Outcome::unchanged(kit::Plan::unchanged(&plan))
    } else {
        Outcome::changed("deregistered what that run registered")
    })
}
