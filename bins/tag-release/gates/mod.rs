//! The gates: what has to be so before a commit is tagged. This file reads; [`judge`] decides.

mod judge;
#[cfg(test)]
mod judge_tests;

use std::collections::BTreeSet;

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

pub(crate) use judge::judge;

use crate::observe::READ;

/// Which gates there are.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Gates")]
pub(crate) struct GateArgs {
    /// The branch that must have the commit [default: the repository's default branch]
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,

    /// Tag the commit whatever branch has it, or none
    #[arg(long, conflicts_with = "branch")]
    pub(crate) any_branch: bool,

    /// A check or commit status that must be green, by its exact name; may be repeated [default: those that the branch
    /// requires; where it requires none, all]
    #[arg(long, value_name = "NAME")]
    pub(crate) check: Vec<String>,

    /// Tag the commit whatever its checks say
    #[arg(long, conflicts_with = "check")]
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

/// Source: <https://docs.github.com/en/rest/checks/runs#list-check-runs-for-a-git-reference>
#[derive(Deserialize)]
struct CheckRun {
    name: String,
    status: String,
    conclusion: Option<String>,
    #[serde(default)]
    details_url: Option<String>,
    #[serde(default)]
    html_url: Option<String>,
    #[serde(default)]
    check_suite: Option<Suite>,
    #[serde(default)]
    app: Option<App>,
}

#[derive(Deserialize)]
struct Suite {
    id: u64,
}

#[derive(Deserialize)]
struct App {
    id: u64,
}

/// Source: <https://docs.github.com/en/rest/commits/statuses#get-the-combined-status-for-a-specific-reference>
#[derive(Deserialize)]
struct Status {
    context: String,
    state: String,
    #[serde(default)]
    target_url: Option<String>,
}

/// Source: <https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-repository>
#[derive(Clone, Debug, Deserialize)]
struct Run {
    id: u64,
    check_suite_id: Option<u64>,
    path: Option<String>,
    event: Option<String>,
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
        seen.open.extend(open(cx, github, ("milestone", &number.to_string()), &why).await?);
        seen.asked.push(format!("in the {why}"));
    }
    for label in &args.blocking_label {
        known_label(cx, github, label).await?;
        let why = format!("label {label}");
        seen.open.extend(open(cx, github, ("labels", label), &why).await?);
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

async fn checks(
    cx: &Cx,
    github: &Github,
    args: &GateArgs,
    branch: &str,
    commit: &str,
) -> Result<Checks, Failure> {
    let wanted: Vec<Wanted> =
        args.check.iter().map(|name| Wanted { name: name.clone(), app: None }).collect();
    let by_branch = wanted.is_empty() && !args.any_branch;
    let wanted = if by_branch { required(cx, github, branch).await? } else { wanted };
    let attempt = format!("look at the checks of {commit} in {}", github.repository());
    let path = format!("/commits/{commit}/check-runs");
    let call = Call { attempt: &attempt, permission: "checks: read", path: &path };
    let runs: Option<Vec<CheckRun>> = github.list_in(cx, call, "check_runs", &[("filter", "latest")]).await?;
    let path = format!("/commits/{commit}/status");
    let call = Call { attempt: &attempt, permission: "statuses: read", path: &path };
    let statuses: Option<Vec<Status>> = github.list_in(cx, call, "statuses", &[]).await?;
    // What can't be seen may be red.
    let denied = |permission: &str| {
        Failure::failed(&attempt)
            .because("the token may not see them")
            .help(format!("give the job `permissions: {permission}`"))
            .untouched(true)
    };
    let runs = runs.ok_or_else(|| denied("checks: read"))?;
    let statuses = statuses.ok_or_else(|| denied("statuses: read"))?;
    let path = "/actions/runs";
    let call = Call { attempt: &attempt, permission: "actions: read", path };
    let workflow_runs: Option<Vec<Run>> =
        github.list_in(cx, call, "workflow_runs", &[("head_sha", commit)]).await?;
    let suites = passed_over(workflow_runs.as_deref().unwrap_or_default(), own_workflow(cx).as_deref());
    let own = own_run(cx);
    let mut checks = Checks { wanted, by_branch, runs_known: workflow_runs.is_some(), ..Checks::default() };
    for run in runs {
        let url = run.details_url.or(run.html_url);
        let suite = run.check_suite.map(|suite| suite.id);
        let is_own = own.as_ref().is_some_and(|own| url.as_ref().is_some_and(|url| is_of(url, own)));
        // What this run has tested already counts; the job that asks is still under way itself.
        let tells = run.conclusion.as_deref() == Some("success");
        if if is_own { !tells } else { suite.is_some_and(|id| suites.contains(&id)) } {
            checks.passed_over += 1;
            continue;
        }
        checks.all.push(Check {
            name: run.name,
            app: run.app.map(|app| app.id),
            state: run.conclusion.unwrap_or(run.status),
            url,
        });
    }
    checks.all.extend(statuses.into_iter().map(|status| Check {
        name: status.context,
        app: None,
        state: status.state,
        url: status.target_url,
    }));
    Ok(checks)
}

/// The number of this run, where it is one.
fn own_run(cx: &Cx) -> Option<String> {
    cx.env().get("GITHUB_RUN_ID").filter(|_| cx.env().in_github_job()).map(str::to_owned)
}

/// Whether a check's page lies in that run: `https://github.com/o/r/actions/runs/123/job/456`.
fn is_of(url: &str, run: &str) -> bool {
    url.split_once("/actions/runs/").is_some_and(|(_, rest)| rest.split('/').next() == Some(run))
}

/// The file of this workflow: `.github/workflows/release.yml` of `o/r/.github/workflows/release.yml@refs/heads/main`.
///
/// Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
fn own_workflow(cx: &Cx) -> Option<String> {
    let named = cx.env().get("GITHUB_WORKFLOW_REF").filter(|_| cx.env().in_github_job())?;
    let (path, _) = named.split_once('@')?;
    path.splitn(3, '/').nth(2).map(str::to_owned)
}

/// The check suites that say nothing of the commit any more: those of this very workflow (a release that failed yesterday would
/// hold up today's), and of runs which the same workflow did again for the same event.
fn passed_over(runs: &[Run], own: Option<&str>) -> BTreeSet<u64> {
    let is_again = |later: &Run, run: &Run| {
        run.path.is_some() && later.path == run.path && later.event == run.event && later.id > run.id
    };
    let is_old = |run: &&Run| {
        (own.is_some() && run.path.as_deref() == own) || runs.iter().any(|later| is_again(later, run))
    };
    runs.iter().filter(is_old).filter_map(|run| run.check_suite_id).collect()
}

/// What the branch requires, by its rulesets and by its protection.
///
/// Sources: <https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch>,
/// <https://docs.github.com/en/rest/branches/branches#get-a-branch>
async fn required(cx: &Cx, github: &Github, branch: &str) -> Result<Vec<Wanted>, Failure> {
    #[derive(Deserialize)]
    struct Rule {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        parameters: Option<Parameters>,
    }
    #[derive(Default, Deserialize)]
    struct Parameters {
        #[serde(default)]
        required_status_checks: Vec<Required>,
    }
    #[derive(Deserialize)]
    struct Required {
        context: String,
        #[serde(default, alias = "app_id")]
        integration_id: Option<i64>,
    }
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        protection: Option<Protection>,
    }
    #[derive(Deserialize)]
    struct Protection {
        #[serde(default)]
        required_status_checks: Option<Classic>,
    }
    #[derive(Deserialize)]
    struct Classic {
        #[serde(default)]
        contexts: Vec<String>,
        #[serde(default)]
        checks: Vec<Required>,
    }
    let attempt = format!("read what the branch {branch} of {} requires", github.repository());
    let path = format!("/rules/branches/{}", encode(branch));
    let call = Call { attempt: &attempt, permission: "metadata: read", path: &path };
    let rules: Vec<Rule> = github.list(cx, call).await?;
    let path = format!("/branches/{}", encode(branch));
    let call = Call { attempt: &attempt, permission: READ, path: &path };
    let described: Described = github.get(cx, call).await?;
    let mut wanted = Vec::new();
    let mut want = |name: String, app: Option<i64>| {
        // Any app may say so: -1, or nothing.
        let app = app.and_then(|app| u64::try_from(app).ok());
        let check = Wanted { name, app };
        if !wanted.contains(&check) {
            wanted.push(check);
        }
    };
    let rules = rules.into_iter().filter(|rule| rule.kind == "required_status_checks");
    for required in rules.flat_map(|rule| rule.parameters.unwrap_or_default().required_status_checks) {
        want(required.context, required.integration_id);
    }
    let classic = described.protection.and_then(|protection| protection.required_status_checks);
    if let Some(classic) = classic {
        let named: Vec<String> = classic.checks.iter().map(|check| check.context.clone()).collect();
        for check in classic.checks {
            want(check.context, check.integration_id);
        }
        for context in classic.contexts.into_iter().filter(|context| !named.contains(context)) {
            want(context, None);
        }
    }
    Ok(wanted)
}

/// Source: <https://docs.github.com/en/rest/issues/milestones#list-milestones>
async fn milestone(cx: &Cx, github: &Github, title: &str) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Milestone {
        number: u64,
        title: String,
    }
    let attempt = format!("find the milestone {title} in {}", github.repository());
    let call = Call { attempt: &attempt, permission: "issues: read", path: "/milestones?state=all" };
    let all: Vec<Milestone> = github.list(cx, call).await?;
    // GitHub lets no two milestones have one title.
    if let Some(found) = all.iter().find(|milestone| milestone.title == title) {
        return Ok(found.number);
    }
    let titles: Vec<&str> = all.iter().map(|milestone| milestone.title.as_str()).collect();
    let why = if titles.is_empty() {
        "the repository has no milestones".to_owned()
    } else {
        format!("there are: {}", titles.join(", "))
    };
    Err(Failure::refused(attempt).because(why).help("correct --milestone"))
}

/// A label that is not there would be on no pull request at all.
///
/// Source: <https://docs.github.com/en/rest/issues/labels#get-a-label>
async fn known_label(cx: &Cx, github: &Github, label: &str) -> Result<(), Failure> {
    let attempt = format!("find the label {label} in {}", github.repository());
    let path = format!("/labels/{}", encode(label));
    let call = Call { attempt: &attempt, permission: "issues: read", path: &path };
    match github.find::<serde_json::Value>(cx, call).await? {
        Some(_) => Ok(()),
        None => Err(Failure::refused(attempt)
            .because("the repository has no such label")
            .help("correct --blocking-label")),
    }
}

/// The open pull requests among the issues. The search would be shorter, and lags behind.
///
/// Source: <https://docs.github.com/en/rest/issues/issues#list-repository-issues>
async fn open(cx: &Cx, github: &Github, which: (&str, &str), why: &str) -> Result<Vec<Open>, Failure> {
    #[derive(Deserialize)]
    struct Issue {
        number: u64,
        title: String,
        #[serde(default)]
        pull_request: Option<serde_json::Value>,
    }
    let attempt = format!("list the open pull requests of {} with the {why}", github.repository());
    let path = format!("/issues?state=open&{}={}", which.0, encode(which.1).replace('/', "%2F"));
    let call = Call { attempt: &attempt, permission: "pull-requests: read", path: &path };
    let issues: Vec<Issue> = github.list(cx, call).await?;
    let pulls = issues.into_iter().filter(|issue| issue.pull_request.is_some());
    Ok(pulls.map(|issue| Open { number: issue.number, title: issue.title, why: why.to_owned() }).collect())
}
