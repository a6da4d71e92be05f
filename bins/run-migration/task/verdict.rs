//! How the migration went, as a stopped task tells: the stop code first, then the exit code of one named container.

use ecs::short;
use kit::{Code, Failure};

use super::observe::SeenTask;

/// What a stopped task says of the migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The container ended by itself with exit code 0.
    Done,
    /// The container ended by itself with another one.
    Said { exit_code: i32, why: String },
    /// The container never ran.
    NeverRan { why: String },
    /// Whatever ended it, the container did not say how far it came.
    Unknown { why: String },
}

/// The verdict on the container of that name.
///
/// Stop codes: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html>. An essential container that ends is
/// how a one-off task is meant to end; any other code is somebody or something else's doing, and then an exit code of 0 says
/// no more than that the process took SIGTERM well.
pub(crate) fn judge(task: &SeenTask, container: &str) -> Verdict {
    let stopped_reason = task.stopped_reason.as_deref().unwrap_or("ECS gives no reason");
    let of = task.containers.iter().find(|seen| seen.name == container);
    let exit_code = of.and_then(|seen| seen.exit_code);
    let reason = of.and_then(|seen| seen.reason.as_deref());
    let both = match reason {
        Some(reason) if !stopped_reason.contains(reason) => {
            format!("{stopped_reason}; container {container}: {reason}")
        }
        _ => stopped_reason.to_owned(),
    };
    match (task.stop_code.as_deref(), exit_code) {
        (Some("TaskFailedToStart"), None) => {
            Verdict::NeverRan { why: format!("the task failed to start: {both}") }
        }
        (Some("TaskFailedToStart"), Some(code)) => Verdict::Unknown {
            why: format!(
                "the task failed to start ({both}), after container {container} had ended with exit code {code}"
            ),
        },
        (Some("SpotInterruption"), _) => {
            Verdict::Unknown { why: format!("AWS took back the Spot capacity under the task: {both}") }
        }
        (Some("TerminationNotice"), _) => {
            Verdict::Unknown { why: format!("AWS ended the host under the task: {both}") }
        }
        (Some("UserInitiated"), _) => Verdict::Unknown { why: format!("somebody stopped the task: {both}") },
        (_, Some(0)) => Verdict::Done,
        (_, Some(exit_code)) => {
            let meaning = meaning(exit_code).map_or_else(String::new, |meaning| format!(" ({meaning})"));
            Verdict::Said {
                exit_code,
                why: format!("container {container} ended with exit code {exit_code}{meaning}: {both}"),
            }
        }
        (_, None) if of.is_none() => {
            Verdict::Unknown { why: format!("ECS shows no container {container} in the task: {both}") }
        }
        (_, None) => {
            Verdict::Unknown { why: format!("container {container} ended without an exit code: {both}") }
        }
    }
}

/// The exit codes that a container does not choose by itself: 128 and the number of the signal.
fn meaning(exit_code: i32) -> Option<&'static str> {
    match exit_code {
        126 => Some("its command can't be executed"),
        127 => Some("its command was not found in the image"),
        134 => Some("SIGABRT: it aborted"),
        137 => Some("SIGKILL: out of memory, or it did not end in time when it was stopped"),
        139 => Some("SIGSEGV: it crashed"),
        143 => Some("SIGTERM: it was stopped"),
        _ => None,
    }
}

impl Verdict {
    /// The failure that a verdict other than success is.
    pub(crate) fn failure(&self, task: &SeenTask, container: &str) -> Option<Failure> {
        let attempt = format!("run the migration as task {}, container {container}", short(&task.arn));
        match self {
            Self::Done => None,
            Self::Said { why, .. } => Some(
                Failure::new(Code::Partial, attempt)
                    .because(why.clone())
                    .help("its log says how far it came; mend the cause and run the same command again: it starts another task"),
            ),
            Self::NeverRan { why } => Some(
                Failure::new(Code::Partial, attempt)
                    .because(why.clone())
                    .state("the migration did not run: its container was never started")
                    .help("mend the cause and run the same command again: it starts another task"),
            ),
            Self::Unknown { why } => Some(
                Failure::unverified(attempt)
                    .because(why.clone())
                    .state("how far the migration came is not known: it may have been ended half-way")
                    .help("look into the database and at the log before running the same command again, which starts another task"),
            ),
        }
    }
}

/// How the other containers ended: they never decide, and may explain.
pub(crate) fn others(task: &SeenTask, container: &str) -> Vec<String> {
    task.containers
        .iter()
        .filter(|seen| seen.name != container)
        .filter_map(|seen| {
            let reason = seen.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            match (seen.exit_code, &seen.reason) {
                (Some(0) | None, None) => None,
                (Some(code), _) => Some(format!(
                    "container {} ended with exit code {code}{reason}; it does not decide",
                    seen.name
                )),
                (None, Some(_)) => Some(format!(
                    "container {} ended without an exit code{reason}; it does not decide",
                    seen.name
                )),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::observe::SeenContainer;
    use super::*;

    fn task(stop_code: &str, reason: &str, containers: &[(&str, Option<i32>, &str)]) -> SeenTask {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        SeenTask {
            arn: "arn:aws:ecs:us-east-1:123456789012:task/rally/0123".into(),
            status: "STOPPED".into(),
            stop_code: some(stop_code),
            stopped_reason: some(reason),
            containers: containers
                .iter()
                .map(|(name, exit_code, reason)| SeenContainer {
                    name: (*name).into(),
                    exit_code: *exit_code,
                    reason: some(reason),
                })
                .collect(),
            ..SeenTask::default()
        }
    }

    const ENDED: &str = "Essential container in task exited";

    #[test]
    fn the_named_container_decides_and_no_other() {
        let both = [("proxy", Some(1), ""), ("migrate", Some(0), "")];
        let seen = task("EssentialContainerExited", ENDED, &both);
        assert_eq!(judge(&seen, "migrate"), Verdict::Done);
        assert_eq!(others(&seen, "migrate"), ["container proxy ended with exit code 1; it does not decide"]);
        let Verdict::Said { exit_code, .. } = judge(&seen, "proxy") else { panic!("proxy ended with 1") };
        assert_eq!(exit_code, 1);
    }

    #[test]
    fn the_stop_code_comes_before_an_exit_code_of_zero() {
        for code in ["SpotInterruption", "TerminationNotice", "UserInitiated", "TaskFailedToStart"] {
            let seen = task(code, "Your Spot Task was interrupted.", &[("migrate", Some(0), "")]);
            let verdict = judge(&seen, "migrate");
            let failure = verdict.failure(&seen, "migrate").unwrap();
            assert_eq!(failure.code(), Code::Unverified, "{code}");
            assert!(failure.chain().concat().contains("Your Spot Task was interrupted."));
        }
    }

    #[test]
    fn no_exit_code_is_no_success() {
        let seen = task("", "", &[("migrate", None, "")]);
        assert!(matches!(judge(&seen, "migrate"), Verdict::Unknown { .. }));
        let pull = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found";
        let seen = task("TaskFailedToStart", pull, &[("migrate", None, pull)]);
        let Verdict::NeverRan { why } = judge(&seen, "migrate") else { panic!("it never ran") };
        assert_eq!(why.matches("CannotPullContainerError").count(), 1, "{why}");
        assert!(matches!(judge(&seen, "absent"), Verdict::NeverRan { .. }));
    }

    #[test]
    fn a_container_that_says_no_is_named_with_its_code_and_reason() {
        let memory = "OutOfMemoryError: Container killed due to memory usage";
        let seen = task("EssentialContainerExited", ENDED, &[("migrate", Some(137), memory)]);
        let failure = judge(&seen, "migrate").failure(&seen, "migrate").unwrap();
        assert_eq!(failure.code(), Code::Partial);
        let text = failure.chain().concat();
        assert!(text.contains("exit code 137") && text.contains(memory), "{text}");
    }
}
