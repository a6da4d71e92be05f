//! Judges whether one object is a copy of another: pure.

use std::collections::{BTreeMap, BTreeSet};

use s3::{Object, names, names_if_any};
use serde::Serialize;

/// Whether two objects have the same content, as far as S3's own figures tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contents {
    /// By what it is known.
    Same(String),
    /// Why not.
    Different(String),
    /// Only reading both would tell.
    Unknown,
}

/// Compares sizes, then CRC-64/NVME of the whole object, which does not depend on how it was cut into parts, then MD5 where
/// the `ETag` is one.
pub(crate) fn contents(source: &Object, copy: &Object) -> Contents {
    if source.bytes != copy.bytes {
        return Contents::Different(format!("{} bytes against {}", source.bytes, copy.bytes));
    }
    let judge = |same: bool, by: &str| {
        if same { Contents::Same(by.to_owned()) } else { Contents::Different(format!("another {by}")) }
    };
    match (&source.crc64nvme, &copy.crc64nvme) {
        (Some(ours), Some(theirs)) => judge(ours == theirs, "CRC-64/NVME of the whole object"),
        _ if source.etag_is_md5() && copy.etag_is_md5() => judge(source.etag == copy.etag, "MD5"),
        _ => Contents::Unknown,
    }
}

/// How the copy should lie in its bucket beyond its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    /// Header name to value.
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(serialize_with = "names")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Absent where they are not carried over.
    #[serde(serialize_with = "names_if_any")]
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) storage_class: String,
    /// The algorithm and the key of KMS, where it is to be under one; else the bucket's default decides.
    pub(crate) kms: Option<(String, Option<String>)>,
}

impl Wanted {
    /// Of a file, of which only the type is known.
    pub(crate) fn of_file(content_type: String, kms_key: Option<&String>) -> Self {
        Self {
            headers: BTreeMap::from([("Content-Type".to_owned(), content_type)]),
            metadata: BTreeMap::new(),
            tags: None,
            storage_class: "STANDARD".to_owned(),
            kms: kms_key.map(|key| ("aws:kms".to_owned(), Some(key.clone()))),
        }
    }
}

/// What about the copy is not as wanted, one line each; values stay out of it: metadata can hold secrets.
pub(crate) fn attributes(wanted: &Wanted, copy: &Object) -> Vec<String> {
    let mut found = Vec::new();
    differing(&mut found, "", &wanted.headers, &copy.headers);
    differing(&mut found, "metadata ", &wanted.metadata, &copy.metadata);
    if let (Some(wanted), Some(there)) = (&wanted.tags, &copy.tags) {
        differing(&mut found, "tag ", wanted, there);
    }
    if wanted.storage_class != copy.storage_class {
        found.push(format!("storage class {} instead of {}", copy.storage_class, wanted.storage_class));
    }
    if let Some((algorithm, key)) = &wanted.kms {
        let is = copy.encryption.as_deref().unwrap_or("none");
        if is != algorithm {
            found.push(format!("encryption {is} instead of {algorithm}"));
        } else if key.as_deref().is_some_and(|key| !same_key(key, copy.kms_key.as_deref().unwrap_or(""))) {
            found.push("encrypted under another key".to_owned());
        }
    }
    found
}

/// A key's id and its ARN name the same key. S3 tells the key that an alias stood for, so that an alias can't be compared.
fn same_key(one: &str, other: &str) -> bool {
    if one.contains("alias/") {
        return true;
    }
    let id = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    one == other || (id(one) == id(other) && (!one.starts_with("arn:") || !other.starts_with("arn:")))
}

fn differing(
    found: &mut Vec<String>,
    kind: &str,
    wanted: &BTreeMap<String, String>,
    there: &BTreeMap<String, String>,
) {
    let names: BTreeSet<&String> = wanted.keys().chain(there.keys()).collect();
    for name in names {
        match (wanted.get(name), there.get(name)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(_), Some(_)) => found.push(format!("{kind}{name} has another value")),
            (Some(_), None) => found.push(format!("{kind}{name} is missing")),
            _ => found.push(format!("{kind}{name} is only on the copy")),
        }
    }
}
