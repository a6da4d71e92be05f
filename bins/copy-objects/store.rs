//! The calls to S3, each with its permission; what they mean is decided elsewhere.

use std::collections::BTreeMap;

use aws::Aws;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::operation::abort_multipart_upload::AbortMultipartUploadError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, Tag};
use aws_smithy_types::DateTime;
use kit::Failure;
use time::OffsetDateTime;

use crate::facts::{Facts, Listed, Unfinished};

/// A bucket, spoken to in its own region.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    pub(crate) region: String,
    /// The account that has to own it: S3 refuses every call otherwise.
    pub(crate) owner: Option<String>,
    partition: &'static str,
}

fn client(aws: &Aws, region: &str) -> Client {
    Client::from_conf(Builder::from(&aws.config).region(Region::new(region.to_owned())).build())
}

impl Store {
    /// Finds the bucket and its region, whichever that is. `flag` named it.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>
    pub(crate) async fn find(
        aws: &Aws,
        bucket: &str,
        owner: Option<String>,
        flag: &str,
    ) -> Result<Self, Failure> {
        let partition = match aws.region.split('-').next() {
            Some("cn") => "aws-cn",
            _ if aws.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let mut store = Self {
            client: client(aws, &aws.region),
            bucket: bucket.to_owned(),
            region: aws.region.clone(),
            owner,
            partition,
        };
        // Once more in the region that the first answer names.
        for _ in 0..2 {
            let sent = store
                .client
                .head_bucket()
                .bucket(bucket)
                .set_expected_bucket_owner(store.owner.clone())
                .send()
                .await;
            let error = match sent {
                Ok(answer) => {
                    if let Some(region) = answer.bucket_region().filter(|region| *region != store.region) {
                        store.client = client(aws, region);
                        store.region = region.to_owned();
                    }
                    return Ok(store);
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
                (Some(301 | 400), Some(region)) if region != store.region => {
                    store.client = client(aws, &region);
                    store.region = region;
                }
                _ => {
                    let mut failure = aws::failure(attempt, "s3:ListBucket", &store.bucket_arn(), error);
                    if let (Some(403), Some(owner)) = (status, &store.owner) {
                        failure = failure.help(format!("or the bucket does not belong to account {owner}"));
                    }
                    return Err(failure);
                }
            }
        }
        Err(Failure::failed(format!("reach the bucket {bucket}"))
            .because("every region says that it is in another one"))
    }

    pub(crate) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    pub(crate) fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition, self.bucket)
    }

    pub(crate) fn arn(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket_arn())
    }

    /// Every object below `prefix`.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
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
    pub(crate) async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<Facts>, Failure> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(facts(&head))),
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
    pub(crate) async fn tags(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let permission = if version.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        let answer = self
            .client
            .get_object_tagging()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|error| {
                let attempt = format!("read the tags of {}", self.uri(key));
                aws::failure(attempt, permission, &self.arn(key), error)
                    .help("or leave the tags behind with --no-tags")
            })?;
        Ok(answer.tag_set().iter().map(|tag: &Tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    /// The bytes of an object from `offset` on, as long as it is still the one with this `ETag`.
    ///
    /// A range is asked for even from the start: S3 then sends no checksum for the SDK to compute beside ours.
    pub(crate) async fn read(
        &self,
        key: &str,
        facts: &Facts,
        offset: u64,
    ) -> Result<GetObjectOutput, Failure> {
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(facts.version.clone())
            .if_match(&facts.etag)
            .range(format!("bytes={offset}-"))
            .set_expected_bucket_owner(self.owner.clone())
            .send()
            .await
            .map_err(|error| {
                aws::failure(format!("read {}", self.uri(key)), "s3:GetObject", &self.arn(key), error)
            })
    }

    pub(crate) async fn abort(&self, upload: &Unfinished) -> Result<(), Failure> {
        let sent = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
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
    pub(crate) async fn abort_all(&self, key: &str) -> Result<(), Failure> {
        for _ in 0..5 {
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
            .help("the next copy to the same place tries again"))
    }

    /// Deletes a version, or the current object as long as it has this `ETag`.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
    pub(crate) async fn delete(&self, key: &str, version: Option<&str>, etag: &str) -> Result<(), Failure> {
        let call = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .set_expected_bucket_owner(self.owner.clone());
        let (call, permission) = match version {
            Some(version) => (call.version_id(version), "s3:DeleteObjectVersion"),
            None => (call.if_match(etag), "s3:DeleteObject"),
        };
        call.send().await.map(|_| ()).map_err(|error| {
            aws::failure(format!("delete {}", self.uri(key)), permission, &self.arn(key), error)
        })
    }
}

fn at(time: Option<&DateTime>) -> OffsetDateTime {
    time.and_then(|time| OffsetDateTime::from_unix_timestamp(time.secs()).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn facts(head: &HeadObjectOutput) -> Facts {
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
    Facts {
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
