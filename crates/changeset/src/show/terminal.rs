//! For a person at a terminal, and for the log of a job.

use kit::{log_line, one_line};

use super::words::{
    self, ByName, Class, MAY_STAY, allow, becomes, by_name, causes, chains, console_url, deciding, forces,
    headline, may_stay, plan_line, property_name, rows_of, safe_line, sign,
};
use crate::review::{Review, Row, StackReview, State};

/// How lines are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether lines may be coloured: the report of the run knows ([`kit::Cx::report`]).
    pub colour: bool,
    /// Where lines are broken, in characters. Names and commands are never broken.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80 }
    }
}

const BAD: &str = "1;31";
const GOOD: &str = "32";
const CAREFUL: &str = "33";
const HEADING: &str = "1";

/// The review, a line each: the verdict, what waits for an approval, the stacks in order, the count, where to look.
pub fn terminal(review: &Review, style: Style) -> Vec<String> {
    let rows = by_name(review);
    let mut page = Page { style, lines: Vec::new() };
    let blockers = review.blockers();
    page.parts(Some(if blockers.is_empty() { GOOD } else { BAD }), "", "  ", &[headline(review)]);
    if !blockers.is_empty() {
        page.line(HEADING, "");
        page.line(HEADING, "Waits for approval");
        for row in &blockers {
            page.row(row, BAD);
            page.beneath(row, &rows);
            page.whole(&format!("      approve with: {}", allow(row)));
        }
    }
    for (n, stack) in review.stacks.iter().enumerate() {
        page.stack(n + 1, stack, &rows);
    }
    page.line(HEADING, "");
    page.parts(Some(HEADING), "", "  ", &[plan_line(review)]);
    if !review.fingerprint.is_empty() {
        page.whole(&format!("Fingerprint: {}", review.fingerprint));
    }
    for (stack, url) in review.stacks.iter().filter_map(|stack| Some((stack, console_url(stack)?))) {
        let what = if stack.change_set.is_some() { "Change set of" } else { "Stack" };
        page.whole(&format!("{what} {}: {url}", stack.label));
    }
    page.lines
}

struct Page {
    style: Style,
    lines: Vec<String>,
}

impl Page {
    /// A line that is not broken.
    fn whole(&mut self, text: &str) {
        self.push(None, text);
    }

    fn push(&mut self, ansi: Option<&str>, text: &str) {
        let text = log_line(&one_line(text));
        let text = text.trim_end();
        self.lines.push(match ansi {
            Some(ansi) if self.style.colour && !text.is_empty() => format!("\x1b[{ansi}m{text}\x1b[0m"),
            _ => text.to_owned(),
        });
    }

    /// One line, coloured.
    fn line(&mut self, ansi: &str, text: &str) {
        self.push(Some(ansi), text);
    }

    /// Parts of a line, broken between them, and where one is longer than a line between its words.
    fn parts(&mut self, ansi: Option<&str>, first: &str, hang: &str, parts: &[String]) {
        let mut line = first.to_owned();
        let mut empty = true;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let part = one_line(part);
            let length = line.chars().count() + part.chars().count() + if empty { 0 } else { 2 };
            if length <= self.style.width {
                line.push_str(if empty { "" } else { "  " });
                line.push_str(&part);
                empty = false;
                continue;
            }
            if !empty {
                self.push(ansi, &line);
                hang.clone_into(&mut line);
            }
            let mut fresh = true;
            for word in part.split(' ').filter(|word| !word.is_empty()) {
                if !fresh && line.chars().count() + 1 + word.chars().count() > self.style.width {
                    self.push(ansi, &line);
                    hang.clone_into(&mut line);
                    fresh = true;
                }
                line.push_str(if fresh { "" } else { " " });
                line.push_str(word);
                fresh = false;
            }
            empty = false;
        }
        self.push(ansi, &line);
    }

    fn prose(&mut self, first: &str, text: &str) {
        self.coloured_prose(None, first, text);
    }

    /// A sentence after what it begins with, its further lines beneath its first word.
    fn coloured_prose(&mut self, ansi: Option<&str>, first: &str, text: &str) {
        let hang = " ".repeat(first.chars().count());
        self.parts(ansi, first, &hang, &[text.to_owned()]);
    }

    /// `-/+ api/TileTable  AWS::DynamoDB::Table  REPLACE, the old one is DELETED  [data]  LOSS  KeySchema (template)`
    fn row(&mut self, row: &Row, ansi: &str) {
        self.parts(Some(ansi), "  ", "      ", &head(row));
    }

    /// Why, what decides it, and where that comes from.
    fn beneath(&mut self, row: &Row, rows: &ByName<'_>) {
        for reason in &row.reasons {
            self.prose("      - ", reason);
        }
        for property in deciding(row) {
            if let Some((before, after)) = words::values(property) {
                let name = format!("{}{}:", property_name(property), forces(property));
                self.parts(None, "      - ", "        ", &[name, before, format!("-> {after}")]);
            }
        }
        if may_stay(row) {
            self.prose("      - ", MAY_STAY);
        }
        for chain in chains(row, rows) {
            self.prose("      - ", &chain);
        }
    }

    fn stack(&mut self, number: usize, stack: &StackReview, rows: &ByName<'_>) {
        self.line(HEADING, "");
        let name = if stack.stack == stack.label { String::new() } else { format!(" ({})", stack.stack) };
        let title = format!("{number}. {}{name}: {}", stack.label, words::operation(stack.operation));
        match &stack.state {
            State::Reviewed if stack.rows.is_empty() => {
                self.line(HEADING, &format!("{title}, no resource changes"));
            }
            State::Reviewed => self.line(HEADING, &title),
            State::NoChanges => self.line(HEADING, &format!("{title}, no changes")),
            State::Provisional(why) => {
                self.line(CAREFUL, &format!("{title}, PROVISIONAL: it can't be judged yet"));
                self.prose("  ", why);
            }
        }
        for warning in &stack.warnings {
            self.coloured_prose(Some(CAREFUL), "  warning: ", warning);
        }
        let waiting = rows_of(stack, Class::Waits).len();
        if waiting > 0 {
            let wait = if waiting == 1 { "waits" } else { "wait" };
            self.line(BAD, &format!("  {} {wait} for approval, see above", kit::counted(waiting, "change")));
        }
        for row in rows_of(stack, Class::Approved) {
            self.row(row, CAREFUL);
            let given: Vec<&str> = row.approved.iter().map(crate::fate::Need::word).collect();
            self.prose("      - ", &format!("approved by name: {}", given.join(", ")));
            self.beneath(row, rows);
        }
        for row in rows_of(stack, Class::Notice) {
            let mut parts = head(row);
            parts.extend(row.reasons.iter().cloned());
            self.parts(None, "  ", "      ", &parts);
        }
        let safe = rows_of(stack, Class::Safe);
        if !safe.is_empty() {
            self.whole(&format!("  {}", safe_line(&safe, safe.len() < stack.rows.len())));
        }
    }
}

/// The parts of a row's own line.
fn head(row: &Row) -> Vec<String> {
    let mut parts = vec![
        format!("{} {}", sign(&row.fate), row.name()),
        row.resource_type.clone(),
        becomes(&row.fate).to_owned(),
    ];
    parts.extend(row.tier.map(|tier| format!("[{}]", words::tier(tier))));
    parts.push(row.verdict.title().to_owned());
    let mut decide: Vec<String> = Vec::new();
    for property in deciding(row) {
        let causes = causes(property);
        let causes = if causes.is_empty() { String::new() } else { format!(" ({causes})") };
        let said = format!("{}{causes}", property_name(property));
        if !decide.contains(&said) {
            decide.push(said);
        }
    }
    parts.extend(decide);
    parts
}
