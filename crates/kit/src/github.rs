//! Everything that a GitHub runner reads from a step, and all the escaping that goes with it.
//!
//! Sources: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands> and the runner's own
//! `ActionCommand.cs` and `FileCommandManager.cs`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// A summary of more than 1 MiB is dropped whole by the runner; this stays well under it.
const SUMMARY_LIMIT: usize = 900 * 1024;

/// The runner cuts an annotation's message here.
const ANNOTATION_LIMIT: usize = 4096;

/// The data part of a workflow command. `%` goes first, or the others' escapes would be escaped again.
fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command.
fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// `::error title=..::message`, likewise `warning` and `notice`.
pub(crate) fn annotation(level: &str, title: &str, message: &str) -> String {
    let message: String = message.chars().take(ANNOTATION_LIMIT).collect();
    format!("::{level} title={}::{}", escape_property(title), escape_data(&message))
}

pub(crate) fn mask(secret: &str) -> String {
    format!("::add-mask::{}", escape_data(secret))
}

pub(crate) fn group(title: &str) -> String {
    format!("::group::{}", escape_data(title))
}

/// A fresh token, which foreign text can't know, for fences and heredocs.
pub(crate) fn token() -> String {
    format!("cutover-{}", uuid::Uuid::new_v4().simple())
}

/// Appends one output in heredoc form: the `name=value` form would let a newline in a value set other outputs.
pub(crate) fn write_output(file: &Path, name: &str, value: &str) -> io::Result<()> {
    let delimiter = token();
    append(file, &format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"))
}

/// Appends to the job summary, cut at a line when it would pass the runner's limit.
pub(crate) fn write_summary(file: &Path, markdown: &str) -> io::Result<()> {
    let present = std::fs::metadata(file).map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX));
    let room = SUMMARY_LIMIT.saturating_sub(present);
    if markdown.len() <= room {
        return append(file, markdown);
    }
    let mut kept = String::new();
    for line in markdown.split_inclusive('\n') {
        if kept.len() + line.len() > room {
            break;
        }
        kept.push_str(line);
    }
    append(
        file,
        &format!(
            "{kept}\n… cut here: the summary would be over GitHub's limit of 1 MiB; the log has it whole\n"
        ),
    )
}

fn append(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file)?.write_all(text.as_bytes())
}

/// Text for a Markdown table cell or list item: what a name from outside could use to break out is escaped.
pub(crate) fn markdown_inline(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A fenced block whose fence is longer than any in the text.
pub(crate) fn markdown_block(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{text}\n{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_escaped_as_the_runner_unescapes_them() {
        // Expected values: the mapping in the runner's ActionCommand.cs.
        assert_eq!(
            annotation("error", "a:b,c%", "50% of\r\nit"),
            "::error title=a%3Ab%2Cc%25::50%25 of%0D%0Ait"
        );
        assert_eq!(mask("a\nb"), "::add-mask::a%0Ab");
    }

    #[test]
    fn a_newline_in_a_value_cannot_set_another_output() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out");
        write_output(&file, "title", "x\nadmin=true\nEOF").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let delimiter = lines[0].strip_prefix("title<<").unwrap();
        assert_eq!(lines[1..], ["x", "admin=true", "EOF", delimiter]);
        assert!(delimiter.len() > 30);
    }

    #[test]
    fn a_summary_is_cut_before_github_drops_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("summary");
        write_summary(&file, &"0123456789abcdef\n".repeat(100_000)).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.len() < 1024 * 1024);
        assert!(text.contains("… cut here"));
    }

    #[test]
    fn names_from_outside_cannot_break_markdown() {
        assert_eq!(markdown_inline("a|b\n<img> `x`"), "a\\|b &lt;img&gt; \\`x\\`");
        assert!(markdown_block("```\nx").starts_with("````\n"));
    }
}
