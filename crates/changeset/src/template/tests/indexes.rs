use serde_json::json;

use super::*;

/// A table with indexes, each a name and the attribute of its key.
fn table(indexes: &[(&str, &str)]) -> Value {
    let indexes: Vec<Value> = indexes
        .iter()
        .map(|(name, attribute)| {
            json!({
                "IndexName": name,
                "KeySchema": [{"AttributeName": attribute, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": "5"},
            })
        })
        .collect();
    json!({
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": indexes,
    })
}

fn change(before: &Value, after: &Value) -> Option<GsiChange> {
    gsi_change("AWS::DynamoDB::Table", before, after)
}

#[test]
fn a_renamed_index_is_a_deletion_and_a_creation() {
    let Some(GsiChange::Several { created, deleted, split }) =
        change(&table(&[("old", "x"), ("stays", "y")]), &table(&[("new", "x"), ("stays", "y")]))
    else {
        panic!("two at once");
    };
    assert_eq!((created, deleted), (vec!["new".to_owned()], vec!["old".to_owned()]));
    assert_eq!(
        split,
        [
            "take the index old out of GlobalSecondaryIndexes and x from AttributeDefinitions, update the stack, and wait until the index is gone",
            "add the index new to GlobalSecondaryIndexes and x to AttributeDefinitions, update the stack, and wait until the index is ACTIVE",
        ]
    );
}

#[test]
fn each_creation_and_each_deletion_is_an_update_of_its_own() {
    for (before, after, steps) in [
        (vec![], vec![("a", "x"), ("b", "y")], vec!["add the index a", "add the index b"]),
        (vec![("a", "x"), ("b", "y")], vec![], vec!["take the index a", "take the index b"]),
        (
            vec![("a", "x"), ("b", "y")],
            vec![("c", "id"), ("d", "id")],
            vec!["take the index a", "take the index b", "add the index c", "add the index d"],
        ),
        // The same name with another key can't be changed.
        (
            vec![("a", "x")],
            vec![("a", "y")],
            vec!["take the index a", "add the index a with its new key or projection"],
        ),
    ] {
        let Some(GsiChange::Several { split, .. }) = change(&table(&before), &table(&after)) else {
            panic!("{before:?} -> {after:?}");
        };
        assert_eq!(split.len(), steps.len(), "{split:?}");
        assert!(split.iter().zip(&steps).all(|(step, begin)| step.starts_with(begin)), "{split:?}");
    }
}

#[test]
fn one_index_or_none_is_fine() {
    let one = GsiChange::Single { created: vec!["a".to_owned()], deleted: vec![] };
    assert_eq!(change(&table(&[]), &table(&[("a", "x")])), Some(one));
    assert_eq!(change(&json!({}), &json!({"GlobalSecondaryIndexes": []})), None);
    // Only throughput, the order of indexes, and 5 as "5".
    let mut other = table(&[("b", "y"), ("a", "x")]);
    other["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"] =
        json!({"ReadCapacityUnits": 50, "WriteCapacityUnits": 50});
    other["GlobalSecondaryIndexes"][1]["ProvisionedThroughput"] =
        json!({"ReadCapacityUnits": "5", "WriteCapacityUnits": 5});
    assert_eq!(change(&table(&[("a", "x"), ("b", "y")]), &other), None);
    let mut local = table(&[]);
    local["LocalSecondaryIndexes"] = table(&[("a", "x"), ("b", "y")])["GlobalSecondaryIndexes"].clone();
    assert_eq!(change(&table(&[]), &local), None, "local ones are not global ones");
    // A new table is made with all of its indexes.
    let mut replaced = table(&[("c", "x"), ("d", "y")]);
    replaced["KeySchema"] = json!([{"AttributeName": "other", "KeyType": "HASH"}]);
    assert_eq!(change(&table(&[("a", "x"), ("b", "y")]), &replaced), None);
    assert_eq!(gsi_change("AWS::S3::Bucket", &table(&[]), &table(&[("a", "x"), ("b", "y")])), None);
    assert!(matches!(
        gsi_change("AWS::DynamoDB::GlobalTable", &table(&[]), &table(&[("a", "x"), ("b", "y")])),
        Some(GsiChange::Several { .. })
    ));
}

#[test]
fn another_projection_is_another_index() {
    let with = |attributes: Value| {
        let mut table = table(&[("a", "x")]);
        table["GlobalSecondaryIndexes"][0]["Projection"] =
            json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": attributes});
        table
    };
    assert_eq!(change(&with(json!(["p", "q"])), &with(json!(["q", "p"]))), None);
    assert!(matches!(change(&with(json!(["p"])), &with(json!(["p", "q"]))), Some(GsiChange::Several { .. })));
}

#[test]
fn indexes_that_hang_on_something_unknown_can_t_be_verified() {
    let open = json!({"Fn::If": ["Unknown", table(&[("a", "x")])["GlobalSecondaryIndexes"][0], {"Ref": "AWS::NoValue"}]});
    let mut some = table(&[]);
    some["GlobalSecondaryIndexes"] = json!([open]);
    let mut all = table(&[]);
    all["GlobalSecondaryIndexes"] = open.clone();
    for unknown in [&some, &all] {
        for (before, after) in [(&table(&[]), unknown), (unknown, &table(&[])), (unknown, unknown)] {
            assert!(
                matches!(change(before, after), Some(GsiChange::Unverifiable { .. })),
                "{before} -> {after}"
            );
        }
    }
    let mut named = table(&[("a", "x")]);
    named["GlobalSecondaryIndexes"][0]["IndexName"] = json!({"Fn::ImportValue": "name"});
    assert_eq!(change(&named, &named), None, "the same expression on both sides");
    assert!(matches!(change(&table(&[("a", "x")]), &named), Some(GsiChange::Unverifiable { .. })));
    let mut key = table(&[("a", "x")]);
    key["GlobalSecondaryIndexes"][0]["KeySchema"][0]["AttributeName"] = json!({"Fn::ImportValue": "name"});
    assert!(matches!(change(&table(&[("a", "x")]), &key), Some(GsiChange::Unverifiable { .. })));
}
