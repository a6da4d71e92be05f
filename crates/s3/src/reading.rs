//! Reads an object to its end, however often the connection breaks.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use kit::{Cx, Failure};

use crate::bucket::Bucket;
use crate::object::Object;
use crate::upload::TRIES;

/// An object being read, as long as it is the one that was seen.
///
/// S3 refuses to go on when it was replaced: every request carries the `ETag`.
#[derive(Debug)]
pub struct Reading<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    object: &'a Object,
    attempt: String,
    body: Option<ByteStream>,
    at: u64,
    end: u64,
    /// How often in a row a request brought nothing.
    tries: u32,
    /// Whether the present request brought something.
    moved: bool,
}

impl<'a> Reading<'a> {
    /// From its start; `attempt` is what is done, for messages.
    pub fn new(bucket: &'a Bucket, key: &'a str, object: &'a Object, attempt: impl Into<String>) -> Self {
        let (attempt, end) = (attempt.into(), object.bytes);
        Self { bucket, key, object, attempt, body: None, at: 0, end, tries: 0, moved: false }
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// The next bytes, none at the end. A connection that breaks is taken up where it broke.
    ///
    /// An object that turns out shorter than it was ends early: that is for the reader's checksum to tell.
    ///
    /// Not to be dropped half-way and called again: a request under way would be sent anew each time.
    ///
    /// # Errors
    /// Fails when S3 refuses, when the object is not the one that was seen any more, when nothing comes after several
    /// tries, and at cancellation and deadline.
    pub async fn next(&mut self, cx: &Cx) -> Result<Option<Bytes>, Failure> {
        while self.at < self.end {
            let broke = match &mut self.body {
                None => match self.open(cx).await {
                    Ok(body) => {
                        self.moved = false;
                        self.body = Some(body);
                        continue;
                    }
                    Err(failure) => failure,
                },
                Some(body) => match cx.in_time(&self.attempt, body.next()).await? {
                    Some(Ok(chunk)) => {
                        self.at += chunk.len() as u64;
                        self.moved |= !chunk.is_empty();
                        return Ok(Some(chunk));
                    }
                    Some(Err(error)) => Failure::failed(&self.attempt).because(error).transient(true),
                    None => Failure::failed(&self.attempt)
                        .because(format!("it ends after {} of {} bytes", self.at, self.end))
                        .transient(true),
                },
            };
            self.body = None;
            self.tries = if self.moved { 0 } else { self.tries + 1 };
            self.moved = false;
            if !broke.is_transient() || self.tries == TRIES {
                return Err(broke);
            }
            cx.or_cancelled(cx.pause(Duration::from_millis(500) * (self.tries + 1))).await?;
        }
        Ok(None)
    }

    async fn open(&mut self, cx: &Cx) -> Result<ByteStream, Failure> {
        let answer = cx.in_time(&self.attempt, self.bucket.read(self.key, self.object, self.at)).await??;
        let range = answer.content_range();
        // An answer that ignores the range starts at 0, which is right only for the first.
        let starts = range.and_then(first).unwrap_or(0);
        if starts != self.at {
            return Err(Failure::failed(&self.attempt).because(format!(
                "asked for the bytes from {} on, S3 answered with those from {starts} on",
                self.at
            )));
        }
        self.end = range.and_then(total).unwrap_or(self.end).min(self.object.bytes);
        Ok(answer.body)
    }
}

/// The first position of `bytes 5-9/10`.
fn first(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The size of the whole in `bytes 5-9/10`.
fn total(range: &str) -> Option<u64> {
    range.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form is that of RFC 9110, section 14.4.
    #[test]
    fn a_range_tells_its_start_and_the_whole() {
        assert_eq!((first("bytes 5-9/10"), total("bytes 5-9/10")), (Some(5), Some(10)));
        assert_eq!((first("bytes */10"), total("bytes 5-9/*")), (None, None));
    }
}
