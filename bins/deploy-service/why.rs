//! Why tasks stopped: counted by cause, and said in a plain sentence where the cause is known. Pure.

use std::collections::BTreeMap;

use crate::tasks::{RunningTask, Stop};

/// Stops with one cause.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    /// The newest of them.
    pub(crate) stop: Stop,
    pub(crate) count: usize,
    /// The newest lines of its failing container's log, or why there are none.
    pub(crate) log: Option<Result<Vec<String>, String>>,
}

/// What stopped so far.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    seen: BTreeMap<String, Stop>,
    /// Those before a task of the deployment was seen to thrive, which do not count for giving up.
    forgiven: usize,
    logs: BTreeMap<Key, Result<Vec<String>, String>>,
}

/// Stop code, reason, container, exit code and the container's reason, without what differs from task to task.
type Key = (String, String, Option<String>, Option<i32>, String);

fn key(stop: &Stop) -> Key {
    let reason = stop.container_reason.as_deref().unwrap_or_default();
    (stop.code.clone(), general(&stop.reason), stop.container.clone(), stop.exit_code, general(reason))
}

/// A reason without the ids in it: request ids, addresses and instances differ from task to task.
fn general(reason: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let mut out = String::new();
    let mut run = String::new();
    for c in reason.chars().chain([' ']) {
        if word(c) {
            run.push(c);
            continue;
        }
        let digits = run.chars().filter(char::is_ascii_digit).count();
        let long_id = run.len() >= 8 && digits >= 3;
        let address = run.split('.').count() == 4 && run.chars().all(|c| c.is_ascii_digit() || c == '.');
        out.push_str(if long_id || address { "*" } else { &run });
        run.clear();
        out.push(c);
    }
    out
}

impl Stops {
    /// Takes in what a look found, and returns the tasks that stopped for a cause not seen before.
    pub(crate) fn add(&mut self, found: BTreeMap<String, Stop>) -> Vec<Stop> {
        let mut new: Vec<Stop> = Vec::new();
        for (task, stop) in found {
            let known = self.seen.values().chain(&new).any(|seen| key(seen) == key(&stop));
            if !known {
                new.push(stop.clone());
            }
            self.seen.insert(task, stop);
        }
        new
    }

    pub(crate) fn log(&mut self, stop: &Stop, log: Result<Vec<String>, String>) {
        self.logs.insert(key(stop), log);
    }

    /// The commonest first.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        let mut causes: BTreeMap<Key, Cause> = BTreeMap::new();
        for stop in self.seen.values() {
            let key = key(stop);
            let log = self.logs.get(&key).cloned();
            let cause = causes.entry(key).or_insert_with(|| Cause { stop: stop.clone(), count: 0, log });
            cause.count += 1;
            if stop.stopped > cause.stop.stopped {
                cause.stop = stop.clone();
            }
        }
        let mut causes: Vec<Cause> = causes.into_values().collect();
        causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.stop.task.cmp(&b.stop.task)));
        causes
    }

    /// How many tasks stopped for the commonest cause since a task of the deployment was last seen to thrive.
    pub(crate) fn in_a_row(&self) -> usize {
        self.causes().first().map_or(0, |cause| cause.count.saturating_sub(self.forgiven))
    }

    /// A task of the deployment thrives: what stopped before says nothing about whether it can start.
    pub(crate) fn forgive(&mut self) {
        self.forgiven = self.causes().first().map_or(0, |cause| cause.count);
    }

    /// Whether a running task of the deployment is healthy, or without a health check has outlived those that stopped.
    pub(crate) fn outlived_by(&self, deployment: &str, running: &[RunningTask]) -> bool {
        /// An application may need as long to find that it can't work.
        const SECONDS: f64 = 60.0;
        let longest =
            self.seen.values().filter(|stop| stop.started > 0.0).map(|stop| stop.stopped - stop.started);
        let longest = longest.fold(SECONDS, f64::max);
        // Compared with ECS's own times: this machine's clock may be wrong.
        let newest = self.seen.values().map(|stop| stop.stopped).fold(0.0, f64::max);
        running.iter().filter(|task| task.started_by == deployment && task.status == "RUNNING").any(|task| {
            task.health == "HEALTHY"
                || (task.health != "UNHEALTHY" && task.started > 0.0 && newest - task.started > longest)
        })
    }
}

impl Cause {
    /// "3 tasks: Essential container in task exited; container web exited with code 1".
    pub(crate) fn text(&self) -> String {
        let Self { stop, count, .. } = self;
        format!("{}: {}", kit::counted(*count, "task"), stop.text())
    }

    pub(crate) fn plainly(&self) -> Option<&'static str> {
        plainly(&self.stop, self.log.as_ref().and_then(|log| log.as_deref().ok()).unwrap_or_default())
    }
}

/// What a known cause means and what to do, in a sentence.
///
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html> and the pages it leads
/// to; exit codes above 128 are 128 and the signal's number.
pub(crate) fn plainly(stop: &Stop, log: &[String]) -> Option<&'static str> {
    let reason = format!("{} {}", stop.reason, stop.container_reason.as_deref().unwrap_or_default());
    let lower = reason.to_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    let logged = |text: &str| log.iter().any(|line| line.contains(text));
    if has(&["exec format error"]) || logged("exec format error") {
        return Some(
            "the image is built for another processor architecture than the task runs on: build it for the platform of \
             runtimePlatform, or change that",
        );
    }
    if has(&["cannotpull", "pull image"]) {
        return Some(if has(&["platform", "no matching manifest"]) {
            "the image has no variant for the task's processor architecture: build it for the platform of runtimePlatform"
        } else if has(&["not found", "manifest unknown", "does not exist"]) {
            "the image does not exist in the registry: check repository and tag or digest, and that the build has pushed it"
        } else if has(&["toomanyrequests", "rate limit"]) {
            "the registry's rate limit is reached: use an image from ECR, or sign in to the registry"
        } else if has(&["timeout", "dial tcp", "deadline", "canceled", "connection refused"]) {
            "the registry can't be reached from the task's subnet: it needs a NAT gateway, a public address or VPC endpoints for \
             ECR and S3, and a security group that lets it out"
        } else if has(&["no space left"]) {
            "the image does not fit on the disk: raise ephemeralStorage, or free the instance's disk"
        } else {
            "the image could not be pulled: check that it exists and that the execution role may pull it"
        });
    }
    if has(&["resourceinitializationerror"]) {
        return Some(if has(&["logger", "log group", "cloudwatch"]) {
            "the log group could not be used: create it, or allow the execution role logs:CreateLogStream and logs:PutLogEvents"
        } else if has(&["timeout", "dial tcp", "deadline", "canceled"]) {
            "secrets or registry credentials could not be fetched in time: the task's subnet needs a way to Secrets Manager, SSM \
             and ECR (NAT gateway or VPC endpoints)"
        } else if has(&["accessdenied", "not authorized"]) {
            "the execution role may not read a secret or parameter that the task definition names: allow it, and the key it is \
             encrypted with"
        } else if has(&["secret", "parameter", "ssm"]) {
            "a secret or parameter that the task definition names could not be read: check that it exists in this region, its \
             JSON key, and that the execution role may read it"
        } else {
            "the task could not be prepared: check the execution role, the secrets, the volumes and the subnet's routes"
        });
    }
    if has(&["outofmemory", "oom"]) {
        return Some(
            "the container was killed because it used more memory than its limit: raise memory, or find what uses it",
        );
    }
    if has(&["elb health check", "is unhealthy in", "target group", "targetgroup"]) && has(&["health"]) {
        return Some(
            "the load balancer's health check failed: check path, port, expected status, the security groups between, and \
             whether healthCheckGracePeriodSeconds is long enough for the application to start",
        );
    }
    if has(&["container health check"]) {
        return Some(
            "the health check in the task definition failed: check its command, and whether startPeriod is long enough for the \
             application to start",
        );
    }
    if has(&["capacity is unavailable", "resource:", "no container instance", "unable to place"]) {
        return Some(
            "there is no capacity for the task: add instances, or change its size, platform or availability zones",
        );
    }
    match stop.code.as_str() {
        "SpotInterruption" => {
            return Some("Spot capacity was taken back: this says nothing about the revision");
        }
        "TerminationNotice" => {
            return Some("the instance is being terminated: this says nothing about the revision");
        }
        "UserInitiated" => return Some("somebody stopped it"),
        _ => {}
    }
    match stop.exit_code? {
        0 => {
            Some("the container ended by itself without an error: a service's container has to go on running")
        }
        126 => Some("the command can't be executed: check its permissions and what the entry point names"),
        127 => Some("the command was not found in the image: check command and entryPoint"),
        137 => Some(
            "the container was killed (SIGKILL): it used too much memory, or did not end within stopTimeout when asked to",
        ),
        139 => Some(
            "the container crashed with a memory fault (SIGSEGV): often a native library of another architecture",
        ),
        143 => Some("the container was asked to end (SIGTERM) and did"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(task: &str, reason: &str, exit_code: Option<i32>) -> Stop {
        Stop {
            task: task.into(),
            code: "EssentialContainerExited".into(),
            reason: reason.into(),
            container: Some("web".into()),
            exit_code,
            started: 100.0,
            stopped: 110.0,
            ..Stop::default()
        }
    }

    fn stops(all: &[Stop]) -> Stops {
        let mut stops = Stops::default();
        stops.add(all.iter().map(|stop| (stop.task.clone(), stop.clone())).collect());
        stops
    }

    #[test]
    fn stops_are_counted_by_cause_and_not_by_the_ids_in_their_reasons() {
        let pull = |task: &str, id: &str| {
            stop(
                task,
                &format!(
                    "ResourceInitializationError: unable to pull secrets or registry auth: RequestID: {id}, dial tcp 10.0.{task}.7:443: i/o timeout"
                ),
                None,
            )
        };
        let all = [
            pull("1", "1b9c2f1e-aaaa-4bbb-8ccc-0123456789ab"),
            pull("2", "7d3e4f5a-bbbb-4ccc-9ddd-ba9876543210"),
            stop("3", "Essential container in task exited", Some(1)),
        ];
        let causes = stops(&all).causes();
        assert_eq!(causes.iter().map(|cause| cause.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(
            causes[1].text(),
            "1 task: Essential container in task exited; container web exited with code 1"
        );
        assert!(causes[0].plainly().unwrap().contains("could not be fetched in time"));
    }

    #[test]
    fn a_new_cause_is_told_once() {
        let mut seen = Stops::default();
        let one = |task: &str| BTreeMap::from([(task.to_owned(), stop(task, "exited", Some(1)))]);
        assert_eq!(seen.add(one("1")).len(), 1);
        assert!(seen.add(one("2")).is_empty());
        assert_eq!(seen.in_a_row(), 2);
    }

    #[test]
    fn what_stopped_before_a_task_thrived_does_not_count() {
        let mut seen = stops(&[stop("1", "exited", Some(1)), stop("2", "exited", Some(1))]);
        let task = |health: &str, started: f64| RunningTask {
            arn: "t".into(),
            task_definition: "web:8".into(),
            status: "RUNNING".into(),
            started_by: "ecs-svc/2".into(),
            health: health.into(),
            started,
        };
        // Started ten seconds before the last one stopped: it may crash like the others.
        assert!(!seen.outlived_by("ecs-svc/2", &[task("UNKNOWN", 100.0)]));
        assert!(!seen.outlived_by("ecs-svc/1", &[task("HEALTHY", 100.0)]));
        assert!(seen.outlived_by("ecs-svc/2", &[task("HEALTHY", 109.0)]));
        assert!(seen.outlived_by("ecs-svc/2", &[task("UNKNOWN", 40.0)]));
        seen.forgive();
        assert_eq!(seen.in_a_row(), 0);
        seen.add(BTreeMap::from([("3".to_owned(), stop("3", "exited", Some(1)))]));
        assert_eq!(seen.in_a_row(), 1);
    }

    #[test]
    fn known_causes_are_said_plainly() {
        // The messages of the ECS developer guide's pages on stopped tasks, and of the kernel.
        for (reason, exit_code, log, said) in [
            (
                "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref \
                 123456789012.dkr.ecr.us-east-1.amazonaws.com/web:8: not found",
                None,
                "",
                "does not exist in the registry",
            ),
            (
                "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'",
                None,
                "",
                "processor architecture",
            ),
            (
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
                 unable to retrieve secret from asm: service call has been retried 1 time(s): AccessDeniedException",
                None,
                "",
                "may not read a secret",
            ),
            (
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to \
                 create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.",
                None,
                "",
                "log group could not be used",
            ),
            (
                "Essential container in task exited",
                Some(1),
                "exec /app/run: exec format error",
                "processor architecture",
            ),
            (
                "OutOfMemoryError: Container killed due to memory usage",
                Some(137),
                "",
                "more memory than its limit",
            ),
            ("Essential container in task exited", Some(137), "", "SIGKILL"),
            ("Essential container in task exited", Some(139), "", "SIGSEGV"),
            ("Essential container in task exited", Some(143), "", "SIGTERM"),
            (
                "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1)",
                None,
                "",
                "load balancer's health check failed",
            ),
            ("Task failed container health checks", None, "", "health check in the task definition"),
        ] {
            let found = plainly(&stop("1", reason, exit_code), &[log.to_owned()]).unwrap_or_default();
            assert!(found.contains(said), "{reason}: {found}");
        }
        assert_eq!(plainly(&stop("1", "Essential container in task exited", Some(1)), &[]), None);
    }
}
