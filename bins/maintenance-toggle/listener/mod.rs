//! The page as a rule of an application load balancer's listener: on and off within seconds, since no DNS answer changes.

mod apply;
#[cfg(test)]
mod foreign_tests;
pub(crate) mod observe;
mod plan;
mod saved;
mod undo;

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::Client;
use kit::{ActionRecord, Cx, Failure, Go, Outcome, Poll, Receipt, clock};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use self::observe::Place;
use self::plan::{CREATE, Change, DELETE, Listener, MOVE, Page, Priorities, Switch, Wish};
use self::saved::Saved;
use crate::args::{Act, Request};
use crate::check::answers_at;

/// The most characters of a fixed response, which is all that the load balancer sends: no other header, so no `Retry-After`.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html>
const BODY: usize = 1024;

/// What the receipt keeps before each call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) listener: String,
    pub(crate) name: String,
    /// What is done, which its taking back turns round.
    pub(crate) change: Change,
}

pub(crate) async fn run(
    cx: &Cx,
    request: &Request,
    client: &Client,
    place: &Place,
) -> Result<Outcome, Failure> {
    let args = &request.args;
    let listener = observe::listener(cx, client, place).await?;
    cx.observed(&listener);
    let page = match (&args.page_file, &args.to_target_group) {
        (Some(path), _) => Some(fixed(path)?),
        (None, Some(group)) => Some(Page::Group(observe::group(cx, client, group).await?)),
        (None, None) => None,
    };
    let wish = Wish {
        act: args.action,
        name: args.name.clone(),
        page,
        holder: request.holder.clone(),
        expires: args.expires.try_into().unwrap_or(time::Duration::DAY),
        leave: args.leave_record,
        now: cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now()),
    };
    let switch = plan::plan(&wish, &listener)?;
    if wish.act == Act::Status {
        return status(cx, &wish, &listener);
    }
    if let Go::Stop(outcome) = cx.show(&switch)? {
        return Ok(outcome);
    }
    let started = Instant::now();
    make(cx, client, &listener, &switch).await?;
    let mut now = listener.clone();
    cx.read_back(async || {
        now.rules = observe::rules(cx, client, &listener.arn).await?;
        Ok(proven(&wish, &now).map_or_else(Poll::Pending, Poll::Ready))
    })
    .await?;
    if !args.no_fetch {
        answers_at(cx, request, &BTreeSet::new(), std::slice::from_ref(&listener.dns)).await?;
    }
    cx.output("waited", started.elapsed().as_secs().to_string());
    tell(cx, &wish, &now)?;
    let headline = match wish.act {
        Act::On => format!("{} shows the maintenance page on {}", wish.name, listener.what),
        _ => format!("{} is served by {} again", wish.name, listener.what),
    };
    Ok(if switch.changes.is_empty() { Outcome::unchanged(headline) } else { Outcome::changed(headline) })
}

/// The text of the file as the load balancer would send it.
fn fixed(path: &std::path::Path) -> Result<Page, Failure> {
    let attempt = || Failure::usage(format!("use the page {}", path.display()));
    let body = std::fs::read_to_string(path).map_err(|error| attempt().because(error))?;
    let count = body.chars().count();
    if count == 0 || count > BODY {
        return Err(attempt()
            .because(format!("it has {count} characters, and a load balancer sends {BODY} at most"))
            .help("shorten it, or serve it from a target group: --to-target-group"));
    }
    let content_type = match path.extension().and_then(|end| end.to_str()) {
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        _ => "text/html",
    };
    Ok(Page::Fixed { content_type: content_type.to_owned(), body })
}

async fn make(cx: &Cx, client: &Client, listener: &Listener, switch: &Switch) -> Result<(), Failure> {
    let inverse =
        |change: Change| Inverse { listener: listener.arn.clone(), name: switch.name.clone(), change };
    let mut ours = String::new();
    for change in &switch.changes {
        match change {
            Change::Create { priority, page, saved } => {
                let call = apply::create(cx, client, &listener.arn, *priority, page, saved);
                ours = cx.act(CREATE, &inverse(change.clone()), call).await?;
            }
            Change::Move { from, to } => {
                // The new rule has no ARN before it is made.
                let named = |all: &Priorities| -> Priorities {
                    all.iter()
                        .map(|(arn, number)| {
                            (if arn.is_empty() { ours.clone() } else { arn.clone() }, *number)
                        })
                        .collect()
                };
                let (from, to) = (named(from), named(to));
                let call = apply::set_priorities(client, &listener.arn, &to);
                cx.act(MOVE, &inverse(Change::Move { from, to: to.clone() }), call).await?;
            }
            Change::Delete { arn, .. } => {
                cx.act(DELETE, &inverse(change.clone()), apply::delete(client, arn)).await?;
            }
        }
    }
    Ok(())
}

/// Whether the rules are as wished, by a plan that would change nothing more; the error says what is not so.
fn proven(wish: &Wish, listener: &Listener) -> Result<(), String> {
    match plan::plan(wish, listener) {
        Ok(again) if again.changes.is_empty() => Ok(()),
        Ok(_) => Err(format!("the rules of {} are not what they should be", listener.what)),
        Err(failure) => Err(format!("{failure}: {}", failure.chain().join(": "))),
    }
}

fn tell(cx: &Cx, wish: &Wish, listener: &Listener) -> Result<(), Failure> {
    let found = listener.ours(&wish.name)?;
    cx.output("state", if found.is_some() { "on" } else { "off" });
    if let Some((rule, saved)) = found {
        let rfc3339 = |time: time::OffsetDateTime| {
            time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
        };
        cx.output("record", format!("rule {} of {}: {}", rule.priority, listener.what, rule.shown));
        cx.output("saved", moved(&saved));
        cx.output("release", &saved.by);
        cx.output("since", rfc3339(saved.since));
        cx.output("until", rfc3339(saved.until));
    }
    Ok(())
}

fn moved(saved: &Saved) -> String {
    if saved.moved.is_empty() {
        return "no rule was moved".to_owned();
    }
    let all: Vec<String> = saved.moved.iter().map(|(id, number)| format!("{id} at {number}")).collect();
    all.join(", ")
}

fn status(cx: &Cx, wish: &Wish, listener: &Listener) -> Result<Outcome, Failure> {
    tell(cx, wish, listener)?;
    let found = listener.ours(&wish.name)?;
    let mut lines = vec![format!("{} on {}", wish.name, listener.what)];
    let state = if let Some((rule, saved)) = &found {
        let over = if wish.now < saved.until { "" } else { " (over)" };
        lines.push(format!("maintenance: on, by the rule with priority {}", rule.priority));
        lines.push(format!("  release: {}", saved.by));
        lines.push(format!("  since:   {}", clock(saved.since)));
        lines.push(format!("  until:   {}{over}", clock(saved.until)));
        lines.push(format!("  saved:   {}", moved(saved)));
        "on"
    } else {
        lines.push("maintenance: off, as far as any rule says".to_owned());
        "off"
    };
    let document = json!({"name": wish.name, "listener": listener.arn, "state": state, "saved": found.map(|(_, saved)| saved)});
    cx.report().result(format!("{}\n", lines.join("\n")), "maintenance", document);
    Ok(Outcome::unchanged(format!("{}: maintenance is {state}", wish.name)))
}

/// Whether the receipt is of a listener.
pub(crate) fn is_of(receipt: &Receipt) -> bool {
    receipt.actions.iter().any(|action: &ActionRecord| [CREATE, MOVE, DELETE].contains(&action.id.as_str()))
}

pub(crate) use undo::take_back;
