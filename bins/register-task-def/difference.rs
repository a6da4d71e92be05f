//! How a change of a task definition is shown, with nothing secret in it.

use serde_json::{Value, json};
use similar::TextDiff;

use crate::canonical::presented;

/// The difference, values that look like secrets masked: a unified diff of each container that changes, under its name,
/// and of what is the task's.
pub(crate) fn difference(before: &Value, after: &Value) -> String {
    let first = before.is_null();
    let shown_after = masked_against(after, before);
    let (mut before, mut after) = (presented(&masked(before)), presented(&shown_after));
    let (mut old, mut new) = (take_containers(&mut before), take_containers(&mut after));
    let mut out = String::new();
    section(&mut out, "the task definition", Some(&before).filter(|_| !first), Some(&after));
    for (name, container) in old.drain(..) {
        let same_name = new.iter().position(|(seen, _)| *seen == name);
        let after = same_name.map(|at| new.remove(at).1);
        section(&mut out, &format!("container {name}"), Some(&container), after.as_ref());
    }
    for (name, container) in new {
        section(&mut out, &format!("container {name}"), None, Some(&container));
    }
    out
}

/// The containers with their names, and the document without them.
fn take_containers(document: &mut Value) -> Vec<(String, Value)> {
    let list = document.as_object_mut().and_then(|map| map.shift_remove("containerDefinitions"));
    let list = match list {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let named = |container: Value| (container["name"].as_str().unwrap_or_default().to_owned(), container);
    list.into_iter().map(named).collect()
}

fn section(out: &mut String, title: &str, before: Option<&Value>, after: Option<&Value>) {
    if before == after {
        return;
    }
    let text = |value: Option<&Value>| value.map(|value| format!("{value:#}\n")).unwrap_or_default();
    let title = match (before, after) {
        (None, _) => format!("{title} (new)"),
        (_, None) => format!("{title} (removed)"),
        _ => title.to_owned(),
    };
    let (before, after) = (text(before), text(after));
    let diff = TextDiff::from_lines(&before, &after);
    out.push_str(&format!("{title}:\n{}", diff.unified_diff().context_radius(2)));
}

/// The document with every value masked that by its name or form is a secret. They should be in `secrets`, and often
/// are not.
pub(crate) fn masked(document: &Value) -> Value {
    masked_against(document, document)
}

/// As [`masked`]; a masked value that is another one than in `earlier` says so.
fn masked_against(document: &Value, earlier: &Value) -> Value {
    let mut document = document.clone();
    for container in document["containerDefinitions"].as_array_mut().into_iter().flatten() {
        let before = earlier["containerDefinitions"].as_array().into_iter().flatten();
        let before =
            before.into_iter().find(|seen| seen["name"] == container["name"]).unwrap_or(&Value::Null);
        for variable in container.get_mut("environment").and_then(Value::as_array_mut).into_iter().flatten() {
            let was = before["environment"].as_array().into_iter().flatten();
            let was =
                was.into_iter().find(|seen| seen["name"] == variable["name"]).map(|seen| &seen["value"]);
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            mask(&name, &mut variable["value"], was);
        }
        if let Some(labels) = container.get_mut("dockerLabels").and_then(Value::as_object_mut) {
            for (name, value) in labels.iter_mut() {
                mask(name, value, before["dockerLabels"].get(name));
            }
        }
        let options = container.get_mut("logConfiguration").and_then(|log| log.get_mut("options"));
        if let Some(options) = options.and_then(Value::as_object_mut) {
            for (name, value) in options.iter_mut() {
                mask(name, value, before["logConfiguration"]["options"].get(name));
            }
        }
    }
    document
}

fn mask(name: &str, value: &mut Value, earlier: Option<&Value>) {
    const SPEAKING: [&str; 7] = ["SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "CREDENTIAL", "KEY"];
    let upper = name.to_uppercase();
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() || !(SPEAKING.iter().any(|word| upper.contains(word)) || has_password(text)) {
        return;
    }
    let same = earlier.is_none_or(|earlier| earlier == value);
    *value = json!(if same { "***" } else { "*** (changed)" });
}

/// A URL with a password in it.
fn has_password(text: &str) -> bool {
    text.split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'))
        .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| !password.is_empty()))
}

/// Whether a value that somebody is about to write in plain text is a secret, by the last word of its name or by its
/// form. Narrower than what is masked: a mask too many costs nothing, a refusal does.
pub(crate) fn speaks_of_secret(name: &str, value: &str) -> bool {
    const LAST: [&str; 9] =
        ["SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "CREDENTIAL", "CREDENTIALS", "KEY", "APIKEY"];
    if has_password(value) {
        return true;
    }
    let upper = name.to_uppercase();
    let last = upper.rsplit(['_', '-', '.']).next().unwrap_or_default();
    let harmless = value.is_empty()
        || value.parse::<f64>().is_ok()
        || ["true", "false", "yes", "no", "on", "off"].contains(&value.to_lowercase().as_str());
    LAST.contains(&last) && !harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_shows_the_image_and_hides_secrets() {
        let document = |image: &str, password: &str| {
            json!({"containerDefinitions": [{"name": "x", "image": image, "environment": [
                {"name": "DB_PASSWORD", "value": password},
                {"name": "DATABASE_URL", "value": format!("postgres://u:{password}@h/db")},
            ], "logConfiguration": {"options": {"splunk-token": password}}}]})
        };
        let text = difference(&document("app:1", "hunter2"), &document("app:2", "hunter3"));
        assert!(
            text.starts_with("container x:\n")
                && text.contains("-  \"image\": \"app:1\"")
                && text.contains("+  \"image\": \"app:2\""),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
        assert!(
            difference(&Value::Null, &document("app:1", "x")).starts_with("the task definition (new):\n")
        );
        // A masked value that changes is a change all the same.
        assert_eq!(text.matches("*** (changed)").count(), 3, "{text}");
        assert!(!difference(&document("app:1", "hunter2"), &document("app:2", "hunter2")).contains("***"));
    }
}
