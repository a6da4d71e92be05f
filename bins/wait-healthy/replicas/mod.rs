//! Sets how many copies the indexes of a cluster have, and puts back how many they had: E15 and E21 of ENCODE's runbook.

use std::time::Duration;

use kit::{Cx, Failure, Go, Note, Outcome, Poll};

use crate::args::Act;
use crate::kinds::cluster::Client;
use crate::kinds::cluster::judge::meant;

mod apply;
mod change;
#[cfg(test)]
mod foreign_tests;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
mod saved;
mod undo;

use change::{Change, Changes, Made};
use observe::World;
use plan::Set;

/// What the user asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) act: Act,
    pub(crate) replicas: Option<u32>,
    pub(crate) named: Vec<String>,
    /// The name of the cluster that is meant.
    pub(crate) cluster: Option<String>,
}

/// What comes then.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing: a dry run, or a run that took another one back.
    Stop(Outcome),
    /// The cluster is waited for; what is so before that.
    Wait { changed: bool, headline: String },
}

/// Makes the changes that the wish asks for, or takes back those of the receipt.
pub(crate) async fn change(
    cx: &Cx,
    client: &Client,
    wish: Wish,
    limit: Duration,
    warnings: &[String],
) -> Result<Then, Failure> {
    let taken_back = cx.undo().map(undo::of).transpose()?;
    if taken_back.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Then::Stop(Outcome::unchanged("nothing to take back: that run changed nothing")));
    }
    let world = cx.in_time("look at the cluster", observe::world(client, limit)).await??;
    cx.observed(&world);
    meant(wish.cluster.as_deref(), &world.cluster, client.base().as_str())?;
    if let Some(records) = taken_back {
        return take_back(cx, client, &world, &records, limit).await.map(Then::Stop);
    }
    let mut changes = match wish.replicas {
        Some(replicas) if wish.act == Act::SetReplicas => {
            let since = cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now());
            let set = Set { replicas, named: &wish.named, by: cx.env().release(None), since };
            plan::set(&set, &world)?
        }
        _ if wish.act == Act::ForgetReplicas => plan::forget(&world),
        _ => plan::restore(&world)?,
    };
    changes.notes.extend(warnings.iter().cloned().map(Note::Warning));
    if let Go::Stop(outcome) = cx.show(&changes)? {
        return Ok(Then::Stop(outcome));
    }
    for (id, change) in &changes.changes {
        let made = Made { cluster: world.identity(), change: change.clone() };
        cx.act(id, &made, apply::make(cx, client, world.keeper, change, limit)).await?;
    }
    prove(cx, client, &world, &changes, limit).await?;
    if wish.act == Act::ForgetReplicas {
        return Ok(Then::Stop(if changes.changes.is_empty() {
            Outcome::unchanged(changes.unchanged)
        } else {
            Outcome::changed(format!("what was saved in {} is dropped", world.cluster))
        }));
    }
    let count = changes.indexes();
    cx.output("indexes", count.to_string());
    let many = if count == 1 { "1 index".to_owned() } else { format!("{count} indexes") };
    let headline = match wish.replicas {
        _ if changes.changes.is_empty() => changes.unchanged,
        Some(replicas) => format!("number_of_replicas of {many} was set to {replicas}"),
        None => format!("number_of_replicas of {many} was restored"),
    };
    Ok(Then::Wait { changed: !changes.changes.is_empty(), headline })
}

async fn take_back(
    cx: &Cx,
    client: &Client,
    world: &World,
    records: &[(kit::ActionRecord, Made)],
    limit: Duration,
) -> Result<Outcome, Failure> {
    let back = undo::plan(records, world)?;
    if let Go::Stop(outcome) = cx.show(&back.changes)? {
        return Ok(outcome);
    }
    for record in &back.settled {
        cx.mark_undone(record)?;
    }
    for (id, change) in &back.changes.changes {
        let Some(record) = back.takes.get(id) else { continue };
        cx.act_undo(id, record, apply::make(cx, client, world.keeper, change, limit)).await?;
    }
    prove(cx, client, world, &back.changes, limit).await?;
    cx.output("indexes", back.changes.indexes().to_string());
    Ok(match back.changes.changes.len() {
        0 => Outcome::unchanged(back.changes.unchanged),
        1 => Outcome::changed("1 change of that run is taken back"),
        n => Outcome::changed(format!("{n} changes of that run are taken back")),
    })
}

/// Reads back what was set, until it is so: the node that is asked may be behind the master.
async fn prove(
    cx: &Cx,
    client: &Client,
    world: &World,
    changes: &Changes,
    limit: Duration,
) -> Result<(), Failure> {
    if changes.changes.is_empty() {
        return Ok(());
    }
    let last = changes.changes.iter().rev().find_map(|(_, change)| match change {
        Change::Saved { after, .. } => Some(after),
        Change::Replicas { .. } => None,
    });
    let outcome = changes.outcome();
    cx.read_back(async || {
        let there = observe::indexes(client, limit).await.map_err(passing)?;
        for (named, after) in &outcome {
            if let Some(other) = apply::other(&there, named, after) {
                return Ok(Poll::Pending(format!("{other}, want {after}")));
            }
        }
        if let Some(after) = last
            && observe::saved(client, world.keeper, limit).await.map_err(passing)? != *after
        {
            return Ok(Poll::Pending("what is saved is read as it was".to_owned()));
        }
        Ok(Poll::Ready(()))
    })
    .await
}

/// The change is made: an answer that does not come may come a moment later.
fn passing(failure: Failure) -> Failure {
    failure.transient(true)
}
