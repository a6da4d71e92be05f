//! Everything that a GitHub runner reads from a step, and all the escaping of text from outside: for its commands, for
//! Markdown and Mermaid, for a terminal, and for a command to copy.
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

/// Text of one line: line breaks and tabs become spaces, and characters that a reader does not see but a terminal or a
/// browser obeys (controls, escape sequences, the direction of writing, characters without width) become U+FFFD.
///
/// Source: <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}' => char::REPLACEMENT_CHARACTER,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Text of several lines, each harmless as [`one_line`] makes it, with its tabs.
pub(crate) fn lines(text: &str) -> String {
    let tabbed = |line: &str| line.split('\t').map(one_line).collect::<Vec<_>>().join("\t");
    text.replace("\r\n", "\n").split('\n').map(tabbed).collect::<Vec<_>>().join("\n")
}

/// [`lines`] for a log that a runner may read: none of them gives it a command.
pub(crate) fn log_lines(text: &str, github: bool) -> String {
    let text = lines(text);
    if github { text.split('\n').map(log_line).collect::<Vec<_>>().join("\n") } else { text }
}

/// A JSON document as text in which every character that [`one_line`] would replace, and the sign of the runner's old commands, is
/// written as an escape: the same document, and nothing that a terminal or a runner obeys.
pub(crate) fn json_text(document: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in format!("{document:#}").chars() {
        // JSON has no tab and no carriage return outside its escapes, and the line breaks here are its own.
        if c != '\n' && one_line(c.encode_utf8(&mut [0; 4])) != c.to_string() {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    // Both can stand in a string alone.
    out.replace("##[", "#\\u0023[")
}

/// The most characters that a line of an error has: nobody finds the reason behind a value of a hundred thousand.
const LONGEST: usize = 2000;

/// A line of an error; of one that is too long the beginning and the end, which tell what it is about and why.
pub(crate) fn readable(line: &str) -> String {
    let length = line.chars().count();
    if length <= LONGEST {
        return line.to_owned();
    }
    let half = LONGEST / 2;
    let (head, tail): (String, String) =
        (line.chars().take(half).collect(), line.chars().skip(length - half).collect());
    format!("{head} … {} characters left out … {tail}", length - LONGEST)
}

/// A line of the log that gives the runner no command, whatever names are in it: `::command::` counts where a line begins
/// with it, white space apart, `##[command]` wherever it stands.
pub fn log_line(line: &str) -> String {
    let (space, text) = line.split_at(line.len() - line.trim_start().len());
    let line = match text.strip_prefix("::") {
        Some(rest) => format!("{space}: :{rest}"),
        None => line.to_owned(),
    };
    line.replace("##[", "# #[")
}

/// Text for a Markdown table cell, list item or heading: what a name from outside could use to break out is escaped.
///
/// GitHub looks for mentions and references after a backslash has had its effect, but not in `<code>`.
pub fn markdown_inline(text: &str) -> String {
    let text = one_line(text);
    let text = text.trim();
    // At its beginning these would begin a list.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let list = text.starts_with(['-', '+', '='])
        || (digits > 0 && text.get(digits..).is_some_and(|rest| rest.starts_with(['.', ')'])));
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let next = after.chars().nth(1).unwrap_or(' ');
        match c {
            '@' if next.is_ascii_alphanumeric()
                && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') =>
            {
                out.push_str("<code>@</code>");
            }
            '#' if next.is_ascii_digit() => out.push_str("<code>#</code>"),
            '-' if next.is_ascii_digit()
                && before.len() >= 2
                && before.get(before.len() - 2..).is_some_and(|sign| sign.eq_ignore_ascii_case("gh")) =>
            {
                out.push_str("<code>-</code>");
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => {
                if list && at == digits {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

/// A name or a value as code, in Markdown's text, tables and lists: nothing in it is interpreted.
pub fn markdown_code(text: &str) -> String {
    let text = one_line(text);
    // A table is cut at each `|` before code is looked for, and code that is blank or begins so is no code.
    if text.is_empty() || text.contains('|') || text.starts_with([' ', '`']) || text.ends_with([' ', '`']) {
        let escaped: String = text
            .chars()
            .map(|c| if c.is_ascii_punctuation() { format!("&#{};", u32::from(c)) } else { c.to_string() })
            .collect();
        return format!("<code>{escaped}</code>");
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    format!("{fence}{text}{fence}")
}

/// A hidden comment of HTML that marks a document as `name`: all but plain characters are percent-encoded in it.
pub fn markdown_marker(name: &str) -> String {
    let mut out = String::from("<!-- ");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._:/".contains(&byte) || (byte == b'-' && !out.ends_with('-')) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.push_str(" -->");
    out
}

/// Text for a label in quotes of a Mermaid diagram: all but plain characters as entity codes, which Mermaid writes with `#`.
///
/// The colon is among them since Mermaid takes the last `;` off a line in which `style` or `classDef`, a colon and a `#`
/// follow each other, in quotes too.
/// <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>
pub fn mermaid_label(text: &str) -> String {
    one_line(text)
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || " .,-_/".contains(c) {
                c.to_string()
            } else {
                format!("#{};", u32::from(c))
            }
        })
        .collect()
}

/// A word for a POSIX shell, in quotes where it needs them.
pub fn shell_word(text: &str) -> String {
    let text = one_line(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@=+%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
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
    fn a_line_cannot_be_a_command() {
        // Expected: the runner's ActionCommand.cs, which trims the line and looks for `::` in front and `##[` anywhere.
        assert_eq!(log_line("  ::error::x"), "  : :error::x");
        assert_eq!(log_line("a AWS::S3::Bucket ##[error]"), "a AWS::S3::Bucket # #[error]");
    }

    #[test]
    fn no_line_of_a_text_is_a_command_or_moves_the_cursor() {
        let text = "a\r\n::error::b\n\u{1b}[2J\u{202e}c\td\re";
        assert_eq!(lines(text), "a\n::error::b\n\u{fffd}[2J\u{fffd}c\td e");
        assert_eq!(log_lines(text, true), "a\n: :error::b\n\u{fffd}[2J\u{fffd}c\td e");
    }

    #[test]
    fn a_document_is_the_same_with_its_escapes() {
        let document =
            serde_json::json!({"a\u{202e}": "\u{1b}[1m\u{9b}x\u{e0041}\n##[error]\u{fffd} \u{2028}é"});
        let text = json_text(&document);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), document);
        assert!(!text.contains("##["));
        assert_eq!(lines(&text), text);
    }

    #[test]
    fn of_a_line_that_is_too_long_both_ends_are_left() {
        let line = readable(&format!("read {}: no such file", "é".repeat(100_000)));
        assert!(line.chars().count() < 2100);
        assert!(line.starts_with("read éé") && line.ends_with("éé: no such file"), "{line}");
        assert_eq!(readable("short"), "short");
    }

    #[test]
    fn labels_and_words_are_escaped() {
        assert_eq!(mermaid_label("a\"]; b:#"), "a#34;#93;#59; b#58;#35;");
        assert_eq!(shell_word("api/TileTable:replace-delete"), "api/TileTable:replace-delete");
        assert_eq!(shell_word("a b's;rm"), "'a b'\\''s;rm'");
    }

    #[test]
    fn names_from_outside_cannot_break_markdown() {
        assert_eq!(markdown_inline("a|b\n<img> `x`"), "a\\|b &lt;img&gt; \\`x\\`");
        assert_eq!(
            markdown_inline("@ops, #12 and gh-7"),
            "<code>@</code>ops, <code>#</code>12 and gh<code>-</code>7"
        );
        assert_eq!(markdown_inline("web@sha256:0 a#b"), "web\\@sha256:0 a\\#b");
        assert_eq!(markdown_inline("1. first"), "1\\. first");
        assert_eq!(markdown_inline("- [x] $a$"), "\\- \\[x\\] \\$a\\$");
        assert_eq!(markdown_code("a`b"), "``a`b``");
        assert_eq!(markdown_code("a|`b`"), "<code>a&#124;&#96;b&#96;</code>");
        assert_eq!(markdown_code("<!--\u{202e}\u{1b}[31m"), "`<!--\u{fffd}\u{fffd}[31m`");
        assert_eq!(markdown_marker("a-->b\n--"), "<!-- a-%2D%3Eb%0A-%2D -->");
        assert!(markdown_block("```\nx").starts_with("````\n"));
    }
}
