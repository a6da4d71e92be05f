//! Eventual consistency: for a while after a write, reads are answered as they were before it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::request::{Answer, Request};

/// The services whose reads may be behind their writes, by signing name: what AWS says of them, or what clients have met.
///
/// Others are not: S3 is strongly consistent (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel>),
/// and `ListResourceRecordSets` of Route 53 gives records that are still `PENDING`
/// (<https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html>). Of CloudWatch's alarms nobody says it.
pub const EVENTUAL: [&str; 5] = [
    // "The result of an API command you run that affects your Amazon ECS resources might not be immediately visible":
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
    "ecs",
    // A change set just made is not found now and then: https://github.com/aws/aws-cdk/issues/6674,
    // https://github.com/Kotaimen/awscfncli/issues/109
    "cloudformation",
    // "Allow a short period of time for changes to take effect":
    // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DisableRule.html
    "events",
    // https://github.com/hashicorp/terraform-provider-aws/pull/18475, https://github.com/hashicorp/terraform-provider-aws/pull/42093
    "sns",
    // https://github.com/hashicorp/terraform-provider-aws/issues/20442, https://github.com/hashicorp/terraform-provider-aws/pull/6154
    "elasticloadbalancing",
];

/// How many reads of a kind are answered so at least, however slow the client is.
const READS: u32 = 2;

/// A call that makes a thing, and what a read says of it that does not know it yet.
struct Made {
    service: &'static str,
    by: &'static str,
    /// The field of the answer with its ARN, and which part of that between slashes is the name that reads may use instead.
    field: &'static str,
    part: usize,
    read: &'static str,
    status: StatusCode,
    code: &'static str,
    message: fn(&str) -> String,
}

const MADE: [Made; 3] = [
    // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html#API_DescribeTaskDefinition_Errors
    Made {
        service: "ecs",
        by: "RegisterTaskDefinition",
        field: "taskDefinitionArn",
        part: 1,
        read: "DescribeTaskDefinition",
        status: StatusCode::BAD_REQUEST,
        code: "ClientException",
        message: |_| "Unable to describe task definition.".to_owned(),
    },
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html#API_DescribeChangeSet_Errors
    Made {
        service: "cloudformation",
        by: "CreateChangeSet",
        field: "Id",
        part: 1,
        read: "DescribeChangeSet",
        status: StatusCode::NOT_FOUND,
        code: "ChangeSetNotFound",
        message: |name| format!("ChangeSet [{name}] does not exist"),
    },
    // "If the stack doesn't exist, a ValidationError is returned":
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
    Made {
        service: "cloudformation",
        by: "CreateChangeSet",
        field: "StackId",
        part: 1,
        read: "DescribeStacks",
        status: StatusCode::BAD_REQUEST,
        code: "ValidationError",
        message: |name| format!("Stack with id {name} does not exist"),
    },
];

/// A read, whole: the operation, the address and the body.
type Key = (String, Bytes);

fn key(request: &Request) -> Key {
    (format!("{}:{} {}", request.service, request.operation, request.uri), request.body.clone())
}

/// A service that is behind.
struct Behind {
    until: Instant,
    earlier: HashMap<Key, Answer>,
    /// What was made since, by the names that a read may use, with its row of [`MADE`].
    made: Vec<(String, usize)>,
    told: HashMap<Key, u32>,
}

#[derive(Default)]
struct Inner {
    /// What each read was answered last, when it was true.
    answers: HashMap<Key, Answer>,
    behind: HashMap<String, Behind>,
}

#[derive(Default)]
pub(super) struct Lag(Mutex<Inner>);

impl Lag {
    pub(super) fn forget(&self) {
        *self.lock() = Inner::default();
    }

    /// The answer of before, while it is given.
    pub(super) fn stale(&self, request: &Request) -> Option<Answer> {
        let mut inner = self.lock();
        let behind = inner.behind.get_mut(&request.service)?;
        let key = key(request);
        let told = behind.told.get(&key).copied().unwrap_or_default();
        if told >= READS && Instant::now() > behind.until {
            return None;
        }
        let answer = behind.earlier.get(&key).cloned().or_else(|| missing(request, &behind.made))?;
        behind.told.insert(key, told + 1);
        Some(answer)
    }

    /// Remembers a true answer to a read.
    pub(super) fn answered(&self, request: &Request, answer: Answer) {
        self.lock().answers.insert(key(request), answer);
    }

    /// From now on the reads of the write's service are behind it.
    pub(super) fn begin(&self, request: &Request, answer: &Answer, lasts: Duration) {
        let mut inner = self.lock();
        let start = format!("{}:", request.service);
        let of_service = inner.answers.iter().filter(|((name, _), _)| name.starts_with(&start));
        let earlier = of_service.map(|(key, answer)| (key.clone(), answer.clone())).collect();
        let mut made = inner.behind.remove(&request.service).map(|behind| behind.made).unwrap_or_default();
        for (row, it) in MADE.iter().enumerate() {
            let is_it = it.service == request.service && it.by == request.operation;
            if let Some(arn) = is_it.then(|| field(&answer.body, it.field)).flatten() {
                made.extend(arn.split('/').nth(it.part).map(|name| (name.to_owned(), row)));
                made.push((arn, row));
            }
        }
        let behind = Behind { until: Instant::now() + lasts, earlier, made, told: HashMap::new() };
        inner.behind.insert(request.service.clone(), behind);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a thing that was made and is not there yet.
fn missing(request: &Request, made: &[(String, usize)]) -> Option<Answer> {
    let content = request.content();
    let (name, row) = made.iter().find(|(name, row)| {
        MADE.get(*row).is_some_and(|it| it.read == request.operation) && holds(&content, name)
    })?;
    let it = MADE.get(*row)?;
    Some(request.error(it.status, it.code, &(it.message)(name)))
}

fn holds(content: &Value, text: &str) -> bool {
    match content {
        Value::String(value) => value == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.values().any(|value| holds(value, text)),
        _ => false,
    }
}

/// The first field of this name, in JSON or XML.
fn field(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let between = |start: &str, end: &str| {
        let rest = text.split_once(start)?.1.trim_start_matches([':', ' ', '"']);
        Some(rest.split_once(end)?.0.to_owned())
    };
    between(&format!("<{name}>"), "<").or_else(|| between(&format!("\"{name}\""), "\""))
}
