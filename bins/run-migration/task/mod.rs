//! The task form: the migration runs as a one-off ECS task, where the database can be reached.

mod apply;
pub(crate) mod args;
mod follow;
mod observe;
mod overrides;
mod place;
mod plan;
mod verdict;

use aws::{Arn, Aws, AwsArgs};
use ecs::{LogSource, short};
use kit::{Cx, Failure, Go, Outcome, Plan as _};
use serde::Serialize;

use self::args::TaskArgs;
use self::follow::Follow;
use self::observe::{Ecs, SeenTask, World};
use self::overrides::Asked;
use self::plan::{Does, Request, TaskPlan};
use self::verdict::Verdict;
use crate::backup::Guard;
use crate::observe::{S3Uri, backup};

/// What both forms take.
pub(crate) struct Shared<'a> {
    pub(crate) backup: Option<&'a S3Uri>,
    pub(crate) without_backup: Option<&'a str>,
    pub(crate) max_age: std::time::Duration,
    pub(crate) min_rung: postgres::Rung,
    pub(crate) dbname: Option<&'a str>,
    pub(crate) aws: &'a AwsArgs,
}

/// What the receipt keeps: the world before, and the task as it ended, since ECS forgets it after an hour.
#[derive(Serialize)]
struct Observed<'a> {
    #[serde(flatten)]
    world: &'a World,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a SeenTask>,
}

pub(crate) async fn run(
    cx: &Cx,
    definition: &str,
    args: &TaskArgs,
    shared: &Shared<'_>,
) -> Result<Outcome, Failure> {
    let database = shared.dbname.or(cx.env().get("PGDATABASE")).or(shared.without_backup);
    let Some(database) = database else {
        return Err(Failure::usage("run the migration as a task")
            .because("which database it migrates is not said, and a backup of another one would be no help")
            .help("name it with --dbname, and its backup with --require-backup"));
    };
    let Some(cluster) =
        args.cluster.as_deref().or(args.like_service.as_ref().map(|like| like.cluster.as_str()))
    else {
        return Err(Failure::usage("run the migration as a task").because("the cluster is not given").help(
            "name a service that the task is to run like with --like-service, or the cluster with --cluster",
        ));
    };
    let asked = Asked::read(args)?;
    let aws = Aws::connect(cx, shared.aws).await?;
    here(definition, &aws)?;
    let client = aws_sdk_ecs::Client::new(&aws.config);
    let ecs = Ecs { cx, aws: &aws, client, cluster: cluster.to_owned() };
    let seen = ecs.definition(definition).await?;
    let world = World {
        account: aws.account.clone(),
        region: aws.region.clone(),
        like: match &args.like_service {
            Some(like) => Some(ecs.like(like).await?),
            None => None,
        },
        tasks: ecs.one_off_tasks(&seen.family).await?,
        definition: seen,
        backup: match shared.backup {
            Some(uri) => Some(backup(cx, &aws, uri).await?),
            None => None,
        },
    };
    cx.observed(&Observed { world: &world, task: None });
    let job = cx.env().job_id();
    let request = Request {
        args,
        cluster,
        asked: &asked,
        run: args.run_id.as_deref().or(job.as_deref()),
        guard: Guard {
            database,
            server: None,
            backup: world.backup.as_ref(),
            without_backup: shared.without_backup,
            max_age: shared.max_age,
            min_rung: shared.min_rung,
            dry_run: cx.dry_run(),
            now: cx.now(),
        },
    };
    let plan = plan::plan(&request, &world)?;
    match cx.show(&plan)? {
        Go::Stop(outcome) => Ok(outcome),
        Go::Apply => carry_out(cx, &ecs, &world, &plan, args).await,
    }
}

async fn carry_out(
    cx: &Cx,
    ecs: &Ecs<'_>,
    world: &World,
    plan: &TaskPlan,
    args: &TaskArgs,
) -> Result<Outcome, Failure> {
    if let Does::Nothing { task } = &plan.does {
        outputs(cx, &task.arn, &plan::log_source(world, &plan.container, short(&task.arn)));
        ended(cx, task, &plan.container);
        return Ok(Outcome::unchanged(plan.unchanged()));
    }
    let arn = apply::apply(cx, ecs, plan).await?;
    let log = plan::log_source(world, &plan.container, short(&arn));
    outputs(cx, &arn, &log);
    cx.report().say(&format!("task {arn}"));
    match &log {
        Ok(source) => cx.report().say(&format!("its log, as it comes: {source}")),
        Err(why) => cx.report().say(&format!("its log can't be followed: {why}")),
    }
    let follow = Follow { ecs, task: &arn, container: &plan.container, log: &log, args };
    let task = follow.to_the_end(cx).await?;
    cx.observed(&Observed { world, task: Some(&task) });
    ended(cx, &task, &plan.container);
    for other in verdict::others(&task, &plan.container) {
        cx.report().say(&other);
    }
    let verdict = verdict::judge(&task, &plan.container);
    let Some(failure) = verdict.failure(&task, &plan.container) else {
        return Ok(Outcome::changed(format!(
            "task {} has run the migration of {}: container {} ended with exit code 0",
            short(&arn),
            short(&plan.definition),
            plan.container
        )));
    };
    let failure = failure.state(format!("task: {arn}"));
    Err(match (&verdict, &log) {
        // A container that was never started has written nothing.
        (Verdict::NeverRan { .. }, _) | (_, Err(_)) => failure,
        (_, Ok(source)) => failure.help(format!("read its log: {}", source.command())),
    })
}

/// The revision of another account or region can't be run here.
fn here(definition: &str, aws: &Aws) -> Result<(), Failure> {
    match definition.parse::<Arn>() {
        Ok(arn) if arn.region != aws.region || arn.account != aws.account => {
            Err(Failure::refused(format!("run {}", short(definition)))
                .because(format!(
                    "it is a revision of account {} in {}, and this is account {} in {}",
                    arn.account, arn.region, aws.account, aws.region
                ))
                .help("give the ARN that register-task-def gave for this account, or correct --region and the credentials"))
        }
        _ => Ok(()),
    }
}

fn outputs(cx: &Cx, arn: &str, log: &Result<LogSource, String>) {
    cx.output("task-arn", arn);
    if let Ok(source) = log {
        cx.output("log-group", &source.group);
        cx.output("log-stream", &source.stream);
    }
}

/// The outputs that a stopped task has.
fn ended(cx: &Cx, task: &SeenTask, container: &str) {
    let exit_code =
        task.containers.iter().find(|seen| seen.name == container).and_then(|seen| seen.exit_code);
    cx.output("exit-code", exit_code.map_or_else(String::new, |code| code.to_string()));
    cx.output("stop-code", task.stop_code.clone().unwrap_or_default());
    cx.output("stopped-reason", task.stopped_reason.clone().unwrap_or_default());
}
