#![doc = include_str!("help.md")]

mod ahead;
mod apply;
mod args;
mod check;
mod edit;
#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod foreign_tests;
mod lock;
mod observe;
mod place;
mod plan;
#[cfg(test)]
mod plan_tests;
mod remote;
mod script;
mod token;
mod tree;
mod undo;

use std::time::Duration;

use kit::{Code, Cx, ExitCode, Failure, Go, Image, Note, Outcome, Output, Step};

use crate::apply::Switching;
pub use crate::args::Args;
use crate::args::Request;
use crate::place::Proxy;
use crate::plan::{Switch, Wish};

/// The step.
pub const STEP: Step = Step {
    name: "swap-upstream",
    command: kit::command::<Args>,
    outputs: &[
        Output {
            name: "servers",
            description: "what the upstreams lead to now, as UPSTREAM=SERVER, one a line",
        },
        Output { name: "edited", description: "on how many proxies this run edited the file" },
        Output { name: "reloaded", description: "on how many proxies this run reloaded nginx" },
    ],
    permissions: &[],
    exit_codes: &[
        ExitCode {
            code: Code::Failed,
            meaning: "failed, a new configuration that `nginx -t` refuses among it; every file is as it was",
        },
        ExitCode {
            code: Code::Refused,
            meaning: "an upstream or server is not there once, nginx is not sound, or another release is at work; nothing was changed",
        },
        ExitCode {
            code: Code::Unverified,
            meaning: "reloaded, and the new server was not seen through every proxy: all was put back, as the error says",
        },
        ExitCode {
            code: Code::Partial,
            meaning: "failed, and a proxy could not be put back: the error says which",
        },
        ExitCode {
            code: Code::Waiting,
            meaning: "somebody changed a file at the same moment; every other file is as it was",
        },
    ],
    image: Image::Clients,
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: Args, cx: Cx) -> Result<Outcome, Failure> {
    let request = args.check(cx.env())?;
    if let Some(receipt) = cx.undo() {
        let left = undo::of(receipt)?;
        return take_back(&cx, request, &left).await;
    }
    let seen = observe_all(&cx, &request, &request.proxies).await?;
    cx.observed(&seen);
    let wish = Wish { swaps: request.swaps.clone(), release: request.release.clone() };
    let mut switch = plan::plan(&wish, &seen)?;
    if switch.targets.iter().any(plan::Target::edits) {
        let warnings = check::before(&cx, &request).await?;
        switch.notes.extend(warnings.into_iter().map(Note::Warning));
        switch.notes.extend(ahead::all(&cx, &request, &switch.targets).await?);
    }
    if let Go::Stop(outcome) = cx.show(&switch)? {
        return Ok(outcome);
    }
    let changed = count(&switch, plan::Target::reloads) > 0;
    if changed {
        Switching::new(&cx, &request, &switch).run().await?;
    } else {
        check::all(&cx, &request).await?;
    }
    cx.output("servers", plan::outcome(&switch, &request.swaps).join("\n"));
    cx.output("edited", count(&switch, |target| target.work == plan::Work::Edit).to_string());
    cx.output("reloaded", count(&switch, plan::Target::reloads).to_string());
    let names: Vec<&str> = request.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let headline = format!("{} on {}", plan::led(&request.swaps), names.join(", "));
    Ok(if changed { Outcome::changed(headline) } else { Outcome::unchanged(headline) })
}

fn count(switch: &Switch, is: impl Fn(&plan::Target) -> bool) -> usize {
    switch.targets.iter().filter(|target| is(target)).count()
}

async fn observe_all(cx: &Cx, request: &Request, proxies: &[Proxy]) -> Result<Vec<observe::Seen>, Failure> {
    let mut seen = Vec::new();
    for proxy in proxies {
        seen.push(observe::observe(cx, request, proxy).await?);
    }
    Ok(seen)
}

async fn take_back(cx: &Cx, mut request: Request, left: &[undo::Left]) -> Result<Outcome, Failure> {
    if left.is_empty() {
        return Ok(Outcome::unchanged(
            "nothing to take back: that run changed nothing, or put all back itself",
        ));
    }
    // What is wanted of the new server says nothing of the old one.
    request.fetches.clear();
    let proxies: Vec<Proxy> = left.iter().map(|left| left.proxy.clone()).collect();
    let seen = observe_all(cx, &request, &proxies).await?;
    cx.observed(&seen);
    let switch = undo::plan(&request.release, left, &seen)?;
    if let Go::Stop(outcome) = cx.show(&switch)? {
        return Ok(outcome);
    }
    let changed = count(&switch, plan::Target::reloads) > 0;
    if changed {
        Switching::new(cx, &request, &switch).run().await?;
    }
    left.iter().flat_map(undo::Left::records).try_for_each(|record| cx.mark_undone(record))?;
    cx.output("servers", plan::outcome(&switch, &request.swaps).join("\n"));
    let edited = count(&switch, |target| target.work == plan::Work::Edit);
    cx.output("edited", edited.to_string());
    cx.output("reloaded", count(&switch, plan::Target::reloads).to_string());
    if !changed {
        return Ok(Outcome::unchanged(switch.unchanged));
    }
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    Ok(Outcome::changed(format!("{} as before that run", names.join(", "))))
}
