//! `--mode rds-snapshot`: a snapshot of an RDS instance or an Aurora cluster, followed to its end.

mod calls;
mod plan;
mod undo;

use std::time::Duration;

use ::aws::Aws;
use kit::{Cx, Failure, Go, Outcome, Poll, Wait};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use calls::{Kind, Rds, Snapshot};
use plan::{CREATE, Request, Work, World, plan};
pub(crate) use undo::undo;

/// How old a snapshot of the same id may be to count as made.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Between two looks at a snapshot that is being made.
const EVERY: Duration = Duration::from_secs(3);

/// What takes a snapshot back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Inverse {
    kind: Kind,
    snapshot: String,
}

/// What is remembered of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Made {
    arn: String,
}

pub(crate) async fn run(cx: &Cx, args: &Args, aws: &Aws) -> Result<Outcome, Failure> {
    let rds = Rds::new(aws);
    let (kind, id) = match (&args.db_instance, &args.db_cluster) {
        (Some(instance), _) => (Kind::Instance, instance.clone()),
        (None, cluster) => (Kind::Cluster, cluster.clone().unwrap_or_default()),
    };
    let backup_id = args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id());
    let request = Request { kind, id, backup_id, max_age: args.max_age.unwrap_or(MAX_AGE) };
    let name = plan::name(&request.id, &request.backup_id);
    let world = World {
        now: cx.now(),
        place: format!("account {}, region {}", aws.account, aws.region),
        database: cx.or_cancelled(rds.database(kind, &request.id)).await??,
        snapshot: cx.or_cancelled(rds.snapshot(kind, &name)).await??,
        name,
    };
    cx.observed(&world);
    let plan = plan(&request, &world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let started = cx.now();
    if plan.work == Work::Make {
        let inverse = Inverse { kind, snapshot: plan.name.clone() };
        let tags = [("cutover-run", cx.run_id()), (calls::BACKUP_ID, request.backup_id.clone())];
        let create = async {
            let made = make(cx, &rds, kind, &request.id, &plan.name, &tags).await?;
            Ok(Made { arn: made.arn })
        };
        cx.act(CREATE, &inverse, create).await?;
    }
    let snapshot = follow(cx, &rds, kind, &plan.name).await?;
    plan::check(&request, &world, &snapshot).map_err(|why| {
        Failure::unverified(format!("verify the snapshot {}", snapshot.id))
            .because(why)
            .help("look at it before anything relies on it; --undo RECEIPT deletes it")
    })?;
    outputs(cx, kind, &snapshot, (cx.now() - started).whole_seconds());
    let text = format!("{} is a snapshot of {} ({} GiB), available", snapshot.id, snapshot.of, snapshot.gib);
    Ok(if matches!(plan.work, Work::Keep(_)) { Outcome::unchanged(text) } else { Outcome::changed(text) })
}

/// Has it made. The call has no client token, and is sent once: after an answer that was lost, a look tells whether it took
/// effect.
async fn make(
    cx: &Cx,
    rds: &Rds,
    kind: Kind,
    database: &str,
    name: &str,
    tags: &[(&str, String)],
) -> Result<Snapshot, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let failure = match rds.create(kind, database, name, tags).await {
            Ok(snapshot) => return Ok(snapshot),
            Err(failure) => failure,
        };
        if let Some(snapshot) = rds.snapshot(kind, name).await? {
            if snapshot.tag("cutover-run") == Some(&cx.run_id()) {
                return Ok(snapshot);
            }
            return Err(Failure::waiting(format!("make the snapshot {name}"))
                .because("another run has made one of this name meanwhile")
                .help("run the same command again: it follows that one")
                .untouched(true));
        }
        if !failure.is_transient() || tries == 5 {
            let refused = !failure.is_transient();
            return Err(failure.untouched(refused));
        }
        cx.or_cancelled(cx.pause(EVERY)).await?;
    }
}

/// Waits until it is available. One that failed, is being deleted or is gone ends it at once.
///
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBSnapshot.html>
async fn follow(cx: &Cx, rds: &Rds, kind: Kind, name: &str) -> Result<Snapshot, Failure> {
    let what = format!("the snapshot {name} to be available");
    let ended = |why: String| {
        Failure::unverified(format!("wait for the snapshot {name}"))
            .because(why)
            .help("look at the events of the database (aws rds describe-events), and run it again with another --backup-id")
    };
    cx.wait(Wait::until(&what, EVERY), async || {
        let Some(snapshot) = rds.snapshot(kind, name).await? else {
            return Err(ended("it is gone: somebody has deleted it".to_owned()));
        };
        match snapshot.status.as_str() {
            "available" => Ok(Poll::Ready(snapshot)),
            "failed" => Err(ended("RDS says that it failed".to_owned())),
            "deleting" | "deleted" => Err(ended("somebody is deleting it".to_owned())),
            status => Ok(Poll::Pending(match snapshot.percent {
                Some(percent) => format!("{status}, {percent} %"),
                None => status.to_owned(),
            })),
        }
    })
    .await
}

fn outputs(cx: &Cx, kind: Kind, snapshot: &Snapshot, seconds: i64) {
    cx.output("snapshot-arn", &*snapshot.arn);
    cx.output("duration", seconds.to_string());
    cx.output("rung", "present");
    let word = kit::shell_word;
    cx.output(
        "restore-command",
        match kind {
            Kind::Instance => format!(
                "aws rds restore-db-instance-from-db-snapshot --db-snapshot-identifier {} --db-instance-identifier {}",
                word(&snapshot.id),
                word(&format!("{}-restored", snapshot.of))
            ),
            Kind::Cluster => format!(
                "aws rds restore-db-cluster-from-snapshot --snapshot-identifier {} --engine {} --db-cluster-identifier {}",
                word(&snapshot.id),
                word(&snapshot.engine),
                word(&format!("{}-restored", snapshot.of))
            ),
        },
    );
}
