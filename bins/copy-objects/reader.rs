//! Bytes of a file or an object, in order, summed up as they go by.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use kit::{Cx, Failure};
use rustix::fs::OFlags;
use s3::{Bucket, Object, Reading, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::problem::Problem;

/// What is read at once where nothing is sent.
const CHUNK: u64 = 256 << 10;
/// How often a file that changes while it is read is read anew.
pub(crate) const READS: u32 = 3;
/// Before it is.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// The sums of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) crc64nvme: String,
    /// Where it was asked for: it takes several times as long as all else.
    pub(crate) sha256: Option<[u8; 32]>,
}

/// What has to be the same before and after a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) bytes: u64,
    modified: (i64, i64),
}

fn stamp(facts: &std::fs::Metadata) -> Stamp {
    Stamp {
        device: facts.dev(),
        inode: facts.ino(),
        bytes: facts.len(),
        modified: (facts.mtime(), facts.mtime_nsec()),
    }
}

/// Opens a regular file, and nothing that was put in its place.
pub(crate) async fn open(path: &Path) -> Result<(tokio::fs::File, Stamp), Problem> {
    let failed = |error: std::io::Error| Failure::failed(format!("read {}", path.display())).because(error);
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = tokio::fs::OpenOptions::from({
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(flags);
        options
    })
    .open(path)
    .await
    .map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Problem::Changed(format!("{} (deleted)", path.display())),
        _ => failed(error).into(),
    })?;
    let facts = file.metadata().await.map_err(failed)?;
    if !facts.is_file() {
        return Err(Problem::Changed(format!("{} (no regular file any more)", path.display())));
    }
    Ok((file, stamp(&facts)))
}

pub(crate) async fn is_still(path: &Path, stamped: Stamp) -> bool {
    tokio::fs::symlink_metadata(path).await.is_ok_and(|facts| stamp(&facts) == stamped)
}

/// The sums of a file, if it does not change while it is read.
pub(crate) async fn sums(cx: &Cx, path: &Path, sha256: bool) -> Result<Sums, Problem> {
    for _ in 0..READS {
        let (file, stamped) = open(path).await?;
        let mut reader = Reader::new(From::File(file, path), sha256);
        while !reader.fill(cx, CHUNK).await?.is_empty() {}
        let sums = reader.so_far();
        if sums.bytes == stamped.bytes && is_still(path, stamped).await {
            return Ok(sums);
        }
        cx.or_cancelled(cx.pause(PAUSE)).await?;
    }
    Err(Problem::Changed(format!("{} (changes while it is read)", path.display())))
}

/// Bytes in order, summed up as they go by.
pub(crate) struct Reader<'a> {
    from: From<'a>,
    left: Bytes,
    pub(crate) bytes: u64,
    crc: crc_fast::Digest,
    sha256: Option<Sha256>,
}

pub(crate) enum From<'a> {
    File(tokio::fs::File, &'a Path),
    Object(Reading<'a>),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(from: From<'a>, sha256: bool) -> Self {
        let crc = crc_fast::Digest::new(Crc64Nvme);
        Self { from, left: Bytes::new(), bytes: 0, crc, sha256: sha256.then(Sha256::new) }
    }

    /// So many bytes; fewer, or none, at the end.
    pub(crate) async fn fill(&mut self, cx: &Cx, size: u64) -> Result<Bytes, Failure> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut part = BytesMut::with_capacity(size);
        while part.len() < size {
            let wanted = size - part.len();
            match &mut self.from {
                From::File(file, path) => {
                    let mut limited = (&mut *file).take(wanted as u64);
                    let read = cx.in_time("read", limited.read_buf(&mut part)).await?;
                    let read = read.map_err(|error| {
                        Failure::failed(format!("read {}", path.display())).because(error)
                    })?;
                    if read == 0 {
                        break;
                    }
                }
                From::Object(reading) => {
                    if self.left.is_empty() {
                        match reading.next(cx).await? {
                            Some(chunk) => self.left = chunk,
                            None => break,
                        }
                    }
                    let chunk = self.left.split_to(wanted.min(self.left.len()));
                    part.extend_from_slice(&chunk);
                }
            }
        }
        self.bytes += part.len() as u64;
        self.crc.update(&part);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&part);
        }
        Ok(part.freeze())
    }

    pub(crate) fn so_far(&self) -> Sums {
        Sums {
            bytes: self.bytes,
            crc64nvme: s3::base64(self.crc.finalize()),
            sha256: self.sha256.clone().map(|sha256| sha256.finish()),
        }
    }
}

/// The sums of an object, by reading it.
pub(crate) async fn sums_of(cx: &Cx, bucket: &Bucket, key: &str, object: &Object) -> Result<Sums, Failure> {
    let attempt = format!("read {}", bucket.uri(key));
    let mut reader = Reader::new(From::Object(Reading::new(bucket, key, object, attempt)), true);
    while !reader.fill(cx, CHUNK).await?.is_empty() {}
    Ok(reader.so_far())
}
