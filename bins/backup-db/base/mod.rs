//! `--mode base`: `pg_basebackup` of a whole server, as one archive, checked against PostgreSQL's own manifest on the way.

mod apply;
mod archive;
mod check;
#[cfg(test)]
mod foreign_tests;
mod listing;
mod observe;
mod plan;
mod prove;
mod restore;

use std::time::Duration;

use kit::{Cx, Failure, Go, Outcome};
use s3::Bucket;

use crate::args::{Args, Compression, Verify};
use crate::earlier::outputs;
use crate::key::Destination;
use observe::{Wanted, observe};
use plan::{Request, Work};
pub(crate) use restore::restore;

pub(crate) async fn back_up(
    cx: &Cx,
    args: &Args,
    to: &Destination,
    store: &Bucket,
) -> Result<Outcome, Failure> {
    let target = args.pg.target(cx.env())?;
    let request = Request {
        bucket: to.bucket.clone(),
        backup_id: args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id()),
        max_age: args.max_age.unwrap_or(Duration::from_hours(1)),
        rung: args.verify.unwrap_or(Verify::ReadBack).into(),
        zstd: args.compression.unwrap_or(Compression::Zstd) == Compression::Zstd,
        allow_shrink: args.allow_shrink,
    };
    let wanted = Wanted {
        request: &request,
        prefix: &to.prefix,
        pg_dump: args.pg_dump.as_deref(),
        scratch: args.scratch_dir.as_deref(),
    };
    let scene = Box::pin(observe(cx, store, &target, wanted)).await?;
    cx.observed(&scene.world);
    let plan = plan::plan(&request, &scene.world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let (manifest, unproven) = Box::pin(apply::apply(cx, store, &scene, &plan)).await?;
    scene.session.close().await;
    outputs(cx, &manifest, restore_command(&manifest.uri(), manifest.zstd_stream));
    if let Some(failure) = unproven {
        return Err(failure);
    }
    let headline = format!(
        "{} ({}) is a base backup of {}, verified: {}",
        manifest.uri(),
        kit::size(manifest.bytes),
        scene.world.server.address,
        manifest.rung
    );
    Ok(match &plan.work {
        Work::Keep(_) if plan.abort.is_empty() && plan.remove.is_empty() => Outcome::unchanged(headline),
        _ => Outcome::changed(headline),
    })
}

/// Into a new folder, which a server of the same major version is then started on.
fn restore_command(uri: &str, zstd: bool) -> String {
    let unpack = if zstd { "zstd -dc | " } else { "" };
    format!(
        "mkdir -m 700 NEW_DATA_DIR && aws s3 cp {} - | {unpack}tar -x -C NEW_DATA_DIR && pg_verifybackup NEW_DATA_DIR",
        kit::shell_word(uri)
    )
}
