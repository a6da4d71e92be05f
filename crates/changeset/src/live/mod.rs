//! All that is said to CloudFormation: stacks looked at, change sets made and read, operations started and followed.
//!
//! There is no judgement in here: what comes back is plain data, and each failure names the attempt, the resource and the
//! IAM action that the call needs.

mod convert;
mod describe;
mod events;
mod first_failure;
mod follow;
mod make;
mod operate;
mod recent;
mod sets;
mod source;
mod stack;
mod status;
mod templates;
#[cfg(test)]
mod tests;

use std::time::Duration;

use aws::Aws;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};

pub use describe::{Described, Node};
pub use events::{Event, Operation};
pub use follow::{Ended, Since};
pub use make::{Kind, Made, ParameterValue, SetRef, Validation, Want, purpose_of, set_name};
pub use sets::{SetSummary, Shell};
pub use source::{BODY_LIMIT, Bucket, OBJECT_LIMIT, TemplateSource};
pub use stack::{LastOperation, Output, Resource, RollbackTrigger, Stack, StackNode};
pub use status::{Phase, Recovery};
pub use templates::Templates;

/// A connection to CloudFormation in one account and region.
#[derive(Clone, Debug)]
pub struct Cfn {
    client: Client,
    s3: aws_sdk_s3::Client,
    account: String,
    region: String,
    every: Duration,
    recent: recent::Recent,
}

impl Cfn {
    /// CloudFormation, and S3 for large templates, where `aws` is connected to.
    pub fn new(aws: &Aws) -> Self {
        Self {
            client: Client::new(&aws.config),
            s3: aws_sdk_s3::Client::new(&aws.config),
            account: aws.account.clone(),
            region: aws.region.clone(),
            every: Duration::from_secs(3),
            recent: recent::Recent::default(),
        }
    }

    /// Looks at what it waits for so often; three seconds unless told, which leaves room in an account's rate of calls.
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// The account that the credentials belong to.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region that calls go to.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The ARN of a stack, for the help of a denied call; a stack's own ARN stays as it is.
    fn arn(&self, stack: &str) -> String {
        if stack.starts_with("arn:") {
            return stack.to_owned();
        }
        format!("arn:aws:cloudformation:{}:{}:stack/{stack}/*", self.region, self.account)
    }
}

/// Whether AWS says that the stack is not there. There is no code of its own for it, only this text.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html>
fn is_absent<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ValidationError")
        && error.message().is_some_and(|message| message.contains("does not exist"))
}

/// The stack's name, of a name or an ARN.
pub(crate) fn short(stack: &str) -> &str {
    stack.split(":stack/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(stack)
}
