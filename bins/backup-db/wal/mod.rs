//! `--mode wal-e` and `--mode wal-g`: runs the tool that a server is backed up with already, and judges what it left.
//!
//! Neither's exit code proves anything: an archive or a segment without content was uploaded with success
//! (<https://github.com/wal-g/wal-g/issues/85>), and bad blocks are noted and no error. A backup is there when its sentinel is,
//! its archives have content, and all of the write-ahead log that it needs lies beside it.

#[cfg(test)]
mod foreign_tests;
mod observe;
mod plan;
mod push;
mod sentinel;

use std::time::Duration;

use kit::{Code, Cx, Failure, Go, Outcome, Poll, Receipt, Wait};
use postgres::Session;
use s3::Bucket;
use tokio::time::Instant;

use crate::args::Args;
use crate::key::Destination;
use observe::{archiver, log, look, observe, read, sentinels};
pub(crate) use plan::Tool;
use plan::{Archived, PUSH, Request, Seen, World, in_words};

/// How long the server may take to archive the end of the log.
const ARCHIVED_WITHIN: Duration = Duration::from_mins(10);

pub(crate) async fn run(
    cx: &Cx,
    args: &Args,
    tool: Tool,
    to: &Destination,
    store: &Bucket,
) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        return Err(no_undo(tool, store, to, receipt));
    }
    let target = args.pg.target(cx.env())?;
    let request = Request {
        backup_id: args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id()),
        max_age: args.max_age.unwrap_or(Duration::from_hours(1)),
    };
    let session = postgres::connect(cx, &target).await?;
    let world = observe(cx, args, store, to, tool, &session).await?;
    // Nothing keeps it alive for as long as the tool runs.
    session.close().await;
    cx.observed(&world);
    let plan = plan::plan(&request, &world)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let started = cx.now();
    let sentinel = if let Some(kept) = &plan.keep {
        kept.clone()
    } else {
        let pushed = push::push(cx, tool, &world, &plan, &target, to);
        cx.act(PUSH, &serde_json::Value::Null, pushed).await?;
        let after = sentinels(cx, store, to).await?;
        let new = sentinel::fresh(&world.sentinels, &after).map_err(|why| unverified(tool, why))?;
        read(cx, store, to, new, world.server.segment_bytes).await?.map_err(|why| unverified(tool, why))?
    };
    let seen = look(cx, store, to, sentinel).await?.map_err(|why| unverified(tool, why))?;
    plan::judge(&seen, &world.server).map_err(|why| unverified(tool, why))?;
    let session = postgres::connect(cx, &target).await.map_err(|failure| failure.state(in_doubt(&seen)))?;
    wait_for_log(cx, &session, store, to, &world, &seen).await?;
    session.close().await;
    cx.output("backup-uri", &*seen.uri);
    cx.output("bytes", seen.stored_bytes.to_string());
    cx.output("rung", "present");
    cx.output("restore-command", format!("{} backup-fetch NEW_DATA_DIR {}", tool.word(), seen.sentinel.name));
    let headline = format!(
        "{} is a backup of {}, and its write-ahead log {} to {} is archived",
        in_words(&seen),
        world.server.address,
        seen.sentinel.first,
        seen.sentinel.last
    );
    if plan.keep.is_some() {
        return Ok(Outcome::unchanged(headline));
    }
    cx.output("duration", (cx.now() - started).whole_seconds().to_string());
    Ok(Outcome::changed(headline))
}

fn unverified(tool: Tool, why: String) -> Failure {
    Failure::unverified(format!("verify the backup of {}", tool.word()))
        .because(why)
        .help("do not rely on it: look at what the tool and the server's log say, and run again")
}

/// Waits until every segment that the backup needs is in the bucket, and the server says so too.
async fn wait_for_log(
    cx: &Cx,
    session: &Session,
    store: &Bucket,
    to: &Destination,
    world: &World,
    seen: &Seen,
) -> Result<(), Failure> {
    let sentinel = &seen.sentinel;
    let server = &world.server;
    let tool = world.tool;
    let needed = sentinel::needed(sentinel, server.segment_bytes).map_err(|why| unverified(tool, why))?;
    let what = format!("the write-ahead log of {} to be archived", sentinel.name);
    let wait =
        Wait { what: &what, every: Duration::from_secs(2), deadline: Some(Instant::now() + ARCHIVED_WITHIN) };
    let waited = cx.wait(wait, async || {
        let listed = log(cx, store, to, &needed).await?;
        let missing = sentinel::missing(&needed, &listed, &sentinel::log(&to.prefix))
            .map_err(|why| unverified(tool, why))?;
        let now = archiver(session).await?;
        match plan::archived(sentinel, &missing, server.standby, (&server.archiver, &now)) {
            Archived::All => Ok(Poll::Ready(())),
            Archived::Waiting(state) => Ok(Poll::Pending(state)),
            Archived::Failing(why) => Err(unverified(tool, why)),
        }
    });
    waited.await.map_err(|failure| match failure.code() {
        Code::Deadline => failure.state(in_doubt(seen)),
        _ => failure,
    })
}

fn in_doubt(seen: &Seen) -> String {
    format!("{} is in its place, and can't be restored before its write-ahead log is archived", seen.uri)
}

/// The tools delete what they wrote: they know what else needs it.
fn no_undo(tool: Tool, store: &Bucket, to: &Destination, receipt: &Receipt) -> Failure {
    let uri = receipt.outputs.get("backup-uri");
    let name = uri.and_then(|uri| {
        let key = uri.strip_prefix(&format!("s3://{}/", store.name))?;
        sentinel::name_of(key, &to.prefix)
    });
    let failure = Failure::refused("undo this backup")
        .because(format!("{} deletes its backups itself: others may need what is in this one", tool.word()));
    match (tool, name) {
        (_, None) => failure.help(format!("look for its name with `{} backup-list`", tool.word())),
        (Tool::WalG, Some(name)) => {
            failure.help(format!("wal-g delete target {} (add --confirm to do it)", kit::shell_word(name)))
        }
        (Tool::WalE, Some(name)) => {
            let backup = format!("{}{name}", store.uri(&sentinel::backups(&to.prefix)));
            failure.help(format!(
                "wal-e deletes only what is older than a backup; this one goes with: aws s3 rm {} && aws s3 rm --recursive {}",
                kit::shell_word(&format!("{backup}_backup_stop_sentinel.json")),
                kit::shell_word(&format!("{backup}/"))
            ))
        }
    }
}
