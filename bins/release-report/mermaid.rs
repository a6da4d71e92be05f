//! The time line as a Gantt chart of Mermaid. <https://mermaid.js.org/syntax/gantt.html>

use time::{Duration, OffsetDateTime, UtcOffset};

use crate::story::{End, Run, Story};
use crate::words::duration;

/// Mermaid draws no more than 50,000 characters, and nobody reads that many lines.
/// <https://mermaid.js.org/config/schema-docs/config-properties-maxtextsize.html>
const RUNS: usize = 150;

/// None without runs.
pub(crate) fn gantt(story: &Story) -> Option<String> {
    let (began, ended) = (story.began?, story.ended?);
    let axis = match ended - began {
        span if span > Duration::days(1) => "%m-%d %H:%M",
        span if span > Duration::hours(1) => "%H:%M",
        _ => "%H:%M:%S",
    };
    // Without a zone in the dates, every browser shows the figures that are written here: UTC.
    let mut out = format!(
        "gantt\n  dateFormat YYYY-MM-DDTHH:mm:ss.SSS\n  axisFormat {axis}\n{}  todayMarker off\n",
        ticks(ended - began)
    );
    let mut section = None;
    for run in story.runs.iter().take(RUNS) {
        if section.as_ref() != Some(&run.job) {
            if let Some(job) = &run.job {
                out.push_str(&format!("  section {}\n", plain(job)));
            } else if section.is_some() {
                out.push_str("  section no job\n");
            }
            section = Some(run.job.clone());
        }
        out.push_str(&format!("  {}\n", task(run)));
    }
    Some(out)
}

/// Ticks that are far enough from each other for their labels; Mermaid's own stand one in the other.
fn ticks(span: Duration) -> String {
    let seconds = span.whole_seconds();
    let units = [
        ("second", 1, &[1, 2, 5, 10, 15, 30][..]),
        ("minute", 60, &[1, 2, 5, 10, 15, 30]),
        ("hour", 3_600, &[1, 2, 3, 6, 12]),
        ("day", 86_400, &[1, 2, 7, 14]),
    ];
    let all =
        units.iter().flat_map(|(unit, length, steps)| steps.iter().map(move |step| (unit, *length, *step)));
    // Beyond that, Mermaid chooses.
    let fits = all.into_iter().find(|(_, length, step)| seconds / (length * step) < 8);
    match fits {
        Some((unit, _, step)) if seconds > 0 => format!("  tickInterval {step}{unit}\n"),
        _ => String::new(),
    }
}

/// How many runs the chart does not have.
pub(crate) fn left_out(story: &Story) -> usize {
    story.runs.len().saturating_sub(RUNS)
}

fn task(run: &Run) -> String {
    let label = format!("{} {}, {}", run.number, plain(&run.step), run.end.short());
    let kind = match run.end {
        End::Code(0) => "done, ",
        End::Code(_) | End::Killed => "crit, ",
    };
    // A bar without a length can't be seen; that a run has no known end, its label says.
    let least = run.began.saturating_add(Duration::milliseconds(1));
    let ended = run.ended.unwrap_or(run.began).max(least);
    let took = run.ended.map(|ended| format!(", {}", duration(ended - run.began))).unwrap_or_default();
    format!("{}{} :{kind}r{}, {}, {}", label, plain(&took), run.number, stamp(run.began), stamp(ended))
}

fn stamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    format!(
        "{}T{:02}:{:02}:{:02}.{:03}",
        time.date(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// A Gantt chart knows no quotes and no entity codes: a colon, a semicolon or a hash would end a label.
fn plain(text: &str) -> String {
    kit::one_line(text)
        .chars()
        .take(60)
        .map(|c| if c.is_alphanumeric() || " .,_-".contains(c) { c } else { '_' })
        .collect()
}
