//! `--mode dump`: `pg_dump` of one database.

mod apply;
mod decide;
mod document;
mod observe;
mod plan;
mod take;

use std::time::Duration;

use kit::{Cx, Failure, Go, Outcome};
use postgres::Manifest;
use s3::Bucket;

pub(crate) use apply::{Inverse, Written};
pub(crate) use document::{github, parts};
pub(crate) use observe::{ORIGIN, read_manifest};
pub(crate) use plan::{PROVE, rfc3339};
pub(crate) use take::ascii;

use crate::arena;
use crate::args::{Args, Compression, Verify};
use crate::globals::recipients;
use crate::key::Destination;
use crate::refill::Assertions;
use observe::{Wanted, observe, unlock};
use plan::{Request, Work};

/// Tables with more rows are not counted where `--count-limit` does not say so: 10 million rows are counted within seconds.
const COUNT_LIMIT: u64 = 10_000_000;

/// The backup that is there now, and how it went: a backup can be there that was not proven as far as was asked. None after a
/// dry run.
pub(crate) async fn back_up(
    cx: &Cx,
    args: &Args,
    to: &Destination,
    store: &Bucket,
) -> Result<(Option<Manifest>, Result<Outcome, Failure>), Failure> {
    let target = args.pg.target(cx.env())?;
    let recipients = recipients(&args.age_recipient)?;
    let assertions = args.assert.as_deref().map(Assertions::read).transpose()?;
    let prove_into = args.prove_into.as_deref().map(|url| arena::named(url, cx.env())).transpose()?;
    let request = Request {
        bucket: to.bucket.clone(),
        backup_id: args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id()),
        run: cx.run_id(),
        max_age: args.max_age.unwrap_or(Duration::from_hours(1)),
        rung: args.verify.unwrap_or(Verify::ReadBack).into(),
        compression: args.compression.unwrap_or(Compression::Zstd),
        count_limit: args.count_limit.unwrap_or(COUNT_LIMIT),
        allow_shrink: args.allow_shrink,
    };
    let wanted = Wanted {
        request: &request,
        prefix: &to.prefix,
        globals: !args.no_globals,
        recipients: &recipients,
        pg_dump: args.pg_dump.as_deref(),
        scratch: args.scratch_dir.as_deref(),
        prove_into: prove_into.as_ref(),
    };
    let scene = Box::pin(observe(cx, store, &target, wanted)).await?;
    cx.observed(&scene.world);
    let plan = decide::plan(&request, &scene.world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok((None, Ok(outcome)));
    }
    let applied = Box::pin(apply::apply(cx, store, &scene, &request, assertions.as_ref(), &plan)).await;
    unlock(&scene.session).await;
    scene.session.close().await;
    let (manifest, unproven) = applied?;
    let headline = format!(
        "{} ({}) is a backup of {}, verified: {}",
        manifest.uri(),
        kit::size(manifest.bytes),
        manifest.database,
        manifest.rung
    );
    let tidy = plan.abort.is_empty() && plan.remove.is_empty() && plan.drop.is_empty();
    let outcome = match (unproven, &plan.work) {
        (Some(failure), _) => Err(failure),
        (None, Work::Keep(_)) if tidy => Ok(Outcome::unchanged(headline)),
        (None, _) => Ok(Outcome::changed(headline)),
    };
    Ok((Some(manifest), outcome))
}
