//! An object as it lies in its bucket, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use crate::upload::RUN;

/// What S3 says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    pub bytes: u64,
    /// With its quotes, as S3 gives and takes it.
    pub etag: String,
    /// Its version, in a bucket that keeps versions.
    pub version: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub modified: OffsetDateTime,
    /// CRC-64/NVME of the whole object in base64, where the store keeps one.
    pub crc64nvme: Option<String>,
    /// `Content-Type` and the other system metadata that a writer can set, by header name.
    pub headers: BTreeMap<String, String>,
    #[serde(serialize_with = "names")]
    pub metadata: BTreeMap<String, String>,
    /// Absent where they were not asked for.
    #[serde(serialize_with = "names_if_any")]
    pub tags: Option<BTreeMap<String, String>>,
    pub storage_class: String,
    /// `AES256`, `aws:kms`, `aws:kms:dsse`, or none.
    pub encryption: Option<String>,
    pub kms_key: Option<String>,
    pub bucket_key: Option<bool>,
    /// Why it can't be read at once, where it lies in an archive.
    pub archived: Option<String>,
}

impl Object {
    /// One of which nothing is known but its size and `ETag`: of standard storage, and as old as time.
    pub fn bare(bytes: u64, etag: &str) -> Self {
        Self {
            bytes,
            etag: etag.to_owned(),
            version: None,
            modified: OffsetDateTime::UNIX_EPOCH,
            crc64nvme: None,
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            tags: None,
            storage_class: "STANDARD".to_owned(),
            encryption: None,
            kms_key: None,
            bucket_key: None,
            archived: None,
        }
    }

    /// Whether this very run wrote it.
    pub fn written_by(&self, run: &str) -> bool {
        self.metadata.get(RUN).is_some_and(|value| value == run)
    }

    /// Whether it lies under a key of KMS.
    pub fn is_kms(&self) -> bool {
        self.encryption.as_deref().is_some_and(|algorithm| algorithm.starts_with("aws:kms"))
    }

    /// Whether the `ETag` is the MD5 of the content: not of one written in parts, nor under a key of KMS.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>
    pub fn etag_is_md5(&self) -> bool {
        !self.is_kms() && !self.etag.contains('-')
    }

    /// What it is, for a person.
    pub fn in_words(&self) -> String {
        let version = self.version.as_ref().map(|id| format!(", version {id}")).unwrap_or_default();
        format!("{}, {}, ETag {}{version}", kit::size(self.bytes), kit::minute(self.modified), self.etag)
    }
}

/// Receipts and plans name what an object carries, and leave its values out: metadata can hold secrets.
pub fn names<S: Serializer>(map: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(map.keys())
}

/// [`names`], of what may not have been asked for.
pub fn names_if_any<S: Serializer>(map: &Option<BTreeMap<String, String>>, to: S) -> Result<S::Ok, S::Error> {
    map.as_ref().map(|map| map.keys().collect::<Vec<_>>()).serialize(to)
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    pub etag: String,
    #[serde(with = "time::serde::rfc3339")]
    pub modified: OffsetDateTime,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    pub key: String,
    pub id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub begun: OffsetDateTime,
    /// Whoever began it, as S3 names them.
    pub by: String,
}
