//! The next version: from the one before and from what has come since, or from what was asked for. Pure.

use kit::Failure;
use serde::Serialize;

use crate::commits::{self, Weight};
use crate::history::{Commit, History, Tagged};
use crate::scheme::{Part, Pattern, Version};

/// What counts the version up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bump {
    /// What the commits since the last version ask for.
    Auto,
    Major,
    Minor,
    Patch,
    /// The fourth number, of a scheme that has one.
    Build,
}

impl Bump {
    fn part(self) -> Option<Part> {
        match self {
            Self::Auto => None,
            Self::Major => Some(Part::Major),
            Self::Minor => Some(Part::Minor),
            Self::Patch => Some(Part::Patch),
            Self::Build => Some(Part::Build),
        }
    }
}

/// What is to be released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Next {
    pub(crate) tag: String,
    pub(crate) previous: Option<Tagged>,
    /// What was counted up since the previous one.
    pub(crate) part: Option<Part>,
    /// Why, a line for each commit that asks for something.
    pub(crate) why: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Release(Next),
    /// No commit asks for a release.
    Nothing {
        previous: Tagged,
        why: Vec<String>,
    },
}

/// As many commits are listed; the rest is counted.
const SHOWN: usize = 40;

pub(crate) fn decide(
    scheme: &Pattern,
    bump: Bump,
    repository: &str,
    commit: &str,
    history: &History,
) -> Result<Decided, Failure> {
    let parts = scheme.parts();
    if let Some(part) = bump.part().filter(|part| !parts.contains(part)) {
        return Err(Failure::usage(format!("count the {} of a version up", part.word()))
            .because(format!("a version written as {scheme} has none"))
            .help(format!(
                "it has: {}",
                parts.iter().map(|part| part.word()).collect::<Vec<_>>().join(", ")
            )));
    }
    let before = history.previous.as_ref().and_then(|tagged| scheme.read(&tagged.tag));
    if let Some(here) = &history.here {
        return there_already(scheme, bump, commit, history, here, before.as_ref());
    }
    let attempt = || format!("find the version before {commit} in {repository}");
    let (Some(previous), Some(before)) = (history.previous.clone(), before) else {
        return Err(first(scheme, attempt(), history));
    };
    let why = why(scheme, &previous, &history.commits);
    let part = match bump.part() {
        Some(part) => Some(part),
        None => asked(scheme, &before, &history.commits),
    };
    let Some(part) = part else { return Ok(Decided::Nothing { previous, why }) };
    let next = before.next(part);
    let Some(tag) = scheme.write(&next) else {
        return Err(Failure::failed(attempt()).because(format!("{scheme} can't write the next one")));
    };
    Ok(Decided::Release(Next { tag, part: Some(part), previous: Some(previous), why }))
}

/// The commit has a version: the run that gave it may have been cut off.
fn there_already(
    scheme: &Pattern,
    bump: Bump,
    commit: &str,
    history: &History,
    here: &Tagged,
    before: Option<&Version>,
) -> Result<Decided, Failure> {
    let version = scheme.read(&here.tag);
    if let (Some(part), Some(before)) = (bump.part(), before)
        && version != Some(before.next(part))
    {
        let other = scheme.write(&before.next(part)).unwrap_or_default();
        return Err(Failure::refused(format!("tag {commit} as {other}"))
            .because(format!("it is {} already", here.tag))
            .help(format!("if one commit is to have two versions: --tag {other}")));
    }
    let part = version.as_ref().zip(before).and_then(|(version, before)| counted(before, version));
    Ok(Decided::Release(Next {
        tag: here.tag.clone(),
        part,
        previous: history.previous.clone(),
        why: Vec::new(),
    }))
}

fn first(scheme: &Pattern, attempt: String, history: &History) -> Failure {
    let why = match history.elsewhere.as_slice() {
        [] => format!("there is no tag written as {scheme}"),
        tags => {
            let shown = tags.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let more = if tags.len() > 5 { " and others" } else { "" };
            format!("the commit comes after none of the tags written as {scheme}: {shown}{more}")
        }
    };
    Failure::refused(attempt)
        .because(why)
        .help("give the first version with --tag, or say with --scheme how versions are written here")
}

/// What was counted up from one version to another.
pub(crate) fn counted(before: &Version, after: &Version) -> Option<Part> {
    let parts = [Part::Major, Part::Minor, Part::Patch, Part::Build];
    parts.into_iter().find(|part| before.number(*part) != after.number(*part))
}

/// What the commits ask for. Where a version has no major, minor and patch, each release is the next number.
fn asked(scheme: &Pattern, before: &Version, commits: &[Commit]) -> Option<Part> {
    if !weighs(scheme) {
        return scheme.parts().first().copied().filter(|_| !commits.is_empty());
    }
    let heaviest = commits.iter().map(|commit| commits::read(&commit.message).weight).max();
    match heaviest.unwrap_or_default() {
        Weight::None => None,
        Weight::Fix => Some(Part::Patch),
        Weight::Feature => Some(Part::Minor),
        // Before 1.0.0 anything may change (https://semver.org/#spec-item-4): leaving it is a decision, not a side effect.
        Weight::Breaking if before.number(Part::Major) == 0 => Some(Part::Minor),
        Weight::Breaking => Some(Part::Major),
    }
}

fn weighs(scheme: &Pattern) -> bool {
    let parts = scheme.parts();
    [Part::Major, Part::Minor, Part::Patch].iter().all(|part| parts.contains(part))
}

fn why(scheme: &Pattern, previous: &Tagged, commits: &[Commit]) -> Vec<String> {
    let own: Vec<&Commit> = commits.iter().filter(|commit| commit.is_listed()).collect();
    let mut lines = vec![format!("{} since {}", kit::counted(own.len(), "commit"), previous.tag)];
    if !weighs(scheme) {
        return lines;
    }
    let read: Vec<_> = own.iter().map(|commit| (commit, commits::read(&commit.message))).collect();
    let asking: Vec<String> = read
        .iter()
        .filter(|(_, message)| message.weight > Weight::None)
        .map(|(commit, message)| {
            let word = match message.weight {
                Weight::Breaking => "breaking",
                Weight::Feature => "feature",
                Weight::Fix | Weight::None => "fix",
            };
            let first = commit.message.lines().next().unwrap_or_default().trim();
            format!("{word:<8}  {}  {first}", commit.sha.get(..9).unwrap_or(&commit.sha))
        })
        .collect();
    lines.extend(asking.iter().take(SHOWN).cloned());
    if asking.len() > SHOWN {
        lines.push(format!("and {} more", asking.len() - SHOWN));
    }
    let others = own.len() - asking.len();
    if others > 0 {
        let unread =
            read.iter().filter(|(_, message)| message.kind.is_none() && message.weight == Weight::None);
        let unread = match unread.count() {
            0 => String::new(),
            n => format!(", {n} of them not written as `feat: ...`, `fix: ...` or the like"),
        };
        lines.push(format!(
            "{} {} for no release{unread}",
            kit::counted(others, "commit"),
            if others == 1 { "asks" } else { "ask" }
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn tagged(tag: &str) -> Tagged {
        Tagged { tag: tag.into(), commit: format!("commit of {tag}") }
    }

    fn history(previous: &str, messages: &[&str]) -> History {
        let commit = |message: &&str| Commit {
            sha: "1234567890".into(),
            message: (*message).into(),
            is_merge: message.starts_with("Merge"),
            parent: None,
        };
        let commits = messages.iter().map(commit).collect();
        History { previous: Some(tagged(previous)), commits, ..History::default() }
    }

    fn decided(scheme: &str, bump: Bump, history: &History) -> Result<Decided, Failure> {
        decide(&Pattern::scheme(scheme).unwrap(), bump, "acme/rally", "abc", history)
    }

    fn tag(scheme: &str, bump: Bump, previous: &str, messages: &[&str]) -> Option<String> {
        match decided(scheme, bump, &history(previous, messages)).unwrap() {
            Decided::Release(next) => Some(next.tag),
            Decided::Nothing { .. } => None,
        }
    }

    #[test]
    fn the_heaviest_commit_decides() {
        let auto = |previous, messages: &[&str]| tag("semver", Bump::Auto, previous, messages);
        assert_eq!(auto("v1.4.2", &["docs: a", "fix: b"]).as_deref(), Some("v1.4.3"));
        assert_eq!(auto("v1.4.2", &["fix: a", "feat: b", "fix: c"]).as_deref(), Some("v1.5.0"));
        assert_eq!(auto("v1.4.2", &["feat: a", "chore!: b"]).as_deref(), Some("v2.0.0"));
        assert_eq!(auto("v1.4.2", &["docs: a", "Merge branch 'x'"]), None);
        // https://github.com/googleapis/release-please/issues/259
        assert_eq!(auto("v0.4.2", &["feat!: a"]).as_deref(), Some("v0.5.0"));
        assert_eq!(auto("v0.4.2", &["feat: a"]).as_deref(), Some("v0.5.0"));
        assert_eq!(tag("semver", Bump::Major, "v0.4.2", &["docs: a"]).as_deref(), Some("v1.0.0"));
        assert_eq!(tag("semver", Bump::Patch, "v1.4.2", &["Whatever"]).as_deref(), Some("v1.4.3"));
    }

    #[test]
    fn where_there_is_no_patch_each_release_is_the_next_number() {
        assert_eq!(tag("vN.M", Bump::Auto, "v38.0", &["Whatever"]).as_deref(), Some("v39.0"));
        assert_eq!(tag("sprintN", Bump::Auto, "sprint12", &["fix: a"]).as_deref(), Some("sprint13"));
        let refused = decided("sprintN", Bump::Minor, &history("sprint12", &["a"])).unwrap_err();
        assert_eq!(refused.code(), Code::Usage);
    }

    #[test]
    fn a_first_release_is_given() {
        let elsewhere = History { elsewhere: vec!["v9.0.0".into()], ..History::default() };
        for (seen, says) in [(History::default(), "no tag written as v{semver}"), (elsewhere, "v9.0.0")] {
            let refused = decided("semver", Bump::Auto, &seen).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain().join("").contains(says), "{:?}", refused.chain());
            assert!(format!("{refused:?}").contains("--tag"));
        }
    }

    #[test]
    fn a_commit_that_has_a_version_keeps_it() {
        let mut seen = history("v1.4.2", &["feat: a"]);
        seen.here = Some(tagged("v1.5.0"));
        for bump in [Bump::Auto, Bump::Minor] {
            let Decided::Release(next) = decided("semver", bump, &seen).unwrap() else { panic!() };
            assert_eq!((next.tag.as_str(), next.part), ("v1.5.0", Some(Part::Minor)));
        }
        let refused = decided("semver", Bump::Major, &seen).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(format!("{refused:?}").contains("--tag v2.0.0"));
    }

    #[test]
    fn the_why_names_each_commit_that_asks() {
        let seen = history("v1.4.2", &["fix: b", "Tidy", "docs: c", "feat!: d", "Merge pull request #1"]);
        let Decided::Release(next) = decided("semver", Bump::Auto, &seen).unwrap() else { panic!() };
        assert_eq!(
            next.why,
            [
                "4 commits since v1.4.2",
                "fix       123456789  fix: b",
                "breaking  123456789  feat!: d",
                "2 commits ask for no release, 1 of them not written as `feat: ...`, `fix: ...` or the like",
            ]
        );
    }
}
