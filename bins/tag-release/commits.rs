//! What a commit's message asks for, by <https://www.conventionalcommits.org/en/v1.0.0/>. Pure.

use serde::Serialize;

/// How much a commit weighs for the next version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Weight {
    /// It asks for no release.
    #[default]
    None,
    Fix,
    Feature,
    Breaking,
}

/// A message, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `feat`, `fix`, ..., in lower case; absent where the message is not of the convention.
    pub(crate) kind: Option<String>,
    pub(crate) scope: Option<String>,
    /// The first line without kind and scope.
    pub(crate) subject: String,
    pub(crate) weight: Weight,
    /// What the footer says that it breaks.
    pub(crate) breaks: Option<String>,
}

/// Types that the users of what is released see: `fix` and `feat` are the convention's own, `perf` and `revert` are
/// released as fixes by common usage.
const FIXES: [&str; 3] = ["fix", "perf", "revert"];

pub(crate) fn read(message: &str) -> Message {
    let first = message.lines().next().unwrap_or_default().trim();
    let (kind, scope, marked, subject) = header(first).map_or((None, None, false, first), |header| {
        (Some(header.kind.to_ascii_lowercase()), header.scope, header.marked, header.subject)
    });
    let breaks = footer(message);
    let weight = match kind.as_deref() {
        _ if marked || breaks.is_some() => Weight::Breaking,
        Some("feat") => Weight::Feature,
        Some(kind) if FIXES.contains(&kind) => Weight::Fix,
        // What `git revert` writes.
        None if first.starts_with("Revert \"") => Weight::Fix,
        _ => Weight::None,
    };
    Message { kind, scope: scope.map(str::to_owned), subject: subject.to_owned(), weight, breaks }
}

struct Header<'a> {
    kind: &'a str,
    scope: Option<&'a str>,
    marked: bool,
    subject: &'a str,
}

/// `type(scope)!: subject`
fn header(line: &str) -> Option<Header<'_>> {
    let (before, subject) = line.split_once(": ")?;
    let (before, marked) = before.strip_suffix('!').map_or((before, false), |before| (before, true));
    let (kind, scope) = match before.split_once('(') {
        None => (before, None),
        Some((kind, scope)) => {
            let scope = scope.strip_suffix(')').filter(|scope| !scope.is_empty());
            (kind, Some(scope.filter(|scope| !scope.contains(['(', ')']))?))
        }
    };
    let subject = subject.trim();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let usable = !kind.is_empty() && kind.chars().all(word) && !subject.is_empty();
    usable.then_some(Header { kind, scope, marked, subject })
}

/// What follows `BREAKING CHANGE: ` or `BREAKING-CHANGE: ` at the start of a line of the last paragraph. Prose that speaks of
/// one is none. Paragraphs of other footers may follow: GitHub adds `Co-authored-by:` when it squashes.
fn footer(message: &str) -> Option<String> {
    let body = message.split_once('\n')?.1.replace('\r', "");
    let paragraphs: Vec<&str> = body
        .split("\n\n")
        .map(|text| text.trim_matches('\n'))
        .filter(|text| !text.trim().is_empty())
        .collect();
    for paragraph in paragraphs.iter().rev() {
        let mut lines = paragraph.lines().skip_while(|line| breaking(line).is_none());
        if let Some(said) = lines.next().and_then(breaking) {
            // Its text may go on, until the next footer.
            let more = lines.take_while(|line| !is_footer(line)).map(str::trim);
            return Some(std::iter::once(said).chain(more).collect::<Vec<_>>().join(" ").trim().to_owned());
        }
        if !paragraph.lines().all(|line| is_footer(line) || line.trim_matches('-').is_empty()) {
            return None;
        }
    }
    None
}

fn breaking(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("BREAKING CHANGE: ").or_else(|| line.strip_prefix("BREAKING-CHANGE: "))?;
    Some(rest.trim()).filter(|rest| !rest.is_empty())
}

/// `Signed-off-by: ...`, `Refs #12`
fn is_footer(line: &str) -> bool {
    if breaking(line).is_some() {
        return true;
    }
    let token = line.split_once(": ").or_else(|| line.split_once(" #")).map(|(token, _)| token);
    token.is_some_and(|token| {
        !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_message_asks_for() {
        use Weight::{Breaking, Feature, Fix, None};
        for (message, weight) in [
            ("feat: vote twice", Feature),
            ("Feat(polls): vote twice", Feature),
            ("fix(db): keep the votes", Fix),
            ("perf: count faster", Fix),
            ("revert: feat: vote twice", Fix),
            ("Revert \"feat: vote twice\"\n\nThis reverts commit 1a2b3c.", Fix),
            ("feat!: count anew", Breaking),
            ("chore(deps)!: drop Java 8", Breaking),
            ("docs: say how", None),
            ("chore: tidy", None),
            ("Vote twice", None),
            ("feat:no blank", None),
            ("feat : a blank before", None),
            ("feat(): an empty scope", None),
            ("two words: and more", None),
            ("Merge pull request #12 from acme/votes\n\nfeat: vote twice", None),
        ] {
            assert_eq!(read(message).weight, weight, "{message}");
        }
    }

    #[test]
    fn breaking_is_a_footer_and_not_a_word_in_prose() {
        for (message, breaks) in [
            ("fix: a\n\nBREAKING CHANGE: the column is gone", Some("the column is gone")),
            ("fix: a\n\nBREAKING-CHANGE: gone", Some("gone")),
            (
                "fix: a\r\n\r\nWhy.\r\n\r\nBREAKING CHANGE: gone\r\nfor good\r\nRefs: #3",
                Some("gone for good"),
            ),
            ("refactor: a\n\nReviewed-by: Z\nBREAKING CHANGE: gone", Some("gone")),
            // GitHub's squash.
            (
                "feat: a (#12)\n\n* first\n\nBREAKING CHANGE: gone\n\n---------\n\nCo-authored-by: Ada <ada@example.com>",
                Some("gone"),
            ),
            // A release notes' tool that made 3.0.0 of these.
            ("docs: a\n\nA footer BREAKING CHANGE: makes a major version.", None),
            (
                "docs: a\n\nBREAKING CHANGE: was written here before\n\nbut it is prose, and more follows.",
                None,
            ),
            ("docs: a\n\n    BREAKING CHANGE: quoted", None),
            ("docs: a\n\nbreaking change: lower case", None),
            ("docs: a\n\nBREAKING CHANGE:", None),
            ("BREAKING CHANGE: as the subject", None),
        ] {
            assert_eq!(read(message).breaks.as_deref(), breaks, "{message}");
            assert_eq!(read(message).weight == Weight::Breaking, breaks.is_some(), "{message}");
        }
    }

    #[test]
    fn kind_scope_and_subject_are_told_apart() {
        let read = read("feat(polls)!: vote twice\n\nAt most.");
        assert_eq!((read.kind.as_deref(), read.scope.as_deref()), (Some("feat"), Some("polls")));
        assert_eq!((read.subject.as_str(), read.weight), ("vote twice", Weight::Breaking));
        assert_eq!(super::read("Vote: twice, or not").kind.as_deref(), Some("vote"));
    }
}
