//! Reads the service and the revision. Nothing here, in `rollout.rs`, `tasks.rs` or `targets.rs` writes.

use aws::{Aws, failure};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::TaskDefinition;
use ecs::{ServiceRef, describe_service, look_for_service, short};
use kit::{Cx, Failure};
use serde::Serialize;

use crate::rollout::{Newer, Rollout};
use crate::service::Service;

/// One service, and the means to look at it.
pub(crate) struct Ecs<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) aws: Aws,
    pub(crate) client: Client,
    pub(crate) of: ServiceRef,
}

/// What the decision needs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Observed {
    pub(crate) service: Service,
    /// The service's newest service deployment, where the role may read it.
    pub(crate) rollout: Option<Rollout>,
    /// The task definition that it brings.
    pub(crate) rollout_brings: Option<String>,
    /// Why it could not be read.
    pub(crate) unavailable: Option<String>,
    /// The status of the revision to deploy: ACTIVE, INACTIVE, `DELETE_IN_PROGRESS`.
    pub(crate) target_status: String,
}

impl<'a> Ecs<'a> {
    pub(crate) fn new(cx: &'a Cx, aws: Aws, of: ServiceRef) -> Self {
        let client = Client::new(&aws.config);
        Self { cx, aws, client, of }
    }

    pub(crate) fn arn(&self) -> String {
        self.of.arn(&self.aws)
    }

    /// Everything that deploying `target` has to know, and a look at the tasks: a role that may not see them could not verify
    /// the deployment either, and has to fail before it is begun.
    pub(crate) async fn observe(&self, target: &str) -> Result<Observed, Failure> {
        let mut observed = self.observe_service().await?;
        let definition = self.definition(target).await?;
        let status = definition.status();
        observed.target_status =
            status.map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned());
        self.running_tasks().await?;
        Ok(observed)
    }

    /// The service and its newest service deployment.
    pub(crate) async fn observe_service(&self) -> Result<Observed, Failure> {
        let mut observed = Observed { service: self.service().await?, ..Observed::default() };
        let Some(current) = observed.service.current.clone() else { return Ok(observed) };
        match self.rollout(&current).await? {
            Newer::There(rollout) => {
                match self.task_definitions_of(std::slice::from_ref(&rollout.target)).await? {
                    Newer::There(definitions) => {
                        observed.rollout_brings = definitions.get(&rollout.target).cloned();
                    }
                    Newer::NotThere => {}
                    Newer::Unavailable(why) => observed.unavailable = Some(why),
                }
                observed.rollout = Some(rollout);
            }
            Newer::NotThere => {}
            Newer::Unavailable(why) => observed.unavailable = Some(why),
        }
        Ok(observed)
    }

    /// A revision, which has to exist.
    pub(crate) async fn definition(&self, arn: &str) -> Result<TaskDefinition, Failure> {
        let call = self.client.describe_task_definition().task_definition(arn).send();
        let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
            let unknown = error.as_service_error().is_some_and(|error| {
                error.is_client_exception() && error.to_string().contains("Unable to describe")
            });
            let failed = failure(
                format!("describe task definition {}", short(arn)),
                "ecs:DescribeTaskDefinition",
                "*",
                error,
            );
            if unknown {
                Failure::refused(format!("deploy {}", short(arn)))
                    .because(format!(
                        "there is no such revision in account {} in {}",
                        self.aws.account, self.aws.region
                    ))
                    .help("give the ARN that register-task-def gave as an output")
            } else {
                failed
            }
        })?;
        answer.task_definition().cloned().ok_or_else(|| {
            Failure::failed(format!("describe task definition {}", short(arn))).because("the answer is empty")
        })
    }

    pub(crate) async fn service(&self) -> Result<Service, Failure> {
        Ok(Service::from(&describe_service(self.cx, &self.aws, &self.client, &self.of).await?))
    }

    /// The service, or why ECS does not know it.
    pub(crate) async fn service_if_known(&self) -> Result<Result<Service, String>, Failure> {
        let seen = look_for_service(self.cx, &self.aws, &self.client, &self.of).await?;
        Ok(seen.map(|seen| Service::from(&seen)))
    }
}
