//! One answer of DescribeChangeSet, as AWS writes it.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html>
//!
//! The names are the API's. Every word of a closed vocabulary can also be one that this version does not know: AWS added
//! some in 2024, 2025 and 2026, and what is not known is judged as the worst.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
            /// A word that this version does not know.
            Unknown(String),
        }

        impl $name {
            /// The word as AWS writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$word => stringify!($word),)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $(stringify!($word) => Self::$word,)+
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?.as_str()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

vocabulary! {
    /// What happens to a resource.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html>
    Action {
        /// It is made.
        Add,
        /// It is changed, in place or by a new one.
        Modify,
        /// It leaves the stack; [`PolicyAction`] says whether it is deleted.
        Remove,
        /// An existing one comes into the stack.
        Import,
        /// Not known before the change set runs.
        Dynamic,
        /// The stack's record is brought in line with the resource, which does not change.
        SyncWithActual,
    }
}

vocabulary! {
    /// Whether CloudFormation makes a new resource in the place of the old one.
    Replacement { True, False, Conditional }
}

vocabulary! {
    /// What becomes of the old resource: the effective deletion or update-replace policy.
    PolicyAction { Delete, Retain, Snapshot, ReplaceAndDelete, ReplaceAndRetain, ReplaceAndSnapshot }
}

vocabulary! {
    /// What of a resource a change is about.
    Attribute {
        Properties, Metadata, CreationPolicy, UpdatePolicy, DeletionPolicy, UpdateReplacePolicy, Tags,
    }
}

vocabulary! {
    /// Whether a change of a property makes a new resource.
    RequiresRecreation { Never, Conditionally, Always }
}

vocabulary! {
    /// Whether the change is certain.
    Evaluation {
        /// The value is known before the change set runs.
        Static,
        /// It is known only then.
        Dynamic,
    }
}

vocabulary! {
    /// What makes the change.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChangeDetail.html>
    ChangeSource {
        ResourceReference, ParameterReference, ResourceAttribute, DirectModification, Automatic, NoModification,
    }
}

/// One page of one description of a change set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Answer {
    pub change_set_name: Option<String>,
    /// The ARN.
    pub change_set_id: Option<String>,
    pub stack_id: Option<String>,
    pub stack_name: Option<String>,
    pub status: Option<String>,
    pub execution_status: Option<String>,
    pub status_reason: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub parameters: Vec<Parameter>,
    #[serde(deserialize_with = "null_as_default")]
    pub changes: Vec<Change>,
    /// The next page's token: this page is not the last one.
    pub next_token: Option<String>,
    pub include_nested_stacks: Option<bool>,
    pub parent_change_set_id: Option<String>,
    pub root_change_set_id: Option<String>,
    pub deployment_mode: Option<String>,
    pub stack_drift_status: Option<String>,
}

/// A parameter that the change set was made with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Parameter {
    pub parameter_key: String,
    pub parameter_value: Option<String>,
    pub use_previous_value: Option<bool>,
    pub resolved_value: Option<String>,
}

/// One change.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Change {
    /// `Resource` is the only word that AWS documents.
    #[serde(rename = "Type")]
    pub kind: Option<String>,
    pub resource_change: Option<ResourceChange>,
}

/// What happens to one resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceChange {
    pub policy_action: Option<PolicyAction>,
    pub action: Option<Action>,
    pub logical_resource_id: String,
    pub physical_resource_id: Option<String>,
    pub resource_type: String,
    pub replacement: Option<Replacement>,
    #[serde(deserialize_with = "null_as_default")]
    pub scope: Vec<Attribute>,
    #[serde(deserialize_with = "null_as_default")]
    pub details: Vec<Detail>,
    /// The change set of a nested stack.
    pub change_set_id: Option<String>,
    /// JSON text of the resource as it is.
    pub before_context: Option<String>,
    /// JSON text of the resource as it will be.
    pub after_context: Option<String>,
    /// `IN_SYNC`, `MODIFIED`, `DELETED`, ...: with `REVERT_DRIFT` only.
    pub resource_drift_status: Option<String>,
}

/// One reason of a change.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Detail {
    pub target: Option<Target>,
    pub evaluation: Option<Evaluation>,
    pub change_source: Option<ChangeSource>,
    /// A parameter, a resource, or `Resource.Attribute`.
    pub causing_entity: Option<String>,
}

/// What a change is about.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Target {
    pub attribute: Option<Attribute>,
    /// The property; absent when the attribute is not `Properties`.
    pub name: Option<String>,
    pub requires_recreation: Option<RequiresRecreation>,
    /// A JSON pointer to the property; with property values only.
    pub path: Option<String>,
    pub before_value: Option<String>,
    pub after_value: Option<String>,
    /// `Add`, `Remove`, `Modify`, `SyncWithActual`.
    pub attribute_change_type: Option<String>,
}

impl Answer {
    /// Whether it was asked for with the values of properties, in which form AWS can leave changes out.
    pub fn has_values(&self) -> bool {
        self.changes.iter().filter_map(|change| change.resource_change.as_ref()).any(|change| {
            change.before_context.is_some()
                || change.after_context.is_some()
                || change.details.iter().filter_map(|detail| detail.target.as_ref()).any(|target| {
                    target.path.is_some() || target.before_value.is_some() || target.after_value.is_some()
                })
        }) || self.is_incomplete()
    }

    /// Whether AWS says that it left changes out of a description with property values: only a remark in the reason tells,
    /// the status does not. <https://github.com/aws/aws-cdk-cli/issues/1780>
    pub fn is_incomplete(&self) -> bool {
        self.status_reason.as_deref().is_some_and(|reason| reason.contains("incomplete ChangeSet data"))
    }

    /// Whether it failed for the reason that there is nothing to change, which AWS tells by this text alone.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-changesets-create.html>
    pub fn is_empty_set(&self) -> bool {
        self.status.as_deref() == Some("FAILED")
            && self.status_reason.as_deref().is_some_and(|reason| {
                reason.contains("didn't contain changes") || reason.contains("No updates are to be performed")
            })
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
