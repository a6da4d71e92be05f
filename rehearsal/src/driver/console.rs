//! What a person would see of the log: commands obeyed, secrets masked, annotations kept for the end.
//! The commands: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>

use std::collections::BTreeMap;
use std::io::Write;

/// Recorded per step and kind; the log shows all.
const ANNOTATIONS: usize = 10;
const IGNORED: &[&str] = &["debug", "endgroup", "echo", "add-matcher", "remove-matcher"];
const REFUSED: &[&str] = &["set-output", "save-state", "set-env", "add-path"];

pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    masks: Vec<String>,
    /// The token that makes commands count again.
    stopped: Option<String>,
    counts: BTreeMap<String, usize>,
    job: String,
    annotations: Vec<String>,
}

struct Command {
    name: String,
    properties: BTreeMap<String, String>,
    data: String,
}

impl Console {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            masks: vec![],
            stopped: None,
            counts: BTreeMap::new(),
            job: String::new(),
            annotations: vec![],
        }
    }

    /// A reader that went away does not end a release, so write errors are let go.
    pub(crate) fn line(&mut self, text: &str) {
        let text = self.masked(text);
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).ok();
    }

    pub(crate) fn begin_job(&mut self, job: &str) {
        job.clone_into(&mut self.job);
    }

    pub(crate) fn begin_step(&mut self) {
        self.counts.clear();
        self.stopped = None;
    }

    /// Hides the whole value and each of its lines.
    pub(crate) fn mask(&mut self, secret: &str) {
        let parts = secret.lines().chain([secret]).map(str::trim_end).filter(|part| !part.is_empty());
        self.masks.extend(parts.map(ToOwned::to_owned));
        self.masks.sort_by_key(|mask| std::cmp::Reverse(mask.len()));
        self.masks.dedup();
    }

    pub(crate) fn masked(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, mask| text.replace(mask, "***"))
    }

    pub(crate) fn holds_secret(&self, text: &str) -> bool {
        self.masks.iter().any(|mask| text.contains(mask))
    }

    pub(crate) fn annotate(&mut self, kind: &str, at: &str, message: &str) {
        let label = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
        for line in message.lines() {
            self.line(&format!("  {label}: {line}"));
        }
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        if *count <= ANNOTATIONS {
            let message = self.masked(&message.chars().take(4096).collect::<String>());
            self.annotations.push(format!("{kind} in {}: {at}{message}", self.job));
        }
    }

    pub(crate) fn error(&mut self, message: &str) {
        self.annotate("error", "", message);
    }

    pub(crate) fn annotations(&mut self) {
        for annotation in std::mem::take(&mut self.annotations) {
            self.line(&annotation);
        }
    }

    /// A line that a step printed. False when it is a command that fails the step.
    pub(crate) fn child_line(&mut self, raw: &str) -> bool {
        let Some(command) = Command::parse(raw, self.stopped.as_deref()) else {
            self.line(&format!("  {raw}"));
            return true;
        };
        match command.name.as_str() {
            name if self.stopped.as_deref().is_some_and(|token| token.eq_ignore_ascii_case(name)) => {
                self.stopped = None;
                self.line(&format!("  {raw}"));
            }
            _ if self.stopped.is_some() => self.line(&format!("  {raw}")),
            "stop-commands" => {
                self.line(&format!("  {raw}"));
                self.stopped = Some(command.data);
            }
            "add-mask" if command.data.trim().is_empty() => {
                self.annotate("warning", "", "Can't add secret mask for empty string.");
            }
            "add-mask" => self.mask(&command.data),
            "group" => self.line(&format!("  {}", command.data)),
            kind @ ("error" | "warning" | "notice") => {
                let property = |name: &str| command.properties.get(name).map(String::as_str);
                let line = property("line").unwrap_or("1");
                let file = property("file").map(|file| format!("{file}:{line} "));
                let title = property("title").map(|title| format!("{title}: "));
                let at = file.unwrap_or_default() + &title.unwrap_or_default();
                self.annotate(kind, &at, &command.data);
            }
            name if REFUSED.contains(&name) => {
                self.error(&format!("the command `{name}` is deprecated: write to the runner's files"));
                return false;
            }
            _ => {}
        }
        true
    }
}

impl Command {
    /// `::name key=value,…::data` at the start of a line, or the old `##[name key=value;…]data` anywhere in it.
    fn parse(line: &str, token: Option<&str>) -> Option<Self> {
        let new = line.trim_start().strip_prefix("::").and_then(|rest| rest.split_once("::"));
        let old = || line.split_once("##[")?.1.split_once(']');
        let comma = if new.is_some() { ',' } else { ';' };
        let (info, data) = new.or_else(old)?;
        let (name, properties) = info.split_once(' ').unwrap_or((info, ""));
        let name = name.to_ascii_lowercase();
        let known = ["error", "warning", "notice", "group", "add-mask", "stop-commands"];
        let known = [&known[..], IGNORED, REFUSED].concat().contains(&name.as_str());
        if !known && !token.is_some_and(|token| token.eq_ignore_ascii_case(&name)) {
            return None;
        }
        let properties = properties.split(comma).filter_map(|pair| pair.trim().split_once('='));
        let properties = properties.map(|(k, v)| (k.to_ascii_lowercase(), unescape(v, true))).collect();
        Some(Self { name, properties, data: unescape(data, false) })
    }
}

/// `%25` comes last, so that an escaped percent sign is not read twice.
fn unescape(text: &str, property: bool) -> String {
    let mut text = text.replace("%0D", "\r").replace("%0A", "\n");
    if property {
        text = text.replace("%3A", ":").replace("%2C", ",");
    }
    text.replace("%25", "%")
}
