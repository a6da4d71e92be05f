//! What the load balancer says about the tasks: its reason is gone as soon as a failing task is deregistered.

use std::collections::{BTreeMap, BTreeSet};

use aws::failure;
use aws_sdk_elasticloadbalancingv2::types::TargetHealthReasonEnum;
use kit::Failure;

use crate::observe::Ecs;

/// A target in one of these is on its way in or out, and not failing.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html>
const NO_FAILURE: [&str; 5] = [
    "Elb.RegistrationInProgress",
    "Elb.InitialHealthChecking",
    "Target.DeregistrationInProgress",
    "Target.NotInUse",
    "Target.NotRegistered",
];

impl Ecs<'_> {
    /// Why targets of these groups fail, counted by reason: "2 targets of web: Target.ResponseCodeMismatch (Health checks failed
    /// with these codes: [502])".
    pub(crate) async fn failing_targets(&self, groups: &BTreeSet<String>) -> Result<Vec<String>, Failure> {
        const ACTION: &str = "elasticloadbalancing:DescribeTargetHealth";
        let client = aws_sdk_elasticloadbalancingv2::Client::new(&self.aws.config);
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for group in groups {
            let call = client.describe_target_health().target_group_arn(group).send();
            let answer = self.cx.or_cancelled(call).await?.map_err(|error| {
                failure(format!("look at the targets of {}", name(group)), ACTION, "*", error)
            })?;
            for target in answer.target_health_descriptions() {
                let Some(health) = target.target_health() else { continue };
                let Some(reason) = health.reason().map(TargetHealthReasonEnum::as_str) else { continue };
                if NO_FAILURE.contains(&reason) {
                    continue;
                }
                let more = health.description().map_or(String::new(), |more| format!(" ({more})"));
                *found.entry(format!("of {}: {reason}{more}", name(group))).or_default() += 1;
            }
        }
        Ok(found.into_iter().map(|(what, n)| format!("{} {what}", kit::counted(n, "target"))).collect())
    }
}

/// `web` of `arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef`.
fn name(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}
