//! Makes the changes. The only file that writes.

use aws::failure;
use aws_sdk_eventbridge::types::Tag;
use kit::{Cx, Failure};

use crate::observe::{World, rule};
use crate::plan::{Change, DISABLED};
use crate::saved::KEY;

/// The tag goes first and goes away last: at every instant, a rule whose state is not its own any more has it. Each call says the
/// whole value, so that the SDK's own retry of it does no harm.
///
/// Sources: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_EnableRule.html>,
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html>,
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TagResource.html>
pub(crate) async fn set(cx: &Cx, world: &World, change: &Change) -> Result<(), Failure> {
    let Change { name, bus, arn, before, after, .. } = change;
    let attempt = format!("toggle the rule {name}");
    let now = rule(cx, world, bus, name).await.map_err(|failure| failure.untouched(true))?;
    let Some(now) = now.map(|rule| rule.stand) else {
        return Err(moved(attempt, "the rule was deleted at this moment"));
    };
    if !now.between(before, after) {
        return Err(moved(attempt, &format!("somebody has changed it at this moment: it is {now}")));
    }
    let mut written = false;
    if let Some(value) = &after.saved
        && now.saved != after.saved
    {
        let attempt = format!("tag the rule {name}");
        let tag = Tag::builder().key(KEY).value(value).build();
        let tag = tag.map_err(|error| Failure::failed(&attempt).because(error).untouched(true))?;
        let sent = world.events.tag_resource().resource_arn(arn).tags(tag).send().await;
        sent.map_err(|error| failure(attempt, "events:TagResource", arn, error))?;
        written = true;
    }
    if now.state != after.state {
        let in_doubt = |failure: Failure| if written { failure.untouched(false) } else { failure };
        if after.state == DISABLED {
            let sent = world.events.disable_rule().name(name).event_bus_name(bus).send().await;
            sent.map_err(|error| in_doubt(failure(attempt, "events:DisableRule", arn, error)))?;
        } else {
            let sent = world.events.enable_rule().name(name).event_bus_name(bus).send().await;
            sent.map_err(|error| in_doubt(failure(attempt, "events:EnableRule", arn, error)))?;
        }
        written = true;
    }
    if after.saved.is_none() && now.saved.is_some() {
        let sent = world.events.untag_resource().resource_arn(arn).tag_keys(KEY).send().await;
        sent.map_err(|error| {
            let attempt = format!("remove the tag {KEY} from the rule {name}");
            let failed = failure(attempt, "events:UntagResource", arn, error);
            if written { failed.untouched(false) } else { failed }
        })?;
    }
    Ok(())
}

fn moved(attempt: String, why: &str) -> Failure {
    Failure::waiting(attempt)
        .because(why.to_owned())
        .help("run the same command again, which looks anew")
        .untouched(true)
}
