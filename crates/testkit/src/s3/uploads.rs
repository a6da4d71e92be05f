//! Uploads in parts.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use std::collections::BTreeMap;

use s3s::dto::{
    self, AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload,
    StreamingBlob, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Error, S3Request, S3Result, s3_error};
use time::OffsetDateTime;

use super::body::Body;
use super::conditions::Writing;
use super::objects::{
    check_metadata, claimed, encryption, facts, no_acl, quoted, set_checksum, signed, small, tags_of_header,
};
use super::receive::{Claimed, Claims, bad_digest, receive};
use super::store::{Facts, Object, Part, PartFacts, Upload};
use super::sums::{Algorithm, Checksum, Kind, base64, etag_of_parts};
use super::{Arrival, Caller, World, invalid_argument, invalid_request, not_played};

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
}

fn mismatch(expected: Option<Algorithm>, actual: Option<Algorithm>) -> S3Error {
    let name = |algorithm: Option<Algorithm>| algorithm.map_or("null".to_owned(), Algorithm::lower);
    invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        name(expected),
        name(actual)
    ))
}

impl World {
    pub(super) fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let facts = facts!(input);
        let algorithm = input.checksum_algorithm.as_ref().map(|name| {
            let unknown = || {
                invalid_request(
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                     [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            };
            Algorithm::named(name.as_str()).ok_or_else(unknown)
        });
        let algorithm = algorithm.transpose()?;
        let kind = input.checksum_type.as_ref().map(|name| match name.as_str() {
            "FULL_OBJECT" => Ok(Kind::FullObject),
            "COMPOSITE" => Ok(Kind::Composite),
            _ => Err(invalid_request("Value for x-amz-checksum-type header is invalid.")),
        });
        let kind = match (kind.transpose()?, algorithm) {
            (Some(_), None) => {
                return Err(invalid_request(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                ));
            }
            (Some(kind), Some(algorithm)) if !algorithm.can_be(kind) => {
                return Err(invalid_request(format!(
                    "The {} checksum type cannot be used with the {} checksum algorithm.",
                    kind.name(),
                    algorithm.lower()
                )));
            }
            (Some(kind), Some(_)) => kind,
            (None, algorithm) => algorithm.map_or(Kind::FullObject, Algorithm::usual_kind),
        };
        let now = self.now();
        let mut store = self.store();
        store.bucket(&input.bucket, &caller)?;
        let id = store.next_id("upload");
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            checksum_algorithm: algorithm.map(|algorithm| algorithm.name().to_owned().into()),
            checksum_type: algorithm.map(|_| kind.name().to_owned().into()),
            key: Some(input.key.clone()),
            server_side_encryption: Some(encryption(&facts).into()),
            ssekms_key_id: facts.kms_key.clone(),
            upload_id: Some(id.clone()),
            ..CreateMultipartUploadOutput::default()
        };
        let upload = Upload {
            bucket: input.bucket,
            key: input.key,
            initiated: now,
            facts,
            algorithm,
            kind,
            parts: BTreeMap::new(),
        };
        store.uploads.insert(id, upload);
        Ok(output)
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
        body: &mut Option<StreamingBlob>,
    ) -> S3Result<UploadPartOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        if input.sse_customer_algorithm.is_some() {
            return Err(not_played("keys of the customer's own"));
        }
        let number = self.part_number(input.part_number)?;
        let upload = self.upload(&input.bucket, &input.key, &input.upload_id, &caller)?;
        let claims = Claims {
            length: input.content_length,
            md5: input.content_md5,
            checksums: claimed!(input),
            arrival: request.extensions.get::<Arrival>().cloned().unwrap_or_default(),
        };
        let claimed = claims.checksum()?;
        let actual = claimed.as_ref().map(Claimed::algorithm);
        // The parts of a composite each need theirs; S3 works out what a whole is summed by.
        if actual != upload.algorithm && (actual.is_some() || upload.kind == Kind::Composite) {
            return Err(mismatch(upload.algorithm, actual));
        }
        let algorithm = upload.summed_by();
        let unique = format!("{}/{number}/{}", input.upload_id, self.store().next_id("part"));
        let received = receive(&self.options, body, &claims, claimed.as_ref(), algorithm, &unique).await?;
        let etag = kit::hex(&received.md5);
        let mut output = UploadPartOutput {
            e_tag: Some(quoted(&etag)),
            server_side_encryption: Some(encryption(&upload.facts).into()),
            ..UploadPartOutput::default()
        };
        if upload.algorithm.is_some() {
            set_checksum!(output, algorithm, base64(&received.checksum));
        }
        let part = Part {
            body: received.body,
            md5: received.md5,
            etag,
            checksum: received.checksum,
            modified: self.now(),
        };
        self.add_part(&input.upload_id, number, part)?;
        Ok(output)
    }

    pub(super) fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let upload = self.upload(&input.bucket, &input.key, &input.upload_id, &caller)?;
        let listed =
            input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
        let parts = self.listed_parts(&upload, listed)?;
        let body = Body::join(parts.iter().map(|(_, part)| &part.body));
        if input.mpu_object_size.is_some_and(|size| u64::try_from(size) != Ok(body.length())) {
            return Err(invalid_request(format!(
                "The provided 'x-amz-mp-object-size' header value {} does not match what was computed: {}",
                input.mpu_object_size.unwrap_or_default(),
                body.length()
            )));
        }
        if input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() != upload.kind.name()) {
            return Err(invalid_request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
                upload.kind.name()
            )));
        }
        let checksum = checksum_of(&upload, &parts);
        for (algorithm, value) in claimed!(input) {
            if algorithm != checksum.algorithm {
                return Err(mismatch(Some(checksum.algorithm), Some(algorithm)));
            }
            // Of a composite the number of parts may be left out.
            if value != checksum.value
                && Some(value.as_str()) != checksum.value.rsplit_once('-').map(|(sum, _)| sum)
            {
                return Err(bad_digest(algorithm));
            }
        }
        let object = Object {
            body,
            etag: etag_of_parts(parts.iter().map(|(_, part)| part.md5.as_slice())),
            facts: upload.facts.clone(),
            parts: parts.iter().map(|(number, part)| part_facts(&upload, *number, part)).collect(),
            checksum: Some(checksum.clone()),
        };
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            checksum_type: Some(checksum.kind.name().to_owned().into()),
            e_tag: Some(quoted(&object.etag)),
            key: Some(input.key.clone()),
            location: Some(format!("http://{}.s3.amazonaws.com/{}", input.bucket, input.key)),
            server_side_encryption: Some(encryption(&object.facts).into()),
            ssekms_key_id: object.facts.kms_key.clone(),
            ..CompleteMultipartUploadOutput::default()
        };
        set_checksum!(output, checksum.algorithm, checksum.value);
        let conditions = Writing { if_match: input.if_match, if_none_match: input.if_none_match };
        let now = self.now();
        let mut store = self.store();
        let id = store.next_id("version");
        let bucket = store.bucket_mut(&input.bucket, &caller)?;
        // Completing takes no time here, in which something could be deleted.
        let deletions = bucket.deletions(&input.key);
        bucket.may_write(&input.key, &conditions, deletions)?;
        output.version_id = bucket.put(&input.key, id, object, now);
        store.uploads.remove(&input.upload_id);
        Ok(output)
    }

    /// The parts that the request lists, each as it was uploaded.
    fn listed_parts<'a>(
        &self,
        upload: &'a Upload,
        listed: &[CompletedPart],
    ) -> S3Result<Vec<(u32, &'a Part)>> {
        if listed.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        let invalid = || {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag."
            )
        };
        let out_of_order = || {
            s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part number."
            )
        };
        let mut parts: Vec<(u32, &Part)> = Vec::new();
        for (position, completed) in listed.iter().enumerate() {
            let number = self.part_number(completed.part_number.unwrap_or_default())?;
            if parts.last().is_some_and(|(last, _)| *last >= number) {
                return Err(out_of_order());
            }
            // https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompletedPart.html
            let needs_all = upload.algorithm.is_some_and(|algorithm| algorithm != Algorithm::Crc64Nvme);
            if needs_all && number as usize != position + 1 {
                return Err(out_of_order());
            }
            let part = upload.parts.get(&number).ok_or_else(invalid)?;
            if completed.e_tag.as_ref().is_none_or(|etag| etag.value() != part.etag) {
                return Err(invalid());
            }
            let sums = claimed!(completed);
            if upload.kind == Kind::Composite && sums.is_empty() {
                return Err(invalid_request(format!(
                    "The upload was created using a {} checksum. The complete request must include the checksum for \
                     each part. It was missing for part {number} in the request.",
                    upload.summed_by().lower()
                )));
            }
            for (algorithm, value) in sums {
                if Some(algorithm) != upload.algorithm || value != base64(&part.checksum) {
                    return Err(invalid());
                }
            }
            parts.push((number, part));
        }
        let all_but_last = parts.iter().take(parts.len() - 1);
        if all_but_last.clone().any(|(_, part)| part.body.length() < self.options.smallest_part) {
            return Err(s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            ));
        }
        Ok(parts)
    }

    pub(super) fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        self.upload(&input.bucket, &input.key, &input.upload_id, &caller)?;
        self.store().uploads.remove(&input.upload_id);
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        let upload = self.upload(&input.bucket, &input.key, &input.upload_id, &caller)?;
        let marker = u32::try_from(input.part_number_marker.unwrap_or_default()).unwrap_or_default();
        let limit = self.limit(input.max_parts);
        let behind: Vec<_> = upload.parts.iter().filter(|(number, _)| **number > marker).collect();
        let page = behind.iter().take(limit).map(|(number, part)| {
            let mut shown = dto::Part {
                e_tag: Some(quoted(&part.etag)),
                last_modified: Some(part.modified.into()),
                part_number: Some(small(**number as usize)),
                size: Some(signed(part.body.length())),
                ..dto::Part::default()
            };
            if let Some(algorithm) = upload.algorithm {
                set_checksum!(shown, algorithm, base64(&part.checksum));
            }
            shown
        });
        let page: Vec<_> = page.collect();
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            checksum_algorithm: upload.algorithm.map(|algorithm| algorithm.name().to_owned().into()),
            checksum_type: upload.algorithm.map(|_| upload.kind.name().to_owned().into()),
            is_truncated: Some(behind.len() > limit),
            key: Some(input.key),
            max_parts: Some(small(limit)),
            next_part_number_marker: page.last().and_then(|part| part.part_number),
            part_number_marker: Some(small(marker as usize)),
            parts: Some(page),
            storage_class: Some(upload.facts.storage_class.unwrap_or("STANDARD".to_owned()).into()),
            upload_id: Some(input.upload_id),
            ..ListPartsOutput::default()
        })
    }

    /// By key, and for one key by age. <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    pub(super) fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let caller = Caller::of(&request, request.input.expected_bucket_owner.as_ref());
        let input = request.input;
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(not_played("a delimiter in the list of uploads"));
        }
        let store = self.store();
        store.bucket(&input.bucket, &caller)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut all: Vec<(&str, &str, &Upload)> = store
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == input.bucket && upload.key.starts_with(&prefix))
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload))
            .collect();
        all.sort_by_key(|(key, id, _)| (*key, *id));
        if let Some(marker) = &input.key_marker {
            let id_marker = input.upload_id_marker.as_deref();
            all.retain(|(key, id, _)| {
                *key > marker.as_str() || (key == marker && id_marker.is_some_and(|marker| *id > marker))
            });
        }
        let limit = self.limit(input.max_uploads);
        let is_truncated = all.len() > limit;
        all.truncate(limit);
        let last =
            all.last().filter(|_| is_truncated).map(|(key, id, _)| ((*key).to_owned(), (*id).to_owned()));
        let (next_key, next_id) = last.unzip();
        let encoding = input.encoding_type;
        let encoded = |key: &str| super::buckets::encoded(key, encoding.as_ref());
        let uploads = all.iter().map(|(key, id, upload)| MultipartUpload {
            checksum_algorithm: upload.algorithm.map(|algorithm| algorithm.name().to_owned().into()),
            checksum_type: upload.algorithm.map(|_| upload.kind.name().to_owned().into()),
            initiated: Some(upload.initiated.into()),
            key: Some(encoded(key)),
            upload_id: Some((*id).to_owned()),
            storage_class: Some("STANDARD".to_owned().into()),
            ..MultipartUpload::default()
        });
        Ok(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            bucket: Some(input.bucket),
            is_truncated: Some(is_truncated),
            key_marker: input.key_marker.as_deref().map(encoded),
            max_uploads: Some(small(limit)),
            next_key_marker: next_key.as_deref().map(encoded),
            next_upload_id_marker: next_id,
            prefix: input.prefix.as_deref().map(encoded),
            upload_id_marker: input.upload_id_marker,
            encoding_type: encoding.clone(),
            ..ListMultipartUploadsOutput::default()
        })
    }

    pub(super) fn upload(&self, bucket: &str, key: &str, id: &str, caller: &Caller) -> S3Result<Upload> {
        let store = self.store();
        store.bucket(bucket, caller)?;
        let upload = store.uploads.get(id).filter(|upload| upload.bucket == bucket && upload.key == key);
        upload.cloned().ok_or_else(no_such_upload)
    }

    pub(super) fn add_part(&self, upload: &str, number: u32, part: Part) -> S3Result {
        let mut store = self.store();
        // It may have been aborted or completed while the part was on its way.
        store.uploads.get_mut(upload).ok_or_else(no_such_upload)?.parts.insert(number, part);
        Ok(())
    }

    pub(super) fn part_number(&self, number: i32) -> S3Result<u32> {
        let most = self.options.most_parts;
        let number = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| {
            invalid_argument(format!("Part number must be an integer between 1 and {most}, inclusive"))
        })
    }
}

fn checksum_of(upload: &Upload, parts: &[(u32, &Part)]) -> Checksum {
    let algorithm = upload.summed_by();
    let whole = match upload.kind {
        Kind::FullObject => {
            algorithm.combined(parts.iter().map(|(_, part)| (part.checksum.as_slice(), part.body.length())))
        }
        Kind::Composite => None,
    };
    let value = whole.map_or_else(
        || {
            let sum = algorithm.composite(parts.iter().map(|(_, part)| part.checksum.as_slice()));
            format!("{}-{}", base64(&sum), parts.len())
        },
        |sum| base64(&sum),
    );
    Checksum { algorithm, kind: upload.kind, value }
}

fn part_facts(upload: &Upload, number: u32, part: &Part) -> PartFacts {
    let checksum = upload.algorithm.filter(|_| upload.kind == Kind::Composite);
    PartFacts {
        number,
        size: part.body.length(),
        checksum: checksum.map(|algorithm| (algorithm, part.checksum.clone())),
    }
}
