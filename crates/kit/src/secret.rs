//! Secrets: values that can't be formatted, and that every output redacts.

use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use secrecy::{ExposeSecret as _, SecretString};

/// A secret's value. It has no `Debug` or `Display` of its value, and from the moment it exists each report, receipt
/// and annotation of the process shows `***` in its place.
#[derive(Clone)]
pub struct Secret(SecretString);

fn known() -> &'static Mutex<Vec<String>> {
    static KNOWN: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    KNOWN.get_or_init(Mutex::default)
}

impl Secret {
    /// Takes a value in and registers it, and the forms in which it tends to leak (base64, URL-encoded), for
    /// redaction. Values of fewer than four characters are not registered: they would turn every log to `***`.
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        let mut forms = vec![value.clone(), base64::engine::general_purpose::STANDARD.encode(&value)];
        forms.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
        forms.push(percent_encode(&value));
        forms.extend(value.lines().map(str::to_owned));
        let mut known = known().lock().unwrap_or_else(PoisonError::into_inner);
        for form in forms {
            if form.chars().count() >= 4 && !known.contains(&form) {
                known.push(form);
            }
        }
        // Longest first, so that a secret that contains another is redacted whole.
        known.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Self(SecretString::from(value))
    }

    /// The value, for the one place that must send it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// RFC 3986 userinfo as connection URLs carry it: all but unreserved characters encoded.
fn percent_encode(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `text` with every registered secret replaced by `***`.
pub fn redact(text: &str) -> String {
    let known = known().lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

/// Every registered form, for `::add-mask::`.
pub(crate) fn masks() -> Vec<String> {
    known().lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// [`redact`] over every string of a JSON value, keys included.
pub(crate) fn redact_json(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(redact(&text)),
        Value::Array(items) => items.into_iter().map(redact_json).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(key, value)| (redact(&key), redact_json(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_redacted_in_each_form_it_leaks_in() {
        let secret = Secret::new("p@ss w0rd/1");
        assert_eq!(redact("postgres://u:p%40ss%20w0rd%2F1@h/db"), "postgres://u:***@h/db");
        assert_eq!(redact("basic cEBzcyB3MHJkLzE= sent"), "basic *** sent");
        assert_eq!(redact("password is p@ss w0rd/1."), "password is ***.");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(redact_json(serde_json::json!({"a": ["p@ss w0rd/1"]})), serde_json::json!({"a": ["***"]}));
    }
}
