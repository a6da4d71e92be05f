//! An object as it lies in its bucket, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

/// What S3 says of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    /// With its quotes, as S3 gives and takes it.
    pub(crate) etag: String,
    /// Its version, in a bucket that keeps versions.
    pub(crate) version: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) modified: OffsetDateTime,
    /// CRC-64/NVME of the whole object in base64, where the store keeps one.
    pub(crate) crc64nvme: Option<String>,
    /// `Content-Type` and the other system metadata that a writer can set, by header name.
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(serialize_with = "names")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Absent where they were not asked for.
    #[serde(serialize_with = "names_if_any")]
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) storage_class: String,
    /// `AES256`, `aws:kms`, `aws:kms:dsse`, or none.
    pub(crate) encryption: Option<String>,
    pub(crate) kms_key: Option<String>,
    pub(crate) bucket_key: Option<bool>,
    /// Why it can't be read at once, where it lies in an archive.
    pub(crate) archived: Option<String>,
}

impl Facts {
    pub(crate) fn is_kms(&self) -> bool {
        self.encryption.as_deref().is_some_and(|algorithm| algorithm.starts_with("aws:kms"))
    }

    /// Whether the `ETag` is the MD5 of the content: not of one written in parts, nor under a key of KMS.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>
    pub(crate) fn etag_is_md5(&self) -> bool {
        !self.is_kms() && !self.etag.contains('-')
    }

    /// What it is, for a person.
    pub(crate) fn in_words(&self) -> String {
        let version = self.version.as_ref().map(|id| format!(", version {id}")).unwrap_or_default();
        format!("{}, {}, ETag {}{version}", size(self.bytes), minute(self.modified), self.etag)
    }
}

/// Receipts and plans name what an object carries, and leave its values out: metadata can hold secrets.
pub(crate) fn names<S: Serializer>(map: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(map.keys())
}

/// [`names`], of what may not have been asked for.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(crate) fn names_if_any<S: Serializer>(
    map: &Option<BTreeMap<String, String>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    map.as_ref().map(|map| map.keys().collect::<Vec<_>>()).serialize(to)
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) modified: OffsetDateTime,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) begun: OffsetDateTime,
    /// Whoever began it, as S3 names them.
    pub(crate) by: String,
}

/// `2026-11-21 17:05:09 UTC`
pub(crate) fn minute(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", at.date())
}

/// Bytes as a person reads them, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut tenths = u128::from(bytes) * 10;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// An age, without the parts that nobody wants to read.
pub(crate) fn age(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}
