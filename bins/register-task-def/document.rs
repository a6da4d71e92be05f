//! A task definition as a JSON document: what of it can be registered, and which fields the API has.

use serde_json::{Map, Value, json};

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

/// What `RegisterTaskDefinition` takes
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>).
const FIELDS: &[&str] = &[
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "containerDefinitions",
    "volumes",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "tags",
    "pidMode",
    "ipcMode",
    "proxyConfiguration",
    "inferenceAccelerators",
    "ephemeralStorage",
    "runtimePlatform",
    "enableFaultInjection",
];

/// What a container has
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>).
const CONTAINER_FIELDS: &[&str] = &[
    "name",
    "image",
    "repositoryCredentials",
    "cpu",
    "memory",
    "memoryReservation",
    "links",
    "portMappings",
    "essential",
    "restartPolicy",
    "entryPoint",
    "command",
    "environment",
    "environmentFiles",
    "mountPoints",
    "volumesFrom",
    "linuxParameters",
    "secrets",
    "dependsOn",
    "startTimeout",
    "stopTimeout",
    "versionConsistency",
    "hostname",
    "user",
    "workingDirectory",
    "disableNetworking",
    "privileged",
    "readonlyRootFilesystem",
    "dnsServers",
    "dnsSearchDomains",
    "extraHosts",
    "dockerSecurityOptions",
    "interactive",
    "pseudoTerminal",
    "dockerLabels",
    "ulimits",
    "logConfiguration",
    "healthCheck",
    "systemControls",
    "resourceRequirements",
    "firelensConfiguration",
    "credentialSpecs",
];

/// The document to register that is the same as the described definition; `tags` come beside it in the answer.
pub(crate) fn registrable(described: &Value, tags: &Value) -> Value {
    let mut document: Map<String, Value> = described.as_object().cloned().unwrap_or_default();
    for field in READ_ONLY {
        document.shift_remove(field);
    }
    match tags {
        // CloudFormation's own tags, which nobody else may set: "tag keys or values with this prefix" are reserved.
        // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Tag.html
        Value::Array(tags) => {
            let own = |tag: &&Value| !tag["key"].as_str().is_some_and(|key| key.starts_with("aws:"));
            let tags: Vec<Value> = tags.iter().filter(own).cloned().collect();
            // The API refuses an empty list of tags.
            if !tags.is_empty() {
                document.insert("tags".to_owned(), Value::Array(tags));
            }
        }
        Value::Null => {}
        other => {
            document.insert("tags".to_owned(), other.clone());
        }
    }
    Value::Object(document)
}

/// The fields that the API does not have: the place, the field, and those that could have been meant.
pub(crate) fn unknown_fields(document: &Value) -> Vec<(String, String, &'static [&'static str])> {
    let mut unknown = Vec::new();
    let mut look = |place: String, fields: Option<&Map<String, Value>>, known: &'static [&'static str]| {
        let fields = fields.into_iter().flat_map(Map::keys).filter(|field| !known.contains(&field.as_str()));
        unknown.extend(fields.map(|field| (place.clone(), field.clone(), known)));
    };
    look("the task definition".to_owned(), document.as_object(), FIELDS);
    for (n, container) in document["containerDefinitions"].as_array().into_iter().flatten().enumerate() {
        let name = container["name"].as_str();
        let place =
            name.map_or_else(|| format!("containerDefinitions[{n}]"), |name| format!("container {name}"));
        look(place, container.as_object(), CONTAINER_FIELDS);
    }
    unknown
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

/// Replaces the image of the container of that name.
pub(crate) fn set_image(document: &mut Value, container: &str, image: &str) {
    if let Some(list) = document["containerDefinitions"].as_array_mut() {
        for item in list.iter_mut().filter(|item| item["name"] == container) {
            item["image"] = json!(image);
        }
    }
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
        let unknown = unknown_fields(&document);
        assert_eq!(unknown.len(), 1);
        assert_eq!(unknown[0].1, "aFieldOfTomorrow");
    }

    #[test]
    fn tags_that_only_aws_may_set_do_not_travel() {
        let tags =
            json!([{"key": "aws:cloudformation:stack-name", "value": "s"}, {"key": "team", "value": "t"}]);
        assert_eq!(registrable(&json!({}), &tags), json!({"tags": [{"key": "team", "value": "t"}]}));
        assert_eq!(registrable(&json!({}), &json!([{"key": "aws:x", "value": "s"}])), json!({}));
    }
}
