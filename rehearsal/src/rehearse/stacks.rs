//! A release of CloudFormation stacks: what it is started with, and what the stacks are before and after.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::{Given, pair};
use crate::world::{Aws, Copied, Stacks, texts};

/// The calls that change a stack. Making and deleting a change set changes none.
const OPERATIONS: [&str; 7] = [
    "ContinueUpdateRollback",
    "CreateStack",
    "DeleteStack",
    "ExecuteChangeSet",
    "RollbackStack",
    "UpdateStack",
    "CancelUpdateStack",
];

/// What the workflow is started with.
pub(super) fn given(world: &Stacks, workflow: &'static str) -> Given {
    let path = std::env::var("PATH").unwrap_or_default();
    Given {
        workflow,
        inputs: world.inputs.clone().into_iter().collect(),
        env: vec![pair("AWS_ENDPOINT_URL", &world.aws.endpoint), pair("PATH", path)],
        github: Vec::new(),
        secrets: world.secrets.clone().into_iter().collect(),
    }
}

/// What the emulator takes only as a copy, and what in it is something else.
pub(super) fn copies(world: &Stacks) -> String {
    let copy = |copied: &Copied| {
        let changes: Vec<String> = copied.changes.iter().map(|change| format!("    {change}")).collect();
        format!("  {}\n{}\n", copied.template, changes.join("\n"))
    };
    world.copies.iter().map(copy).collect()
}

/// The stacks as DescribeStacks tells them, and the items of the table that must not be lost.
pub(super) struct Look {
    release: Vec<Seen>,
    untouched: Vec<Seen>,
    items: Option<(String, u64)>,
    /// What is seen under the public name.
    shown: Option<Shown>,
    /// Subscriptions of the topic, and how many of them get nothing.
    silenced: Option<(usize, usize)>,
}

/// What somebody sees who opens the public name.
struct Shown {
    line: String,
    is_page: bool,
}

#[derive(PartialEq)]
struct Seen {
    name: String,
    /// `None` where there is no such stack.
    stack: Option<State>,
}

#[derive(PartialEq)]
struct State {
    id: String,
    status: String,
    /// When it was updated last, or created.
    changed: String,
}

impl Look {
    pub(super) async fn at(world: &Stacks) -> io::Result<Self> {
        let mut release = Vec::new();
        for deployed in &world.stacks {
            release.push(Seen::of(&world.aws, &deployed.name).await?);
        }
        let mut untouched = Vec::new();
        for name in &world.untouched {
            untouched.push(Seen::of(&world.aws, name).await?);
        }
        let items = match &world.table {
            Some(table) => Some((table.clone(), items(&world.aws, table).await?)),
            None => None,
        };
        let shown = match &world.maintenance {
            Some(entry) => {
                let seen = entry.seen("/ping/").await;
                let line = format!("{} shows {}", entry.name, seen.trim());
                Some(Shown { line, is_page: seen.contains(&entry.text) })
            }
            None => None,
        };
        let silenced = match &world.topic {
            Some(topic) => Some(silenced(&world.aws, topic).await?),
            None => None,
        };
        Ok(Self { release, untouched, items, shown, silenced })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.release.iter().chain(&self.untouched);
        let width = all().map(|seen| seen.name.len()).max().unwrap_or(0);
        let line = |seen: &Seen| match &seen.stack {
            None => format!("  {:width$}  absent", seen.name),
            Some(State { id, status, changed }) => {
                let id = id.rsplit('/').next().unwrap_or_default();
                let id = id.get(..8).unwrap_or(id);
                let time = changed.get(11..19).unwrap_or(changed);
                format!("  {:width$}  {status:24} {time}  {id}", seen.name)
            }
        };
        let mut lines: Vec<String> = all().map(line).collect();
        lines.extend(self.items.iter().map(|(table, count)| format!("  items in {table}: {count}")));
        lines.extend(self.shown.iter().map(|shown| format!("  {}", shown.line)));
        lines.extend(
            self.silenced.map(|(all, silent)| format!("  alerts: {silent} of {all} addresses are silenced")),
        );
        formatter.write_str(&lines.join("\n"))
    }
}

impl Seen {
    async fn of(aws: &Aws, name: &str) -> io::Result<Self> {
        let form = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", name)];
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let answer = ask(aws, "cloudformation", |request| {
            request.header("content-type", "application/x-www-form-urlencoded").body(form)
        })
        .await?;
        let first = |element: &str| texts(&answer, element).into_iter().next();
        let stack = first("StackStatus").map(|status| State {
            id: first("StackId").unwrap_or_default(),
            status,
            changed: first("LastUpdatedTime").or_else(|| first("CreationTime")).unwrap_or_default(),
        });
        Ok(Self { name: name.to_owned(), stack })
    }

    fn is_good(&self) -> bool {
        let good = |status: &str| status.ends_with("_COMPLETE") && !status.contains("ROLLBACK");
        self.stack.as_ref().is_some_and(|stack| good(&stack.status))
    }
}

/// The subscriptions of a topic, and those of them with a filter policy: before a release none has one here.
async fn silenced(aws: &Aws, topic: &str) -> io::Result<(usize, usize)> {
    let form = async |pairs: &[(&str, &str)]| {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        ask(aws, "sns", |request| {
            request.header("content-type", "application/x-www-form-urlencoded").body(form)
        })
        .await
    };
    let version = ("Version", "2010-03-31");
    let answer = form(&[("Action", "ListSubscriptionsByTopic"), version, ("TopicArn", topic)]).await?;
    let all = texts(&answer, "SubscriptionArn");
    let mut silent = 0;
    for arn in &all {
        let answer =
            form(&[("Action", "GetSubscriptionAttributes"), version, ("SubscriptionArn", arn)]).await?;
        let policy = answer.split("<key>FilterPolicy</key>").nth(1);
        let policy = policy.and_then(|rest| texts(rest, "value").into_iter().next());
        // One that is removed is set to nothing, which the emulator goes on showing.
        silent += usize::from(policy.is_some_and(|policy| policy != "{}"));
    }
    Ok((all.len(), silent))
}

async fn items(aws: &Aws, table: &str) -> io::Result<u64> {
    let document = json!({ "TableName": table, "Select": "COUNT" }).to_string();
    let answer = ask(aws, "dynamodb", |request| {
        let request = request.header("x-amz-target", "DynamoDB_20120810.Scan");
        request.header("content-type", "application/x-amz-json-1.0").body(document)
    })
    .await?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["Count"].as_u64().unwrap_or(0))
}

async fn ask(
    aws: &Aws,
    service: &str,
    request: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
) -> io::Result<String> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
    let scope = format!("AKIAIOSFODNN7EXAMPLE/20260101/{}/{service}/aws4_request", aws.region);
    let signed = client.post(&aws.endpoint).header(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=unverified"),
    );
    let answer = request(signed).send().await.map_err(io::Error::other)?;
    answer.text().await.map_err(io::Error::other)
}

/// One operation on a stack.
pub(super) struct Ran {
    operation: String,
    /// By name; unknown where the call names a change set alone.
    stack: Option<String>,
}

/// The operations on stacks that had an effect, of all runs, in their order.
pub(super) fn operations(calls: &Path) -> io::Result<Vec<Ran>> {
    let text = match fs::read_to_string(calls) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let mut operations = Vec::new();
    for line in text.lines() {
        let call: Value = serde_json::from_str(line)?;
        let operation = call["operation"].as_str().unwrap_or_default();
        if call["service"] == "cloudformation" && call["effect"] == true && OPERATIONS.contains(&operation) {
            // A name, or arn:aws:cloudformation:REGION:ACCOUNT:stack/NAME/ID.
            let stack = call.pointer("/request/StackName").and_then(Value::as_str);
            let stack = stack.map(|stack| stack.split('/').nth(1).unwrap_or(stack).to_owned());
            operations.push(Ran { operation: operation.to_owned(), stack });
        }
    }
    Ok(operations)
}

/// How many operations there were on stacks that a person would speak of.
fn counted(before: &Look, ran: &[Ran]) -> usize {
    // The change set of a new stack leaves an empty one behind, which the review takes away.
    let was_absent = |name: &str| before.release.iter().any(|seen| seen.name == name && seen.stack.is_none());
    let counts = |ran: &&Ran| ran.operation != "DeleteStack" || !ran.stack.as_deref().is_some_and(was_absent);
    ran.iter().filter(counts).count()
}

/// Whether a run that only looks has left everything as it was.
pub(super) fn untouched(before: &Look, after: &Look, ran: &[Ran]) -> bool {
    counted(before, ran) == 0
        && before.release == after.release
        && before.untouched == after.untouched
        && before.items == after.items
}

/// The last line of the rehearsal, and whether the stacks look as the workflow's result says they should.
pub(super) fn verdict(before: &Look, after: &Look, ran: &[Ran], succeeded: bool) -> (String, bool) {
    let count = counted(before, ran);
    let touched: Vec<&str> = before
        .untouched
        .iter()
        .zip(&after.untouched)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after.name.as_str())
        .collect();
    if !touched.is_empty() {
        return (format!("WRONG: {} should have been left alone", touched.join(", ")), false);
    }
    if before.items != after.items {
        return ("WRONG: a table has lost its items".to_owned(), false);
    }
    if let Some((_, silent @ 1..)) = after.silenced {
        return (format!("WRONG: {silent} addresses are still silenced"), false);
    }
    let closed = after.shown.as_ref().filter(|shown| shown.is_page);
    if let (true, Some(shown)) = (succeeded, closed) {
        return (format!("WRONG: after the release {}", shown.line), false);
    }
    let kept = match (&after.items, after.untouched.is_empty()) {
        (Some((table, count)), _) => format!("{table} still has all it had ({count})"),
        (None, false) => "what ran before is as it was".to_owned(),
        (None, true) => String::new(),
    };
    let operations = if count == 1 { "1 operation".to_owned() } else { format!("{count} operations") };
    let bad: Vec<&str> =
        after.release.iter().filter(|seen| !seen.is_good()).map(|seen| seen.name.as_str()).collect();
    match (succeeded, count) {
        (true, _) if !bad.is_empty() => (format!("WRONG: not as it should be: {}", bad.join(", ")), false),
        (true, 0) => (format!("DONE: there was nothing to do; {kept}"), true),
        (true, _) => (format!("DONE: {operations} on stacks, and {kept}"), true),
        (false, 0) => {
            let same = before.release == after.release;
            (format!("STOPPED: no stack was created, changed or deleted; {kept}"), same)
        }
        (false, _) => {
            let shown = closed.map(|shown| format!("; {}", shown.line)).unwrap_or_default();
            (format!("PART-WAY: the release failed after {operations} on stacks; {kept}{shown}"), true)
        }
    }
}
