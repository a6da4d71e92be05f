//! What an error of GitHub's API means to the person who reads it.

use std::error::Error;

use http::{HeaderMap, StatusCode};
use hyper_util::client::legacy::Error as ClientError;
use kit::{Failure, innermost};
use octocrab::{Error as ApiError, GitHubError};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Turns the error of one call into a failure.
///
/// `attempt` names the attempt and the resource ("create the tag v2.1.0 in acme/rally"); `permission` is what the token
/// needs for it (`contents: write`), for the help of a denied call.
///
/// Rate limits, 5xx answers and broken connections are transient. A 4xx answer surely had no effect, nor had a call whose
/// connection was never made; after anything else a writing call is in doubt.
///
/// Sources: <https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api>,
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
pub fn failure(attempt: impl Into<String>, permission: &str, error: ApiError) -> Failure {
    let failed = Failure::failed(attempt);
    match error {
        ApiError::GitHub { source, .. } => answered(failed, permission, &source),
        // The answer came and could not be read: the call may well have taken effect.
        ApiError::Json { source, .. } => failed
            .because(format!("GitHub's answer could not be read: {}", source.inner()))
            .help("check --github-api-url: the answer does not look like GitHub's API"),
        ApiError::Serde { source, .. } => {
            failed.because(format!("GitHub's answer could not be read: {source}"))
        }
        ApiError::Service { source, .. } => unreachable(failed, &*source),
        ApiError::Hyper { source, .. } => unreachable(failed, &source),
        other => failed.because(innermost(&other)).transient(true),
    }
}

/// What is known about the effect of a writing call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// GitHub refused it.
    None,
    /// GitHub asks for patience, or was not reached: none, and trying again may help.
    NotYet,
    /// What it would create is there, or may be.
    Doubt,
}

pub(crate) fn effect(error: &ApiError) -> Effect {
    match error {
        ApiError::GitHub { source, .. } => match source.status_code {
            StatusCode::UNPROCESSABLE_ENTITY if already_exists(source) => Effect::Doubt,
            _ if rate_limit(source).is_some() => Effect::NotYet,
            // 408 may come from a proxy that has passed the request on.
            status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => Effect::None,
            status if status.is_redirection() => Effect::None,
            _ => Effect::Doubt,
        },
        ApiError::Service { source, .. } if not_connected(&**source) => Effect::NotYet,
        _ => Effect::Doubt,
    }
}

/// Whether a reading call may succeed a moment later.
pub(crate) fn worth_trying_again(error: &ApiError) -> bool {
    match error {
        ApiError::GitHub { source, .. } => {
            source.status_code.is_server_error() || rate_limit(source).is_some()
        }
        ApiError::Json { .. } | ApiError::Serde { .. } => false,
        _ => true,
    }
}

/// Whether the token may not see it, as opposed to being asked for patience.
pub(crate) fn is_forbidden(error: &ApiError) -> bool {
    matches!(error, ApiError::GitHub { source, .. } if source.status_code == StatusCode::FORBIDDEN && rate_limit(source).is_none())
}

pub(crate) fn status(error: &ApiError) -> Option<StatusCode> {
    match error {
        ApiError::GitHub { source, .. } => Some(source.status_code),
        _ => None,
    }
}

/// How long GitHub asks to wait, when this is a rate limit: the header `retry-after`, in seconds.
pub(crate) fn patience(error: &ApiError) -> Option<u64> {
    match error {
        ApiError::GitHub { source, .. } => rate_limit(source).and_then(|limit| limit.seconds),
        _ => None,
    }
}

fn answered(failed: Failure, permission: &str, error: &GitHubError) -> Failure {
    let status = error.status_code;
    let headers = error.headers.clone().unwrap_or_default();
    if let Some(limit) = rate_limit(error) {
        return failed.because(reason(error)).help(limit.help()).transient(true).untouched(true);
    }
    let failed = failed.because(reason(error));
    match status {
        StatusCode::UNAUTHORIZED => failed
            .help("GitHub does not accept the token: it is mistyped, expired or revoked; give a valid one as GITHUB_TOKEN")
            .untouched(true),
        StatusCode::FORBIDDEN => denied(failed, permission, error, &headers).untouched(true),
        StatusCode::NOT_FOUND => failed
            .help("it does not exist, or the token can't see it: GitHub answers 404 for both; check --repository and the token's access")
            .untouched(true),
        status if status.is_redirection() => failed
            .help("the repository was renamed or transferred: give its present name with --repository")
            .untouched(true),
        status if status.is_server_error() => {
            failed.help("GitHub failed on its side (https://www.githubstatus.com); run the same command again").transient(true)
        }
        StatusCode::REQUEST_TIMEOUT => failed.transient(true),
        _ => failed.untouched(status.is_client_error()),
    }
}

fn denied(failed: Failure, permission: &str, error: &GitHubError, headers: &HeaderMap) -> Failure {
    let named =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let mut failed = failed;
    // https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api#authenticating-with-a-personal-access-token
    if let Some(url) = named("x-github-sso").and_then(|text| text.split("url=").nth(1)) {
        failed = failed.help(format!("authorize the token for the organization's single sign-on: {url}"));
    }
    failed = match named("x-accepted-github-permissions") {
        Some(accepted) => failed.help(format!(
            "the token lacks a permission; GitHub accepts for this call: {accepted} (`permissions: {permission}` in a workflow)"
        )),
        None => failed.help(format!(
            "the token lacks a permission: this call needs `{permission}` (`permissions:` in a workflow), or a rule of the repository forbids it"
        )),
    };
    // What an app's token is answered, GITHUB_TOKEN among them.
    // https://docs.github.com/en/actions/reference/github_token-reference
    if error.message.contains("Resource not accessible by integration") && permission.ends_with("write") {
        failed = failed.help(
            "a run for a pull request from a fork has a token that only reads, whatever `permissions:` says",
        );
    }
    failed
}

struct RateLimit {
    seconds: Option<u64>,
    reset: Option<i64>,
}

impl RateLimit {
    fn help(&self) -> String {
        let reset = self.reset.and_then(|reset| OffsetDateTime::from_unix_timestamp(reset).ok());
        match (self.seconds, reset.and_then(|time| time.format(&Rfc3339).ok())) {
            (Some(seconds), _) => {
                format!("GitHub limits this token's calls: run the same command again in {seconds} seconds")
            }
            (None, Some(time)) => {
                format!("GitHub limits this token's calls until {time}: run the same command again then")
            }
            (None, None) => {
                "GitHub limits this token's calls: run the same command again in a minute".to_owned()
            }
        }
    }
}

/// 429 is always a rate limit; 403 is one with `retry-after`, with no calls remaining, or when the message says so.
fn rate_limit(error: &GitHubError) -> Option<RateLimit> {
    let number =
        |name: &str| -> Option<i64> { error.headers.as_ref()?.get(name)?.to_str().ok()?.trim().parse().ok() };
    let seconds = number("retry-after").and_then(|seconds| u64::try_from(seconds).ok());
    let exhausted = number("x-ratelimit-remaining") == Some(0);
    let limited = match error.status_code {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => {
            seconds.is_some() || exhausted || error.message.to_lowercase().contains("rate limit")
        }
        _ => false,
    };
    let reset = if exhausted { number("x-ratelimit-reset") } else { None };
    limited.then_some(RateLimit { seconds, reset })
}

/// `Reference already exists`, and validation errors with the code `already_exists`.
fn already_exists(error: &GitHubError) -> bool {
    let code = |value: &Value| value.get("code").and_then(Value::as_str) == Some("already_exists");
    error.message.contains("already exists") || error.errors.iter().flatten().any(code)
}

/// GitHub's message with what its `errors` list adds, each in words.
///
/// Source: <https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api#validation-failed>
fn reason(error: &GitHubError) -> String {
    let status = error.status_code.as_u16();
    let message = error.message.trim();
    if message.starts_with('<') {
        return format!("HTTP {status}, with a page of HTML instead of an explanation");
    }
    let mut text: String =
        message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect();
    text.push_str(&format!(" (HTTP {status})"));
    for error in error.errors.iter().flatten() {
        text.push_str(&format!("\n{}", spelled_out(error)));
    }
    text
}

fn spelled_out(error: &Value) -> String {
    if let Some(text) = error.as_str() {
        return text.to_owned();
    }
    let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let (resource, field, code, message) = (part("resource"), part("field"), part("code"), part("message"));
    let place = [resource, field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
    let what = match code {
        "missing" => "does not exist",
        "missing_field" => "is required and was not given",
        "invalid" => "is invalid",
        "already_exists" => "is taken already",
        "unprocessable" => "can't be processed",
        "custom" | "" => "",
        other => other,
    };
    let said =
        [place.as_str(), what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    match (said.is_empty(), message.is_empty()) {
        (false, false) => format!("{said}: {message}"),
        (true, false) => message.to_owned(),
        (false, true) => said,
        (true, true) => error.to_string(),
    }
}

fn unreachable(failed: Failure, error: &(dyn Error + 'static)) -> Failure {
    let text = innermost(error);
    let help = if text.contains("UnknownIssuer") || text.contains("invalid peer certificate") {
        "the server's certificate is not signed by a known authority: set SSL_CERT_FILE or AWS_CA_BUNDLE to the right certificates"
    } else {
        "check the network, and the address if one is set (--github-api-url, GITHUB_API_URL)"
    };
    failed
        .because(format!("GitHub can't be reached: {text}"))
        .help(help)
        .transient(true)
        .untouched(not_connected(error))
}

/// Whether no connection was made, so that GitHub can't have seen the call.
fn not_connected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(layer) = next {
        if let Some(client) = layer.downcast_ref::<ClientError>() {
            return client.is_connect();
        }
        next = layer.source();
    }
    false
}
