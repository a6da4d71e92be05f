#![doc = include_str!("help.md")]

mod apply;
mod args;
mod canonical;
mod difference;
mod document;
mod edit;
mod file;
#[cfg(test)]
mod foreign_tests;
mod image;
mod observe;
mod pin;
mod plan;
mod preflight;
mod probe;
mod undo;
mod verify;

use std::time::Duration;

use aws::Aws;
use ecs::short;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Poll, Step};
use serde_json::Value;

pub use crate::args::RegisterArgs;
use crate::image::{ContainerImage, WantedImage, parse_image};
use crate::observe::{Clients, Observed};
use crate::plan::{Found, Request};

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
            description: "ARN of the revision that the service runs, else of the family's newest before this one; absent before the first",
        },
        Output { name: "family", description: "the task definition's family" },
        Output { name: "revision", description: "the revision's number" },
        Output { name: "images", description: "JSON object of container name to image, pinned by digest" },
        Output { name: "image-digests", description: "JSON object of container name to its image's digest" },
    ],
    permissions: &[
        Permission {
            action: "ecs:DescribeServices",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "--from-service",
        },
        Permission { action: "ecs:DescribeTaskDefinition", resource: "*", when: "" },
        Permission {
            action: "ecr:BatchGetImage",
            resource: "arn:aws:ecr:REGION:ACCOUNT:repository/REPOSITORY",
            when: "--image or --file names an image in ECR",
        },
        Permission {
            action: "iam:GetRole",
            resource: "arn:aws:iam::ACCOUNT:role/TASK-ROLE and arn:aws:iam::ACCOUNT:role/EXECUTION-ROLE",
            when: "--preflight; without it that check is skipped",
        },
        Permission {
            action: "logs:DescribeLogGroups",
            resource: "*",
            when: "--preflight; without it that check is skipped",
        },
        Permission {
            action: "ssm:GetParameters",
            resource: "arn:aws:ssm:REGION:ACCOUNT:parameter/NAME",
            when: "--preflight; without it that check is skipped",
        },
        Permission {
            action: "secretsmanager:DescribeSecret",
            resource: "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-*",
            when: "--preflight; without it that check is skipped",
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
            resource: "arn:aws:iam::ACCOUNT:role/TASK-ROLE and arn:aws:iam::ACCOUNT:role/EXECUTION-ROLE",
            when: "unless --dry-run",
        },
        Permission { action: "ecs:DeregisterTaskDefinition", resource: "*", when: "--undo" },
    ],
    exit_codes: &[ExitCode {
        code: Code::Unverified,
        meaning: "registered, and the revision read back is not what was sent",
    }],
    image: Image::Steps,
    timeout: Duration::from_mins(5),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: RegisterArgs, cx: Cx) -> Result<Outcome, Failure> {
    if cx.undo().is_none() {
        args.check(cx.dry_run())?;
    }
    let aws = Aws::connect(&cx, &args.aws).await?;
    let clients = Clients::new(&aws);
    if let Some(receipt) = cx.undo() {
        return undo(&cx, &clients, &args, receipt).await;
    }
    let observed = observe::observe(&cx, &clients, &args).await?;
    cx.observed(&observed);
    let mut document = observed.base.document.clone();
    let notes = args.edits.apply(&mut document, &observed.base.name)?;
    let wanted = wanted_images(&args, &document)?;
    let images = observe::images(&cx, &clients, &wanted).await?;
    let checks = if args.preflight { Some(preflight(&cx, &aws, &document).await?) } else { None };
    let request = Request {
        images: &wanted,
        expected: &args.edits.expect_digest,
        always: args.always,
        allow_absent_image: args.allow_absent_image,
        allow_missing: &args.allow_missing,
    };
    let table: Vec<String> = checks.iter().flatten().map(preflight::Checked::line).collect();
    let found = Found { images, checks, notes };
    let plan = plan::plan(&request, document, &observed, found).inspect_err(|_| {
        // A plan shows the table; a refusal has none.
        for line in &table {
            cx.report().say(&format!("  {line}"));
        }
    })?;
    let previous = previous(&cx, &clients, &observed, &plan).await?;
    let go = cx.show(&plan)?;
    if let Some(previous) = previous {
        cx.output("previous-task-definition-arn", previous);
    }
    cx.output("family", &plan.family);
    cx.output("images", plan.images_json());
    cx.output("image-digests", plan.digests_json());
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    let (arn, outcome) = match &plan.register {
        None => {
            let present = plan.present.clone().unwrap_or_default();
            (present, Outcome::unchanged(kit::Plan::unchanged(&plan)))
        }
        Some(document) => register(&cx, &clients, document, &observed).await?,
    };
    cx.output("revision", arn.rsplit(':').next().unwrap_or_default());
    cx.output("task-definition-arn", arn);
    Ok(outcome)
}

/// The revision to go back to. Where the newest is what is wanted, as when an earlier run of the same command registered it, that is
/// the one before it: the same as that run named.
async fn previous(
    cx: &Cx,
    clients: &Clients,
    observed: &Observed,
    plan: &plan::Register,
) -> Result<Option<String>, Failure> {
    let previous = match (&observed.running, &observed.newest) {
        (Some(running), _) => Some(running.clone()),
        (None, Some(newest)) if plan.present.as_ref() == Some(&newest.arn) => {
            observe::before(cx, clients, newest).await?
        }
        (None, newest) => newest.clone(),
    };
    Ok(previous.map(|definition| definition.arn))
}

/// The images to look up: those asked for, and of a file, which nobody has deployed yet, all others too.
fn wanted_images(args: &RegisterArgs, document: &Value) -> Result<Vec<WantedImage>, Failure> {
    let asked = args.edits.image.iter().map(|ContainerImage { container, image }| WantedImage {
        container: container.clone(),
        image: image.clone(),
        asked: true,
    });
    let mut wanted: Vec<WantedImage> = asked.collect();
    if args.file.is_none() {
        return Ok(wanted);
    }
    for container in document::containers(document) {
        if wanted.iter().any(|wanted| wanted.container == container) {
            continue;
        }
        let image =
            parse_image(document::image_of(document, container).unwrap_or_default()).map_err(|why| {
                Failure::refused(format!("use the image of container {container}"))
                    .because(why)
                    .help("correct it in the file")
            })?;
        wanted.push(WantedImage { container: container.to_owned(), image, asked: false });
    }
    Ok(wanted)
}

async fn preflight(cx: &Cx, aws: &Aws, document: &Value) -> Result<Vec<preflight::Checked>, Failure> {
    let mut checks = preflight::of_document(document);
    checks.extend(probe::probe(cx, aws, &preflight::needs(document)).await?);
    Ok(checks)
}

async fn register(
    cx: &Cx,
    clients: &Clients,
    document: &Value,
    observed: &Observed,
) -> Result<(String, Outcome), Failure> {
    let arn = apply::register(cx, clients, document, observed).await?;
    cx.read_back(async || {
        let Some(seen) = observe::describe(cx, clients, &arn).await? else {
            return Ok(Poll::Pending(format!("{} can't be found yet", short(&arn))));
        };
        verify::verify(document, &seen).map(Poll::Ready)
    })
    .await?;
    let outcome = Outcome::changed(format!("registered {}", short(&arn)));
    Ok((arn, outcome))
}

async fn undo(
    cx: &Cx,
    clients: &Clients,
    args: &RegisterArgs,
    receipt: &kit::Receipt,
) -> Result<Outcome, Failure> {
    let registered = observe::registered(cx, clients, receipt).await?;
    let running = match &args.from_service {
        None => None,
        Some(service) => Some((service, observe::service(cx, clients, service).await?)),
    };
    let service = running.as_ref().map(|(service, running)| (*service, running.as_str()));
    let plan = undo::undo(&registered, service)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    apply::deregister(cx, clients, receipt, &registered).await?;
    cx.read_back(async || {
        let left = observe::registered(cx, clients, receipt).await?;
        Ok(verify::deregistered(&left).map_or_else(Poll::Pending, Poll::Ready))
    })
    .await?;
    Ok(if kit::Plan::actions(&plan).is_empty() {
        Outcome::unchanged(kit::Plan::unchanged(&plan))
    } else {
        Outcome::changed("deregistered what that run registered")
    })
}
