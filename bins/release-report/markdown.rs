//! The report as Markdown, for a job summary or a file. The most important stands first: a summary that is too long is cut at
//! its end.

use kit::{ActionState, markdown_code, markdown_inline};

use crate::mermaid;
use crate::story::{Back, Run, Stand, Stays, Story, Way};
use crate::words::{duration, moment};

/// GitHub drops a summary of more than 1 MiB whole.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits>
const BYTES: usize = 700 * 1024;

/// Of one run, in Markdown; the HTML has more.
const ACTIONS: usize = 100;

/// How many notes and runs that did not end well are told.
const NOTES: usize = 50;

pub(crate) fn summary(story: &Story) -> String {
    format!("\n{}", file(story))
}

pub(crate) fn file(story: &Story) -> String {
    let mut out = format!("## {}: {}\n\n", markdown_inline(&story.title), story.verdict.heading());
    out.push_str(&format!("{}\n\n", markdown_inline(&sentence(&story.headline))));
    if let (Some(began), Some(ended)) = (story.began, story.ended) {
        out.push_str(&format!(
            "{} to {} UTC ({}).",
            moment(began, false),
            moment(ended, story.one_day()),
            duration(ended - began)
        ));
        for (name, value) in &story.facts {
            out.push_str(&format!(" {name}: {}.", markdown_code(value)));
        }
        out.push_str("\n\n");
    }
    if !story.jobs.is_empty() {
        out.push_str(&format!("Jobs: {}.\n\n", markdown_inline(&jobs(story))));
    }
    troubles(&mut out, story);
    missing(&mut out, story);
    time_line(&mut out, story);
    way_back(&mut out, story);
    changes(&mut out, story);
    if !story.notes.is_empty() {
        out.push_str("### Notes\n\n");
        for note in story.notes.iter().take(NOTES) {
            out.push_str(&format!("- {}\n", markdown_inline(note)));
        }
        if story.notes.len() > NOTES {
            out.push_str(&format!("- and {} more; the text has all\n", story.notes.len() - NOTES));
        }
        out.push('\n');
    }
    out
}

/// `plan success, tag failure`.
pub(crate) fn jobs(story: &Story) -> String {
    story.jobs.iter().map(|job| format!("{} {}", job.name, job.result)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn troubles(out: &mut String, story: &Story) {
    let mut troubles = story.troubles().peekable();
    if troubles.peek().is_none() && story.silent.is_empty() {
        return;
    }
    out.push_str("### What did not end well\n\n");
    for job in &story.silent {
        out.push_str(&format!("- **job {}: {}**: {SILENT}\n", markdown_inline(&job.name), job.result));
    }
    for run in troubles.by_ref().take(NOTES) {
        out.push_str(&format!("- **{} {}**", markdown_inline(&run.name()), run.end.words()));
        let when = moment(run.began, story.one_day());
        let place = run.place().map(|place| format!("{}, ", markdown_inline(&place))).unwrap_or_default();
        out.push_str(&format!(" ({place}{when})"));
        if !run.message.is_empty() {
            out.push_str(&format!(": {}", markdown_inline(&run.message)));
        }
        out.push('\n');
        if let Some(number) = run.superseded_by {
            out.push_str(&format!("  - ran again: see ({number})\n"));
        }
        for (lines, word) in [(&run.causes, "because"), (&run.state, "state"), (&run.help, "next")] {
            for line in lines {
                out.push_str(&format!("  - {word}: {}\n", markdown_inline(line)));
            }
        }
        for act in run.actions.iter().filter(|act| act.state == ActionState::Started).take(20) {
            out.push_str(&format!("  - in doubt: {}\n", markdown_inline(&act.does)));
        }
    }
    let left = troubles.count();
    if left > 0 {
        out.push_str(&format!("- and {}, which the table names\n", kit::counted(left, "more run")));
    }
    out.push('\n');
}

fn missing(out: &mut String, story: &Story) {
    if story.missing.is_empty() {
        return;
    }
    out.push_str("### Expected, and without a receipt\n\n");
    for name in &story.missing {
        out.push_str(&format!("- {}\n", markdown_code(name)));
    }
    out.push_str(&format!("\n{MISSING}\n\n"));
}

/// Of a job that did not end well, while its receipts say nothing of it.
pub(crate) const SILENT: &str = "no receipt says why; its log does";

/// What it means that a receipt is missing.
pub(crate) const MISSING: &str = "It did not run, or had nothing to do and no --receipt, or was killed before its plan was shown, or its receipt is not among those that were given.";

fn time_line(out: &mut String, story: &Story) {
    let Some(gantt) = mermaid::gantt(story) else { return };
    out.push_str(&format!("### Time line\n\n```mermaid\n{gantt}```\n\n"));
    let left_out = mermaid::left_out(story);
    if left_out > 0 {
        out.push_str(&format!("The chart leaves {} out.\n\n", kit::counted(left_out, "later run")));
    }
    out.push_str("| # | began (UTC) | took | step | where | ended | done |\n|--:|---|---|---|---|---|---|\n");
    for run in &story.runs {
        if out.len() > BYTES / 2 {
            out.push_str("\nThe table is cut here.\n");
            break;
        }
        let took = run.ended.map_or_else(|| "unknown".to_owned(), |ended| duration(ended - run.began));
        let place = run.place().map(|place| markdown_inline(&place)).unwrap_or_default();
        let ended =
            if run.end.is_well() { run.end.short().to_owned() } else { format!("**{}**", run.end.short()) };
        let again = run.superseded_by.map(|number| format!(", ran again: ({number})")).unwrap_or_default();
        out.push_str(&format!(
            "| {} | {} | {took} | {} | {place} | {ended}{again} | {} |\n",
            run.number,
            moment(run.began, story.one_day()),
            markdown_inline(&run.step),
            tally(run)
        ));
    }
    out.push('\n');
}

/// `3 done, 1 in doubt`.
pub(crate) fn tally(run: &Run) -> String {
    let of = |state: ActionState| run.actions.iter().filter(|act| act.state == state && !act.earlier).count();
    let parts: Vec<String> = [
        (of(ActionState::Done), "done"),
        (of(ActionState::Started), "in doubt"),
        (of(ActionState::Undone), "taken back"),
        (of(ActionState::Planned), "not done"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{number} {word}"))
    .collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// What goes before the list.
pub(crate) const BACK: &str = "Last change first. A command that ends with --dry-run changes nothing and is to be read first: run it without only when you want what it says. Each looks first, and refuses when the world is not as its run left it. It needs what its job had: credentials and, where an argument is a relative path, the same files.";

fn way_back(out: &mut String, story: &Story) {
    out.push_str("### The way back\n\n");
    if story.back.is_empty() {
        out.push_str(&format!("{}\n\n", nothing_to_take_back(story)));
        return;
    }
    out.push_str(&format!("{}\n\n", markdown_inline(BACK)));
    if let Some(fetch) = &story.fetch {
        out.push_str(&format!("The receipts are fetched by {}\n\n", markdown_code(fetch)));
    }
    for (at, way) in story.back.iter().enumerate() {
        if out.len() > BYTES / 2 {
            out.push_str("\nThe list is cut here; the text and the HTML have it whole.\n");
            break;
        }
        out.push_str(&format!("{}. {}\n", at + 1, back(way)));
    }
    out.push('\n');
}

pub(crate) fn nothing_to_take_back(story: &Story) -> &'static str {
    if story.verdict == Stand::None || story.runs.is_empty() {
        "No receipt says that anything was changed."
    } else {
        "Nothing is left to take back: no receipt has a change that still stands."
    }
}

fn back(way: &Back) -> String {
    let mut out = format!("**{} ({})** ", markdown_inline(&way.step), way.run);
    out.push_str(match way.kind {
        Way::Whole => "can be taken back",
        Way::Partly => "can be taken back in part",
        Way::Not => "can't be taken back",
    });
    out.push_str(&format!(": {}\n", markdown_code(&way.command)));
    let more = |out: &mut String, number: usize| {
        if number > ACTIONS {
            out.push_str(&format!("   - and {} more\n", number - ACTIONS));
        }
    };
    for undo in way.takes_back.iter().take(ACTIONS) {
        out.push_str(&format!("   - {}\n", markdown_inline(undo)));
    }
    more(&mut out, way.takes_back.len());
    for Stays { does, why } in way.stays.iter().take(ACTIONS) {
        out.push_str(&format!("   - stays: {}: {}\n", markdown_inline(does), markdown_inline(why)));
    }
    more(&mut out, way.stays.len());
    if let Some(restore) = &way.restore {
        out.push_str(&format!("   - to go back: {}\n", markdown_inline(restore)));
    }
    for caution in &way.cautions {
        out.push_str(&format!("   - **note**: {}\n", markdown_inline(caution)));
    }
    out.trim_end().to_owned()
}

fn changes(out: &mut String, story: &Story) {
    if story.runs.is_empty() {
        return;
    }
    out.push_str("### What each run did\n\n");
    for (at, run) in story.runs.iter().enumerate() {
        let part = one(run);
        if out.len() + part.len() > BYTES {
            let left = story.runs.len() - at;
            out.push_str(&format!("{} left out here; the HTML has all.\n\n", kit::counted(left, "more run")));
            return;
        }
        out.push_str(&part);
    }
}

fn one(run: &Run) -> String {
    let mut out = format!("**{}. {}**", run.number, markdown_inline(&run.step));
    let place = run.place().map(|place| format!(" ({})", markdown_inline(&place))).unwrap_or_default();
    out.push_str(&format!("{place}: "));
    if run.end.is_well() {
        out.push_str(&markdown_inline(&run.message));
    } else {
        out.push_str(&format!("**{}**", run.end.words()));
        if !run.message.is_empty() {
            out.push_str(&format!(": {}", markdown_inline(&run.message)));
        }
    }
    out.push_str("\n\n");
    for act in run.actions.iter().take(ACTIONS) {
        let earlier = if act.earlier { ", by an earlier run" } else { "" };
        out.push_str(&format!("- {}{earlier}: {}\n", act.state_words(), markdown_inline(&act.does)));
    }
    if run.actions.len() > ACTIONS {
        out.push_str(&format!("- and {} more\n", run.actions.len() - ACTIONS));
    }
    for line in remarks(run) {
        out.push_str(&format!("- {}\n", markdown_inline(&line)));
    }
    let pairs = run.outputs.len() + run.arguments.len();
    if pairs > 0 {
        out.push_str(&format!(
            "\n<details><summary>{} and {}</summary>\n\n| | |\n|---|---|\n",
            kit::counted(run.arguments.len(), "argument"),
            kit::counted(run.outputs.len(), "output")
        ));
        for (name, value) in run.arguments.iter().chain(&run.outputs).take(ACTIONS) {
            out.push_str(&format!("| {} | {} |\n", markdown_inline(name), markdown_code(value)));
        }
        out.push_str("\n</details>\n");
    }
    out.push('\n');
    out
}

/// What else is to be known of a run.
pub(crate) fn remarks(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(taken) = &run.takes_back {
        lines.push(format!("took back the run {taken}"));
    }
    if let Some(number) = run.taken_back_by {
        lines.push(format!("taken back by ({number})"));
    }
    if let Some(number) = run.superseded_by {
        lines.push(format!("ran again: see ({number})"));
    }
    if let Some(number) = run.continued_by {
        lines.push(format!("continued by ({number}), whose receipt holds this too"));
    }
    lines
}
