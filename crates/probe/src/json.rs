//! What should stand in a body's JSON, and whether it does. Pure.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use crate::expect::cut;

/// RFC 6901, section 3: a pointer is empty or begins with a slash, and `~` is followed by 0 or 1.
fn check_pointer(pointer: &str) -> Result<(), String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("the JSON pointer {pointer:?} does not begin with /; write /{pointer}"));
    }
    if !pointer.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1')) {
        return Err(format!(
            "the JSON pointer {pointer:?} has a ~ that is not followed by 0 or 1; write ~0 for ~ and ~1 for /"
        ));
    }
    Ok(())
}

pub(crate) fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the whole JSON" } else { pointer }
}

/// A value at a place of the body's JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JsonIs {
    pub pointer: String,
    want: String,
}

impl FromStr for JsonIs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pointer, want) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} has no value; write POINTER=VALUE as in /version=2.1.0"))?;
        check_pointer(pointer)?;
        Ok(Self { pointer: pointer.to_owned(), want: want.to_owned() })
    }
}

impl JsonIs {
    pub fn place(&self) -> &str {
        place(&self.pointer)
    }

    /// The wanted value as it is shown: JSON stays as it is, anything else is a string.
    pub fn wanted(&self) -> String {
        match serde_json::from_str::<Value>(&self.want) {
            Ok(_) => self.want.clone(),
            Err(_) => Value::from(self.want.as_str()).to_string(),
        }
    }

    fn holds(&self, seen: &Value) -> bool {
        seen.as_str() == Some(&self.want)
            || serde_json::from_str::<Value>(&self.want).is_ok_and(|want| equal(&want, seen))
    }

    pub fn unmet(&self, body: &Value) -> Option<String> {
        let (place, want) = (self.place(), self.wanted());
        match body.pointer(&self.pointer) {
            Some(seen) if self.holds(seen) => None,
            Some(seen) => Some(format!("{place} is {}, want {want}", cut(&seen.to_string()))),
            None => Some(format!("{place} is absent, want {want}")),
        }
    }
}

/// JSON has one kind of number: `1` and `1.0` are equal.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// How many members an array or object at a place of the body's JSON has at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountIs {
    pub pointer: String,
    least: usize,
}

impl FromStr for CountIs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no count; write POINTER=N as in /jobs=12");
        let (pointer, least) = text.rsplit_once('=').ok_or_else(wrong)?;
        check_pointer(pointer)?;
        Ok(Self { pointer: pointer.to_owned(), least: least.parse().map_err(|_| wrong())? })
    }
}

impl CountIs {
    /// How many there are; none where there is nothing that has members.
    pub fn of(&self, body: &Value) -> Option<usize> {
        match body.pointer(&self.pointer)? {
            Value::Array(members) => Some(members.len()),
            Value::Object(members) => Some(members.len()),
            _ => None,
        }
    }

    pub fn wanted(&self) -> String {
        format!("{} has {} or more", place(&self.pointer), self.least)
    }

    pub fn unmet(&self, body: &Value) -> Option<String> {
        let (place, least) = (place(&self.pointer), self.least);
        match (self.of(body), body.pointer(&self.pointer)) {
            (Some(count), _) if count >= least => None,
            (Some(count), _) => Some(format!("{place} has {count}, want {least} or more")),
            (None, Some(seen)) => Some(format!(
                "{place} is {}, want an array or object of {least} or more",
                cut(&seen.to_string())
            )),
            (None, None) => Some(format!("{place} is absent, want {least} or more")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of Jenkins' `/api/json?tree=jobs[name]` (<https://www.jenkins.io/doc/book/using/remote-access-api/>).
    #[test]
    fn members_are_counted_and_nothing_else_is() {
        let jenkins: Value = serde_json::from_str(
            r#"{"_class":"hudson.model.Hudson","jobs":[{"name":"build"},{"name":"deploy"}],"views":{"all":1},"mode":"NORMAL"}"#,
        )
        .unwrap();
        for (count, unmet) in [
            ("/jobs=2", None),
            ("/jobs=0", None),
            ("/views=1", None),
            ("=4", None),
            ("/jobs=3", Some("/jobs has 2, want 3 or more")),
            ("/mode=1", Some("/mode is \"NORMAL\", want an array or object of 1 or more")),
            ("/folders=1", Some("/folders is absent, want 1 or more")),
        ] {
            let found = count.parse::<CountIs>().unwrap().unmet(&jenkins);
            assert_eq!(found.as_deref(), unmet, "{count}");
        }
        for bad in ["/jobs", "/jobs=", "/jobs=-1", "/jobs=two", "jobs=1", "/a~b=1"] {
            assert!(bad.parse::<CountIs>().is_err(), "{bad}");
        }
    }
}
