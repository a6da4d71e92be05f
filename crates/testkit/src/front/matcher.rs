//! Which calls a fault, a hold or a scenario means.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Request;

/// Calls named as `service:Operation`, with `*` for any, and `#3` for the third of them: `s3:UploadPart#2`, `ecs:*`.
///
/// Occurrences count requests as they arrive, an SDK's retries among them.
///
/// In JSON it is that text, or an object with `service`, `operation`, `nth` and `fields`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Matcher {
    pub service: String,
    pub operation: String,
    /// 1 is the first; `None` is each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// What the request must hold: a JSON pointer (`/tags/0/key`) into its content, or the name of a field in it (`bucket`,
    /// `taskDefinition`, `Action`), and the value as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// The two ways to write a [`Matcher`] in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Object {
        service: String,
        operation: String,
        nth: Option<u64>,
        #[serde(default)]
        fields: BTreeMap<String, String>,
    },
}

impl From<Written> for Matcher {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self::from(text.as_str()),
            Written::Object { service, operation, nth, fields } => Self { service, operation, nth, fields },
        }
    }
}

impl Matcher {
    pub fn new(service: impl Into<String>, operation: impl Into<String>) -> Self {
        Self { service: service.into(), operation: operation.into(), nth: None, fields: BTreeMap::new() }
    }

    /// The `nth` matching request, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// Only requests whose field has this value; see [`Matcher::fields`].
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Whether the request is one of those meant, whichever occurrence it is.
    pub fn matches(&self, request: &Request) -> bool {
        let fits = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        fits(&self.service, &request.service)
            && fits(&self.operation, &request.operation)
            && (self.fields.is_empty() || self.fields_match(&request.content()))
    }

    fn fields_match(&self, content: &Value) -> bool {
        self.fields.iter().all(|(name, expected)| {
            let found = if name.starts_with('/') { content.pointer(name) } else { content.get(name) };
            match found {
                Some(Value::String(text)) => text == expected,
                Some(other) => other.to_string().as_str() == expected,
                None => false,
            }
        })
    }
}

impl FromStr for Matcher {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (name, nth) = match text.rsplit_once('#') {
            Some((name, nth)) => (name, nth.parse().ok()),
            None => (text, None),
        };
        let (service, operation) = name.split_once(':').unwrap_or((name, "*"));
        Ok(Self { nth, ..Self::new(service, operation) })
    }
}

impl From<&str> for Matcher {
    fn from(text: &str) -> Self {
        let Ok(matcher) = text.parse();
        matcher
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.service, self.operation)?;
        self.nth.map_or(Ok(()), |nth| write!(formatter, "#{nth}"))
    }
}
