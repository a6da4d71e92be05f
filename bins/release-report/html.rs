//! The report as one HTML file: no script, nothing from outside, readable on a phone and on paper.

use base64::Engine as _;
use kit::{ActionState, one_line};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::markdown::{BACK, MISSING, SILENT, jobs, nothing_to_take_back, remarks, sentence, tally};
use crate::story::{Act, Back, End, Run, Stand, Stays, Story, Way};
use crate::words::{duration, moment};

const STYLE: &str = include_str!("style.css");

/// Of one run; a step that changes more than that keeps a list of its own.
const ACTIONS: usize = 500;

const NOTES: usize = 500;

/// A page that a browser opens at once.
const BYTES: usize = 16 * 1024 * 1024;

/// The width of the time line's drawing, in its own units.
const WIDTH: i128 = 1000;

pub(crate) fn page(story: &Story) -> String {
    // Nothing is loaded, run or sent, whatever a name or a message holds; the one style sheet is known by its sum.
    // <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy>
    let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let title = text(&format!("{}: {}", story.title, story.verdict.heading()));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{sum}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    );
    head(&mut out, story);
    out.push_str("<main>\n");
    troubles(&mut out, story);
    missing(&mut out, story);
    time_line(&mut out, story);
    way_back(&mut out, story);
    runs(&mut out, story);
    if !story.notes.is_empty() {
        section(&mut out, "notes", "Notes");
        out.push_str("<ul>\n");
        for note in story.notes.iter().take(NOTES) {
            out.push_str(&format!("<li>{}</li>\n", text(note)));
        }
        if story.notes.len() > NOTES {
            out.push_str(&format!("<li>and {} more; the text has all</li>\n", story.notes.len() - NOTES));
        }
        out.push_str("</ul>\n</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// Text from outside, in an element or a quoted attribute.
fn text(text: &str) -> String {
    let mut out = String::new();
    for char in one_line(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}

fn section(out: &mut String, id: &str, title: &str) {
    out.push_str(&format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n"));
}

fn head(out: &mut String, story: &Story) {
    let class = match story.verdict {
        Stand::Done => "good",
        Stand::None | Stand::Incomplete => "doubt",
        _ => "bad",
    };
    out.push_str(&format!(
        "<header>\n<h1>{}</h1>\n<p><span class=\"verdict {class}\">{}</span> {}</p>\n<dl class=\"facts\">\n",
        text(&story.title),
        story.verdict.heading(),
        text(&sentence(&story.headline))
    ));
    if let (Some(began), Some(ended)) = (story.began, story.ended) {
        out.push_str(&format!(
            "<dt>Time</dt><dd class=\"clock\">{} to {} UTC ({})</dd>\n",
            moment(began, false),
            moment(ended, story.one_day()),
            duration(ended - began)
        ));
    }
    if !story.jobs.is_empty() {
        out.push_str(&format!("<dt>Jobs</dt><dd>{}</dd>\n", text(&jobs(story))));
    }
    for (name, value) in &story.facts {
        out.push_str(&format!("<dt>{name}</dt><dd>{}</dd>\n", text(value)));
    }
    out.push_str("</dl>\n</header>\n");
}

fn troubles(out: &mut String, story: &Story) {
    if story.troubles().next().is_none() && story.silent.is_empty() {
        return;
    }
    section(out, "troubles", "What did not end well");
    for job in &story.silent {
        out.push_str(&format!(
            "<div class=\"card bad-card\">\n<h3>job {} <span class=\"bad\">{}</span></h3>\n<p>{SILENT}</p>\n</div>\n",
            text(&job.name),
            text(&job.result)
        ));
    }
    for run in story.troubles().take(500) {
        let card = if run.is_current() { "bad-card" } else { "doubt-card" };
        out.push_str(&format!(
            "<div class=\"card {card}\">\n<h3><a href=\"#run-{0}\">{1}</a> <span class=\"bad\">{2}</span></h3>\n",
            run.number,
            text(&run.name()),
            run.end.words()
        ));
        out.push_str(&format!("<p class=\"soft clock\">{}</p>\n", text(&when(run, story))));
        if let Some(number) = run.superseded_by {
            out.push_str(&format!("<p>It ran again: see <a href=\"#run-{number}\">({number})</a>.</p>\n"));
        }
        if !run.message.is_empty() {
            out.push_str(&format!("<p>{}</p>\n", text(&run.message)));
        }
        reasons(out, run);
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

fn reasons(out: &mut String, run: &Run) {
    let doubt = run.actions.iter().filter(|act| act.state == ActionState::Started).take(20);
    let lines: Vec<(&str, &str)> = run
        .causes
        .iter()
        .map(|line| ("because", line.as_str()))
        .chain(run.state.iter().map(|line| ("state", line.as_str())))
        .chain(run.help.iter().map(|line| ("next", line.as_str())))
        .chain(doubt.map(|act| ("in doubt", act.does.as_str())))
        .collect();
    if lines.is_empty() {
        return;
    }
    out.push_str("<ul>\n");
    for (word, line) in lines {
        out.push_str(&format!("<li><strong>{word}:</strong> {}</li>\n", text(line)));
    }
    out.push_str("</ul>\n");
}

/// `job data, 2026-11-22 08:19:43 UTC, 1.0 s`.
fn when(run: &Run, story: &Story) -> String {
    let place = run.place().map(|place| format!("{place}, ")).unwrap_or_default();
    let took = run.ended.map_or_else(|| "no known end".to_owned(), |ended| duration(ended - run.began));
    format!("{place}{} UTC, {took}", moment(run.began, story.one_day()))
}

fn missing(out: &mut String, story: &Story) {
    if story.missing.is_empty() {
        return;
    }
    section(out, "missing", "Expected, and without a receipt");
    out.push_str("<div class=\"card doubt-card\">\n<ul>\n");
    for name in &story.missing {
        out.push_str(&format!("<li><code>{}</code></li>\n", text(name)));
    }
    out.push_str(&format!("</ul>\n<p>{MISSING}</p>\n</div>\n</section>\n"));
}

fn time_line(out: &mut String, story: &Story) {
    let (Some(began), Some(ended)) = (story.began, story.ended) else { return };
    section(out, "time-line", "Time line");
    out.push_str("<ol class=\"line\">\n");
    for run in &story.runs {
        let end = if run.end.is_well() {
            String::new()
        } else {
            format!(" <strong class=\"bad\">{}</strong>", run.end.short())
        };
        out.push_str(&format!(
            "<li><div><a href=\"#run-{0}\">{1}</a>{end}<br><span class=\"soft clock\">{2}</span></div>{3}</li>\n",
            run.number,
            text(&run.name()),
            text(&when(run, story)),
            bar(run, began, ended)
        ));
    }
    out.push_str("</ol>\n</section>\n");
}

/// The text beside it says the same.
fn bar(run: &Run, began: OffsetDateTime, ended: OffsetDateTime) -> String {
    let whole = (ended - began).whole_milliseconds().max(1);
    let place = |time: OffsetDateTime| ((time - began).whole_milliseconds() * WIDTH / whole).clamp(0, WIDTH);
    // Even the shortest is seen.
    let from = place(run.began).min(WIDTH - 6);
    let width = (place(run.ended.unwrap_or(run.began)) - from).max(6);
    let class = if run.end == End::Code(0) { "ran" } else { "wrong" };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\"><rect class=\"{class}\" x=\"{from}\" y=\"1\" width=\"{width}\" height=\"8\"/></svg>"
    )
}

fn way_back(out: &mut String, story: &Story) {
    section(out, "way-back", "The way back");
    if story.back.is_empty() {
        out.push_str(&format!("<p>{}</p>\n</section>\n", nothing_to_take_back(story)));
        return;
    }
    out.push_str(&format!("<p>{}</p>\n", text(BACK)));
    if let Some(fetch) = &story.fetch {
        out.push_str(&format!(
            "<p>The receipts are fetched by</p>\n<pre><code>{}</code></pre>\n",
            text(fetch)
        ));
    }
    out.push_str("<ol>\n");
    for (at, way) in story.back.iter().enumerate() {
        if out.len() > BYTES / 2 {
            let left = story.back.len() - at;
            out.push_str(&format!("<li>{} left out here</li>\n", kit::counted(left, "more run")));
            break;
        }
        back(out, way);
    }
    out.push_str("</ol>\n</section>\n");
}

fn back(out: &mut String, way: &Back) {
    let (class, words) = match way.kind {
        Way::Whole => ("good", "can be taken back"),
        Way::Partly => ("doubt", "can be taken back in part"),
        Way::Not => ("bad", "can't be taken back"),
    };
    out.push_str(&format!(
        "<li>\n<h3><a href=\"#run-{0}\">{1} ({0})</a> <span class=\"{class}\">{words}</span></h3>\n",
        way.run,
        text(&way.step)
    ));
    out.push_str(&format!("<pre><code>{}</code></pre>\n", text(&way.command)));
    out.push_str("<ul>\n");
    for undo in way.takes_back.iter().take(ACTIONS) {
        out.push_str(&format!("<li>{}</li>\n", text(undo)));
    }
    for Stays { does, why } in way.stays.iter().take(ACTIONS) {
        out.push_str(&format!(
            "<li><strong class=\"bad\">stays:</strong> {}: {}</li>\n",
            text(does),
            text(why)
        ));
    }
    let left = way.takes_back.len().saturating_sub(ACTIONS) + way.stays.len().saturating_sub(ACTIONS);
    if left > 0 {
        out.push_str(&format!("<li>and {left} more</li>\n"));
    }
    if let Some(restore) = &way.restore {
        out.push_str(&format!("<li><strong>to go back:</strong> {}</li>\n", text(restore)));
    }
    for caution in &way.cautions {
        out.push_str(&format!("<li><strong class=\"doubt\">note:</strong> {}</li>\n", text(caution)));
    }
    out.push_str("</ul>\n</li>\n");
}

fn runs(out: &mut String, story: &Story) {
    if story.runs.is_empty() {
        return;
    }
    section(out, "runs", "What each run did");
    for (at, run) in story.runs.iter().enumerate() {
        if out.len() > BYTES {
            let left = story.runs.len() - at;
            out.push_str(&format!("<p>{} left out here.</p>\n", kit::counted(left, "more run")));
            break;
        }
        one(out, run, story);
    }
    out.push_str("</section>\n");
}

fn one(out: &mut String, run: &Run, story: &Story) {
    let card = match run.end {
        End::Code(0) => "good-card",
        _ if run.is_current() => "bad-card",
        _ => "doubt-card",
    };
    let class = if run.end.is_well() { "good" } else { "bad" };
    out.push_str(&format!(
        "<article class=\"card {card}\" id=\"run-{0}\" aria-labelledby=\"name-{0}\">\n<h3 id=\"name-{0}\">{1} <span class=\"{class}\">{2}</span></h3>\n<p class=\"soft clock\">{3}; {4}</p>\n",
        run.number,
        text(&run.name()),
        run.end.words(),
        text(&when(run, story)),
        tally(run)
    ));
    if !run.message.is_empty() {
        out.push_str(&format!("<p>{}</p>\n", text(&run.message)));
    }
    if !run.actions.is_empty() {
        out.push_str("<ul class=\"acts\">\n");
        for act in run.actions.iter().take(ACTIONS) {
            out.push_str(&action(act));
        }
        out.push_str("</ul>\n");
        if run.actions.len() > ACTIONS {
            out.push_str(&format!("<p>and {} more</p>\n", run.actions.len() - ACTIONS));
        }
    }
    for line in remarks(run) {
        out.push_str(&format!("<p>{}</p>\n", text(&sentence(&line))));
    }
    for (name, pairs) in [("argument", &run.arguments), ("output", &run.outputs)] {
        if pairs.is_empty() {
            continue;
        }
        out.push_str(&format!(
            "<details>\n<summary>{}</summary>\n<table>\n<thead><tr><th scope=\"col\">{name}</th><th scope=\"col\">value</th></tr></thead>\n<tbody>\n",
            kit::counted(pairs.len(), name)
        ));
        for (name, value) in pairs.iter().take(ACTIONS) {
            out.push_str(&format!(
                "<tr><th scope=\"row\">{}</th><td><code>{}</code></td></tr>\n",
                text(name),
                text(value)
            ));
        }
        out.push_str("</tbody>\n</table>\n</details>\n");
    }
    out.push_str(&format!(
        "<p class=\"soft\">Receipt: <code>{}</code>, written by {} {}</p>\n</article>\n",
        text(&run.receipt),
        text(&run.step),
        text(&run.version)
    ));
}

fn action(act: &Act) -> String {
    let class = match act.state {
        ActionState::Done => "good",
        ActionState::Started => "doubt",
        ActionState::Planned | ActionState::Undone => "soft",
    };
    let earlier = if act.earlier { " <span class=\"soft\">(by an earlier run)</span>" } else { "" };
    format!(
        "<li><span class=\"state {class}\">{}</span> {}{earlier}</li>\n",
        act.state_words(),
        text(&act.does)
    )
}
