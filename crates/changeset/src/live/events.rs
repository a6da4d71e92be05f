//! What happened in a stack: its events, and where an operation began among them.

use std::fmt;

use aws::failure;
use aws_sdk_cloudformation::primitives::DateTimeFormat;
use aws_sdk_cloudformation::types::StackEvent;
use kit::{Cx, Failure};
use serde::Serialize;

use super::{Cfn, is_absent, short};
use crate::judge::STACK;

/// An event of a stack.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_StackEvent.html>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Event {
    pub id: String,
    /// As RFC 3339 has it.
    pub time: String,
    /// The same, in milliseconds since 1970.
    #[serde(skip)]
    pub millis: i64,
    /// The stack in which it happened.
    pub stack_id: String,
    /// The logical ids that lead from the followed stack to the resource, the resource's own at the end; the stack's name for an
    /// event of the followed stack itself.
    pub path: String,
    pub logical_id: String,
    pub physical_id: Option<String>,
    #[serde(rename = "type")]
    pub resource_type: String,
    pub status: String,
    pub reason: Option<String>,
    /// `ClientRequestToken` of the call that began the operation.
    pub token: Option<String>,
}

impl Event {
    fn of(event: &StackEvent) -> Self {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let maybe = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        let time = event.timestamp();
        let hook = event
            .hook_status_reason()
            .map(|reason| format!("hook {}: {reason}", event.hook_type().unwrap_or("without a name")));
        Self {
            id: text(event.event_id()),
            time: time.and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()).unwrap_or_default(),
            millis: time.and_then(|time| time.to_millis().ok()).unwrap_or_default(),
            stack_id: text(event.stack_id()),
            path: text(event.logical_resource_id()),
            logical_id: text(event.logical_resource_id()),
            physical_id: maybe(event.physical_resource_id()),
            resource_type: text(event.resource_type()),
            status: event.resource_status().map(|word| word.as_str().to_owned()).unwrap_or_default(),
            reason: maybe(event.resource_status_reason()).or(hook),
            token: maybe(event.client_request_token()),
        }
    }

    /// What it is known by among the events of all stacks.
    pub(super) fn key(&self) -> (String, String) {
        (self.stack_id.clone(), self.id.clone())
    }

    /// Whether it is of the stack itself, not of a resource in it.
    pub fn is_of_the_stack(&self) -> bool {
        self.resource_type == STACK && self.physical_id.as_deref() == Some(self.stack_id.as_str())
    }

    /// The nested stack that it is about.
    pub fn nested_stack(&self) -> Option<&str> {
        (self.resource_type == STACK && !self.is_of_the_stack())
            .then_some(self.physical_id.as_deref())
            .flatten()
    }

    /// Whether the resource failed by itself: when one fails, the others are given up with a failure of their own.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/determine-root-cause-for-stack-failures.html>
    pub fn is_failure(&self) -> bool {
        let given_up = self.reason.as_deref().is_some_and(|reason| {
            let reason = reason.trim_end_matches('.');
            reason.starts_with("Resource ") && reason.ends_with(" cancelled")
        });
        self.status.ends_with("_FAILED") && !given_up
    }

    /// Whether an operation of the stack begins with it. A roll-back that somebody asked for is one, a roll-back that a
    /// failure brought about belongs to the operation that failed.
    pub fn begins_an_operation(&self) -> bool {
        self.is_of_the_stack()
            && match self.status.as_str() {
                "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "DELETE_IN_PROGRESS" | "IMPORT_IN_PROGRESS" => {
                    true
                }
                "ROLLBACK_IN_PROGRESS" | "UPDATE_ROLLBACK_IN_PROGRESS" => {
                    self.reason.as_deref().is_some_and(|reason| reason.starts_with("User Initiated"))
                }
                _ => false,
            }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, path, resource_type, reason, .. } = self;
        write!(f, "{status} {path} ({resource_type})")?;
        match reason {
            // It is somebody else's text, and this is one line.
            Some(reason) => write!(f, ": {}", reason.split_whitespace().collect::<Vec<_>>().join(" ")),
            None => Ok(()),
        }
    }
}

/// An operation of a stack, as its events tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// The event with which it began.
    pub first: Event,
    /// The newest event of the stack itself: how far it is.
    pub last: Event,
}

impl Cfn {
    /// The newest operation of a stack, running or over; none where it never had one.
    pub async fn last_operation(&self, cx: &Cx, stack_id: &str) -> Result<Option<Operation>, Failure> {
        let mut last: Option<Event> = None;
        let events = self
            .events_until(cx, stack_id, |event| {
                if event.is_of_the_stack() && last.is_none() {
                    last = Some(event.clone());
                }
                if event.begins_an_operation() { Stop::After } else { Stop::No }
            })
            .await?
            .unwrap_or_default();
        let first = events.into_iter().next().filter(Event::begins_an_operation);
        Ok(first.zip(last).map(|(first, last)| Operation { first, last }))
    }

    /// Whether an operation was begun with that token: what a call did whose answer was lost or was an error.
    pub(super) async fn has_begun(&self, stack_id: &str, token: &str) -> Result<bool, Failure> {
        let page =
            self.client.describe_stack_events().stack_name(stack_id).send().await.map_err(|error| {
                failure(unheard(stack_id), "cloudformation:DescribeStackEvents", &self.arn(stack_id), error)
            })?;
        Ok(page.stack_events().iter().any(|event| event.client_request_token() == Some(token)))
    }

    /// The events of a stack from the newest back to where `stop` says, oldest first. None where the stack is not known.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackEvents.html>: newest first,
    /// a hundred a page.
    pub(super) async fn events_until(
        &self,
        cx: &Cx,
        stack: &str,
        mut stop: impl FnMut(&Event) -> Stop,
    ) -> Result<Option<Vec<Event>>, Failure> {
        let mut events = Vec::new();
        let mut pages = self.client.describe_stack_events().stack_name(stack).into_paginator().send();
        'pages: while let Some(page) = cx.or_cancelled(pages.next()).await? {
            let page = match page {
                Ok(page) => page,
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => {
                    let action = "cloudformation:DescribeStackEvents";
                    return Err(failure(unheard(stack), action, &self.arn(stack), error));
                }
            };
            for event in page.stack_events().iter().map(Event::of) {
                match stop(&event) {
                    Stop::No => events.push(event),
                    Stop::Past => {}
                    Stop::After => {
                        events.push(event);
                        break 'pages;
                    }
                    Stop::Before => break 'pages,
                }
            }
        }
        events.reverse();
        Ok(Some(events))
    }
}

fn unheard(stack: &str) -> String {
    format!("describe the events of stack {}", short(stack))
}

/// Where to stop going back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// Not yet, but that event is not wanted.
    Past,
    /// That event is still wanted.
    After,
    /// It is not.
    Before,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(status: &str, reason: Option<&str>) -> Event {
        Event {
            stack_id: "arn:s".into(),
            physical_id: Some("arn:s".into()),
            resource_type: STACK.into(),
            status: status.into(),
            reason: reason.map(str::to_owned),
            ..Event::default()
        }
    }

    #[test]
    fn a_roll_back_is_an_operation_of_its_own_only_when_somebody_asked_for_it() {
        assert!(event("UPDATE_IN_PROGRESS", Some("User Initiated")).begins_an_operation());
        assert!(event("UPDATE_ROLLBACK_IN_PROGRESS", Some("User Initiated")).begins_an_operation());
        let because = "The following resource(s) failed to update: [TileTable]. ";
        assert!(!event("UPDATE_ROLLBACK_IN_PROGRESS", Some(because)).begins_an_operation());
        assert!(!event("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None).begins_an_operation());
        assert!(!event("REVIEW_IN_PROGRESS", Some("User Initiated")).begins_an_operation());
        let of_a_nested_one =
            Event { physical_id: Some("arn:n".into()), ..event("UPDATE_IN_PROGRESS", None) };
        assert!(!of_a_nested_one.begins_an_operation());
        assert_eq!(of_a_nested_one.nested_stack(), Some("arn:n"));
    }

    #[test]
    fn a_resource_that_was_given_up_did_not_fail_by_itself() {
        assert!(!event("CREATE_FAILED", Some("Resource creation cancelled")).is_failure());
        assert!(!event("UPDATE_FAILED", Some("Resource update cancelled")).is_failure());
        assert!(event("CREATE_FAILED", Some("Resource handler returned message: quota")).is_failure());
        assert!(event("CREATE_FAILED", None).is_failure());
        assert!(!event("UPDATE_ROLLBACK_IN_PROGRESS", None).is_failure());
    }

    #[test]
    fn a_reason_of_several_lines_stays_one_line() {
        let text = event("CREATE_FAILED", Some("denied\n::error::x\r\n by y")).to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
