//! Makes the changes. The only file that writes.

use aws::failure;
use aws_sdk_cloudwatch::types::Tag;
use kit::{Cx, Failure};

use crate::observe::{World, alarm, policy};
use crate::plan::{AlarmChange, Stand, SubscriptionChange};
use crate::saved::{KEY, same};

/// What removes a filter policy.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/example_sns_SetSubscriptionAttributes_section.html>
const NONE: &str = "{}";

/// Puts the new policy in the place of the one that was seen. The call says the whole value, so that the SDK's own retry of it
/// does no harm.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html>
pub(crate) async fn set_policy(cx: &Cx, world: &World, change: &SubscriptionChange) -> Result<(), Failure> {
    let attempt = format!("set the filter policy of {}", change.label);
    let untouched = |failure: Failure| failure.untouched(true);
    let Some(now) = policy(cx, world, &change.arn).await.map_err(untouched)? else {
        return Err(moved(attempt, "the subscription was deleted at this moment"));
    };
    if same(now.policy.as_deref(), change.after.as_deref()) {
        return Ok(());
    }
    if !same(now.policy.as_deref(), change.before.as_deref()) {
        let now = now.policy.as_deref().unwrap_or("none");
        return Err(moved(attempt, &format!("somebody has changed it at this moment: it is now {now}")));
    }
    let call = world.sns.set_subscription_attributes().subscription_arn(&change.arn);
    let call = call.attribute_name("FilterPolicy").attribute_value(change.after.as_deref().unwrap_or(NONE));
    call.send()
        .await
        .map_err(|error| failure(attempt, "sns:SetSubscriptionAttributes", &change.arn, error))
        .map(|_| ())
}

/// The tag goes first and goes away last: at every instant, actions that this step has disabled have it.
pub(crate) async fn set_alarm(cx: &Cx, world: &World, change: &AlarmChange) -> Result<(), Failure> {
    let attempt = format!("set the actions of the alarm {}", change.name);
    let Some(now) = alarm(cx, world, &change.name).await.map_err(|failure| failure.untouched(true))? else {
        return Err(moved(attempt, "the alarm was deleted at this moment"));
    };
    if !now.between(&change.before, &change.after) {
        return Err(moved(attempt, &format!("somebody has changed it at this moment: {now}")));
    }
    if let Some(value) = &change.after.saved
        && now.saved.as_ref() != Some(value)
    {
        let tag = Tag::builder().key(KEY).value(value).build();
        let sent = world.cloudwatch.tag_resource().resource_arn(&change.arn).tags(tag).send().await;
        sent.map_err(|error| {
            let attempt = format!("tag the alarm {}", change.name);
            failure(attempt, "cloudwatch:TagResource", &change.arn, error)
        })?;
    }
    let written = change.after.saved.is_some() && now.saved != change.after.saved;
    let in_doubt = |failure: Failure| if written { failure.untouched(false) } else { failure };
    if now.enabled != change.after.enabled {
        enable(world, change, attempt, &change.after).await.map_err(in_doubt)?;
    }
    if change.after.saved.is_none() && now.saved.is_some() {
        let sent = world.cloudwatch.untag_resource().resource_arn(&change.arn).tag_keys(KEY).send().await;
        sent.map_err(|error| {
            let attempt = format!("remove the tag {KEY} from the alarm {}", change.name);
            let failed = failure(attempt, "cloudwatch:UntagResource", &change.arn, error);
            if now.enabled == change.after.enabled { failed } else { failed.untouched(false) }
        })?;
    }
    Ok(())
}

/// Sources: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_EnableAlarmActions.html>,
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DisableAlarmActions.html>
async fn enable(world: &World, change: &AlarmChange, attempt: String, to: &Stand) -> Result<(), Failure> {
    if to.enabled {
        let sent = world.cloudwatch.enable_alarm_actions().alarm_names(&change.name).send().await;
        sent.map(|_| ())
            .map_err(|error| failure(attempt, "cloudwatch:EnableAlarmActions", &change.arn, error))
    } else {
        let sent = world.cloudwatch.disable_alarm_actions().alarm_names(&change.name).send().await;
        sent.map(|_| ())
            .map_err(|error| failure(attempt, "cloudwatch:DisableAlarmActions", &change.arn, error))
    }
}

fn moved(attempt: String, why: &str) -> Failure {
    Failure::waiting(attempt)
        .because(why.to_owned())
        .help("run the same command again, which looks anew")
        .untouched(true)
}
