//! The table of verdicts. The changes are made here after AWS's service model, for what nobody has recorded in public: Dynamic,
//! `SyncWithActual`, Snapshot, drift, the replacement of a table or a database, and words that do not exist yet.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html>

use serde_json::{Value, json};

use super::*;
use crate::answer::Answer;
use crate::review::Cause;
use crate::set::{Page, assemble};

fn set(changes: &[Value]) -> Set {
    let changes: Vec<Value> =
        changes.iter().map(|change| json!({"Type": "Resource", "ResourceChange": change})).collect();
    let answer = json!({"ChangeSetId": "a", "Status": "CREATE_COMPLETE", "Changes": changes});
    let answer: Answer = serde_json::from_value(answer).unwrap();
    assemble(vec![Page { from: "made".into(), answer, values: None }]).unwrap().remove(0)
}

fn rows(changes: &[Value], wishes: &Wishes, known: &Known) -> Vec<Row> {
    judge(&set(changes), "api", &Rules::new(wishes), known)
}

fn row(change: Value) -> Row {
    rows(&[change], &Wishes::default(), &Known::default()).remove(0)
}

/// `fate verdict [needs]` of one change.
fn verdict(change: Value) -> String {
    told(&row(change))
}

fn told(row: &Row) -> String {
    let needs: Vec<&str> = row.needs.iter().map(Need::word).collect();
    format!("{} {} [{}]", row.fate, row.verdict.title(), needs.join(" "))
}

fn table(fields: Value) -> Value {
    resource("AWS::DynamoDB::Table", fields)
}

fn resource(resource_type: &str, fields: Value) -> Value {
    let mut change = json!({"LogicalResourceId": "TileTable", "ResourceType": resource_type});
    change.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    change
}

#[test]
fn what_holds_data() {
    for (change, expected) in [
        (json!({"Action": "Add"}), "add safe []"),
        (json!({"Action": "Add", "Replacement": "True"}), "add safe []"),
        (json!({"Action": "Import"}), "import safe []"),
        (json!({"Action": "SyncWithActual"}), "sync safe []"),
        (json!({"Action": "Modify", "Replacement": "False"}), "modify safe []"),
        (json!({"Action": "Remove"}), "remove-delete LOSS [remove-delete]"),
        (json!({"Action": "Remove", "PolicyAction": "Delete"}), "remove-delete LOSS [remove-delete]"),
        (json!({"Action": "Remove", "PolicyAction": "Retain"}), "remove-retain DETACH [remove-retain]"),
        (json!({"Action": "Remove", "PolicyAction": "Snapshot"}), "remove-snapshot DETACH [remove-snapshot]"),
        (json!({"Action": "Remove", "PolicyAction": "Archive"}), "remove-delete LOSS [remove-delete]"),
        (json!({"Action": "Modify", "Replacement": "True"}), "replace-delete LOSS [replace-delete]"),
        (
            json!({"Action": "Modify", "Replacement": "True", "PolicyAction": "ReplaceAndDelete"}),
            "replace-delete LOSS [replace-delete]",
        ),
        (
            json!({"Action": "Modify", "Replacement": "True", "PolicyAction": "ReplaceAndRetain"}),
            "replace-retain DETACH [replace-retain]",
        ),
        (
            json!({"Action": "Modify", "Replacement": "True", "PolicyAction": "ReplaceAndSnapshot"}),
            "replace-snapshot DETACH [replace-snapshot]",
        ),
        // The policy alone tells of a replacement, whatever the other field says.
        (
            json!({"Action": "Modify", "Replacement": "False", "PolicyAction": "ReplaceAndDelete"}),
            "replace-delete LOSS [replace-delete]",
        ),
        (
            json!({"Action": "Modify", "Replacement": "Conditional"}),
            "may-replace-delete POSSIBLE LOSS [may-replace-delete]",
        ),
        (json!({"Action": "Dynamic"}), "dynamic POSSIBLE LOSS [dynamic]"),
        (json!({}), "unknown POSSIBLE LOSS [unknown]"),
    ] {
        assert_eq!(verdict(table(change.clone())), expected, "{change}");
    }
}

#[test]
fn a_word_that_is_not_known_is_the_worst() {
    for (change, expected) in [
        (json!({"Action": "Evaporate"}), "unknown POSSIBLE LOSS [unknown]"),
        (json!({"Action": "Modify", "Replacement": "Perhaps"}), "replace-delete LOSS [replace-delete]"),
        (
            json!({"Action": "Modify", "Replacement": "False", "PolicyAction": "ReplaceAndArchive"}),
            "replace-delete LOSS [replace-delete]",
        ),
        (
            json!({"Action": "Modify", "Replacement": "False", "Scope": ["Contents"]}),
            "modify POSSIBLE LOSS [modify]",
        ),
    ] {
        let row = row(table(change.clone()));
        assert_eq!(told(&row), expected, "{change}");
        assert!(row.reasons.iter().any(|reason| reason.contains("this version does not know")), "{row:?}");
    }
}

#[test]
fn what_holds_nothing_is_no_alarm() {
    for resource_type in [
        "AWS::AutoScaling::AutoScalingGroup",
        "AWS::AutoScaling::LaunchConfiguration",
        "AWS::Lambda::Function",
    ] {
        for change in [
            json!({"Action": "Remove", "PolicyAction": "Delete"}),
            json!({"Action": "Modify", "Replacement": "True"}),
            json!({"Action": "Modify", "Replacement": "Conditional"}),
            json!({"Action": "Dynamic"}),
        ] {
            let row = row(resource(resource_type, change));
            assert_eq!(row.verdict, Verdict::Notice, "{row:?}");
            assert!(row.needs.is_empty());
        }
    }
}

#[test]
fn an_identity_is_a_notice_unless_judged_strictly_and_types_are_the_callers() {
    let address = || resource("AWS::EC2::EIP", json!({"Action": "Remove", "PolicyAction": "Delete"}));
    assert_eq!(verdict(address()), "remove-delete notice []");
    let of = |change: Value, wishes: Wishes| told(&rows(&[change], &wishes, &Known::default())[0]);
    let strict = Wishes { strict: true, ..Wishes::default() };
    assert_eq!(of(address(), strict), "remove-delete LOSS [remove-delete]");
    let stateless = Wishes { stateless: vec!["AWS::Logs::LogGroup".into()], ..Wishes::default() };
    let logs = resource("AWS::Logs::LogGroup", json!({"Action": "Remove"}));
    assert_eq!(verdict(logs.clone()), "remove-delete LOSS [remove-delete]");
    assert_eq!(of(logs, stateless), "remove-delete notice []");
    let stateful = Wishes { stateful: vec!["Corp::Db::Store".into()], ..Wishes::default() };
    let store = resource("Corp::Db::Store", json!({"Action": "Remove"}));
    assert_eq!(of(store, stateful), "remove-delete LOSS [remove-delete]");
}

#[test]
fn the_provider_of_a_custom_resource_may_do_anything() {
    for resource_type in ["Custom::Bucket", "AWS::CloudFormation::CustomResource"] {
        let removed = resource(resource_type, json!({"Action": "Remove", "PolicyAction": "Delete"}));
        assert_eq!(verdict(removed), "remove-delete POSSIBLE LOSS [remove-delete]");
        let changed = resource(resource_type, json!({"Action": "Modify", "Replacement": "False"}));
        assert_eq!(verdict(changed), "modify safe []");
    }
}

#[test]
fn what_a_type_of_somebody_else_holds_is_not_known() {
    let of = |change: Value, wishes: Wishes| told(&rows(&[change], &wishes, &Known::default())[0]);
    let gone = || resource("MongoDB::Atlas::Cluster", json!({"Action": "Remove", "PolicyAction": "Delete"}));
    assert_eq!(of(gone(), Wishes::default()), "remove-delete POSSIBLE LOSS [remove-delete]");
    let stateless = Wishes { stateless: vec!["MongoDB::Atlas::Cluster".into()], ..Wishes::default() };
    assert_eq!(of(gone(), stateless), "remove-delete notice []");
    let kept = resource("MongoDB::Atlas::Cluster", json!({"Action": "Remove", "PolicyAction": "Retain"}));
    assert_eq!(of(kept, Wishes::default()), "remove-retain DETACH [remove-retain]");
    let changed = resource("MongoDB::Atlas::Cluster", json!({"Action": "Modify", "Replacement": "False"}));
    assert_eq!(of(changed, Wishes::default()), "modify safe []");
}

#[test]
fn without_the_field_replacement_the_details_tell() {
    let with = |word: &str| {
        table(json!({"Action": "Modify", "Details": [
            {"Target": {"Attribute": "Properties", "Name": "KeySchema", "RequiresRecreation": word}}]}))
    };
    assert_eq!(verdict(with("Always")), "replace-delete LOSS [replace-delete]");
    assert_eq!(verdict(with("Conditionally")), "may-replace-delete POSSIBLE LOSS [may-replace-delete]");
    assert_eq!(verdict(with("Never")), "modify safe []");
    let unknown = row(with("Sometimes"));
    assert_eq!(told(&unknown), "may-replace-delete POSSIBLE LOSS [may-replace-delete]");
    assert!(
        unknown.reasons.iter().any(|reason| reason.contains("Sometimes")
            && reason.contains("KeySchema")
            && reason.contains("this version does not know")),
        "{unknown:?}"
    );
}

#[test]
fn a_new_logical_id_for_the_same_thing_is_suspected() {
    let mut new = table(json!({"Action": "Add"}));
    new["LogicalResourceId"] = json!("Tiles");
    let rows = rows(
        &[table(json!({"Action": "Remove", "PolicyAction": "Delete"})), new],
        &Wishes::default(),
        &Known::default(),
    );
    assert!(
        rows[0].reasons.iter().any(|reason| reason.contains("a new AWS::DynamoDB::Table comes: Tiles")),
        "{rows:?}"
    );
}

#[test]
fn a_weaker_policy_is_a_guard_that_goes() {
    let policy = |before: Option<&str>, after: Option<&str>| {
        let context = |policy: Option<&str>| {
            let mut context = json!({"Properties": {}});
            if let Some(policy) = policy {
                context["DeletionPolicy"] = json!(policy);
            }
            context.to_string()
        };
        verdict(table(json!({"Action": "Modify", "Replacement": "False", "Scope": ["DeletionPolicy"],
            "BeforeContext": context(before), "AfterContext": context(after)})))
    };
    assert_eq!(policy(Some("Retain"), Some("Delete")), "modify GUARD REMOVED [weaken-guard]");
    assert_eq!(policy(Some("Retain"), None), "modify GUARD REMOVED [weaken-guard]");
    assert_eq!(policy(Some("Retain"), Some("Snapshot")), "modify GUARD REMOVED [weaken-guard]");
    assert_eq!(policy(None, Some("Retain")), "modify notice []");
    let untold = json!({"Action": "Modify", "Replacement": "False", "Scope": ["UpdateReplacePolicy"]});
    assert_eq!(verdict(table(untold.clone())), "modify GUARD REMOVED [weaken-guard]");
    assert_eq!(verdict(resource("AWS::SNS::Topic", untold)), "modify notice []");
}

/// "The default policy is Snapshot for `AWS::RDS::DBCluster` resources and for `AWS::RDS::DBInstance` resources that don't specify
/// the `DBClusterIdentifier` property."
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html>
#[test]
fn of_a_database_no_policy_means_a_snapshot() {
    let of = |resource_type: &str, properties: Value, policies: [Option<&str>; 2], attribute: &str| {
        let [before, after] = policies.map(|policy| {
            let mut context = json!({ "Properties": properties });
            if let Some(policy) = policy {
                context[attribute] = json!(policy);
            }
            context.to_string()
        });
        row(resource(
            resource_type,
            json!({"Action": "Modify", "Replacement": "False", "Scope": [attribute],
            "BeforeContext": before, "AfterContext": after}),
        ))
    };
    let (cluster, instance) = ("AWS::RDS::DBCluster", "AWS::RDS::DBInstance");
    let alone = || json!({"Engine": "postgres"});
    let member = || json!({"DBClusterIdentifier": "boss"});
    let (deletion, replace) = ("DeletionPolicy", "UpdateReplacePolicy");
    for (resource_type, properties, policies, attribute, said) in [
        (
            cluster,
            alone(),
            [None, Some("Delete")],
            deletion,
            "its DeletionPolicy goes from Snapshot to Delete",
        ),
        (
            instance,
            alone(),
            [None, Some("Delete")],
            deletion,
            "its DeletionPolicy goes from Snapshot to Delete",
        ),
        (
            instance,
            alone(),
            [Some("Retain"), None],
            deletion,
            "its DeletionPolicy goes from Retain to Snapshot",
        ),
        (
            instance,
            member(),
            [Some("Retain"), None],
            deletion,
            "its DeletionPolicy goes from Retain to Delete",
        ),
        (
            cluster,
            alone(),
            [Some("Snapshot"), None],
            replace,
            "its UpdateReplacePolicy goes from Snapshot to Delete",
        ),
    ] {
        let row = of(resource_type, properties, policies, attribute);
        assert_eq!(told(&row), "modify GUARD REMOVED [weaken-guard]", "{row:?}");
        assert!(row.risks.contains(said), "{row:?}");
    }
    for (resource_type, properties, policies) in [
        (cluster, alone(), [Some("Snapshot"), None]),
        (instance, alone(), [Some("Delete"), None]),
        (instance, member(), [None, Some("Delete")]),
    ] {
        let row = of(resource_type, properties, policies, deletion);
        assert_eq!(told(&row), "modify notice []", "{row:?}");
    }
}

#[test]
fn a_policy_that_the_templates_tell_is_theirs_to_tell_and_no_other() {
    let changed = || table(json!({"Action": "Modify", "Replacement": "False", "Scope": ["DeletionPolicy"]}));
    let of = |compared: &str| {
        let known = Known { compared: [compared.to_owned()].into(), ..Known::default() };
        told(&rows(&[changed()], &Wishes::default(), &known)[0])
    };
    assert_eq!(of("api/TileTable"), "modify notice []");
    assert_eq!(of("api/Other"), "modify GUARD REMOVED [weaken-guard]");
}

#[test]
fn what_was_deleted_behind_the_stacks_back_is_made_again_empty() {
    let drifted = json!({"Action": "Add", "ResourceDriftStatus": "DELETED"});
    assert_eq!(verdict(table(drifted.clone())), "add DETACH [add]");
    assert_eq!(verdict(resource("AWS::SNS::Topic", drifted)), "add safe []");
}

#[test]
fn a_nested_stack_is_what_is_in_it() {
    let nested = |fields: Value| resource(STACK, fields);
    let contents = |types: &[&str]| Known {
        contents: [(
            "api/TileTable".to_owned(),
            types.iter().enumerate().map(|(n, name)| (format!("R{n}"), (*name).to_owned())).collect(),
        )]
        .into(),
        ..Known::default()
    };
    let of = |fields: Value, known: &Known| told(&rows(&[nested(fields)], &Wishes::default(), known)[0]);
    let removed = || json!({"Action": "Remove", "PolicyAction": "Delete"});
    let unseen = Known::default();
    assert_eq!(
        of(json!({"Action": "Modify", "Replacement": "False"}), &unseen),
        "opaque POSSIBLE LOSS [opaque]"
    );
    assert_eq!(of(json!({"Action": "Add"}), &unseen), "add notice []");
    assert_eq!(of(removed(), &unseen), "remove-delete POSSIBLE LOSS [remove-delete]");
    assert_eq!(of(removed(), &contents(&["AWS::S3::Bucket"])), "remove-delete LOSS [remove-delete]");
    assert_eq!(
        of(removed(), &contents(&["AWS::IAM::Role", "AWS::EC2::SecurityGroup"])),
        "remove-delete notice []"
    );
    assert_eq!(of(removed(), &contents(&["Custom::Thing"])), "remove-delete LOSS [remove-delete]");
    assert_eq!(
        of(json!({"Action": "Remove", "PolicyAction": "Retain"}), &contents(&["AWS::S3::Bucket"])),
        "remove-retain DETACH [remove-retain]"
    );
    assert_eq!(
        of(json!({"Action": "Modify", "Replacement": "Conditional"}), &contents(&["AWS::S3::Bucket"])),
        "may-replace-delete POSSIBLE LOSS [may-replace-delete]"
    );
}

#[test]
fn what_the_templates_tell_is_judged_too() {
    let hint = |id: &str, resource_type: &str, need: Option<Need>| Hint {
        logical_id: id.to_owned(),
        resource_type: resource_type.to_owned(),
        need,
        text: "two indexes at once".to_owned(),
    };
    let known = |hint: Hint| Known { hints: [("api".to_owned(), vec![hint])].into(), ..Known::default() };
    let change = || table(json!({"Action": "Modify", "Replacement": "False"}));
    let of = |changes: &[Value], known: &Known| {
        rows(changes, &Wishes::default(), known).iter().map(told).collect::<Vec<_>>()
    };
    let table_type = "AWS::DynamoDB::Table";
    assert_eq!(
        of(&[change()], &known(hint("TileTable", table_type, Some(Need::WillFail)))),
        ["modify WILL FAIL [will-fail]"]
    );
    assert_eq!(
        of(&[change()], &known(hint("TileTable", table_type, Some(Need::InPlaceRisk)))),
        ["modify IN-PLACE RISK [in-place-risk]"]
    );
    assert_eq!(of(&[change()], &known(hint("TileTable", table_type, None))), ["modify safe []"]);
    // A replacement that also fails keeps both needs, and the worse verdict.
    let replaced = table(json!({"Action": "Modify", "Replacement": "True"}));
    assert_eq!(
        of(&[replaced], &known(hint("TileTable", table_type, Some(Need::WillFail)))),
        ["replace-delete LOSS [replace-delete will-fail]"]
    );
    // What the change set does not name at all.
    assert_eq!(
        of(&[change()], &known(hint("Other", table_type, Some(Need::WeakenGuard)))),
        ["modify safe []", "modify GUARD REMOVED [weaken-guard]"]
    );
    // A guard of what holds nothing guards nothing; that an update fails is told of anything.
    let role = || resource("AWS::IAM::Role", json!({"Action": "Modify", "Replacement": "True"}));
    assert_eq!(
        of(&[role()], &known(hint("TileTable", "AWS::IAM::Role", Some(Need::WeakenGuard)))),
        ["replace-delete notice []"]
    );
    assert_eq!(
        of(&[role()], &known(hint("TileTable", "AWS::IAM::Role", Some(Need::WillFail)))),
        ["replace-delete WILL FAIL [will-fail]"]
    );
}

#[test]
fn a_pair_of_details_on_one_property_is_one_change_with_its_cause() {
    let detail = |evaluation: &str, source: &str, entity: Option<&str>| {
        json!({"Evaluation": evaluation, "ChangeSource": source, "CausingEntity": entity,
            "Target": {"Attribute": "Properties", "Name": "KeyName", "RequiresRecreation": "Always"}})
    };
    let row = row(resource(
        "AWS::EC2::Instance",
        json!({"Action": "Modify", "Replacement": "True", "Details": [
            detail("Dynamic", "DirectModification", None),
            detail("Static", "ParameterReference", Some("KeyPairName")),
            detail("Static", "ResourceAttribute", Some("Topic1.DisplayName")),
        ]}),
    ));
    assert_eq!(row.properties.len(), 1);
    assert_eq!(
        row.properties[0].causes,
        [Cause::Parameter("KeyPairName".into()), Cause::Attribute("Topic1.DisplayName".into())]
    );
    assert_eq!(row.properties[0].recreation.as_deref(), Some("Always"));
}
