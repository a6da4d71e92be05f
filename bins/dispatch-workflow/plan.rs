//! Whether a run is started, followed or there already; and what its jobs say. Pure.

use kit::{Action, Failure, Note, Plan};
use serde::{Deserialize, Serialize};

use crate::observe::{Job, Run, Seen};

pub(crate) const DISPATCH: &str = "dispatch-workflow";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) repository: String,
    pub(crate) workflow: String,
    pub(crate) git_ref: String,
    /// What the ref has to lead to.
    pub(crate) commit: Option<String>,
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) mark: Option<Mark>,
    pub(crate) again: bool,
}

/// The text by which a run is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) text: String,
    /// Whether the next try has the same one.
    pub(crate) is_stable: bool,
}

impl Mark {
    /// Whether the run's name has it, and not as a part of a longer one.
    pub(crate) fn is_of(&self, run: &Run) -> bool {
        let word = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        // A dot joins only what stands on both of its sides: 2.1 is a part of 2.1.1, and not of the end of a sentence.
        let joined = |chars: &mut dyn Iterator<Item = char>| match chars.next() {
            Some('.') => chars.next().is_some_and(word),
            next => next.is_some_and(word),
        };
        run.display_title.match_indices(&self.text).any(|(from, text)| {
            let (before, after) = (run.display_title.get(..from), run.display_title.get(from + text.len()..));
            !joined(&mut before.unwrap_or_default().chars().rev())
                && !joined(&mut after.unwrap_or_default().chars())
        })
    }
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Start {
    pub(crate) repository: String,
    pub(crate) workflow: String,
    pub(crate) git_ref: String,
    pub(crate) head: String,
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) what: What,
    notes: Vec<Note>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    Dispatch,
    Follow(Run),
    Done(Run),
}

pub(crate) fn plan(request: &Request, seen: &Seen) -> Result<Start, Failure> {
    let Request { repository, workflow, git_ref, .. } = request;
    let attempt = format!("start {workflow} on {git_ref} in {repository}");
    let mut notes = vec![Note::Info(format!("{git_ref} leads to {}", seen.head))];
    let what = match &request.mark {
        Some(mark) if mark.is_stable => match seen.runs.iter().find(|run| mark.is_of(run)) {
            None => What::Dispatch,
            Some(run) if run.status != "completed" => What::Follow(run.clone()),
            Some(run) if run.conclusion.as_deref() == Some("success") => What::Done(run.clone()),
            Some(run) => {
                notes.push(Note::Info(format!("the earlier run of this was no success: {}", shown(run))));
                What::Dispatch
            }
        },
        _ => {
            match seen.runs.iter().find(|run| counts(run)) {
                Some(run) if !request.again => {
                    return Err(Failure::refused(attempt)
                    .because(format!("a run of it on this commit is there, and nothing tells whether it is this one: {}", shown(run)))
                    .help("with --id-input runs can be told apart; --again starts one more"));
                }
                Some(run) => {
                    notes.push(Note::Warning(format!("a run of it on this commit is there: {}", shown(run))));
                    What::Dispatch
                }
                None => What::Dispatch,
            }
        }
    };
    let attempt = format!("start {workflow} on {git_ref} in {repository}");
    let head = match &what {
        What::Dispatch if seen.workflow.state != "active" => {
            return Err(Failure::refused(attempt)
                .because(format!("the workflow is switched off: {}", seen.workflow.state))
                .help("switch it on again on its page on GitHub"));
        }
        What::Dispatch => &seen.head,
        // Its own run stays what it was when the branch goes on.
        What::Follow(run) | What::Done(run) => &run.head_sha,
    };
    if let Some(commit) = &request.commit
        && commit != head
    {
        let failure = Failure::refused(attempt);
        return Err(match &what {
            What::Dispatch => failure
                .because(format!("{git_ref} leads to {head} and not to {commit}"))
                .help("correct --commit or --ref"),
            What::Follow(run) | What::Done(run) => failure
                .because(format!("the run of this text is on {head} and not on {commit}: {}", run.html_url))
                .help("another commit needs another --id"),
        });
    }
    if *head != seen.head {
        notes.push(Note::Warning(format!("{git_ref} has been moved since: the run is on {head}")));
    }
    let (repository, workflow, git_ref) = (repository.clone(), workflow.clone(), git_ref.clone());
    let (head, inputs) = (head.clone(), request.inputs.clone());
    Ok(Start { repository, workflow, git_ref, head, inputs, what, notes })
}

/// Whether what the run does, or did, would be done twice.
fn counts(run: &Run) -> bool {
    run.status != "completed" || run.conclusion.as_deref() == Some("success")
}

fn shown(run: &Run) -> String {
    format!("{} ({})", run.html_url, run.conclusion.as_ref().unwrap_or(&run.status))
}

impl Plan for Start {
    fn actions(&self) -> Vec<Action> {
        let Self { repository, workflow, git_ref, .. } = self;
        if self.what != What::Dispatch {
            return Vec::new();
        }
        let inputs: Vec<String> =
            self.inputs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let action = Action::new(
            DISPATCH,
            format!("start {workflow} on {git_ref} in {repository}"),
            "cancels the run, if it is still under way; what it has done stays",
        );
        vec![if inputs.is_empty() { action } else { action.detail(inputs.join("\n")) }]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match &self.what {
            What::Done(run) => format!("{} has run already: {}", self.workflow, run.html_url),
            What::Follow(run) => format!("{} is under way already: {}", self.workflow, run.html_url),
            What::Dispatch => format!("{} is started", self.workflow),
        }
    }
}

/// How far the run is, in a line.
pub(crate) fn progress(run: &Run, jobs: &[Job]) -> String {
    let done = jobs.iter().filter(|job| job.status == "completed").count();
    let under_way = jobs.iter().filter(|job| job.status != "completed").map(|job| {
        let step = job.steps.iter().find(|step| step.status == "in_progress");
        let step = step.map(|step| format!(", step {}", step.name)).unwrap_or_default();
        format!("{} ({}{step})", job.name, job.status)
    });
    let under_way: Vec<String> = under_way.collect();
    let state = match run.status.as_str() {
        "waiting" => "it waits for an approval",
        other => other,
    };
    let jobs = if jobs.is_empty() { String::new() } else { format!(", {done} of {} jobs done", jobs.len()) };
    let tail = if under_way.is_empty() { String::new() } else { format!(": {}", under_way.join("; ")) };
    format!("{state}{jobs}{tail}")
}

/// The end of a run: well, or why not.
pub(crate) fn verdict(workflow: &str, run: &Run, jobs: &[Job]) -> Result<(), Failure> {
    let conclusion = run.conclusion.as_deref().unwrap_or("unknown");
    if conclusion == "success" {
        return Ok(());
    }
    let good = |conclusion: &Option<String>| {
        matches!(conclusion.as_deref(), None | Some("success" | "skipped" | "neutral"))
    };
    let failed: Vec<String> = jobs
        .iter()
        .filter(|job| !good(&job.conclusion))
        .map(|job| {
            let steps: Vec<&str> = job
                .steps
                .iter()
                .filter(|step| !good(&step.conclusion))
                .map(|step| step.name.as_str())
                .collect();
            let steps = if steps.is_empty() { String::new() } else { format!(" in {}", steps.join(", ")) };
            let place = job.html_url.as_deref().map(|url| format!(", {url}")).unwrap_or_default();
            format!("{} ({}{steps}{place})", job.name, job.conclusion.as_deref().unwrap_or_default())
        })
        .collect();
    let failure = Failure::unverified(format!("run {workflow}"))
        .because(format!("its run ended with {conclusion}: {}", run.html_url));
    let failure = if failed.is_empty() { failure } else { failure.because(failed.join("; ")) };
    Err(failure
        .help("read its log there; run its failed jobs again there and then this command, which follows them, or this command alone for a new run")
        .state("the run is over; what it did before it ended stays"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Step, Workflow};
    use kit::Code;

    fn run(id: u64, title: &str, status: &str, conclusion: Option<&str>) -> Run {
        Run {
            id,
            display_title: title.into(),
            status: status.into(),
            conclusion: conclusion.map(str::to_owned),
            head_sha: "a".repeat(40),
            html_url: format!("https://github.com/acme/rally/actions/runs/{id}"),
        }
    }

    #[test]
    fn a_text_is_known_only_as_a_whole() {
        for (text, title, is_it) in [
            ("v2.1", "Build v2.1", true),
            ("v2.1", "Build v2.1.", true),
            ("v2.1", "v2.1: build (again)", true),
            ("v2.1", "Build v2.1.1", false),
            ("v2.1", "Build v2.1.1, after v2.1", true),
            ("2.1.0", "Build 0.2.1.0", false),
            ("2.1.0", "Build v2.1.0", false),
            ("build_1", "build_1_retry", false),
            ("build-1", "re-build-1", false),
            ("7", "Build (7)", true),
        ] {
            let mark = Mark { text: text.into(), is_stable: true };
            assert_eq!(mark.is_of(&run(1, title, "completed", None)), is_it, "{text} in {title}");
        }
    }

    fn seen(runs: Vec<Run>) -> Seen {
        let workflow = Workflow { path: ".github/workflows/build.yml".into(), state: "active".into() };
        Seen { workflow, head: "a".repeat(40), runs }
    }

    fn request(mark: Option<&str>) -> Request {
        Request {
            repository: "acme/rally".into(),
            workflow: "build.yml".into(),
            git_ref: "v2.1.0".into(),
            commit: None,
            inputs: Vec::new(),
            mark: mark.map(|text| Mark { text: text.into(), is_stable: true }),
            again: false,
        }
    }

    #[test]
    fn a_marked_run_is_taken_up_wherever_it_stands_and_a_failed_one_is_done_again() {
        let of = |runs| plan(&request(Some("cutover-7")), &seen(runs)).unwrap().what;
        let title = "Build cutover-7";
        assert_eq!(of(vec![]), What::Dispatch);
        assert_eq!(of(vec![run(1, "Build cutover-77", "in_progress", None)]), What::Dispatch);
        assert_eq!(of(vec![run(1, "Build x-cutover-7", "in_progress", None)]), What::Dispatch);
        let under_way = run(2, title, "queued", None);
        assert_eq!(
            of(vec![under_way.clone(), run(1, title, "completed", Some("failure"))]),
            What::Follow(under_way)
        );
        let done = run(1, title, "completed", Some("success"));
        assert_eq!(of(vec![done.clone()]), What::Done(done));
        for conclusion in ["failure", "cancelled", "timed_out", "startup_failure", "action_required"] {
            assert_eq!(
                of(vec![run(1, title, "completed", Some(conclusion))]),
                What::Dispatch,
                "{conclusion}"
            );
        }
    }

    #[test]
    fn without_a_mark_a_run_on_the_commit_is_in_the_way() {
        for there in [run(1, "Build", "waiting", None), run(1, "Build", "completed", Some("success"))] {
            let refused = plan(&request(None), &seen(vec![there.clone()])).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain().join(" ").contains("/actions/runs/1"), "{:?}", refused.chain());
            let again = Request { again: true, ..request(None) };
            assert_eq!(plan(&again, &seen(vec![there])).unwrap().what, What::Dispatch);
        }
        let failed = run(1, "Build", "completed", Some("failure"));
        assert_eq!(plan(&request(None), &seen(vec![failed])).unwrap().what, What::Dispatch);
    }

    #[test]
    fn a_ref_that_leads_elsewhere_and_a_workflow_that_is_off_are_refused() {
        let elsewhere = Request { commit: Some("b".repeat(40)), ..request(None) };
        assert!(plan(&elsewhere, &seen(vec![])).unwrap_err().chain().join("").contains("leads to aaaa"));
        let mut off = seen(vec![]);
        off.workflow.state = "disabled_inactivity".into();
        assert!(plan(&request(None), &off).unwrap_err().chain().join("").contains("disabled_inactivity"));
    }

    #[test]
    fn a_run_of_its_own_is_followed_though_the_branch_has_moved_on() {
        let mark = request(Some("cutover-7"));
        let own = Run { head_sha: "c".repeat(40), ..run(1, "Build cutover-7", "in_progress", None) };
        let mut there = seen(vec![own.clone()]);
        there.workflow.state = "disabled_manually".into();
        for commit in [None, Some("c".repeat(40))] {
            let followed = plan(&Request { commit, ..mark.clone() }, &there).unwrap();
            assert_eq!((followed.what, followed.head), (What::Follow(own.clone()), own.head_sha.clone()));
            assert_eq!(followed.notes.len(), 2);
        }
        let other = Request { commit: Some("a".repeat(40)), ..mark };
        let refused = plan(&other, &there).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain().join("").contains("is on cccc"), "{:?}", refused.chain());
    }

    #[test]
    fn the_end_names_the_job_and_the_step() {
        let step = |name: &str, conclusion: &str| Step {
            name: name.into(),
            status: "completed".into(),
            conclusion: Some(conclusion.into()),
        };
        let job = |name: &str, conclusion: &str, steps| Job {
            name: name.into(),
            status: "completed".into(),
            conclusion: Some(conclusion.into()),
            html_url: None,
            steps,
        };
        let jobs = [
            job("test", "success", vec![]),
            job("image", "failure", vec![step("Check out", "success"), step("Compile", "failure")]),
        ];
        let failed = verdict("build.yml", &run(1, "", "completed", Some("failure")), &jobs).unwrap_err();
        assert_eq!(failed.code(), Code::Unverified);
        let told = failed.chain().join(" ");
        assert!(told.contains("image (failure in Compile)") && !told.contains("test ("), "{told}");
        assert!(verdict("build.yml", &run(1, "", "completed", Some("success")), &jobs).is_ok());
        let mut waiting = run(1, "", "waiting", None);
        assert!(progress(&waiting, &[]).contains("waits for an approval"));
        waiting.status = "in_progress".into();
        let busy = [Job { status: "in_progress".into(), conclusion: None, ..job("image", "", vec![]) }];
        assert_eq!(progress(&waiting, &busy), "in_progress, 0 of 1 jobs done: image (in_progress)");
    }
}
