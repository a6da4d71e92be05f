//! Whether the gates are open. Pure.

use kit::{Failure, Note};

use super::{Check, Checks, Seen, Wanted};

/// What counts as passed, as for a pull request.
///
/// Source: <https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks>
const GREEN: [&str; 3] = ["success", "neutral", "skipped"];

/// Whether a check's state counts as passed.
pub(super) fn is_green(state: &str) -> bool {
    GREEN.contains(&state)
}

/// As many are listed in a refusal; the rest is counted.
const SHOWN: usize = 10;

/// What the plan says of the gates, or the one that is shut.
pub(crate) fn judge(attempt: &str, seen: &Seen) -> Result<Vec<Note>, Failure> {
    let mut notes = Vec::new();
    match &seen.branch {
        Some(branch) if ["identical", "behind"].contains(&&*branch.relation) => {
            notes.push(Note::Info(format!("the branch {} has the commit", branch.name)));
        }
        Some(branch) => {
            return Err(Failure::refused(attempt)
                .because(format!("the branch {} does not have the commit ({})", branch.name, branch.relation))
                .help("merge it first, or say which branch has it: --branch NAME; --any-branch leaves this gate out"));
        }
        None => notes.push(Note::Warning("whether a branch has the commit was not looked at".to_owned())),
    }
    match &seen.checks {
        Some(checks) => notes.extend(judge_checks(attempt, checks)?),
        None => notes.push(Note::Warning("the commit's checks were not looked at".to_owned())),
    }
    if !seen.open.is_empty() {
        let lines: Vec<String> =
            seen.open.iter().map(|open| format!("#{} {} ({})", open.number, open.title, open.why)).collect();
        return Err(Failure::refused(attempt)
            .because(format!("pull requests of it are open: {}", listed(&lines)))
            .help("merge or close them, or take the milestone or label from them"));
    }
    if !seen.asked.is_empty() {
        notes.push(Note::Info(format!("no pull request is open {}", seen.asked.join(" or "))));
    }
    Ok(notes)
}

fn judge_checks(attempt: &str, checks: &Checks) -> Result<Vec<Note>, Failure> {
    let mut shut = Vec::new();
    let mut green: Vec<&str> = Vec::new();
    let judge = |check: &Check| {
        if is_green(&check.state) {
            None
        } else {
            let place = check.url.as_deref().map(|url| format!(", {url}")).unwrap_or_default();
            Some(format!("{} ({}{place})", check.name, check.state))
        }
    };
    if checks.wanted.is_empty() {
        for check in &checks.all {
            match judge(check) {
                None => green.push(&check.name),
                Some(line) => shut.push(line),
            }
        }
        if shut.is_empty() && !checks.all.iter().any(|check| check.state == "success") {
            return Err(nothing(attempt, checks));
        }
    }
    for wanted in &checks.wanted {
        let found: Vec<&Check> = checks.all.iter().filter(|check| is_it(check, wanted)).collect();
        if found.is_empty() {
            shut.push(format!("{} (it did not run on this commit)", named(wanted)));
        }
        for check in found {
            match judge(check) {
                None => green.push(&check.name),
                Some(line) => shut.push(line),
            }
        }
    }
    if !shut.is_empty() {
        return Err(Failure::refused(attempt)
            .because(format!("these checks are not green: {}", listed(&shut)))
            .help("wait for those that run, mend or run the others again; --check NAME names the ones that count, --no-checks none"));
    }
    green.dedup();
    let names: Vec<String> = green.iter().map(|name| (*name).to_owned()).collect();
    let why = match (checks.wanted.is_empty(), checks.by_branch) {
        (true, _) => "all that ran",
        (false, true) => "all that the branch requires",
        (false, false) => "all that were named",
    };
    let mut notes = vec![Note::Info(format!("checks are green, {why}: {}", listed(&names)))];
    if checks.passed_over > 0 {
        notes.push(Note::Info(format!(
            "{} of this workflow, or of runs that were done again, were passed over",
            checks.passed_over
        )));
    }
    if !checks.runs_known {
        notes.push(Note::Info(
            "without `actions: read`, earlier runs of a workflow on this commit count too, and a job that has not begun is not seen".to_owned(),
        ));
    }
    Ok(notes)
}

/// An app may be asked for by name; a commit status does not say which it is of.
fn is_it(check: &Check, wanted: &Wanted) -> bool {
    check.name == wanted.name && (wanted.app.is_none() || check.app.is_none() || check.app == wanted.app)
}

fn named(wanted: &Wanted) -> String {
    wanted.app.map_or_else(|| wanted.name.clone(), |app| format!("{} of the app {app}", wanted.name))
}

fn nothing(attempt: &str, checks: &Checks) -> Failure {
    let why = match (checks.all.len(), checks.passed_over) {
        (0, 0) => "no check has run on the commit, and none at all is not green".to_owned(),
        (0, _) => "no check has run on the commit but those of this workflow".to_owned(),
        (n, _) => format!("none of its {n} checks has done anything: all were skipped or are neutral"),
    };
    Failure::refused(attempt)
        .because(why)
        .help("run them on this commit (`[skip ci]` keeps them from running), or leave this gate out with --no-checks")
}

fn listed(lines: &[String]) -> String {
    let shown = lines.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match lines.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
