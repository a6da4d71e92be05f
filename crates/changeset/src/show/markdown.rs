//! For the summary of a job and for a comment on a pull request.

use kit::{markdown_code as code, markdown_inline as inline, markdown_marker};

use super::graph::graph;
use super::words::{
    self, ByName, Class, MAY_STAY, allow, becomes, by_name, causes, chains, console_url, deciding, forces,
    headline, may_stay, plan_line, property_name, rows_of, safe_line,
};
use crate::fate::{Fate, Need};
use crate::review::{Review, Row, StackReview, State};

/// GitHub says that a comment has at most 65,536 characters and has been measured to take 262,144 bytes, which is the same
/// where each has four. Bytes are counted here, which are never fewer than characters or UTF-16 units.
/// <https://github.com/dead-claudia/github-limits/pull/13>
pub const COMMENT_LIMIT: usize = 65_536;

/// A summary of more than 1 MiB is dropped whole, and others of the same step share it.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits>
const SUMMARY_LIMIT: usize = 600 * 1024;

/// What a comment is made with.
#[derive(Clone, Debug)]
pub struct CommentOptions {
    /// Which of several reviews of one pull request this is: the name of the environment or of the stacks.
    pub target: String,
    /// Where the whole review is: the run's page.
    pub link: Option<String>,
    /// In bytes.
    pub limit: usize,
    /// Whether values of properties are shown. They were redacted by guessing, and comments are read by many.
    pub values: bool,
}

impl CommentOptions {
    /// Without values, under GitHub's limit.
    pub fn new(target: impl Into<String>, link: Option<String>) -> Self {
        Self { target: target.into(), link, limit: COMMENT_LIMIT, values: false }
    }
}

/// The hidden line with which the comment for a target begins.
pub fn marker(target: &str) -> String {
    markdown_marker(&format!("cutover:changeset-review:{target}"))
}

/// The review as Markdown for the summary of a job.
pub fn summary(review: &Review) -> String {
    Page::new(review, true, None, None).within(SUMMARY_LIMIT)
}

/// The review as one comment that begins with [`marker`]. What does not fit is left out, the least urgent first, and the
/// comment says so; a line of what waits for an approval only where these alone are too many.
pub fn comment(review: &Review, options: &CommentOptions) -> String {
    let marker = marker(&options.target);
    let page = Page::new(review, options.values, options.link.as_deref(), Some(marker));
    page.within(options.limit)
}

/// What is shown, the most urgent last to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// The lines of what waits for an approval, as many as there is room for.
    Some(usize),
    /// Those lines, all.
    Blockers,
    /// What each stack needs told beside: warnings, what was approved.
    Stacks,
    /// Why a change waits, and what causes it.
    Reasons,
    Graph,
    Notices,
    Safe,
}

struct Page<'a> {
    review: &'a Review,
    rows: ByName<'a>,
    blockers: Vec<&'a Row>,
    graph: Option<String>,
    values: bool,
    link: Option<&'a str>,
    marker: Option<String>,
}

impl<'a> Page<'a> {
    fn new(review: &'a Review, values: bool, link: Option<&'a str>, marker: Option<String>) -> Self {
        let (rows, blockers, graph) = (by_name(review), review.blockers(), graph(review));
        Self { review, rows, blockers, graph, values, link, marker }
    }

    fn within(&self, limit: usize) -> String {
        let whole = self.write(Detail::Safe);
        if whole.len() <= limit {
            return whole;
        }
        let more = [Detail::Blockers, Detail::Stacks, Detail::Reasons, Detail::Graph, Detail::Notices];
        let fitting =
            more.into_iter().map(|detail| self.write(detail)).take_while(|text| text.len() <= limit);
        if let Some(most) = fitting.last() {
            return most;
        }
        // The longest that fits, between one that does and one that does not.
        let (mut fits, mut too_many) = (0, self.blockers.len());
        while too_many - fits > 1 {
            let middle = usize::midpoint(fits, too_many);
            if self.write(Detail::Some(middle)).len() <= limit { fits = middle } else { too_many = middle }
        }
        let text = self.write(Detail::Some(fits));
        if text.len() <= limit { text } else { self.least() }
    }

    fn write(&self, detail: Detail) -> String {
        let mut out = self.head();
        self.blockers(detail, &mut out);
        if detail >= Detail::Blockers {
            self.table(&mut out);
        }
        if detail >= Detail::Stacks {
            for (n, stack) in self.review.stacks.iter().enumerate() {
                self.stack(n + 1, stack, detail, &mut out);
            }
        }
        if detail >= Detail::Graph
            && let Some(graph) = &self.graph
        {
            out.push_str(&format!(
                "<details><summary>What causes what</summary>\n\n```mermaid\n{graph}```\n\n</details>\n\n"
            ));
        }
        out.push_str(&format!("{}\n\n", inline(&plan_line(self.review))));
        let left_out = self.left_out(detail);
        if !left_out.is_empty() {
            let whole = self.link_or("the job's log and report have all of it", "all of it is here");
            out.push_str(&format!(
                "**Left out**, since GitHub would not take a longer text: {}; {whole}.\n\n",
                left_out.join(", ")
            ));
        }
        out.push_str(&self.foot());
        out
    }

    fn head(&self) -> String {
        let marker = self.marker.as_ref().map(|marker| format!("{marker}\n")).unwrap_or_default();
        format!("{marker}## Change set review: {}\n\n", inline(&headline(self.review)))
    }

    fn foot(&self) -> String {
        if self.review.fingerprint.is_empty() {
            return String::new();
        }
        let run = self.link.map(|_| format!(" · {}", self.link_or("", "the run"))).unwrap_or_default();
        format!("Fingerprint {}{run}\n", code(&self.review.fingerprint))
    }

    /// When not even the table of the stacks has room.
    fn least(&self) -> String {
        let whole = self.link_or("the job's log and report have all of it", "all of it is here");
        format!(
            "{}> [!CAUTION]\n> **The review is too long to be shown here**; {whole}.\n\n{}\n\n{}",
            self.head(),
            inline(&plan_line(self.review)),
            self.foot()
        )
    }

    fn link_or(&self, without: &str, text: &str) -> String {
        match self.link {
            Some(link) => format!("[{text}]({})", url(link)),
            None => without.to_owned(),
        }
    }

    fn blockers(&self, detail: Detail, out: &mut String) {
        let blockers = &self.blockers;
        if blockers.is_empty() {
            return;
        }
        let shown = if let Detail::Some(number) = detail { number } else { blockers.len() };
        if shown < blockers.len() {
            let whole = self.link_or("the job's log and report have them", "all of them are here");
            out.push_str(&format!(
                "> [!CAUTION]\n> **{} of the {} that wait for an approval are not shown**, there is no room; {whole}.\n\n",
                blockers.len() - shown,
                kit::counted(blockers.len(), "change")
            ));
        }
        if shown == 0 {
            return;
        }
        out.push_str("### Waits for approval\n\n");
        out.push_str(
            "| verdict | resource | type | what becomes of it | approve with |\n|---|---|---|---|---|\n",
        );
        for row in blockers.iter().take(shown) {
            out.push_str(&format!(
                "| **{}** | {} | {} | {} | {} |\n",
                row.verdict.title(),
                code(&row.name()),
                kind(row),
                becomes(&row.fate),
                code(&allow(row))
            ));
        }
        out.push('\n');
        if detail >= Detail::Reasons {
            for row in blockers {
                out.push_str(&format!("- {}\n", code(&row.name())));
                self.reasons(row, out);
            }
            out.push('\n');
        }
    }

    /// Why, what decides it and where that comes from, as a list within a list.
    fn reasons(&self, row: &Row, out: &mut String) {
        for reason in &row.reasons {
            out.push_str(&format!("  - {}\n", inline(reason)));
        }
        for property in deciding(row) {
            let causes = causes(property);
            let causes = if causes.is_empty() { String::new() } else { format!(" ({})", inline(&causes)) };
            let values = match words::values(property).filter(|_| self.values) {
                Some((before, after)) => format!(": {} → {}", code(&before), code(&after)),
                None => String::new(),
            };
            out.push_str(&format!(
                "  - {}{}{causes}{values}\n",
                code(property_name(property)),
                forces(property)
            ));
        }
        if may_stay(row) {
            out.push_str(&format!("  - {MAY_STAY}\n"));
        }
        for chain in chains(row, &self.rows) {
            out.push_str(&format!("  - {}\n", inline(&chain)));
        }
    }

    fn table(&self, out: &mut String) {
        out.push_str("| # | stack | operation | add | change | replace | remove | other | waits |\n");
        out.push_str("|--:|---|---|--:|--:|--:|--:|--:|--:|\n");
        for (n, stack) in self.review.stacks.iter().enumerate() {
            let number = |wanted: fn(&Row) -> bool| match stack.rows.iter().filter(|row| wanted(row)).count()
            {
                0 => String::new(),
                number => number.to_string(),
            };
            let state = match stack.state {
                State::Reviewed => "",
                State::NoChanges => ", no changes",
                State::Provisional(_) => ", **provisional**",
            };
            out.push_str(&format!(
                "| {} | {} | {}{state} | {} | {} | {} | {} | {} | {} |\n",
                n + 1,
                code(&stack.label),
                words::operation(stack.operation),
                number(|row| row.fate == Fate::Add),
                number(|row| row.fate == Fate::Modify),
                number(|row| matches!(row.fate, Fate::MayReplace(_) | Fate::Replace(_))),
                number(|row| matches!(row.fate, Fate::Remove(_))),
                number(|row| matches!(
                    row.fate,
                    Fate::Sync | Fate::Import | Fate::Opaque | Fate::Dynamic | Fate::Unknown
                )),
                number(Row::blocks),
            ));
        }
        out.push('\n');
    }

    fn stack(&self, number: usize, stack: &StackReview, detail: Detail, out: &mut String) {
        let name =
            if stack.stack == stack.label { String::new() } else { format!(" ({})", code(&stack.stack)) };
        out.push_str(&format!(
            "### {number}. {}{name}: {}\n\n",
            code(&stack.label),
            words::operation(stack.operation)
        ));
        match &stack.state {
            State::Reviewed if stack.rows.is_empty() => out.push_str("No resource changes.\n\n"),
            State::Reviewed => {}
            State::NoChanges => out.push_str("No changes.\n\n"),
            State::Provisional(why) => {
                out.push_str(&format!("**PROVISIONAL**: it can't be judged yet: {}\n\n", inline(why)));
            }
        }
        if let Some(address) = console_url(stack) {
            let what = if stack.change_set.is_some() { "change set" } else { "stack" };
            out.push_str(&format!("[The {what} in the console]({})\n\n", url(&address)));
        }
        for warning in &stack.warnings {
            out.push_str(&format!("- **warning**: {}\n", inline(warning)));
        }
        let waiting = rows_of(stack, Class::Waits).len();
        if waiting > 0 {
            let wait = if waiting == 1 { "waits" } else { "wait" };
            out.push_str(&format!(
                "- **{} {wait} for approval**, see above\n",
                kit::counted(waiting, "change")
            ));
        }
        for row in rows_of(stack, Class::Approved) {
            let given: Vec<&str> = row.approved.iter().map(Need::word).collect();
            out.push_str(&format!(
                "- **{}**, approved as {}: {} {}: {}\n",
                row.verdict.title(),
                code(&given.join(",")),
                code(&row.name()),
                kind(row),
                becomes(&row.fate)
            ));
            if detail >= Detail::Reasons {
                self.reasons(row, out);
            }
        }
        if !stack.warnings.is_empty() || waiting > 0 || !rows_of(stack, Class::Approved).is_empty() {
            out.push('\n');
        }
        let (notices, safe) = (rows_of(stack, Class::Notice), rows_of(stack, Class::Safe));
        if !notices.is_empty() && detail >= Detail::Notices {
            folded(&kit::counted(notices.len(), "notice"), &notices, true, out);
        }
        if !safe.is_empty() {
            let line = safe_line(&safe, safe.len() < stack.rows.len());
            if detail >= Detail::Safe {
                folded(&line, &safe, false, out);
            } else {
                out.push_str(&format!("{}.\n\n", inline(&line)));
            }
        }
    }

    fn left_out(&self, detail: Detail) -> Vec<String> {
        let number = |class| self.review.rows().filter(|row| Class::of(row) == class).count();
        let mut left_out = Vec::new();
        let mut add = |is: bool, number: usize, what: &str| {
            if is && number > 0 {
                left_out.push(kit::counted(number, what));
            }
        };
        add(detail < Detail::Safe, number(Class::Safe), "safe change");
        add(detail < Detail::Notices, number(Class::Notice), "notice");
        add(detail < Detail::Graph, usize::from(self.graph.is_some()), "graph");
        let explained = number(Class::Waits) + number(Class::Approved);
        add(detail < Detail::Reasons, explained, "explanation");
        add(detail < Detail::Stacks, number(Class::Approved), "approved change");
        let warnings = self.review.stacks.iter().map(|stack| stack.warnings.len()).sum();
        add(detail < Detail::Stacks, warnings, "warning");
        left_out
    }
}

/// A type and what it holds.
fn kind(row: &Row) -> String {
    match row.tier {
        Some(tier) => format!("{}, {}", code(&row.resource_type), words::tier(tier)),
        None => code(&row.resource_type),
    }
}

/// Rows that a reader unfolds. The title is in HTML, in which Markdown is not read: it has no name in it.
fn folded(title: &str, rows: &[&Row], reasons: bool, out: &mut String) {
    out.push_str(&format!("<details><summary>{title}</summary>\n\n"));
    for row in rows {
        let mut said = Vec::new();
        if reasons {
            let decide: Vec<String> =
                deciding(row).into_iter().map(|property| code(property_name(property))).collect();
            said.extend((!decide.is_empty()).then(|| decide.join(", ")));
            said.extend(row.reasons.iter().map(|reason| inline(reason)));
        }
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        out.push_str(&format!("- {} {}: {}{said}\n", code(&row.name()), kind(row), becomes(&row.fate)));
    }
    out.push_str("\n</details>\n\n");
}

/// An address as the target of a link: what would end it is encoded.
fn url(address: &str) -> String {
    address
        .bytes()
        .map(|byte| match byte {
            b'('
            | b')'
            | b'<'
            | b'>'
            | b'"'
            | b'\''
            | b'|'
            | b'\\'
            | b'`'
            | b'['
            | b']'
            | 0..=0x20
            | 0x7f.. => {
                format!("%{byte:02X}")
            }
            byte => char::from(byte).to_string(),
        })
        .collect()
}
