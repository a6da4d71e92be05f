//! A terminal at which the commands of a transcript are typed.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use time::macros::datetime;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};
use tokio::process::Command;

const PROMPT: &str = "$ ";
/// What stands for a part of the output that is left out.
const CUT: &str = "[...]";
/// When the transcript was made, for its reader.
const TIME: OffsetDateTime = datetime!(2026-11-22 09:30:00 UTC);

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/transcripts")
}

pub(super) struct Terminal {
    step: &'static str,
    env: Vec<(String, String)>,
    dir: PathBuf,
    /// The step under its own name.
    links: TempDir,
    /// What is so in the world, and what stands for it in the transcript, the longest first.
    names: Vec<(String, String)>,
    /// The figures after such a text differ from run to run.
    figures: Vec<(&'static str, &'static str)>,
    /// Ids after such a text, what stands for the first, and those that came.
    ids: Vec<(&'static str, &'static str, RefCell<Vec<String>>)>,
}

impl Terminal {
    /// In the folder and environment of a command of the step's world.
    pub(super) fn new(step: &'static str, of: &Command) -> Self {
        let of = of.as_std();
        let links = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cutover"), links.path().join(step)).unwrap();
        let mut terminal = Self {
            step,
            env: Vec::new(),
            dir: of.get_current_dir().expect("a folder").to_owned(),
            links,
            names: Vec::new(),
            figures: Vec::new(),
            ids: Vec::new(),
        };
        for (name, value) in of.get_envs() {
            let text = |text: &std::ffi::OsStr| text.to_str().expect("UTF-8").to_owned();
            terminal.env.push((text(name), value.map(text).unwrap_or_default()));
        }
        terminal
    }

    /// A flag that the world needs and a person at a terminal does not: it comes from the environment.
    pub(super) fn flag(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.env.push((format!("INPUT_{}", flag.to_uppercase()), value.into()));
        self
    }

    /// A name, an address or an id that is another in each run, and what is typed and read for it. Both ways: a command is run
    /// with what is so.
    pub(super) fn shown(mut self, real: impl Into<String>, shown: &str) -> Self {
        self.names.push((real.into(), shown.to_owned()));
        self
    }

    /// The digits and dots after this text are another in each run, such as a time that something took.
    pub(super) fn figure(mut self, after: &'static str, shown: &'static str) -> Self {
        self.figures.push((after, shown));
        self
    }

    /// The id or checksum after this text likewise: the first that is printed is shown as this, the second with another last
    /// character, and so on, so that what is the same and what is not can be told.
    pub(super) fn id(mut self, after: &'static str, shown: &'static str) -> Self {
        self.ids.push((after, shown, RefCell::default()));
        self
    }

    /// Runs the transcript's commands and compares all that is printed; or writes it, where `CUTOVER_TRANSCRIPTS` is `write`.
    pub(super) async fn plays(self) {
        let path = folder().join(format!("{}.txt", self.step));
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let commands = commands(&before);
        assert!(
            !commands.is_empty(),
            "{} has no commands: write some, each after `{PROMPT}`",
            path.display()
        );
        let mut text = String::new();
        for (command, output) in commands {
            let mut printed = String::new();
            if !command.starts_with('#') {
                printed = self.types(&command).await;
            }
            // What was left out by hand stays so, where the rest is as it was.
            let printed = if is_like(&output, &printed) { output } else { printed };
            let apart = if text.is_empty() || text.lines().last().is_some_and(is_remark) { "" } else { "\n" };
            text.push_str(&format!("{apart}{PROMPT}{command}\n{printed}"));
        }
        if std::env::var("CUTOVER_TRANSCRIPTS").is_ok_and(|what| what == "write") {
            std::fs::write(&path, &text).unwrap();
            return;
        }
        assert!(
            text == before,
            "{} is not what is printed now. If that is meant, run `make transcripts generate`. Now it is:\n{text}",
            path.display()
        );
    }

    /// What one command prints, as both streams come to a terminal, and its exit code unless it is 0.
    async fn types(&self, command: &str) -> String {
        let real = swap(command, self.names.iter().map(|(real, shown)| (shown.as_str(), real.as_str())));
        let path = self.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
        // bash keeps a name like `INPUT_DRY-RUN` in the environment, other shells lose it.
        let output = Command::new("bash")
            .args(["--noprofile", "--norc", "-c", &format!("exec 2>&1\n{real}")])
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("PATH", format!("{}:{path}", self.links.path().display()))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("there is bash");
        let mut printed = self.settled(&String::from_utf8(output.stdout).unwrap());
        for line in printed.lines() {
            assert!(!line.starts_with(PROMPT), "a line of the output looks like a command: {line}");
        }
        if !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        match output.status.code().expect("it ended by itself") {
            0 => printed,
            code => format!("{printed}[exit code {code}]\n"),
        }
    }

    /// The text with all that differs from run to run made the same.
    fn settled(&self, text: &str) -> String {
        let text = swap(text, self.names.iter().map(|(real, shown)| (real.as_str(), shown.as_str())));
        let mut text = times(&text, OffsetDateTime::now_utc());
        for (after, shown) in &self.figures {
            let figure = |c: char| c.is_ascii_digit() || c == '.';
            text = rest_of(&text, after, figure, |_| Some((*shown).to_owned()));
        }
        for (after, shown, came) in &self.ids {
            text = rest_of(&text, after, |c| c.is_ascii_hexdigit() || c == '-', |id| nth(id, shown, came));
        }
        text
    }
}

/// What stands for an id: no short word is one.
fn nth(id: &str, shown: &str, came: &RefCell<Vec<String>>) -> Option<String> {
    let mut came = came.borrow_mut();
    if id.len() < 12 {
        return None;
    }
    let nth = came.iter().position(|earlier| earlier == id).unwrap_or_else(|| {
        came.push(id.to_owned());
        came.len() - 1
    });
    let (rest, last) = shown.split_at(shown.len() - 1);
    let last = u8::from_str_radix(last, 16).expect("a digit");
    Some(format!("{rest}{:x}", (usize::from(last) + nth) % 16))
}

fn is_remark(line: &str) -> bool {
    line.strip_prefix(PROMPT).is_some_and(|command| command.starts_with('#'))
}

/// Whether an output is that of a transcript, in which whole lines may be left out.
fn is_like(transcript: &str, output: &str) -> bool {
    let (first, later) = match transcript.strip_prefix(CUT) {
        Some(later) => ("", later),
        None => match transcript.split_once(&format!("\n{CUT}\n")) {
            Some((first, later)) => (first, later),
            None => return transcript == output,
        },
    };
    let later = later.trim_start_matches('\n');
    let Some(rest) = output.strip_prefix(first) else { return false };
    let rest = if first.is_empty() { Some(rest) } else { rest.strip_prefix('\n') };
    rest.is_some_and(|rest| rest.match_indices('\n').any(|(end, _)| is_like(later, &rest[end + 1..])))
}

/// The commands of a transcript, with what each has printed: a command stands after a prompt, and goes on where a line of it ends
/// in a backslash.
fn commands(transcript: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut goes_on = false;
    for line in transcript.lines() {
        match (line.strip_prefix(PROMPT), commands.last_mut()) {
            (_, Some((command, _))) if goes_on => command.push_str(&format!("\n{line}")),
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => {
                output.push_str(&format!("{line}\n"));
                continue;
            }
            (None, None) => continue,
        }
        goes_on = line.ends_with('\\');
    }
    for (_, output) in &mut commands {
        output.truncate(output.trim_end_matches('\n').len());
        if !output.is_empty() {
            output.push('\n');
        }
    }
    commands
}

/// Replaces all at once, the longest first where one is part of another.
fn swap<'a>(text: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<(&str, &str)> = pairs.collect();
    pairs.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((from, to)) = pairs.iter().find(|(from, _)| rest.starts_with(from)) {
            out.push_str(to);
            rest = &rest[from.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Whether a text begins like this, in which `0` is any digit, `f` any hexadecimal one, and everything else itself.
fn begins_like(text: &str, like: &str) -> bool {
    text.len() >= like.len()
        && text.bytes().zip(like.bytes()).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            b'f' => byte.is_ascii_hexdigit(),
            _ => byte == like,
        })
}

/// The forms in which a time is printed: RFC 3339, as people read it, in names of objects and of receipts, and of an event.
const FORMS: [&str; 5] = [
    "0000-00-00T00:00:00",
    "0000-00-00 00:00:00 UTC",
    "00000000T000000Z",
    "-0000-00-00T000000Z-ffffffff.json",
    "\n00:00:00 ",
];

/// The text with its times moved to [`TIME`]: what is a minute from now is a minute from then. A transcript is made within five
/// minutes, and so are shorter distances none. What lies days away was not made by this run, and stays.
fn times(text: &str, now: OffsetDateTime) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let form = FORMS.iter().find(|form| begins_like(rest, form));
        if let Some((form, moved)) = form.and_then(|form| Some((form, moved(&rest[..form.len()], now)?))) {
            out.push_str(&like(form, moved));
            rest = &rest[form.len()..];
            let fraction =
                rest.strip_prefix('.').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            rest = fraction.unwrap_or(rest);
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// A time of this run as the transcript has it.
fn moved(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let digits: String = text.chars().take_while(|c| *c != 'Z').filter(char::is_ascii_digit).collect();
    let part = |from: usize, length: usize| digits.get(from..from + length)?.parse::<u16>().ok();
    let small = |from: usize| part(from, 2).and_then(|number| u8::try_from(number).ok());
    let (date, clock) = if digits.len() == 6 {
        (now.date(), 0)
    } else {
        let month = time::Month::try_from(small(4)?).ok()?;
        (time::Date::from_calendar_date(i32::from(part(0, 4)?), month, small(6)?).ok()?, 8)
    };
    let clock = time::Time::from_hms(small(clock)?, small(clock + 2)?, small(clock + 4)?).ok()?;
    let away = PrimitiveDateTime::new(date, clock).assume_utc() - now;
    let five = Duration::minutes(5);
    let steps = (away.as_seconds_f64() / five.as_seconds_f64()).round();
    (away.abs() < Duration::days(2)).then(|| TIME + five * steps)
}

/// A time in one of [`FORMS`].
fn like(form: &str, time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let mut digits = format!("{year:04}{:02}{day:02}{hour:02}{minute:02}{second:02}", u8::from(month));
    if form.bytes().filter(|byte| *byte == b'0').count() == 6 {
        digits.drain(..8);
    }
    let mut digits = digits.chars();
    let text: String = form.chars().map(|c| if c == '0' { digits.next().unwrap_or(c) } else { c }).collect();
    text.replace("ffffffff", "5f3a91c2")
}

/// The text with what follows each `after` at once replaced, as far as its characters are of that kind.
fn rest_of(
    text: &str,
    after: &str,
    is: impl Fn(char) -> bool,
    shown: impl Fn(&str) -> Option<String>,
) -> String {
    let mut parts = text.split(after);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(&is);
        let piece = &part[..part.len() - rest.len()];
        out.push_str(after);
        out.push_str(&if piece.is_empty() { None } else { shown(piece) }.unwrap_or_else(|| piece.to_owned()));
        out.push_str(rest);
    }
    out
}

#[test]
fn what_differs_from_run_to_run_is_settled_and_nothing_else() {
    let now = datetime!(2025-01-02 03:04:07 UTC);
    for (text, settled) in [
        (
            "since 2025-01-02T03:04:05.678Z until 2025-01-02T07:04:05Z",
            "since 2026-11-22T09:30:00Z until 2026-11-22T13:30:00Z",
        ),
        ("2025-01-02 03:04:05 UTC, 20250102T030405Z-v2", "2026-11-22 09:30:00 UTC, 20261122T093000Z-v2"),
        ("x-2025-01-02T030405Z-0a1b2c3d.json 0a1b2c3d", "x-2026-11-22T093000Z-5f3a91c2.json 0a1b2c3d"),
        ("a\n03:04:05 DONE at 03:04:05", "a\n09:30:00 DONE at 03:04:05"),
        (
            "of 2024-12-24T03:04:05Z, 2025-01-02, 2025-99-99T03:04:05Z",
            "of 2024-12-24T03:04:05Z, 2025-01-02, 2025-99-99T03:04:05Z",
        ),
    ] {
        assert_eq!(times(text, now), settled);
    }
    let digit = |c: char| c.is_ascii_digit();
    let waited = rest_of("waited=12\nwaited= 3 of 4", "waited=", digit, |_| Some("0".to_owned()));
    assert_eq!(waited, "waited=0\nwaited= 3 of 4");
    let came = RefCell::default();
    let seen = ["0123456789ab", "ffffffffffff", "0123456789ab", "task"].map(|id| nth(id, "task-0a", &came));
    let wanted = [Some("task-0a"), Some("task-0b"), Some("task-0a"), None];
    assert_eq!(seen, wanted.map(|shown| shown.map(str::to_owned)));
    assert_eq!(swap("api-3 api-31", [("api-3", "api"), ("api-31", "old")].into_iter()), "api old");
}

#[test]
fn a_transcript_is_its_commands_and_what_may_be_left_out() {
    let seen = commands("$ a --b \\\n    --c\nout \\\nput\n[exit code 3]\n\n$ # d\n$ e\n");
    let wanted = [("a --b \\\n    --c", "out \\\nput\n[exit code 3]\n"), ("# d", ""), ("e", "")];
    assert_eq!(seen, wanted.map(|(command, output)| (command.to_owned(), output.to_owned())));
    let whole = "one\ntwo\nthree\n";
    for (transcript, is) in [
        (whole, true),
        ("[...]\nthree\n", true),
        ("one\n[...]\n", true),
        ("one\n[...]\nthree\n", true),
        ("one\n[...]\ntwo\nthree\n", false),
        ("[...]\nhree\n", false),
        ("[...]\nfour\n", false),
        ("on\n[...]\n", false),
    ] {
        assert_eq!(is_like(transcript, whole), is, "{transcript}");
    }
}
