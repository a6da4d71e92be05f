#![doc = include_str!("help.md")]

mod apply;
mod args;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
mod saved;
mod undo;

use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Poll, Step, clock};
use serde_json::json;

use crate::args::Act;
pub use crate::args::Args;
use crate::observe::{World, observe};
use crate::plan::{Change, Changes, Rule, Wish};
use crate::saved::Saved;

/// On the default event bus, and on another one.
const RULE: &str = "arn:aws:events:REGION:ACCOUNT:rule/NAME and arn:aws:events:REGION:ACCOUNT:rule/BUS/NAME";

const fn permission(action: &'static str, resource: &'static str, when: &'static str) -> Permission {
    Permission { action, resource, when }
}

/// The step.
pub const STEP: Step = Step {
    name: "toggle-schedule",
    command: kit::command::<Args>,
    outputs: &[
        Output { name: "state", description: "enabled, disabled, or mixed where the rules differ" },
        Output { name: "saved", description: "how many rules have a saved state that restore puts back" },
    ],
    permissions: &[
        permission("events:DescribeRule", RULE, ""),
        permission("events:ListTagsForResource", RULE, ""),
        permission("events:ListRules", "*", "a rule is not there; without it no other name is proposed"),
        permission(
            "events:TagResource",
            RULE,
            "--action enable, disable, unless --no-save; --undo of restore",
        ),
        permission("events:EnableRule", RULE, "a rule is enabled"),
        permission("events:DisableRule", RULE, "a rule is disabled"),
        permission("events:UntagResource", RULE, "--action restore, forget; --undo of enable, disable"),
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "assert: a rule is not in that state; else a rule is not there, is managed by AWS, or is another release's",
        },
        ExitCode { code: Code::Unverified, meaning: "set, and not read back so" },
        ExitCode { code: Code::Waiting, meaning: "somebody changed a rule at the same moment" },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let by = args.check(cx.env())?;
    let world = World::connect(&cx, &args).await?;
    if let Some(receipt) = cx.undo() {
        let records = undo::of(receipt)?;
        return take_back(&cx, &world, &records).await;
    }
    let rules = observe(&cx, &world, &args).await?;
    cx.observed(&rules);
    if matches!(args.action, Act::Status | Act::Assert) {
        tell(&cx, &rules);
        if let Some(expect) = args.expect {
            plan::assert(expect, &rules)?;
        }
        return Ok(Outcome::unchanged(headline(&rules)));
    }
    let now = cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now());
    let wish = Wish { act: args.action, save: !args.no_save, by, now };
    let changes = plan::plan(&wish, &rules)?;
    if let Go::Stop(outcome) = cx.show(&changes)? {
        return Ok(outcome);
    }
    for change in &changes.rules {
        cx.act(&change.id, change, apply::set(&cx, &world, change)).await?;
    }
    prove(&cx, &world, &changes).await?;
    if changes.rules.is_empty() {
        outputs(&cx, &rules);
        return Ok(Outcome::unchanged(headline(&rules)));
    }
    let after = observe(&cx, &world, &args).await?;
    outputs(&cx, &after);
    Ok(Outcome::changed(headline(&after)))
}

/// Reads back what was set, until it is so.
async fn prove(cx: &Cx, world: &World, changes: &Changes) -> Result<(), Failure> {
    cx.read_back(async || {
        for Change { name, bus, after, .. } in &changes.rules {
            let now = observe::rule(cx, world, bus, name).await?.map(|rule| rule.stand);
            if now.as_ref() != Some(after) {
                let now = now.map_or_else(|| "not there".to_owned(), |now| now.to_string());
                return Ok(Poll::Pending(format!("the rule {name} is {now}")));
            }
        }
        Ok(Poll::Ready(()))
    })
    .await
}

fn headline(rules: &[Rule]) -> String {
    rules.iter().map(|rule| format!("{} is {}", rule.name, rule.stand.state)).collect::<Vec<_>>().join(", ")
}

fn outputs(cx: &Cx, rules: &[Rule]) {
    let disabled = rules.iter().filter(|rule| rule.stand.state == plan::DISABLED).count();
    let state = match disabled {
        0 => "enabled",
        n if n == rules.len() => "disabled",
        _ => "mixed",
    };
    cx.output("state", state);
    cx.output("saved", rules.iter().filter(|rule| rule.stand.saved.is_some()).count().to_string());
}

fn tell(cx: &Cx, rules: &[Rule]) {
    outputs(cx, rules);
    let mut text = String::new();
    for rule in rules {
        let saved = match rule.stand.saved.as_deref().map(Saved::of) {
            None => String::new(),
            Some(Ok(saved)) => {
                format!("; saved: was {}, since {} by {}", saved.was, clock(saved.since), saved.by)
            }
            Some(Err(why)) => format!("; its tag can't be read: {why}"),
        };
        let managed = rule.managed_by.as_ref().map(|by| format!("; managed by {by}")).unwrap_or_default();
        let schedule = rule.schedule.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
        let line = format!("{}: {}{schedule}{saved}{managed}", rule.name, rule.stand.state);
        text.push_str(&kit::one_line(&line));
        text.push('\n');
    }
    cx.report().result(text, "rules", json!(rules));
}

async fn take_back(
    cx: &Cx,
    world: &World,
    records: &[(kit::ActionRecord, Change)],
) -> Result<Outcome, Failure> {
    if records.is_empty() {
        return Ok(Outcome::unchanged("nothing to take back: that run changed nothing"));
    }
    let mut present = BTreeMap::new();
    for (_, change) in records {
        if let Some(rule) = observe::rule(cx, world, &change.bus, &change.name).await? {
            present.insert(change.arn.clone(), rule.stand);
        }
    }
    let back = undo::plan(records, &present)?;
    if let Go::Stop(outcome) = cx.show(&back.changes)? {
        return Ok(outcome);
    }
    for record in &back.settled {
        cx.mark_undone(record)?;
    }
    for change in &back.changes.rules {
        cx.act_undo_all(&change.id, back.records(&change.id), apply::set(cx, world, change)).await?;
    }
    prove(cx, world, &back.changes).await?;
    Ok(match back.changes.rules.len() {
        0 => Outcome::unchanged(back.changes.unchanged),
        1 => Outcome::changed("1 rule is what it was before that run"),
        n => Outcome::changed(format!("{n} rules are what they were before that run")),
    })
}
