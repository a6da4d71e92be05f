//! What is silenced, for people and for the next job.

use kit::{Cx, Outcome, clock};
use serde_json::json;

use crate::plan::{Seen, words};
use crate::saved::{Mark, Reading, read};

/// The counts, and one line that says them.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) state: &'static str,
    pub(crate) headline: String,
}

/// Sets the outputs.
pub(crate) fn outputs(cx: &Cx, seen: &Seen) -> Told {
    let all = || seen.topics.iter().flat_map(|topic| &topic.subscriptions);
    let pending = all().filter(|one| one.pending).count();
    let silenced =
        all().filter(|one| !one.pending && matches!(read(one.policy.as_deref()), Reading::Muted(_))).count();
    let open = all().count() - pending - silenced;
    let acting = seen.alarms.iter().filter(|one| one.stand.enabled).count();
    let alarms = seen.alarms.iter().filter(|one| !one.stand.enabled && one.stand.saved.is_some()).count();
    let state = match (silenced + alarms, open + acting) {
        (0, _) => "off",
        (_, 0) => "on",
        _ => "part",
    };
    cx.output("state", state);
    cx.output("silenced", silenced.to_string());
    cx.output("open", open.to_string());
    cx.output("pending", pending.to_string());
    cx.output("alarms-silenced", alarms.to_string());
    let mut parts = Vec::new();
    if !seen.topics.is_empty() {
        let more = if pending > 0 { format!(" ({pending} more not confirmed yet)") } else { String::new() };
        parts.push(format!("{silenced} of {}{more}", kit::counted(silenced + open, "subscription")));
    }
    if !seen.alarms.is_empty() || seen.topics.is_empty() {
        parts.push(format!("{alarms} of {}", kit::counted(seen.alarms.len(), "alarm")));
    }
    Told { state, headline: format!("silenced: {}", parts.join(", ")) }
}

/// `--action status`.
pub(crate) fn tell(cx: &Cx, seen: &Seen) -> Outcome {
    let told = outputs(cx, seen);
    let mut lines = Vec::new();
    for topic in &seen.topics {
        lines.push(format!("topic {}:", kit::one_line(&topic.name)));
        for one in &topic.subscriptions {
            let stand = if one.pending {
                "not confirmed yet".to_owned()
            } else if one.foreign {
                "another account's: not to be seen".to_owned()
            } else {
                match read(one.policy.as_deref()) {
                    Reading::Muted(saved) => format!(
                        "silenced since {} by {}; before that: {}",
                        clock(saved.since),
                        saved.by,
                        words(saved.policy.as_deref())
                    ),
                    Reading::Open => format!("open, with {}", words(one.policy.as_deref())),
                    Reading::Broken(why) => {
                        format!(
                            "silenced, and changed by somebody since ({why}): {}",
                            words(one.policy.as_deref())
                        )
                    }
                }
            };
            lines.push(kit::one_line(&format!("  {}: {stand}", one.label)));
        }
        if topic.subscriptions.is_empty() {
            lines.push("  no subscriptions".to_owned());
        }
    }
    for one in &seen.alarms {
        let mark = one.stand.saved.as_ref().map(|tag| Mark::of(tag));
        let stand = match (one.stand.enabled, mark) {
            (true, None) => "acts".to_owned(),
            (false, None) => "does not act; not by this step".to_owned(),
            (enabled, Some(Ok(mark))) => {
                let since = clock(mark.since);
                let but =
                    if enabled { ", but acts: somebody has enabled it, or `on` was cut off" } else { "" };
                format!("silenced since {since} by {}{but}", mark.by)
            }
            (_, Some(Err(why))) => format!("its tag can't be read: {why}"),
        };
        lines.push(kit::one_line(&format!("alarm {}: {stand}", one.name)));
    }
    let document = json!({"state": told.state, "topics": seen.topics, "alarms": seen.alarms});
    cx.report().result(format!("{}\n", lines.join("\n")), "alerts", document);
    Outcome::unchanged(told.headline)
}
