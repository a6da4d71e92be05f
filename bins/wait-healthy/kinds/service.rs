//! An ECS service that is steady: one deployment, all of its tasks running.
//!
//! Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html>

use aws::Aws;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Service;
use ecs::ServiceRef;
use kit::{Cx, Failure};
use serde::Serialize;

use super::Look;

/// A service, and what it is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Steady {
    pub(crate) cluster: String,
    pub(crate) service: String,
    /// `family:revision`.
    pub(crate) revision: Option<String>,
}

/// For clap's `value_parser`: `CLUSTER/SERVICE[=FAMILY:REVISION]`, or a revision's ARN after the `=`.
pub(crate) fn parse(text: &str) -> Result<Steady, String> {
    let (service, revision) = match text.split_once('=') {
        None => (text, None),
        Some((service, revision)) => (service, Some(revision)),
    };
    let ServiceRef { cluster, service } = ecs::parse_service(service)?;
    let revision = revision.map(|revision| ecs::short(revision).to_owned());
    let numbered = |revision: &String| {
        let parts = revision.rsplit_once(':');
        parts.is_some_and(|(family, number)| !family.is_empty() && number.parse::<u32>().is_ok())
    };
    if revision.as_ref().is_some_and(|revision| !numbered(revision)) {
        return Err("after the `=` stands a revision, as in rally-prod:42".to_owned());
    }
    Ok(Steady { cluster, service, revision })
}

impl Steady {
    fn of(&self) -> ServiceRef {
        ServiceRef { cluster: self.cluster.clone(), service: self.service.clone() }
    }

    pub(crate) fn name(&self) -> String {
        self.of().to_string()
    }
}

/// One deployment of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// `PRIMARY` is the newest.
    pub(crate) status: String,
    pub(crate) revision: String,
    pub(crate) running: i32,
    pub(crate) wanted: i32,
    /// Empty where the service is not deployed by ECS itself.
    pub(crate) rollout: String,
    pub(crate) reason: String,
}

/// What a look at the service saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) running: i32,
    pub(crate) pending: i32,
    pub(crate) wanted: i32,
    pub(crate) revision: String,
    pub(crate) deployments: Vec<Deployment>,
}

/// Whether the service is steady.
///
/// # Errors
/// Its newest deployment has failed, which no waiting mends.
pub(crate) fn judge(steady: &Steady, seen: &Seen) -> Result<Look, Failure> {
    let primary = seen.deployments.iter().find(|deployment| deployment.status == "PRIMARY");
    if let Some(failed) = primary.filter(|deployment| deployment.rollout == "FAILED") {
        return Err(Failure::failed(format!("wait for {} to be steady", steady.name()))
            .because(format!("the deployment of {} has failed: {}", failed.revision, failed.reason))
            .help("deploy-service shows why tasks stopped, and rolls back"));
    }
    let revision = primary.map_or(&seen.revision, |primary| &primary.revision);
    let tasks = format!("{} of {} tasks run", seen.running, seen.wanted);
    if let [_, _, ..] = seen.deployments.as_slice() {
        let each: Vec<String> = seen
            .deployments
            .iter()
            .map(|of| format!("{} ({}) has {} of {}", of.revision, of.status, of.running, of.wanted))
            .collect();
        return Ok(Look::not_yet(format!("{} deployments: {}", each.len(), each.join(", "))));
    }
    if let Some(rolling) = primary.filter(|primary| !matches!(primary.rollout.as_str(), "" | "COMPLETED")) {
        return Ok(Look::not_yet(format!(
            "the deployment of {} is {}: {tasks}",
            rolling.revision, rolling.rollout
        )));
    }
    if let Some(wanted) = steady.revision.as_ref().filter(|wanted| *wanted != revision) {
        return Ok(Look::not_yet(format!("it runs {revision}, want {wanted}")));
    }
    if seen.wanted == 0 {
        return Ok(Look::not_yet("it is to run no tasks at all (its desired count is 0)"));
    }
    if seen.running != seen.wanted || seen.pending > 0 {
        return Ok(Look::not_yet(format!("{tasks}, {} are pending", seen.pending)));
    }
    Ok(Look::healthy(format!("{tasks}, of {revision}")))
}

/// A probe of one service.
#[derive(Debug)]
pub(crate) struct SteadyService {
    steady: Steady,
    aws: Aws,
    client: Client,
}

impl SteadyService {
    pub(crate) fn new(steady: Steady, aws: Aws) -> Self {
        let client = Client::new(&aws.config);
        Self { steady, aws, client }
    }

    pub(crate) fn name(&self) -> String {
        self.steady.name()
    }

    pub(crate) async fn look(&self, cx: &Cx) -> Result<Look, Failure> {
        let service = ecs::describe_service(cx, &self.aws, &self.client, &self.steady.of()).await?;
        judge(&self.steady, &seen(&service))
    }
}

fn seen(service: &Service) -> Seen {
    let short = |arn: Option<&str>| ecs::short(arn.unwrap_or("?")).to_owned();
    Seen {
        running: service.running_count(),
        pending: service.pending_count(),
        wanted: service.desired_count(),
        revision: short(service.task_definition()),
        deployments: service
            .deployments()
            .iter()
            .map(|of| Deployment {
                status: of.status().unwrap_or_default().to_owned(),
                revision: short(of.task_definition()),
                running: of.running_count(),
                wanted: of.desired_count(),
                rollout: of.rollout_state().map_or(String::new(), |state| state.as_str().to_owned()),
                reason: kit::one_line(of.rollout_state_reason().unwrap_or("ECS gives no reason")),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: &str, revision: &str, running: i32, rollout: &str) -> Deployment {
        Deployment {
            status: status.into(),
            revision: revision.into(),
            running,
            wanted: 2,
            rollout: rollout.into(),
            reason: "tasks failed to start.".into(),
        }
    }

    #[test]
    fn steady_is_one_completed_deployment_with_all_of_its_tasks() {
        let steady = parse("prod/web=web:8").unwrap();
        let seen = |running: i32, pending: i32, deployments: &[Deployment]| Seen {
            running,
            pending,
            wanted: 2,
            revision: "web:8".into(),
            deployments: deployments.to_vec(),
        };
        let new = |rollout: &str| deployment("PRIMARY", "web:8", 2, rollout);
        let verdict = |seen: &Seen| judge(&steady, seen).unwrap().verdict;
        assert_eq!(verdict(&seen(2, 0, &[new("COMPLETED")])), Ok("2 of 2 tasks run, of web:8".to_owned()));
        // Without rollout state: deployed by CodeDeploy or an external controller.
        assert!(verdict(&seen(2, 0, &[new("")])).is_ok());
        for (seen, why) in [
            (seen(2, 0, &[new("IN_PROGRESS")]), "is IN_PROGRESS"),
            (seen(1, 1, &[new("COMPLETED")]), "1 of 2 tasks run, 1 are pending"),
            (seen(3, 0, &[new("COMPLETED")]), "3 of 2 tasks run"),
            (
                seen(4, 0, &[new("COMPLETED"), deployment("ACTIVE", "web:7", 2, "COMPLETED")]),
                "2 deployments: web:8 (PRIMARY) has 2 of 2, web:7 (ACTIVE) has 2 of 2",
            ),
            (seen(2, 0, &[deployment("PRIMARY", "web:7", 2, "COMPLETED")]), "it runs web:7, want web:8"),
            (Seen { wanted: 0, ..seen(0, 0, &[new("COMPLETED")]) }, "no tasks at all"),
        ] {
            assert!(verdict(&seen).unwrap_err().contains(why), "{:?}", verdict(&seen));
        }
        let failed = judge(&steady, &seen(1, 0, &[new("FAILED"), deployment("ACTIVE", "web:7", 1, "")]));
        assert!(failed.unwrap_err().chain()[0].contains("tasks failed to start."));
    }

    #[test]
    fn a_service_is_named_with_its_cluster_and_perhaps_a_revision() {
        let arn = "prod/web=arn:aws:ecs:us-east-1:123456789012:task-definition/web:8";
        assert_eq!(parse(arn).unwrap().revision.as_deref(), Some("web:8"));
        assert_eq!(parse("prod/web").unwrap().revision, None);
        for bad in ["web", "prod/web=", "prod/web=web", "prod/web=:8", "prod/=web:8"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
