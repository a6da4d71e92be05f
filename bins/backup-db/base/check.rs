//! Reads a stored base backup back, and compares what came with what was sent and with PostgreSQL's own manifest.

use std::path::PathBuf;
use std::time::Duration;

use kit::{Cx, Failure};
use postgres::manifest::Base;
use s3::{Bucket, Hasher, Reading, Sum};

use super::archive::{Reader, Trouble};
use super::listing::compare;
use crate::pipe::Feed;
use crate::readback::{Stored, give};
use crate::verify;

/// Reads all of it, and unpacks it into a folder where one is named. `sent` is what was uploaded; where that is not known,
/// because another run did it, S3's own checksum is what it is compared with.
///
/// The inner result is the judgement; the outer one says that it could not be made.
pub(super) async fn read_back(
    cx: &Cx,
    store: &Bucket,
    archive: Stored<'_>,
    sent: Option<&str>,
    system: Option<&str>,
    into: Option<PathBuf>,
) -> Result<Result<(Sum, Base), String>, Failure> {
    let attempt = format!("read {} back", store.uri(archive.key));
    let (from, to) =
        std::io::pipe().map_err(|error| Failure::failed(&*attempt).because(error).untouched(true))?;
    let reader = Reader::of(from, into);
    let feed = Feed::into(to, archive.zstd(), true);
    let mut hasher = Hasher::new();
    let reading = Reading::new(store, archive.key, archive.object, &*attempt);
    if let Err(failure) = give(cx, reading, &feed, &mut hasher, &attempt).await {
        // It must not go on writing into a folder that is removed.
        drop(feed);
        let _ = tokio::time::timeout(Duration::from_secs(2), reader.end()).await;
        return Err(failure);
    }
    let unpacked = cx.in_time(&attempt, feed.end()).await?;
    let read = match cx.in_time(&attempt, reader.end()).await? {
        Ok(read) => Ok(read),
        Err(Trouble::Archive(why)) => Err(why),
        Err(Trouble::Disk(why)) => return Err(Failure::failed(attempt).because(why)),
    };
    let sum = hasher.finish();
    let same = match sent {
        Some(sha256) if sum.sha256 != sha256 => {
            Err(format!("the SHA-256 of what was sent is {sha256}, of what came back {}", sum.sha256))
        }
        Some(_) => Ok(()),
        None => verify::present(&sum, archive.object).map(drop),
    };
    // What can't be decompressed is why the archive was found short.
    let judged = same.and(unpacked).and(read).and_then(|read| compare(read, system));
    Ok(judged.map(|base| (sum, base)))
}
