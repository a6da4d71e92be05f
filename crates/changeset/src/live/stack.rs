//! Stacks as they are: observed, their resources, who imports from them, their policy.

use std::collections::{BTreeMap, BTreeSet};

use aws::failure;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types;
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};

use super::{Cfn, Phase, is_absent, short};

/// A stack, as AWS describes it.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Stack.html>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// The ARN.
    pub id: String,
    pub name: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub description: Option<String>,
    /// By key; the value of a `NoEcho` parameter is `****`.
    pub parameters: BTreeMap<String, String>,
    pub outputs: BTreeMap<String, Output>,
    pub capabilities: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub role_arn: Option<String>,
    pub notification_arns: Vec<String>,
    pub rollback_triggers: Vec<RollbackTrigger>,
    pub monitoring_minutes: Option<i32>,
    pub timeout_minutes: Option<i32>,
    pub termination_protection: bool,
    /// With this a failed operation is left as it failed.
    pub disable_rollback: bool,
    /// `IN_SYNC`, `DRIFTED`, `NOT_CHECKED`, ...: what the last look for drift found.
    pub drift: Option<String>,
    /// The newest operations; absent where the endpoint does not tell them.
    pub last_operations: Vec<LastOperation>,
    /// The stack in which this one is nested.
    pub parent_id: Option<String>,
    /// The outermost of those.
    pub root_id: Option<String>,
}

/// An output of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Output {
    pub value: String,
    /// The name under which other stacks can import it.
    pub export: Option<String>,
}

/// An alarm that rolls an operation back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackTrigger {
    pub arn: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// One of the newest operations of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastOperation {
    /// `UPDATE_STACK`, `CREATE_CHANGESET`, ...
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
}

impl Stack {
    /// What its status comes to.
    pub fn phase(&self) -> Phase {
        Phase::of(&self.status)
    }
}

/// A resource of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resource {
    pub logical_id: String,
    /// Its name in AWS; none where it was never made.
    pub physical_id: Option<String>,
    #[serde(rename = "type")]
    pub resource_type: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub drift: Option<String>,
}

impl Resource {
    /// The ARN of the stack that this resource is, where it is a nested one.
    pub fn nested_stack(&self) -> Option<&str> {
        (self.resource_type == "AWS::CloudFormation::Stack").then_some(self.physical_id.as_deref()).flatten()
    }
}

/// A stack of a family: the root, or one nested in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackNode {
    /// The logical ids that lead to it from the root; empty for the root.
    pub path: Vec<String>,
    /// Its ARN.
    pub stack_id: String,
    pub resources: Vec<Resource>,
}

impl Cfn {
    /// The stack of exactly that name or ARN; none where there is none. A deleted one is found by its ARN alone.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html>
    pub async fn observe_stack(&self, cx: &Cx, stack: &str) -> Result<Option<Stack>, Failure> {
        let attempt = format!("describe stack {}", short(stack));
        let answer = match cx.or_cancelled(self.client.describe_stacks().stack_name(stack).send()).await? {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => {
                return Err(failure(attempt, "cloudformation:DescribeStacks", &self.arn(stack), error));
            }
        };
        let same = |seen: &&types::Stack| seen.stack_id() == Some(stack) || seen.stack_name() == Some(stack);
        let found: Vec<&types::Stack> = answer.stacks().iter().filter(same).collect();
        match found.as_slice() {
            [found] => Ok(Some(observed(found))),
            found => Err(Failure::failed(attempt).because(format!(
                "the answer has {} stacks of that name among {}",
                found.len(),
                answer.stacks().len()
            ))),
        }
    }

    /// The resources of a stack, without those of stacks nested in it.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStackResources.html>
    pub async fn resources(&self, cx: &Cx, stack: &str) -> Result<Vec<Resource>, Failure> {
        let mut resources = Vec::new();
        let mut pages = self.client.list_stack_resources().stack_name(stack).into_paginator().send();
        while let Some(page) = cx.or_cancelled(pages.next()).await? {
            let page = page.map_err(|error| {
                let attempt = format!("list the resources of stack {}", short(stack));
                failure(attempt, "cloudformation:ListStackResources", &self.arn(stack), error)
            })?;
            resources.extend(page.stack_resource_summaries().iter().map(resource));
        }
        Ok(resources)
    }

    /// The resources of a stack and of all stacks nested in it, the root first.
    pub async fn family(&self, cx: &Cx, stack_id: &str) -> Result<Vec<StackNode>, Failure> {
        let mut nodes: Vec<StackNode> = Vec::new();
        let mut seen = BTreeSet::from([stack_id.to_owned()]);
        let mut open = vec![(Vec::new(), stack_id.to_owned())];
        while let Some((path, stack_id)) = open.pop() {
            let resources = self.resources(cx, &stack_id).await?;
            // The last one is taken first.
            for resource in resources.iter().rev() {
                if let Some(nested) = resource.nested_stack() {
                    if !seen.insert(nested.to_owned()) {
                        return Err(Failure::failed(format!(
                            "list the stacks nested in {}",
                            short(&stack_id)
                        ))
                        .because(format!("stack {nested} is nested in more than one place")));
                    }
                    let path = path.iter().cloned().chain([resource.logical_id.clone()]).collect();
                    open.push((path, nested.to_owned()));
                }
            }
            nodes.push(StackNode { path, stack_id, resources });
        }
        Ok(nodes)
    }

    /// The exports of a stack that other stacks import, with the names of those stacks. CloudFormation refuses to delete or
    /// change an output that is imported.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListImports.html>
    pub async fn exports_in_use(
        &self,
        cx: &Cx,
        stack_id: &str,
    ) -> Result<Vec<(String, Vec<String>)>, Failure> {
        let mut exports = Vec::new();
        let mut pages = self.client.list_exports().into_paginator().send();
        while let Some(page) = cx.or_cancelled(pages.next()).await? {
            let page = page.map_err(|error| {
                failure("list the exports of all stacks", "cloudformation:ListExports", "*", error)
            })?;
            let own = page.exports().iter().filter(|export| export.exporting_stack_id() == Some(stack_id));
            exports.extend(own.filter_map(|export| export.name().map(str::to_owned)));
        }
        let mut used = Vec::new();
        for export in exports {
            let importers = self.importers(cx, &export).await?;
            if !importers.is_empty() {
                used.push((export, importers));
            }
        }
        Ok(used)
    }

    async fn importers(&self, cx: &Cx, export: &str) -> Result<Vec<String>, Failure> {
        let mut importers = Vec::new();
        let mut pages = self.client.list_imports().export_name(export).into_paginator().send();
        while let Some(page) = cx.or_cancelled(pages.next()).await? {
            match page {
                Ok(page) => importers.extend(page.imports().iter().cloned()),
                // Nobody is an error here, and only its text says so.
                Err(error)
                    if error.code() == Some("ValidationError")
                        && error
                            .message()
                            .is_some_and(|text| text.contains("is not imported by any stack")) =>
                {
                    break;
                }
                Err(error) => {
                    let attempt = format!("list the stacks that import {export}");
                    return Err(failure(attempt, "cloudformation:ListImports", "*", error));
                }
            }
        }
        Ok(importers)
    }

    /// The stack's policy as JSON text; none where it has none.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_GetStackPolicy.html>
    pub async fn stack_policy(&self, cx: &Cx, stack: &str) -> Result<Option<String>, Failure> {
        let call = self.client.get_stack_policy().stack_name(stack).send();
        let answer = cx.or_cancelled(call).await?.map_err(|error| {
            let attempt = format!("get the policy of stack {}", short(stack));
            failure(attempt, "cloudformation:GetStackPolicy", &self.arn(stack), error)
        })?;
        Ok(answer.stack_policy_body().filter(|body| !body.trim().is_empty()).map(str::to_owned))
    }

    /// Puts a policy in the place of the stack's own. A policy can be replaced, never taken away.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_SetStackPolicy.html>
    pub async fn set_stack_policy(&self, stack: &str, policy: &str) -> Result<(), Failure> {
        // Sent twice it has the same effect.
        self.client.set_stack_policy().stack_name(stack).stack_policy_body(policy).send().await.map_err(
            |error| {
                let attempt = format!("set the policy of stack {}", short(stack));
                failure(attempt, "cloudformation:SetStackPolicy", &self.arn(stack), error)
            },
        )?;
        Ok(())
    }
}

fn observed(stack: &types::Stack) -> Stack {
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    let rollback = stack.rollback_configuration();
    Stack {
        id: stack.stack_id().unwrap_or_default().to_owned(),
        name: stack.stack_name().unwrap_or_default().to_owned(),
        status: stack.stack_status().map(|status| status.as_str().to_owned()).unwrap_or_default(),
        status_reason: text(stack.stack_status_reason()),
        description: text(stack.description()),
        parameters: stack
            .parameters()
            .iter()
            .map(|parameter| (owned(parameter.parameter_key()), owned(parameter.parameter_value())))
            .collect(),
        outputs: stack
            .outputs()
            .iter()
            .map(|output| {
                let value = owned(output.output_value());
                (owned(output.output_key()), Output { value, export: text(output.export_name()) })
            })
            .collect(),
        capabilities: stack.capabilities().iter().map(|word| word.as_str().to_owned()).collect(),
        tags: stack.tags().iter().map(|tag| (owned(tag.key()), owned(tag.value()))).collect(),
        role_arn: text(stack.role_arn()),
        notification_arns: stack.notification_arns().to_vec(),
        rollback_triggers: rollback
            .map(types::RollbackConfiguration::rollback_triggers)
            .unwrap_or_default()
            .iter()
            .map(|trigger| RollbackTrigger { arn: owned(trigger.arn()), kind: owned(trigger.r#type()) })
            .collect(),
        monitoring_minutes: rollback.and_then(types::RollbackConfiguration::monitoring_time_in_minutes),
        timeout_minutes: stack.timeout_in_minutes(),
        termination_protection: stack.enable_termination_protection().unwrap_or_default(),
        disable_rollback: stack.disable_rollback().unwrap_or_default(),
        drift: stack
            .drift_information()
            .and_then(|drift| drift.stack_drift_status())
            .map(|word| word.as_str().to_owned()),
        last_operations: stack
            .last_operations()
            .iter()
            .map(|operation| LastOperation {
                kind: operation.operation_type().map(|word| word.as_str().to_owned()).unwrap_or_default(),
                id: owned(operation.operation_id()),
            })
            .collect(),
        parent_id: text(stack.parent_id()),
        root_id: text(stack.root_id()),
    }
}

fn resource(summary: &types::StackResourceSummary) -> Resource {
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
    Resource {
        logical_id: owned(summary.logical_resource_id()),
        physical_id: text(summary.physical_resource_id()),
        resource_type: owned(summary.resource_type()),
        status: summary.resource_status().map(|word| word.as_str().to_owned()).unwrap_or_default(),
        status_reason: text(summary.resource_status_reason()),
        drift: summary
            .drift_information()
            .and_then(|drift| drift.stack_resource_drift_status())
            .map(|word| word.as_str().to_owned()),
    }
}

fn owned(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
