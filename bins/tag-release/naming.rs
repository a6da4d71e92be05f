//! The version that is to be tagged, and how it is told to the steps that follow.

use github::Github;
use kit::{Action, Cx, Failure, Go, Note, Outcome, Plan};
use serde::Serialize;

use crate::Outputs;
use crate::args::VersionArgs;
use crate::history::{self, Counted, History, Tagged};
use crate::next::{self, Bump, Decided, decide};
use crate::notes::{Between, grouped};
use crate::scheme::{Part, Version};

/// A version with its tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) tag: String,
    /// Absent where the tag is given and not of the scheme.
    pub(crate) version: Option<Version>,
    pub(crate) why: Vec<String>,
    pub(crate) outputs: Outputs,
    pub(crate) history: Option<History>,
}

/// No commit asks for a release.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Nothing {
    repository: String,
    commit: String,
    previous: Tagged,
    previous_version: String,
    why: Vec<String>,
}

impl Plan for Nothing {
    fn actions(&self) -> Vec<Action> {
        Vec::new()
    }

    fn notes(&self) -> Vec<Note> {
        self.why.iter().cloned().map(Note::Info).collect()
    }

    fn unchanged(&self) -> String {
        format!("no commit since {} asks for a release in {}", self.previous.tag, self.repository)
    }
}

impl Nothing {
    pub(crate) fn conclude(self, cx: &Cx, fail: bool, outputs: &mut Outputs) -> Result<Outcome, Failure> {
        outputs.push(("released", false.to_string()));
        outputs.push(("sha", self.commit.clone()));
        outputs.push(("previous-version", self.previous_version.clone()));
        outputs.push(("bump", "none".to_owned()));
        cx.observed(&self);
        if fail {
            return Err(Failure::refused(format!("release {} in {}", self.commit, self.repository))
                .because(format!(
                    "no commit since {} asks for a release\n{}",
                    self.previous.tag,
                    self.why.join("\n")
                ))
                .help(
                    "--bump patch releases it nevertheless; without --fail-if-nothing this is no failure",
                ));
        }
        match cx.show(&self)? {
            Go::Stop(outcome) => Ok(outcome),
            Go::Apply => Ok(Outcome::unchanged(format!("nothing is released: {}", self.unchanged()))),
        }
    }
}

/// A tag that is given; with its history where the notes are to be made from it.
pub(crate) async fn given(
    cx: &Cx,
    github: &Github,
    tag: &str,
    args: &VersionArgs,
    since: Option<&str>,
) -> Result<Named, Failure> {
    let version = args.scheme.read(tag);
    if version.is_none() && since.is_some() {
        return Err(Failure::usage(format!("find the version before {tag}"))
            .because(format!("it is not written as {}", args.scheme))
            .help("say with --scheme how tags are written, or give the notes with --notes or --notes-file"));
    }
    if version.is_none() && !(args.spelling.is_empty() && args.version_file.is_empty()) {
        return Err(Failure::usage(format!("read the version of {tag}"))
            .because(format!("it is not written as {}", args.scheme))
            .help("say with --scheme how tags are written, or leave --spelling and --version-file out"));
    }
    let mut named = Named { tag: tag.to_owned(), version, ..Named::default() };
    let mut previous = None;
    if let (Some(commit), Some(version)) = (since, &named.version) {
        let below = Some(version);
        let counted = Counted { scheme: &args.scheme, prereleases: args.from_prerelease, below };
        let history = history::history(cx, github, counted, commit).await?;
        // A lower version on the same commit is none that it comes after: the notes would be empty.
        previous.clone_from(&history.previous);
        named.history = Some(history);
    }
    let before = previous.as_ref().and_then(|tagged| args.scheme.read(&tagged.tag));
    let part =
        before.zip(named.version.as_ref()).and_then(|(before, version)| next::counted(&before, version));
    named.tell(args, previous.as_ref(), part)?;
    Ok(named)
}

/// The version that comes next, or the one that a run before has begun.
pub(crate) async fn counted(
    cx: &Cx,
    github: &Github,
    args: &VersionArgs,
    commit: &str,
) -> Result<Result<Named, Nothing>, Failure> {
    let counted = Counted { scheme: &args.scheme, prereleases: args.from_prerelease, below: None };
    let history = history::history(cx, github, counted, commit).await?;
    let repository = github.repository().to_string();
    let bump = args.bump.unwrap_or(Bump::Auto);
    match decide(&args.scheme, bump, &repository, commit, &history)? {
        Decided::Nothing { previous, why } => {
            let previous_version = args.scheme.bare(&previous.tag).to_owned();
            Ok(Err(Nothing { repository, commit: commit.to_owned(), previous, previous_version, why }))
        }
        Decided::Release(next) => {
            let version = args.scheme.read(&next.tag);
            let history = Some(history);
            let mut named = Named { tag: next.tag, version, why: next.why, history, outputs: Vec::new() };
            named.tell(args, next.previous.as_ref(), next.part)?;
            Ok(Ok(named))
        }
    }
}

impl Named {
    /// Notes from the commits since the version before; none for a first version.
    pub(crate) fn notes(&self, server: &str, repository: &str) -> Option<String> {
        let history = self.history.as_ref()?;
        let previous = history.previous.as_ref()?.tag.as_str();
        let between = Between { server, repository, previous, tag: &self.tag };
        Some(grouped(between, &history.commits))
    }

    fn tell(
        &mut self,
        args: &VersionArgs,
        previous: Option<&Tagged>,
        part: Option<Part>,
    ) -> Result<(), Failure> {
        let Some(version) = &self.version else { return Ok(()) };
        let outputs = &mut self.outputs;
        outputs.push(("version", args.scheme.bare(&self.tag).to_owned()));
        let parts = args.scheme.parts();
        for (name, part) in [("major", Part::Major), ("minor", Part::Minor), ("patch", Part::Patch)] {
            if parts.contains(&part) {
                outputs.push((name, version.number(part).to_string()));
            }
        }
        if let Some(previous) = previous {
            outputs.push(("previous-version", args.scheme.bare(&previous.tag).to_owned()));
            outputs.push(("bump", part.map_or("none", Part::word).to_owned()));
        }
        let mut spellings = serde_json::Map::new();
        for spelling in &args.spelling {
            let written = spelling.pattern.write(version).ok_or_else(|| {
                Failure::usage(format!("write {} as {}", self.tag, spelling.pattern))
                    .because("the spelling has no place for all of its numbers")
                    .help(format!("give the spelling {} a place for each", spelling.name))
            })?;
            spellings.insert(spelling.name.clone(), written.into());
        }
        outputs.push(("spellings", serde_json::Value::Object(spellings).to_string()));
        Ok(())
    }
}
