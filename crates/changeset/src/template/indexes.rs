//! Global secondary indexes: DynamoDB makes or deletes one of a table at a time, and a change set does not show how many an
//! update would.
//!
//! "You can create or delete only one global secondary index per `UpdateTable` operation"
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTable.html>), and CloudFormation makes one such
//! call for an update: "You can delete or add one global secondary index without interruption. If you do both in the
//! same update (for example, by changing the index's logical ID), the update fails"
//! (<https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html>).
//! So deletions too go one at a time.

use serde::Serialize;
use serde_json::Value;

use super::value::{as_text, at, has_open_condition, has_unknown, is_unknown, is_unknown_at, same};

/// What an update does to the indexes of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum GsiChange {
    /// One is made or deleted, which works.
    Single { created: Vec<String>, deleted: Vec<String> },
    /// More than one: DynamoDB refuses, and the stack rolls back.
    Several {
        created: Vec<String>,
        deleted: Vec<String>,
        /// Updates of the stack that work one after the other, in words.
        split: Vec<String>,
    },
    /// How many can't be known.
    Unverifiable { why: String },
}

/// Compares the indexes of a table before and after, from its `Properties`. None for another type, where no index is made
/// or deleted, and where the table itself is replaced: a new one is made with all of its indexes.
pub fn gsi_change(resource_type: &str, before: &Value, after: &Value) -> Option<GsiChange> {
    if !matches!(resource_type, "AWS::DynamoDB::Table" | "AWS::DynamoDB::GlobalTable") {
        return None;
    }
    // Its name or its key makes another table; whether other changes do is not certain enough to be silent for.
    let replaced = ["TableName", "KeySchema"].iter().any(|property| {
        let side = |properties: &Value| by_role(properties.get(property).unwrap_or(&Value::Null));
        let (old, new) = (side(before), side(after));
        !has_unknown(&old) && !has_unknown(&new) && !same(&old, &new)
    });
    if replaced {
        return None;
    }
    let open =
        || Some(GsiChange::Unverifiable { why: "which indexes there are hangs on what is not known".into() });
    let (Some(old), Some(new)) = (indexes(before), indexes(after)) else {
        let alike = same_property(before, after, "GlobalSecondaryIndexes");
        let hangs = |value: &Value| value.get("GlobalSecondaryIndexes").is_some_and(has_open_condition);
        return if alike && !is_unknown(before) && !hangs(after) { None } else { open() };
    };
    let mut created = Vec::new();
    let mut deleted = Vec::new();
    let mut uncertain = None;
    for index in &old {
        match new.iter().find(|other| other.name == index.name) {
            None => deleted.push(index.name.clone()),
            Some(other) => match index.is_rebuilt_as(other) {
                Some(true) => {
                    deleted.push(index.name.clone());
                    created.push(index.name.clone());
                }
                Some(false) => {}
                None => uncertain = Some(index.name.clone()),
            },
        }
    }
    created.extend(
        new.iter().map(|index| &index.name).filter(|name| !old.iter().any(|it| it.name == **name)).cloned(),
    );
    match (created.len() + deleted.len(), uncertain) {
        (2.., _) => {
            let split = split(before, &old, &new, &created, &deleted);
            Some(GsiChange::Several { created, deleted, split })
        }
        (_, Some(name)) => Some(GsiChange::Unverifiable {
            why: format!("whether the index {name} is built again hangs on what is not known"),
        }),
        (1, None) => Some(GsiChange::Single { created, deleted }),
        _ => None,
    }
}

/// Absent and empty are the same.
fn same_property(before: &Value, after: &Value, property: &str) -> bool {
    let empty = Value::Array(Vec::new());
    same(at(before, &[property]).unwrap_or(&empty), at(after, &[property]).unwrap_or(&empty))
}

struct Index<'a> {
    name: String,
    key_schema: &'a Value,
    projection: &'a Value,
}

/// None where they can't be known.
fn indexes(properties: &Value) -> Option<Vec<Index<'_>>> {
    if is_unknown_at(properties, &["GlobalSecondaryIndexes"]) {
        return None;
    }
    let Some(list) = at(properties, &["GlobalSecondaryIndexes"]) else { return Some(Vec::new()) };
    list.as_array()?
        .iter()
        .map(|index| {
            Some(Index {
                name: as_text(index.get("IndexName")?)?,
                key_schema: index.get("KeySchema").unwrap_or(&Value::Null),
                projection: index.get("Projection").unwrap_or(&Value::Null),
            })
        })
        .collect()
}

impl Index<'_> {
    /// Whether an index of the same name must be deleted and made again: its key or its projection differs, which
    /// `UpdateTable` can't change. Throughput it can. None where that is not known.
    fn is_rebuilt_as(&self, other: &Self) -> Option<bool> {
        let pairs = [
            (by_role(self.key_schema), by_role(other.key_schema)),
            (unordered(self.projection), unordered(other.projection)),
        ];
        if pairs.iter().all(|(one, other)| same(one, other)) {
            return (!has_open_condition(self.key_schema) && !has_open_condition(self.projection))
                .then_some(false);
        }
        let unknown = pairs.iter().any(|(one, other)| has_unknown(one) || has_unknown(other));
        (!unknown).then_some(true)
    }

    fn attributes(&self) -> Vec<String> {
        attributes(self.key_schema)
    }
}

fn attributes(key_schema: &Value) -> Vec<String> {
    let elements = key_schema.as_array().map(Vec::as_slice).unwrap_or_default();
    elements.iter().filter_map(|element| as_text(element.get("AttributeName")?)).collect()
}

/// A key schema with HASH before RANGE; within each the order counts. What is no list stays as it is.
fn by_role(key_schema: &Value) -> Value {
    let Value::Array(mut elements) = key_schema.clone() else { return key_schema.clone() };
    elements.sort_by_key(|element| element.get("KeyType").and_then(as_text));
    Value::Array(elements)
}

/// A projection, whose attributes are a set.
fn unordered(projection: &Value) -> Value {
    let mut projection = projection.clone();
    if let Some(Value::Array(attributes)) = projection.get_mut("NonKeyAttributes") {
        attributes.sort_by_key(as_text);
    }
    projection
}

/// The updates that work: each deletes or makes one index, deletions first. An attribute that only one index uses comes and
/// goes with it: CloudFormation finds the "property `AttributeDefinitions` inconsistent with the `KeySchema` of the table and the
/// secondary indexes" otherwise (<https://github.com/aws-cloudformation/cfn-lint/issues/1037>). It does not wait for an index, and
/// the table can't be updated before the index is ACTIVE.
fn split(
    properties: &Value,
    old: &[Index<'_>],
    new: &[Index<'_>],
    created: &[String],
    deleted: &[String],
) -> Vec<String> {
    let mut used: Vec<String> = attributes(properties.get("KeySchema").unwrap_or(&Value::Null));
    for local in properties.get("LocalSecondaryIndexes").and_then(Value::as_array).into_iter().flatten() {
        used.extend(attributes(local.get("KeySchema").unwrap_or(&Value::Null)));
    }
    let mut present: Vec<&Index<'_>> = old.iter().collect();
    let mut steps = Vec::new();
    for name in deleted {
        let Some(place) = present.iter().position(|index| index.name == *name) else { continue };
        let index = present.remove(place);
        let freed = only(&index.attributes(), &used, &present);
        let definitions = match freed.as_slice() {
            [] => String::new(),
            freed => format!(" and {} from AttributeDefinitions", freed.join(", ")),
        };
        steps.push(format!(
            "take the index {name} out of GlobalSecondaryIndexes{definitions}, update the stack, and wait until the index is gone"
        ));
    }
    for name in created {
        let Some(index) = new.iter().find(|index| index.name == *name) else { continue };
        let wanted = only(&index.attributes(), &used, &present);
        let definitions = match wanted.as_slice() {
            [] => String::new(),
            wanted => format!(" and {} to AttributeDefinitions", wanted.join(", ")),
        };
        let anew = if deleted.contains(name) { " with its new key or projection" } else { "" };
        steps.push(format!(
            "add the index {name}{anew} to GlobalSecondaryIndexes{definitions}, update the stack, and wait until the index is ACTIVE"
        ));
        present.push(index);
    }
    steps
}

/// Attributes that neither the table nor one of the indexes uses.
fn only(attributes: &[String], used: &[String], present: &[&Index<'_>]) -> Vec<String> {
    attributes
        .iter()
        .filter(|name| !used.contains(name) && !present.iter().any(|index| index.attributes().contains(name)))
        .cloned()
        .collect()
}
