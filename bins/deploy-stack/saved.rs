//! What a stack was, kept before it is deleted.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws::Aws;
use changeset::live::{Bucket, Cfn, RollbackTrigger, Stack};
use changeset::prepare::Former;
use kit::{Cx, Failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use time::OffsetDateTime;

/// What CloudFormation can tell of a stack that goes. `NoEcho` values are not among it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Saved {
    schema: String,
    pub(crate) stack: String,
    pub(crate) stack_id: String,
    #[serde(with = "time::serde::rfc3339")]
    saved: OffsetDateTime,
    status: String,
    template: Option<String>,
    parameters: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    capabilities: Vec<String>,
    role_arn: Option<String>,
    notification_arns: Vec<String>,
    rollback_triggers: Vec<RollbackTrigger>,
    monitoring_minutes: Option<i32>,
    pub(crate) stack_policy: Option<String>,
    outputs: BTreeMap<String, String>,
}

pub(crate) const SCHEMA: &str = "cutover/saved-stack/1";

impl Saved {
    /// Reads it from AWS.
    pub(crate) async fn of(cx: &Cx, cfn: &Cfn, stack: &Stack) -> Result<Self, Failure> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            stack: stack.name.clone(),
            stack_id: stack.id.clone(),
            saved: cx.now(),
            status: stack.status.clone(),
            template: cfn.original_template(cx, &stack.id).await?,
            parameters: stack.parameters.clone(),
            tags: stack.tags.clone(),
            capabilities: stack.capabilities.clone(),
            role_arn: stack.role_arn.clone(),
            notification_arns: stack.notification_arns.clone(),
            rollback_triggers: stack.rollback_triggers.clone(),
            monitoring_minutes: stack.monitoring_minutes,
            stack_policy: cfn.stack_policy(cx, &stack.id).await?,
            outputs: stack
                .outputs
                .iter()
                .map(|(name, output)| (name.clone(), output.value.clone()))
                .collect(),
        })
    }

    /// For making it again.
    pub(crate) fn former(&self) -> Former {
        Former {
            parameters: self.parameters.clone(),
            tags: self.tags.clone(),
            role_arn: self.role_arn.clone(),
            notification_arns: self.notification_arns.clone(),
            rollback_triggers: self.rollback_triggers.clone(),
            monitoring_minutes: self.monitoring_minutes,
        }
    }

    /// What of the stack is another than in `then`, in words; when it was saved and its status are not among it. Values are not
    /// told: secrets are among them.
    pub(crate) fn differs_in(&self, then: &Self) -> Vec<&'static str> {
        [
            ("its template", self.template != then.template),
            ("its parameters", self.parameters != then.parameters),
            ("its tags", self.tags != then.tags),
            ("its capabilities", self.capabilities != then.capabilities),
            ("its service role", self.role_arn != then.role_arn),
            ("its notification topics", self.notification_arns != then.notification_arns),
            (
                "its alarms",
                (&self.rollback_triggers, self.monitoring_minutes)
                    != (&then.rollback_triggers, then.monitoring_minutes),
            ),
            ("its stack policy", self.stack_policy != then.stack_policy),
            ("its outputs", self.outputs != then.outputs),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect()
    }

    fn worked(&self) -> bool {
        worked(&self.status)
    }

    /// Whether it is of an account and a region: one place can hold the stacks of several under the same names.
    fn is_in(&self, account: &str, region: &str) -> bool {
        let mut parts = self.stack_id.split(':').skip(3);
        (parts.next(), parts.next()) == (Some(region), Some(account))
    }

    /// One stack has one place, whatever run saves it: the ARN's id is in the name, so that two stacks of one name have two.
    fn name(&self) -> String {
        let id = self.stack_id.rsplit('/').next().unwrap_or_default();
        format!("{}-{id}.stack.json", self.stack)
    }
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Folder(PathBuf),
    S3 { client: aws_sdk_s3::Client, bucket: Bucket, account: String },
}

impl Place {
    /// `DIR` or `s3://BUCKET[/PREFIX]`.
    pub(crate) fn parse(text: &str, aws: &Aws) -> Result<Self, Failure> {
        if text.starts_with("s3://") {
            return Ok(Self::S3 {
                client: aws_sdk_s3::Client::new(&aws.config),
                bucket: Bucket::parse(text)?,
                account: aws.account.clone(),
            });
        }
        Ok(Self::Folder(PathBuf::from(text)))
    }

    /// As it was given.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Folder(folder) => folder.display().to_string(),
            Self::S3 { bucket, .. } => format!("s3://{}/{}", bucket.name, bucket.prefix),
        }
    }

    /// Where a stack is or will be.
    pub(crate) fn of(&self, saved: &Saved) -> String {
        match self {
            Self::Folder(folder) => folder.join(saved.name()).display().to_string(),
            Self::S3 { bucket, .. } => format!("s3://{}/{}", bucket.name, key(bucket, &saved.name())),
        }
    }

    /// Saves it for good before anything is deleted: nobody else may read it, as passwords stand in templates of the world.
    pub(crate) async fn save(&self, cx: &Cx, saved: &Saved) -> Result<String, Failure> {
        let at = self.of(saved);
        let attempt = || format!("save what stack {} was to {at}", saved.stack);
        let text =
            serde_json::to_string_pretty(saved).map_err(|error| Failure::failed(attempt()).because(error))?;
        match self {
            Self::Folder(folder) => {
                write(folder, &folder.join(saved.name()), &text).map_err(|error| {
                    Failure::failed(attempt()).because(error).help("name a folder that can be written")
                })?;
            }
            Self::S3 { client, bucket, account } => {
                let key = key(bucket, &saved.name());
                let put = client
                    .put_object()
                    .bucket(&bucket.name)
                    .key(&key)
                    .expected_bucket_owner(account)
                    .content_type("application/json")
                    .body(text.into_bytes().into());
                let arn = format!("arn:aws:s3:::{}/{key}", bucket.name);
                cx.or_cancelled(put.send())
                    .await?
                    .map_err(|error| aws::failure(attempt(), "s3:PutObject", &arn, error))?;
            }
        }
        Ok(at)
    }

    /// The newest that is kept of a stack of this name, account and region that worked, else of one that did not; none where nothing
    /// is.
    pub(crate) async fn newest(&self, cx: &Cx, cfn: &Cfn, stack: &str) -> Result<Option<Saved>, Failure> {
        let attempt = || format!("look for what stack {stack} was");
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        match self {
            Self::Folder(folder) => {
                let entries = match fs::read_dir(folder) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    entries => entries.map_err(|error| Failure::failed(attempt()).because(error))?,
                };
                for entry in entries.flatten() {
                    if !is_of(stack, &entry.file_name().to_string_lossy()) {
                        continue;
                    }
                    let text =
                        fs::read(entry.path()).map_err(|error| Failure::failed(attempt()).because(error))?;
                    found.push((entry.path().display().to_string(), text));
                }
            }
            Self::S3 { client, bucket, account } => {
                let prefix = key(bucket, &format!("{stack}-"));
                let arn = format!("arn:aws:s3:::{}", bucket.name);
                let mut pages = client
                    .list_objects_v2()
                    .bucket(&bucket.name)
                    .prefix(&prefix)
                    .expected_bucket_owner(account)
                    .into_paginator()
                    .send();
                let mut keys = Vec::new();
                while let Some(page) = cx.or_cancelled(pages.next()).await? {
                    let page = page.map_err(|error| aws::failure(attempt(), "s3:ListBucket", &arn, error))?;
                    keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
                }
                for key in keys.iter().filter(|key| is_of(stack, key.rsplit('/').next().unwrap_or(key))) {
                    let get =
                        client.get_object().bucket(&bucket.name).key(key).expected_bucket_owner(account);
                    let object = cx.or_cancelled(get.send()).await?.map_err(|error| {
                        aws::failure(attempt(), "s3:GetObject", &format!("{arn}/{key}"), error)
                    })?;
                    let body = cx
                        .or_cancelled(object.body.collect())
                        .await?
                        .map_err(|error| Failure::failed(attempt()).because(error))?;
                    found.push((format!("s3://{}/{key}", bucket.name), body.into_bytes().to_vec()));
                }
            }
        }
        newest_of(stack, &found, |saved| saved.is_in(cfn.account(), cfn.region()))
    }
}

/// The newest of these documents, each with its place, that is of this stack, here. One that can't be read is no reason to go back to
/// an older one in silence.
pub(crate) fn newest_of(
    stack: &str,
    found: &[(String, Vec<u8>)],
    is_here: impl Fn(&Saved) -> bool,
) -> Result<Option<Saved>, Failure> {
    let mut all: Vec<Saved> = Vec::new();
    for (place, text) in found {
        all.push(parse(text).map_err(|why| {
            Failure::failed(format!("read what stack {stack} was from {place}"))
                .because(why)
                .help("correct it, or move it away to use an older one")
        })?);
    }
    // One that never came to work is not what the stack was, when there is another.
    let own = all.into_iter().filter(|saved| saved.stack == stack && is_here(saved));
    Ok(own.max_by_key(|saved| (saved.worked(), saved.saved)))
}

/// Reads a document; why not is told without what stands in it, since passwords stand in templates of the world.
pub(crate) fn parse(text: &[u8]) -> Result<Saved, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| unread(&error))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => serde_json::from_slice(text).map_err(|error| unread(&error)),
        Some(other) => Err(format!(
            "its schema is {}, and this version reads {SCHEMA}",
            kit::clip(&kit::one_line(other), SHOWN)
        )),
        None => Err(format!("it has no schema; what this step saves has {SCHEMA}")),
    }
}

/// How much of a foreign name is shown, in characters.
const SHOWN: usize = 80;

fn unread(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Eof => format!("it was cut off at {place}"),
        Category::Syntax | Category::Io => format!("it is no JSON at {place}"),
        Category::Data => {
            let said = error.to_string();
            let named = ["missing field", "duplicate field"].iter().any(|sign| said.starts_with(sign));
            if named { said } else { format!("{place} has a value of another kind than this step saves") }
        }
    }
}

/// Whether a stack of that status had been made to its end.
pub(crate) fn worked(status: &str) -> bool {
    !["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"].contains(&status)
}

fn is_of(stack: &str, name: &str) -> bool {
    name.strip_prefix(stack).is_some_and(|rest| rest.starts_with('-')) && name.ends_with(".stack.json")
}

fn key(bucket: &Bucket, name: &str) -> String {
    match bucket.prefix.trim_matches('/') {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    }
}

fn write(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    kit::create_folder(folder)?;
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    kit::hand_over(&unfinished)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(stack: &str, saved: &str, status: &str) -> (String, Vec<u8>) {
        let document = json!({
            "schema": SCHEMA, "stack": stack, "stack-id": format!("arn:aws:cloudformation:us-east-1:123456789012:stack/{stack}/{saved}"),
            "saved": saved, "status": status, "template": null, "parameters": {"When": saved}, "tags": {}, "capabilities": [],
            "role-arn": null, "notification-arns": [], "rollback-triggers": [], "monitoring-minutes": null,
            "stack-policy": null, "outputs": {},
        });
        (format!("{stack}-{saved}.stack.json"), document.to_string().into_bytes())
    }

    fn newest(documents: &[(String, Vec<u8>)]) -> String {
        newest_of("redis", documents, |_| true).unwrap().unwrap().parameters["When"].clone()
    }

    #[test]
    fn the_newest_is_so_by_time_and_not_by_letters() {
        let worked = |saved: &str| document("redis", saved, "UPDATE_COMPLETE");
        assert_eq!(
            newest(&[
                worked("2026-11-21T16:28:38.5Z"),
                worked("2026-11-21T09:05:00Z"),
                worked("2026-11-21T16:28:38Z")
            ]),
            "2026-11-21T16:28:38.5Z"
        );
    }

    #[test]
    fn what_never_worked_and_other_stacks_give_way() {
        let documents = [
            document("redis", "2026-11-21T09:00:00Z", "UPDATE_COMPLETE"),
            document("redis", "2026-11-21T10:00:00Z", "ROLLBACK_COMPLETE"),
            document("redis-two", "2026-11-21T11:00:00Z", "UPDATE_COMPLETE"),
        ];
        assert_eq!(newest(&documents), "2026-11-21T09:00:00Z");
        assert!(newest_of("redis", &documents[2..], |_| true).unwrap().is_none());
    }

    #[test]
    fn the_stack_of_another_account_or_region_is_another() {
        let documents = [document("redis", "2026-11-21T09:00:00Z", "UPDATE_COMPLETE")];
        let is_found = |account: &str, region: &str| {
            newest_of("redis", &documents, |saved| saved.is_in(account, region)).unwrap().is_some()
        };
        assert!(is_found("123456789012", "us-east-1"));
        assert!(!is_found("210987654321", "us-east-1"));
        assert!(!is_found("123456789012", "us-east-2"));
    }

    #[test]
    fn what_differs_is_told_by_its_kind_and_not_by_its_value() {
        let (_, text) = document("redis", "2026-11-21T09:00:00Z", "UPDATE_COMPLETE");
        let then = parse(&text).unwrap();
        for (field, value, told) in [
            ("template", json!("{}"), "its template"),
            ("parameters", json!({"When": "hunter22"}), "its parameters"),
            ("tags", json!({"team": "boss"}), "its tags"),
            ("capabilities", json!(["CAPABILITY_IAM"]), "its capabilities"),
            ("role-arn", json!("arn:aws:iam::123456789012:role/stacks"), "its service role"),
            (
                "notification-arns",
                json!(["arn:aws:sns:us-east-1:123456789012:events"]),
                "its notification topics",
            ),
            ("rollback-triggers", json!([{"arn": "a", "type": "AWS::CloudWatch::Alarm"}]), "its alarms"),
            ("monitoring-minutes", json!(5), "its alarms"),
            ("stack-policy", json!("{}"), "its stack policy"),
            ("outputs", json!({"Stage": "prod"}), "its outputs"),
        ] {
            let mut now: Value = serde_json::from_slice(&text).unwrap();
            now[field] = value;
            now["saved"] = json!("2026-11-21T10:00:00Z");
            let now = parse(now.to_string().as_bytes()).unwrap();
            assert_eq!(now.differs_in(&then), [told], "{field}");
            assert_eq!(now.differs_in(&now), Vec::<&str>::new());
        }
    }

    #[test]
    fn one_that_can_not_be_read_is_told_and_not_passed_over() {
        let documents = [
            document("redis", "2026-11-21T09:00:00Z", "UPDATE_COMPLETE"),
            ("x.stack.json".into(), "{".into()),
        ];
        let error = newest_of("redis", &documents, |_| true).unwrap_err();
        assert!(error.to_string().contains("x.stack.json"), "{error}");
    }
}
