//! Copies one object of a tree: in the usual case with a single call.
//!
//! `CopyObject` carries metadata and tags over by itself, and its answer has the copy's `ETag`, which is the source's where
//! both are an MD5. Only where it is not, a look is needed. `If-None-Match` and `If-Match` make a repeated call harmless.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::operation::copy_object::{CopyObjectError, CopyObjectOutput};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, MetadataDirective, ServerSideEncryption, StorageClass, TaggingDirective,
};
use kit::{Cx, Failure};
use s3::{Bucket, Object};
use time::OffsetDateTime;

use super::item::{Done, Line, Work, shown};
use super::{Origin, Tree};
use crate::apply::{Ends, encoded};
use crate::parts;
use crate::plan::{self, How, Request, Side, There, World};
use crate::problem::Problem;
use crate::prove::prove;
use crate::read;
use crate::send::{Payload, Target, send};
use crate::types;
use crate::unfinished;
use crate::verify::{Contents, Wanted, contents};

/// How often a call is tried; a throttled bucket needs a while.
const TRIES: u32 = 8;

/// Both places of one object.
struct One<'a> {
    tree: &'a Tree,
    source: &'a Bucket,
    source_key: String,
    key: String,
    line: Line,
}

pub(crate) async fn copy(tree: &Tree, line: Line, is_late: bool) -> Result<Done, Problem> {
    let (bucket, prefix, through) = match &tree.origin {
        Origin::Folder(folder) => return file(tree, line, folder).await,
        Origin::Bucket { bucket, prefix, through } => (bucket, prefix, *through),
    };
    let one = One {
        tree,
        source: bucket,
        source_key: format!("{prefix}{}", line.item.key),
        key: format!("{}{}", tree.to, line.item.key),
        line,
    };
    if through {
        one.through().await
    } else if tree.is_large(one.line.item.bytes) {
        one.large(is_late).await
    } else {
        one.small().await
    }
}

impl One<'_> {
    async fn small(&self) -> Result<Done, Problem> {
        let item = &self.line.item;
        // Written in parts, the ETag will not tell; under a key of KMS, the key has to be carried over.
        let closely = !item.has_md5() || self.far() || self.tree.careful.load(Ordering::Relaxed);
        let seen = if closely { Some(self.look().await?) } else { None };
        let answer = self.send(seen.as_ref(), self.line.there.clone()).await?;
        let (encryption, mut sum, mut done) = match answer {
            Sent::Answered(answer) => self.told(&answer)?,
            Sent::Found(there) => return Ok(self.done(&there)),
        };
        if done.etag == item.etag {
            return Ok(done);
        }
        let source = if let Some(source) = seen {
            source
        } else {
            let source = self.look().await?;
            if source.is_kms() {
                self.tree.careful.store(true, Ordering::Relaxed);
                // What was not known when it was copied.
                if self.tree.kms_key.is_none() && encryption != kms_of(&source) {
                    match self.send(Some(&source), Some(done.etag.clone())).await? {
                        Sent::Answered(answer) => (_, sum, done) = self.told(&answer)?,
                        Sent::Found(there) => return Ok(self.done(&there)),
                    }
                }
            }
            source
        };
        if sum.is_some() && source.crc64nvme == sum {
            return Ok(done);
        }
        let to = &self.tree.destination;
        let Some(there) = to.head(&self.key, None).await?.filter(|there| there.etag == done.etag) else {
            return Err(Problem::Changed(format!("{} (at the destination)", self.key)));
        };
        let judged = match contents(&source, &there) {
            Contents::Unknown => {
                let ends = ((self.source, &*self.source_key, &source), (to, &*self.key, &there));
                read::compare(&self.tree.cx, ends.0, ends.1).await?
            }
            judged => judged,
        };
        match judged {
            Contents::Same(_) => Ok(done),
            Contents::Different(why) => {
                Err(Failure::unverified(format!("verify {}", to.uri(&shown(&self.key))))
                    .because(format!("its content is not the source's: {why}"))
                    .help("do not rely on it; --undo RECEIPT deletes what was copied")
                    .into())
            }
            Contents::Unknown => Err(Failure::unverified(format!("verify {}", to.uri(&shown(&self.key))))
                .because("its content can't be compared")
                .into()),
        }
    }

    fn far(&self) -> bool {
        self.source.region != self.tree.destination.region
    }

    /// The source as it is, which has to be as it was listed.
    async fn look(&self) -> Result<Object, Problem> {
        match self.source.head(&self.source_key, None).await? {
            Some(source) if source.etag == self.line.item.etag => Ok(source),
            Some(_) => Err(Problem::Changed(format!("{} (replaced)", self.source_key))),
            None => Err(Problem::Changed(format!("{} (deleted)", self.source_key))),
        }
    }

    /// One `CopyObject`, again while it may be of use.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
    async fn send(&self, source: Option<&Object>, replaces: Option<String>) -> Result<Sent, Problem> {
        let (tree, item) = (self.tree, &self.line.item);
        let to = &tree.destination;
        let kms = match source {
            _ if tree.kms_key.is_some() => Some(("aws:kms".to_owned(), tree.kms_key.clone())),
            Some(source) if source.is_kms() && self.far() => {
                return Err(Failure::refused(format!("copy {}", self.source.uri(&shown(&self.source_key))))
                    .because(format!(
                        "it is encrypted under a KMS key of the region {}, which {} can't use",
                        self.source.region, to.region
                    ))
                    .help("name a key of the destination's region with --kms-key")
                    .untouched(true)
                    .into());
            }
            Some(source) => kms_of(source),
            None => None,
        };
        let client = tree.copier(item.bytes);
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = client
                .copy_object()
                .bucket(&to.name)
                .key(&self.key)
                .copy_source(encoded(&self.source.name, &self.source_key, None))
                .copy_source_if_match(&item.etag)
                .set_if_none_match(replaces.is_none().then(|| "*".to_owned()))
                .set_if_match(replaces.clone())
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .metadata_directive(MetadataDirective::Copy)
                .set_website_redirect_location(
                    source.and_then(|source| source.headers.get("x-amz-website-redirect-location").cloned()),
                )
                .tagging_directive(if tree.no_tags {
                    TaggingDirective::Replace
                } else {
                    TaggingDirective::Copy
                })
                .storage_class(StorageClass::from(item.class.as_str()))
                .set_server_side_encryption(
                    kms.as_ref().map(|(algorithm, _)| ServerSideEncryption::from(algorithm.as_str())),
                )
                .set_ssekms_key_id(kms.as_ref().and_then(|(_, key)| key.clone()))
                .set_bucket_key_enabled(kms.as_ref().and_then(|_| source?.bucket_key))
                .set_expected_bucket_owner(to.owner.clone())
                .set_expected_source_bucket_owner(self.source.owner.clone())
                .send()
                .await;
            let error = match sent {
                Ok(answer) => return Ok(Sent::Answered(Box::new(answer))),
                Err(error) => error,
            };
            let code = error.as_service_error().and_then(CopyObjectError::code).map(str::to_owned);
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            let failure = aws::failure(
                format!(
                    "copy {} to {}",
                    self.source.uri(&shown(&self.source_key)),
                    to.uri(&shown(&self.key))
                ),
                "s3:PutObject",
                &to.arn(&self.key),
                error,
            )
            .help(format!("and `s3:GetObject` on {}", self.source.arn(&self.source_key)));
            // A 200 can carry an error of S3's own side, which is as transient as a 500.
            let again = failure.is_transient()
                || matches!(code.as_deref(), Some("InternalError" | "ConditionalRequestConflict"));
            match status {
                Some(412 | 404) => return self.taken(replaces.as_deref(), failure).await,
                _ if again && tries < TRIES => tree.cx.pause(pause(tries, tree.cx.now().microsecond())).await,
                // The last answer may have been lost after the copy was made.
                _ if again => return self.taken(replaces.as_deref(), failure.transient(true)).await,
                _ => return Err(failure.into()),
            }
        }
    }

    /// After a condition did not hold: the call's own earlier try, or someone else's doing.
    async fn taken(&self, replaces: Option<&str>, failure: Failure) -> Result<Sent, Problem> {
        let source = self.look().await?;
        match self.tree.destination.head(&self.key, None).await? {
            Some(there) if replaces == Some(&there.etag) => Err(failure.into()),
            Some(there) => match contents(&source, &there) {
                Contents::Same(_) => Ok(Sent::Found(Box::new(there))),
                _ => Err(Problem::Changed(format!("{} (written by someone else)", self.key))),
            },
            None if replaces.is_some() => {
                Err(Problem::Changed(format!("{} (deleted at the destination)", self.key)))
            }
            None => Err(failure.into()),
        }
    }

    /// How the copy is encrypted, its CRC-64/NVME, and what is noted.
    fn told(&self, answer: &CopyObjectOutput) -> Result<(Kms, Option<String>, Done), Problem> {
        let result = answer.copy_object_result();
        let Some(etag) = result.and_then(|result| result.e_tag()) else {
            return Err(Failure::failed(format!("copy {}", self.source.uri(&shown(&self.source_key))))
                .because("the answer names no ETag")
                .transient(true)
                .into());
        };
        let algorithm = answer.server_side_encryption().map(|algorithm| algorithm.as_str().to_owned());
        let kms = algorithm
            .filter(|algorithm| algorithm.starts_with("aws:kms"))
            .map(|algorithm| (algorithm, answer.ssekms_key_id().map(str::to_owned)));
        let done = Done {
            key: self.line.item.key.clone(),
            bytes: self.line.item.bytes,
            etag: etag.to_owned(),
            version: answer.version_id().filter(|id| *id != "null").map(str::to_owned),
            sha256: None,
        };
        Ok((kms, result.and_then(|result| result.checksum_crc64_nvme()).map(str::to_owned), done))
    }

    fn done(&self, there: &Object) -> Done {
        Done {
            key: self.line.item.key.clone(),
            bytes: there.bytes,
            etag: there.etag.clone(),
            version: there.version.clone(),
            sha256: None,
        }
    }

    /// Read and written by this process, with all that belongs to it but the key of KMS, which is the source's.
    async fn through(&self) -> Result<Done, Problem> {
        let tree = self.tree;
        let mut object = self.look().await?;
        if !tree.no_tags {
            object.tags = Some(crate::observe::tags(&tree.cx, self.source, &self.source_key, None).await?);
        }
        let wanted = Wanted {
            headers: object.headers.clone(),
            metadata: object.metadata.clone(),
            tags: object.tags.clone(),
            storage_class: object.storage_class.clone(),
            kms: tree.kms_key.clone().map(|key| ("aws:kms".to_owned(), Some(key))),
        };
        let target = target(tree, &self.line, wanted);
        let payload = Payload::Object {
            bucket: self.source.clone(),
            key: self.source_key.clone(),
            object: Box::new(object),
        };
        let sent = send(&tree.cx, &payload, &target, &tree.memory).await?;
        Ok(noted(&self.line, sent))
    }

    /// What one call can't copy: as a single object is copied, with all that belongs to it.
    async fn large(&self, is_late: bool) -> Result<Done, Problem> {
        let tree = self.tree;
        let _permit = tree.large.acquire().await;
        let cx: &Cx = &tree.cx;
        let mut object = self.look().await?;
        if !tree.no_tags {
            object.tags = Some(crate::observe::tags(cx, self.source, &self.source_key, None).await?);
        }
        let to = &tree.destination;
        let there = match &self.line.there {
            None => None,
            Some(etag) => match to.head(&self.key, None).await? {
                Some(facts) if facts.etag == *etag => {
                    Some(There { facts, contents: Contents::Different("it is written again".to_owned()) })
                }
                _ => return Err(Problem::Changed(format!("{} (at the destination)", self.key))),
            },
        };
        let side = |bucket: &Bucket, key: &str| Side {
            bucket: bucket.name.clone(),
            key: key.to_owned(),
            region: bucket.region.clone(),
        };
        let world = World {
            now: cx.now(),
            source: side(self.source, &self.source_key),
            object: object.clone(),
            destination: side(to, &self.key),
            there,
            unfinished: unfinished::begun_by(cx, to, &self.key, &tree.ours).await?,
            // An upload that was begun earlier would be older than the others of its folder.
            newest_beside: is_late
                .then(|| OffsetDateTime::from_unix_timestamp(i64::from(u32::MAX)).ok())
                .flatten(),
            chosen: None,
        };
        let request = Request {
            replace: self.line.work != Work::Copy,
            abort_others: tree.abort_others,
            multipart_above: tree.multipart_above,
            part_size: tree.part_size,
            kms_key: tree.kms_key.clone(),
            through: false,
        };
        let plan = plan::plan(&request, &world)?;
        let plan::Work::Copy(copy) = &plan.work else {
            return Err(Failure::failed("copy in parts").because("there is nothing to copy").into());
        };
        let How::Parts { bytes, count, resume } = &copy.how else {
            return Err(Failure::failed("copy in parts").because("it is not large").into());
        };
        for (_, upload) in plan.aborts() {
            to.abort(upload).await?;
        }
        let ends = Ends {
            source: self.source.clone(),
            source_key: self.source_key.clone(),
            object,
            destination: to.clone(),
            key: self.key.clone(),
            ours: tree.ours.clone(),
        };
        let written = parts::copy(cx, &ends, copy, *bytes, *count, resume.as_ref()).await?;
        prove(cx, &ends, &copy.wanted, &written, resume.is_some()).await?;
        Ok(Done {
            key: self.line.item.key.clone(),
            bytes: written.bytes,
            etag: written.etag,
            version: written.version,
            sha256: None,
        })
    }
}

/// A file, and what its name says that it is.
async fn file(tree: &Tree, line: Line, folder: &Path) -> Result<Done, Problem> {
    let of_name = || types::of(&line.item.key).to_owned();
    let wanted = Wanted::of_file(tree.content_type.clone().unwrap_or_else(of_name), tree.kms_key.as_ref());
    let target = target(tree, &line, wanted);
    let sent = send(&tree.cx, &Payload::File(folder.join(&line.item.key)), &target, &tree.memory).await?;
    Ok(noted(&line, sent))
}

fn target(tree: &Tree, line: &Line, wanted: Wanted) -> Target {
    Target {
        bucket: tree.destination.clone(),
        key: format!("{}{}", tree.to, line.item.key),
        replaces: line.there.clone(),
        wanted,
        bucket_key: None,
        ours: tree.ours.clone(),
        sha256: tree.archive,
    }
}

fn noted(line: &Line, sent: crate::send::Sent) -> Done {
    Done {
        key: line.item.key.clone(),
        bytes: sent.bytes,
        etag: sent.etag,
        version: sent.version,
        sha256: sent.sha256.map(|sha256| kit::hex(&sha256)),
    }
}

/// Algorithm and key.
type Kms = Option<(String, Option<String>)>;

fn kms_of(object: &Object) -> Kms {
    let algorithm = object.encryption.clone().filter(|_| object.is_kms())?;
    Some((algorithm, object.kms_key.clone()))
}

/// What became of a call.
enum Sent {
    Answered(Box<CopyObjectOutput>),
    /// An earlier try has made the copy.
    Found(Box<Object>),
}

/// Longer from try to try, and not the same for all that are throttled together.
fn pause(tries: u32, microsecond: u32) -> Duration {
    Duration::from_millis(200 << tries.min(5)).mul_f64(0.5 + f64::from(microsecond % 1000) / 1000.0)
}
