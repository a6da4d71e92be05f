//! Copies, of whole objects and of parts.

use std::ops::Range;
use std::sync::Arc;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
    MetadataDirective, TaggingDirective, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Request, S3Result};
use time::OffsetDateTime;

use super::body::Body;
use super::conditions::{Reading, Writing};
use super::objects::{check_metadata, encryption, facts, no_acl, quoted, set_checksum, tags_of_header};
use super::store::{Facts, Object, Part, Version};
use super::sums::{Algorithm, Checksum, Hasher, Kind, base64};
use super::{Caller, World, internal, invalid_argument, invalid_request, not_played};

/// The sums of a body that is there already.
struct Sums {
    md5: Vec<u8>,
    checksum: Vec<u8>,
}

impl World {
    pub(super) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        // s3s does not read these two of CopyObject, which came to it in 2025.
        let header = |name: &str| {
            let text = request.headers.get(name)?.to_str().ok()?;
            text.parse::<ETagCondition>().ok()
        };
        let conditions = Writing { if_match: header("if-match"), if_none_match: header("if-none-match") };
        let input = request.input;
        let mut facts = facts!(input);
        let (deletions, id) = {
            let mut store = self.store();
            let deletions = store.bucket(&input.bucket, &caller)?.deletions(&input.key);
            (deletions, store.next_id("version"))
        };
        let reading = Reading {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since.map(OffsetDateTime::from),
            if_unmodified_since: input.copy_source_if_unmodified_since.map(OffsetDateTime::from),
        };
        let from = caller.towards(input.expected_source_bucket_owner.as_ref());
        let (version, source) = self.source(&input.copy_source, &from)?;
        reading.judge_source(&source.etag, version.modified)?;
        if source.body.length() > self.options.largest_copy {
            return Err(too_large(self.options.largest_copy));
        }
        let replaces = |directive: Option<&str>| directive.is_some_and(|directive| directive == "REPLACE");
        let replaces_metadata = replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str));
        let replaces_tags = replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str));
        let is_itself = names(&input.copy_source).is_some_and(|(bucket, key, version)| {
            bucket == input.bucket && key == input.key && version.is_none()
        });
        let changes = replaces_metadata
            || facts.storage_class != source.facts.storage_class
            || facts.redirect.is_some()
            || facts.encryption.is_some();
        if is_itself && !changes {
            return Err(invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        // The storage class, the redirect and the encryption are never taken over.
        if !replaces_metadata {
            facts = Facts {
                storage_class: facts.storage_class,
                redirect: facts.redirect,
                encryption: facts.encryption,
                kms_key: facts.kms_key,
                tags: facts.tags,
                ..source.facts.clone()
            };
        }
        if !replaces_tags {
            facts.tags.clone_from(&source.facts.tags);
        }
        let named = input.checksum_algorithm.as_ref().and_then(|name| Algorithm::named(name.as_str()));
        let algorithm = named
            .or_else(|| source.checksum.as_ref().map(|checksum| checksum.algorithm))
            .unwrap_or(Algorithm::Crc64Nvme);
        let (etag, value) = self.copied_sums(&source, algorithm, &id).await?;
        let object = Object {
            body: source.body.clone(),
            etag,
            checksum: Some(Checksum { algorithm, kind: Kind::FullObject, value }),
            facts,
            parts: Vec::new(),
        };
        let now = self.now();
        let mut result = CopyObjectResult {
            checksum_type: Some(Kind::FullObject.name().to_owned().into()),
            e_tag: Some(quoted(&object.etag)),
            last_modified: Some(now.into()),
            ..CopyObjectResult::default()
        };
        if let Some(checksum) = &object.checksum {
            set_checksum!(result, algorithm, checksum.value.clone());
        }
        let mut output = CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: self.source_version(&input.copy_source, &version),
            server_side_encryption: Some(encryption(&object.facts).into()),
            ssekms_key_id: object.facts.kms_key.clone(),
            ..CopyObjectOutput::default()
        };
        let mut store = self.store();
        let bucket = store.bucket_mut(&input.bucket, &caller)?;
        bucket.may_write(&input.key, &conditions, deletions)?;
        output.version_id = bucket.put(&input.key, id, object, now);
        Ok(output)
    }

    /// Entity tag and checksum of a whole object that is written in one piece. Those of the source serve where they are of its
    /// bytes.
    async fn copied_sums(
        &self,
        source: &Arc<Object>,
        algorithm: Algorithm,
        unique: &str,
    ) -> S3Result<(String, String)> {
        let checksum = source.checksum.as_ref();
        let known = checksum.filter(|sum| sum.algorithm == algorithm && sum.kind == Kind::FullObject);
        if let Some(known) = known
            && source.parts.is_empty()
        {
            return Ok((source.etag.clone(), known.value.clone()));
        }
        let sums = self.sums(source.body.clone(), algorithm, unique).await?;
        Ok((kit::hex(&sums.md5), base64(&sums.checksum)))
    }

    pub(super) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        if input.sse_customer_algorithm.is_some() {
            return Err(not_played("keys of the customer's own"));
        }
        let number = self.part_number(input.part_number)?;
        let upload = self.upload(&input.bucket, &input.key, &input.upload_id, &caller)?;
        let reading = Reading {
            if_match: input.copy_source_if_match,
            if_none_match: input.copy_source_if_none_match,
            if_modified_since: input.copy_source_if_modified_since.map(OffsetDateTime::from),
            if_unmodified_since: input.copy_source_if_unmodified_since.map(OffsetDateTime::from),
        };
        let from = caller.towards(input.expected_source_bucket_owner.as_ref());
        let (version, source) = self.source(&input.copy_source, &from)?;
        reading.judge_source(&source.etag, version.modified)?;
        let range =
            input.copy_source_range.as_deref().map(|text| range(text, source.body.length())).transpose()?;
        let range = range.unwrap_or(0..source.body.length());
        if range.end - range.start > self.options.largest_copy {
            return Err(too_large(self.options.largest_copy));
        }
        let algorithm = upload.summed_by();
        let body = source.body.slice(range);
        let unique = format!("{}/{number}/{}", input.upload_id, self.store().next_id("part"));
        let sums = self.sums(body.clone(), algorithm, &unique).await?;
        let now = self.now();
        let mut result = CopyPartResult {
            e_tag: Some(quoted(&kit::hex(&sums.md5))),
            last_modified: Some(now.into()),
            ..CopyPartResult::default()
        };
        if upload.algorithm.is_some() {
            set_checksum!(result, algorithm, base64(&sums.checksum));
        }
        let part =
            Part { body, etag: kit::hex(&sums.md5), md5: sums.md5, checksum: sums.checksum, modified: now };
        self.add_part(&input.upload_id, number, part)?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: self.source_version(&input.copy_source, &version),
            server_side_encryption: Some(encryption(&upload.facts).into()),
            ..UploadPartCopyOutput::default()
        })
    }

    fn source(&self, source: &CopySource, caller: &Caller) -> S3Result<(Version, Arc<Object>)> {
        let (bucket, key, id) = names(source).ok_or_else(|| not_played("access points"))?;
        self.found(bucket, key, id, caller).map_err(|error| {
            if *error.code() != s3s::S3ErrorCode::MethodNotAllowed {
                return error;
            }
            invalid_request(
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            )
        })
    }

    fn source_version(&self, source: &CopySource, version: &Version) -> Option<String> {
        let (bucket, ..) = names(source)?;
        let store = self.store();
        let is_versioned = store.buckets.get(bucket)?.versioning != super::store::Versioning::Off;
        is_versioned.then(|| version.id.clone())
    }

    /// Reads a body that is there, on a thread of its own.
    async fn sums(&self, body: Body, algorithm: Algorithm, unique: &str) -> S3Result<Sums> {
        if body.is_forgotten() {
            return Err(not_played("copying bodies that it was told to discard"));
        }
        let (wants_md5, unique) = (self.options.md5, unique.to_owned());
        let summed = tokio::task::spawn_blocking(move || {
            let (mut md5, mut hasher) = (Md5::new(), Hasher::new(algorithm));
            if !wants_md5 {
                md5.update(unique.as_bytes());
            }
            for data in body.chunks() {
                let data = data?;
                hasher.update(&data);
                if wants_md5 {
                    md5.update(&data);
                }
            }
            Ok(Sums { md5: md5.finalize().to_vec(), checksum: hasher.finish() })
        });
        summed.await.map_err(|error| internal(std::io::Error::other(error)))?.map_err(internal)
    }
}

fn names(source: &CopySource) -> Option<(&str, &str, Option<&str>)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => Some((bucket, key, version_id.as_deref())),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => None,
    }
}

/// `bytes=first-last`, both in the source.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
fn range(text: &str, length: u64) -> S3Result<Range<u64>> {
    let ends = text.strip_prefix("bytes=").and_then(|ends| ends.split_once('-'));
    let ends = ends.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    let Some((first, last)) = ends.filter(|(first, last)| first <= last) else {
        return Err(invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        ));
    };
    if last >= length {
        return Err(invalid_argument(format!(
            "Range specified is not valid for source object of size: {length}"
        )));
    }
    Ok(first..last + 1)
}

fn too_large(limit: u64) -> s3s::S3Error {
    invalid_request(format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {limit}"
    ))
}
