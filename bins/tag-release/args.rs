//! The arguments, and what they ask for.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use github::GithubArgs;
use kit::{Cx, Failure};

use crate::assets;
use crate::files::{self, VersionFile};
use crate::gates::GateArgs;
use crate::next::Bump;
use crate::observe::is_full_sha;
use crate::others::{self, Submodule, With};
use crate::plan::Request;
use crate::release::Wanted;
use crate::scheme::{Pattern, Spelling, parse_spelling};
use crate::sign::{SignArgs, Signature};

/// Tag a commit and publish its GitHub release
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(group = ArgGroup::new("which").args(["tag", "bump"]).required(true))]
pub struct TagArgs {
    /// The tag's name; or --bump
    #[arg(long, value_name = "NAME", value_parser = parse_tag)]
    pub(crate) tag: Option<String>,

    /// The commit to tag: a full SHA [default: `GITHUB_SHA`]
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,

    #[command(flatten)]
    pub(crate) version: VersionArgs,

    /// The tag's message [default: the tag's name]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,

    /// The release's title [default: the tag's name]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    release_name: Option<String>,

    /// The release's notes, in Markdown [default: the commit's first line and SHA]
    // Notes are often a list: "- votes".
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "notes_file")]
    notes: Option<String>,

    /// A file with the release's notes
    #[arg(long, value_name = "FILE")]
    notes_file: Option<PathBuf>,

    /// Notes from the commits since the last version, in groups [default with --bump]
    #[arg(long)]
    pub(crate) generate_notes: bool,

    /// A file for the release, added before it is published; may be repeated
    #[arg(long, value_name = "FILE")]
    asset: Vec<PathBuf>,

    /// A tag that moves to each release, such as v1, if it is on a commit before; may be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_tag)]
    pub(crate) move_tag: Vec<String>,

    /// Leave the release as a draft
    #[arg(long)]
    draft: bool,

    /// Mark the release as a pre-release
    #[arg(long)]
    prerelease: bool,

    /// Make the tag alone
    #[arg(long)]
    no_release: bool,

    /// A commit of another repository that gets the same tag before this one's, by its full SHA; may be repeated, in order
    #[arg(long, value_name = "OWNER/NAME@SHA", value_parser = others::parse)]
    pub(crate) with: Vec<With>,

    /// A submodule that is to point to a commit: that of --with OWNER/NAME, or a full SHA; may be repeated
    #[arg(long, value_name = "PATH=OWNER/NAME", value_parser = others::parse_submodule)]
    pub(crate) submodule: Vec<Submodule>,

    #[command(flatten)]
    pub(crate) sign: SignArgs,

    #[command(flatten)]
    pub(crate) gates: GateArgs,

    #[command(flatten)]
    pub(crate) github: GithubArgs,
}

/// How the version is found and written.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Version")]
pub(crate) struct VersionArgs {
    /// Count the last version up: by what the commits since ask for, or by this number
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) bump: Option<Bump>,

    /// How tags are written: semver (v1.2.3), vN.M, sprintN, or a pattern such as v{major}.{minor}.{patch}[.{build}]
    #[arg(long, value_name = "SCHEME", default_value = "semver", value_parser = Pattern::scheme)]
    pub(crate) scheme: Pattern,

    /// Another spelling of the version, as in `image=RALLY-V{major}_{minor}_{patch}_{build}-RELEASE`; may be repeated
    #[arg(long, value_name = "NAME=PATTERN", value_parser = parse_spelling)]
    pub(crate) spelling: Vec<Spelling>,

    /// A file that the version stands in, changed by a commit of its own, as in package.json=json:version; may be repeated
    #[arg(long, value_name = "PATH=FORMAT:KEY", value_parser = files::parse)]
    pub(crate) version_file: Vec<VersionFile>,

    /// The message of that commit [default: Release TAG]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) commit_message: Option<String>,

    /// Let the last version be a pre-release
    #[arg(long)]
    pub(crate) from_prerelease: bool,

    /// Refuse when the commits ask for no release
    #[arg(long)]
    pub(crate) fail_if_nothing: bool,
}

/// The rules of `git check-ref-format` (<https://git-scm.com/docs/git-check-ref-format>).
pub(crate) fn parse_tag(text: &str) -> Result<String, String> {
    if text.starts_with("refs/") {
        return Err("write the tag's name without refs/tags/".to_owned());
    }
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let character = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let usable = text.split('/').all(part)
        && text.chars().all(character)
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@"
        && !text.starts_with('-')
        && !text.ends_with('.');
    if usable { Ok(text.to_owned()) } else { Err("git does not allow this as a tag's name".to_owned()) }
}

impl TagArgs {
    /// Refuses flags that contradict each other. Not clap's conflicts: a workflow may pass `false` for a switch.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let files = !self.version.version_file.is_empty() || !self.submodule.is_empty();
        let notes = self.notes.is_some() || self.notes_file.is_some();
        let SignArgs { sign, local_clone, remote } = &self.sign;
        let clashes = [
            (self.generate_notes && notes, "--generate-notes", "--notes and --notes-file"),
            (self.no_release && !self.asset.is_empty(), "--asset", "--no-release"),
            (self.draft && !self.move_tag.is_empty(), "--move-tag", "--draft: it follows published releases"),
            (self.gates.any_branch && self.gates.branch.is_some(), "--any-branch", "--branch"),
            (self.gates.no_checks && !self.gates.check.is_empty(), "--no-checks", "--check"),
            (
                *sign && !self.with.is_empty(),
                "--sign",
                "--with: a clone is of one repository; sign the tag of each in its own clone",
            ),
            (
                !sign && (local_clone.is_some() || remote.is_some()),
                "--local-clone and --remote",
                "a tag that the API makes: add --sign",
            ),
            (
                self.gates.any_branch && files,
                "--version-file and --submodule",
                "--any-branch: their commit goes to a branch",
            ),
        ];
        match clashes.into_iter().find(|(clash, ..)| *clash) {
            Some((_, one, other)) => {
                Err(Failure::usage(format!("use {one}")).because(format!("it does not go with {other}")))
            }
            None => Ok(()),
        }
    }

    /// The commit, which may still be a name: that is refused with what it leads to.
    pub(crate) fn commit(&self, cx: &Cx) -> Result<String, Failure> {
        let commit = match (&self.commit, cx.env().get("GITHUB_SHA")) {
            (Some(commit), _) => commit.trim().to_owned(),
            (None, Some(_))
                if cx.env().get("GITHUB_REF").is_some_and(|name| name.starts_with("refs/pull/")) =>
            {
                let what = self.tag.as_deref().map(|tag| format!(" as {tag}")).unwrap_or_default();
                return Err(Failure::refused(format!("tag GITHUB_SHA{what}"))
                    .because("in a run for a pull request it is a merge that GitHub made for the test and that no branch has")
                    .help("give the commit with --commit"));
            }
            (None, Some(sha)) => sha.to_owned(),
            (None, None) => {
                return Err(Failure::usage("choose the commit to tag")
                    .because("none is given by --commit or GITHUB_SHA")
                    .help("add --commit with the full SHA"));
            }
        };
        let lower = commit.to_ascii_lowercase();
        Ok(if is_full_sha(&lower) { lower } else { commit })
    }

    pub(crate) fn request(
        &self,
        repository: String,
        tag: String,
        commit: String,
    ) -> Result<Request, Failure> {
        let notes = match &self.notes_file {
            None => self.notes.clone(),
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("read the release notes {}", file.display())).because(error)
            })?),
        };
        let assets = assets::read(&self.asset)?;
        Ok(Request {
            repository,
            suffix: String::new(),
            message: self.message.clone().unwrap_or_else(|| tag.clone()),
            tag,
            commit,
            why: Vec::new(),
            pending: None,
            signature: self.sign.sign.then(Signature::default),
            release: (!self.no_release).then(|| Wanted {
                name: self.release_name.clone(),
                notes,
                usual_notes: None,
                assets,
                draft: self.draft,
                prerelease: self.prerelease,
            }),
        })
    }
}
