//! Values of a template whose functions have been carried out as far as they go.

use serde_json::Value;

/// What AWS writes in a change set for a value that is made while it runs.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-changesets-samples.html>
const KNOWN_AFTER_APPLY: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// Whether a value can't be known: a function that is left, a value that is made or fetched while the change set runs, or one
/// that AWS shows as asterisks. Only the value itself counts, not what it contains.
pub fn is_unknown(value: &Value) -> bool {
    match value {
        Value::Object(_) => function(value).is_some(),
        Value::String(text) => {
            text.contains(KNOWN_AFTER_APPLY)
                // A dynamic reference: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
                || text.contains("{{resolve:")
                || is_masked(text)
        }
        _ => false,
    }
}

/// What AWS shows of a `NoEcho` value.
pub(super) fn is_masked(text: &str) -> bool {
    text.len() >= 4 && text.chars().all(|letter| letter == '*')
}

/// Whether something anywhere in a value can't be known.
pub(super) fn has_unknown(value: &Value) -> bool {
    is_unknown(value)
        || match value {
            Value::Array(items) => items.iter().any(has_unknown),
            Value::Object(map) => {
                map.iter().any(|(key, value)| key.starts_with("Fn::") || has_unknown(value))
            }
            _ => false,
        }
}

/// Whether which parts a value has hangs on a condition that is not known.
pub(super) fn has_open_condition(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_open_condition),
        Value::Object(map) => map.iter().any(|(key, value)| {
            key == "Fn::If" || key.starts_with("Fn::ForEach") || has_open_condition(value)
        }),
        _ => false,
    }
}

/// The one function that a value consists of.
pub(super) fn function(value: &Value) -> Option<(&str, &Value)> {
    let map = value.as_object()?;
    let (name, argument) = map.iter().next()?;
    let is_function = name.starts_with("Fn::") || (name == "Ref" && argument.is_string());
    (map.len() == 1 && is_function).then_some((name.as_str(), argument))
}

/// A scalar as text: CloudFormation takes `10` and `"10"`, `true` and `"true"` for the same. None for what is unknown.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(_) if is_unknown(value) => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A scalar as a number.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    as_text(value)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// A scalar as a boolean.
pub(super) fn as_bool(value: &Value) -> Option<bool> {
    match as_text(value)?.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Whether two values are the same to CloudFormation.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => {
            one == other || as_text(one).is_some_and(|text| as_text(other).is_some_and(|other| text == other))
        }
    }
}

/// A value inside others.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Whether a way into a value ends at something unknown before it ends at all.
pub(super) fn is_unknown_at(value: &Value, path: &[&str]) -> bool {
    let mut here = value;
    for key in path {
        if is_unknown(here) {
            return true;
        }
        match here.get(key) {
            Some(next) => here = next,
            None => return false,
        }
    }
    is_unknown(here)
}
