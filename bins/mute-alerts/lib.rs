#![doc = include_str!("help.md")]

mod apply;
mod args;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
mod saved;
mod status;
mod undo;

use std::time::Duration;

use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Poll, Step};

use crate::args::Act;
pub use crate::args::Args;
use crate::observe::{World, observe};
use crate::plan::{Changes, Wish};
use crate::saved::Mark;
use crate::undo::{Inverse, Present};

const TOPIC: &str = "arn:aws:sns:REGION:ACCOUNT:TOPIC";
const ALARM: &str = "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME";

const fn permission(action: &'static str, resource: &'static str, when: &'static str) -> Permission {
    Permission { action, resource, when }
}

/// The step.
pub const STEP: Step = Step {
    name: "mute-alerts",
    command: kit::command::<Args>,
    outputs: &[
        Output {
            name: "state",
            description: "on when all that can be is silenced, off when nothing is, else part",
        },
        Output { name: "silenced", description: "how many subscriptions are silenced" },
        Output { name: "open", description: "how many subscriptions get messages" },
        Output { name: "pending", description: "how many subscriptions are not confirmed yet" },
        Output { name: "alarms-silenced", description: "how many of the alarms are silenced by this step" },
    ],
    permissions: &[
        permission("sns:ListTopics", "*", "--topic is a name"),
        permission("sns:ListSubscriptionsByTopic", TOPIC, "--topic"),
        permission("sns:GetSubscriptionAttributes", "*", "--topic"),
        permission("sns:SetSubscriptionAttributes", "*", "--topic with --action on, off"),
        permission(
            "cloudwatch:DescribeAlarms",
            "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:*",
            "--alarm, --alarm-prefix",
        ),
        permission("cloudwatch:ListTagsForResource", ALARM, "--alarm, --alarm-prefix"),
        permission("cloudwatch:TagResource", ALARM, "alarms with --action on, and its --undo"),
        permission("cloudwatch:DisableAlarmActions", ALARM, "alarms with --action on, and the --undo of off"),
        permission("cloudwatch:EnableAlarmActions", ALARM, "alarms with --action off, and the --undo of on"),
        permission("cloudwatch:UntagResource", ALARM, "alarms with --action off, and the --undo of on"),
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "a topic, an address or an alarm is not there, or somebody has changed a muting policy",
        },
        ExitCode { code: Code::Unverified, meaning: "set, and not read back so" },
        ExitCode {
            code: Code::Waiting,
            meaning: "somebody changed a subscription or an alarm at the same moment",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(15),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let by = args.check(cx.env())?;
    let world = World::connect(&cx, &args).await?;
    if let Some(receipt) = cx.undo() {
        let records = undo::of(receipt)?;
        return take_back(&cx, &world, &records).await;
    }
    let seen = observe(&cx, &world, &args).await?;
    cx.observed(&seen);
    if args.action == Act::Status {
        return Ok(status::tell(&cx, &seen));
    }
    let since = cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now());
    let wish = Wish { act: args.action, keep: args.keep.clone(), mark: Mark { by, since } };
    let changes = plan::plan(&wish, &seen)?;
    if let Go::Stop(outcome) = cx.show(&changes)? {
        return Ok(outcome);
    }
    for change in &changes.subscriptions {
        let call = apply::set_policy(&cx, &world, change);
        cx.act(&change.id, &Inverse::Subscription(change.clone()), call).await?;
    }
    for change in &changes.alarms {
        let call = apply::set_alarm(&cx, &world, change);
        cx.act(&change.id, &Inverse::Alarm(change.clone()), call).await?;
    }
    prove(&cx, &world, &changes).await?;
    let count = changes.subscriptions.len() + changes.alarms.len();
    let after = if count == 0 { seen } else { observe(&cx, &world, &args).await? };
    let headline = status::outputs(&cx, &after).headline;
    Ok(if count == 0 { Outcome::unchanged(headline) } else { Outcome::changed(headline) })
}

/// Reads back what was set, until it is so.
async fn prove(cx: &Cx, world: &World, changes: &Changes) -> Result<(), Failure> {
    cx.read_back(async || {
        for change in &changes.subscriptions {
            // Deleted meanwhile, it sends nothing to anybody.
            let Some(now) = observe::policy(cx, world, &change.arn).await? else { continue };
            if !plan::is_set(change, now.policy.as_deref()) {
                let has = plan::words(now.policy.as_deref());
                return Ok(Poll::Pending(format!("{} of {} has {has}", change.label, change.topic)));
            }
        }
        for change in &changes.alarms {
            let Some(now) = observe::alarm(cx, world, &change.name).await? else { continue };
            if now != change.after {
                return Ok(Poll::Pending(format!("the alarm {} has {now}", change.name)));
            }
        }
        Ok(Poll::Ready(()))
    })
    .await
}

async fn take_back(
    cx: &Cx,
    world: &World,
    records: &[(kit::ActionRecord, Inverse)],
) -> Result<Outcome, Failure> {
    if records.is_empty() {
        return Ok(Outcome::unchanged("nothing to take back: that run changed nothing"));
    }
    let mut present = Present::default();
    for (_, inverse) in records {
        match inverse {
            Inverse::Subscription(change) => {
                if let Some(now) = observe::policy(cx, world, &change.arn).await? {
                    present.policies.insert(change.arn.clone(), now.policy);
                    present.scopes.extend(now.scope.map(|scope| (change.arn.clone(), scope)));
                }
            }
            Inverse::Alarm(change) => {
                let now = observe::alarm(cx, world, &change.name).await?;
                present.alarms.insert(change.arn.clone(), now);
            }
        }
    }
    let back = undo::plan(records, &present)?;
    if let Go::Stop(outcome) = cx.show(&back.changes)? {
        return Ok(outcome);
    }
    for record in &back.settled {
        cx.mark_undone(record)?;
    }
    for change in &back.changes.subscriptions {
        cx.act_undo_all(&change.id, back.records(&change.id), apply::set_policy(cx, world, change)).await?;
    }
    for change in &back.changes.alarms {
        cx.act_undo_all(&change.id, back.records(&change.id), apply::set_alarm(cx, world, change)).await?;
    }
    prove(cx, world, &back.changes).await?;
    let count = back.changes.subscriptions.len() + back.changes.alarms.len();
    Ok(match count {
        0 => Outcome::unchanged(back.changes.unchanged),
        1 => Outcome::changed("1 change of that run is taken back"),
        n => Outcome::changed(format!("{n} changes of that run are taken back")),
    })
}
