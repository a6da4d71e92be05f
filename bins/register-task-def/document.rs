//! A task definition as a JSON document: what of it can be registered, what makes two of them the same, and how a
//! difference is shown.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

/// What `DescribeTaskDefinition` answers and `RegisterTaskDefinition` does not take
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html>).
const READ_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// Lists of a container (and of the definition) whose order has no meaning, with the keys that identify an item.
const UNORDERED: [(&str, &[&str]); 12] = [
    ("containerDefinitions", &["name"]),
    ("environment", &["name"]),
    ("secrets", &["name"]),
    ("mountPoints", &["containerPath", "sourceVolume"]),
    ("portMappings", &["containerPort", "hostPort", "protocol", "name"]),
    ("volumes", &["name"]),
    ("volumesFrom", &["sourceContainer"]),
    ("ulimits", &["name"]),
    ("systemControls", &["namespace"]),
    ("tags", &["key"]),
    ("requiresCompatibilities", &[]),
    ("extraHosts", &["hostname", "ipAddress"]),
];

/// The document to register that is the same as the described definition; `tags` come beside it in the answer.
pub(crate) fn registrable(described: &Value, tags: &Value) -> Value {
    let mut document: Map<String, Value> = described.as_object().cloned().unwrap_or_default();
    for field in READ_ONLY {
        document.shift_remove(field);
    }
    // The API refuses an empty list of tags.
    if tags.as_array().is_some_and(|tags| !tags.is_empty()) {
        document.insert("tags".to_owned(), tags.clone());
    }
    Value::Object(document)
}

/// The names of the containers, in order.
pub(crate) fn containers(document: &Value) -> Vec<&str> {
    let list = document["containerDefinitions"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|container| container["name"].as_str()).collect()
}

/// The image of a container.
pub(crate) fn image_of<'a>(document: &'a Value, container: &str) -> Option<&'a str> {
    let list = document["containerDefinitions"].as_array()?;
    list.iter().find(|item| item["name"] == container)?["image"].as_str()
}

/// Replaces the image of every container of that name.
pub(crate) fn set_image(document: &mut Value, container: &str, image: &str) {
    if let Some(list) = document["containerDefinitions"].as_array_mut() {
        for item in list.iter_mut().filter(|item| item["name"] == container) {
            item["image"] = json!(image);
        }
    }
}

/// The document with every list sorted whose order has no meaning, and every object by key: two definitions are the
/// same when their canonical documents are.
pub(crate) fn canonical(document: &Value) -> Value {
    match document {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .map(|key| {
                    let value = canonical(&map[key]);
                    let ids = UNORDERED.iter().find(|(name, _)| name == key).map(|(_, ids)| *ids);
                    (key.clone(), ids.map_or(value.clone(), |ids| sorted(value, ids)))
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

fn sorted(list: Value, ids: &[&str]) -> Value {
    let Value::Array(mut items) = list else { return list };
    items.sort_by_cached_key(|item| {
        if ids.is_empty() {
            item.to_string()
        } else {
            ids.iter().map(|id| format!("{}\u{0}", item[*id])).collect()
        }
    });
    Value::Array(items)
}

/// Identifies a document in a receipt without carrying its values.
pub(crate) fn fingerprint(document: &Value) -> String {
    Sha256::digest(canonical(document).to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The difference as a unified diff of the two documents, values that look like secrets masked.
pub(crate) fn difference(before: &Value, after: &Value) -> String {
    let (before, after) = (masked(before), masked(after));
    let (before, after) = (format!("{:#}\n", canonical(&before)), format!("{:#}\n", canonical(&after)));
    TextDiff::from_lines(&before, &after).unified_diff().context_radius(2).to_string()
}

/// The document with the values of those environment variables masked whose names speak of secrets. They should be in
/// `secrets`, and often are not.
pub(crate) fn masked(document: &Value) -> Value {
    const SPEAKING: [&str; 6] = ["SECRET", "PASSWORD", "PASSWD", "TOKEN", "CREDENTIAL", "KEY"];
    let mut document = document.clone();
    let containers = document["containerDefinitions"].as_array_mut();
    let variables = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container.get_mut("environment").and_then(Value::as_array_mut))
        .flatten();
    for variable in variables {
        let name = variable["name"].as_str().unwrap_or_default().to_uppercase();
        let url_with_password = variable["value"]
            .as_str()
            .and_then(|value| value.split_once("://"))
            .and_then(|(_, rest)| rest.split('/').next())
            .is_some_and(|authority| authority.contains('@') && authority.contains(':'));
        if SPEAKING.iter().any(|word| name.contains(word)) || url_with_password {
            variable["value"] = json!("***");
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_fields_go_and_all_others_stay_empty_and_unknown_ones_included() {
        let described = json!({
            "taskDefinitionArn": "arn", "revision": 3, "status": "ACTIVE", "requiresAttributes": [],
            "compatibilities": ["EC2"], "registeredAt": 1.0, "registeredBy": "x", "deregisteredAt": 2.0, "deleteRequestedAt": 3.0,
            "family": "web", "aFieldOfTomorrow": {"x": [""]}, "containerDefinitions": [{"name": "app", "environment": [{"name": "EMPTY", "value": ""}], "links": []}],
            "volumes": [],
        });
        let document = registrable(&described, &json!([]));
        assert_eq!(
            document,
            json!({
                "family": "web", "aFieldOfTomorrow": {"x": [""]},
                "containerDefinitions": [{"name": "app", "environment": [{"name": "EMPTY", "value": ""}], "links": []}],
                "volumes": [],
            })
        );
        assert_eq!(registrable(&described, &json!([{"key": "a", "value": "b"}]))["tags"][0]["key"], "a");
    }

    #[test]
    fn order_counts_only_where_it_means_something() {
        let env = |a: &str, b: &str| json!({"containerDefinitions": [{"name": "x", "environment": [{"name": a}, {"name": b}]}]});
        assert_eq!(canonical(&env("A", "B")), canonical(&env("B", "A")));
        let command = |a: &str, b: &str| json!({"containerDefinitions": [{"name": "x", "command": [a, b]}]});
        assert_ne!(canonical(&command("a", "b")), canonical(&command("b", "a")));
        assert_eq!(fingerprint(&env("A", "B")), fingerprint(&env("B", "A")));
    }

    #[test]
    fn a_difference_shows_the_change_and_no_secret() {
        let document = |image: &str, password: &str| {
            json!({"containerDefinitions": [{"name": "x", "image": image, "environment": [
                {"name": "DB_PASSWORD", "value": password},
                {"name": "DATABASE_URL", "value": format!("postgres://u:{password}@h/db")},
            ]}]})
        };
        let text = difference(&document("app:1", "hunter2"), &document("app:2", "hunter3"));
        assert!(
            text.contains("-      \"image\": \"app:1\"") && text.contains("+      \"image\": \"app:2\""),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
}
