//! What a run says, and where: the result to standard output, the story to standard error, and in a GitHub job also
//! outputs, the job summary, annotations and masks.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::plan::{Note, Shown, Undo};
use crate::secret::{masks, redact, redact_json};
use crate::{Code, Env, Failure, Format, github};

/// The report of one run.
#[derive(Debug)]
pub struct Report {
    step: &'static str,
    format: Format,
    github: bool,
    colour: bool,
    outputs_file: Option<PathBuf>,
    summary_file: Option<PathBuf>,
    sink: Sink,
    masked: Mutex<Vec<String>>,
    summary: Mutex<String>,
    result: Mutex<Option<Findings>>,
}

/// What a step was run to find out.
#[derive(Debug)]
struct Findings {
    text: String,
    name: &'static str,
    document: Value,
}

#[derive(Debug)]
enum Sink {
    Process,
    Memory(Mutex<Vec<String>>),
}

impl Report {
    pub(crate) fn new(step: &'static str, format: Format, env: &Env) -> Self {
        let github = env.in_github_job();
        Self {
            step,
            format,
            github,
            colour: !github && env.get("NO_COLOR").is_none() && std::io::stderr().is_terminal(),
            outputs_file: env.get("GITHUB_OUTPUT").map(PathBuf::from),
            summary_file: env.get("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            sink: Sink::Process,
            masked: Mutex::default(),
            summary: Mutex::default(),
            result: Mutex::default(),
        }
    }

    pub(crate) fn in_memory(step: &'static str) -> Self {
        Self {
            step,
            format: Format::Text,
            github: false,
            colour: false,
            outputs_file: None,
            summary_file: None,
            sink: Sink::Memory(Mutex::default()),
            masked: Mutex::default(),
            summary: Mutex::default(),
            result: Mutex::default(),
        }
    }

    pub(crate) fn step(&self) -> &'static str {
        self.step
    }

    pub(crate) fn in_github(&self) -> bool {
        self.github
    }

    /// Says that the report or the receipt itself could not be written whole, and the code with which the run ends: a
    /// success that nobody can read of is not one.
    pub(crate) fn afterthought(&self, unwritten: &Failure, code: Code) -> Code {
        if code == Code::Done {
            self.failure(unwritten, &[]);
            return Code::Unverified;
        }
        self.warn(&github::readable(&format!("{unwritten}: {}", unwritten.chain().join(": "))));
        code
    }

    /// What was said so far, when the report is kept in memory by [`crate::testing`]; empty otherwise.
    pub fn story(&self) -> Vec<String> {
        match &self.sink {
            Sink::Process => Vec::new(),
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Whether the text of a result may be coloured: on a terminal, outside GitHub's jobs and without `NO_COLOR`.
    pub fn colours_result(&self) -> bool {
        self.colour && std::io::stdout().is_terminal()
    }

    /// One line of the story.
    pub fn say(&self, line: &str) {
        self.line(line);
    }

    /// Something to think about that does not stop the run.
    pub fn warn(&self, text: &str) {
        self.line_in(Some("33"), &format!("warning: {text}"));
        self.annotate("warning", text);
    }

    /// Text that somebody else wrote (a child's output, a log line, a server's message): each line is marked, control
    /// characters are shown as such, and in a GitHub job it can't give workflow commands.
    pub fn foreign(&self, text: &str) {
        // The mark in front keeps a line from being a command; the fence is for the old form, which counts anywhere.
        let fence = (self.github && ["::", "##["].iter().any(|sign| text.contains(sign))).then(github::token);
        if let Some(fence) = &fence {
            self.command(&format!("::stop-commands::{fence}"));
        }
        for line in text.lines() {
            let line: String = line
                .chars()
                .map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
                .collect();
            self.line(&format!("  | {line}"));
        }
        if let Some(fence) = &fence {
            self.command(&format!("::{fence}::"));
        }
    }

    /// Opens a group of lines that GitHub folds; elsewhere a heading. Closed by the next one or [`Self::end_group`].
    pub fn group(&self, title: &str) {
        self.group_in(None, title);
    }

    fn group_in(&self, ansi: Option<&str>, title: &str) {
        if self.github {
            self.command(&github::group(&github::one_line(&redact(title))));
        } else {
            self.line_in(ansi, title);
        }
    }

    fn annotate(&self, level: &str, text: &str) {
        if self.github {
            self.command(&github::annotation(level, self.step, &github::log_lines(&redact(text), true)));
        }
    }

    /// Closes a group.
    pub fn end_group(&self) {
        if self.github {
            self.command("::endgroup::");
        }
    }

    /// Markdown for the job summary, beside the plan and the outcome, which are there always.
    pub fn summarize(&self, markdown: &str) {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner).push_str(markdown);
    }

    /// What the step was run to find out: goes to standard output however the run ends, as text ahead of the headline, or in
    /// the JSON document under `name`. The text is the caller's own, with what is foreign in it made harmless.
    pub fn result(&self, text: String, name: &'static str, document: Value) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(Findings { text, name, document });
    }

    fn styled(&self, ansi: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{ansi}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, line: &str) {
        self.line_in(None, line);
    }

    fn line_in(&self, ansi: Option<&str>, text: &str) {
        // Lines carry names and reasons from outside: they are made harmless before there is colour in them.
        let text = github::log_lines(&redact(text), self.github);
        let text = ansi.map_or_else(|| text.clone(), |ansi| self.styled(ansi, &text));
        match &self.sink {
            // A closed standard error must not end a release half-way.
            Sink::Process => {
                self.mask_new();
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Sink::Memory(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).push(text),
        }
    }

    fn command(&self, command: &str) {
        if let Sink::Process = self.sink {
            self.mask_new();
            let _ = writeln!(std::io::stderr().lock(), "{command}");
        }
    }

    /// Registers each secret with the runner before anything that might hold it is printed.
    fn mask_new(&self) {
        if !self.github {
            return;
        }
        let mut masked = self.masked.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in masks() {
            if !masked.contains(&secret) {
                let _ = writeln!(std::io::stderr().lock(), "{}", github::mask(&secret));
                masked.push(secret);
            }
        }
    }

    pub(crate) fn plan(&self, shown: &Shown, where_am_i: &str, dry_run: bool) {
        let title = format!("{}: plan{}", self.step, if dry_run { " (dry run)" } else { "" });
        self.group_in(Some("1"), &title);
        if !where_am_i.is_empty() {
            self.line(&format!("  {where_am_i}"));
        }
        for line in shown.text() {
            self.line(format!("  {line}").trim_end());
        }
        self.end_group();
        for note in &shown.notes {
            if let Note::Warning(text) = note {
                self.annotate("warning", text);
            }
        }
        self.summarize(&plan_markdown(self.step, shown, where_am_i, dry_run));
    }

    pub(crate) fn failure(&self, failure: &Failure, state: &[String]) {
        self.end_group();
        let text = failure_text(failure, state);
        for (n, line) in text.iter().enumerate() {
            self.line_in((n == 0).then_some("1;31"), line);
        }
        self.annotate("error", &text.join("\n"));
        let block = github::markdown_block(&text.join("\n"));
        self.summarize(&format!("\n**{}: {}**\n\n{block}\n", self.step, failure.code().word()));
    }

    /// Writes the result to standard output, the outputs and the summary. What could not be written comes back.
    pub(crate) fn finish(
        &self,
        headline: &str,
        outputs: &BTreeMap<String, String>,
        mut document: Value,
    ) -> Result<(), Failure> {
        let found = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Sink::Process = self.sink {
            self.mask_new();
            let mut out = std::io::stdout().lock();
            let written = match self.format {
                Format::Text => {
                    let found = redact(&found.map(|found| found.text).unwrap_or_default());
                    let mut text = String::new();
                    if !headline.is_empty() {
                        text.push_str(&format!("{headline}\n"));
                    }
                    for (name, value) in outputs {
                        text.push_str(&format!("{name}={value}\n"));
                    }
                    let harmless = |text: &str| github::log_lines(text, self.github);
                    // Its colours are the step's own.
                    let found = if self.colours_result() { found } else { harmless(&found) };
                    out.write_all(format!("{found}{}", harmless(&redact(&text))).as_bytes())
                }
                Format::Json => {
                    if let (Some(found), Value::Object(document)) = (found, &mut document) {
                        document.insert(found.name.to_owned(), found.document);
                    }
                    out.write_all(format!("{}\n", github::json_text(&redact_json(document))).as_bytes())
                }
            };
            // Whoever closed the pipe has read enough; the outcome is not theirs to change.
            if let Err(error) = written.and_then(|()| out.flush())
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                return Err(Failure::failed("write the result to standard output").because(error));
            }
        }
        if let Some(file) = &self.outputs_file {
            for (name, value) in outputs {
                github::write_output(file, name, &redact(value)).map_err(|error| {
                    Failure::failed(format!("write the output {name} to {}", file.display())).because(error)
                })?;
            }
        }
        if let Some(file) = &self.summary_file {
            let mut markdown = redact(&self.summary.lock().unwrap_or_else(PoisonError::into_inner));
            if !headline.is_empty() {
                markdown.push_str(&format!(
                    "\n{}: {}\n",
                    self.step,
                    github::markdown_inline(&redact(headline))
                ));
            }
            if !outputs.is_empty() {
                markdown.push_str("\n| output | value |\n|---|---|\n");
                for (name, value) in outputs {
                    let value = github::markdown_inline(&redact(value));
                    markdown.push_str(&format!("| {name} | {value} |\n"));
                }
            }
            markdown.push('\n');
            github::write_summary(file, &github::lines(&markdown)).map_err(|error| {
                Failure::failed(format!("write the job summary to {}", file.display())).because(error)
            })?;
        }
        Ok(())
    }
}

/// The failure as lines: the attempt, the causes beneath, the next moves, and what state was left.
fn failure_text(failure: &Failure, state: &[String]) -> Vec<String> {
    let attempt = failure.to_string();
    let mut lines: Vec<String> = attempt
        .lines()
        .enumerate()
        .map(|(n, line)| {
            format!("{}{line}", if n == 0 { "error: " } else { "       " }).trim_end().to_owned()
        })
        .collect();
    lines.extend(failure.chain().into_iter().flat_map(|cause| {
        cause
            .lines()
            .enumerate()
            .map(|(n, line)| format!("{}{line}", if n == 0 { "  because: " } else { "           " }))
            .collect::<Vec<_>>()
    }));
    lines.extend(failure.help.iter().map(|help| format!("  help: {help}")));
    lines.extend(failure.state.iter().chain(state).map(|state| format!("  state: {state}")));
    lines.iter().map(|line| github::readable(line)).collect()
}

pub(crate) fn failure_json(failure: &Failure, state: &[String]) -> Value {
    json!({
        "code": failure.code().number(),
        "kind": failure.code(),
        "message": failure.to_string(),
        "causes": failure.chain(),
        "help": failure.help,
        "state": failure.state.iter().chain(state).collect::<Vec<_>>(),
    })
}

fn plan_markdown(step: &str, shown: &Shown, where_am_i: &str, dry_run: bool) -> String {
    let inline = |text: &str| github::markdown_inline(&redact(text));
    let mut out = format!("### {step}{}\n\n", if dry_run { ": plan (dry run)" } else { "" });
    if !where_am_i.is_empty() {
        out.push_str(&format!("{}\n\n", inline(where_am_i)));
    }
    if shown.actions.is_empty() {
        out.push_str(&format!("Nothing to do: {}\n\n", inline(&shown.unchanged)));
    }
    for (n, action) in shown.actions.iter().enumerate() {
        let undo = match &action.undo {
            Undo::By(undo) => format!("undo: {}", inline(undo)),
            Undo::Impossible(why) => format!("**cannot be undone**: {}", inline(why)),
        };
        out.push_str(&format!("{}. {}  \n   {undo}\n", n + 1, inline(&action.does)));
        if let Some(detail) = &action.detail {
            out.push_str(&format!("\n{}\n", github::markdown_block(&redact(detail))));
        }
    }
    for note in &shown.notes {
        out.push_str(&match note {
            Note::Info(text) => format!("\n- {}\n", inline(text)),
            Note::Warning(text) => format!("\n- **warning**: {}\n", inline(text)),
        });
    }
    out
}
