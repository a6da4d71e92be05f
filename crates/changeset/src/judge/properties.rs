//! What of a resource changes, and why.

use kit::redact_value;

use crate::answer::{ChangeSource, Detail, Evaluation};
use crate::review::{Cause, Property};

/// The changed properties, each once: a parameter's change comes as a pair of details on one target.
pub(super) fn properties(details: &[Detail]) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    for detail in details {
        let Some(target) = &detail.target else { continue };
        let path = target.path.clone().or_else(|| target.name.clone()).unwrap_or_else(|| {
            target
                .attribute
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |attribute| attribute.as_str().to_owned())
        });
        let n = properties.iter().position(|property| property.path == path).unwrap_or_else(|| {
            properties.push(Property {
                path: path.clone(),
                recreation: target.requires_recreation.as_ref().map(|word| word.as_str().to_owned()),
                before: None,
                after: None,
                causes: Vec::new(),
            });
            properties.len() - 1
        });
        let Some(property) = properties.get_mut(n) else { continue };
        property.before = property.before.take().or_else(|| target.before_value.clone());
        property.after = property.after.take().or_else(|| target.after_value.clone());
        let cause = cause(detail);
        if !property.causes.contains(&cause) {
            property.causes.push(cause);
        }
    }
    for property in &mut properties {
        // What may be a secret goes no further than this.
        for value in [&mut property.before, &mut property.after].into_iter().flatten() {
            if let Some(masked) = redact_value(&property.path, value) {
                *value = masked;
            }
        }
        // The dynamic half of a pair says DirectModification of what the other half explains.
        if property.causes.len() > 1 {
            property.causes.retain(|cause| *cause != Cause::Template);
        }
    }
    properties
}

fn cause(detail: &Detail) -> Cause {
    let entity = detail.causing_entity.clone();
    match (&detail.change_source, entity) {
        (Some(ChangeSource::ParameterReference), Some(name)) => Cause::Parameter(name),
        (Some(ChangeSource::ResourceReference), Some(name)) => Cause::Resource(name),
        (Some(ChangeSource::ResourceAttribute), Some(name)) => Cause::Attribute(name),
        (Some(ChangeSource::Automatic), _) => Cause::Automatic,
        (Some(ChangeSource::DirectModification) | None, _) => match detail.evaluation {
            Some(Evaluation::Unknown(ref word)) => Cause::Other(word.clone()),
            _ => Cause::Template,
        },
        (Some(source), name) => Cause::Other(match name {
            Some(name) => format!("{} {name}", source.as_str()),
            None => source.as_str().to_owned(),
        }),
    }
}
