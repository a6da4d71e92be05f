//! The report for a terminal.

use kit::{ActionState, log_line, one_line};

use crate::markdown::{BACK, MISSING, SILENT, nothing_to_take_back, remarks};
use crate::story::{End, KILLED, Stays, Story, Way};
use crate::words::{duration, moment};

pub(crate) fn text(story: &Story) -> String {
    let mut lines = vec![format!("{}: {}", story.title, story.verdict.heading()), String::new()];
    let one_day = story.one_day();
    if let Some(began) = story.began {
        lines.push(format!("Time line of {} (UTC)", began.to_offset(time::UtcOffset::UTC).date()));
    }
    for run in &story.runs {
        let took = run.ended.map_or_else(|| "?".to_owned(), |ended| duration(ended - run.began));
        let place = run.place().map(|place| format!(" ({place})")).unwrap_or_default();
        let mut told = vec![run.name() + &place];
        if !run.end.is_well() {
            told.push(run.end.short().to_uppercase());
        }
        told.push(match run.end {
            End::Killed => KILLED.to_owned(),
            End::Code(_) => run.message.clone(),
        });
        lines.push(format!("  {}  {took:>9}  {}", moment(run.began, one_day), told.join(": ")));
        for act in &run.actions {
            let earlier = if act.earlier { ", by an earlier run" } else { "" };
            lines.push(format!("      {}{earlier}: {}", act.state_words(), act.does));
        }
        lines.extend(remarks(run).into_iter().map(|line| format!("      {line}")));
        if !run.end.is_well() {
            let reasons = [(&run.causes, "because"), (&run.state, "state"), (&run.help, "next")];
            for (reasons, word) in reasons {
                lines.extend(reasons.iter().map(|line| format!("      {word}: {line}")));
            }
        }
    }
    lines.push(String::new());
    for job in &story.silent {
        lines.push(format!("job {}: {}: {SILENT}", job.name, job.result.to_uppercase()));
    }
    if !story.missing.is_empty() {
        lines.push(format!("No receipt of {}", story.missing.join(", ")));
        lines.push(format!("  {MISSING}"));
        lines.push(String::new());
    }
    lines.push("The way back".to_owned());
    if story.back.is_empty() {
        lines.push(format!("  {}", nothing_to_take_back(story)));
    } else {
        lines.push(format!("  {BACK}"));
    }
    lines.extend(story.fetch.iter().map(|fetch| format!("  $ {fetch}")));
    for way in &story.back {
        let kind = match way.kind {
            Way::Whole => "can be taken back",
            Way::Partly => "can be taken back in part",
            Way::Not => "can't be taken back",
        };
        lines.push(format!("  {} ({}) {kind}", way.step, way.run));
        lines.push(format!("  $ {}", way.command));
        lines.extend(way.takes_back.iter().map(|undo| format!("      {undo}")));
        lines.extend(way.stays.iter().map(|Stays { does, why }| format!("      stays: {does}: {why}")));
        lines.extend(way.restore.iter().map(|restore| format!("      to go back: {restore}")));
        lines.extend(way.cautions.iter().map(|caution| format!("      note: {caution}")));
    }
    lines.push(String::new());
    lines.extend(story.notes.iter().map(|note| format!("note: {note}")));
    let in_doubt =
        story.runs.iter().flat_map(|run| &run.actions).any(|act| act.state == ActionState::Started);
    if in_doubt {
        lines.push("note: in doubt means begun, and nothing says how it ended: look".to_owned());
    }
    lines.iter().map(|line| format!("{}\n", log_line(one_line(line).trim_end()))).collect()
}
