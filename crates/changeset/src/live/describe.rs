//! A change set read whole: both descriptions, every page, every nested set.

use std::collections::BTreeSet;

use aws::failure;
use aws_sdk_cloudformation::error::SdkError;
use aws_sdk_cloudformation::operation::describe_change_set::{
    DescribeChangeSetError, DescribeChangeSetOutput,
};
use kit::{Cx, Failure};

use super::{Cfn, convert, short};
use crate::answer::Answer;
use crate::judge::STACK;
use crate::set::Page;

/// All that AWS tells of a change set and of those nested in it.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// For [`crate::set::assemble`]: of each set the plain description first, then that with property values.
    pub pages: Vec<Page>,
    /// The sets and nested stacks that were met, the root first.
    pub nodes: Vec<Node>,
    /// Descriptions with property values that AWS did not give; the plain ones tell the changes all the same.
    pub warnings: Vec<String>,
}

/// A stack that the change set is about: the root, or one nested in it that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The logical ids that lead to it from the root; empty for the root.
    pub path: Vec<String>,
    /// Its change set; none for a nested stack that goes, and for one that AWS tells nothing more of.
    pub set: Option<String>,
    /// Its ARN; none before it exists.
    pub stack_id: Option<String>,
}

/// Which of the two descriptions is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    /// With `IncludePropertyValues`.
    Values,
}

impl Cfn {
    /// Describes a set twice, plainly and with the values of properties, and so every set nested in it.
    ///
    /// The plain description is the truth: with values AWS can leave resources out and say so in a remark alone
    /// (<https://github.com/aws/aws-cdk-cli/issues/1780>), so a failure there is a warning: the same
    /// call without them was just allowed.
    ///
    /// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html>
    pub async fn describe(&self, cx: &Cx, arn: &str) -> Result<Described, Failure> {
        let mut described = Described::default();
        let mut seen = BTreeSet::from([arn.to_owned()]);
        let mut open = vec![Node { path: Vec::new(), set: Some(arn.to_owned()), stack_id: None }];
        while let Some(mut node) = open.pop() {
            let Some(arn) = node.set.clone() else {
                described.nodes.push(node);
                continue;
            };
            let plain = self.pages(cx, &arn, Form::Plain).await?;
            if let Some(stack_id) = plain.iter().find_map(|page| page.answer.stack_id.clone()) {
                node.stack_id = Some(stack_id);
            }
            for child in nested(&node, &plain).into_iter().rev() {
                if let Some(set) = &child.set
                    && !seen.insert(set.clone())
                {
                    return Err(Failure::failed(format!("describe the change sets nested in {arn}"))
                        .because(format!("{set} is named in more than one place")));
                }
                open.push(child);
            }
            described.nodes.push(node);
            described.pages.extend(plain);
            match self.pages(cx, &arn, Form::Values).await {
                Ok(pages) => described.pages.extend(pages),
                Err(error) if error.code() == kit::Code::Failed => {
                    described.warnings.push(format!(
                        "the values of properties can't be shown ({error}: {})",
                        error.chain().join(": ")
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(described)
    }

    async fn pages(&self, cx: &Cx, arn: &str, form: Form) -> Result<Vec<Page>, Failure> {
        let mut pages: Vec<Page> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let answer = convert::answer(&self.page(cx, arn, form, token.clone()).await?);
            let next = answer.next_token.clone();
            let values = if form == Form::Values { " with property values" } else { "" };
            let from = format!("page {} of the description of {arn}{values}", pages.len() + 1);
            pages.push(Page { from, answer, values: Some(form == Form::Values) });
            if next.is_some() && next == token {
                return Err(Failure::failed(attempt(arn)).because("AWS gives the same page again and again"));
            }
            match next {
                Some(next) => token = Some(next),
                None => return Ok(pages),
            }
        }
    }

    /// One page of the plain description.
    pub(super) async fn glance(&self, cx: &Cx, arn: &str) -> Result<Answer, Failure> {
        Ok(convert::answer(&self.page(cx, arn, Form::Plain, None).await?))
    }

    async fn page(
        &self,
        cx: &Cx,
        arn: &str,
        form: Form,
        token: Option<String>,
    ) -> Result<DescribeChangeSetOutput, Failure> {
        let values = (form == Form::Values).then_some(true);
        let call = self.client.describe_change_set().change_set_name(arn).set_include_property_values(values);
        let call = call.set_next_token(token);
        loop {
            match cx.or_cancelled(call.clone().send()).await? {
                Ok(page) => return Ok(page),
                Err(error) if is_not_found(&error) && self.recent.may_be_unknown() => {
                    cx.or_cancelled(cx.pause(self.every)).await?;
                }
                Err(error) => return Err(self.undescribed(arn, error)),
            }
        }
    }

    fn undescribed(&self, arn: &str, error: SdkError<DescribeChangeSetError>) -> Failure {
        let gone = is_not_found(&error);
        let failed = failure(attempt(arn), "cloudformation:DescribeChangeSet", &self.arn("*"), error);
        if gone {
            failed.help(
                "it was deleted, or its stack was: executing one change set of a stack deletes its others; make it again",
            )
        } else {
            failed
        }
    }
}

pub(super) fn is_not_found(error: &SdkError<DescribeChangeSetError>) -> bool {
    error.as_service_error().is_some_and(DescribeChangeSetError::is_change_set_not_found_exception)
}

fn attempt(arn: &str) -> String {
    format!("describe the change set {}", set_of(arn))
}

/// The name of a change set, of its ARN.
pub(super) fn set_of(arn: &str) -> &str {
    arn.split(":changeSet/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(arn)
}

/// The nested stacks among the changes, each once although both it and its set can take several pages.
fn nested(node: &Node, pages: &[Page]) -> Vec<Node> {
    let mut children: Vec<Node> = Vec::new();
    let changes = pages.iter().flat_map(|page| &page.answer.changes);
    for change in changes.filter_map(|change| change.resource_change.as_ref()) {
        if change.change_set_id.is_none() && change.resource_type != STACK {
            continue;
        }
        let path: Vec<String> =
            node.path.iter().cloned().chain([change.logical_resource_id.clone()]).collect();
        let stack_id = change.physical_resource_id.clone();
        children.push(Node { path, set: change.change_set_id.clone(), stack_id });
    }
    children
}

impl Node {
    /// The path as rows have it, beneath the label of the root's stack: `infra/S3Res`.
    pub fn path_beneath(&self, label: &str) -> String {
        std::iter::once(label).chain(self.path.iter().map(String::as_str)).collect::<Vec<_>>().join("/")
    }

    /// What to call its stack in messages.
    pub fn stack_name(&self) -> Option<&str> {
        self.stack_id.as_deref().map(short)
    }
}
