//! Real CloudFormation templates in an emulator that does not have every resource type: the mechanically derived copy.
//!
//! Nothing about a template is rewritten by hand. A resource of a type that the emulator refuses, or would only pretend to have,
//! becomes an `AWS::CloudFormation::WaitConditionHandle`, which has no effect of its own; everything else stays as it is, and what
//! became something else is listed. A template of which nothing has to be replaced is its own copy, byte for byte.

mod fold;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde_json::{Map, Value, json};

/// What takes the place of a refused resource.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudformation-waitconditionhandle.html>
const PLACEHOLDER: &str = "AWS::CloudFormation::WaitConditionHandle";

/// Types for which ministack 1.5.33 answers "Template format error: Unrecognized resource types" where the templates of the
/// runbooks have them.
const REFUSED: [&str; 5] = [
    "AWS::EC2::EIP",
    "AWS::EC2::Instance",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::ElasticLoadBalancing::LoadBalancer",
];

/// Resources behind which a function stands: ministack would run its code on this machine, or take it for done without any.
const CUSTOM: [&str; 2] = ["AWS::CloudFormation::CustomResource", "Custom::"];

/// What a placeholder keeps of its resource: what CloudFormation allows on any resource and what orders or guards it.
const KEPT: [&str; 4] = ["Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy"];

/// A copy that the emulator takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    pub text: String,
    pub changes: Vec<Change>,
}

/// One thing in which a copy differs from its template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The resource is a placeholder.
    Replaced { logical_id: String, resource_type: String },
    /// The condition has constants where the emulator could not have computed them (`Fn::Join`, `Fn::Split`).
    Folded { condition: String },
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { logical_id, resource_type } => {
                write!(formatter, "{logical_id} ({resource_type})")
            }
            Self::Folded { condition } => write!(formatter, "condition {condition}"),
        }
    }
}

/// Whether resources of this type become placeholders.
pub fn is_refused(resource_type: &str) -> bool {
    REFUSED.contains(&resource_type) || CUSTOM.iter().any(|custom| resource_type.starts_with(custom))
}

/// The copy of a JSON template. `parameters` are the values that its stack will be given; conditions may need them.
///
/// The properties of a replaced resource go to the placeholder's metadata: what changes in them still shows up in a change set,
/// as a change of metadata. What was an attribute of it (`Fn::GetAtt`, `Fn::Sub`) becomes the reference to the placeholder.
///
/// # Errors
/// The text is not a JSON object with `Resources`.
pub fn derive(text: &str, parameters: &BTreeMap<String, String>) -> io::Result<Derived> {
    let mut template: Value = serde_json::from_str(text)?;
    let resources = template.get_mut("Resources").and_then(Value::as_object_mut);
    let resources = resources.ok_or_else(|| io::Error::other("the template has no Resources"))?;
    let mut changes = Vec::new();
    let mut gone = Vec::new();
    for (logical_id, resource) in resources.iter_mut() {
        let Some(resource_type) = resource["Type"].as_str().filter(|name| is_refused(name)) else { continue };
        let resource_type = resource_type.to_owned();
        *resource = placeholder(resource, &resource_type);
        gone.push(logical_id.clone());
        changes.push(Change::Replaced { logical_id: logical_id.clone(), resource_type });
    }
    if !gone.is_empty() {
        without_attributes(&mut template, &gone);
    }
    let folded = fold::conditions(&mut template, parameters);
    changes.extend(folded.into_iter().map(|condition| Change::Folded { condition }));
    if changes.is_empty() {
        return Ok(Derived { text: text.to_owned(), changes });
    }
    // Indented, so that a template above the limit for a request's body stays above it.
    Ok(Derived { text: serde_json::to_string_pretty(&template)?, changes })
}

fn placeholder(resource: &Value, resource_type: &str) -> Value {
    let mut new = Map::new();
    new.insert("Type".to_owned(), json!(PLACEHOLDER));
    for key in KEPT {
        if let Some(value) = resource.get(key) {
            new.insert(key.to_owned(), value.clone());
        }
    }
    let stood_for = json!({ "Type": resource_type, "Properties": resource.get("Properties") });
    new.insert("Metadata".to_owned(), json!({ "DerivedFrom": stood_for }));
    Value::Object(new)
}

/// A placeholder has no attributes: what asks for one asks for the placeholder itself.
fn without_attributes(value: &mut Value, gone: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| without_attributes(item, gone)),
        Value::Object(object) => {
            if let Some(id) = object.get("Fn::GetAtt").and_then(|of| attribute_of(of, gone)) {
                *value = json!({ "Ref": id });
                return;
            }
            if let Some(sub) = object.get_mut("Fn::Sub") {
                without_attributes_in_text(sub, gone);
            }
            object.values_mut().for_each(|item| without_attributes(item, gone));
        }
        _ => {}
    }
}

/// The replaced resource whose attribute this is, as `["Id", "Attribute"]` or `"Id.Attribute"`.
fn attribute_of(of: &Value, gone: &[String]) -> Option<String> {
    let id = match of {
        Value::Array(parts) => parts.first()?.as_str()?,
        Value::String(text) => text.split('.').next()?,
        _ => return None,
    };
    gone.iter().find(|name| *name == id).cloned()
}

fn without_attributes_in_text(sub: &mut Value, gone: &[String]) {
    let text = match sub {
        Value::Array(parts) => parts.first_mut(),
        other => Some(other),
    };
    let Some(Value::String(text)) = text else { return };
    for id in gone {
        let opening = format!("${{{id}.");
        while let Some(start) = text.find(&opening) {
            let Some(length) = text.get(start..).and_then(|rest| rest.find('}')) else { break };
            text.replace_range(start..=start + length, &format!("${{{id}}}"));
        }
    }
}

#[cfg(test)]
mod tests;
