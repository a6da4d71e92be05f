#![doc = include_str!("help.md")]

mod answers;
mod apply;
mod args;
mod check;
#[cfg(test)]
mod foreign_tests;
mod listener;
mod live;
mod marker;
mod observe;
mod page;
mod plan;
mod record_set;
mod undo;

use std::time::Duration;

use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Step, clock};
use serde_json::json;
use tokio::time::Instant;

pub use crate::args::Args;
use crate::args::{Act, Request};
use crate::check::{Check, in_sync, is_served};
use crate::observe::{World, observe};
use crate::plan::{SWITCH, Seen, Stand, Toggle, Wish, Zone};
use crate::record_set::{same, shown};
use crate::undo::Inverse;

const ZONE: &str = "arn:aws:route53:::hostedzone/ZONE";
const LISTENER: &str = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/NAME/*";
const RULE: &str = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener-rule/app/NAME/*";

const fn permission(action: &'static str, resource: &'static str, when: &'static str) -> Permission {
    Permission { action, resource, when }
}

/// The step.
pub const STEP: Step = Step {
    name: "maintenance-toggle",
    command: kit::command::<Args>,
    outputs: &[
        Output {
            name: "state",
            description: "on, off, or foreign when somebody else changed the record meanwhile",
        },
        Output { name: "record", description: "what leads the name now, in one line" },
        Output {
            name: "saved",
            description: "what --action off puts back, in one line; absent when nothing is saved",
        },
        Output { name: "release", description: "whose maintenance it is; absent when it is off" },
        Output { name: "since", description: "since when, RFC 3339; absent when it is off" },
        Output {
            name: "until",
            description: "until when no other release may take over, RFC 3339; absent when it is off",
        },
        Output {
            name: "waited",
            description: "how long it took from the change until it was seen, in seconds",
        },
    ],
    permissions: &[
        permission("route53:ListHostedZonesByName", "*", "--zone is a name"),
        permission("route53:GetHostedZone", ZONE, "--zone is an ID; a public zone without --name-server"),
        permission("route53:ListResourceRecordSets", ZONE, ""),
        permission("route53:ChangeResourceRecordSets", ZONE, "--action on, off"),
        permission("route53:GetChange", "arn:aws:route53:::change/*", "--action on, off"),
        permission("cloudfront:ListDistributions", "*", "--to-distribution"),
        permission(
            "elasticloadbalancing:DescribeLoadBalancers",
            "*",
            "--to-load-balancer, --listener, --live-from",
        ),
        permission("elasticloadbalancing:DescribeListeners", "*", "--listener"),
        permission("elasticloadbalancing:DescribeRules", "*", "--listener"),
        permission("elasticloadbalancing:DescribeTags", "*", "--listener"),
        permission("elasticloadbalancing:DescribeTargetGroups", "*", "--to-target-group"),
        permission("elasticloadbalancing:CreateRule", LISTENER, "--listener, --action on"),
        permission("elasticloadbalancing:AddTags", RULE, "--listener, --action on"),
        permission("elasticloadbalancing:SetRulePriorities", RULE, "--listener, where rules have to move"),
        permission("elasticloadbalancing:DeleteRule", RULE, "--listener, --action off"),
        permission(
            "cloudformation:DescribeStackResource",
            "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            "--live-from",
        ),
        permission(
            "cloudformation:DescribeStacks",
            "arn:aws:cloudformation:REGION:ACCOUNT:stack/STACK/*",
            "--live-from names an output",
        ),
        permission(
            "cloudformation:DescribeStackResources",
            "*",
            "--action on; without it no warning when a stack has the record",
        ),
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "another release has the page on, the record is not what it should be, or the page is not served",
        },
        ExitCode { code: Code::Unverified, meaning: "switched, and nothing could be asked about it" },
        ExitCode { code: Code::Deadline, meaning: "switched, and not seen everywhere at the deadline" },
        ExitCode { code: Code::Waiting, meaning: "somebody changed the record at the same moment" },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(20),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let request = args.check(cx.env())?;
    let world = World::connect(&cx, &request).await?;
    let balancers = aws_sdk_elasticloadbalancingv2::Client::new(&world.aws.config);
    if let Some(receipt) = cx.undo().filter(|receipt| listener::is_of(receipt)) {
        return listener::take_back(&cx, &request, &balancers, receipt).await;
    }
    if let Some(receipt) = cx.undo() {
        let found = undo::of(receipt)?;
        return take_back(&cx, &world, &request, found).await;
    }
    if let Some(place) = &request.args.listener {
        return listener::run(&cx, &request, &balancers, place).await;
    }
    let seen = observe(&cx, &world, &request).await?;
    cx.observed(&seen);
    let wish = Wish {
        act: request.args.action,
        name: request.args.name.clone(),
        ttl: i64::try_from(request.args.ttl.as_secs()).unwrap_or(i64::MAX),
        expires: request.args.expires.try_into().unwrap_or(time::Duration::DAY),
        holder: request.holder.clone(),
        leave_record: request.args.leave_record,
        now: cx.now().replace_nanosecond(0).unwrap_or_else(|_| cx.now()),
    };
    let plan = plan::plan(&wish, &seen)?;
    if wish.act == Act::Status {
        return status(&cx, &request, &seen);
    }
    if plan.leads_elsewhere() && !request.args.no_fetch {
        is_served(&cx, &request, &plan.after).await?;
    }
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let changed = plan.batch.is_some();
    let started = Instant::now();
    if let Some(batch) = &plan.batch {
        let inverse = Inverse { zone: (&plan.zone).into(), name: plan.name.clone(), batch: batch.inverse() };
        let call = apply::switch(&cx, &world, &plan.zone, &plan.name, batch);
        if let Some(change) = cx.act(SWITCH, &inverse, call).await? {
            in_sync(&cx, &world, &change).await?;
        }
    }
    prove(&cx, &world, &request, &plan).await?;
    cx.output("waited", started.elapsed().as_secs().to_string());
    tell(&cx, &plan);
    let headline = headline(&plan);
    Ok(if changed { Outcome::changed(headline) } else { Outcome::unchanged(headline) })
}

/// A fresh look at the zone, then at what the world gets.
async fn prove(cx: &Cx, world: &World, request: &Request, plan: &Toggle) -> Result<(), Failure> {
    let there = observe::records(cx, world, &plan.zone, &plan.name).await?;
    let leading: Vec<_> = there.into_iter().filter(record_set::RecordSet::leads).collect();
    if !same(&leading, &plan.after) {
        return Err(Failure::unverified(format!("change the record of {}", plan.name))
            .because(format!("it is {} and not {}", shown(&leading), shown(&plan.after)))
            .help("somebody else has changed it: see --action status"));
    }
    // The saved state alone was deleted, and where the record leads is not this step's business any more.
    if request.args.leave_record {
        return Ok(());
    }
    Check { cx, world, request, zone: &plan.zone, sets: &plan.after }.all().await
}

fn headline(plan: &Toggle) -> String {
    match plan.act {
        Act::On => format!("{} leads to the maintenance page: {}", plan.name, shown(&plan.after)),
        _ => format!("{} leads to {}", plan.name, shown(&plan.after)),
    }
}

fn tell(cx: &Cx, plan: &Toggle) {
    cx.output("state", if plan.act == Act::On { "on" } else { "off" });
    cx.output("record", shown(&plan.after));
    if let Some(marker) = &plan.marker {
        saved(cx, marker);
    }
}

fn saved(cx: &Cx, marker: &marker::Marker) {
    let rfc3339 = |time: time::OffsetDateTime| {
        time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
    };
    cx.output("saved", shown(&marker.state.found));
    cx.output("release", &marker.by);
    cx.output("since", rfc3339(marker.since));
    cx.output("until", rfc3339(marker.until));
}

fn status(cx: &Cx, request: &Request, seen: &Seen) -> Result<Outcome, Failure> {
    let name = &request.args.name;
    let marker = seen.saved(name)?;
    let leading = shown(&seen.leading());
    let stand = seen.stand(marker.as_ref());
    let state = match stand {
        Stand::On => "on",
        Stand::Off => "off",
        Stand::Foreign => "foreign",
    };
    cx.output("state", state);
    cx.output("record", &leading);
    let mut lines = vec![format!("{name}: {leading}")];
    if let Some(marker) = &marker {
        saved(cx, marker);
        let over = if cx.now() < marker.until { "" } else { " (over: another release may take it over)" };
        lines.push(match stand {
            Stand::Foreign => format!(
                "maintenance: on, but somebody has changed the record; the page is {}",
                shown(&marker.state.page)
            ),
            _ => "maintenance: on".to_owned(),
        });
        lines.push(format!("  release: {}", marker.by));
        lines.push(format!("  since:   {}", clock(marker.since)));
        lines.push(format!("  until:   {}{over}", clock(marker.until)));
        lines.push(format!("  saved:   {}", shown(&marker.state.found)));
    } else {
        lines.push("maintenance: off, as far as anything is saved".to_owned());
    }
    let document =
        json!({"name": name, "zone": seen.zone, "state": state, "record": seen.leading(), "saved": marker});
    cx.report().result(format!("{}\n", lines.join("\n")), "maintenance", document);
    Ok(Outcome::unchanged(format!("{name}: maintenance is {state}")))
}

async fn take_back(
    cx: &Cx,
    world: &World,
    request: &Request,
    found: Option<(kit::ActionRecord, Inverse)>,
) -> Result<Outcome, Failure> {
    let Some((action, inverse)) = found else {
        return Ok(Outcome::unchanged("nothing to take back: that run switched nothing"));
    };
    let zone = Zone::from(inverse.zone.clone());
    let made = apply::is_made(cx, world, &zone, &inverse.name, &inverse.batch).await?;
    let left = apply::is_made(cx, world, &zone, &inverse.name, &inverse.batch.inverse()).await?;
    if !made && !left {
        let mut there = observe::records(cx, world, &zone, &inverse.name).await?;
        there.extend(observe::marker(cx, world, &zone, &inverse.name).await?);
        return Err(undo::refuse(&inverse, &shown(&there)));
    }
    // What `off`, or `on`, would look at.
    let request = &request.acting(inverse.act());
    if left && inverse.leads_elsewhere() && !request.args.no_fetch {
        let to: Vec<_> = inverse.leading().cloned().collect();
        is_served(cx, request, &to).await.map_err(|failure| match inverse.act() {
            Act::Off => {
                failure.help("--live-from goes with --action off, which ends the maintenance as --undo does")
            }
            _ => failure,
        })?;
    }
    let back = undo::Back {
        inverse: left.then(|| inverse.clone()),
        unchanged: format!("the record of {} is what it was before that run", inverse.name),
    };
    if let Go::Stop(outcome) = cx.show(&back)? {
        return Ok(outcome);
    }
    if made {
        // Perhaps by an undo that was killed before it was seen.
        cx.mark_undone(&action)?;
        seen_back(cx, world, request, &zone, &inverse).await?;
        return Ok(Outcome::unchanged(back.unchanged));
    }
    let call = apply::switch(cx, world, &zone, &inverse.name, &inverse.batch);
    if let Some(change) = cx.act_undo(SWITCH, &action, call).await? {
        in_sync(cx, world, &change).await?;
    }
    seen_back(cx, world, request, &zone, &inverse).await?;
    Ok(Outcome::changed(format!("{} leads to what it led to before that run", inverse.name)))
}

/// A fresh look at the zone, then at what the world gets, if that run had led the name elsewhere.
async fn seen_back(
    cx: &Cx,
    world: &World,
    request: &Request,
    zone: &Zone,
    inverse: &Inverse,
) -> Result<(), Failure> {
    if !apply::is_made(cx, world, zone, &inverse.name, &inverse.batch).await? {
        return Err(Failure::unverified(format!("put the record of {} back", inverse.name))
            .because("it is not what it was before")
            .help("see --action status"));
    }
    if !inverse.leads_elsewhere() {
        return Ok(());
    }
    let sets: Vec<_> = inverse.leading().cloned().collect();
    Check { cx, world, request, zone, sets: &sets }.all().await
}
