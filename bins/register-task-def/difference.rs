//! How a change of a task definition is shown, with nothing secret in it.

use kit::redact_value;
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
        for place in ["/dockerLabels", "/logConfiguration/options", "/firelensConfiguration/options"] {
            if let Some(options) = container.pointer_mut(place).and_then(Value::as_object_mut) {
                for (name, value) in options.iter_mut() {
                    mask(name, value, before.pointer(place).and_then(|before| before.get(name)));
                }
            }
        }
        for place in ["/command", "/entryPoint", "/healthCheck/command"] {
            if let Some(words) = container.pointer_mut(place) {
                mask_words(words, before.pointer(place));
            }
        }
    }
    document
}

fn mask(name: &str, value: &mut Value, earlier: Option<&Value>) {
    let Some(masked) = value.as_str().and_then(|text| redact_value(name, text)) else { return };
    let same = earlier.is_none_or(|earlier| earlier == value);
    *value = json!(if same { masked } else { format!("{masked} (changed)") });
}

/// The words of a command: `--password` gives the next one away.
fn mask_words(words: &mut Value, earlier: Option<&Value>) {
    let masked =
        redact_value("command", &words.to_string()).and_then(|text| serde_json::from_str(&text).ok());
    let Some(Value::Array(masked)) = masked else { return };
    let seen = |word: &Value| earlier.and_then(Value::as_array).is_none_or(|earlier| earlier.contains(word));
    for (word, masked) in words.as_array_mut().into_iter().flatten().zip(masked) {
        let changed = *word != masked && !seen(word);
        *word = match masked {
            Value::String(text) if changed => json!(format!("{text} (changed)")),
            other => other,
        };
    }
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
    const LAST: [&str; 11] = [
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "PASS",
        "PWD",
        "TOKEN",
        "CREDENTIAL",
        "CREDENTIALS",
        "KEY",
        "APIKEY",
    ];
    if has_password(value) {
        return true;
    }
    let upper = name.to_uppercase();
    let last = upper.rsplit(['_', '-', '.']).next().unwrap_or_default();
    let harmless = value.is_empty()
        || value.parse::<f64>().is_ok()
        || ["true", "false", "yes", "no", "on", "off"].contains(&value.to_lowercase().as_str());
    // `PWD` alone is where a shell is.
    LAST.contains(&last) && upper != "PWD" && !harmless
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
        assert_eq!(text.matches("(changed)").count(), 3, "{text}");
        assert!(text.contains("postgres://u:***@h/db (changed)"), "{text}");
        assert!(!difference(&document("app:1", "hunter2"), &document("app:2", "hunter2")).contains("***"));
    }

    #[test]
    fn passwords_are_hidden_wherever_they_are_written() {
        let document = |secret: &str| {
            json!({"containerDefinitions": [{"name": "x",
                "environment": [
                    {"name": "DB_PASS", "value": secret},
                    {"name": "REDIS_AUTH", "value": secret},
                    {"name": "APP_KEY", "value": secret},
                    {"name": "PASSENGER_COUNT", "value": "6"},
                    {"name": "AUTHOR", "value": "dora"},
                    {"name": "BYPASS", "value": "cache"},
                ],
                "command": ["serve", "--port=80", format!("--password={secret}"), "--db-pass", secret, "--verbose"],
                "entryPoint": ["sh", "-c", format!("exec run --token {secret} --url=postgres://user:{secret}@db/x")],
                "healthCheck": {"command": ["CMD-SHELL", format!("PGPASSWORD={secret} psql")]},
                "secrets": [{"name": "API_TOKEN", "valueFrom": "/prod/token"}],
                "repositoryCredentials": {"credentialsParameter": "registry"},
            }]})
        };
        let one = document("hunter22");
        let text = masked(&one).to_string();
        assert!(!text.contains("hunter"), "{text}");
        for shown in [
            r#"{"name":"PASSENGER_COUNT","value":"6"}"#,
            r#"{"name":"AUTHOR","value":"dora"}"#,
            r#"{"name":"BYPASS","value":"cache"}"#,
            r#"["serve","--port=80","--password=***","--db-pass","***","--verbose"]"#,
            r#""exec run --token *** --url=postgres://user:***@db/x""#,
            r#""PGPASSWORD=*** psql""#,
            r#""/prod/token""#,
            r#""registry""#,
        ] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        let text = difference(&one, &document("hunter33"));
        assert!(!text.contains("hunter"), "{text}");
        // Three variables, two words of the command, one of the entry point, one of the health check.
        assert_eq!(text.matches("(changed)").count(), 7, "{text}");
    }
}
