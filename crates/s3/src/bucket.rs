//! A bucket, and the calls that read, abort and delete.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::Aws;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, Tag};
use aws_smithy_types::DateTime;
use aws_smithy_types::timeout::TimeoutConfig;
use kit::Failure;
use time::OffsetDateTime;

use crate::object::{Listed, Object, Unfinished};
use crate::upload::TRIES;

/// A bucket, spoken to in its own region.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Speaks to the bucket's own region.
    pub client: Client,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// The account that has to own it: S3 refuses every call otherwise.
    pub owner: Option<String>,
    partition: &'static str,
}

fn client(aws: &Aws, region: &str) -> Client {
    Client::from_conf(Builder::from(&aws.config).region(Region::new(region.to_owned())).build())
}

impl Bucket {
    /// A client for many calls of which none moves more than so many bytes, each sent only once, as by [`once`], without
    /// the cost of settings that come with each call.
    pub fn sending_once(&self, bytes: u64) -> Client {
        let builder = self.client.config().to_builder();
        let once = builder.retry_config(aws::without_retry()).timeout_config(patience(bytes / SLOWEST));
        Client::from_conf(once.build())
    }

    /// Finds the bucket and its region, whichever that is. `flag` named it.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
    pub async fn find(aws: &Aws, bucket: &str, owner: Option<String>, flag: &str) -> Result<Self, Failure> {
        let partition = match aws.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if aws.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let mut found = Self {
            client: client(aws, &aws.region),
            name: bucket.to_owned(),
            region: aws.region.clone(),
            owner,
            partition,
        };
        // Once more in the region that the first answer names.
        for _ in 0..2 {
            let sent = found
                .client
                .head_bucket()
                .bucket(bucket)
                .set_expected_bucket_owner(found.owner.clone())
                .send()
                .await;
            let error = match sent {
                Ok(answer) => {
                    if let Some(region) = answer.bucket_region().filter(|region| *region != found.region) {
                        found.client = client(aws, region);
                        found.region = region.to_owned();
                    }
                    return Ok(found);
                }
                Err(error) => error,
            };
            let attempt = format!("reach the bucket {bucket}");
            // The answer has no body; another region's bucket is named by a header alone.
            let raw = error.raw_response();
            let status = raw.map(|raw| raw.status().as_u16());
            let region = raw.and_then(|raw| raw.headers().get("x-amz-bucket-region")).map(str::to_owned);
            match (status, region) {
                (Some(404), _) => {
                    return Err(Failure::refused(attempt)
                        .because("there is no such bucket")
                        .help(format!("correct {flag}, or create the bucket first")));
                }
                (Some(301 | 400), Some(region)) if region != found.region => {
                    found.client = client(aws, &region);
                    found.region = region;
                }
                _ => {
                    let mut failure = aws::failure(attempt, "s3:ListBucket", &found.bucket_arn(), error);
                    if let (Some(403), Some(owner)) = (status, &found.owner) {
                        failure = failure.help(format!("or the bucket does not belong to account {owner}"));
                    }
                    return Err(failure);
                }
            }
        }
        Err(Failure::failed(format!("reach the bucket {bucket}"))
            .because("every region says that it is in another one"))
    }

    /// `s3://BUCKET/KEY`
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.name)
    }

    /// The ARN of the bucket, for messages about permissions.
    pub fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.name)
    }

    /// The ARN of an object, for messages about permissions.
    pub fn arn(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket_arn())
    }

    /// Every object whose key begins with `prefix`, in the order of the keys' UTF-8 bytes.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .set_expected_bucket_owner(self.owner.clone())
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                aws::failure(format!("list {}", self.uri(prefix)), "s3:ListBucket", &self.bucket_arn(), error)
            })?;
            found.extend(page.contents().iter().filter_map(|object| {
                Some(Listed {
                    key: object.key()?.to_owned(),
                    bytes: object.size().and_then(|bytes| u64::try_from(bytes).ok())?,
                    etag: object.e_tag()?.to_owned(),
                    modified: at(object.last_modified()),
                })
            }));
        }
        Ok(found)
    }

    /// The unfinished uploads to keys that begin with `prefix`.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
    pub async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>, Failure> {
        let mut found = Vec::new();
        let (mut key, mut id) = (None, None);
        loop {
            let page = self
                .client
                .list_multipart_uploads()
                .bucket(&self.name)
                .prefix(prefix)
                .set_key_marker(key)
                .set_upload_id_marker(id)
                .set_expected_bucket_owner(self.owner.clone())
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
                let by = upload.initiator().and_then(|who| who.display_name().or(who.id()));
                Some(Unfinished {
                    key: upload.key()?.to_owned(),
                    id: upload.upload_id()?.to_owned(),
                    begun: at(upload.initiated()),
                    by: by.unwrap_or("unknown").to_owned(),
                })
            }));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(found);
            }
            key = page.next_key_marker().map(str::to_owned);
            id = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// The object at `key`, or a version of it, if there is one; without its tags.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    pub async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<Object>, Failure> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(object(&head))),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => {
                let attempt = format!("look at {}", self.uri(key));
                Err(aws::failure(attempt, "s3:GetObject", &self.arn(key), error)
                    .help("S3 says this of an absent key too, to whom s3:ListBucket is not allowed"))
            }
        }
    }

    /// The tags of an object.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html>
    pub async fn tags(&self, key: &str, version: Option<&str>) -> Result<BTreeMap<String, String>, Failure> {
        let permission = if version.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        let answer = self
            .client
            .get_object_tagging()
            .bucket(&self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|error| {
                let attempt = format!("read the tags of {}", self.uri(key));
                aws::failure(attempt, permission, &self.arn(key), error)
            })?;
        Ok(answer.tag_set().iter().map(|tag: &Tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    /// The bytes of an object from `offset` on, as long as it is still the one with this `ETag`.
    ///
    /// A range is asked for even from the start: S3 then sends no checksum for the SDK to compute beside ours.
    pub async fn read(&self, key: &str, object: &Object, offset: u64) -> Result<GetObjectOutput, Failure> {
        self.client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_version_id(object.version.clone())
            .if_match(&object.etag)
            .range(format!("bytes={offset}-"))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|error| {
                aws::failure(format!("read {}", self.uri(key)), "s3:GetObject", &self.arn(key), error)
            })
    }

    /// A small object as a whole.
    pub async fn text(&self, key: &str) -> Result<Vec<u8>, Failure> {
        let attempt = || format!("read {}", self.uri(key));
        let answer = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone())
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

    /// Aborts an upload; one that is gone already is fine.
    pub async fn abort(&self, upload: &Unfinished) -> Result<(), Failure> {
        let sent = self
            .client
            .abort_multipart_upload()
            .bucket(&self.name)
            .key(&upload.key)
            .upload_id(&upload.id)
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(AbortMultipartUploadError::is_no_such_upload) =>
            {
                Ok(())
            }
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
    pub async fn abort_all(&self, key: &str) -> Result<(), Failure> {
        self.abort_those(key, |_| true).await
    }

    /// [`Self::abort_all`] of some of them.
    pub async fn abort_those(&self, key: &str, which: impl Fn(&Unfinished) -> bool) -> Result<(), Failure> {
        for _ in 0..TRIES {
            let mut left = self.unfinished(key).await?;
            left.retain(|upload| upload.key == key && which(upload));
            if left.is_empty() {
                return Ok(());
            }
            for upload in &left {
                self.abort(upload).await?;
            }
        }
        Err(Failure::failed(format!("abort the unfinished upload of {}", self.uri(key)))
            .because("it is still listed")
            .help("the next run to the same place tries again"))
    }

    /// Deletes a version, or the current object as long as it has this `ETag`. What is gone already is deleted.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
    pub async fn delete(&self, key: &str, version: Option<&str>, etag: &str) -> Result<(), Failure> {
        let call = self
            .client
            .delete_object()
            .bucket(&self.name)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone());
        let (call, permission) = match version {
            Some(version) => (call.version_id(version), "s3:DeleteObjectVersion"),
            None => (call.if_match(etag), "s3:DeleteObject"),
        };
        let Err(error) = call.send().await else { return Ok(()) };
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let failed = aws::failure(format!("delete {}", self.uri(key)), permission, &self.arn(key), error);
        // The condition does not hold, or there is nothing that it could hold of: also what the second try is told after a first one whose
        // answer was lost.
        if version.is_none() && matches!(status, Some(404 | 412)) && self.head(key, None).await?.is_none() {
            return Ok(());
        }
        Err(failed)
    }
}

fn at(time: Option<&DateTime>) -> OffsetDateTime {
    time.and_then(|time| OffsetDateTime::from_unix_timestamp(time.secs()).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn object(head: &HeadObjectOutput) -> Object {
    let whole = head.checksum_type() != Some(&ChecksumType::Composite);
    let crc = head.checksum_crc64_nvme().filter(|value| whole && !value.contains('-'));
    let headers = [
        ("Cache-Control", head.cache_control()),
        ("Content-Disposition", head.content_disposition()),
        ("Content-Encoding", head.content_encoding()),
        ("Content-Language", head.content_language()),
        ("Content-Type", head.content_type()),
        ("Expires", head.expires_string()),
        ("x-amz-website-redirect-location", head.website_redirect_location()),
    ];
    let storage_class = head.storage_class().map_or("STANDARD", |class| class.as_str());
    let archived = match (head.archive_status(), storage_class) {
        (Some(status), _) => Some(status.as_str().to_owned()),
        // An object that was fetched back says until when.
        (None, "GLACIER" | "DEEP_ARCHIVE")
            if !head.restore().is_some_and(|state| state.contains("ongoing-request=\"false\"")) =>
        {
            Some(storage_class.to_owned())
        }
        _ => None,
    };
    Object {
        bytes: head.content_length().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        etag: head.e_tag().unwrap_or_default().to_owned(),
        version: head.version_id().filter(|id| *id != "null").map(str::to_owned),
        modified: at(head.last_modified()),
        crc64nvme: crc.map(str::to_owned),
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect(),
        metadata: head.metadata().cloned().unwrap_or_default().into_iter().collect(),
        tags: None,
        storage_class: storage_class.to_owned(),
        encryption: head.server_side_encryption().map(|algorithm| algorithm.as_str().to_owned()),
        kms_key: head.ssekms_key_id().map(str::to_owned),
        bucket_key: head.bucket_key_enabled(),
        archived,
    }
}

/// A copy inside S3 is never slower than this, in bytes per second.
const SLOWEST: u64 = 4 << 20;

/// For one call that S3 may take long for, since it moves so many bytes.
pub fn patient(bytes: u64) -> Builder {
    Builder::new().timeout_config(patience(bytes / SLOWEST))
}

/// A minute, and as many seconds more, rounded up to a power of two: the SDK keeps connections apart by their time-outs,
/// so that a time-out for each size would mean a connection for each size.
pub(crate) fn patience(seconds: u64) -> TimeoutConfig {
    let patience = Duration::from_secs((60 + seconds).next_power_of_two());
    TimeoutConfig::builder().read_timeout(patience).build()
}

/// [`patient`], and sent only once: for calls that have no client token, where a look has to come before a retry.
pub fn once(bytes: u64) -> Builder {
    patient(bytes).retry_config(aws::without_retry())
}
