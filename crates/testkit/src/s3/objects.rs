//! Objects put, read, deleted and tagged.

use std::ops;
use std::sync::Arc;

use futures::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::dto::{
    self, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETag, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, PutObjectInput, PutObjectOutput, Range, StreamingBlob, Tag, Timestamp,
};
use s3s::{Body as HttpBody, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use time::OffsetDateTime;

use super::body::Body;
use super::conditions::{Reading, Verdict, Writing, is_met, no_such_key, precondition_failed};
use super::receive::{Claimed, Claims, receive};
use super::store::{Bucket, Facts, Object, PartFacts, Store, Version};
use super::sums::{Algorithm, Checksum, Kind, base64};
use super::{Arrival, Caller, World, invalid_argument, invalid_request, not_played};

/// The checksums in the headers of a request, in Base64.
macro_rules! claimed {
    ($input:expr) => {
        [
            (Algorithm::Crc32, &$input.checksum_crc32),
            (Algorithm::Crc32c, &$input.checksum_crc32c),
            (Algorithm::Crc64Nvme, &$input.checksum_crc64nvme),
            (Algorithm::Sha1, &$input.checksum_sha1),
            (Algorithm::Sha256, &$input.checksum_sha256),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| Some((algorithm, value.clone()?)))
        .collect::<Vec<(Algorithm, String)>>()
    };
}

/// Sets the one checksum field of an answer.
macro_rules! set_checksum {
    ($output:expr, $algorithm:expr, $value:expr) => {
        match $algorithm {
            Algorithm::Crc32 => $output.checksum_crc32 = Some($value),
            Algorithm::Crc32c => $output.checksum_crc32c = Some($value),
            Algorithm::Crc64Nvme => $output.checksum_crc64nvme = Some($value),
            Algorithm::Sha1 => $output.checksum_sha1 = Some($value),
            Algorithm::Sha256 => $output.checksum_sha256 = Some($value),
        }
    };
}

/// What a request says about the object, and a refusal of what the double does not play.
macro_rules! facts {
    ($input:expr) => {{
        let input = &$input;
        if input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some() {
            return Err(not_played("object locks"));
        }
        if input.sse_customer_algorithm.is_some() {
            return Err(not_played("keys of the customer's own"));
        }
        let grants =
            [&input.grant_full_control, &input.grant_read, &input.grant_read_acp, &input.grant_write_acp];
        no_acl(input.acl.as_ref().map(|acl| acl.as_str()), grants.into_iter().any(Option::is_some))?;
        let facts = Facts {
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input.content_encoding.clone(),
            content_language: input.content_language.clone(),
            content_type: input.content_type.clone(),
            expires: input.expires.clone().map(OffsetDateTime::from),
            metadata: input.metadata.clone().unwrap_or_default(),
            tags: tags_of_header(input.tagging.as_deref())?,
            storage_class: input
                .storage_class
                .as_ref()
                .map(|class| class.as_str().to_owned())
                .filter(|class| class != "STANDARD"),
            encryption: input.server_side_encryption.as_ref().map(|kind| kind.as_str().to_owned()),
            kms_key: input.ssekms_key_id.clone(),
            redirect: input.website_redirect_location.clone(),
        };
        check_metadata(&facts)?;
        facts
    }};
}

pub(super) use {claimed, facts, set_checksum};

/// New buckets take no ACL but the one that gives the bucket's owner everything.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>
pub(super) fn no_acl(acl: Option<&str>, has_grants: bool) -> S3Result {
    if has_grants || acl.is_some_and(|acl| acl != "bucket-owner-full-control") {
        return Err(s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs"));
    }
    Ok(())
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
pub(super) fn check_metadata(facts: &Facts) -> S3Result {
    let size: usize = facts.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > 2048 {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size"
        ));
    }
    Ok(())
}

pub(super) fn tags_of_header(header: Option<&str>) -> S3Result<Vec<(String, String)>> {
    let tags = url::form_urlencoded::parse(header.unwrap_or_default().as_bytes()).into_owned().collect();
    check_tags(tags)
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>
fn check_tags(tags: Vec<(String, String)>) -> S3Result<Vec<(String, String)>> {
    if tags.len() > 10 {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("BadRequest".into()),
            "Object tags cannot be greater than 10",
        );
        error.set_status_code(http::StatusCode::BAD_REQUEST);
        return Err(error);
    }
    for (position, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if tags.iter().take(position).any(|(earlier, _)| earlier == key) {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

pub(super) fn quoted(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl World {
    pub(super) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
        body: &mut Option<StreamingBlob>,
    ) -> S3Result<PutObjectOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let facts = facts!(input);
        if input.write_offset_bytes.is_some() {
            return Err(not_played("appending"));
        }
        let conditions = Writing { if_match: input.if_match, if_none_match: input.if_none_match };
        let (deletions, id) = {
            let mut store = self.store();
            let deletions = store.bucket(&input.bucket, &caller)?.deletions(&input.key);
            (deletions, store.next_id("version"))
        };
        let claims = Claims {
            length: input.content_length,
            md5: input.content_md5,
            checksums: claimed!(input),
            arrival: request.extensions.get::<Arrival>().cloned().unwrap_or_default(),
        };
        let claimed = claims.checksum()?;
        let named = input.checksum_algorithm.as_ref().and_then(|name| Algorithm::named(name.as_str()));
        // S3 adds this one where there is none.
        let algorithm = claimed.as_ref().map_or(named.unwrap_or(Algorithm::Crc64Nvme), Claimed::algorithm);
        let received = receive(&self.options, body, &claims, claimed.as_ref(), algorithm, &id).await?;
        let object = Object {
            etag: kit::hex(&received.md5),
            checksum: Some(Checksum { algorithm, kind: Kind::FullObject, value: base64(&received.checksum) }),
            body: received.body,
            facts,
            parts: Vec::new(),
        };
        let mut output = PutObjectOutput {
            e_tag: Some(quoted(&object.etag)),
            checksum_type: Some(Kind::FullObject.name().to_owned().into()),
            server_side_encryption: Some(encryption(&object.facts).into()),
            ssekms_key_id: object.facts.kms_key.clone(),
            ..PutObjectOutput::default()
        };
        set_checksum!(output, algorithm, base64(&received.checksum));
        let now = self.now();
        let mut store = self.store();
        let bucket = store.bucket_mut(&input.bucket, &caller)?;
        bucket.may_write(&input.key, &conditions, deletions)?;
        output.version_id = bucket.put(&input.key, id, object, now);
        Ok(output)
    }

    pub(super) fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<HeadObjectOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let conditions = Reading {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.map(OffsetDateTime::from),
            if_unmodified_since: input.if_unmodified_since.map(OffsetDateTime::from),
        };
        let (version, object) =
            self.found(&input.bucket, &input.key, input.version_id.as_deref(), &caller)?;
        judge(&conditions, &object, &version)?;
        let part = input.part_number.map(|number| part(&object, number)).transpose()?;
        let range = ranged(&object, input.range, part.as_ref())?;
        let facts = &object.facts;
        let length = range.as_ref().map_or(object.body.length(), |range| range.end - range.start);
        let mut output = HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: facts.cache_control.clone(),
            content_disposition: facts.content_disposition.clone(),
            content_encoding: facts.content_encoding.clone(),
            content_language: facts.content_language.clone(),
            content_length: Some(signed(length)),
            content_range: range.as_ref().map(|range| content_range(range, &object)),
            content_type: Some(content_type(facts)),
            e_tag: Some(quoted(&object.etag)),
            expires: facts.expires.map(Timestamp::from),
            last_modified: Some(version.modified.into()),
            metadata: Some(facts.metadata.clone()),
            parts_count: part.map(|_| small(object.parts.len().max(1))),
            server_side_encryption: Some(encryption(facts).into()),
            ssekms_key_id: facts.kms_key.clone(),
            storage_class: facts.storage_class.clone().map(Into::into),
            version_id: self.shown_version(&input.bucket, &version),
            website_redirect_location: facts.redirect.clone(),
            ..HeadObjectOutput::default()
        };
        if input.checksum_mode.is_some()
            && range.is_none()
            && let Some(checksum) = &object.checksum
        {
            output.checksum_type = Some(checksum.kind.name().to_owned().into());
            set_checksum!(output, checksum.algorithm, checksum.value.clone());
        }
        Ok(output)
    }

    pub(super) fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let conditions = Reading {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since.map(OffsetDateTime::from),
            if_unmodified_since: input.if_unmodified_since.map(OffsetDateTime::from),
        };
        let (version, object) =
            self.found(&input.bucket, &input.key, input.version_id.as_deref(), &caller)?;
        judge(&conditions, &object, &version)?;
        let part = input.part_number.map(|number| part(&object, number)).transpose()?;
        let range = ranged(&object, input.range, part.as_ref())?;
        let facts = &object.facts;
        let body = range.clone().map_or_else(|| object.body.clone(), |range| object.body.slice(range));
        if body.is_forgotten() {
            return Err(not_played("reading bodies that it was told to discard"));
        }
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(sent(&body)),
            cache_control: facts.cache_control.clone(),
            content_disposition: facts.content_disposition.clone(),
            content_encoding: facts.content_encoding.clone(),
            content_language: facts.content_language.clone(),
            content_length: Some(signed(body.length())),
            content_range: range.as_ref().map(|range| content_range(range, &object)),
            content_type: Some(content_type(facts)),
            e_tag: Some(quoted(&object.etag)),
            expires: facts.expires.map(Timestamp::from),
            last_modified: Some(version.modified.into()),
            metadata: Some(facts.metadata.clone()),
            parts_count: part.map(|_| small(object.parts.len().max(1))),
            server_side_encryption: Some(encryption(facts).into()),
            ssekms_key_id: facts.kms_key.clone(),
            storage_class: facts.storage_class.clone().map(Into::into),
            tag_count: Some(small(facts.tags.len())).filter(|count| *count > 0),
            version_id: self.shown_version(&input.bucket, &version),
            website_redirect_location: facts.redirect.clone(),
            ..GetObjectOutput::default()
        };
        if input.checksum_mode.is_some()
            && range.is_none()
            && let Some(checksum) = &object.checksum
        {
            output.checksum_type = Some(checksum.kind.name().to_owned().into());
            set_checksum!(output, checksum.algorithm, checksum.value.clone());
        }
        Ok(S3Response::new(output))
    }

    /// The object asked for. What is asked for by name and deleted is not there; a marker asked for by its id may not be read.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
    pub(super) fn found(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        caller: &Caller,
    ) -> S3Result<(Version, Arc<Object>)> {
        let store = self.store();
        let version = store.bucket(bucket, caller)?.version(key, id)?;
        match (&version.object, id) {
            (Some(object), _) => Ok((version.clone(), Arc::clone(object))),
            (None, asked) => {
                let mut error = if asked.is_some() {
                    s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
                } else {
                    no_such_key()
                };
                let mut headers = http::HeaderMap::new();
                headers.insert("x-amz-delete-marker", http::HeaderValue::from_static("true"));
                if let Ok(id) = http::HeaderValue::from_str(&version.id) {
                    headers.insert("x-amz-version-id", id);
                }
                error.set_headers(headers);
                Err(error)
            }
        }
    }

    /// The version's id, which S3 shows where the bucket has versions.
    fn shown_version(&self, bucket: &str, version: &Version) -> Option<String> {
        let store = self.store();
        let off =
            store.buckets.get(bucket).is_none_or(|bucket| bucket.versioning == super::store::Versioning::Off);
        (!off).then(|| version.id.clone())
    }

    pub(super) fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let now = self.now();
        let mut store = self.store();
        let id = store.next_id("version");
        let bucket = store.bucket_mut(&input.bucket, &caller)?;
        if let (Some(condition), Some((version, object))) = (&input.if_match, bucket.current(&input.key)) {
            let size = input.if_match_size.is_none_or(|size| size == signed(object.body.length()));
            let time = input
                .if_match_last_modified_time
                .is_none_or(|time| OffsetDateTime::from(time) == version.modified);
            if !(is_met(condition, Some(&object.etag)) && size && time) {
                return Err(precondition_failed());
            }
        }
        let deleted = bucket.delete(&input.key, input.version_id.as_deref(), id, now);
        Ok(DeleteObjectOutput {
            delete_marker: deleted.is_marker.then_some(true),
            version_id: deleted.version,
            ..DeleteObjectOutput::default()
        })
    }

    pub(super) fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        if input.delete.objects.is_empty() || input.delete.objects.len() > 1000 {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        let now = self.now();
        let mut store = self.store();
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for wanted in input.delete.objects {
            let id = store.next_id("version");
            let bucket = store.bucket_mut(&input.bucket, &caller)?;
            let current = bucket.current_etag(&wanted.key);
            if let (Some(etag), Some(current)) = (&wanted.e_tag, current)
                && etag.value() != current
            {
                errors.push(dto::Error {
                    code: Some("PreconditionFailed".to_owned()),
                    key: Some(wanted.key),
                    message: precondition_failed().message().map(ToOwned::to_owned),
                    version_id: wanted.version_id,
                });
                continue;
            }
            let deleted = bucket.delete(&wanted.key, wanted.version_id.as_deref(), id, now);
            all.push(DeletedObject {
                delete_marker: deleted.is_marker.then_some(true),
                delete_marker_version_id: deleted.version.filter(|_| deleted.is_marker),
                key: Some(wanted.key),
                version_id: wanted.version_id,
            });
        }
        let is_quiet = input.delete.quiet.unwrap_or_default();
        Ok(DeleteObjectsOutput {
            deleted: (!is_quiet).then_some(all),
            errors: Some(errors).filter(|errors| !errors.is_empty()),
            request_charged: None,
        })
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
    pub(super) fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<GetObjectAttributesOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let (version, object) =
            self.found(&input.bucket, &input.key, input.version_id.as_deref(), &caller)?;
        // s3s leaves a list in one header whole.
        let listed: Vec<&str> = input
            .object_attributes
            .iter()
            .flat_map(|names| names.as_str().split(',').map(str::trim))
            .collect();
        let wants = |name: &str| listed.contains(&name);
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(version.modified.into()),
            version_id: self.shown_version(&input.bucket, &version),
            ..GetObjectAttributesOutput::default()
        };
        if wants("ETag") {
            output.e_tag = Some(quoted(&object.etag));
        }
        if wants("ObjectSize") {
            output.object_size = Some(signed(object.body.length()));
        }
        if wants("StorageClass") {
            output.storage_class =
                Some(object.facts.storage_class.clone().unwrap_or("STANDARD".to_owned()).into());
        }
        if wants("Checksum")
            && let Some(checksum) = &object.checksum
        {
            let mut shown = dto::Checksum {
                checksum_type: Some(checksum.kind.name().to_owned().into()),
                ..dto::Checksum::default()
            };
            set_checksum!(shown, checksum.algorithm, checksum.value.clone());
            output.checksum = Some(shown);
        }
        if wants("ObjectParts") && !object.parts.is_empty() {
            let marker = u32::try_from(input.part_number_marker.unwrap_or_default()).unwrap_or_default();
            let limit = self.limit(input.max_parts);
            output.object_parts = Some(parts_shown(&object.parts, marker, limit));
        }
        Ok(output)
    }

    pub(super) fn get_object_tagging(
        &self,
        request: S3Request<dto::GetObjectTaggingInput>,
    ) -> S3Result<dto::GetObjectTaggingOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let (version, object) =
            self.found(&input.bucket, &input.key, input.version_id.as_deref(), &caller)?;
        let tags = object.facts.tags.iter();
        Ok(dto::GetObjectTaggingOutput {
            tag_set: tags
                .map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) })
                .collect(),
            version_id: self.shown_version(&input.bucket, &version),
        })
    }

    pub(super) fn put_object_tagging(
        &self,
        request: S3Request<dto::PutObjectTaggingInput>,
    ) -> S3Result<dto::PutObjectTaggingOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let tags = input.tagging.tag_set.into_iter();
        let tags = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
        let version_id =
            self.retag(&input.bucket, &input.key, input.version_id.as_deref(), &caller, check_tags(tags)?)?;
        Ok(dto::PutObjectTaggingOutput { version_id })
    }

    pub(super) fn delete_object_tagging(
        &self,
        request: S3Request<dto::DeleteObjectTaggingInput>,
    ) -> S3Result<dto::DeleteObjectTaggingOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let version_id =
            self.retag(&input.bucket, &input.key, input.version_id.as_deref(), &caller, Vec::new())?;
        Ok(dto::DeleteObjectTaggingOutput { version_id })
    }

    fn retag(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
        caller: &Caller,
        tags: Vec<(String, String)>,
    ) -> S3Result<Option<String>> {
        let (version, _) = self.found(bucket, key, id, caller)?;
        {
            let mut store = self.store();
            let versions = store.bucket_mut(bucket, caller)?.keys.get_mut(key).ok_or_else(no_such_key)?;
            let found = versions.iter_mut().find(|candidate| candidate.id == version.id);
            let object = found.and_then(|version| version.object.as_mut()).ok_or_else(no_such_key)?;
            Arc::make_mut(object).facts.tags = tags;
        }
        Ok(self.shown_version(bucket, &version))
    }

    /// How many entries a page may have.
    pub(super) fn limit(&self, asked: Option<i32>) -> usize {
        let most = self.options.page;
        asked.map_or(most, |asked| usize::try_from(asked).unwrap_or_default().min(most))
    }
}

/// The parts of an object, which are listed one by one where each has a checksum.
fn parts_shown(parts: &[PartFacts], marker: u32, limit: usize) -> dto::GetObjectAttributesParts {
    let mut shown = dto::GetObjectAttributesParts {
        total_parts_count: Some(small(parts.len())),
        ..dto::GetObjectAttributesParts::default()
    };
    if parts.iter().any(|part| part.checksum.is_none()) {
        return shown;
    }
    let behind: Vec<_> = parts.iter().filter(|part| part.number > marker).collect();
    let page = behind.iter().take(limit).map(|part| {
        let mut shown = dto::ObjectPart {
            part_number: Some(small(part.number as usize)),
            size: Some(signed(part.size)),
            ..dto::ObjectPart::default()
        };
        if let Some((algorithm, sum)) = &part.checksum {
            set_checksum!(shown, algorithm, base64(sum));
        }
        shown
    });
    let page: Vec<_> = page.collect();
    shown.is_truncated = Some(behind.len() > limit);
    shown.max_parts = Some(small(limit));
    shown.part_number_marker = Some(small(marker as usize));
    shown.next_part_number_marker = page.last().and_then(|part| part.part_number);
    shown.parts = Some(page);
    shown
}

fn judge(conditions: &Reading, object: &Object, version: &Version) -> S3Result {
    match conditions.judge(&object.etag, version.modified) {
        Verdict::Holds => Ok(()),
        Verdict::Failed => Err(precondition_failed()),
        Verdict::NotModified => {
            let mut error = s3_error!(NotModified, "Not Modified");
            error.set_status_code(http::StatusCode::NOT_MODIFIED);
            Err(error)
        }
    }
}

/// Where a part lies in the object.
fn part(object: &Object, number: i32) -> S3Result<ops::Range<u64>> {
    let number = u32::try_from(number).ok().filter(|number| *number > 0);
    let number = number
        .ok_or_else(|| invalid_argument("Part number must be an integer between 1 and 10000, inclusive"))?;
    if object.parts.is_empty() && number == 1 {
        return Ok(0..object.body.length());
    }
    let mut start = 0;
    for part in &object.parts {
        if part.number == number {
            return Ok(start..start + part.size);
        }
        start += part.size;
    }
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("InvalidPartNumber".into()),
        "The requested partnumber is not satisfiable",
    );
    error.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
    Err(error)
}

fn ranged(
    object: &Object,
    range: Option<Range>,
    part: Option<&ops::Range<u64>>,
) -> S3Result<Option<ops::Range<u64>>> {
    match (range, part) {
        (Some(_), Some(_)) => {
            Err(invalid_request("Cannot specify both Range header and partNumber query parameter"))
        }
        (None, part) => Ok(part.filter(|part| part.start < part.end).cloned()),
        (Some(range), None) => range
            .check(object.body.length())
            .map(Some)
            .map_err(|_| s3_error!(InvalidRange, "The requested range is not satisfiable")),
    }
}

fn content_range(range: &ops::Range<u64>, object: &Object) -> String {
    format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.body.length())
}

fn content_type(facts: &Facts) -> String {
    facts.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

pub(super) fn encryption(facts: &Facts) -> String {
    facts.encryption.clone().unwrap_or_else(|| "AES256".to_owned())
}

fn sent(body: &Body) -> StreamingBlob {
    let frames = body.stream().map(|data| data.map(Frame::data));
    StreamingBlob::from(HttpBody::http_body_unsync(StreamBody::new(frames)))
}

impl Store {
    /// The versions of a bucket's keys as they are listed: by key, the newest first.
    pub(super) fn versions(bucket: &Bucket) -> impl Iterator<Item = (&str, &Version, bool)> {
        bucket.keys.iter().flat_map(|(key, versions)| {
            versions.iter().rev().enumerate().map(move |(age, version)| (key.as_str(), version, age == 0))
        })
    }
}
