//! Names that stay taken when a stack goes: a resource that its deletion policy keeps has its name still when the stack is made again,
//! and CloudFormation makes none of a name that is there. "Resource of type ... with identifier ... already exists", after the old
//! stack is gone.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html>

use serde_json::Value;

use crate::answer::{PolicyAction, ResourceChange};
use crate::fate::Need;
use crate::judge::Hint;
use crate::set::Set;
use crate::template::{Resolved, Resource, custom_name};

/// The transform that adds functions, and no resource but those of `Fn::ForEach`.
const LANGUAGE: &str = "AWS::LanguageExtensions";

/// The hints of a stack that goes and is made again. `before` is its template, `after` that of the new one; none where that can't be
/// read here.
pub fn of_stack(set: &Set, before: &Resolved, after: Option<&Resolved>) -> Vec<Hint> {
    kept(set)
        .filter_map(|change| {
            let old = before.resource(&change.logical_resource_id);
            let text = match after {
                Some(after) => taken(change, old, after).or_else(|| unseen(change, old?, after)),
                None => untold(change, old?, "its template lies elsewhere"),
            };
            Some(hint(change, text?))
        })
        .collect()
}

/// The hints of a nested stack, when the new stack has a nested one in its place.
pub fn of_nested(set: &Set, before: &Resolved) -> Vec<Hint> {
    kept(set)
        .filter_map(|change| {
            let old = before.resource(&change.logical_resource_id)?;
            Some(hint(change, untold(change, old, "the template of its nested stack lies elsewhere")?))
        })
        .collect()
}

fn kept(set: &Set) -> impl Iterator<Item = &ResourceChange> {
    set.changes.iter().filter(|change| change.policy_action == Some(PolicyAction::Retain))
}

fn hint(change: &ResourceChange, text: String) -> Hint {
    Hint {
        logical_id: change.logical_resource_id.clone(),
        resource_type: change.resource_type.clone(),
        need: Some(Need::WillFail),
        text,
    }
}

/// A resource of the new stack that has the name, or may have it.
fn taken(change: &ResourceChange, old: Option<&Resource>, after: &Resolved) -> Option<String> {
    let of_type = || after.resources.iter().filter(|new| new.resource_type == change.resource_type);
    let names = names(change, old);
    for new in of_type() {
        if let Some((property, name)) = new.custom_name().filter(|(_, name)| names.contains(name)) {
            return Some(format!(
                "it is kept, and keeps the name {name} ({property}) that {} of the new stack is to have: making that will fail \
                 when this stack is gone. Give that another {property}, or take this out of the way",
                new.logical_id
            ));
        }
    }
    let old = old?;
    let expression = |of: &Resource| {
        let property = custom_name(&of.resource_type, &of.properties)?;
        Some((property, of.properties.get(property)?.clone()))
    };
    let (property, before) = expression(old)?;
    let new = of_type().filter(|new| new.custom_name().is_none()).find(|new| {
        expression(new).is_some_and(|(_, after)| {
            // A name with the stack's id in it is another for every stack.
            !names_stack_id(&after) && (new.logical_id == old.logical_id || before == after)
        })
    })?;
    Some(format!(
        "it is kept, and keeps its name ({property}); whether {} of the new stack is to have the same can't be told here. If so, \
         making that will fail when this stack is gone",
        new.logical_id
    ))
}

/// What the new template makes that can't be seen in it.
fn unseen(change: &ResourceChange, old: &Resource, after: &Resolved) -> Option<String> {
    let is_seen = after
        .resource(&old.logical_id)
        .is_some_and(|new| new.resource_type == old.resource_type && new.custom_name().is_some());
    let macros = after.transforms.iter().find(|name| *name != LANGUAGE);
    match (is_seen, macros, after.loops.first()) {
        (false, Some(name), _) => untold(change, old, &format!("{name} makes resources of its template")),
        (false, None, Some((name, _))) => {
            untold(change, old, &format!("{name} makes resources in its template"))
        }
        _ => None,
    }
}

fn untold(change: &ResourceChange, old: &Resource, why: &str) -> Option<String> {
    let property = custom_name(&old.resource_type, &old.properties)?;
    let name = old.custom_name().map(|(_, name)| name).or_else(|| change.physical_resource_id.clone())?;
    Some(format!(
        "it is kept, and keeps the name {name} ({property}); whether the new stack is to have one of that name can't be told here, as \
         {why}. If so, making that will fail when this stack is gone"
    ))
}

/// What it is called: by its template, and by AWS, whose ids of some types are ARNs or URLs with the name at their end.
fn names(change: &ResourceChange, old: Option<&Resource>) -> Vec<String> {
    let mut names: Vec<String> =
        old.and_then(Resource::custom_name).map(|(_, name)| name).into_iter().collect();
    if let Some(id) = change.physical_resource_id.as_deref().filter(|id| !id.is_empty()) {
        names.push(id.to_owned());
        if id.starts_with("arn:") || id.starts_with("https://") {
            names.extend(id.rsplit(['/', ':']).next().map(str::to_owned));
        }
    }
    names
}

fn names_stack_id(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("AWS::StackId"),
        Value::Array(items) => items.iter().any(names_stack_id),
        Value::Object(map) => map.values().any(names_stack_id),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::template::{Pseudo, Template};
    use serde_json::json;

    fn resolved(template: &Value) -> Resolved {
        let parameters = BTreeMap::from([("Stage".to_owned(), "prod".to_owned())]);
        Template::parse(&template.to_string()).unwrap().resolve(&parameters, &Pseudo::default())
    }

    fn template(resources: &[(&str, &str, Value)]) -> Value {
        let of = |(id, kind, properties): &(&str, &str, Value)| {
            ((*id).to_owned(), json!({"Type": kind, "DeletionPolicy": "Retain", "Properties": properties}))
        };
        json!({"Parameters": {"Stage": {"Type": "String"}, "Secret": {"Type": "String", "NoEcho": true}},
            "Resources": resources.iter().map(of).collect::<serde_json::Map<_, _>>()})
    }

    fn one(id: &str, kind: &str, properties: Value) -> Value {
        template(&[(id, kind, properties)])
    }

    fn gone(id: &str, kind: &str, physical_id: &str, policy: PolicyAction) -> Set {
        let change = ResourceChange {
            logical_resource_id: id.into(),
            resource_type: kind.into(),
            physical_resource_id: Some(physical_id.into()),
            policy_action: Some(policy),
            ..ResourceChange::default()
        };
        Set { changes: vec![change], ..Set::default() }
    }

    const TABLE: &str = "AWS::DynamoDB::Table";

    fn hints(before: &Value, after: Option<&Value>) -> Vec<Hint> {
        let after = after.map(resolved);
        of_stack(&gone("Tiles", TABLE, "tiles-prod", PolicyAction::Retain), &resolved(before), after.as_ref())
    }

    #[test]
    fn a_kept_name_that_the_new_stack_needs_will_fail() {
        let named = |id: &str, name: Value| one(id, TABLE, json!({ "TableName": name }));
        let before = named("Tiles", json!({"Fn::Sub": "tiles-${Stage}"}));
        let open = json!({"Fn::ImportValue": "name"});
        for (after, told) in [
            (before.clone(), Some("keeps the name tiles-prod (TableName) that Tiles of the new stack")),
            (named("Renamed", json!("tiles-prod")), Some("that Renamed of the new stack is to have")),
            (named("Tiles", json!("tiles-2")), None),
            (one("Tiles", TABLE, json!({})), None),
            (one("Tiles", "AWS::S3::Bucket", json!({"BucketName": "tiles-prod"})), None),
            (named("Tiles", open.clone()), Some("whether Tiles of the new stack is to have the same")),
            (named("Other", open), None),
            // No value of a parameter that is not to be seen is.
            (named("Tiles", json!({"Ref": "Secret"})), Some("can't be told here")),
            (named("Tiles", json!({"Fn::Sub": "tiles-${AWS::StackId}"})), None),
        ] {
            let hints = hints(&before, Some(&after));
            match told {
                Some(told) => {
                    assert_eq!(hints.len(), 1, "{after}");
                    assert_eq!(hints[0].need, Some(Need::WillFail));
                    assert!(hints[0].text.contains(told), "{}", hints[0].text);
                }
                None => assert_eq!(hints, [], "{after}"),
            }
        }
    }

    #[test]
    fn only_what_is_kept_keeps_its_name() {
        let before = one("Tiles", TABLE, json!({"TableName": "tiles"}));
        for policy in [PolicyAction::Delete, PolicyAction::Snapshot] {
            let set = gone("Tiles", TABLE, "tiles", policy);
            assert_eq!(of_stack(&set, &resolved(&before), Some(&resolved(&before))), []);
        }
        // A name that CloudFormation made up is another the next time, unless the new template has taken it over.
        let unnamed = one("Tiles", TABLE, json!({}));
        assert_eq!(hints(&unnamed, Some(&unnamed)), []);
        assert_eq!(hints(&unnamed, None), []);
        assert_eq!(hints(&unnamed, Some(&one("T", TABLE, json!({"TableName": "tiles-prod"})))).len(), 1);
    }

    #[test]
    fn a_name_at_the_end_of_an_arn_is_one() {
        let kind = "AWS::SNS::Topic";
        let set = gone("T", kind, "arn:aws:sns:us-east-1:123456789012:events", PolicyAction::Retain);
        let named = |name: &str| resolved(&one("T", kind, json!({ "TopicName": name })));
        let before = resolved(&one("T", kind, json!({"TopicName": {"Fn::ImportValue": "x"}})));
        assert_eq!(of_stack(&set, &before, Some(&named("events"))).len(), 1);
        assert_eq!(of_stack(&set, &before, Some(&named("others"))).len(), 0);
    }

    #[test]
    fn what_can_not_be_seen_is_not_taken_for_free() {
        let before = one("Tiles", TABLE, json!({"TableName": "tiles-prod"}));
        assert!(hints(&before, None)[0].text.contains("tiles-prod (TableName); whether"));
        let mut sam = json!({"Transform": "AWS::Serverless-2016-10-31",
            "Resources": {"Tiles": {"Type": "AWS::Serverless::SimpleTable", "Properties": {"TableName": "tiles-prod"}}}});
        assert!(hints(&before, Some(&sam))[0].text.contains("as AWS::Serverless-2016-10-31 makes resources"));
        // Where the resource itself stands in it with another name, that is told.
        sam["Resources"]["Tiles"] = json!({"Type": TABLE, "Properties": {"TableName": "tiles-2"}});
        assert_eq!(hints(&before, Some(&sam)), []);
        sam["Transform"] = json!(LANGUAGE);
        sam["Resources"]["Tiles"] = json!({"Type": "AWS::SNS::Topic"});
        assert_eq!(hints(&before, Some(&sam)), []);
        sam["Resources"]["Fn::ForEach::Tables"] = json!(["Name", ["a"], {"Table${Name}": {"Type": TABLE, "Properties": {"TableName": {"Ref": "Name"}}}}]);
        assert!(hints(&before, Some(&sam))[0].text.contains("as Fn::ForEach::Tables makes resources"));
        let set = gone("Tiles", TABLE, "tiles-prod", PolicyAction::Retain);
        assert!(of_nested(&set, &resolved(&before))[0].text.contains("nested stack lies elsewhere"));
    }
}
