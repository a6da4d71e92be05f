//! `--action restore`: a backup into a new database.
//!
//! It is restored under a name of its own and gets the one that was asked for when it was verified, so that no database of
//! that name is ever half restored.

mod observe;
mod plan;
mod undo;
mod writes;

use kit::{Cx, Failure, Go, Outcome};
use postgres::Session;
use s3::Bucket;
use serde::{Deserialize, Serialize};

use crate::arena::drop_in;
use crate::args::Args;
use crate::compare::{Expected, compare};
use crate::readback::Stored;
use crate::refill::{Assertions, Filling, create, fill, look, oid};
use crate::sql::{identifier, literal};
use observe::{Scene, observe};
use plan::{DROP, RESTORE, Work, plan};
pub(crate) use undo::undo;
use writes::Writes;

/// What takes a restored database back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Inverse {
    database: String,
    /// Its name until it is verified.
    interim: String,
    /// What its comment says.
    mark: String,
    /// The bucket and key of the backup's manifest.
    bucket: String,
    manifest_key: String,
}

/// What is remembered of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Restored {
    oid: String,
    verified: String,
    /// What the server had counted of it when it was verified.
    #[serde(default)]
    writes: Option<Writes>,
}

pub(crate) async fn restore(
    cx: &Cx,
    args: &Args,
    store: &Bucket,
    source: Source,
) -> Result<Outcome, Failure> {
    let assertions = args.assert.as_deref().map(Assertions::read).transpose()?;
    let scene = Box::pin(observe(cx, args, store, source)).await?;
    cx.observed(&scene.world);
    let plan = plan(&scene.request, &scene.world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    cx.output("database", &*plan.into);
    cx.output("manifest-uri", store.uri(&scene.manifest_key));
    if matches!(plan.work, Work::Keep) {
        scene.session.close().await;
        return Ok(Outcome::unchanged(format!("{} was restored from this backup already", plan.into)));
    }
    if plan.drop_left {
        let call = drop_in(&scene.session, &scene.world.version, &plan.interim);
        cx.act(DROP, &serde_json::Value::Null, call).await?;
    }
    let inverse = Inverse {
        database: plan.into.clone(),
        interim: plan.interim.clone(),
        mark: plan.mark.clone(),
        bucket: store.name.clone(),
        manifest_key: scene.manifest_key.clone(),
    };
    let made =
        cx.act(RESTORE, &inverse, Box::pin(make(cx, store, &scene, &plan, assertions.as_ref()))).await?;
    scene.session.close().await;
    Ok(Outcome::changed(format!(
        "{} is restored from {}: {}",
        plan.into,
        scene.manifest.uri(),
        made.verified
    )))
}

/// Makes, fills, verifies and names it. Whatever fails before the name, nothing is left.
async fn make(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    plan: &plan::RestorePlan,
    assertions: Option<&Assertions>,
) -> Result<Restored, Failure> {
    let session = &scene.session;
    let sql = create(&plan.interim, scene.manifest.locale.as_ref(), &scene.world.version);
    run(session, &format!("make the database {}", plan.interim), &sql).await.map_err(|failure| {
        failure
            .untouched(true)
            .help("the server must have the encoding and the collation of the database that was backed up")
    })?;
    let made = Box::pin(filled(cx, store, scene, plan, assertions)).await;
    let failure = match made {
        Ok(restored) => return Ok(restored),
        Err(failure) => failure,
    };
    match drop_in(session, &scene.world.version, &plan.interim).await {
        Ok(()) => Err(failure.untouched(true)),
        Err(left) => Err(failure.untouched(false).state(format!(
            "the database {} is left half restored ({left}: {}); running again drops it",
            plan.interim,
            left.chain().join(": ")
        ))),
    }
}

async fn filled(
    cx: &Cx,
    store: &Bucket,
    scene: &Scene,
    plan: &plan::RestorePlan,
    assertions: Option<&Assertions>,
) -> Result<Restored, Failure> {
    let session = &scene.session;
    let manifest = &scene.manifest;
    let target = session.target.with_database(&plan.interim);
    let how = Filling {
        pg_restore: &scene.world.tools.pg_restore,
        client: &scene.world.tools.version,
        server: &scene.world.version,
        owners: plan.owners,
        for_a_while: false,
    };
    let attempt = format!("restore {}", manifest.uri());
    let stored = Stored { key: &manifest.key, object: &scene.object };
    let sum = fill(cx, store, stored, &scene.runner, &target, how)
        .await?
        .map_err(|why| Failure::failed(&attempt).because(why))?;
    let unverified = |why: String| Failure::unverified(&attempt).because(why);
    if sum.sha256 != manifest.sha256 {
        return Err(unverified(format!(
            "its SHA-256 is {}, and the manifest says {}",
            sum.sha256, manifest.sha256
        )));
    }
    let expected = Expected::by(manifest);
    let mut verified = compare(&expected, &look(cx, &target, &expected).await?).map_err(unverified)?;
    if let Some(assertions) = assertions {
        let held = assertions.hold(cx, &target).await?.map_err(unverified)?;
        verified = format!("{verified}; {held}");
    }
    // The restore is good without: what takes it back has less to go by then.
    let writes =
        match writes::seen(cx, &target, manifest.rows.iter().flatten().map(|(_, rows)| rows).sum()).await {
            Ok(seen) => seen.writes,
            Err(_) => cx.or_cancelled(std::future::ready(None)).await?,
        };
    let number = oid(session, &plan.interim).await?.unwrap_or_default();
    let name = identifier(&plan.interim);
    run(session, "mark the database", &format!("COMMENT ON DATABASE {name} IS {}", literal(&plan.mark)))
        .await?;
    let rename = format!("ALTER DATABASE {name} RENAME TO {}", identifier(&plan.into));
    run(session, &format!("give the restored database the name {}", plan.into), &rename).await?;
    if oid(session, &plan.into).await?.as_ref() != Some(&number) {
        return Err(unverified(format!("the server renamed it, and {} is another database", plan.into)));
    }
    Ok(Restored { oid: number, verified, writes })
}

async fn run(session: &Session, attempt: &str, sql: &str) -> Result<(), Failure> {
    session.client.simple_query(sql).await.map(drop).map_err(|error| session.failure(attempt, &error))
}

pub(crate) use observe::{Source, latest, read};
