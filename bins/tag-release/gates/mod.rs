//! The gates: what has to be so before a commit is tagged. This file reads; [`judge`] decides.

mod checks;
mod judge;
#[cfg(test)]
mod judge_tests;
mod pulls;

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

use checks::checks;
pub(crate) use judge::judge;
use pulls::{Mark, known_label, milestone, open};

use crate::observe::READ;

/// Which gates there are.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Gates")]
pub(crate) struct GateArgs {
    /// The branch that must have the commit [default: the repository's default branch]
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,

    /// Tag the commit whatever branch has it, or none
    #[arg(long)]
    pub(crate) any_branch: bool,

    /// A check or commit status that must be green, by its exact name; may be repeated [default: those that the branch
    /// requires; where it requires none, all]
    #[arg(long, value_name = "NAME")]
    pub(crate) check: Vec<String>,

    /// Tag the commit whatever its checks say
    #[arg(long)]
    pub(crate) no_checks: bool,

    /// No pull request of this milestone may be open, by its exact title
    #[arg(long, value_name = "TITLE")]
    pub(crate) milestone: Option<String>,

    /// No pull request with this label may be open; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) blocking_label: Vec<String>,
}

/// What the gates see.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seen {
    /// The branch; absent with `--any-branch`.
    pub(crate) branch: Option<Branch>,
    /// Absent with `--no-checks`.
    pub(crate) checks: Option<Checks>,
    /// The open pull requests that must not be.
    pub(crate) open: Vec<Open>,
    /// What was asked of open pull requests, in words.
    pub(crate) asked: Vec<String>,
}

impl Seen {
    /// Whether no check at all is known of the commit.
    pub(crate) fn untested(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.all.is_empty())
    }
}

/// How the branch stands to the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Branch {
    pub(crate) name: String,
    /// `identical` and `behind` are the words for a commit that the branch has.
    pub(crate) relation: String,
}

/// What is known of the commit's checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Checks {
    /// Those named by `--check`, or by the branch's rules.
    pub(crate) wanted: Vec<Wanted>,
    /// Whether the rules are the branch's.
    pub(crate) by_branch: bool,
    pub(crate) all: Vec<Check>,
    /// Those of earlier runs of this very workflow, and of runs that were done again.
    pub(crate) passed_over: usize,
    /// Whether it could be told which run a check belongs to.
    pub(crate) runs_known: bool,
}

/// A check that has to be green.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// The GitHub App that has to say so.
    pub(crate) app: Option<u64>,
}

/// A check run or a commit status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) app: Option<u64>,
    /// `success`, `failure`, `in_progress`, ...
    pub(crate) state: String,
    pub(crate) url: Option<String>,
}

/// An open pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Open {
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) why: String,
}

pub(crate) async fn observe(
    cx: &Cx,
    github: &Github,
    args: &GateArgs,
    default_branch: &str,
    commit: &str,
) -> Result<Seen, Failure> {
    let name = args.branch.as_deref().unwrap_or(default_branch);
    let branch = if args.any_branch { None } else { Some(branch(cx, github, name, commit).await?) };
    let checks = if args.no_checks { None } else { Some(checks(cx, github, args, name, commit).await?) };
    let mut seen = Seen { branch, checks, ..Seen::default() };
    if let Some(title) = &args.milestone {
        let number = milestone(cx, github, title).await?;
        let why = format!("milestone {title}");
        seen.open.extend(open(cx, github, Mark::Milestone(number), &why).await?);
        seen.asked.push(format!("in the {why}"));
    }
    for label in &args.blocking_label {
        known_label(cx, github, label).await?;
        let why = format!("label {label}");
        seen.open.extend(open(cx, github, Mark::Label(label), &why).await?);
        seen.asked.push(format!("with the {why}"));
    }
    Ok(seen)
}

/// Source: <https://docs.github.com/en/rest/commits/commits#compare-two-commits>
async fn branch(cx: &Cx, github: &Github, name: &str, commit: &str) -> Result<Branch, Failure> {
    #[derive(Deserialize)]
    struct Comparison {
        status: String,
    }
    let attempt = format!("compare {commit} with the branch {name} of {}", github.repository());
    // In full, so that no tag of that name is meant. One commit is enough: the answer's own words count.
    let path = format!("/compare/refs/heads/{}...{commit}?per_page=1", encode(name));
    let found: Option<Comparison> =
        github.find(cx, Call { attempt: &attempt, permission: READ, path: &path }).await?;
    match found {
        Some(found) => Ok(Branch { name: name.to_owned(), relation: found.status }),
        None => Err(Failure::refused(attempt)
            .because("there is no such branch, or the two have no commit in common")
            .help("correct --branch, or leave this gate out with --any-branch")),
    }
}
