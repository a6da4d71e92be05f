//! A task definition from a file: what a person wrote is refused where it would be lost, misread or rejected late.

use std::collections::BTreeSet;
use std::fmt;

use kit::{Failure, StrictJson};
use serde_json::{Map, Value};

use crate::document::{registrable, unknown_fields};

/// The document of a file's text. `name` is the file's, for errors.
///
/// Taken are what `RegisterTaskDefinition` takes and what `DescribeTaskDefinition` answers (`taskDefinition`, and `tags`
/// beside it). Fields that only ECS sets are dropped: they come from a described definition.
/// A usage error (exit 2): what is not JSON, a key twice in one object, a NUL, fields that the API does not have, duplicate
/// containers and variables, values of a type that ECS does not take.
pub(crate) fn parse(name: &str, bytes: &[u8], allow_unknown_fields: bool) -> Result<Value, Failure> {
    let refused = || Failure::usage(format!("read the task definition in {name}"));
    let text = std::str::from_utf8(bytes).map_err(|error| {
        refused()
            .because(format!("it is not UTF-8 text: byte {}", error.valid_up_to() + 1))
            .help("save it as UTF-8")
    })?;
    // An editor's byte-order mark is no part of the document.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(refused().because("it is empty"));
    }
    let StrictJson(value) = serde_json::from_str(text).map_err(|error| {
        // A key that is there twice is JSON still.
        let what = if error.is_data() { "" } else { "it is not JSON: " };
        refused().because(format!("{what}{error}"))
    })?;
    let document = unwrapped(value).map_err(|why| refused().because(why))?;
    let unknown: Vec<String> = if allow_unknown_fields {
        Vec::new()
    } else {
        unknown_fields(&document).iter().map(|field| Unknown::of(field).to_string()).collect()
    };
    let some_unknown = !unknown.is_empty();
    let problems = [unknown, problems(&document)].concat();
    if !problems.is_empty() {
        let refused = refused().because(problems.join("\n"));
        return Err(if some_unknown {
            refused.help("for a field that ECS has since this version was made, add --allow-unknown-fields")
        } else {
            refused
        });
    }
    Ok(document)
}

/// The definition itself, without what only ECS sets.
fn unwrapped(value: Value) -> Result<Value, String> {
    let Value::Object(mut map) = value else {
        return Err("it is not a JSON object".to_owned());
    };
    let Some(definition) = map.shift_remove("taskDefinition") else {
        let tags = map.shift_remove("tags").unwrap_or_default();
        return Ok(registrable(&Value::Object(map), &tags));
    };
    let tags = map.shift_remove("tags").unwrap_or_default();
    map.shift_remove("ResponseMetadata");
    if let Some(other) = map.keys().next() {
        return Err(format!("beside taskDefinition it has {other}; only tags can stand there"));
    }
    let Value::Object(mut definition) = definition else {
        return Err("taskDefinition is not a JSON object".to_owned());
    };
    match definition.shift_remove("tags") {
        Some(_) if !tags.is_null() => Err("it has tags both in taskDefinition and beside it".to_owned()),
        Some(inner) => Ok(registrable(&Value::Object(definition), &inner)),
        None => Ok(registrable(&Value::Object(definition), &tags)),
    }
}

/// What ECS would refuse, or would take and mean something else by, each with its place.
fn problems(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    nul("", document, &mut found);
    if document["family"].as_str().is_none_or(str::is_empty) {
        found.push("family is missing".to_owned());
    }
    for key in ["cpu", "memory"] {
        if document[key].is_number() {
            found
                .push(format!("{key} of the task is a number; ECS takes a text here: \"{}\"", document[key]));
        }
    }
    if let Some(tags) = document.get("tags").filter(|tags| !tags.is_array()) {
        found.push(format!("tags is not a list of {{key, value}} but {}", kind(tags)));
    }
    let Some(containers) = document["containerDefinitions"].as_array().filter(|list| !list.is_empty()) else {
        found.push("containerDefinitions is missing, empty or no list".to_owned());
        return found;
    };
    let mut names = BTreeSet::new();
    for (n, container) in containers.iter().enumerate() {
        let Some(fields) = container.as_object() else {
            found.push(format!("containerDefinitions[{n}] is {}", kind(container)));
            continue;
        };
        let Some(name) = fields.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            found.push(format!("containerDefinitions[{n}] has no name"));
            continue;
        };
        if !names.insert(name) {
            found.push(format!("two containers have the name {name}"));
        }
        if fields.get("image").and_then(Value::as_str).is_none_or(str::is_empty) {
            found.push(format!("container {name} has no image"));
        }
        let environment = variables(name, fields, "environment", "value", &mut found);
        let secrets = variables(name, fields, "secrets", "valueFrom", &mut found);
        for both in environment.intersection(&secrets) {
            found.push(format!("{both} of container {name} is in both environment and secrets"));
        }
    }
    found
}

/// The names in a container's `environment` or `secrets`.
fn variables<'a>(
    container: &str,
    fields: &'a Map<String, Value>,
    list: &str,
    key: &str,
    found: &mut Vec<String>,
) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let items = match fields.get(list) {
        None | Some(Value::Null) => return names,
        Some(Value::Array(items)) => items,
        Some(other) => {
            found.push(format!(
                "{list} of container {container} is not a list of {{name, {key}}} but {}",
                kind(other)
            ));
            return names;
        }
    };
    for (n, item) in items.iter().enumerate() {
        let Some(name) = item["name"].as_str().filter(|name| !name.is_empty()) else {
            found.push(format!("{list}[{n}] of container {container} has no name"));
            continue;
        };
        if !names.insert(name) {
            found.push(format!("{name} is twice in {list} of container {container}"));
        }
        // Left out, a variable's value is the empty text.
        let left_out = list == "environment" && item.get(key).is_none();
        if !left_out && !item[key].is_string() {
            found.push(format!(
                "{key} of {name} in {list} of container {container} is {}; ECS takes a text",
                kind(&item[key])
            ));
        }
    }
    names
}

fn nul(place: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains('\0') => {
            found.push(format!("{} holds a NUL character", place.trim_start_matches('.')));
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                nul(&format!("{place}[{n}]"), item, found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                nul(&format!("{place}.{key}"), item, found);
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A field that the API does not have.
struct Unknown<'a> {
    place: &'a str,
    field: &'a str,
    meant: Option<&'static str>,
}

impl<'a> Unknown<'a> {
    fn of((place, field, known): &'a (String, String, &'static [&'static str])) -> Self {
        Self { place, field, meant: kit::nearest(field, known) }
    }
}

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, meant } = self;
        write!(f, "{place} has the field {field}, which ECS does not know")?;
        meant.map_or(Ok(()), |meant| write!(f, "; did you mean {meant}?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(text: &str) -> String {
        let refused = parse("web.json", text.as_bytes(), false).unwrap_err();
        assert_eq!(refused.code(), kit::Code::Usage);
        refused.chain().join("; ")
    }

    fn with(container: &str) -> String {
        format!(r#"{{"family":"web","containerDefinitions":[{{"name":"app","image":"x",{container}}}]}}"#)
    }

    #[test]
    fn a_bare_document_and_a_described_one_are_the_same() {
        let bare = r#"{"family":"web","containerDefinitions":[{"name":"app","image":"x","environment":[{"name":"EMPTY","value":""}]}]}"#;
        let described = format!(
            r#"{{"taskDefinition":{{"revision":3,"status":"ACTIVE","registeredAt":"2026-11-20T10:00:00Z",{},"tags":[]}}"#,
            &bare[1..]
        );
        let document = parse("web.json", bare.as_bytes(), false).unwrap();
        assert_eq!(document, parse("web.json", described.as_bytes(), false).unwrap());
        assert_eq!(
            document["containerDefinitions"][0]["environment"],
            json!([{"name": "EMPTY", "value": ""}])
        );
        assert!(parse("web.json", format!("\u{feff}{bare}").as_bytes(), false).is_ok());
    }

    #[test]
    fn what_is_no_task_definition_is_refused_with_its_place() {
        let cases = [
            ("", "it is empty"),
            ("[]", "it is not a JSON object"),
            ("{\n  \"family\": \"web\",\n}", "line 3 column 1"),
            (r#"{"family":"web","family":"api"}"#, "the key `family` stands twice in one object at line 1"),
            (r#"{"family":"web"}"#, "containerDefinitions is missing"),
            (r#"{"containerDefinitions":[{"name":"app","image":"x"}]}"#, "family is missing"),
            (r#"{"taskDefinition":{},"service":{}}"#, "beside taskDefinition it has service"),
        ];
        for (text, expected) in cases {
            assert!(why(text).contains(expected), "{text}: {}", why(text));
        }
        assert!(format!("{:?}", parse("x", &[0xff], false).unwrap_err()).contains("UTF-8"));
    }

    #[test]
    fn every_problem_of_a_container_is_named_at_once() {
        let found = why(&with(
            r#""environment":[{"name":"A","value":1},{"name":"A","value":"2"},{"name":"S","value":"a\u0000b"}],"secrets":[{"name":"S"}]"#,
        ));
        for expected in [
            "value of A in environment of container app is a number; ECS takes a text",
            "A is twice in environment of container app",
            "containerDefinitions[0].environment[2].value holds a NUL character",
            "S of container app is in both environment and secrets",
            "valueFrom of S in secrets of container app is null",
        ] {
            assert!(found.contains(expected), "{expected}: {found}");
        }
        assert!(
            why(&with(r#""environment":{"A":"1"}"#)).contains("is not a list of {name, value} but an object")
        );
        let twice = r#"{"family":"web","cpu":256,"containerDefinitions":[{"name":"app","image":"x"},{"name":"app"},{}]}"#;
        let found = why(twice);
        for expected in [
            "two containers have the name app",
            "container app has no image",
            "containerDefinitions[2] has no name",
            r#"cpu of the task is a number; ECS takes a text here: "256""#,
        ] {
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn a_mistyped_field_is_refused_with_what_was_meant_unless_allowed() {
        assert!(why(&with(r#""enviroment":[]"#)).contains("did you mean environment?"));
        // A mistyped name leaves the container without one: both are said.
        let nameless = why(r#"{"family":"web","containerDefinitions":[{"Name":"app","image":"x"}]}"#);
        assert!(nameless.contains("did you mean name?") && nameless.contains("has no name"), "{nameless}");
        assert!(why(&with(r#""EntryPoint":[]"#)).contains("did you mean entryPoint?"));
        let top = r#"{"family":"web","taskRole":"x","containerDefinitions":[{"name":"app","image":"x"}]}"#;
        assert!(
            why(top).contains("has the field taskRole, which ECS does not know; did you mean taskRoleArn?")
        );
        let allowed = parse("web.json", top.as_bytes(), true).unwrap();
        assert_eq!(allowed["taskRole"], "x");
    }
}
