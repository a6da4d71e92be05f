//! Reading a request, and cutting an answer into pages.

use serde_json::Value;

use super::EcsError;
use super::Settings;
use super::state::State;

/// A text field.
pub(super) fn text<'a>(request: &'a Value, key: &str) -> Option<&'a str> {
    request.get(key).and_then(Value::as_str)
}

/// A list of texts; absent means empty.
pub(super) fn texts<'a>(request: &'a Value, key: &str) -> Vec<&'a str> {
    request.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A count. ECS refuses negative ones.
pub(super) fn count(request: &Value, key: &str) -> Result<Option<usize>, EcsError> {
    match request.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|v| usize::try_from(v).ok())
            .map(Some)
            .ok_or_else(|| EcsError::parameter(format!("{key} must be a number that is not negative."))),
    }
}

/// Whether `include` asks for the tags.
pub(super) fn wants_tags(request: &Value) -> bool {
    texts(request, "include").contains(&"TAGS")
}

/// One page of a list: `maxResults` (at most `limit`, else `default`) from `nextToken` on, and the next token.
pub(super) fn page<T>(
    all: Vec<T>,
    request: &Value,
    default: usize,
    limit: usize,
) -> Result<(Vec<T>, Option<String>), EcsError> {
    let size = count(request, "maxResults")?.unwrap_or(default);
    if size == 0 || size > limit {
        return Err(EcsError::parameter(format!("maxResults must be between 1 and {limit}.")));
    }
    let start = match text(request, "nextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|t| t.parse::<usize>().ok())
            .filter(|start| *start <= all.len())
            .ok_or_else(|| EcsError::parameter("Invalid token."))?,
    };
    let end = (start + size).min(all.len());
    let next = (end < all.len()).then(|| format!("page-{end}"));
    Ok((all.into_iter().skip(start).take(size).collect(), next))
}

/// The cluster's name: `cluster` as a name or an ARN, `default` without.
pub(super) fn cluster<'a>(state: &State, request: &'a Value) -> Result<&'a str, EcsError> {
    let name = text(request, "cluster").map_or("default", last_part);
    if state.clusters.contains_key(name) {
        Ok(name)
    } else {
        Err(EcsError::new("ClusterNotFoundException", "Cluster not found."))
    }
}

/// What follows the last slash of an ARN; a name is returned as it is.
pub(super) fn last_part(arn_or_name: &str) -> &str {
    arn_or_name.rsplit('/').next().unwrap_or(arn_or_name)
}

/// Finds the service by ARN or by name in a cluster.
pub(super) fn find_service(state: &State, cluster: &str, service: &str) -> Option<usize> {
    state.services.iter().position(|candidate| {
        if service.starts_with("arn:") {
            candidate.arn == service
        } else {
            candidate.cluster == cluster && candidate.name == service
        }
    })
}

/// Finds the revision: `family` (its newest ACTIVE one), `family:revision` or an ARN. The answer is (family, index).
pub(super) fn find_definition(state: &State, settings: &Settings, name: &str) -> Option<(String, usize)> {
    let prefix = settings.arn("task-definition/");
    let name = match name.strip_prefix(&prefix) {
        Some(rest) => rest,
        None if name.starts_with("arn:") => return None,
        None => name,
    };
    let (family, revision) = match name.split_once(':') {
        Some((family, revision)) => (family, Some(revision.parse::<usize>().ok()?)),
        None => (name, None),
    };
    let all = state.definitions.get(family)?;
    let index = match revision {
        Some(revision) => revision.checked_sub(1).filter(|index| *index < all.len())?,
        None => all.iter().rposition(|d| d.get("status").and_then(Value::as_str) == Some("ACTIVE"))?,
    };
    Some((family.to_owned(), index))
}
