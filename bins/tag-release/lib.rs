#![doc = include_str!("help.md")]

mod apply;
mod args;
mod assets;
mod bump;
mod commit;
#[cfg(test)]
mod commit_tests;
mod commits;
mod files;
#[cfg(test)]
mod foreign_tests;
mod gates;
#[cfg(test)]
mod gates_tests;
mod history;
mod moving;
#[cfg(test)]
mod moving_tests;
mod naming;
mod next;
mod notes;
mod observe;
mod others;
#[cfg(test)]
mod others_tests;
mod plan;
#[cfg(test)]
mod plan_tests;
mod release;
#[cfg(test)]
mod release_tests;
mod scheme;
#[cfg(test)]
mod scheme_tests;
mod sign;
#[cfg(test)]
mod tests;
mod tree;
mod undo;
mod verify;
#[cfg(test)]
mod version_tests;

use std::time::Duration;

use github::Github;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Note, Outcome, Output, Permission, Plan as _, Step};

pub use crate::args::TagArgs;
use crate::args::VersionArgs;
use crate::bump::{Bump, Wanted};
use crate::files::Writing;
use crate::naming::Named;
use crate::observe::{Observed, Place, Verification, observe, place};
use crate::others::Together;
use crate::plan::Request;

/// The step.
pub const STEP: Step = Step {
    name: "tag-release",
    command: kit::command::<TagArgs>,
    outputs: &[
        Output { name: "tag", description: "the tag" },
        Output {
            name: "version",
            description: "the version: the tag without what stands before and after its numbers; absent when the tag is not of --scheme",
        },
        Output {
            name: "previous-version",
            description: "the version before it, in the same form; absent with --tag, and for a first version",
        },
        Output {
            name: "major",
            description: "the version's first number; absent when the tag is not of --scheme",
        },
        Output { name: "minor", description: "the second, where the scheme has one" },
        Output { name: "patch", description: "the third, where the scheme has one" },
        Output {
            name: "bump",
            description: "what was counted up since the previous version: major, minor, patch, build, or none",
        },
        Output {
            name: "spellings",
            description: "the version in every --spelling, as JSON: {\"image\":\"RALLY-V2_1_0_0-RELEASE\"}",
        },
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
        Permission {
            action: "contents: write",
            resource: "each repository of --with",
            when: "unless --dry-run; those of the checks too",
        },
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
            meaning: "the tag is on another commit, a gate is shut, the commit is none, a draft is not the one wanted, or --sign has no git, clone, remote, key or access that can be used; nothing was changed",
        },
        ExitCode {
            code: Code::Waiting,
            meaning: "somebody else created the tag, or moved the branch or a moving tag, at the same moment",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: TagArgs, cx: Cx) -> Result<Outcome, Failure> {
    if let Some(receipt) = cx.undo() {
        let mut to = args.github.clone();
        let worked = undo::repositories(receipt);
        if let (None, Some(repository)) = (&to.repository, worked.last()) {
            // The job that undoes may belong to another repository than the one that released.
            to.repository = repository.parse().ok();
        }
        let github = Github::new(&cx, &to)?;
        // Where it was cut off among several, the one of --repository was not begun.
        let one = worked.iter().all(|repository| Some(repository) == worked.first()) && args.with.is_empty();
        if let (true, Some(was)) = (one, worked.first())
            && *was != github.repository().to_string()
        {
            return Err(Failure::refused("undo the receipt's run")
                .because(format!("it worked on {was}, and --repository is {}", github.repository())));
        }
        return undo::undo(&cx, &github, receipt).await;
    }
    let mut outputs = Vec::new();
    let ended = release(&args, &cx, &mut outputs).await;
    for (name, value) in outputs {
        cx.output(name, value);
    }
    ended
}

type Outputs = Vec<(&'static str, String)>;

/// Tags and releases.
async fn release(args: &TagArgs, cx: &Cx, outputs: &mut Outputs) -> Result<Outcome, Failure> {
    args.check()?;
    let github = Github::new(cx, &args.github)?;
    let repository = github.repository().to_string();
    let commit = args.commit(cx)?;
    let place = place(cx, &github, &commit).await?;
    let named = match &args.tag {
        Some(tag) => {
            let since = args.generate_notes.then_some(commit.as_str());
            naming::given(cx, &github, tag, &args.version, since).await?
        }
        None => match naming::counted(cx, &github, &args.version, &commit).await? {
            Ok(named) => named,
            Err(nothing) => return nothing.conclude(cx, args.version.fail_if_nothing, outputs),
        },
    };
    if args.move_tag.contains(&named.tag) {
        return Err(Failure::usage(format!("move {}", named.tag))
            .because("it is the release's own tag, which never moves")
            .help("--move-tag is for those like v1, which follow the releases"));
    }
    let mut request = args.request(repository, named.tag.clone(), commit)?;
    request.why.clone_from(&named.why);
    if let Some(wanted) = &mut request.release {
        let server = cx.env().get("GITHUB_SERVER_URL").unwrap_or("https://github.com");
        wanted.usual_notes = named.notes(server, &request.repository);
    }
    let bump = version_commit(args, cx, &github, &place, &named, &request).await?;
    let mut tested = request.commit.clone();
    let mut parent = None;
    match bump {
        Bump::AsIs { tested } => parent = tested,
        Bump::There(commit) => request.commit = commit,
        Bump::Needed(pending) => request.pending = Some(pending),
    }
    outputs.push(("tag", request.tag.clone()));
    if request.pending.is_none() {
        outputs.push(("sha", request.commit.clone()));
    }
    outputs.extend(named.outputs.iter().cloned());
    let mut observed = observe(cx, &github, place, &request.tag).await?;
    observed.history = named.history;
    if let (Some(signature), None) = (&mut request.signature, &observed.tag) {
        let by_api = !args.version.version_file.is_empty() || !args.submodule.is_empty();
        let branch = args.gates.branch.as_ref().unwrap_or(&observed.default_branch);
        signature.from_branch = by_api.then(|| branch.clone());
        observed.clone = Some(sign::observe(cx, &args.sign, &request).await?);
    }
    observed.moving = moving::observe(cx, &github, &args.move_tag, &request.commit).await?;
    cx.observed(&observed);
    let mut plan = plan::plan(&request, &observed)?;
    let mut others =
        others::observe_all(cx, &github, &args.with, &request.tag, &request.message, &args.gates).await?;
    // What is there already has passed them.
    if !plan.actions().is_empty() {
        let branch = observed.default_branch.clone();
        let mut gates = gates::observe(cx, &github, &args.gates, &branch, &tested).await?;
        if let Some(parent) = parent.filter(|_| gates.untested()) {
            // Its checks alone: whether the branch has the commit is asked of the commit.
            gates.checks = gates::observe(cx, &github, &args.gates, &branch, &parent).await?.checks;
            tested = parent;
        }
        observed.gates = Some(gates.clone());
        cx.observed(&observed);
        plan.notes.extend(gates::judge(&format!("tag {} as {}", request.commit, request.tag), &gates)?);
        if tested != request.commit || request.pending.is_some() {
            plan.notes.push(Note::Info(format!(
                "the checks are those of {tested}, from which the tagged commit differs in the version's files alone"
            )));
        }
    }
    if let Some(signing) = &plan.sign {
        sign::prove(cx, &github, &request, signing).await?;
    }
    let nothing = Together::new(&others, &plan).actions().is_empty();
    if !nothing && github.may_be_workflow_token(cx.env()) {
        plan.notes.push(Note::Warning(
            "if the token is this workflow's own GITHUB_TOKEN, the tag and the release start no workflow; dispatch-workflow --ref TAG does, with the same token".to_owned(),
        ));
    }
    let together = Together::new(&others, &plan);
    let unchanged = together.unchanged();
    if let Go::Stop(outcome) = cx.show(&together)? {
        return Ok(outcome);
    }
    others::apply_all(cx, &mut others).await?;
    let pending = request.pending.is_some();
    apply::apply(cx, &github, &mut request, &plan).await?;
    if pending {
        outputs.push(("sha", request.commit.clone()));
    }
    let seen = see(cx, &github, &request, &args.move_tag).await?;
    let there = verify::verify(&request, &seen)?;
    outputs.push(("tag-sha", there.tag.object.clone()));
    outputs.push(("released", there.release.is_some_and(|release| !release.draft).to_string()));
    if let Some(release) = there.release {
        outputs.push(("release-id", release.id.to_string()));
        outputs.push(("release-url", release.html_url.clone()));
    }
    let Request { repository, tag, commit, .. } = &request;
    let verdict = there.tag.verification.as_ref().and_then(Verification::verdict);
    if let (Some(verdict), Some(_)) = (verdict, &plan.sign) {
        cx.report().say(&format!("note: {verdict}"));
    }
    if nothing {
        return Ok(Outcome::unchanged(unchanged));
    }
    let end = match there.release {
        None => "",
        Some(release) if release.draft => ", with a draft release",
        Some(_) => ", and its release is published",
    };
    let too = match args.with.len() {
        0 => String::new(),
        1 => "; it is in the other repository too".to_owned(),
        n => format!("; it is in the {n} other repositories too"),
    };
    Ok(Outcome::changed(format!("{tag} is on {commit} in {repository}{end}{too}")))
}

/// Whether the version's files need a commit of their own.
async fn version_commit(
    args: &TagArgs,
    cx: &Cx,
    github: &Github,
    place: &Place,
    named: &Named,
    request: &Request,
) -> Result<Bump, Failure> {
    let pointers = others::pointers(&args.submodule, &args.with, &request.repository)?;
    if args.version.version_file.is_empty() && pointers.is_empty() {
        return Ok(Bump::AsIs { tested: None });
    }
    let VersionArgs { scheme, spelling, version_file, commit_message, .. } = &args.version;
    let message = commit_message.clone().unwrap_or_else(|| format!("Release {}", request.tag));
    let writing = named.version.as_ref().map(|version| Writing { scheme, spellings: spelling, version });
    let wanted = Wanted {
        files: version_file,
        writing,
        pointers: &pointers,
        branch: args.gates.branch.as_deref().unwrap_or(&place.default_branch),
        commit: &request.commit,
        message: &message,
    };
    bump::observe(cx, github, wanted).await
}

/// Looks until what was written is seen, for some seconds: GitHub's answers may lag behind its writes.
async fn see(cx: &Cx, github: &Github, request: &Request, moving: &[String]) -> Result<Observed, Failure> {
    let mut looks = 0;
    loop {
        let place = place(cx, github, &request.commit).await?;
        let mut seen = observe(cx, github, place, &request.tag).await?;
        seen.moving = moving::observe(cx, github, moving, &request.commit).await?;
        looks += 1;
        if looks == 5 || verify::verify(request, &seen).is_ok() {
            return Ok(seen);
        }
        cx.or_cancelled(cx.pause(Duration::from_secs(1))).await?;
    }
}
