//! The change sets that a stack has, and taking one's own away again.

use std::time::Duration;

use aws::failure;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use kit::{Cx, Failure, Poll, Wait};
use serde::Serialize;

use super::describe::set_of;
use super::make::PREFIX;
use super::{Cfn, Phase, SetRef, is_absent, short};

/// A change set of a stack, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetSummary {
    pub arn: String,
    pub name: String,
    /// The ARN of its stack.
    pub stack_id: String,
    pub status: String,
    pub execution_status: String,
    pub description: Option<String>,
    /// When it was made, as RFC 3339 has it.
    pub created: Option<String>,
}

impl SetSummary {
    /// Whether a step of this project made it, by its name.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(PREFIX)
    }

    /// Whether it could be executed now.
    pub fn is_available(&self) -> bool {
        self.execution_status == "AVAILABLE"
    }
}

/// What became of the empty stack that a change set for a new one leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shell {
    /// It is gone.
    Deleted,
    /// It was let alone, for this reason.
    Kept(String),
}

impl Cfn {
    /// Every change set of a stack, by its name.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListChangeSets.html>
    pub async fn sets(&self, cx: &Cx, stack: &str) -> Result<Vec<SetSummary>, Failure> {
        let mut sets = Vec::new();
        let mut pages = self.client.list_change_sets().stack_name(short(stack)).into_paginator().send();
        while let Some(page) = cx.or_cancelled(pages.next()).await? {
            let page = match page {
                Ok(page) => page,
                Err(error) if is_absent(&error) => break,
                Err(error) => {
                    let attempt = format!("list the change sets of stack {}", short(stack));
                    return Err(failure(attempt, "cloudformation:ListChangeSets", &self.arn(stack), error));
                }
            };
            sets.extend(page.summaries().iter().map(|set| {
                let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                SetSummary {
                    arn: text(set.change_set_id()),
                    name: text(set.change_set_name()),
                    stack_id: text(set.stack_id()),
                    status: set.status().map(|word| word.as_str().to_owned()).unwrap_or_default(),
                    execution_status: set
                        .execution_status()
                        .map(|word| word.as_str().to_owned())
                        .unwrap_or_default(),
                    description: set.description().filter(|text| !text.is_empty()).map(str::to_owned),
                    created: set.creation_time().map(ToString::to_string),
                }
            }));
        }
        Ok(sets)
    }

    /// The change sets of a stack that could be executed and that no step of this project made: somebody else is about to
    /// change the stack.
    pub async fn foreign_sets(&self, cx: &Cx, stack: &str) -> Result<Vec<SetSummary>, Failure> {
        let sets = self.sets(cx, stack).await?;
        Ok(sets.into_iter().filter(|set| set.is_available() && !set.is_ours()).collect())
    }

    /// The change sets of a stack whose names begin so, and with which nothing goes on: runs left them that were cut off.
    pub async fn left(&self, cx: &Cx, stack: &str, beginning: &str) -> Result<Vec<SetRef>, Failure> {
        let is_idle = |set: &SetSummary| {
            ["CREATE_COMPLETE", "FAILED"].contains(&set.status.as_str())
                && ["AVAILABLE", "UNAVAILABLE"].contains(&set.execution_status.as_str())
        };
        let sets = self.sets(cx, stack).await?;
        let left = sets.into_iter().filter(|set| set.name.starts_with(beginning) && is_idle(set));
        Ok(left.map(|set| SetRef { arn: set.arn, stack_id: set.stack_id }).collect())
    }

    /// Deletes a change set, and with it those of nested stacks. One that is gone is fine.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteChangeSet.html>
    pub async fn delete_set(&self, set: &SetRef) -> Result<(), Failure> {
        match self.client.delete_change_set().change_set_name(&set.arn).send().await {
            Ok(_) => {
                self.recent.deleted(&set.arn);
                Ok(())
            }
            Err(error)
                if matches!(error.code(), Some("ChangeSetNotFound" | "ChangeSetNotFoundException"))
                    || is_absent(&error) =>
            {
                Ok(())
            }
            Err(error) => {
                let attempt = format!("delete the change set {}", set_of(&set.arn));
                Err(failure(attempt, "cloudformation:DeleteChangeSet", &self.arn(&set.stack_id), error))
            }
        }
    }

    /// Deletes the empty stack that a change set for a new stack left, once that set is gone.
    ///
    /// For a caller that saw before that there was no stack: one that is anything else than under review, or that has other
    /// change sets, or resources, is let alone. `token` makes a second try the same as the first.
    pub async fn delete_shell(&self, cx: &Cx, stack_id: &str, token: &str) -> Result<Shell, Failure> {
        let kept = |why: String| Ok(Shell::Kept(why));
        let stack = loop {
            match self.observe_stack(cx, stack_id).await? {
                Some(stack) => break stack,
                None if self.recent.may_be_unknown() => cx.or_cancelled(cx.pause(self.every)).await?,
                None => return Ok(Shell::Deleted),
            }
        };
        match stack.phase() {
            Phase::Deleted => return Ok(Shell::Deleted),
            Phase::Review => {}
            _ => return kept(format!("it is {}", stack.status)),
        }
        // DeleteChangeSet of nested ones goes on after its answer, and the list may be behind it.
        let what = format!("the change sets of the empty stack {} to go", stack.name);
        let polls = std::cell::Cell::new(0);
        let left = cx
            .wait(Wait::until(&what, Duration::from_secs(1)), async || {
                let sets = self.sets(cx, &stack.name).await?;
                let of_it: Vec<_> = sets.into_iter().filter(|set| set.stack_id == stack_id).collect();
                polls.set(polls.get() + 1);
                let goes =
                    |set: &SetSummary| set.status.starts_with("DELETE_") || self.recent.is_deleted(&set.arn);
                if of_it.iter().any(goes) && polls.get() < 30 {
                    return Ok(Poll::Pending(format!("{} left", of_it.len())));
                }
                Ok(Poll::Ready(of_it))
            })
            .await?;
        if let Some(set) = left.first() {
            return kept(format!("it has the change set {}", set.name));
        }
        if !self.resources(cx, stack_id).await?.is_empty() {
            return kept("it has resources".to_owned());
        }
        self.delete_stack(stack_id, token).await?;
        let what = format!("the empty stack {} to go", stack.name);
        cx.wait(Wait::until(&what, self.every), async || {
            Ok(match self.observe_stack(cx, stack_id).await? {
                Some(stack) if stack.phase() != Phase::Deleted => Poll::Pending(stack.status),
                _ => Poll::Ready(()),
            })
        })
        .await?;
        Ok(Shell::Deleted)
    }
}
