//! What makes two documents the same task definition.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::image::parse_image;

/// Lists whose order has no meaning, with the keys that identify an item. `command`, `entryPoint`, `dependsOn`, `links`,
/// `environmentFiles` and all that is not here keep theirs.
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

/// The document in the one form in which two equal definitions are equal: ECS's own defaults filled in, what is null
/// left out, lists sorted whose order has no meaning, and an image that has a digest named by that alone.
pub(crate) fn canonical(document: &Value) -> Value {
    let mut document = filled(document);
    for container in containers_mut(&mut document) {
        let Some(image) = container.get("image").and_then(Value::as_str) else { continue };
        if let Ok(image) = parse_image(image)
            && let Some(digest) = image.digest
        {
            container.insert("image".to_owned(), json!(format!("{}@{digest}", image.name)));
        }
    }
    sorted(&document)
}

/// As [`canonical`], with images as they are written: for people.
pub(crate) fn presented(document: &Value) -> Value {
    sorted(&filled(document))
}

/// Identifies a document in a receipt without carrying its values.
pub(crate) fn fingerprint(document: &Value) -> String {
    kit::hex(&Sha256::digest(canonical(document).to_string()))
}

fn containers_mut(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let list = document.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Adds what ECS shows of a definition although nobody sent it, so that a file equals the revision made from it. Sources:
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>,
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>,
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>,
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>.
fn filled(document: &Value) -> Value {
    let mut document = without_nulls(document);
    let own_addresses = matches!(document["networkMode"].as_str(), Some("awsvpc" | "host"));
    for container in containers_mut(&mut document) {
        container.entry("cpu").or_insert(json!(0));
        container.entry("essential").or_insert(json!(true));
        for list in ["environment", "mountPoints", "portMappings", "systemControls", "volumesFrom"] {
            container.entry(list).or_insert(json!([]));
        }
        let ports = container.get_mut("portMappings").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.entry("protocol").or_insert(json!("tcp"));
            // With an address of its own a container's port is the host's; else 0 asks for any free one.
            let host = if own_addresses { port.get("containerPort").cloned() } else { Some(json!(0)) };
            if let Some(host) = host.filter(|_| !port.contains_key("containerPortRange")) {
                port.entry("hostPort").or_insert(host);
            }
        }
        if let Some(check) = container.get_mut("healthCheck").and_then(Value::as_object_mut) {
            for (field, default) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                check.entry(field).or_insert(json!(default));
            }
        }
        let variables = container.get_mut("environment").and_then(Value::as_array_mut);
        for variable in variables.into_iter().flatten().filter_map(Value::as_object_mut) {
            variable.entry("value").or_insert(json!(""));
        }
    }
    let windows = document["runtimePlatform"]["operatingSystemFamily"]
        .as_str()
        .is_some_and(|family| family.starts_with("WINDOWS"));
    if let Some(map) = document.as_object_mut() {
        for list in ["volumes", "placementConstraints"] {
            map.entry(list).or_insert(json!([]));
        }
        // Shown since January 2025: https://github.com/aws-actions/amazon-ecs-deploy-task-definition/issues/704
        map.entry("enableFaultInjection").or_insert(json!(false));
        if !windows {
            map.entry("networkMode").or_insert(json!("bridge"));
        }
        if map.get("tags").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            map.shift_remove("tags");
        }
        for (field, unit) in [("cpu", "vcpu"), ("memory", "gb")] {
            let units = map.get(field).and_then(Value::as_str).and_then(|text| in_units(text, unit));
            if let Some(units) = units {
                map.insert(field.to_owned(), json!(units));
            }
        }
    }
    document
}

/// `1 vCPU` is 1024 units of CPU, `0.5 GB` are 512 MiB; ECS converts on registration.
pub(crate) fn in_units(text: &str, unit: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
    Some(format!("{:.0}", number * 1024.0))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .map(|key| {
                    let value = sorted(&map[key]);
                    let ids = UNORDERED.iter().find(|(name, _)| name == key).map(|(_, ids)| *ids);
                    (key.clone(), ids.map_or(value.clone(), |ids| sorted_list(value, ids)))
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn sorted_list(list: Value, ids: &[&str]) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_counts_only_where_it_means_something() {
        let env = |a: &str, b: &str| json!({"containerDefinitions": [{"name": "x", "environment": [{"name": a}, {"name": b}]}]});
        assert_eq!(canonical(&env("A", "B")), canonical(&env("B", "A")));
        let command = |a: &str, b: &str| json!({"containerDefinitions": [{"name": "x", "command": [a, b]}]});
        assert_ne!(canonical(&command("a", "b")), canonical(&command("b", "a")));
        let depends = |a: &str, b: &str| json!({"containerDefinitions": [{"name": "x", "dependsOn": [{"containerName": a}, {"containerName": b}]}]});
        assert_ne!(canonical(&depends("a", "b")), canonical(&depends("b", "a")));
        assert_eq!(fingerprint(&env("A", "B")), fingerprint(&env("B", "A")));
    }

    #[test]
    fn a_file_equals_what_ecs_makes_of_it() {
        // What AWS answered for a definition of this form: the defaults are its own.
        let sent = json!({"family": "web", "networkMode": "awsvpc", "cpu": ".25 vCPU", "memory": "0.5 GB", "taskRoleArn": null,
            "containerDefinitions": [{"name": "web", "image": "nginx", "portMappings": [{"containerPort": 80}],
                "healthCheck": {"command": ["CMD", "true"]}}]});
        let described = json!({"family": "web", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "volumes": [], "placementConstraints": [],
            "containerDefinitions": [{"name": "web", "image": "nginx", "cpu": 0, "essential": true, "environment": [], "mountPoints": [],
                "volumesFrom": [], "systemControls": [], "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
                "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3}}]});
        assert_eq!(canonical(&sent), canonical(&described));
        let mut newer = described.clone();
        newer["enableFaultInjection"] = json!(false);
        assert_eq!(canonical(&sent), canonical(&newer));
        newer["enableFaultInjection"] = json!(true);
        assert_ne!(canonical(&sent), canonical(&newer));
        let mut other = described.clone();
        other["containerDefinitions"][0]["portMappings"][0]["hostPort"] = json!(81);
        assert_ne!(canonical(&sent), canonical(&other));
    }

    #[test]
    fn an_image_is_its_digest_and_a_tag_alone_is_none() {
        let of = |image: &str| canonical(&json!({"containerDefinitions": [{"name": "x", "image": image}]}));
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(of(&format!("r/x:v1@{digest}")), of(&format!("r/x@{digest}")));
        assert_ne!(of("r/x:v1"), of(&format!("r/x@{digest}")));
        assert_ne!(of(&format!("r/y@{digest}")), of(&format!("r/x@{digest}")));
    }
}
