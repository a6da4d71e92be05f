//! Two worlds compared: what is theirs alone is replaced by a word.

use fancy_regex::Regex;
use serde_json::Value;

use super::Stage;

/// What differs between two runs of the same: a time, a random number, a digest of either.
const RUNS: [(&str, &str); 7] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "TIME"),
    (r"\b\d{8}T\d{6}Z\b", "TIME"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
    (r"\b1[78]\d{8}(\.\d+|\d{3})?\b", "EPOCH"),
    // As ECS numbers its deployments and service deployments.
    (r"\becs-svc/\d+", "DEPLOYMENT"),
    (r"\b[0-9a-f]{21}\b", "ID"),
    (r"127\.0\.0\.1:\d+", "HOST"),
];

pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    pub(super) fn of(stage: &dyn Stage) -> Self {
        let mut names = stage.names();
        names.push((stage.dir().display().to_string(), "DIR"));
        // The longest first: a name may be the beginning of another.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self(names)
    }

    pub(super) fn canonical(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.canonical(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (self.text(name), self.canonical(value))).collect()
            }
            Value::Number(number) if number.as_f64().is_some_and(|number| number > 1.7e9) => "EPOCH".into(),
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, word) in &self.0 {
            text = text.replace(name, word);
        }
        for (pattern, word) in RUNS {
            text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
        }
        text
    }
}
