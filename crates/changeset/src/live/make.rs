//! Making a change set and waiting until AWS has worked it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws::failure;
use aws_sdk_cloudformation::operation::create_change_set::CreateChangeSetError;
use aws_sdk_cloudformation::types::{
    ChangeSetType, EventFilter, OperationEvent, Parameter, RollbackConfiguration, RollbackTrigger as Trigger,
    Tag,
};
use kit::{Cx, Failure, Poll, Wait};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::describe::{is_not_found, set_of};
use super::{Cfn, RollbackTrigger, TemplateSource, short};

/// What the names of change sets begin with that steps of this project make.
pub(super) const PREFIX: &str = "cutover-";

/// Whether the stack is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not, or it is empty and under review.
    Create,
    /// It is.
    Update,
}

/// What a parameter is to be. A value does not show in debugging output: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum ParameterValue {
    Given(String),
    /// What the stack has: also for a `NoEcho` parameter, whose value can't be read.
    Previous,
}

impl fmt::Debug for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given(_) => "Given(..)",
            Self::Previous => "Previous",
        })
    }
}

/// What a stack is to be.
///
/// What an update leaves out, AWS keeps: role and notification ARNs by documentation, tags as experience tells
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html> says nothing of them,
/// that of `UpdateStack` that they stay; <https://github.com/aws/aws-sdk-cpp/issues/1616> saw them stay). Give the stack's own
/// tags again to rely on neither. An omitted parameter is *not* kept but takes the template's default, if there is one.
#[derive(Clone, Debug)]
pub struct Want {
    /// The stack's name; of an update its ARN too.
    pub stack: String,
    pub kind: Kind,
    pub template: TemplateSource,
    pub parameters: BTreeMap<String, ParameterValue>,
    /// `CAPABILITY_IAM`, `CAPABILITY_NAMED_IAM`, `CAPABILITY_AUTO_EXPAND`.
    pub capabilities: Vec<String>,
    /// None are sent when empty. Those whose key begins with `aws:` are AWS's own and never sent.
    pub tags: BTreeMap<String, String>,
    pub role_arn: Option<String>,
    /// None are sent when empty.
    pub notification_arns: Vec<String>,
    /// None are sent when empty.
    pub rollback_triggers: Vec<RollbackTrigger>,
    pub monitoring_minutes: Option<i32>,
    /// For people who find the set in the console.
    pub description: String,
}

/// A change set that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetRef {
    pub arn: String,
    /// The ARN of its stack.
    pub stack_id: String,
}

/// What became of a change set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It failed because nothing changes.
    NoChanges,
    /// It can't be made.
    Failed {
        /// AWS's words.
        reason: String,
        /// What the reason does not say: which check failed where, and why nested sets failed.
        details: Vec<String>,
    },
    /// It can be described.
    Ready,
}

/// What AWS's checks of a change set before it runs have found.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/validate-stack-deployments.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validation {
    pub logical_id: String,
    pub resource_type: String,
    /// `NAME_CONFLICT_VALIDATION`, `PROPERTY_VALIDATION`, ...
    pub name: String,
    /// Where in the resource.
    pub path: Option<String>,
    pub reason: String,
    /// Whether it fails the set (`FAIL`) or only warns (`WARN`).
    pub fails: bool,
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { logical_id, resource_type, name, path, reason, .. } = self;
        write!(f, "{logical_id} ({resource_type})")?;
        if let Some(path) = path {
            write!(f, " at {path}")?;
        }
        write!(f, ": {reason}")?;
        if name.is_empty() { Ok(()) } else { write!(f, " [{name}]") }
    }
}

/// A name for a change set of one run: unique in its stack, and known as ours by its beginning. `purpose` is a word.
///
/// Letters, digits and hyphens, at most 128 of them:
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html>
pub fn set_name(purpose: &str, run_id: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{PREFIX}{purpose}-{run_id}").chars().map(fits).take(128).collect()
}

/// A `purpose` for [`set_name`] that is the same for all that `what` is the same of, so that a run knows what a killed one left.
/// What may be a secret has no place in it: a short sum of it could be guessed.
pub fn purpose_of(purpose: &str, what: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in what {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    format!("{purpose}-{}", kit::hex(&hash.finalize()).get(..16).unwrap_or_default())
}

impl Cfn {
    /// Makes a change set, nested stacks included, under a name of [`set_name`].
    ///
    /// The name is the client token too, so that a retry of the same call makes no second one. A set for a stack that does not
    /// exist leaves an empty one behind: see [`Cfn::delete_shell`].
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html>
    pub async fn make_set(&self, want: &Want, name: &str) -> Result<SetRef, Failure> {
        let attempt = format!("make a change set for stack {}", short(&want.stack));
        let call = self
            .client
            .create_change_set()
            .stack_name(&want.stack)
            .change_set_name(name)
            .client_token(name)
            .change_set_type(match want.kind {
                Kind::Create => ChangeSetType::Create,
                Kind::Update => ChangeSetType::Update,
            })
            .include_nested_stacks(true)
            .description(&want.description)
            .set_parameters(Some(want.parameters.iter().map(parameter).collect()))
            .set_capabilities(list(want.capabilities.iter().map(|word| word.as_str().into())))
            .set_tags(list(
                want.tags
                    .iter()
                    .filter(|(key, _)| !key.starts_with("aws:"))
                    .map(|(key, value)| Tag::builder().key(key).value(value).build()),
            ))
            .set_role_arn(want.role_arn.clone())
            .set_notification_arns(list(want.notification_arns.iter().cloned()))
            .set_rollback_configuration(rollback(want));
        let call = match &want.template {
            TemplateSource::Body(text) => call.template_body(text),
            TemplateSource::Url(url) => call.template_url(url),
            TemplateSource::Previous => call.use_previous_template(true),
        };
        let sent = call.send().await;
        self.recent.made();
        match sent {
            Ok(answer) => match (answer.id(), answer.stack_id()) {
                (Some(arn), Some(stack_id)) => {
                    Ok(SetRef { arn: arn.to_owned(), stack_id: stack_id.to_owned() })
                }
                _ => Err(Failure::failed(attempt).because("the answer names no change set")),
            },
            Err(error) => {
                let service = error.as_service_error();
                let exists = service.is_some_and(CreateChangeSetError::is_already_exists_exception);
                let lacks = service.is_some_and(CreateChangeSetError::is_insufficient_capabilities_exception);
                let full = service.is_some_and(CreateChangeSetError::is_limit_exceeded_exception);
                let failed =
                    failure(attempt, "cloudformation:CreateChangeSet", &self.arn(&want.stack), error);
                match () {
                    // An earlier try took effect and its answer was lost: nobody else has this name.
                    () if exists => self.made_before(&want.stack, name).await,
                    () if lacks => Err(failed.help(
                        "look at what the template does with the capability that it names, and acknowledge it with --capability",
                    )),
                    () if full => Err(failed.help(format!(
                        "delete change sets that nobody needs: aws cloudformation list-change-sets --stack-name {}",
                        short(&want.stack)
                    ))),
                    () => Err(failed),
                }
            }
        }
    }

    async fn made_before(&self, stack: &str, name: &str) -> Result<SetRef, Failure> {
        let attempt = format!("find the change set {name}, which was made without an answer");
        let call = self.client.describe_change_set().stack_name(stack).change_set_name(name);
        let answer = loop {
            match call.clone().send().await {
                Ok(answer) => break answer,
                // Not `or_cancelled`: who made it must know of it.
                Err(error) if is_not_found(&error) && self.recent.may_be_unknown() => {
                    tokio::time::sleep(self.every).await;
                }
                Err(error) => {
                    let of_set = self.arn(stack);
                    return Err(failure(attempt, "cloudformation:DescribeChangeSet", &of_set, error)
                        .untouched(false)
                        .help("run the same command again"));
                }
            }
        };
        match (answer.change_set_id, answer.stack_id) {
            (Some(arn), Some(stack_id)) => Ok(SetRef { arn, stack_id }),
            _ => Err(Failure::failed(attempt).because("the answer names no change set")),
        }
    }

    /// Waits until AWS has worked a set out.
    ///
    /// That nothing changes is told as a failure with a certain text; see [`crate::answer::Answer::is_empty_set`].
    pub async fn await_set(&self, cx: &Cx, arn: &str) -> Result<Made, Failure> {
        let what = format!("the change set {} to be worked out", set_of(arn));
        let answer = cx
            .wait(Wait::until(&what, self.every), async || {
                let answer = self.glance(cx, arn).await?;
                Ok(match answer.status.as_deref() {
                    // A NextToken may come by now; the pages are not to be relied on before the end.
                    Some(status @ ("CREATE_PENDING" | "CREATE_IN_PROGRESS")) => {
                        Poll::Pending(status.to_owned())
                    }
                    _ => Poll::Ready(answer),
                })
            })
            .await?;
        if answer.is_empty_set() {
            return Ok(Made::NoChanges);
        }
        let status = answer.status.clone().unwrap_or_default();
        if status == "CREATE_COMPLETE" {
            return Ok(Made::Ready);
        }
        let reason = answer.status_reason.clone().unwrap_or_else(|| format!("it is {status}"));
        let details = self.why_failed(cx, arn, &answer.changes, &reason).await?;
        Ok(Made::Failed { reason, details })
    }

    /// What AWS's checks found in a set, warnings of a set that did not fail included; empty where the endpoint does not have
    /// the call, or this principal may not make it.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeEvents.html>
    pub async fn validations(&self, cx: &Cx, arn: &str) -> Result<Vec<Validation>, Failure> {
        let mut found = Vec::new();
        let filter = EventFilter::builder().failed_events(true).build();
        let mut pages =
            self.client.describe_events().change_set_name(arn).filters(filter).into_paginator().send();
        while let Some(Ok(page)) = cx.or_cancelled(pages.next()).await? {
            found.extend(page.operation_events().iter().filter_map(validation));
        }
        Ok(found)
    }

    /// A root says of a nested set that failed no more than its ARN: what failed is asked there.
    async fn why_failed(
        &self,
        cx: &Cx,
        arn: &str,
        changes: &[crate::answer::Change],
        reason: &str,
    ) -> Result<Vec<String>, Failure> {
        let mut details: Vec<String> =
            self.validations(cx, arn).await?.iter().map(ToString::to_string).collect();
        let mut seen = BTreeSet::from([arn.to_owned()]);
        let mut open: Vec<String> = sets_in(reason);
        open.extend(nested_sets(changes));
        while let Some(child) = open.pop() {
            if !seen.insert(child.clone()) {
                continue;
            }
            // The failure is told all the same.
            let answer = match self.glance(cx, &child).await {
                Ok(answer) => answer,
                Err(error) if error.code() == kit::Code::Failed => continue,
                Err(error) => return Err(error),
            };
            if answer.status.as_deref() != Some("FAILED") {
                continue;
            }
            let stack = answer.stack_name.as_deref().unwrap_or("a nested stack");
            let reason = answer.status_reason.clone().unwrap_or_else(|| "AWS gives no reason".to_owned());
            for validation in self.validations(cx, &child).await? {
                details.push(format!("{stack}: {validation}"));
            }
            open.extend(sets_in(&reason));
            open.extend(nested_sets(&answer.changes));
            details.push(format!("{stack}: {reason}"));
        }
        Ok(details)
    }
}

/// An absent list is not an empty one: for tags and topics AWS takes that as "remove them all".
fn list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

fn parameter((key, value): (&String, &ParameterValue)) -> Parameter {
    let parameter = Parameter::builder().parameter_key(key);
    match value {
        ParameterValue::Given(value) => parameter.parameter_value(value),
        ParameterValue::Previous => parameter.use_previous_value(true),
    }
    .build()
}

fn rollback(want: &Want) -> Option<RollbackConfiguration> {
    if want.rollback_triggers.is_empty() && want.monitoring_minutes.is_none() {
        return None;
    }
    let triggers = want
        .rollback_triggers
        .iter()
        .map(|trigger| Trigger::builder().arn(&trigger.arn).r#type(&trigger.kind).build());
    Some(
        RollbackConfiguration::builder()
            .set_rollback_triggers(list(triggers))
            .set_monitoring_time_in_minutes(want.monitoring_minutes)
            .build(),
    )
}

fn validation(event: &OperationEvent) -> Option<Validation> {
    if event.event_type().map(aws_sdk_cloudformation::types::EventType::as_str) != Some("VALIDATION_ERROR") {
        return None;
    }
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Some(Validation {
        logical_id: text(event.logical_resource_id()),
        resource_type: text(event.resource_type()),
        name: text(event.validation_name()),
        path: event.validation_path().filter(|path| !path.is_empty()).map(str::to_owned),
        reason: text(event.validation_status_reason().or(event.resource_status_reason())),
        fails: event.validation_failure_mode().is_none_or(|mode| mode.as_str() != "WARN"),
    })
}

/// The ARNs of change sets in a text.
fn sets_in(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|word| word.starts_with("arn:") && word.contains(":changeSet/"))
        .map(str::to_owned)
        .collect()
}

fn nested_sets(changes: &[crate::answer::Change]) -> Vec<String> {
    changes.iter().filter_map(|change| change.resource_change.as_ref()?.change_set_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_the_same_of_the_same_and_of_nothing_else() {
        let of = |what: &[&str]| purpose_of("review", what);
        assert_eq!(of(&["core", "{}"]), of(&["core", "{}"]));
        assert_ne!(of(&["core", "{}"]), of(&["core{", "}"]));
        assert_ne!(of(&["core", "{}"]), purpose_of("kept", &["core", "{}"]));
        assert_eq!(of(&["core"]).len(), "review-".len() + 16);
    }

    #[test]
    fn a_name_has_what_aws_allows_and_is_known_as_ours() {
        let name = set_name("review", "0b7c3c1e-6f6e-4a86-8d3e-0e7f3f1f2a10");
        assert_eq!(name, "cutover-review-0b7c3c1e-6f6e-4a86-8d3e-0e7f3f1f2a10");
        let odd = set_name("review_core.x", &"9".repeat(200));
        assert_eq!(odd.len(), 128);
        assert!(odd.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{odd}");
    }

    #[test]
    fn the_failed_nested_set_is_found_in_the_words_of_the_root() {
        let arn = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/x-S3Res-1ABC/0f1e";
        let reason = format!("Nested change set {arn} was not successfully created: Currently in FAILED.");
        assert_eq!(sets_in(&reason), [arn]);
        assert!(sets_in("Parameters: [KeyPairName] must have values").is_empty());
    }

    #[test]
    fn a_secret_parameter_does_not_show() {
        let text = format!("{:?}", ParameterValue::Given("hunter22".into()));
        assert_eq!(text, "Given(..)");
    }
}
