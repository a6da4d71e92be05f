#![doc = include_str!("help.md")]

mod apply;
mod gates;
#[cfg(test)]
mod gates_tests;
mod observe;
mod plan;
#[cfg(test)]
mod tests;
mod undo;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use github::{Github, GithubArgs};
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Plan as _, Step};

use crate::gates::GateArgs;
use crate::observe::{Observed, is_full_sha, observe};
use crate::plan::{Request, Wanted};

/// The step.
pub const STEP: Step = Step {
    name: "tag-release",
    command: kit::command::<TagArgs>,
    outputs: &[
        Output { name: "tag", description: "the tag" },
        Output {
            name: "tag-sha",
            description: "SHA of the tag object (of the commit, for a lightweight tag)",
        },
        Output { name: "sha", description: "SHA of the tagged commit" },
        Output {
            name: "release-id",
            description: "GitHub's number of the release; absent with --no-release",
        },
        Output { name: "release-url", description: "page of the release; absent with --no-release" },
        Output { name: "released", description: "true when the release is published at the end, else false" },
    ],
    permissions: &[
        Permission { action: "contents: read", resource: "REPOSITORY", when: "" },
        Permission { action: "contents: write", resource: "REPOSITORY", when: "unless --dry-run" },
        Permission { action: "checks: read", resource: "REPOSITORY", when: "unless --no-checks" },
        Permission { action: "statuses: read", resource: "REPOSITORY", when: "unless --no-checks" },
        Permission {
            action: "actions: read",
            resource: "REPOSITORY",
            when: "unless --no-checks; without it, earlier runs of a workflow on the commit count too",
        },
        Permission { action: "issues: read", resource: "REPOSITORY", when: "--milestone, --blocking-label" },
        Permission {
            action: "pull-requests: read",
            resource: "REPOSITORY",
            when: "--milestone, --blocking-label",
        },
    ],
    exit_codes: &[
        ExitCode {
            code: Code::Refused,
            meaning: "the tag is on another commit, a gate is shut, the commit is none, or a draft is not the one wanted; nothing was changed",
        },
        ExitCode { code: Code::Waiting, meaning: "somebody else created the tag at the same moment" },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Tag a commit and publish its GitHub release
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct TagArgs {
    /// The tag's name
    #[arg(long, value_name = "NAME", value_parser = parse_tag)]
    tag: String,

    /// The commit to tag: a full SHA [default: `GITHUB_SHA`]
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,

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

    /// Leave the release as a draft
    #[arg(long)]
    draft: bool,

    /// Mark the release as a pre-release
    #[arg(long)]
    prerelease: bool,

    /// Make the tag alone
    #[arg(long)]
    no_release: bool,

    #[command(flatten)]
    gates: GateArgs,

    #[command(flatten)]
    github: GithubArgs,
}

/// The rules of `git check-ref-format` (<https://git-scm.com/docs/git-check-ref-format>).
fn parse_tag(text: &str) -> Result<String, String> {
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
    fn request(&self, cx: &Cx, repository: String) -> Result<Request, Failure> {
        let commit = match (&self.commit, cx.env().get("GITHUB_SHA")) {
            (Some(commit), _) => commit.trim().to_owned(),
            (None, Some(_))
                if cx.env().get("GITHUB_REF").is_some_and(|name| name.starts_with("refs/pull/")) =>
            {
                return Err(Failure::refused(format!("tag GITHUB_SHA as {}", self.tag))
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
        let commit = if is_full_sha(&lower) { lower } else { commit };
        let notes = match &self.notes_file {
            None => self.notes.clone(),
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("read the release notes {}", file.display())).because(error)
            })?),
        };
        Ok(Request {
            repository,
            tag: self.tag.clone(),
            commit,
            message: self.message.clone().unwrap_or_else(|| self.tag.clone()),
            release: (!self.no_release).then(|| Wanted {
                name: self.release_name.clone(),
                notes,
                draft: self.draft,
                prerelease: self.prerelease,
            }),
        })
    }
}

async fn run(args: TagArgs, cx: Cx) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        let mut to = args.github.clone();
        if let (None, Some(repository)) = (&to.repository, undo::repository(receipt)) {
            // The job that undoes may belong to another repository than the one that released.
            to.repository = repository.parse().ok();
        }
        let github = Github::new(&cx, &to)?;
        if let Some(was) = undo::repository(receipt)
            && was != github.repository().to_string()
        {
            return Err(Failure::refused("undo the receipt's run")
                .because(format!("it worked on {was}, and --repository is {}", github.repository())));
        }
        return undo::undo(&cx, &github, receipt, &args.tag).await;
    }
    let (outcome, outputs) = release(&args, &cx).await?;
    for (name, value) in outputs {
        cx.output(name, value);
    }
    Ok(outcome)
}

/// Tags and releases; answers the step's outputs too.
async fn release(args: &TagArgs, cx: &Cx) -> Result<(Outcome, Vec<(&'static str, String)>), Failure> {
    let github = Github::new(cx, &args.github)?;
    let request = args.request(cx, github.repository().to_string())?;
    let mut observed = observe(cx, &github, &request.tag, &request.commit).await?;
    cx.observed(&observed);
    let mut plan = plan::plan(&request, &observed)?;
    // What is there already has passed them.
    if !plan.actions().is_empty() {
        let gates =
            gates::observe(cx, &github, &args.gates, &observed.default_branch, &request.commit).await?;
        observed.gates = Some(gates.clone());
        cx.observed(&observed);
        plan.notes.extend(gates::judge(&format!("tag {} as {}", request.commit, request.tag), &gates)?);
    }
    let mut outputs = vec![("tag", request.tag.clone()), ("sha", request.commit.clone())];
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok((outcome, outputs));
    }
    apply::apply(cx, &github, &request, &plan).await?;
    let seen = see(cx, &github, &request).await?;
    let there = verify::verify(&request, &seen)?;
    outputs.push(("tag-sha", there.tag.object.clone()));
    outputs.push(("released", there.release.is_some_and(|release| !release.draft).to_string()));
    if let Some(release) = there.release {
        outputs.push(("release-id", release.id.to_string()));
        outputs.push(("release-url", release.html_url.clone()));
    }
    let Request { repository, tag, commit, .. } = &request;
    let outcome = if plan.actions().is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        let end = match there.release {
            None => "",
            Some(release) if release.draft => ", with a draft release",
            Some(_) => ", and its release is published",
        };
        Outcome::changed(format!("{tag} is on {commit} in {repository}{end}"))
    };
    Ok((outcome, outputs))
}

/// Looks until what was written is seen, for some seconds: GitHub's answers may lag behind its writes.
async fn see(cx: &Cx, github: &Github, request: &Request) -> Result<Observed, Failure> {
    let mut looks = 0;
    loop {
        let seen = observe(cx, github, &request.tag, &request.commit).await?;
        looks += 1;
        if looks == 5 || verify::verify(request, &seen).is_ok() {
            return Ok(seen);
        }
        cx.or_cancelled(cx.pause(Duration::from_secs(1))).await?;
    }
}
