//! What is so of every run, whatever it was given.

use std::collections::BTreeSet;
use std::path::Path;

use super::texts::Text;

/// A run that has ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) outputs: String,
    pub(super) summary: String,
    /// The names in the working folder.
    pub(super) made: BTreeSet<String>,
}

/// The codes of `docs/exit-codes.md`, without those of a signal.
const CODES: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// What is wrong with a run of `step` in which `flag` had a bad value.
pub(super) fn complaints(
    ended: &Ended,
    flag: &str,
    text: Option<&Text>,
    outputs: &BTreeSet<String>,
    in_job: bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut say = |what: String| wrong.push(what);
    let (stdout, stderr) = (String::from_utf8(ended.stdout.clone()), String::from_utf8(ended.stderr.clone()));
    let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
        return vec!["what it printed is not UTF-8".to_owned()];
    };
    match ended.code {
        Some(code) if CODES.contains(&code) => {}
        code => say(format!("it ended with {code:?}")),
    }
    for bug in ["panicked", "this is a bug", "RUST_BACKTRACE"] {
        if stderr.contains(bug) {
            say(format!("it said {bug:?}"));
        }
    }
    for (name, printed) in
        [("standard output", &stdout), ("standard error", &stderr), ("the summary", &ended.summary)]
    {
        if let Some(raw) = raw(printed) {
            say(format!("{raw:?} is raw in {name}"));
        }
    }
    if in_job {
        for line in stdout.lines().chain(stderr.lines()).filter(|line| is_planted_command(line)) {
            say(format!("the runner obeys {line:?}"));
        }
    }
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    if ended.code != Some(0) {
        if errors != 1 {
            say(format!("it said {errors} errors"));
        }
        // Why a call failed is the server's to say, and what to do about it is not always known.
        let refused = ended.code != Some(1);
        if refused && !["help: ", "try '--help'", "tip: "].iter().any(|next| stderr.contains(next)) {
            say("it said no next move".to_owned());
        }
        // A plan shows its values whole; what is wrong has to be found.
        let told = stderr.split_once("error: ").map_or(0, |(_, told)| told.len());
        if told > 50_000 {
            say(format!("its message has {told} bytes"));
        }
    }
    if ended.code == Some(2) && !stderr.contains(flag) && !text.is_some_and(|text| text.is_in(&stderr)) {
        say("its message names neither the flag nor the value".to_owned());
    }
    match set(&ended.outputs) {
        Err(why) => say(format!("the file of outputs can't be read: {why}")),
        Ok(set) => {
            for name in set.iter().filter(|name| !outputs.contains(*name)) {
                say(format!("it set {name}, which is no output of it"));
            }
        }
    }
    for name in &ended.made {
        // A file that the value names is what was asked for.
        let asked = text.is_some_and(|text| Path::new(&text.value).iter().any(|part| part == name.as_str()));
        if name != "cutover-receipts" && !asked {
            say(format!("it made {name:?}"));
        }
    }
    wrong
}

/// A character that a terminal or a reader is misled by.
fn raw(text: &str) -> Option<char> {
    text.chars().find(|c| {
        let hidden = matches!(*c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}');
        hidden || (c.is_control() && !matches!(c, '\n' | '\t'))
    })
}

/// A line that the runner takes for a command and that no step has of its own: the runner looks for `::` behind white space, and for
/// `##[` anywhere (its `ActionCommand.cs`).
fn is_planted_command(line: &str) -> bool {
    let text = line.trim_start();
    let own = [
        "::error title=",
        "::warning title=",
        "::group::",
        "::endgroup::",
        "::stop-commands::cutover-",
        "::cutover-",
    ];
    // The token's forms are masked, and nothing as short as what is planted is.
    let mask = line.strip_prefix("::add-mask::").is_some_and(|secret| secret.len() > 20);
    line.contains("##[") || (!mask && text.starts_with("::") && !own.iter().any(|own| line.starts_with(own)))
}

/// The names that a file of outputs sets, as the runner reads it: `NAME=VALUE`, or `NAME<<DELIMITER` and lines up to the delimiter.
///
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings>
fn set(text: &str) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let heredoc = line.split_once("<<").filter(|(name, _)| !name.contains('='));
        match (heredoc, line.split_once('=')) {
            _ if line.is_empty() => {}
            (Some((name, delimiter)), _) if !name.is_empty() && !delimiter.is_empty() => {
                if !lines.any(|line| line == delimiter) {
                    return Err(format!("{name} has no end"));
                }
                names.insert(name.to_owned());
            }
            (None, Some((name, _))) if !name.is_empty() => {
                names.insert(name.to_owned());
            }
            _ => return Err(format!("{line:?} sets nothing")),
        }
    }
    Ok(names)
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let ended = |stderr: &str| Ended {
        code: Some(101),
        stdout: Vec::new(),
        stderr: stderr.into(),
        outputs: "a<<E\nb\nE\nevil=1\n".into(),
        summary: "\u{202e}".into(),
        made: BTreeSet::from(["pwned".to_owned()]),
    };
    let said =
        complaints(&ended("thread panicked\n ::set-output name=a::b\n"), "x", None, &BTreeSet::new(), true);
    for part in
        ["ended", "panicked", "the summary", "obeys", "0 errors", "no next move", "set a", "set evil", "made"]
    {
        assert!(said.iter().any(|line| line.contains(part)), "{part} is not in {said:?}");
    }
    assert!(set("a<<E\nb\n").is_err());
    assert!(set("nothing\n").is_err());
}
