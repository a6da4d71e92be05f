//! A copy in parts, for what is larger than one call may copy.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/CopyingObjectsMPUapi.html>

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    StorageClass,
};
use kit::{Code, Cx, Failure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use s3::{Bucket, TRIES, once, patient};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::apply::{Ends, Look, Written, copy_source, superseded, taken_effect, without_effect};
use crate::plan::Copy;
use crate::resume::{Resume, Whose, whose};
use crate::verify::Wanted;

/// Parts that are copied at the same time.
const IN_FLIGHT: usize = 8;
const PAUSE: Duration = Duration::from_secs(2);
/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Copies in parts of `bytes` each. Unless the object was committed, no upload is left.
pub(crate) async fn copy(
    cx: &Cx,
    ends: &Ends,
    copy: &Copy,
    bytes: u64,
    count: u64,
    resume: Option<&Resume>,
) -> Result<Written, Failure> {
    let to = ends.destination.uri(&ends.key);
    let mut upload = resume.map(|resume| resume.id.clone());
    let mut ended = all(cx, ends, copy, (bytes, count), resume, &mut upload).await;
    if let (Some(_), Err(failure)) = (resume, &ended)
        && failure.code() == Code::Failed
        && !failure.is_transient()
        && put_away(&ends.destination, &ends.key, &ends.ours, upload.as_deref()).await.is_ok()
    {
        cx.report().say(&format!(
            "the upload that was taken up is of no use ({failure}: {}): beginning anew",
            failure.chain().join(": ")
        ));
        upload = None;
        ended = all(cx, ends, copy, (bytes, count), None, &mut upload).await;
    }
    let failure = match ended {
        Ok(written) => return Ok(written),
        Err(failure) => failure,
    };
    match put_away(&ends.destination, &ends.key, &ends.ours, upload.as_deref()).await {
        Ok(()) => Err(failure),
        Err(left) => Err(failure.untouched(false).state(format!(
            "an unfinished upload of {to} may remain ({left}: {}); the next copy to the same place aborts it",
            left.chain().join(": ")
        ))),
    }
}

/// Aborts the upload of this id, and looks again until it is gone: a part that was under way can outlive the first abort.
/// Where the answer that had the id was lost, every upload to the key that is not somebody else's.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
pub(crate) async fn put_away(to: &Bucket, key: &str, ours: &str, id: Option<&str>) -> Result<(), Failure> {
    for _ in 0..5 {
        let mut left = to.unfinished(key).await?;
        left.retain(|upload| {
            upload.key == key
                && id.map_or_else(|| whose(Some(&upload.by), ours) != Whose::Others, |id| upload.id == id)
        });
        if left.is_empty() {
            return Ok(());
        }
        for upload in &left {
            to.abort(upload).await?;
        }
    }
    Err(Failure::failed(format!("abort the unfinished upload of {}", to.uri(key)))
        .because("it is still listed")
        .help("the next copy to the same place tries again"))
}

async fn all(
    cx: &Cx,
    ends: &Ends,
    copy: &Copy,
    (bytes, count): (u64, u64),
    resume: Option<&Resume>,
    begun: &mut Option<String>,
) -> Result<Written, Failure> {
    let upload = if let Some(resume) = resume {
        resume.id.clone()
    } else {
        let to = (&ends.destination, &*ends.key, &*ends.ours);
        begin(cx, to, &copy.wanted, ends.object.bucket_key).await?
    };
    *begun = Some(upload.clone());
    let parts = match parts(cx, ends, &upload, (bytes, count), resume).await {
        Ok(parts) => parts,
        // No object came of it, and the upload is aborted next.
        Err(failure) => {
            let failure = failure.untouched(true);
            if failure.is_transient() || cx.or_cancelled(std::future::ready(())).await.is_err() {
                return Err(failure);
            }
            let attempt = format!("copy {} in parts", ends.source.uri(&ends.source_key));
            return Err(match taken_effect(ends, copy.replaces.as_ref(), Some(count)).await {
                Ok(Look::Superseded(why)) => superseded(&attempt, &why),
                _ => failure,
            });
        }
    };
    commit(cx, ends, copy, &upload, parts, (count, resume.is_some())).await
}

/// Begins the upload. `CreateMultipartUpload` carries nothing over by itself: everything is sent anew.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>
pub(crate) async fn begin(
    cx: &Cx,
    (to, key, ours): (&Bucket, &str, &str),
    wanted: &Wanted,
    bucket_key: Option<bool>,
) -> Result<String, Failure> {
    let attempt = format!("begin the upload of {}", to.uri(key));
    let header = |name: &str| wanted.headers.get(name).cloned();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut call = to
            .client
            .create_multipart_upload()
            .bucket(&to.name)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .set_cache_control(header("Cache-Control"))
            .set_content_disposition(header("Content-Disposition"))
            .set_content_encoding(header("Content-Encoding"))
            .set_content_language(header("Content-Language"))
            .set_content_type(header("Content-Type"))
            .set_website_redirect_location(header("x-amz-website-redirect-location"))
            .storage_class(StorageClass::from(wanted.storage_class.as_str()))
            .set_tagging(tagging(wanted))
            .set_server_side_encryption(
                wanted.kms.as_ref().map(|(algorithm, _)| ServerSideEncryption::from(algorithm.as_str())),
            )
            .set_ssekms_key_id(wanted.kms.as_ref().and_then(|(_, key)| key.clone()))
            .set_bucket_key_enabled(wanted.kms.as_ref().and(bucket_key))
            .set_expected_bucket_owner(to.owner.clone());
        for (name, value) in &wanted.metadata {
            call = call.metadata(name, value);
        }
        // As it stands: S3 keeps a value that is no date, and the SDK would not take it.
        let expires = header("Expires");
        let sent = call
            .customize()
            .config_override(once(0))
            .mutate_request(move |request| {
                if let Some(expires) = &expires {
                    request.headers_mut().insert("expires", expires.clone());
                }
            })
            .send()
            .await;
        let failure = match sent {
            Ok(answer) => {
                return answer
                    .upload_id()
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::failed(attempt).because("the answer has no upload id"));
            }
            Err(error) => aws::failure(&attempt, "s3:PutObject", &to.arn(key), error),
        };
        if !failure.is_transient() || tries == TRIES {
            return Err(failure);
        }
        cx.or_cancelled(cx.pause(PAUSE)).await?;
        // What a lost answer may have left.
        put_away(to, key, ours, None).await?;
    }
}

/// Tags as a header has them.
pub(crate) fn tagging(wanted: &Wanted) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let tags = wanted.tags.as_ref().filter(|tags| !tags.is_empty())?;
    let pairs: Vec<String> =
        tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    Some(pairs.join("&"))
}

async fn parts(
    cx: &Cx,
    ends: &Ends,
    upload: &str,
    (bytes, count): (u64, u64),
    resume: Option<&Resume>,
) -> Result<Vec<CompletedPart>, Failure> {
    let attempt = format!("copy {} in parts", ends.source.uri(&ends.source_key));
    let mut ticks = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_flight: JoinSet<Result<CompletedPart, Failure>> = JoinSet::new();
    let there = resume.map(|resume| resume.parts.as_slice()).unwrap_or_default();
    let mut done: Vec<CompletedPart> = there
        .iter()
        .map(|part| {
            CompletedPart::builder()
                .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
                .e_tag(&part.etag)
                .set_checksum_crc64_nvme(part.crc64nvme.clone())
                .build()
        })
        .collect();
    let there: HashSet<u64> = there.iter().map(|part| part.number).collect();
    let mut waiting = (1..=count).filter(|number| !there.contains(number));
    loop {
        while in_flight.len() < IN_FLIGHT {
            let Some(number) = waiting.next() else { break };
            in_flight.spawn(part(ends.clone(), upload.to_owned(), number, bytes));
        }
        let ended = tokio::select! {
            ended = cx.in_time(&attempt, in_flight.join_next()) => ended?,
            _ = ticks.tick() => {
                let copied = (done.len() as u64 * bytes).min(ends.object.bytes);
                cx.report().say(&format!("{attempt}: {} of {}", kit::size(copied), kit::size(ends.object.bytes)));
                continue;
            }
        };
        let Some(ended) = ended else { break };
        done.push(ended.map_err(|error| Failure::failed(&attempt).because(error))??);
    }
    done.sort_by_key(CompletedPart::part_number);
    Ok(done)
}

/// Copies one part; repeating it replaces the part. S3 refuses it when the source is not the one that was seen.
///
/// The checksum of a part is echoed when the upload is completed, which S3 insists on.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
async fn part(ends: Ends, upload: String, number: u64, bytes: u64) -> Result<CompletedPart, Failure> {
    let to = &ends.destination;
    let attempt = format!("copy part {number} to {}", to.uri(&ends.key));
    let first = (number - 1) * bytes;
    let last = (first + bytes).min(ends.object.bytes) - 1;
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = to
            .client
            .upload_part_copy()
            .bucket(&to.name)
            .key(&ends.key)
            .upload_id(&upload)
            .part_number(number)
            .copy_source(copy_source(&ends))
            .copy_source_if_match(&ends.object.etag)
            .copy_source_range(format!("bytes={first}-{last}"))
            .set_expected_bucket_owner(to.owner.clone())
            .set_expected_source_bucket_owner(ends.source.owner.clone())
            .customize()
            .config_override(patient(bytes))
            .send()
            .await;
        let failure = match sent {
            Ok(answer) => {
                let Some(result) = answer.copy_part_result() else {
                    return Err(Failure::failed(attempt).because("the answer has no result"));
                };
                return Ok(CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(result.e_tag().map(str::to_owned))
                    .set_checksum_crc64_nvme(result.checksum_crc64_nvme().map(str::to_owned))
                    .build());
            }
            Err(error) => aws::failure(&attempt, "s3:PutObject", &to.arn(&ends.key), error)
                .help(format!("and `s3:GetObject` on {}", ends.source.arn(&ends.source_key))),
        };
        if !failure.is_transient() || tries == TRIES {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE * tries).await;
    }
}

/// Completes the upload, to a key that is as it was seen. Whatever the answer, a look decides: an answer can be lost, and a
/// repeated call is told that the upload is gone or the key is taken.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>; a 200 may carry an error in its
/// body, which the SDK takes for one.
async fn commit(
    cx: &Cx,
    ends: &Ends,
    copy: &Copy,
    upload: &str,
    parts: Vec<CompletedPart>,
    (count, resumed): (u64, bool),
) -> Result<Written, Failure> {
    // From here on nothing is dropped half-way.
    cx.or_cancelled(std::future::ready(())).await.map_err(|failure| failure.untouched(true))?;
    let to = &ends.destination;
    let attempt = format!("complete the upload of {}", to.uri(&ends.key));
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = to
            .client
            .complete_multipart_upload()
            .bucket(&to.name)
            .key(&ends.key)
            .upload_id(upload)
            .set_if_none_match(copy.replaces.is_none().then(|| "*".to_owned()))
            .set_if_match(copy.replaces.as_ref().map(|replaced| replaced.etag.clone()))
            .checksum_type(ChecksumType::FullObject)
            // S3 compares it with what the parts make up, and commits nothing else. Only where parts were taken up: those of
            // this run were each pinned, and not every other store takes it.
            .set_checksum_crc64_nvme(resumed.then(|| ends.object.crc64nvme.clone()).flatten())
            .mpu_object_size(i64::try_from(ends.object.bytes).unwrap_or(i64::MAX))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build())
            .set_expected_bucket_owner(to.owner.clone())
            .customize()
            .config_override(once(ends.object.bytes))
            .send()
            .await;
        let failure = match sent {
            Ok(answer) => {
                if let Some(etag) = answer.e_tag() {
                    return Ok(Written {
                        etag: etag.to_owned(),
                        version: answer.version_id().filter(|id| *id != "null").map(str::to_owned),
                        bytes: ends.object.bytes,
                    });
                }
                Failure::failed(&attempt).because("the answer names no ETag")
            }
            Err(error) => aws::failure(&attempt, "s3:PutObject", &to.arn(&ends.key), error),
        };
        match taken_effect(ends, copy.replaces.as_ref(), Some(count)).await? {
            Look::Done(written) => return Ok(written),
            Look::Superseded(why) => return Err(superseded(&attempt, &why)),
            Look::Nothing if failure.is_transient() && tries < TRIES => {}
            Look::Nothing => return Err(without_effect(failure)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
