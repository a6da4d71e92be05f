//! Buckets, and the lists of what is in them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    self, BucketVersioningStatus, CommonPrefix, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteMarkerEntry, EncodingType, HeadBucketInput, HeadBucketOutput, ListBucketsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ObjectVersion,
};
use s3s::{S3Request, S3Result, s3_error};

use super::listing::{After, Entry, page};
use super::objects::{quoted, signed, small};
use super::store::{Bucket, Store, Versioning};
use super::{Caller, World, invalid_argument, not_played};

/// What `encoding-type=url` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// A key as it is listed.
pub(super) fn encoded(key: &str, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(encoding) if encoding.as_str() == "url" => utf8_percent_encode(key, PLAIN).to_string(),
        _ => key.to_owned(),
    }
}

/// A page of a bucket's current objects.
struct Listed {
    contents: Vec<dto::Object>,
    prefixes: Vec<CommonPrefix>,
    next: Option<After>,
}

fn listed(
    bucket: &Bucket,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&After>,
    limit: usize,
    encoding: Option<&EncodingType>,
) -> Listed {
    let current = bucket.keys.keys().filter(|key| bucket.current(key).is_some()).map(String::as_str);
    let (entries, next) = page(current, prefix, delimiter, after, limit);
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(CommonPrefix { prefix: Some(encoded(prefix, encoding)) }),
            Entry::Key(key) => contents.extend(bucket.current(key).map(|(version, object)| {
                let checksum = object.checksum.as_ref();
                dto::Object {
                    checksum_algorithm: checksum.map(|sum| vec![sum.algorithm.name().to_owned().into()]),
                    checksum_type: checksum.map(|sum| sum.kind.name().to_owned().into()),
                    e_tag: Some(quoted(&object.etag)),
                    key: Some(encoded(key, encoding)),
                    last_modified: Some(version.modified.into()),
                    size: Some(signed(object.body.length())),
                    storage_class: Some(
                        object.facts.storage_class.clone().unwrap_or("STANDARD".to_owned()).into(),
                    ),
                    ..dto::Object::default()
                }
            })),
        }
    }
    Listed { contents, prefixes, next }
}

impl World {
    pub(super) fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<CreateBucketOutput> {
        let input = request.input;
        let configuration = input.create_bucket_configuration.as_ref();
        let constraint = configuration.and_then(|configuration| configuration.location_constraint.as_ref());
        let region = constraint.map_or(self.options.region.as_str(), |region| region.as_str());
        let now = self.now();
        let mut store = self.store();
        if let Some(bucket) = store.buckets.get(&input.bucket) {
            // Everywhere but in the oldest region: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
            if bucket.owner == self.options.account && bucket.region == "us-east-1" {
                return Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) });
            }
            return Err(if bucket.owner == self.options.account {
                s3_error!(
                    BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already own it."
                )
            } else {
                s3_error!(
                    BucketAlreadyExists,
                    "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                     system. Please select a different name and try again."
                )
            });
        }
        let bucket = Bucket::new(region, &self.options.account, now);
        store.buckets.insert(input.bucket.clone(), bucket);
        Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
    }

    pub(super) fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Result {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let name = request.input.bucket;
        let mut store = self.store();
        if !store.bucket(&name, &caller)?.keys.is_empty() {
            return Err(s3_error!(BucketNotEmpty, "The bucket you tried to delete is not empty"));
        }
        store.buckets.remove(&name);
        Ok(())
    }

    pub(super) fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<HeadBucketOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let region = self.store().bucket(&request.input.bucket, &caller)?.region.clone();
        Ok(HeadBucketOutput { bucket_region: Some(region), ..HeadBucketOutput::default() })
    }

    pub(super) fn list_buckets(&self) -> ListBucketsOutput {
        let store = self.store();
        let buckets = store.buckets.iter().map(|(name, bucket)| dto::Bucket {
            bucket_region: Some(bucket.region.clone()),
            creation_date: Some(bucket.created.into()),
            name: Some(name.clone()),
        });
        ListBucketsOutput { buckets: Some(buckets.collect()), ..ListBucketsOutput::default() }
    }

    pub(super) fn bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<dto::GetBucketLocationOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let region = self.store().bucket(&request.input.bucket, &caller)?.region.clone();
        // The oldest region has no name there.
        let constraint = (region != "us-east-1").then(|| region.into());
        Ok(dto::GetBucketLocationOutput { location_constraint: constraint })
    }

    pub(super) fn bucket_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> S3Result<dto::GetBucketVersioningOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let status = match self.store().bucket(&request.input.bucket, &caller)?.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some("Enabled".to_owned().into()),
            Versioning::Suspended => Some("Suspended".to_owned().into()),
        };
        Ok(dto::GetBucketVersioningOutput { status, ..dto::GetBucketVersioningOutput::default() })
    }

    pub(super) fn set_bucket_versioning(
        &self,
        request: S3Request<dto::PutBucketVersioningInput>,
    ) -> S3Result<dto::PutBucketVersioningOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let status = input.versioning_configuration.status;
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => {
                return Err(s3_error!(
                    IllegalVersioningConfigurationException,
                    "The Versioning element must be specified"
                ));
            }
        };
        self.store().bucket_mut(&input.bucket, &caller)?.versioning = versioning;
        Ok(dto::PutBucketVersioningOutput::default())
    }

    pub(super) fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Some(
                After::of_token(token)
                    .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
            ),
            (None, start) => start.clone().map(After::Key),
        };
        let store = self.store();
        let bucket = store.bucket(&input.bucket, &caller)?;
        let (prefix, limit) = (input.prefix.clone().unwrap_or_default(), self.limit(input.max_keys));
        let encoding = input.encoding_type.as_ref();
        let page = listed(bucket, &prefix, input.delimiter.as_deref(), after.as_ref(), limit, encoding);
        Ok(ListObjectsV2Output {
            key_count: Some(small(page.contents.len() + page.prefixes.len())),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(After::token),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            continuation_token: input.continuation_token,
            delimiter: input.delimiter.as_deref().map(|text| encoded(text, encoding)),
            max_keys: Some(small(limit)),
            name: Some(input.bucket),
            prefix: Some(encoded(&prefix, encoding)),
            start_after: input.start_after.as_deref().map(|text| encoded(text, encoding)),
            encoding_type: encoding.cloned(),
            ..ListObjectsV2Output::default()
        })
    }

    pub(super) fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<ListObjectsOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let delimiter = input.delimiter.as_deref();
        // A marker that ends with the delimiter is the common prefix on which the last page ended.
        let after = input.marker.clone().filter(|marker| !marker.is_empty()).map(|marker| {
            if delimiter.is_some_and(|text| !text.is_empty() && marker.ends_with(text)) {
                After::Prefix(marker)
            } else {
                After::Key(marker)
            }
        });
        let store = self.store();
        let bucket = store.bucket(&input.bucket, &caller)?;
        let (prefix, limit) = (input.prefix.clone().unwrap_or_default(), self.limit(input.max_keys));
        let encoding = input.encoding_type.as_ref();
        let page = listed(bucket, &prefix, delimiter, after.as_ref(), limit, encoding);
        let next = page.next.map(|next| match next {
            After::Key(text) | After::Prefix(text) => encoded(&text, encoding),
        });
        Ok(ListObjectsOutput {
            is_truncated: Some(next.is_some()),
            next_marker: next,
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            delimiter: delimiter.map(|text| encoded(text, encoding)),
            marker: Some(encoded(input.marker.as_deref().unwrap_or_default(), encoding)),
            max_keys: Some(small(limit)),
            name: Some(input.bucket),
            prefix: Some(encoded(&prefix, encoding)),
            encoding_type: encoding.cloned(),
            ..ListObjectsOutput::default()
        })
    }

    pub(super) fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<ListObjectVersionsOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(not_played("a delimiter in the list of versions"));
        }
        let store = self.store();
        let bucket = store.bucket(&input.bucket, &caller)?;
        let (prefix, limit) = (input.prefix.clone().unwrap_or_default(), self.limit(input.max_keys));
        let encoding = input.encoding_type.as_ref();
        let all: Vec<_> = Store::versions(bucket).filter(|(key, ..)| key.starts_with(&prefix)).collect();
        let start = match (&input.key_marker, &input.version_id_marker) {
            (None, _) => 0,
            (Some(marker), None) => all.partition_point(|(key, ..)| *key <= marker.as_str()),
            (Some(marker), Some(id)) => {
                let at = all.iter().position(|(key, version, _)| key == marker && version.id == *id);
                at.map_or_else(|| all.partition_point(|(key, ..)| *key <= marker.as_str()), |at| at + 1)
            }
        };
        let rest = all.get(start..).unwrap_or_default();
        let shown = rest.get(..limit).unwrap_or(rest);
        let is_truncated = rest.len() > shown.len();
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for (key, version, is_latest) in shown {
            let key = Some(encoded(key, encoding));
            match &version.object {
                Some(object) => versions.push(ObjectVersion {
                    e_tag: Some(quoted(&object.etag)),
                    is_latest: Some(*is_latest),
                    key,
                    last_modified: Some(version.modified.into()),
                    size: Some(signed(object.body.length())),
                    storage_class: Some(
                        object.facts.storage_class.clone().unwrap_or("STANDARD".to_owned()).into(),
                    ),
                    version_id: Some(version.id.clone()),
                    ..ObjectVersion::default()
                }),
                None => markers.push(DeleteMarkerEntry {
                    is_latest: Some(*is_latest),
                    key,
                    last_modified: Some(version.modified.into()),
                    version_id: Some(version.id.clone()),
                    ..DeleteMarkerEntry::default()
                }),
            }
        }
        let last = shown.last().filter(|_| is_truncated);
        Ok(ListObjectVersionsOutput {
            delete_markers: Some(markers),
            is_truncated: Some(is_truncated),
            key_marker: input.key_marker.as_deref().map(|text| encoded(text, encoding)),
            max_keys: Some(small(limit)),
            name: Some(input.bucket.clone()),
            next_key_marker: last.map(|(key, ..)| encoded(key, encoding)),
            next_version_id_marker: last.map(|(_, version, _)| version.id.clone()),
            prefix: Some(encoded(&prefix, encoding)),
            version_id_marker: input.version_id_marker.clone(),
            versions: Some(versions),
            encoding_type: encoding.cloned(),
            ..ListObjectVersionsOutput::default()
        })
    }
}
