//! Buckets, objects and their versions, and uploads in parts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use s3s::{S3Result, s3_error};
use time::OffsetDateTime;

use super::body::Body;
use super::conditions::{Writing, conflict, no_such_key};
use super::sums::{Algorithm, Checksum, Kind};

#[derive(Default)]
pub(super) struct Store {
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) uploads: BTreeMap<String, Upload>,
    ids: u64,
}

impl Store {
    /// An identifier that sorts behind all earlier ones.
    pub(super) fn next_id(&mut self, what: &str) -> String {
        self.ids += 1;
        format!("{what}-{:08}", self.ids)
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Versioning {
    #[default]
    Off,
    Enabled,
    Suspended,
}

pub(super) struct Bucket {
    pub(super) region: String,
    pub(super) owner: String,
    pub(super) created: OffsetDateTime,
    pub(super) versioning: Versioning,
    /// Whose requests are let in; `None` lets everybody in.
    pub(super) access_keys: Option<Vec<String>>,
    /// The versions of each key, the newest last.
    pub(super) keys: BTreeMap<String, Vec<Version>>,
    /// How often each key was deleted.
    deletions: HashMap<String, u64>,
}

pub(super) const NULL: &str = "null";

#[derive(Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) modified: OffsetDateTime,
    /// `None` is a delete marker.
    pub(super) object: Option<Arc<Object>>,
}

/// What a request says about an object beside its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) expires: Option<OffsetDateTime>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) tags: Vec<(String, String)>,
    /// `None` is STANDARD.
    pub(super) storage_class: Option<String>,
    /// `None` is AES256, which S3 applies to everything.
    pub(super) encryption: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) redirect: Option<String>,
}

#[derive(Clone)]
pub(super) struct Object {
    pub(super) body: Body,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) facts: Facts,
    pub(super) checksum: Option<Checksum>,
    /// Empty where it was put in one piece.
    pub(super) parts: Vec<PartFacts>,
}

#[derive(Clone)]
pub(super) struct PartFacts {
    pub(super) number: u32,
    pub(super) size: u64,
    /// There where the checksum is a composite.
    pub(super) checksum: Option<(Algorithm, Vec<u8>)>,
}

#[derive(Clone)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) initiated: OffsetDateTime,
    pub(super) facts: Facts,
    /// What was asked for; without it the object has a CRC64NVME and the parts show none.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) kind: Kind,
    pub(super) parts: BTreeMap<u32, Part>,
}

impl Upload {
    /// The algorithm by which the parts are summed.
    pub(super) fn summed_by(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::Crc64Nvme)
    }
}

#[derive(Clone)]
pub(super) struct Part {
    pub(super) body: Body,
    pub(super) md5: Vec<u8>,
    pub(super) etag: String,
    pub(super) checksum: Vec<u8>,
    pub(super) modified: OffsetDateTime,
}

/// What became of a deletion.
pub(super) struct Deleted {
    /// The version deleted, or the marker made.
    pub(super) version: Option<String>,
    pub(super) is_marker: bool,
}

impl Bucket {
    pub(super) fn new(region: &str, owner: &str, created: OffsetDateTime) -> Self {
        Self {
            region: region.to_owned(),
            owner: owner.to_owned(),
            created,
            versioning: Versioning::Off,
            access_keys: None,
            keys: BTreeMap::new(),
            deletions: HashMap::new(),
        }
    }

    pub(super) fn newest(&self, key: &str) -> Option<&Version> {
        self.keys.get(key)?.last()
    }

    /// The current object with its version.
    pub(super) fn current(&self, key: &str) -> Option<(&Version, &Arc<Object>)> {
        let version = self.newest(key)?;
        Some((version, version.object.as_ref()?))
    }

    pub(super) fn current_etag(&self, key: &str) -> Option<&str> {
        self.current(key).map(|(_, object)| object.etag.as_str())
    }

    /// The version asked for, or the current one.
    pub(super) fn version(&self, key: &str, id: Option<&str>) -> S3Result<&Version> {
        let Some(id) = id else { return self.newest(key).ok_or_else(no_such_key) };
        let found = self.keys.get(key).and_then(|versions| versions.iter().find(|version| version.id == id));
        found.ok_or_else(|| s3_error!(NoSuchVersion, "The specified version does not exist."))
    }

    pub(super) fn deletions(&self, key: &str) -> u64 {
        self.deletions.get(key).copied().unwrap_or_default()
    }

    /// Judges a conditional write. `deletions` is what [`Bucket::deletions`] was when the write began: a deletion since then
    /// is a conflict.
    pub(super) fn may_write(&self, key: &str, conditions: &Writing, deletions: u64) -> S3Result {
        if conditions.is_given() && self.deletions(key) != deletions {
            return Err(conflict());
        }
        conditions.judge(self.current_etag(key))
    }

    /// Makes the object the current one; the version's id where there are versions.
    pub(super) fn put(
        &mut self,
        key: &str,
        id: String,
        object: Object,
        modified: OffsetDateTime,
    ) -> Option<String> {
        self.add(key, id, Some(Arc::new(object)), modified)
    }

    fn add(
        &mut self,
        key: &str,
        id: String,
        object: Option<Arc<Object>>,
        modified: OffsetDateTime,
    ) -> Option<String> {
        let versions = self.keys.entry(key.to_owned()).or_default();
        let id = if self.versioning == Versioning::Enabled { id } else { NULL.to_owned() };
        if id == NULL {
            versions.retain(|version| version.id != NULL);
        }
        versions.push(Version { id: id.clone(), modified, object });
        (self.versioning != Versioning::Off).then_some(id)
    }

    /// Deletes a version, or the key: in a bucket with versions that makes a marker.
    pub(super) fn delete(
        &mut self,
        key: &str,
        version: Option<&str>,
        new_id: String,
        now: OffsetDateTime,
    ) -> Deleted {
        *self.deletions.entry(key.to_owned()).or_default() += 1;
        if let Some(id) = version {
            let Some(versions) = self.keys.get_mut(key) else {
                return Deleted { version: Some(id.to_owned()), is_marker: false };
            };
            let is_marker = versions.iter().any(|version| version.id == id && version.object.is_none());
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
            return Deleted { version: Some(id.to_owned()), is_marker };
        }
        if self.versioning == Versioning::Off {
            self.keys.remove(key);
            return Deleted { version: None, is_marker: false };
        }
        Deleted { version: self.add(key, new_id, None, now), is_marker: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(etag: &str) -> Object {
        Object {
            body: Body::default(),
            etag: etag.to_owned(),
            facts: Facts::default(),
            checksum: None,
            parts: Vec::new(),
        }
    }

    fn ids(bucket: &Bucket) -> Vec<&str> {
        bucket.keys.get("k").into_iter().flatten().map(|version| version.id.as_str()).collect()
    }

    #[test]
    fn versions_come_and_go() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut bucket = Bucket::new("us-east-1", "123456789012", now);
        assert_eq!(bucket.put("k", "v1".into(), object("a"), now), None);
        bucket.versioning = Versioning::Enabled;
        assert_eq!(bucket.put("k", "v2".into(), object("b"), now).as_deref(), Some("v2"));
        let deleted = bucket.delete("k", None, "v3".into(), now);
        assert!(deleted.is_marker && deleted.version.as_deref() == Some("v3"));
        assert_eq!(ids(&bucket), [NULL, "v2", "v3"]);
        assert_eq!(bucket.current_etag("k"), None);
        bucket.delete("k", Some("v3"), "v4".into(), now);
        assert_eq!(bucket.current_etag("k"), Some("b"));
        bucket.versioning = Versioning::Suspended;
        assert_eq!(bucket.put("k", "v5".into(), object("c"), now).as_deref(), Some(NULL));
        assert_eq!(ids(&bucket), ["v2", NULL]);
        assert!(bucket.version("k", Some("v1")).is_err());
    }

    #[test]
    fn a_deletion_while_a_conditional_write_is_on_its_way_is_a_conflict() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut bucket = Bucket::new("us-east-1", "123456789012", now);
        bucket.put("k", "v1".into(), object("a"), now);
        let began = bucket.deletions("k");
        bucket.delete("k", None, "v2".into(), now);
        let new = Writing { if_none_match: "*".parse().ok(), ..Writing::default() };
        assert!(bucket.may_write("k", &new, began).is_err());
        assert!(bucket.may_write("k", &Writing::default(), began).is_ok());
        assert!(bucket.may_write("k", &new, bucket.deletions("k")).is_ok());
    }
}
