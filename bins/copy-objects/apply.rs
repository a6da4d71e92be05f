//! Carries the plan out: with `parts.rs` the only file that writes.
//!
//! `CopyObject`, `CreateMultipartUpload` and `CompleteMultipartUpload` have no client token: each is sent once, and before
//! it is sent again a look tells whether it took effect.

use std::time::Duration;

use aws_sdk_s3::types::{
    ChecksumAlgorithm, MetadataDirective, ServerSideEncryption, StorageClass, TaggingDirective,
};
use kit::{Cx, Failure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3::{Bucket, Object, TRIES, once};
use serde::{Deserialize, Serialize};

use crate::parts;
use crate::plan::{Copy, CopyPlan, How, Replaced, Work};
use crate::send::{self, Payload, Target, send};
use crate::verify::{Contents, contents};

const PAUSE: Duration = Duration::from_secs(2);

/// Both ends of a copy.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) source: Bucket,
    pub(crate) source_key: String,
    /// The source as it was seen, which is what is copied or nothing.
    pub(crate) object: Object,
    pub(crate) destination: Bucket,
    pub(crate) key: String,
    /// The principal of this run, where an upload may have to be told from somebody else's.
    pub(crate) ours: String,
}

/// What takes a copy back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inverse {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) owner: Option<String>,
    /// The `ETag` of the object that was there before.
    pub(crate) replaced: Option<String>,
    /// What tells the copy where the answer of its call is not known.
    pub(crate) bytes: u64,
    pub(crate) crc64nvme: Option<String>,
    /// The source's `ETag`.
    pub(crate) etag: String,
}

/// What was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) etag: String,
    pub(crate) version: Option<String>,
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn of(facts: &Object) -> Self {
        Self { etag: facts.etag.clone(), version: facts.version.clone(), bytes: facts.bytes }
    }
}

pub(crate) async fn apply(cx: &Cx, ends: &Ends, plan: &CopyPlan) -> Result<Option<Written>, Failure> {
    for (id, upload) in plan.aborts() {
        cx.act(&id, &serde_json::Value::Null, ends.destination.abort(upload)).await?;
    }
    let Work::Copy(copy) = &plan.work else { return Ok(None) };
    let inverse = Inverse {
        bucket: ends.destination.name.clone(),
        key: ends.key.clone(),
        owner: ends.destination.owner.clone(),
        replaced: copy.replaces.as_ref().map(|replaced| replaced.etag.clone()),
        bytes: ends.object.bytes,
        crc64nvme: ends.object.crc64nvme.clone(),
        etag: ends.object.etag.clone(),
    };
    let call = async {
        match &copy.how {
            How::One => one(cx, ends, copy).await,
            How::Through => through(cx, ends, copy).await,
            How::Parts { bytes, count, resume } => {
                parts::copy(cx, ends, copy, *bytes, *count, resume.as_ref()).await
            }
        }
    };
    cx.act(&plan.id, &inverse, call).await.map(Some)
}

/// Through this process.
async fn through(cx: &Cx, ends: &Ends, copy: &Copy) -> Result<Written, Failure> {
    let payload = Payload::Object {
        bucket: ends.source.clone(),
        key: ends.source_key.clone(),
        object: Box::new(ends.object.clone()),
    };
    let target = Target {
        bucket: ends.destination.clone(),
        key: ends.key.clone(),
        replaces: copy.replaces.as_ref().map(|replaced| replaced.etag.clone()),
        wanted: copy.wanted.clone(),
        bucket_key: ends.object.bucket_key,
        ours: ends.ours.clone(),
        sha256: false,
    };
    let sent = send(cx, &payload, &target, &send::memory()).await.map_err(|problem| {
        let attempt =
            format!("copy {} to {}", ends.source.uri(&ends.source_key), target.bucket.uri(&target.key));
        problem.alone(&attempt)
    })?;
    Ok(Written { etag: sent.etag, version: sent.version, bytes: sent.bytes })
}

/// One `CopyObject`: of exactly the object that was seen, to a key that is as it was seen.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>; a 200 may carry an error in its body, which
/// the SDK takes for one.
async fn one(cx: &Cx, ends: &Ends, copy: &Copy) -> Result<Written, Failure> {
    let (to, wanted) = (&ends.destination, &copy.wanted);
    let attempt = format!("copy {} to {}", ends.source.uri(&ends.source_key), to.uri(&ends.key));
    let mut tries = 0;
    loop {
        tries += 1;
        let call = to
            .client
            .copy_object()
            .bucket(&to.name)
            .key(&ends.key)
            .copy_source(copy_source(ends))
            .copy_source_if_match(&ends.object.etag)
            .set_if_none_match(copy.replaces.is_none().then(|| "*".to_owned()))
            .set_if_match(copy.replaces.as_ref().map(|replaced| replaced.etag.clone()))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .metadata_directive(MetadataDirective::Copy)
            // Not carried over by that directive.
            .set_website_redirect_location(wanted.headers.get("x-amz-website-redirect-location").cloned())
            .tagging_directive(if wanted.tags.is_some() {
                TaggingDirective::Copy
            } else {
                TaggingDirective::Replace
            })
            .storage_class(StorageClass::from(wanted.storage_class.as_str()))
            .set_server_side_encryption(
                wanted.kms.as_ref().map(|(algorithm, _)| ServerSideEncryption::from(algorithm.as_str())),
            )
            .set_ssekms_key_id(wanted.kms.as_ref().and_then(|(_, key)| key.clone()))
            .set_bucket_key_enabled(wanted.kms.as_ref().and(ends.object.bucket_key))
            .set_expected_bucket_owner(to.owner.clone())
            .set_expected_source_bucket_owner(ends.source.owner.clone())
            .customize()
            .config_override(once(ends.object.bytes))
            .send();
        let failure = match cx.in_time(&attempt, call).await? {
            Ok(answer) => {
                if let Some(etag) = answer.copy_object_result().and_then(|result| result.e_tag()) {
                    return Ok(Written {
                        etag: etag.to_owned(),
                        version: answer.version_id().filter(|id| *id != "null").map(str::to_owned),
                        bytes: ends.object.bytes,
                    });
                }
                Failure::failed(&attempt).because("the answer names no ETag")
            }
            Err(error) => aws::failure(&attempt, "s3:PutObject", &to.arn(&ends.key), error)
                .help(format!("and `s3:GetObject` on {}", ends.source.arn(&ends.source_key))),
        };
        match taken_effect(ends, copy.replaces.as_ref(), None).await? {
            Look::Done(written) => return Ok(written),
            Look::Superseded(why) => return Err(superseded(&attempt, &why)),
            Look::Nothing if failure.is_transient() && tries < TRIES => {}
            Look::Nothing => return Err(without_effect(failure)),
        }
        cx.or_cancelled(cx.pause(PAUSE)).await?;
    }
}

/// What became of a call whose answer was an error.
pub(crate) enum Look {
    /// The copy is there.
    Done(Written),
    /// Someone else changed the source or the destination.
    Superseded(String),
    /// Everything is as it was.
    Nothing,
}

/// Looks at both ends. A copy in parts has as many as its `ETag` says.
pub(crate) async fn taken_effect(
    ends: &Ends,
    replaced: Option<&Replaced>,
    parts: Option<u64>,
) -> Result<Look, Failure> {
    let there = ends.destination.head(&ends.key, None).await?;
    let before = replaced.map(|replaced| replaced.etag.as_str());
    if let Some(there) = &there
        && (before != Some(there.etag.as_str())
            || replaced.is_some_and(|replaced| replaced.version != there.version))
    {
        let ours = match contents(&ends.object, there) {
            Contents::Same(_) => true,
            Contents::Different(_) => false,
            Contents::Unknown => match parts {
                Some(count) => there.etag.trim_matches('"').ends_with(&format!("-{count}")),
                None => !there.etag.contains('-'),
            },
        };
        return Ok(if ours {
            Look::Done(Written::of(there))
        } else {
            Look::Superseded(format!("{} was written by someone else", ends.destination.uri(&ends.key)))
        });
    }
    if there.is_none() && replaced.is_some() {
        return Ok(Look::Superseded(format!("{} was deleted", ends.destination.uri(&ends.key))));
    }
    let now = ends.source.head(&ends.source_key, ends.object.version.as_deref()).await?;
    Ok(match now {
        Some(now) if now.etag == ends.object.etag => Look::Nothing,
        Some(_) => Look::Superseded(format!("{} was replaced", ends.source.uri(&ends.source_key))),
        None => Look::Superseded(format!("{} was deleted", ends.source.uri(&ends.source_key))),
    })
}

/// A call that was refused, and of which nothing is seen, had no effect. One that was not answered may yet have one.
pub(crate) fn without_effect(failure: Failure) -> Failure {
    let refused = !failure.is_transient();
    if refused { failure.untouched(true) } else { failure }
}

pub(crate) fn superseded(attempt: &str, why: &str) -> Failure {
    Failure::waiting(attempt)
        .because(format!("{why} since it was looked at, and nothing was copied"))
        .help("run the same command again: it looks anew")
        .untouched(true)
}

pub(crate) fn copy_source(ends: &Ends) -> String {
    encoded(&ends.source.name, &ends.source_key, ends.object.version.as_deref())
}

/// Percent-encoded, as the header wants it.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html#API_CopyObject_RequestSyntax>
pub(crate) fn encoded(bucket: &str, key: &str, version: Option<&str>) -> String {
    const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let key = utf8_percent_encode(key, KEY);
    let version = version.map(|id| format!("?versionId={id}")).unwrap_or_default();
    format!("{bucket}/{key}{version}")
}
