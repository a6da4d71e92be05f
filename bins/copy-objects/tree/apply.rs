//! Writes a tree: many at a time, in its order, each noted on disk as it is done.

use std::sync::Arc;
use std::time::Duration;

use kit::{Code, Failure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::item::{Count, Done, Names, shown};
use super::manifest::{Files, Listed, Places, Written};
use super::observe::Slot;
use super::order::Order;
use super::plan::{COPY_TREE, TreePlan};
use super::{Tree, copy};
use crate::problem::Problem;

/// How many are copied at the same time.
const COPIES: usize = 64;
/// How much of a second S3 tells in `LastModified`, and so what has to pass before what is to be newer is written.
const TICK: Duration = Duration::from_millis(1005);
/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// What takes a tree back: what was listed and what was written stand beside the receipt in files of that name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) owner: Option<String>,
    pub(crate) files: String,
    /// In seconds since 1970, by the clock of this machine with a minute to spare.
    pub(crate) begun: i64,
}

/// What is written of a tree that has come to an end, well or not.
#[derive(Debug, Default)]
struct Progressed {
    done: Count,
    changed: Names,
    /// A call was not answered, and may have had its effect.
    in_doubt: bool,
}

/// Copies all that have a slot, and notes in it what came of each.
pub(crate) async fn apply(
    tree: &Arc<Tree>,
    plan: &TreePlan,
    listed: &Listed,
    slots: &mut [Slot],
) -> Result<Count, Failure> {
    if slots.is_empty() {
        return Ok(Count::default());
    }
    let cx = &tree.cx;
    let (files, name) = Files::of_run(cx);
    let mut written = listed.keep(&files)?;
    let inverse = Inverse {
        bucket: tree.destination.name.clone(),
        prefix: tree.to.clone(),
        owner: tree.destination.owner.clone(),
        files: name,
        begun: cx.now().unix_timestamp() - 60,
    };
    let all = plan.written();
    let mut progressed = Progressed::default();
    let work = async {
        // What is written now has to be newer than what an earlier run has just written.
        if tree.order != Order::Any && cx.now().unix_timestamp() <= plan.latest_there() {
            cx.or_cancelled(cx.pause(TICK)).await.map_err(|failure| failure.untouched(true))?;
        }
        let ended = ranks(tree, listed, slots, &mut written, &mut progressed, all).await;
        let noted = written.finish();
        if let Err(failure) = ended {
            let none = progressed.done == Count::default() && !progressed.in_doubt;
            let failure = failure.untouched(none).state(format!(
                "{} of {} were copied; running again copies the others",
                progressed.done.in_words(),
                all.in_words()
            ));
            return Err(failure);
        }
        noted?;
        Ok(progressed.done)
    };
    let done = cx.act(COPY_TREE, &inverse, work).await?;
    if progressed.changed.count > 0 {
        let failure = Failure::waiting(format!("copy {} to {}", tree.from(), tree.to()))
            .because(format!(
                "{} changed since they were listed, and were not copied; all others were",
                progressed.changed.count
            ))
            .help("run the same command again: it looks anew");
        return Err(progressed.changed.tell(failure, "changed"));
    }
    Ok(done)
}

/// One rank after the other.
async fn ranks(
    tree: &Arc<Tree>,
    listed: &Listed,
    slots: &mut [Slot],
    written: &mut Written,
    progressed: &mut Progressed,
    all: Count,
) -> Result<(), Failure> {
    let cx = &tree.cx;
    let mut places = listed.places()?;
    for (n, rank) in slots.chunk_by_mut(|one, other| one.rank == other.rank).enumerate() {
        if n > 0 {
            cx.or_cancelled(cx.pause(TICK)).await?;
        }
        let is_late = rank.first().is_some_and(|slot| slot.rank.is_late());
        many(tree, &mut places, rank, is_late, written, progressed, all).await?;
    }
    Ok(())
}

/// All of one rank, as many at a time as may be.
async fn many(
    tree: &Arc<Tree>,
    places: &mut Places,
    slots: &mut [Slot],
    is_late: bool,
    written: &mut Written,
    progressed: &mut Progressed,
    all: Count,
) -> Result<(), Failure> {
    let cx = &tree.cx;
    let mut in_flight: JoinSet<(usize, Result<Done, Problem>)> = JoinSet::new();
    let mut waiting = 0..slots.len();
    let mut failed: Option<Failure> = None;
    let mut ticks = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while failed.is_none() && in_flight.len() < COPIES {
            let Some(n) = waiting.next() else { break };
            let Some(slot) = slots.get(n) else { break };
            let line = places.at(slot.place)?;
            let tree = Arc::clone(tree);
            in_flight.spawn(async move { (n, copy::copy(&tree, line, is_late).await) });
        }
        let ended = tokio::select! {
            biased;
            // What is under way is let come to its end, so that it is noted; nothing new is begun.
            () = cx.cancelled(), if failed.is_none() => {
                failed = Some(cx.cancellation());
                continue;
            }
            () = tokio::time::sleep_until(cx.deadline()), if failed.is_none() => {
                failed = Some(Failure::new(Code::Deadline, format!("copy {} to {}", tree.from(), tree.to()))
                    .because("the deadline passed")
                    .help("run it again with a longer --timeout: it goes on where this one ended"));
                continue;
            }
            ended = in_flight.join_next() => ended,
            _ = ticks.tick() => {
                cx.report().say(&format!(
                    "copied {} of {}",
                    progressed.done.in_words(),
                    all.in_words()
                ));
                continue;
            }
        };
        let Some(ended) = ended else { break };
        let (n, result) =
            ended.map_err(|error| Failure::failed(format!("copy {}", tree.from())).because(error))?;
        match result {
            Ok(done) => {
                written.add(&done)?;
                progressed.done.add(done.bytes);
                if let Some(slot) = slots.get_mut(n) {
                    slot.written = Some((fingerprint(&done.etag), done.bytes));
                }
            }
            Err(Problem::Changed(why)) => progressed.changed.add(shown(&why)),
            Err(Problem::Failed(failure)) => {
                progressed.in_doubt |= failure.is_transient();
                failed.get_or_insert(failure);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What tells one `ETag` from another, in the space of a number.
pub(crate) fn fingerprint(etag: &str) -> u64 {
    crc_fast::crc64_nvme(etag.as_bytes())
}
