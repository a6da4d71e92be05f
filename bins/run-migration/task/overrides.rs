//! What a task runs otherwise than its definition says.

use std::path::Path;

use kit::Failure;
use serde_json::{Map, Value, json};

use super::args::{TaskArgs, Words};

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html>
const TASK_FIELDS: [&str; 7] = [
    "containerOverrides",
    "cpu",
    "ephemeralStorage",
    "executionRoleArn",
    "inferenceAcceleratorOverrides",
    "memory",
    "taskRoleArn",
];

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerOverride.html>
const CONTAINER_FIELDS: [&str; 8] = [
    "name",
    "command",
    "cpu",
    "environment",
    "environmentFiles",
    "memory",
    "memoryReservation",
    "resourceRequirements",
];

/// "A total of 8192 characters are allowed for overrides. This limit includes the JSON formatting characters of the
/// override structure." <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>
const LIMIT: usize = 8192;

/// The overrides as asked for: a whole document, or those of the container that `container` will name.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Document(Map<String, Value>),
    Container { command: Option<Words>, env: Vec<(String, String)> },
}

impl Asked {
    /// Reads and checks what needs no definition.
    pub(crate) fn read(args: &TaskArgs) -> Result<Self, Failure> {
        let Some(given) = &args.overrides else {
            return Ok(Self::Container { command: args.command.clone(), env: args.env.clone() });
        };
        let text = if given.trim_start().starts_with('{') {
            given.clone()
        } else {
            std::fs::read_to_string(Path::new(given)).map_err(|error| {
                Failure::usage(format!("read the overrides in {given}"))
                    .because(error)
                    .help("--overrides takes a JSON object or the name of a file that holds one")
            })?
        };
        let document: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
            Failure::usage("read --overrides").because(error).help("it is a JSON object, as RunTask takes it")
        })?;
        check(&document).map_err(|why| {
            Failure::usage("read --overrides").because(why).help(
                "its fields are those of https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html",
            )
        })?;
        Ok(Self::Document(document))
    }

    /// The one container that is overridden, when there is exactly one.
    pub(crate) fn only_container(&self) -> Option<&str> {
        match self {
            Self::Container { .. } => None,
            Self::Document(document) => match document.get("containerOverrides")?.as_array()?.as_slice() {
                [one] => one["name"].as_str(),
                _ => None,
            },
        }
    }

    /// The document for `RunTask`; none when nothing is overridden. `containers` are those of the definition.
    pub(crate) fn document(&self, container: &str, containers: &[&str]) -> Result<Option<Value>, Failure> {
        let document = match self {
            Self::Document(document) if document.is_empty() => return Ok(None),
            Self::Document(document) => Value::Object(document.clone()),
            Self::Container { command: None, env } if env.is_empty() => return Ok(None),
            Self::Container { command, env } => {
                let mut one = Map::new();
                one.insert("name".to_owned(), json!(container));
                if let Some(Words(words)) = command {
                    one.insert("command".to_owned(), json!(words));
                }
                if !env.is_empty() {
                    let pairs: Vec<Value> =
                        env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                    one.insert("environment".to_owned(), json!(pairs));
                }
                json!({"containerOverrides": [one]})
            }
        };
        let absent = overridden(&document).find(|name| !containers.contains(name));
        if let Some(name) = absent {
            return Err(Failure::refused(format!("override container {name}"))
                .because(format!("the definition has no such container: it has {}", containers.join(", ")))
                .help("correct the name in --overrides"));
        }
        let size = document.to_string().chars().count();
        if size > LIMIT {
            return Err(Failure::refused("override what the task runs")
                .because(format!("the overrides have {size} characters, and ECS takes {LIMIT}"))
                .help("put it into the image or into the task definition (register-task-def)"));
        }
        Ok(Some(document))
    }
}

/// The names of the overridden containers.
fn overridden(document: &Value) -> impl Iterator<Item = &str> {
    document["containerOverrides"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str())
}

/// The override of one container.
pub(crate) fn of<'a>(document: Option<&'a Value>, container: &str) -> Option<&'a Value> {
    document?["containerOverrides"].as_array()?.iter().find(|one| one["name"] == container)
}

fn check(document: &Map<String, Value>) -> Result<(), String> {
    known(document, &TASK_FIELDS, "a task's overrides")?;
    let containers = match document.get("containerOverrides") {
        None => return Ok(()),
        Some(Value::Array(containers)) => containers,
        Some(_) => return Err("containerOverrides is a list".to_owned()),
    };
    let mut names: Vec<&str> = Vec::new();
    for container in containers {
        let fields = container.as_object().ok_or("containerOverrides is a list of objects")?;
        known(fields, &CONTAINER_FIELDS, "a container's overrides")?;
        let name = container["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or("each of containerOverrides needs the container's name")?;
        if names.contains(&name) {
            return Err(format!("container {name} is overridden twice"));
        }
        names.push(name);
        if let Some(command) = fields.get("command")
            && !command.as_array().is_some_and(|words| words.iter().all(Value::is_string))
        {
            return Err(format!("the command of {name} is a list of texts, one for each word"));
        }
    }
    Ok(())
}

fn known(fields: &Map<String, Value>, valid: &[&str], what: &str) -> Result<(), String> {
    let Some(unknown) = fields.keys().find(|key| !valid.contains(&key.as_str())) else { return Ok(()) };
    if unknown.eq_ignore_ascii_case("entryPoint") {
        return Err(format!(
            "{what} have no entryPoint: ECS can't override it. Put what is to run into command, and where the image's entry point is in the way, register a revision with another one"
        ));
    }
    let near = kit::nearest(unknown, valid).map_or_else(
        || format!("; they have {}", valid.join(", ")),
        |name| format!("; did you mean {name}?"),
    );
    Err(format!("{what} have no field {unknown}{near}"))
}

#[cfg(test)]
mod tests {
    use kit::Code;

    use super::*;

    fn refused(document: &Value) -> String {
        check(document.as_object().unwrap()).unwrap_err()
    }

    #[test]
    fn a_field_that_ecs_does_not_know_is_refused_and_the_near_one_named() {
        let of = |field: &str| json!({"containerOverrides": [{"name": "migrate", field: "x"}]});
        assert!(refused(&of("comand")).contains("did you mean command?"));
        assert!(refused(&of("Environment")).contains("did you mean environment?"));
        let entry = refused(&of("entryPoint"));
        assert!(entry.contains("can't override") && entry.contains("command"), "{entry}");
        assert!(refused(&json!({"containerOverride": []})).contains("did you mean containerOverrides?"));
        assert!(refused(&json!({"zzz": 1})).contains("they have containerOverrides"));
    }

    #[test]
    fn a_document_that_is_half_right_is_refused() {
        for (document, why) in [
            (json!({"containerOverrides": {"name": "migrate"}}), "is a list"),
            (json!({"containerOverrides": [{"command": ["x"]}]}), "needs the container's name"),
            (json!({"containerOverrides": [{"name": "a"}, {"name": "a"}]}), "twice"),
            (
                json!({"containerOverrides": [{"name": "a", "command": "rails db:migrate"}]}),
                "one for each word",
            ),
        ] {
            assert!(refused(&document).contains(why), "{document}");
        }
    }

    #[test]
    fn the_container_must_be_there_and_the_whole_not_too_long() {
        let asked = |words: Vec<String>| Asked::Container { command: Some(Words(words)), env: Vec::new() };
        let document =
            asked(vec!["true".into()]).document("migrate", &["migrate", "proxy"]).unwrap().unwrap();
        assert_eq!(document, json!({"containerOverrides": [{"name": "migrate", "command": ["true"]}]}));
        let absent = asked(vec!["true".into()]).document("app", &["migrate", "proxy"]).unwrap_err();
        assert_eq!(absent.code(), Code::Refused);
        assert!(absent.chain().concat().contains("migrate, proxy"));
        // {"containerOverrides":[{"name":"migrate","command":["..."]}]} is 58 characters without the word.
        assert!(asked(vec!["x".repeat(8192 - 58)]).document("migrate", &["migrate"]).is_ok());
        assert!(asked(vec!["x".repeat(8192 - 57)]).document("migrate", &["migrate"]).is_err());
    }
}
