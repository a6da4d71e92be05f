//! Asks whether what a task needs is there. A question that nobody may ask, or that gets no answer, is a skipped check, and
//! never ends the run: what can't be known must not stop a release, and must not look like a yes.

use std::collections::HashMap;

use aws::{Arn, Aws, failure};
use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::operation::get_role::GetRoleError;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretError;
use kit::{Cx, Failure};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::preflight::{Checked, Need, SecretRef, Verdict, trust};

/// Looks for each thing, in order.
pub(crate) async fn probe(cx: &Cx, aws: &Aws, needs: &[Need]) -> Result<Vec<Checked>, Failure> {
    let parameters = parameters(cx, aws, needs).await?;
    let mut checks = Vec::new();
    for need in needs {
        checks.push(match need {
            Need::Role { field, name } => {
                let kind = if *field == "taskRoleArn" { "task role" } else { "execution role" };
                Checked::new(kind, name, role(cx, aws, name).await?)
            }
            Need::LogGroup { name, region, create } => {
                Checked::new("log group", name, log_group(cx, aws, name, region.as_deref(), *create).await?)
            }
            Need::Parameter { name } => {
                let unanswered = || Verdict::Skipped("the answer does not name it".to_owned());
                Checked::new("parameter", name, parameters.get(name).cloned().unwrap_or_else(unanswered))
            }
            Need::Secret { id } => Checked::new("secret", id, secret(cx, aws, id).await?),
            Need::EnvironmentFile { arn } => {
                let why = "this step has no access to S3, and does not look";
                Checked::new("environment file", arn, Verdict::Skipped(why.to_owned()))
            }
        });
    }
    Ok(checks)
}

/// Why a question got no answer: for a denied one, the permission to give.
fn skipped<E>(permission: &str, error: SdkError<E, HttpResponse>) -> Verdict
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let denied = error.as_service_error().and_then(|error| error.code()).is_some_and(|code| {
        ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"].contains(&code)
    });
    if denied {
        return Verdict::Skipped(format!("no permission: allow {permission}"));
    }
    Verdict::Skipped(failure("ask", permission, "*", error).chain().join(": "))
}

/// Why it is not asked for: it belongs to another account or region than the one that we work in.
fn elsewhere(aws: &Aws, account: &str, region: &str) -> Option<Verdict> {
    if !account.is_empty() && account != aws.account {
        return Some(Verdict::Skipped(format!("it is in account {account}, not in {}", aws.account)));
    }
    (!region.is_empty() && region != aws.region)
        .then(|| Verdict::Skipped(format!("it is in {region}, not in {}", aws.region)))
}

/// Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html>
async fn role(cx: &Cx, aws: &Aws, name: &str) -> Result<Verdict, Failure> {
    let mut short = name;
    if let Ok(arn) = name.parse::<Arn>() {
        if let Some(skipped) = elsewhere(aws, &arn.account, "") {
            return Ok(skipped);
        }
        short = name.rsplit('/').next().unwrap_or(name);
    }
    let call = aws_sdk_iam::Client::new(&aws.config).get_role().role_name(short).send();
    Ok(match cx.or_cancelled(call).await? {
        Ok(answer) => {
            let policy =
                answer.role().and_then(|role| role.assume_role_policy_document()).unwrap_or_default();
            // "URL-encoded compliant with RFC 3986", says IAM.
            let policy = percent_decode_str(policy).decode_utf8_lossy();
            serde_json::from_str::<Value>(&policy).map_or_else(
                |_| Verdict::Skipped("it is there; its trust policy can't be read".to_owned()),
                |policy| trust(&policy),
            )
        }
        Err(error) if error.as_service_error().is_some_and(GetRoleError::is_no_such_entity_exception) => {
            Verdict::Missing(format!("does not exist in account {}", aws.account))
        }
        Err(error) => skipped("iam:GetRole", error),
    })
}

/// `DescribeLogGroups` searches by prefix: the group counts only when its name is equal.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html>
async fn log_group(
    cx: &Cx,
    aws: &Aws,
    name: &str,
    region: Option<&str>,
    create: bool,
) -> Result<Verdict, Failure> {
    if create {
        let why =
            "awslogs-create-group makes it when a task starts (the execution role needs logs:CreateLogGroup)";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    if let Some(skipped) = elsewhere(aws, "", region.unwrap_or_default()) {
        return Ok(skipped);
    }
    let client = aws_sdk_cloudwatchlogs::Client::new(&aws.config);
    let mut next = None;
    loop {
        let call = client.describe_log_groups().log_group_name_prefix(name).set_next_token(next).send();
        let answer = match cx.or_cancelled(call).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(skipped("logs:DescribeLogGroups", error)),
        };
        if answer.log_groups().iter().any(|group| group.log_group_name() == Some(name)) {
            return Ok(Verdict::Ok("is there".to_owned()));
        }
        next = answer.next_token().map(str::to_owned);
        if next.is_none() {
            let why = format!("does not exist in {}", aws.region);
            return Ok(Verdict::Missing(why));
        }
    }
}

/// All parameters, ten a call. Missing ones are in `InvalidParameters` of an answer that is otherwise a success.
/// Source: <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html>
async fn parameters(cx: &Cx, aws: &Aws, needs: &[Need]) -> Result<HashMap<String, Verdict>, Failure> {
    let mut verdicts = HashMap::new();
    let mut ask = Vec::new();
    for need in needs {
        let Need::Parameter { name } = need else { continue };
        let arn = name.parse::<Arn>().ok();
        match arn.and_then(|arn| elsewhere(aws, &arn.account, &arn.region)) {
            Some(skipped) => {
                verdicts.insert(name.clone(), skipped);
            }
            None => ask.push(name.clone()),
        }
    }
    let client = aws_sdk_ssm::Client::new(&aws.config);
    for names in ask.chunks(10) {
        let call = client.get_parameters().set_names(Some(names.to_vec())).with_decryption(false).send();
        match cx.or_cancelled(call).await? {
            Ok(answer) => {
                let missing = answer.invalid_parameters();
                for name in names {
                    let named = |seen: Option<&str>, selector: &str| {
                        seen.is_some_and(|seen| format!("{seen}{selector}") == *name)
                    };
                    let found = answer.parameters().iter().any(|seen| {
                        let selector = seen.selector().unwrap_or_default();
                        named(seen.name(), selector) || named(seen.arn(), selector) || named(seen.arn(), "")
                    });
                    if missing.contains(name) {
                        let why = format!("does not exist in {}", aws.region);
                        verdicts.insert(name.clone(), Verdict::Missing(why));
                    } else if found {
                        verdicts.insert(name.clone(), Verdict::Ok("is there".to_owned()));
                    }
                }
            }
            Err(error) => {
                let why = skipped("ssm:GetParameters", error);
                verdicts.extend(names.iter().map(|name| (name.clone(), why.clone())));
            }
        }
    }
    Ok(verdicts)
}

/// The value is never read: whether a JSON key is in it is not looked at.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html>
async fn secret(cx: &Cx, aws: &Aws, name: &str) -> Result<Verdict, Failure> {
    let arn = name.parse::<Arn>().ok();
    if let Some(skipped) = arn.as_ref().and_then(|arn| elsewhere(aws, &arn.account, &arn.region)) {
        return Ok(skipped);
    }
    let SecretRef { id, json_key, stage, version } = SecretRef::of(name, arn.as_ref());
    let call = aws_sdk_secretsmanager::Client::new(&aws.config).describe_secret().secret_id(id).send();
    let answer = match cx.or_cancelled(call).await? {
        Ok(answer) => answer,
        Err(error)
            if error.as_service_error().is_some_and(DescribeSecretError::is_resource_not_found_exception) =>
        {
            return Ok(Verdict::Missing(format!("does not exist in {}", aws.region)));
        }
        Err(error) => return Ok(skipped("secretsmanager:DescribeSecret", error)),
    };
    if answer.deleted_date().is_some() {
        return Ok(Verdict::Missing("it is scheduled for deletion, and can't be read".to_owned()));
    }
    if let Some(versions) = answer.version_ids_to_stages() {
        if let Some(version) = version.filter(|version| !versions.contains_key(version)) {
            return Ok(Verdict::Missing(format!("it has no version {version}")));
        }
        if let Some(stage) = stage.filter(|stage| !versions.values().any(|stages| stages.contains(stage))) {
            return Ok(Verdict::Missing(format!("no version of it has the stage {stage}")));
        }
    }
    Ok(Verdict::Ok(json_key.map_or_else(
        || "is there".to_owned(),
        |key| format!("is there (whether it holds the key {key} is not looked at)"),
    )))
}
