//! The calls that write: a small object at once, a large one in parts.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use kit::{Cx, Failure};

use crate::bucket::{Bucket, patience};
use crate::object::Object;
use crate::sum::base64;

/// The user metadata that names the run which wrote an object.
pub const RUN: &str = "cutover-run";

/// How often an interrupted call is tried beyond the SDK's own retries.
pub const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

impl Bucket {
    /// Begins an upload.
    ///
    /// The call has no client token: a retry after a lost answer would leave a second upload behind. So it is sent once,
    /// and what it may have left is aborted before it is sent again.
    pub async fn begin(
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
                .bucket(&self.name)
                .key(key)
                .set_expected_bucket_owner(self.owner.clone())
                .content_type("application/octet-stream")
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_type(ChecksumType::FullObject)
                .set_metadata(Some(metadata.clone()))
                .customize()
                .config_override(Builder::new().retry_config(aws::without_retry()))
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
    pub async fn part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        body: Bytes,
        crc64nvme: String,
    ) -> Result<CompletedPart, Failure> {
        // A slow link must not look like a dead one: at least 100 KiB/s over the whole part.
        let timeouts = patience(body.len() as u64 / (100 << 10));
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self
                .client
                .upload_part()
                .bucket(&self.name)
                .key(key)
                .set_expected_bucket_owner(self.owner.clone())
                .upload_id(upload)
                .part_number(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_crc64_nvme(&crc64nvme)
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(Builder::new().timeout_config(timeouts.clone()))
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
    pub async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        bytes: u64,
    ) -> Result<(), Failure> {
        self.client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
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

    /// Writes a small object under a key that must be free. A lost answer is told from a taken key by `run`.
    pub async fn put(
        &self,
        key: &str,
        run: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Object, Failure> {
        let bytes = body.len() as u64;
        let crc = base64(crc_fast::crc64_nvme(&body));
        let sent = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
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
        match (self.head(key, None).await, failure) {
            (Ok(Some(stored)), _) if stored.bytes == bytes && stored.written_by(run) => Ok(stored),
            (_, Some(failure)) => Err(failure),
            (Err(unseen), None) => Err(unseen),
            (Ok(_), None) => Err(Failure::unverified(format!("write {}", self.uri(key)))
                .because("S3 accepted it, and the object that is there now is another")),
        }
    }
}
