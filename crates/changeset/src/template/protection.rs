//! Protections against deletion that an update takes away.

use serde::Serialize;
use serde_json::Value;

use super::value::{as_text, is_unknown};

/// A protection that was on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProtectionOff {
    /// Dots between names: `Replicas.eu-west-1.DeletionProtectionEnabled`.
    pub property: String,
    /// A sentence.
    pub text: String,
}

/// The protections among `before` (a resource's `Properties`) that `after` turns off, leaves out, or sets to what is not
/// known. What is unknown in `before` says nothing.
pub fn protections_off(resource_type: &str, before: &Value, after: &Value) -> Vec<ProtectionOff> {
    let mut found = Vec::new();
    walk(before, Then::of(Some(after)), &mut Vec::new(), &mut found);
    if resource_type.starts_with("AWS::ElasticLoadBalancingV2::") {
        load_balancer(before, after, &mut found);
    }
    found
}

/// The names under which services have it: `DeletionProtection` (RDS, Neptune, Cognito, EKS and others), with `Enabled` behind
/// it (DynamoDB, Logs), `DeleteProtection` (Network Firewall), `TerminationProtected` (EMR), `EnableTerminationProtection`,
/// `DisableApiTermination` (EC2), and `ReplicationOverwriteProtection` (EFS).
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html>
fn is_protection(name: &str) -> bool {
    // An auto scaling group's instances are not data.
    name != "ManagedTerminationProtection"
        && (["DeletionProtect", "DeleteProtection", "TerminationProtect", "OverwriteProtection"]
            .iter()
            .any(|part| name.contains(part))
            || name == "DisableApiTermination")
}

/// Whether it is on; none where that is not known.
fn is_on(value: &Value) -> Option<bool> {
    if is_unknown(value) {
        return None;
    }
    if let Value::Object(map) = value {
        // AWS::VerifiedPermissions::PolicyStore writes `{ "Mode": "ENABLED" }`.
        return map.values().next().map_or(Some(false), is_on);
    }
    let word = as_text(value).unwrap_or_default().to_ascii_lowercase();
    Some(matches!(word.as_str(), "true" | "active" | "enabled" | "apply") || word.starts_with("prevent-"))
}

/// What stands in the same place after the update.
#[derive(Clone, Copy)]
enum Then<'a> {
    Value(&'a Value),
    Absent,
    Unknown,
}

impl<'a> Then<'a> {
    fn of(value: Option<&'a Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Absent,
            Some(value) if is_unknown(value) => Self::Unknown,
            Some(value) => Self::Value(value),
        }
    }

    fn get(self, name: &str) -> Self {
        match self {
            Self::Value(value) => Self::of(value.get(name)),
            other => other,
        }
    }
}

fn walk(before: &Value, then: Then<'_>, path: &mut Vec<String>, found: &mut Vec<ProtectionOff>) {
    match before {
        Value::Object(_) if is_unknown(before) => {}
        Value::Object(map) => {
            for (name, value) in map {
                path.push(name.clone());
                if !is_protection(name) {
                    walk(value, then.get(name), path, found);
                } else if is_on(value) == Some(true) {
                    found.extend(judge(&path.join("."), then.get(name)));
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                // Replicas of a global table are told apart by their region; one that goes is a finding of its own.
                let region = item.get("Region").and_then(as_text);
                let other = match then {
                    Then::Value(Value::Array(others)) => match &region {
                        Some(region) => others
                            .iter()
                            .find(|other| other.get("Region").and_then(as_text).as_ref() == Some(region)),
                        None => others.get(index),
                    },
                    _ => None,
                };
                if let Some(other) = other {
                    path.push(region.unwrap_or_else(|| index.to_string()));
                    walk(item, Then::of(Some(other)), path, found);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

/// What happens to a protection that is on.
fn judge(property: &str, then: Then<'_>) -> Option<ProtectionOff> {
    let how = match then {
        Then::Absent => "is on now and is left out: it goes off",
        Then::Unknown => "is on now, and whether it stays on can't be known here",
        Then::Value(value) => match is_on(value) {
            Some(true) => return None,
            Some(false) => "is turned off",
            None => "is on now, and whether it stays on can't be known here",
        },
    };
    Some(ProtectionOff { property: property.to_owned(), text: format!("{property} {how}") })
}

/// `LoadBalancerAttributes` is a list of keys and values.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#deletion-protection>
fn load_balancer(before: &Value, after: &Value, found: &mut Vec<ProtectionOff>) {
    const KEY: &str = "deletion_protection.enabled";
    let list = "LoadBalancerAttributes";
    let value = |properties: &'_ Value| -> Option<Value> {
        let attributes = properties.get(list)?.as_array()?;
        let entry =
            attributes.iter().find(|entry| entry.get("Key").and_then(as_text).as_deref() == Some(KEY))?;
        entry.get("Value").cloned()
    };
    if value(before).as_ref().and_then(is_on) == Some(true) {
        let then = value(after);
        let then = match Then::of(Some(after)).get(list) {
            Then::Unknown => Then::Unknown,
            _ => Then::of(then.as_ref()),
        };
        found.extend(judge(&format!("{list}.{KEY}"), then));
    }
}
