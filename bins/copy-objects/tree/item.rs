//! What is listed on either side, and what was found when both were compared.

use serde::{Deserialize, Serialize};

/// An object or a file, as a listing gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// Below the prefix or the folder.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// Of an object, with its quotes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) etag: String,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    /// The storage class of an object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) class: String,
}

impl Item {
    /// What precedes the last slash, which is where an object is the newest or not.
    pub(crate) fn folder(&self) -> &str {
        self.key.rfind('/').and_then(|slash| self.key.get(..slash)).unwrap_or_default()
    }

    /// Whether its `ETag` can be the MD5 of its content.
    pub(crate) fn has_md5(&self) -> bool {
        !self.etag.is_empty() && !self.etag.contains('-')
    }
}

/// What is to be done about one of the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// It is there.
    Keep,
    /// Nothing is there.
    Copy,
    /// Another object is there.
    Replace,
}

/// A line of the manifest: one of the source's, in the order of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) item: Item,
    pub(crate) work: Work,
    /// The `ETag` of what is at its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) there: Option<String>,
    /// Of a file that is kept for good and is there already: SHA-256 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

/// A line about one that was written, in the order in which they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Of a file that is kept for good: SHA-256 in lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

/// How many, and how large together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    pub(crate) fn in_words(self) -> String {
        let noun = if self.objects == 1 { "object" } else { "objects" };
        format!("{} {noun} ({})", self.objects, kit::size(self.bytes))
    }
}

/// Names of which only the first few are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Names {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl Names {
    const KEPT: usize = 20;

    pub(crate) fn add(&mut self, name: impl Into<String>) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(name.into());
        }
    }

    /// Adds them to a failure, a line each.
    pub(crate) fn tell(&self, mut failure: kit::Failure, what: &str) -> kit::Failure {
        for name in &self.first {
            failure = failure.state(format!("{what}: {name}"));
        }
        match self.count.saturating_sub(self.first.len() as u64) {
            0 => failure,
            more => failure.state(format!("{what}: and {more} more")),
        }
    }
}

/// A key as it can be printed: control characters would move the cursor or end the line.
pub(crate) fn shown(key: &str) -> String {
    if key.chars().any(char::is_control) { key.escape_debug().to_string() } else { key.to_owned() }
}
