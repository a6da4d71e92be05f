//! What becomes of a resource that leaves its stack or is replaced.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html>
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-updatereplacepolicy.html>

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::value::{as_text, at, function, is_unknown_at};

/// A policy, the weakest first. `RetainExceptOnCreate` is `Retain` for a resource that exists: it differs only for the
/// operation that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Policy {
    /// The resource is deleted with what it holds.
    Delete,
    /// It is deleted after a snapshot was taken.
    Snapshot,
    RetainExceptOnCreate,
    /// It stays, outside the stack.
    Retain,
    /// It can't be known here.
    Unknown,
}

impl Policy {
    /// How much stays. What is not known counts as nothing.
    fn strength(self) -> u8 {
        match self {
            Self::Unknown | Self::Delete => 0,
            Self::Snapshot => 1,
            Self::RetainExceptOnCreate | Self::Retain => 2,
        }
    }

    /// Whether less stays than with another.
    pub fn is_weaker_than(self, other: Self) -> bool {
        self.strength() < other.strength()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "Delete",
            Self::Snapshot => "Snapshot",
            Self::RetainExceptOnCreate => "RetainExceptOnCreate",
            Self::Retain => "Retain",
            Self::Unknown => "a policy that can't be known here",
        })
    }
}

/// Which of the two attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PolicyAttribute {
    /// For a resource that leaves the stack, and for the stack's own deletion.
    DeletionPolicy,
    /// For the old resource when there is a new one in its place. `DeletionPolicy` does not speak of that.
    UpdateReplacePolicy,
}

impl fmt::Display for PolicyAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeletionPolicy => "DeletionPolicy",
            Self::UpdateReplacePolicy => "UpdateReplacePolicy",
        })
    }
}

/// The policies that are in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policies {
    pub deletion: Policy,
    pub update_replace: Policy,
}

/// Types of which a snapshot is taken; for every other one `Snapshot` means `Delete`.
const SNAPSHOTS: [&str; 8] = [
    "AWS::DocDB::DBCluster",
    "AWS::EC2::Volume",
    "AWS::ElastiCache::CacheCluster",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::Neptune::DBCluster",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::Redshift::Cluster",
];

impl Policies {
    /// From a resource's type, its properties and its two attributes.
    pub fn of(
        resource_type: &str,
        properties: &Value,
        deletion: Option<&Value>,
        replace: Option<&Value>,
    ) -> Self {
        // Without a DeletionPolicy a snapshot is taken of a cluster, and of an instance that belongs to none.
        let default = match resource_type {
            "AWS::RDS::DBCluster" => Policy::Snapshot,
            "AWS::RDS::DBInstance" if is_unknown_at(properties, &["DBClusterIdentifier"]) => {
                // A reference to a cluster is one, whatever its name will be.
                Policy::Delete
            }
            "AWS::RDS::DBInstance" if at(properties, &["DBClusterIdentifier"]).is_none() => Policy::Snapshot,
            _ => Policy::Delete,
        };
        Self {
            deletion: policy(resource_type, deletion, default),
            update_replace: policy(resource_type, replace, Policy::Delete),
        }
    }

    /// One of the two.
    pub fn get(&self, attribute: PolicyAttribute) -> Policy {
        match attribute {
            PolicyAttribute::DeletionPolicy => self.deletion,
            PolicyAttribute::UpdateReplacePolicy => self.update_replace,
        }
    }
}

fn policy(resource_type: &str, attribute: Option<&Value>, default: Policy) -> Policy {
    let Some(value) = attribute.filter(|value| !value.is_null()) else { return default };
    // Functions are allowed here with the transform AWS::LanguageExtensions: of a choice that is open the weaker counts.
    if let Some(("Fn::If", argument)) = function(value)
        && let Some([_, yes, no]) = argument.as_array().map(Vec::as_slice)
    {
        let (yes, no) = (policy(resource_type, Some(yes), default), policy(resource_type, Some(no), default));
        return if yes.is_weaker_than(no) { yes } else { no };
    }
    match as_text(value).as_deref() {
        Some("Retain") => Policy::Retain,
        Some("RetainExceptOnCreate") => Policy::RetainExceptOnCreate,
        Some("Snapshot") if SNAPSHOTS.contains(&resource_type) => Policy::Snapshot,
        Some("Snapshot" | "Delete") => Policy::Delete,
        _ => Policy::Unknown,
    }
}
