//! The checks of a commit, and which of them the branch requires.

use std::collections::BTreeSet;

use github::{Call, Github, encode};
use kit::{Cx, Failure};
use serde::Deserialize;

use super::judge::is_green;
use super::{Check, Checks, GateArgs, Wanted};
use crate::observe::READ;

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
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) check_suite_id: Option<u64>,
    pub(super) path: Option<String>,
    pub(super) event: Option<String>,
    #[serde(default)]
    pub(super) head_branch: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    /// `queued`, `in_progress`, `completed`, ...
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) conclusion: Option<String>,
    #[serde(default)]
    pub(super) html_url: Option<String>,
}

pub(super) async fn checks(
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
    let suites =
        passed_over(workflow_runs.as_deref().unwrap_or_default(), own_workflow(cx, github).as_deref());
    let own = own_run(cx);
    let mut told = BTreeSet::new();
    let mut checks = Checks { wanted, by_branch, runs_known: workflow_runs.is_some(), ..Checks::default() };
    for run in runs {
        let url = run.details_url.or(run.html_url);
        let suite = run.check_suite.map(|suite| suite.id);
        let is_own = own.as_ref().is_some_and(|own| url.as_ref().is_some_and(|url| is_of(url, own)));
        // What this run has tested already counts where it is asked for by name; the job that asks is still under way itself.
        let is_wanted = checks.wanted.iter().any(|wanted| wanted.name == run.name);
        let tells = is_wanted && run.conclusion.as_deref() == Some("success");
        if if is_own { !tells } else { suite.is_some_and(|id| suites.contains(&id)) } {
            checks.passed_over += 1;
            continue;
        }
        let state = run.conclusion.unwrap_or(run.status);
        if !is_green(&state) {
            told.extend(suite);
        }
        checks.all.push(Check { name: run.name, app: run.app.map(|app| app.id), state, url });
    }
    let own = own.and_then(|own| own.parse().ok());
    let counted = workflow_runs.unwrap_or_default().into_iter().filter(|run| {
        Some(run.id) != own
            && run.check_suite_id.is_none_or(|id| !suites.contains(&id) && !told.contains(&id))
    });
    checks.all.extend(counted.filter_map(behind_its_jobs));
    checks.all.extend(statuses.into_iter().map(|status| Check {
        name: status.context,
        app: None,
        state: status.state,
        url: status.target_url,
    }));
    Ok(checks)
}

/// A run that is worse than its jobs tell. A job has a check only once it may begin: none has one while the run waits for another
/// of its group, nor has the next one where the first has just ended, nor any of a workflow that GitHub could not read.
fn behind_its_jobs(run: Run) -> Option<Check> {
    let state = run.conclusion.or(run.status).filter(|state| !is_green(state))?;
    let name = run.name.or(run.path).unwrap_or_else(|| run.id.to_string());
    Some(Check { name: format!("the workflow {name}"), app: None, state, url: run.html_url })
}

/// The number of this run, where it is one.
fn own_run(cx: &Cx) -> Option<String> {
    cx.env().get("GITHUB_RUN_ID").filter(|_| cx.env().in_github_job()).map(str::to_owned)
}

/// Whether a check's page lies in that run: `https://github.com/o/r/actions/runs/123/job/456`.
pub(super) fn is_of(url: &str, run: &str) -> bool {
    url.split_once("/actions/runs/").is_some_and(|(_, rest)| rest.split('/').next() == Some(run))
}

/// The file of this workflow: `.github/workflows/release.yml` of `o/r/.github/workflows/release.yml@refs/heads/main`. Another
/// repository's file of that name is another workflow.
///
/// Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
fn own_workflow(cx: &Cx, github: &Github) -> Option<String> {
    let named = cx.env().get("GITHUB_WORKFLOW_REF").filter(|_| cx.env().in_github_job())?;
    let (path, _) = named.split_once('@')?;
    let mut parts = path.splitn(3, '/');
    let repository = format!("{}/{}", parts.next()?, parts.next()?);
    let file = parts.next()?.to_owned();
    repository.eq_ignore_ascii_case(&github.repository().to_string()).then_some(file)
}

/// The check suites that say nothing of the commit any more: those of this very workflow (a release that failed yesterday would
/// hold up today's), and of runs which the same workflow did again for the same event of the same branch. On another branch its
/// jobs may have been skipped.
pub(super) fn passed_over(runs: &[Run], own: Option<&str>) -> BTreeSet<u64> {
    let is_again = |later: &Run, run: &Run| {
        run.path.is_some()
            && (&later.path, &later.event, &later.head_branch) == (&run.path, &run.event, &run.head_branch)
            && later.id > run.id
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
