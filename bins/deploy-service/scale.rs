//! The number of tasks, changed for a while: what it was is kept in a tag of the service, so that any machine can restore it, and
//! Application Auto Scaling is suspended meanwhile, or it would change the number back.
//!
//! Sources: <https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html>

mod apply;
mod plan;
mod saved;
mod undo;

use std::time::Duration;

use kit::{Cx, Failure, Go, Outcome, Plan as _, Poll};

use self::apply::{apply, observe, wait};
use self::plan::{Change, plan};
pub(crate) use self::plan::{Want, Wish, parse_want};
use crate::observe::Ecs;

/// The service's tag that says what was there before.
const TAG: &str = "cutover:scaled-from";

/// How the tasks are waited for.
pub(crate) struct Waiting {
    pub(crate) interval: Duration,
    /// So many stops in a row for one reason end it; 0 for never.
    pub(crate) fail_after: usize,
}

/// Changes the number of tasks, restores it, or takes a run that did either back.
pub(crate) async fn run(cx: &Cx, ecs: &Ecs<'_>, wish: &Wish, waiting: &Waiting) -> Result<Outcome, Failure> {
    let (service, observed) = observe(ecs).await?;
    cx.observed(&observed);
    let name = ecs.of.to_string();
    let plan = match cx.undo() {
        Some(receipt) => {
            let inverses = receipt.inverses::<Change>()?.into_iter().map(|(_, change)| change).collect();
            undo::plan(inverses, receipt.observed["saved"].as_str(), &name, &observed)?
        }
        None => plan(wish, &name, &observed)?,
    };
    let go = cx.show(&plan)?;
    cx.output("desired-count", plan.count.to_string());
    cx.output("previous-desired-count", plan.before.to_string());
    if let Go::Stop(outcome) = go {
        return Ok(outcome);
    }
    for change in &plan.changes {
        cx.act(change.id(), &change.inverse(), apply(ecs, &service, change)).await?;
        if let Change::Count { to, .. } = change {
            wait(cx, ecs, *to, waiting).await?;
        }
    }
    // Also after a run that was killed while it waited. To forget changes nothing of the tasks, whatever they do.
    if wish.want != Want::Forget {
        wait(cx, ecs, plan.count, waiting).await?;
    }
    cx.read_back(async || {
        let (_, now) = observe(ecs).await?;
        let left = plan.changes.iter().find(|change| !change.in_effect(&now));
        Ok(left.map_or(Poll::Ready(()), |change| {
            Poll::Pending(format!("`{}` is not in effect: {}", change.id(), serde_json::json!(now)))
        }))
    })
    .await?;
    if let (Some(receipt), false) = (cx.undo(), cx.dry_run()) {
        for action in receipt.undoable() {
            cx.mark_undone(action)?;
        }
    }
    Ok(if plan.changes.is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        Outcome::changed(format!("{name} runs {} tasks", plan.count))
    })
}
