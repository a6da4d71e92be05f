//! An S3 that keeps to what AWS documents where the emulators do not: it refuses what S3 would refuse.
//!
//! Checksums of objects, of parts and of the whole; conditions on writes, on copies and on every part copied; the sizes of parts
//! and of copies; what a copy carries over; versions; pages; owners. Each rule has a test of its own in
//! `tests/e2e/s3_double.rs`.
//!
//! The protocol is `s3s`'s. Any credentials are taken; signatures are not looked at. What the double does not know it answers
//! with 501 and remembers in [`Double::refused`], so that a test can fail on it.

mod body;
mod buckets;
mod chunked;
mod conditions;
mod copies;
mod handle;
mod listing;
mod objects;
mod receive;
mod serve;
mod service;
mod store;
mod sums;
mod uploads;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use body::Bodies;
pub use handle::Stored;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use store::{Bucket, Store};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

/// How the double is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The owner of every bucket, twelve digits.
    pub account: String,
    /// The region of buckets that are made without one.
    pub region: String,
    /// The least size of every part but the last, in bytes.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
    pub smallest_part: u64,
    pub most_parts: u32,
    /// The largest object that `CopyObject` copies, and the largest part that `UploadPartCopy` does.
    pub largest_copy: u64,
    /// The largest object that `PutObject` takes, and the largest part.
    pub largest_put: u64,
    /// The most entries of a page of any list.
    pub page: usize,
    pub bodies: Bodies,
    /// Whether entity tags are MD5s, as they are with S3's own keys. Those of objects encrypted by KMS are not, and cost less.
    pub md5: bool,
    /// 0 takes a free port.
    pub port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            smallest_part: 5 << 20,
            most_parts: 10_000,
            largest_copy: 5 << 30,
            largest_put: 5 << 30,
            page: 1000,
            bodies: Bodies::Keep,
            md5: true,
            port: 0,
        }
    }
}

/// A running S3 on loopback; it stops listening and forgets everything when dropped.
pub struct Double {
    address: SocketAddr,
    world: Arc<World>,
    task: JoinHandle<()>,
}

/// What the service and its handle share.
struct World {
    options: Options,
    store: Mutex<Store>,
    /// A clock that stands still.
    clock: Mutex<Option<OffsetDateTime>>,
    refused: Mutex<Vec<String>>,
}

/// What a request says about itself outside its operation.
#[derive(Clone, Debug, Default)]
struct Arrival {
    access_key: String,
    /// The SHA-256 of the body that the signature covers, in hexadecimal, where it covers one.
    content_sha256: Option<String>,
    /// The names of the trailers that are to come.
    announced: Vec<String>,
    trailers: chunked::Trailers,
}

/// Who asks, and whom they take for the bucket's owner.
struct Caller {
    access_key: String,
    expected_owner: Option<String>,
}

impl Caller {
    fn of<T>(request: &S3Request<T>, expected_owner: Option<&String>) -> Self {
        let arrival = request.extensions.get::<Arrival>();
        Self {
            access_key: arrival.map(|arrival| arrival.access_key.clone()).unwrap_or_default(),
            expected_owner: expected_owner.cloned(),
        }
    }

    /// The same caller before another bucket.
    fn towards(&self, expected_owner: Option<&String>) -> Self {
        Self { access_key: self.access_key.clone(), expected_owner: expected_owner.cloned() }
    }
}

impl World {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// S3 keeps whole seconds.
    fn now(&self) -> OffsetDateTime {
        let fixed = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fixed.unwrap_or_else(OffsetDateTime::now_utc);
        now.replace_nanosecond(0).unwrap_or(now)
    }

    fn refuse(&self, what: String) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl Store {
    fn bucket(&self, name: &str, caller: &Caller) -> S3Result<&Bucket> {
        let bucket = self.buckets.get(name).ok_or_else(no_such_bucket)?;
        may_enter(bucket, caller).map(|()| bucket)
    }

    fn bucket_mut(&mut self, name: &str, caller: &Caller) -> S3Result<&mut Bucket> {
        let bucket = self.buckets.get_mut(name).ok_or_else(no_such_bucket)?;
        may_enter(bucket, caller).map(|()| bucket)
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>
fn may_enter(bucket: &Bucket, caller: &Caller) -> S3Result {
    let is_owners = caller.expected_owner.as_ref().is_none_or(|owner| *owner == bucket.owner);
    let is_let_in = bucket.access_keys.as_ref().is_none_or(|keys| keys.contains(&caller.access_key));
    if is_owners && is_let_in { Ok(()) } else { Err(s3_error!(AccessDenied, "Access Denied")) }
}

fn no_such_bucket() -> S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}

fn invalid_request(message: impl Into<String>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidRequest, message.into())
}

fn invalid_argument(message: impl Into<String>) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidArgument, message.into())
}

/// A part of S3 that the double does not play.
fn not_played(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("the double does not implement {what}"))
}

fn internal(error: std::io::Error) -> S3Error {
    S3Error::internal_error(error)
}
