//! A release's notes, from its commits. Pure.

use crate::commits::{self, Message, Weight};
use crate::history::Commit;

/// Between what the changes are listed, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between<'a> {
    /// `https://github.com`, or an own server.
    pub(crate) server: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) previous: &'a str,
    pub(crate) tag: &'a str,
}

/// GitHub takes no longer text, in characters (<https://github.com/softprops/action-gh-release/issues/374>).
pub(crate) const LONGEST: usize = 125_000;

/// What the lines may take of it together; the rest is for what stands around them.
const LINES: usize = 120_000;

/// Types whose changes users do not see.
const INTERNAL: [&str; 7] = ["build", "chore", "ci", "docs", "refactor", "style", "test"];

pub(crate) fn grouped(between: Between<'_>, commits: &[Commit]) -> String {
    let mut groups: [(&str, Vec<String>); 4] =
        ["Breaking changes", "Features", "Fixes", "Other changes"].map(|title| (title, Vec::new()));
    let mut internal = 0;
    for commit in commits.iter().filter(|commit| commit.is_listed()) {
        let message = commits::read(&commit.message);
        let place = match (message.weight, message.kind.as_deref()) {
            (Weight::Breaking, _) => 0,
            (Weight::Feature, _) => 1,
            (Weight::Fix, _) => 2,
            (Weight::None, Some(kind)) if INTERNAL.contains(&kind) => {
                internal += 1;
                continue;
            }
            (Weight::None, _) => 3,
        };
        if let Some((_, lines)) = groups.get_mut(place) {
            lines.push(line(commit, &message));
        }
    }
    let mut text = String::new();
    for (title, mut lines) in groups.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let mut left = LINES.saturating_sub(text.chars().count());
        let fits = |line: &&String| {
            let length = line.chars().count() + 1;
            let fits = length <= left;
            left = if fits { left - length } else { 0 };
            fits
        };
        let shown = lines.iter().take_while(fits).count();
        let more = lines.len() - shown;
        if more > 0 {
            lines.truncate(shown);
            lines.push(format!("- and {more} more"));
        }
        text.push_str(&format!("## {title}\n\n{}\n\n", lines.join("\n")));
    }
    if internal > 0 {
        let others = if text.is_empty() { "" } else { "other " };
        let (commits, change) = if internal == 1 { ("commit", "changes") } else { ("commits", "change") };
        text.push_str(&format!("{internal} {others}{commits} {change} nothing that users see.\n\n"));
    }
    let Between { server, repository, previous, tag } = between;
    let (from, to) = (github::encode(previous), github::encode(tag));
    text.push_str(&format!("All changes: {server}/{repository}/compare/{from}...{to}\n"));
    text
}

fn line(commit: &Commit, message: &Message) -> String {
    let scope = message.scope.as_deref().map(|scope| format!("**{}:** ", plain(scope))).unwrap_or_default();
    let mut line =
        format!("- {scope}{} ({})", plain(&message.subject), commit.sha.get(..9).unwrap_or(&commit.sha));
    if let Some(breaks) = &message.breaks {
        line.push_str(&format!("\n  {}", plain(breaks)));
    }
    line
}

/// A commit's words keep their code and their references (`#12`), but no tag of HTML comes of them, and nobody is called by
/// them: `bump @types/node` would tell an organization.
fn plain(text: &str) -> String {
    kit::one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('@', "<code>@</code>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_no_longer_than_github_takes_them() {
        let commit = |n: usize| Commit {
            sha: "1a2b3c4d5e6f".into(),
            message: format!("{}: {n} {}", ["feat", "fix", "mend"][n % 3], "ü".repeat(100)),
            is_merge: false,
            parent: None,
        };
        let commits: Vec<Commit> = (0..3000).map(commit).collect();
        let between = Between {
            server: "https://github.com",
            repository: "acme/rally",
            previous: "v1.0.0",
            tag: "v2.0.0",
        };
        let notes = grouped(between, &commits);
        assert!((115_000..=LONGEST).contains(&notes.chars().count()), "{}", notes.chars().count());
        let left = |title: &str| {
            let part = notes.split("## ").find(|part| part.starts_with(title)).unwrap();
            let (listed, more) =
                part.split_once("- and ").map_or((part, "0"), |(a, b)| (a, b.split(' ').next().unwrap()));
            listed.matches("\n- ").count() + more.parse::<usize>().unwrap()
        };
        assert_eq!([left("Features"), left("Fixes"), left("Other changes")], [1000; 3]);
        assert!(notes.ends_with("/compare/v1.0.0...v2.0.0\n"));
    }

    #[test]
    fn changes_are_grouped_by_who_they_matter_to() {
        let commit = |message: &str| Commit {
            sha: "1a2b3c4d5e6f".into(),
            message: message.into(),
            is_merge: message.starts_with("Merge") || message.ends_with("(#14)"),
            parent: None,
        };
        let commits = [
            "feat(polls): vote twice (#12)",
            "Merge pull request #12",
            "fix: bump @types/node to <2>",
            "refactor!: drop v1\n\nBREAKING CHANGE: the old URLs are gone",
            "chore: tidy",
            "ci: faster",
            "Mend it",
            "feat!: sessions end (#14)",
            "docs: more (#14)",
        ]
        .map(commit);
        let between = Between {
            server: "https://github.com",
            repository: "acme/rally",
            previous: "v1.0.0",
            tag: "v2.0.0",
        };
        assert_eq!(
            grouped(between, &commits),
            "## Breaking changes\n\n- drop v1 (1a2b3c4d5)\n  the old URLs are gone\n\
             - sessions end (#14) (1a2b3c4d5)\n\n\
             ## Features\n\n- **polls:** vote twice (#12) (1a2b3c4d5)\n\n\
             ## Fixes\n\n- bump <code>@</code>types/node to &lt;2> (1a2b3c4d5)\n\n\
             ## Other changes\n\n- Mend it (1a2b3c4d5)\n\n\
             2 other commits change nothing that users see.\n\n\
             All changes: https://github.com/acme/rally/compare/v1.0.0...v2.0.0\n"
        );
    }
}
