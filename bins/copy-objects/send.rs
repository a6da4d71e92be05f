//! Writes what this process reads, of a file or of an object elsewhere, in the memory of a few parts.
//!
//! The checksum is made of the very bytes that are sent, part by part and of the whole, and S3 refuses what has another.

use std::path::PathBuf;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    StorageClass,
};
use bytes::Bytes;
use kit::{Cx, Failure};
use s3::{Bucket, Object, Reading, TRIES, once};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::parts::{begin, put_away, tagging};
use crate::problem::Problem;
use crate::reader::{From, PAUSE, READS, Reader, Sums, is_still, open, sums_of};
use crate::verify::Wanted;

const KIB: u64 = 1 << 10;
/// What is at most in memory of all that is sent at the same time, unless a single part is larger.
const MEMORY: u64 = 15 << 20;
/// The smallest part that S3 takes: small parts are little memory. They grow where there would be too many.
pub(crate) const PART: u64 = 5 << 20;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    File(PathBuf),
    /// As long as it is the one that was seen.
    Object {
        bucket: Bucket,
        key: String,
        object: Box<Object>,
    },
}

/// Where it goes, and what it is there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
    /// The `ETag` of the object that it replaces.
    pub(crate) replaces: Option<String>,
    pub(crate) wanted: Wanted,
    pub(crate) bucket_key: Option<bool>,
    /// The principal of this run.
    pub(crate) ours: String,
    /// Of a file: SHA-256 is wanted too.
    pub(crate) sha256: bool,
}

/// What was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    pub(crate) version: Option<String>,
    pub(crate) crc64nvme: String,
    pub(crate) sha256: Option<[u8; 32]>,
}

/// How many bytes are held at the same time, in KiB.
pub(crate) fn memory() -> std::sync::Arc<Semaphore> {
    std::sync::Arc::new(Semaphore::new(permits(MEMORY)))
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes.min(MEMORY).div_ceil(KIB)).unwrap_or(1).max(1)
}

/// Sends it, and looks whether it is there.
pub(crate) async fn send(
    cx: &Cx,
    payload: &Payload,
    target: &Target,
    memory: &std::sync::Arc<Semaphore>,
) -> Result<Sent, Problem> {
    match payload {
        Payload::Object { bucket, key, object } => {
            let attempt = format!("read {}", bucket.uri(key));
            let mut reader = Reader::new(From::Object(Reading::new(bucket, key, object, attempt)), false);
            let upload = Upload { cx, target, memory, bytes: object.bytes };
            let kept = object.crc64nvme.clone();
            let wanted = object.bytes;
            upload
                .run(&mut reader, async |sums| {
                    if sums.bytes != wanted || kept.as_ref().is_some_and(|kept| *kept != sums.crc64nvme) {
                        return Err(Failure::failed(format!("read {}", bucket.uri(key)))
                            .because("what was read is not what S3 keeps: another size or CRC-64/NVME")
                            .help("run the same command again")
                            .into());
                    }
                    Ok(true)
                })
                .await?
                .ok_or_else(|| Problem::Changed(key.clone()))
        }
        Payload::File(path) => {
            for _ in 0..READS {
                let (file, stamped) = open(path).await?;
                let mut reader = Reader::new(From::File(file, path), target.sha256);
                let upload = Upload { cx, target, memory, bytes: stamped.bytes };
                let sent = upload
                    .run(&mut reader, async |sums| {
                        Ok(sums.bytes == stamped.bytes && is_still(path, stamped).await)
                    })
                    .await?;
                if let Some(sent) = sent {
                    return Ok(sent);
                }
                cx.or_cancelled(cx.pause(PAUSE)).await?;
            }
            Err(Problem::Changed(format!("{} (changes while it is read)", path.display())))
        }
    }
}

/// How far an upload in parts has come.
enum Begun {
    No,
    /// The call was made; what it answered is not known.
    Maybe,
    /// Under this id.
    As(String),
}

/// One object that is being written.
struct Upload<'a> {
    cx: &'a Cx,
    target: &'a Target,
    memory: &'a std::sync::Arc<Semaphore>,
    /// As many as are expected.
    bytes: u64,
}

impl Upload<'_> {
    /// Reads to the end and commits what came, if `permit` has nothing against it; else there is no object.
    async fn run(
        &self,
        reader: &mut Reader<'_>,
        permit: impl AsyncFnOnce(&Sums) -> Result<bool, Problem>,
    ) -> Result<Option<Sent>, Problem> {
        if self.bytes <= PART {
            let _held = self.hold(self.bytes).await?;
            // One more than expected, so that a file that has grown is seen.
            let body = reader.fill(self.cx, self.bytes + 1).await?;
            let sums = reader.so_far();
            return if permit(&sums).await? { self.put(body, &sums).await.map(Some) } else { Ok(None) };
        }
        let mut begun = Begun::No;
        let ended = self.in_parts(reader, permit, &mut begun).await;
        if !matches!((&ended, &begun), (Ok(Some(_)), _) | (_, Begun::No)) {
            let target = self.target;
            let id = if let Begun::As(id) = &begun { Some(id.as_str()) } else { None };
            if let Err(left) = put_away(&target.bucket, &target.key, &target.ours, id).await {
                let state = format!(
                    "an unfinished upload of {} may remain ({left}: {})",
                    target.bucket.uri(&target.key),
                    left.chain().join(": ")
                );
                return Err(match ended {
                    Err(Problem::Failed(failure)) => failure.untouched(false).state(state).into(),
                    _ => Failure::failed("abort an upload").state(state).into(),
                });
            }
        }
        ended
    }

    async fn hold(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Failure> {
        let permits = u32::try_from(permits(bytes)).unwrap_or(1);
        let held = std::sync::Arc::clone(self.memory).acquire_many_owned(permits);
        let held = self.cx.in_time("wait for memory", held).await?;
        held.map_err(|error| Failure::failed("wait for memory").because(error))
    }

    fn attempt(&self) -> String {
        format!("write {}", self.target.bucket.uri(&self.target.key))
    }

    /// One `PutObject`. The checksum is among the signed headers; to hash the payload once more would prove nothing.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
    async fn put(&self, body: Bytes, sums: &Sums) -> Result<Sent, Problem> {
        let Target { bucket, key, replaces, wanted, bucket_key, .. } = self.target;
        let header = |name: &str| wanted.headers.get(name).cloned();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut call = bucket
                .client
                .put_object()
                .bucket(&bucket.name)
                .key(key)
                .set_if_none_match(replaces.is_none().then(|| "*".to_owned()))
                .set_if_match(replaces.clone())
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .checksum_crc64_nvme(&sums.crc64nvme)
                .set_cache_control(header("Cache-Control"))
                .set_content_disposition(header("Content-Disposition"))
                .set_content_encoding(header("Content-Encoding"))
                .set_content_language(header("Content-Language"))
                .set_content_type(header("Content-Type"))
                .set_website_redirect_location(header("x-amz-website-redirect-location"))
                .set_tagging(tagging(wanted))
                .storage_class(StorageClass::from(wanted.storage_class.as_str()))
                .set_server_side_encryption(
                    wanted.kms.as_ref().map(|(algorithm, _)| ServerSideEncryption::from(algorithm.as_str())),
                )
                .set_ssekms_key_id(wanted.kms.as_ref().and_then(|(_, key)| key.clone()))
                .set_bucket_key_enabled(wanted.kms.as_ref().and(*bucket_key))
                .set_expected_bucket_owner(bucket.owner.clone())
                .body(ByteStream::from(body.clone()));
            for (name, value) in &wanted.metadata {
                call = call.metadata(name, value);
            }
            let expires = header("Expires");
            let sent = call
                .customize()
                .config_override(once(sums.bytes * 40))
                .mutate_request(move |request| {
                    if let Some(expires) = &expires {
                        request.headers_mut().insert("expires", expires.clone());
                    }
                })
                .disable_payload_signing()
                .send();
            let error = match self.cx.in_time(&self.attempt(), sent).await? {
                Ok(answer) => {
                    let told = answer.checksum_crc64_nvme() == Some(&sums.crc64nvme);
                    return match answer.e_tag() {
                        Some(etag) if told => Ok(sums
                            .sent(etag, answer.version_id().filter(|id| *id != "null").map(str::to_owned))),
                        // A store that does not say what it has.
                        _ => self.look(sums).await?.ok_or_else(|| self.unseen().into()),
                    };
                }
                Err(error) => error,
            };
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
            let failure = aws::failure(self.attempt(), "s3:PutObject", &bucket.arn(key), error);
            let again = failure.is_transient() || code.as_deref() == Some("ConditionalRequestConflict");
            if status == Some(412) || again {
                match self.look(sums).await? {
                    Some(sent) => return Ok(sent),
                    None if status == Some(412) => return Err(self.taken()),
                    None if again && tries < TRIES => {}
                    None => return Err(failure.into()),
                }
            } else {
                return Err(failure.into());
            }
            self.cx.or_cancelled(self.cx.pause(PAUSE * (1 << tries.min(5)))).await?;
        }
    }

    async fn in_parts(
        &self,
        reader: &mut Reader<'_>,
        permit: impl AsyncFnOnce(&Sums) -> Result<bool, Problem>,
        begun: &mut Begun,
    ) -> Result<Option<Sent>, Problem> {
        let Target { bucket, key, wanted, bucket_key, ours, .. } = self.target;
        let size = part_size(self.bytes);
        // What an earlier run that was killed has left of the same.
        put_away(bucket, key, ours, None).await?;
        *begun = Begun::Maybe;
        let upload = begin(self.cx, (bucket, key, ours), wanted, *bucket_key).await?;
        *begun = Begun::As(upload.clone());
        let mut in_flight: JoinSet<Result<CompletedPart, Failure>> = JoinSet::new();
        let mut parts = Vec::new();
        let mut progress = s3::Progress::new();
        for number in 1.. {
            let held = loop {
                tokio::select! {
                    held = self.hold(size) => break held?,
                    Some(part) = in_flight.join_next() => parts.push(joined(part)?),
                    () = progress.due() => progress.say(self.cx, &self.attempt(), None),
                }
            };
            let body = reader.fill(self.cx, size).await?;
            let last = (body.len() as u64) < size;
            progress.bytes += body.len() as u64;
            if reader.bytes > self.bytes {
                // A file that grows: it will not be what it was.
                return Ok(None);
            }
            if !body.is_empty() {
                let (bucket, key, upload) = (bucket.clone(), key.clone(), upload.clone());
                in_flight.spawn(async move {
                    let crc = s3::base64(crc_fast::crc64_nvme(&body));
                    let part = bucket.part(&key, &upload, number, body, crc).await;
                    drop(held);
                    part
                });
            }
            if last {
                break;
            }
        }
        while !in_flight.is_empty() {
            tokio::select! {
                part = self.cx.in_time("upload", in_flight.join_next()) => {
                    if let Some(part) = part? {
                        parts.push(joined(part)?);
                    }
                }
                () = progress.due() => progress.say(self.cx, &self.attempt(), Some("waiting for S3")),
            }
        }
        parts.sort_by_key(CompletedPart::part_number);
        let sums = reader.so_far();
        if !permit(&sums).await? {
            return Ok(None);
        }
        self.complete(&upload, parts, &sums).await.map(Some)
    }

    /// Completes the upload. Whatever the answer, the object decides, which has to have the CRC-64/NVME of what was sent. It is
    /// not sent along: not every store makes one of the whole of those of the parts.
    async fn complete(&self, upload: &str, parts: Vec<CompletedPart>, sums: &Sums) -> Result<Sent, Problem> {
        let Target { bucket, key, replaces, .. } = self.target;
        self.cx.or_cancelled(std::future::ready(())).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = bucket
                .client
                .complete_multipart_upload()
                .bucket(&bucket.name)
                .key(key)
                .upload_id(upload)
                .set_if_none_match(replaces.is_none().then(|| "*".to_owned()))
                .set_if_match(replaces.clone())
                .checksum_type(ChecksumType::FullObject)
                .mpu_object_size(i64::try_from(sums.bytes).unwrap_or(i64::MAX))
                .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build())
                .set_expected_bucket_owner(bucket.owner.clone())
                .customize()
                .config_override(once(sums.bytes))
                .send()
                .await;
            let (failure, accepted) = match sent {
                Ok(answer) => {
                    let told = answer.checksum_crc64_nvme() == Some(&sums.crc64nvme);
                    if let (Some(etag), true) = (answer.e_tag(), told) {
                        let version = answer.version_id().filter(|id| *id != "null").map(str::to_owned);
                        return Ok(sums.sent(etag, version));
                    }
                    (self.unseen(), true)
                }
                Err(error) => (aws::failure(self.attempt(), "s3:PutObject", &bucket.arn(key), error), false),
            };
            if let Some(sent) = self.look(sums).await? {
                return Ok(sent);
            }
            if !failure.is_transient() || tries == TRIES {
                let there = bucket.head(key, None).await?;
                let is_other = there.is_some_and(|there| Some(&there.etag) != replaces.as_ref());
                return Err(if is_other && !accepted { self.taken() } else { failure.into() });
            }
            self.cx.pause(PAUSE * tries).await;
        }
    }

    /// What is there, if it is what was sent. A store without checksums is read.
    async fn look(&self, sums: &Sums) -> Result<Option<Sent>, Problem> {
        let Target { bucket, key, replaces, .. } = self.target;
        let Some(there) = bucket.head(key, None).await? else { return Ok(None) };
        if there.bytes != sums.bytes || Some(&there.etag) == replaces.as_ref() {
            return Ok(None);
        }
        let crc = match there.crc64nvme.clone() {
            Some(crc) => crc,
            None => sums_of(self.cx, bucket, key, &there).await?.crc64nvme,
        };
        Ok((crc == sums.crc64nvme).then(|| sums.sent(&there.etag, there.version.clone())))
    }

    fn taken(&self) -> Problem {
        Problem::Changed(format!("{} (written by someone else)", self.target.key))
    }

    fn unseen(&self) -> Failure {
        Failure::unverified(self.attempt()).because("S3 accepted it, and what is there is not what was sent")
    }
}

impl Sums {
    fn sent(&self, etag: &str, version: Option<String>) -> Sent {
        Sent {
            bytes: self.bytes,
            etag: etag.to_owned(),
            version,
            crc64nvme: self.crc64nvme.clone(),
            sha256: self.sha256,
        }
    }
}

fn joined(
    part: Result<Result<CompletedPart, Failure>, tokio::task::JoinError>,
) -> Result<CompletedPart, Failure> {
    part.map_err(|error| Failure::failed("upload a part").because(error)).and_then(|part| part)
}

/// At most 9,500 parts of it, as large as they have to be.
pub(crate) fn part_size(bytes: u64) -> u64 {
    crate::plan::part_size(bytes, PART)
}
