//! Service deployments: what ECS itself says about a deployment, its roll-back and its history.
//!
//! These calls are newer than `DescribeServices` and a role may lack them: then the deployment's own id decides.
//! Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html>

use std::collections::BTreeMap;

use aws::failure;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types as sdk;
use kit::Failure;
use serde::Serialize;

use crate::observe::Ecs;

/// One service deployment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Rollout {
    pub(crate) arn: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    /// Only where traffic is shifted: a rolling update has no stages.
    pub(crate) stage: Option<String>,
    /// The service revision that it brings.
    pub(crate) target: String,
    pub(crate) requested: i32,
    pub(crate) running: i32,
    pub(crate) pending: i32,
    /// Percent of the production traffic.
    pub(crate) traffic: Option<f64>,
    pub(crate) test_traffic: Option<f64>,
    pub(crate) rollback_reason: Option<String>,
    /// Failures, and how many trip the circuit breaker.
    pub(crate) breaker: Option<(i32, i32)>,
    pub(crate) alarms: Vec<String>,
    pub(crate) pauses: Vec<Pause>,
}

/// A hook at which the deployment waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    pub(crate) id: String,
    /// When ECS goes on by itself, as RFC 3339, and how.
    pub(crate) expires: Option<String>,
    pub(crate) then: Option<String>,
}

/// A line of the service's history.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Past {
    pub(crate) arn: String,
    pub(crate) status: String,
    pub(crate) created: f64,
    pub(crate) task_definition: String,
}

/// What one of the newer calls gave.
#[derive(Debug)]
pub(crate) enum Newer<T> {
    There(T),
    /// ECS does not know it, or not yet.
    NotThere,
    /// The role may not ask, or what answers does not know the call; says which.
    Unavailable(String),
}

impl Rollout {
    /// Everything that ECS gives as a reason, without repetitions.
    pub(crate) fn why(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        for reason in [&self.reason, &self.rollback_reason].into_iter().flatten() {
            let reason = reason.trim_end_matches('.');
            if !said.iter().any(|earlier| earlier.contains(reason)) {
                said.push(reason.to_owned());
            }
        }
        if !self.alarms.is_empty() {
            said.push(format!("alarms: {}", self.alarms.join(", ")));
        }
        if let Some((count, threshold)) = self.breaker
            && count > 0
        {
            said.push(format!("circuit breaker: failures {count}, threshold {threshold}"));
        }
        if said.is_empty() { "ECS gives no reason".to_owned() } else { said.join("; ") }
    }

    /// Whether the new revision has most of the production traffic, where traffic is being shifted: the number of running
    /// tasks says nothing there, since both revisions run in full until the end.
    pub(crate) fn has_traffic(&self) -> Option<bool> {
        self.traffic.filter(|_| self.goes_on()).map(|percent| percent > 50.0)
    }

    /// It has not ended.
    pub(crate) fn goes_on(&self) -> bool {
        !matches!(self.status.as_str(), "SUCCESSFUL" | "STOPPED" | "ROLLBACK_SUCCESSFUL" | "ROLLBACK_FAILED")
    }
}

impl From<&sdk::ServiceDeployment> for Rollout {
    fn from(seen: &sdk::ServiceDeployment) -> Self {
        let target = seen.target_service_revision();
        let alarms = seen.alarms().map(sdk::ServiceDeploymentAlarms::triggered_alarm_names);
        let waiting = seen.lifecycle_hook_details().iter().filter(|hook| {
            let is = |text: Option<&str>, wanted| text == Some(wanted);
            is(hook.target_type().map(sdk::DeploymentLifecycleHookTargetType::as_str), "PAUSE")
                && is(hook.status().map(sdk::DeploymentLifecycleHookStatus::as_str), "AWAITING_ACTION")
        });
        Self {
            arn: seen.service_deployment_arn().unwrap_or_default().to_owned(),
            status: seen.status().map_or_else(|| "UNKNOWN".to_owned(), |status| status.as_str().to_owned()),
            reason: seen.status_reason().filter(|reason| !reason.is_empty()).map(str::to_owned),
            stage: seen.lifecycle_stage().map(|stage| stage.as_str().to_owned()),
            target: target.and_then(|target| target.arn()).unwrap_or_default().to_owned(),
            requested: target.map_or(0, sdk::ServiceRevisionSummary::requested_task_count),
            running: target.map_or(0, sdk::ServiceRevisionSummary::running_task_count),
            pending: target.map_or(0, sdk::ServiceRevisionSummary::pending_task_count),
            traffic: target.and_then(sdk::ServiceRevisionSummary::requested_production_traffic_weight),
            test_traffic: target.and_then(sdk::ServiceRevisionSummary::requested_test_traffic_weight),
            rollback_reason: seen.rollback().and_then(|back| back.reason()).map(str::to_owned),
            breaker: seen
                .deployment_circuit_breaker()
                .map(|breaker| (breaker.failure_count(), breaker.threshold())),
            alarms: alarms.unwrap_or_default().to_vec(),
            pauses: waiting
                .map(|hook| Pause {
                    id: hook.hook_id().unwrap_or_default().to_owned(),
                    expires: hook.expires_at().map(ToString::to_string),
                    then: hook.timeout_action().map(|action| action.as_str().to_owned()),
                })
                .collect(),
        }
    }
}

/// Whether the role may not make the call, or the other side does not have it.
fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, action: &str) -> Option<String> {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code)?;
    match code {
        "AccessDeniedException" | "AccessDenied" => Some(format!("{action} is denied")),
        "UnknownOperationException" | "InvalidAction" | "UnsupportedFeatureException" => {
            Some(format!("{action} is not known here"))
        }
        _ => None,
    }
}

/// Passes on what was given, and ends the function with what was not.
macro_rules! given {
    ($value:expr) => {
        match $value {
            Newer::There(value) => value,
            Newer::NotThere => return Ok(Newer::NotThere),
            Newer::Unavailable(why) => return Ok(Newer::Unavailable(why)),
        }
    };
}

impl Ecs<'_> {
    /// One service deployment by its ARN.
    pub(crate) async fn rollout(&self, arn: &str) -> Result<Newer<Rollout>, Failure> {
        const ACTION: &str = "ecs:DescribeServiceDeployments";
        let call = self.client.describe_service_deployments().service_deployment_arns(arn).send();
        let answer = match self.cx.or_cancelled(call).await? {
            Ok(answer) => answer,
            Err(error) => {
                return match unavailable(&error, ACTION) {
                    Some(why) => Ok(Newer::Unavailable(why)),
                    None => Err(failure(format!("describe service deployment {arn}"), ACTION, arn, error)),
                };
            }
        };
        let found =
            answer.service_deployments().iter().find(|seen| seen.service_deployment_arn() == Some(arn));
        Ok(found.map_or(Newer::NotThere, |found| Newer::There(Rollout::from(found))))
    }

    /// The task definition of each of these service revisions that ECS knows.
    pub(crate) async fn task_definitions_of(
        &self,
        revisions: &[String],
    ) -> Result<Newer<BTreeMap<String, String>>, Failure> {
        const ACTION: &str = "ecs:DescribeServiceRevisions";
        let mut found = BTreeMap::new();
        // The call takes at most twenty.
        for arns in revisions.chunks(20) {
            let call =
                self.client.describe_service_revisions().set_service_revision_arns(Some(arns.to_vec()));
            let answer = match self.cx.or_cancelled(call.send()).await? {
                Ok(answer) => answer,
                Err(error) => {
                    return match unavailable(&error, ACTION) {
                        Some(why) => Ok(Newer::Unavailable(why)),
                        None => Err(failure(
                            format!("describe the revisions of {}", self.of),
                            ACTION,
                            &self.arn(),
                            error,
                        )),
                    };
                }
            };
            for revision in answer.service_revisions() {
                if let (Some(arn), Some(definition)) =
                    (revision.service_revision_arn(), revision.task_definition())
                {
                    found.insert(arn.to_owned(), definition.to_owned());
                }
            }
        }
        Ok(Newer::There(found))
    }

    /// The service's deployments of every status, newest first, with the task definition that each brought.
    ///
    /// `after` is in seconds since the epoch, by ECS's clock.
    pub(crate) async fn history(&self, after: Option<f64>) -> Result<Newer<Vec<Past>>, Failure> {
        const ACTION: &str = "ecs:ListServiceDeployments";
        let mut briefs = Vec::new();
        let mut token = None;
        loop {
            let created =
                after.map(|after| sdk::CreatedAt::builder().after(DateTime::from_secs_f64(after)).build());
            let call = self
                .client
                .list_service_deployments()
                .cluster(&self.of.cluster)
                .service(&self.of.service)
                .set_created_at(created)
                .max_results(100)
                .set_next_token(token);
            let page = match self.cx.or_cancelled(call.send()).await? {
                Ok(page) => page,
                Err(error) => {
                    return match unavailable(&error, ACTION) {
                        Some(why) => Ok(Newer::Unavailable(why)),
                        None => Err(failure(
                            format!("list the deployments of {}", self.of),
                            ACTION,
                            &self.arn(),
                            error,
                        )),
                    };
                }
            };
            briefs.extend_from_slice(page.service_deployments());
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        let mut revisions: Vec<String> = briefs
            .iter()
            .filter_map(|brief| brief.target_service_revision_arn().map(str::to_owned))
            .collect();
        revisions.sort_unstable();
        revisions.dedup();
        let definitions = given!(self.task_definitions_of(&revisions).await?);
        let mut past: Vec<Past> = briefs
            .iter()
            .filter_map(|brief| {
                Some(Past {
                    arn: brief.service_deployment_arn()?.to_owned(),
                    status: brief.status()?.as_str().to_owned(),
                    created: brief.created_at().map_or(0.0, DateTime::as_secs_f64),
                    task_definition: definitions.get(brief.target_service_revision_arn()?)?.clone(),
                })
            })
            .collect();
        past.sort_by(|a, b| b.created.total_cmp(&a.created));
        Ok(Newer::There(past))
    }

    /// The service deployment that brings this task definition: the current one, else the newest of the history.
    ///
    /// `not` is the one that was current before our update: it may have brought the same revision. `after` is when ours was
    /// created; without it the history is not searched, which may hold older ones of the same revision.
    pub(crate) async fn find_rollout(
        &self,
        target: &str,
        current: Option<&str>,
        not: Option<&str>,
        after: Option<f64>,
    ) -> Result<Newer<Rollout>, Failure> {
        if let Some(current) = current.filter(|current| Some(*current) != not)
            && let Newer::There(rollout) = match self.rollout(current).await? {
                Newer::Unavailable(why) => return Ok(Newer::Unavailable(why)),
                other => other,
            }
        {
            let definitions = given!(self.task_definitions_of(std::slice::from_ref(&rollout.target)).await?);
            if definitions.get(&rollout.target).is_some_and(|definition| definition == target) {
                return Ok(Newer::There(rollout));
            }
        }
        if after.is_none() {
            return Ok(Newer::NotThere);
        }
        let past = given!(self.history(after).await?);
        let ours = past.iter().find(|past| past.task_definition == target && Some(past.arn.as_str()) != not);
        match ours {
            Some(ours) => self.rollout(&ours.arn).await,
            None => Ok(Newer::NotThere),
        }
    }
}
