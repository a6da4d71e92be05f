//! The calls to S3, each with its permission; what they mean is decided elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use aws::Aws;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use kit::{Cx, Failure};
use serde::Serialize;

/// The user metadata that names the run which wrote an object.
pub(crate) const RUN: &str = "cutover-run";

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: Client,
    pub(crate) bucket: String,
    partition: &'static str,
}

/// An object as it lies in the bucket.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    /// CRC-64/NVME of the whole object in base64, where the store keeps one.
    pub(crate) crc64nvme: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
    /// Its version, in a bucket that keeps versions.
    pub(crate) version: Option<String>,
}

impl Stored {
    /// Whether this very run wrote it.
    pub(crate) fn written_by(&self, run: &str) -> bool {
        self.metadata.get(RUN).is_some_and(|value| value == run)
    }
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unfinished {
    pub(crate) key: String,
    pub(crate) id: String,
}

impl Store {
    pub(crate) fn new(aws: &Aws, bucket: &str) -> Self {
        let partition = match aws.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if aws.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        Self { client: Client::new(&aws.config), bucket: bucket.to_owned(), partition }
    }

    pub(crate) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.bucket)
    }

    fn arn(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket_arn())
    }

    /// Refuses a bucket that is absent or in another region.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let Err(error) = self.client.head_bucket().bucket(bucket).send().await else { return Ok(()) };
        let attempt = format!("reach the bucket {bucket}");
        // The answer has no body; another region's bucket is named by a header alone.
        let raw = error.raw_response();
        let status = raw.map(|raw| raw.status().as_u16());
        let region = raw.and_then(|raw| raw.headers().get("x-amz-bucket-region")).map(str::to_owned);
        match (status, region) {
            (Some(404), _) => Err(Failure::refused(attempt)
                .because("there is no such bucket")
                .help("correct --to, or create the bucket first: a backup step must not")),
            (Some(301 | 400), Some(region)) => Err(Failure::refused(attempt)
                .because(format!("it is in the region {region}"))
                .help(format!("use --region {region}"))),
            _ => Err(aws::failure(attempt, "s3:ListBucket", &self.bucket_arn(), error)),
        }
    }

    /// Every key below `prefix`, in the order of UTF-8 bytes.
    pub(crate) async fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let mut pages =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                aws::failure(format!("list {}", self.uri(prefix)), "s3:ListBucket", &self.bucket_arn(), error)
            })?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    /// The unfinished uploads to keys below `prefix`.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    pub(crate) async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, Failure> {
        let mut found = Vec::new();
        let (mut key, mut id) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(key)
                .set_upload_id_marker(id)
                .send()
                .await
                .map_err(|error| {
                    aws::failure(
                        format!("list the unfinished uploads below {}", self.uri(prefix)),
                        "s3:ListBucketMultipartUploads",
                        &self.bucket_arn(),
                        error,
                    )
                })?;
            found.extend(page.uploads().iter().filter_map(|upload| {
                Some(Unfinished { key: upload.key()?.to_owned(), id: upload.upload_id()?.to_owned() })
            }));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(found);
            }
            key = page.next_key_marker().map(str::to_owned);
            id = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// The object at `key`, if there is one.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<Stored>, Failure> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(head) => {
                let whole = head.checksum_type() != Some(&ChecksumType::Composite);
                let crc = head.checksum_crc64_nvme().filter(|value| whole && !value.contains('-'));
                Ok(Some(Stored {
                    bytes: head.content_length().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
                    etag: head.e_tag().unwrap_or_default().to_owned(),
                    crc64nvme: crc.map(str::to_owned),
                    metadata: head.metadata().cloned().unwrap_or_default(),
                    version: head.version_id().filter(|id| *id != "null").map(str::to_owned),
                }))
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_s3::operation::head_object::HeadObjectError::is_not_found) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(aws::failure(format!("look at {}", self.uri(key)), "s3:GetObject", &self.arn(key), error))
            }
        }
    }

    /// The bytes of an object from `offset` on, as long as it is still the one with this `ETag`.
    ///
    /// A range is asked for even from the start: S3 then sends no checksum for the SDK to compute beside ours.
    pub(crate) async fn read(&self, key: &str, etag: &str, offset: u64) -> Result<GetObjectOutput, Failure> {
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .if_match(etag)
            .range(format!("bytes={offset}-"))
            .send()
            .await
            .map_err(|error| {
                aws::failure(format!("read {}", self.uri(key)), "s3:GetObject", &self.arn(key), error)
            })
    }

    /// A small object as a whole.
    pub(crate) async fn text(&self, key: &str) -> Result<Vec<u8>, Failure> {
        let attempt = || format!("read {}", self.uri(key));
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| aws::failure(attempt(), "s3:GetObject", &self.arn(key), error))?;
        let body = answer
            .body
            .collect()
            .await
            .map_err(|error| Failure::failed(attempt()).because(error).transient(true))?;
        Ok(body.to_vec())
    }

    /// Begins an upload.
    ///
    /// The call has no client token: a retry after a lost answer would leave a second upload behind. So it is sent once,
    /// and what it may have left is aborted before it is sent again.
    pub(crate) async fn begin(
        &self,
        cx: &Cx,
        key: &str,
        metadata: &HashMap<String, String>,
    ) -> Result<String, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let begun = self
                .client
                .create_multipart_upload()
                .bucket(&self.bucket)
                .key(key)
                .content_type("application/octet-stream")
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_type(ChecksumType::FullObject)
                .set_metadata(Some(metadata.clone()))
                .customize()
                .config_override(aws_sdk_s3::config::Config::builder().retry_config(aws::without_retry()))
                .send()
                .await;
            let failure = match begun {
                Ok(answer) => match answer.upload_id() {
                    Some(id) => return Ok(id.to_owned()),
                    None => {
                        return Err(Failure::failed(format!("begin the upload of {}", self.uri(key)))
                            .because("the answer has no upload id"));
                    }
                },
                Err(error) => aws::failure(
                    format!("begin the upload of {}", self.uri(key)),
                    "s3:PutObject",
                    &self.arn(key),
                    error,
                ),
            };
            if !failure.is_transient() || tries == TRIES {
                return Err(failure);
            }
            cx.or_cancelled(cx.pause(PAUSE)).await?;
            self.abort_all(key).await?;
        }
    }

    /// Uploads one part; repeating it replaces the part.
    ///
    /// The part's checksum is among the signed headers and S3 refuses a part that does not have it, so that hashing the
    /// payload once more for the signature would prove nothing.
    pub(crate) async fn part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        body: Bytes,
        crc64nvme: String,
    ) -> Result<CompletedPart, Failure> {
        // A slow link must not look like a dead one: at least 100 KiB/s over the whole part.
        let patience = Duration::from_secs(60 + body.len() as u64 / (100 << 10));
        let timeouts = TimeoutConfig::builder().read_timeout(patience).build();
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_crc64_nvme(&crc64nvme)
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(aws_sdk_s3::config::Config::builder().timeout_config(timeouts.clone()))
                .disable_payload_signing()
                .send()
                .await;
            let failure = match sent {
                Ok(answer) => {
                    return Ok(CompletedPart::builder()
                        .part_number(number)
                        .set_e_tag(answer.e_tag().map(str::to_owned))
                        .checksum_crc64_nvme(crc64nvme)
                        .build());
                }
                Err(error) => aws::failure(
                    format!("upload part {number} of {}", self.uri(key)),
                    "s3:PutObject",
                    &self.arn(key),
                    error,
                ),
            };
            // The SDK has retried for some seconds; an hour of dumping is worth a few more minutes of patience.
            if !failure.is_transient() || tries == TRIES {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE * tries).await;
        }
    }

    /// Completes an upload, unless the key is taken by now.
    ///
    /// S3 combines the parts' checksums to that of the whole object by itself, and it is compared with ours before
    /// anything relies on the object. It is not sent along: stores that keep a checksum of checksums would refuse it.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>; a 200 may carry an error
    /// in its body, and the object is looked at afterwards in any case.
    pub(crate) async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        bytes: u64,
    ) -> Result<(), Failure> {
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(upload)
            .if_none_match("*")
            .checksum_type(ChecksumType::FullObject)
            .mpu_object_size(i64::try_from(bytes).unwrap_or(i64::MAX))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| {
                aws::failure(
                    format!("complete the upload of {}", self.uri(key)),
                    "s3:PutObject",
                    &self.arn(key),
                    error,
                )
            })
    }

    pub(crate) async fn abort(&self, upload: &Unfinished) -> Result<(), Failure> {
        let sent = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError::is_no_such_upload) => Ok(()),
            Err(error) => Err(aws::failure(
                format!("abort the unfinished upload of {}", self.uri(&upload.key)),
                "s3:AbortMultipartUpload",
                &self.arn(&upload.key),
                error,
            )),
        }
    }

    /// Aborts every unfinished upload to exactly this key, and looks again until there is none: a part that was under way
    /// can outlive the first abort.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    pub(crate) async fn abort_all(&self, key: &str) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let mut left = self.unfinished(key).await?;
            left.retain(|upload| upload.key == key);
            if left.is_empty() {
                return Ok(());
            }
            for upload in &left {
                self.abort(upload).await?;
            }
        }
        Err(Failure::failed(format!("abort the unfinished upload of {}", self.uri(key)))
            .because("it is still listed")
            .help("the next backup to the same place tries again"))
    }

    /// Writes a small object under a key that must be free. A lost answer is told from a taken key by `run`.
    pub(crate) async fn put(
        &self,
        key: &str,
        run: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Stored, Failure> {
        let bytes = body.len() as u64;
        let crc = crate::hash::base64(crc_fast::crc64_nvme(&body));
        let sent = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .content_type(content_type)
            .metadata(RUN, run)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_crc64_nvme(crc)
            .body(ByteStream::from(body))
            .send()
            .await;
        let failure = sent.err().map(|error| {
            aws::failure(format!("write {}", self.uri(key)), "s3:PutObject", &self.arn(key), error)
        });
        match (self.head(key).await, failure) {
            (Ok(Some(stored)), _) if stored.bytes == bytes && stored.written_by(run) => Ok(stored),
            (_, Some(failure)) => Err(failure),
            (Err(unseen), None) => Err(unseen),
            (Ok(_), None) => Err(Failure::unverified(format!("write {}", self.uri(key)))
                .because("S3 accepted it, and the object that is there now is another")),
        }
    }

    /// Deletes an object that still has this `ETag`. In a versioned bucket this adds a delete marker.
    pub(crate) async fn delete(&self, key: &str, etag: &str) -> Result<(), Failure> {
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .if_match(etag)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| {
                aws::failure(format!("delete {}", self.uri(key)), "s3:DeleteObject", &self.arn(key), error)
            })
    }
}

/// How often an interrupted call is tried beyond the SDK's own retries.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
