//! What a change set does not say of its resources: from the templates before and after, or where there are none from the
//! values of properties that the change set was described with.

use serde_json::Value;

use crate::answer::{Action, Detail, Evaluation, PolicyAction, Replacement, ResourceChange};
use crate::fate::Need;
use crate::judge::Hint;
use crate::set::Set;
use crate::template::{
    Finding, FindingKind, Policies, Policy, Presence, Resolved, Resource, SECRET_REPLACED, SECRET_STRING,
    compare, same_custom_name,
};

/// The hints of a stack whose templates are known, before and after.
pub fn of_templates(set: &Set, before: &Resolved, after: &Resolved) -> Vec<Hint> {
    let mut hints: Vec<Hint> =
        compare(before, after).into_iter().map(|finding| of_finding(finding, after)).collect();
    for change in set.changes.iter().filter(|change| replaces(change)) {
        let of = |resolved: &Resolved| {
            resolved.resource(&change.logical_resource_id).map(|resource| resource.properties.clone())
        };
        let (Some(before), Some(after)) = (of(before), of(after)) else { continue };
        hints.extend(of_name(change, &before, &after));
    }
    let told = |hints: &[Hint], id: &str| {
        hints.iter().any(|hint| hint.logical_id == id && hint.text.starts_with(SECRET_STRING))
    };
    for change in set.changes.iter().filter(|change| sets_secret(change)) {
        if !told(&hints, &change.logical_resource_id) {
            let text = format!("{SECRET_STRING}: AWS says that it changes: {SECRET_REPLACED}");
            hints.push(hint(change, Some(Need::InPlaceRisk), text));
        }
    }
    hints
}

/// Whether AWS says for certain that the value of a secret changes, as when it comes from a parameter that nobody may see. That it
/// hangs on something which is changed too (`Dynamic`) is no such word.
fn sets_secret(change: &ResourceChange) -> bool {
    let certain = |detail: &Detail| {
        detail.evaluation != Some(Evaluation::Dynamic)
            && detail.target.as_ref().is_some_and(|target| target.name.as_deref() == Some(SECRET_STRING))
    };
    change.action == Some(Action::Modify)
        && change.resource_type == "AWS::SecretsManager::Secret"
        && change.details.iter().any(certain)
}

/// The resources of a stack, as `PATH/LogicalId`, of which both templates tell the policies. One that is not seen in both, or whose
/// policy can't be known, is left to the worst.
pub fn compared(path: &str, before: &Resolved, after: &Resolved) -> Vec<String> {
    let told = |policies: &Policies| {
        policies.deletion != Policy::Unknown && policies.update_replace != Policy::Unknown
    };
    before
        .resources
        .iter()
        .filter(|old| told(&old.policies) && after.policies(&old.logical_id).is_some_and(told))
        .map(|old| format!("{path}/{}", old.logical_id))
        .collect()
}

/// The hints of a change set that was described with the values of properties, where the templates are not known.
pub fn of_contexts(set: &Set) -> Vec<Hint> {
    let side = |context: fn(&ResourceChange) -> &Option<String>| Resolved {
        resources: set
            .changes
            .iter()
            .filter_map(|change| resource(change, context(change).as_deref()?))
            .collect(),
        ..Resolved::default()
    };
    of_templates(set, &side(|change| &change.before_context), &side(|change| &change.after_context))
}

/// A resource as one side of a change set has it. Its policies are the change set's to tell.
fn resource(change: &ResourceChange, context: &str) -> Option<Resource> {
    let context: Value = serde_json::from_str(context).ok()?;
    let properties =
        context.get("Properties").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    Some(Resource {
        logical_id: change.logical_resource_id.clone(),
        resource_type: change.resource_type.clone(),
        presence: Presence::Certain,
        properties,
        policies: Policies { deletion: Policy::Delete, update_replace: Policy::Delete },
    })
}

fn hint(change: &ResourceChange, need: Option<Need>, text: String) -> Hint {
    Hint {
        logical_id: change.logical_resource_id.clone(),
        resource_type: change.resource_type.clone(),
        need,
        text,
    }
}

fn of_finding(finding: Finding, after: &Resolved) -> Hint {
    let need = match &finding.kind {
        FindingKind::SeveralIndexChanges { .. } => Some(Need::WillFail),
        // A warning: most of what can't be known is fine.
        FindingKind::IndexesUnverifiable => None,
        FindingKind::PolicyWeakened { .. } | FindingKind::ProtectionOff { .. } => Some(Need::WeakenGuard),
        FindingKind::InPlaceRisk { .. } => Some(Need::InPlaceRisk),
    };
    let resource_type = after
        .resource(&finding.logical_id)
        .map(|resource| resource.resource_type.clone())
        .unwrap_or_default();
    Hint { logical_id: finding.logical_id, resource_type, need, text: finding.text }
}

/// "CloudFormation cannot update a stack when a custom-named resource requires replacing": the name is taken until the old
/// one is gone, which is after the new one was made.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-name.html>
fn of_name(change: &ResourceChange, before: &Value, after: &Value) -> Option<Hint> {
    let (property, name) = same_custom_name(&change.resource_type, before, after)?;
    let text = format!(
        "it has the name {name} of its own ({property}) and needs a new one in its place, which CloudFormation refuses \
         while the name stays: change {property} too"
    );
    Some(hint(change, certain(change).then_some(Need::WillFail), text))
}

fn certain(change: &ResourceChange) -> bool {
    change.replacement == Some(Replacement::True)
        || matches!(
            change.policy_action,
            Some(
                PolicyAction::ReplaceAndDelete
                    | PolicyAction::ReplaceAndRetain
                    | PolicyAction::ReplaceAndSnapshot
            )
        )
}

fn replaces(change: &ResourceChange) -> bool {
    change.action == Some(Action::Modify)
        && (certain(change) || change.replacement == Some(Replacement::Conditional))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::set::{Page, assemble};
    use serde_json::json;

    /// A change of one table, its properties before and after as DescribeChangeSet gives them with `IncludePropertyValues`.
    fn set(before: &Value, after: &Value, replacement: &str) -> Set {
        let context = |properties: &Value| json!({"Properties": properties}).to_string();
        let change = json!({"Action": "Modify", "LogicalResourceId": "TileIndex", "ResourceType": "AWS::DynamoDB::Table",
            "Replacement": replacement, "BeforeContext": context(before), "AfterContext": context(after)});
        let answer = json!({"ChangeSetId": "a", "Status": "CREATE_COMPLETE",
            "Changes": [{"Type": "Resource", "ResourceChange": change}]});
        let answer: Answer = serde_json::from_value(answer).unwrap();
        assemble(vec![Page { from: "made".into(), answer, values: None }]).unwrap().remove(0)
    }

    fn needs(hints: &[Hint]) -> Vec<Option<Need>> {
        hints.iter().map(|hint| hint.need.clone()).collect()
    }

    #[test]
    fn a_policy_is_known_only_where_both_templates_tell_it() {
        let resolved = |text: &str| {
            let template = crate::template::Template::parse(text).unwrap();
            template.resolve(&std::collections::BTreeMap::new(), &crate::template::Pseudo::default())
        };
        let before = resolved(
            r#"{"Resources": {"A": {"Type": "AWS::SQS::Queue"}, "B": {"Type": "AWS::SQS::Queue"},
                "C": {"Type": "AWS::SQS::Queue"}}}"#,
        );
        let after = resolved(
            r#"{"Resources": {"A": {"Type": "AWS::SQS::Queue", "DeletionPolicy": "Retain"},
                "B": {"Type": "AWS::SQS::Queue", "DeletionPolicy": {"Fn::ImportValue": "policy"}}}}"#,
        );
        assert_eq!(compared("api", &before, &after), ["api/A"]);
    }

    #[test]
    fn two_indexes_at_once_will_fail() {
        let indexes = |names: &[&str]| {
            let key = json!([{"AttributeName": "k", "KeyType": "HASH"}]);
            let projection = json!({"ProjectionType": "ALL"});
            let of = |name: &&str| json!({"IndexName": name, "KeySchema": key, "Projection": projection});
            json!({"GlobalSecondaryIndexes": names.iter().map(of).collect::<Vec<_>>()})
        };
        let hints =
            of_contexts(&set(&indexes(&["ingest-id-index"]), &indexes(&["ingest-job-index"]), "False"));
        assert_eq!(needs(&hints), [Some(Need::WillFail)]);
        assert!(
            hints[0].text.contains("ingest-id-index") && hints[0].text.contains("ingest-job-index"),
            "{hints:?}"
        );
        let hints = of_contexts(&set(&indexes(&["ingest-id-index"]), &indexes(&[]), "False"));
        assert_eq!(needs(&hints), []);
    }

    #[test]
    fn a_resource_of_a_name_of_its_own_can_not_be_replaced_under_it() {
        let named = |name: &str| json!({"TableName": name});
        let hints = of_contexts(&set(&named("tiles"), &named("tiles"), "True"));
        assert_eq!(needs(&hints), [Some(Need::WillFail)]);
        assert!(hints[0].text.contains("it has the name tiles of its own (TableName)"), "{hints:?}");
        assert_eq!(
            needs(&of_contexts(&set(&named("tiles"), &named("tiles"), "Conditional"))),
            [None],
            "a remark"
        );
        assert_eq!(needs(&of_contexts(&set(&named("tiles"), &named("tiles-2"), "True"))), []);
        assert_eq!(needs(&of_contexts(&set(&named("tiles"), &named("tiles"), "False"))), []);
    }

    #[test]
    fn a_changed_secret_is_told_though_its_value_can_not_be_seen() {
        let change = |details: Value, contexts: [Option<Value>; 2]| {
            let [before, after] = contexts
                .map(|value| value.map(|value| json!({"Properties": {"SecretString": value}}).to_string()));
            let change = json!({"Action": "Modify", "LogicalResourceId": "Db", "Replacement": "False",
                "ResourceType": "AWS::SecretsManager::Secret", "Details": details,
                "BeforeContext": before, "AfterContext": after});
            let answer = json!({"ChangeSetId": "a", "Status": "CREATE_COMPLETE",
                "Changes": [{"Type": "Resource", "ResourceChange": change}]});
            let answer: Answer = serde_json::from_value(answer).unwrap();
            let page = Page { from: "made".into(), answer, values: None };
            of_contexts(&assemble(vec![page]).unwrap().remove(0))
        };
        let detail = |evaluation: &str, name: &str| {
            json!([{"Evaluation": evaluation, "ChangeSource": "ParameterReference", "CausingEntity": "Password",
                "Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": "Never"}}])
        };
        let risk = [Some(Need::InPlaceRisk)];
        assert_eq!(needs(&change(detail("Static", "SecretString"), [None, None])), risk);
        let masked = || Some(json!("****"));
        assert_eq!(needs(&change(detail("Static", "SecretString"), [masked(), masked()])), risk);
        // Once, where the values tell it too.
        let values = [Some(json!("hunter2")), Some(json!("hunter3"))];
        let hints = change(detail("Static", "SecretString"), values);
        assert_eq!(needs(&hints), risk);
        assert!(!format!("{hints:?}").contains("hunter"), "{hints:?}");
        assert_eq!(needs(&change(detail("Dynamic", "SecretString"), [None, None])), []);
        assert_eq!(needs(&change(detail("Static", "Description"), [None, None])), []);
    }

    #[test]
    fn a_protection_that_goes_off_is_a_guard() {
        let of = |on: bool| json!({"DeletionProtectionEnabled": on});
        assert_eq!(needs(&of_contexts(&set(&of(true), &of(false), "False"))), [Some(Need::WeakenGuard)]);
        assert_eq!(needs(&of_contexts(&set(&of(false), &of(true), "False"))), []);
    }
}
