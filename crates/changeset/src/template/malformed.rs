//! A file that is not what it should be: where, why, and the line itself where that tells no secret.

use std::fmt;

/// Which rules a text was read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// It begins with `{` or `[`.
    Json,
    /// Everything else.
    Yaml,
}

impl Format {
    /// A text that begins as JSON does is held to JSON, as the AWS CLI and CloudFormation do.
    pub(super) fn of(text: &str) -> Self {
        if text.trim_start().starts_with(['{', '[']) { Self::Json } else { Self::Yaml }
    }
}

/// One thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// From 1; 0 where it is not known.
    pub line: usize,
    /// In characters, from 1; 0 where the line as a whole is meant.
    pub column: usize,
    /// In plain words, without the text.
    pub why: String,
    /// The line; none where it may hold a secret.
    pub excerpt: Option<String>,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.why);
        }
        write!(f, "line {}", self.line)?;
        if self.column > 0 {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.why)?;
        match &self.excerpt {
            Some(line) => write!(f, ": {line}"),
            None => f.write_str(" (the line is not shown: it may hold a secret)"),
        }
    }
}

/// Why a text can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The rules that it was held to.
    pub format: Format,
    /// Never empty, in the order of the lines.
    pub flaws: Vec<Flaw>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.format {
            Format::Json => "JSON",
            Format::Yaml => "YAML",
        };
        write!(f, "it can't be read as {name}")?;
        for flaw in &self.flaws {
            // A line each: a person goes through them one by one.
            write!(f, "\n{flaw}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Malformed {}

/// Makes flaws of one text, and knows which of its lines may be shown.
pub(super) struct Lines<'a> {
    format: Format,
    lines: Vec<&'a str>,
    secret: &'a [&'a str],
}

impl<'a> Lines<'a> {
    /// `secret` are names whose values are secrets.
    pub(super) fn new(format: Format, text: &'a str, secret: &'a [&'a str]) -> Self {
        Self { format, lines: text.lines().collect(), secret }
    }

    pub(super) fn flaw(&self, line: usize, column: usize, why: impl Into<String>) -> Flaw {
        Flaw { line, column, why: why.into(), excerpt: self.excerpt(line) }
    }

    pub(super) fn malformed(&self, line: usize, column: usize, why: impl Into<String>) -> Malformed {
        Malformed { format: self.format, flaws: vec![self.flaw(line, column, why)] }
    }

    /// In the AWS CLI's form a value's name stands on a line beside it, so the neighbours within the same object count too.
    fn excerpt(&self, line: usize) -> Option<String> {
        let at = |line: usize| line.checked_sub(1).and_then(|index| self.lines.get(index)).copied();
        let shown = at(line).unwrap_or_default();
        let neighbours = [line.checked_sub(1).and_then(at), at(line + 1)];
        let neighbours = neighbours.into_iter().flatten().filter(|near| !near.contains(['{', '}']));
        let hidden = std::iter::once(shown).chain(neighbours).any(|line| {
            looks_secret(line) || self.secret.iter().any(|name| !name.is_empty() && line.contains(name))
        });
        let mut text: String = shown.trim().chars().take(160).collect();
        if text.len() < shown.trim().len() {
            text.push('…');
        }
        (!hidden).then(|| format!("`{text}`"))
    }
}

/// Whether a name, or a line that has one, speaks of a secret.
pub(super) fn looks_secret(text: &str) -> bool {
    let letters: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    ["password", "passwd", "passphrase", "secret", "token", "credential", "privatekey", "apikey", "accesskey"]
        .iter()
        .any(|word| letters.contains(word))
}
