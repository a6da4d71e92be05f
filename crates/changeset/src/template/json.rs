//! JSON as CloudFormation reads it (ECMA-404), and every place where a text is not JSON.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-formats.html>

use kit::StrictJson;
use serde_json::Value;

use super::malformed::{Flaw, Format, Lines, Malformed};

/// Flaws that are looked for before one gives up.
const MOST: usize = 50;

/// Reads a text; `secret` are names whose values must not be shown.
pub(super) fn parse(text: &str, secret: &[&str]) -> Result<Value, Malformed> {
    match serde_json::from_str::<StrictJson>(text) {
        Ok(StrictJson(value)) => Ok(value),
        Err(error) => Err(Malformed { format: Format::Json, flaws: flaws(text, &error, secret) }),
    }
}

/// How a line is mended in thought, so that what is wrong further down is found too.
enum Mend {
    /// Its text gets the missing quote.
    Close,
    /// What stands behind the value goes.
    CutAt(usize),
    /// The line before it gets a comma.
    CommaBefore,
    /// Nothing: who reads on would only guess.
    Stop,
}

fn flaws(text: &str, first: &serde_json::Error, secret: &[&str]) -> Vec<Flaw> {
    let original = Lines::new(Format::Json, text, secret);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut found: Vec<Flaw> = Vec::new();
    let mut next = Some(explain(first, &lines));
    while let Some((line, column, why, mend)) = next.take() {
        if found.last().is_some_and(|last| last.line >= line) {
            break;
        }
        found.push(original.flaw(line, column, why));
        if found.len() == MOST || !mended(&mut lines, line, &mend) {
            break;
        }
        next =
            serde_json::from_str::<StrictJson>(&lines.join("\n")).err().map(|error| explain(&error, &lines));
    }
    found
}

/// Where, why, and what to do about it. The reader's own words come before ` at line`.
fn explain(error: &serde_json::Error, lines: &[String]) -> (usize, usize, String, Mend) {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default().to_owned();
    let (line, column) = (error.line(), error.column());
    if words.starts_with("control character") {
        // The newline that broke the text off is counted as the begin of the next line.
        let line = if column == 0 { line.saturating_sub(1) } else { line };
        return (line, 0, "the text is not closed: a `\"` is missing on this line".to_owned(), Mend::Close);
    }
    if words.starts_with("expected `,` or") {
        let before = lines.get(line.wrapping_sub(1)).map(|text| text.chars().take(column.saturating_sub(1)));
        if before.is_some_and(|mut before| before.all(char::is_whitespace)) {
            return (
                line,
                column,
                "a comma is missing at the end of the line before".to_owned(),
                Mend::CommaBefore,
            );
        }
        let closing = words.trim_start_matches("expected `,` or ");
        let text = lines.get(line.wrapping_sub(1)).map(String::as_str).unwrap_or_default();
        let at_quote = text.chars().nth(column.saturating_sub(2)) == Some('"');
        if at_quote && text.trim_end_matches([' ', ',', '}', ']']).ends_with('"') {
            let why = r#"a `"` within a text must be written `\"`"#.to_owned();
            return (line, column, why, Mend::CutAt(column.saturating_sub(1)));
        }
        let why = format!(
            "after the value only `,` or {closing} may stand: what follows is not JSON, which has no comments"
        );
        return (line, column, why, Mend::CutAt(column.saturating_sub(1)));
    }
    let why = match words.as_str() {
        "trailing comma" => "a comma stands before a closing bracket".to_owned(),
        "trailing characters" => "something stands behind the end of the document".to_owned(),
        "key must be a string" => "a name must stand in double quotes".to_owned(),
        "expected value" => "there is no value here: a text must stand in double quotes".to_owned(),
        "expected `:`" => "a `:` is missing between a name and its value".to_owned(),
        words if words.starts_with("EOF") => {
            "the file ends too early: a closing bracket or quote is missing".to_owned()
        }
        words => words.to_owned(),
    };
    (line, column, why, Mend::Stop)
}

/// Whether there was something to mend.
fn mended(lines: &mut [String], line: usize, mend: &Mend) -> bool {
    let Some(index) = line.checked_sub(1).filter(|index| *index < lines.len()) else { return false };
    let more_follows = lines
        .iter()
        .skip(index + 1)
        .map(|text| text.trim_start())
        .find(|text| !text.is_empty())
        .is_some_and(|text| text.starts_with(['"', '{', '[']));
    let comma = if more_follows { "," } else { "" };
    match mend {
        Mend::Stop => return false,
        Mend::Close => {
            if let Some(text) = lines.get_mut(index) {
                *text = format!("{}\"{comma}", text.trim_end().trim_end_matches(','));
            }
        }
        Mend::CutAt(column) => {
            if let Some(text) = lines.get_mut(index) {
                let kept: String = text.chars().take(*column).collect();
                *text = format!("{}{comma}", kept.trim_end());
            }
        }
        Mend::CommaBefore => {
            let Some(text) = lines.iter_mut().take(index).rev().find(|text| !text.trim().is_empty()) else {
                return false;
            };
            text.push(',');
        }
    }
    true
}
