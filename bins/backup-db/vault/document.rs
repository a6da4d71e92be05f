//! The document that an export leaves last beside it, and the lines of the export itself.

use std::collections::BTreeMap;

use ::vault::Kv;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// The version of the format that this code writes, and the only one it reads.
pub(super) const SCHEMA: &str = "cutover-vault-export/1";

/// What such a document says that it is of.
pub(super) const KIND: &str = "vault-export";

/// What the key of an export ends in: lines of JSON in a file of age.
pub(super) const SUFFIX: &str = ".jsonl.age";

pub(super) fn manifest_of(key: &str) -> String {
    format!("{key}{}", postgres::manifest::SUFFIX)
}

/// An export that exists: written when it was read back and Vault was found unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Export {
    pub(super) schema: String,
    pub(super) kind: String,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version_id: Option<String>,
    /// Vault's own name of the cluster, and the one for people.
    pub(super) cluster_id: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) vault_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    pub(super) mount: String,
    pub(super) kv: Kv,
    /// How many secrets are in it.
    pub(super) secrets: usize,
    /// How many paths have none, since their newest version is deleted.
    pub(super) deleted: usize,
    /// The public keys.
    pub(super) recipients: Vec<String>,
    pub(super) backup_id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) ended: OffsetDateTime,
    pub(super) tool_version: String,
    pub(super) run: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) github: Option<BTreeMap<String, String>>,
}

impl Export {
    /// Reads the document of the export that lies at `key`.
    pub(super) fn parse(bytes: &[u8], bucket: &str, key: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(format!("its schema is {}, this version reads {SCHEMA}", kit::one_line(other)));
            }
            None => return Err(format!("it has no schema; that of an export has {SCHEMA}")),
        }
        let export: Self = serde_json::from_value(value)
            .map_err(|error| format!("it is not whole: {}", kit::one_line(&error.to_string())))?;
        if export.kind != KIND {
            return Err(format!("it says that it is of a {}", kit::one_line(&export.kind)));
        }
        // A copy that was made with its export would name the place from which it came.
        if (export.bucket.as_str(), export.key.as_str()) != (bucket, key) {
            let described = kit::one_line(&format!("s3://{}/{}", export.bucket, export.key));
            return Err(format!("it describes {described}, which is not what lies beside it"));
        }
        Ok(export)
    }
}

/// The first line of an export.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    pub(super) schema: &'a str,
    pub(super) cluster_id: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) mount: &'a str,
    pub(super) kv: Kv,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) taken: OffsetDateTime,
}

/// Each other line: a secret.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    /// As Vault wrote it.
    pub(super) data: &'a RawValue,
}

/// A line, with the end of it. JSON has line breaks as blanks alone: where Vault or a proxy wrote some, they become blanks, and a
/// secret stays one line.
pub(super) fn line(of: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(of)?;
    for byte in text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    text.push(b'\n');
    Ok(text)
}
