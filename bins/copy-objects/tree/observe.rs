//! Reads both sides and compares them, key by key, without holding either.

use std::path::Path;

use futures::TryStreamExt as _;
use kit::Failure;
use s3::Bucket;
use serde::Serialize;

use super::archive::SUMS;
use super::item::{Count, Item, Line, Names, Work, shown};
use super::join::{Pair, join};
use super::list::Skipped;
use super::manifest::{Listed, Listing};
use super::order::{Folders, Rank};
use super::{Origin, Tree};
use crate::problem::Problem;
use crate::read::compare as by_reading;
use crate::reader::{sums, sums_of};
use crate::verify::{Contents, contents};

/// How many pairs are looked at more closely at the same time.
const LOOKS: usize = 32;

/// How one key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Only the source has it.
    Missing,
    Same {
        /// Of a file, which was read.
        sha256: Option<String>,
    },
    /// Why it is not the same.
    Different(String),
    /// Only the destination has it.
    Extra,
    /// The source can't be read at once.
    Archived(String),
}

/// What was seen of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    pub(crate) from: String,
    pub(crate) to: String,
    /// The regions, where they differ.
    pub(crate) regions: Option<(String, String)>,
    /// Of the source.
    pub(crate) listed: Count,
    pub(crate) same: Count,
    pub(crate) missing: Count,
    pub(crate) missing_names: Names,
    pub(crate) different: Count,
    /// Each with why.
    pub(crate) different_names: Names,
    /// What is the same, and is copied again to stay the newest.
    pub(crate) again: Count,
    pub(crate) again_names: Names,
    /// Of what is written, what is larger than one call copies.
    pub(crate) large: Count,
    /// At the destination alone.
    pub(crate) extra: Count,
    pub(crate) extra_names: Names,
    pub(crate) archived: Names,
    /// Of keys that would be longer than S3 allows.
    pub(crate) too_long: Names,
    /// The source has an object whose key is the prefix itself, as a console makes it for a folder, and the copy has no name.
    pub(crate) nameless: u64,
    /// When the latest of the destination was written, in seconds since 1970.
    pub(crate) latest_there: i64,
    /// Unfinished uploads below the destination.
    pub(crate) unfinished: Names,
    /// What a folder holds beside files.
    pub(crate) skipped: Skipped,
    /// The destination has the list of sums that an archive gets last.
    pub(crate) has_sums: bool,
    /// The source has a file of the name of that list.
    pub(crate) own_sums: bool,
}

/// One that is written: where its line begins, its place in the order, and what it became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) rank: Rank,
    pub(crate) place: u64,
    /// A fingerprint of the `ETag` that was written, and the bytes; nothing before.
    pub(crate) written: Option<(u64, u64)>,
}

/// The longest key in bytes: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const LONGEST_KEY: usize = 1024;

/// Both sides, compared; the source's list with what is to be done about each, and those that are written, in order.
pub(crate) async fn observe(tree: &Tree) -> Result<(Seen, Listed, Vec<Slot>), Failure> {
    let mut seen = begin(tree).await?;
    let mut listing = Listing::new()?;
    let mut folders = Folders::default();
    each(tree, |pair, standing| {
        if !seen.add(tree, &pair, &standing) {
            return Ok(());
        }
        let Some(item) = pair.source else { return Ok(()) };
        let (work, sha256) = match standing {
            Standing::Same { sha256 } => (Work::Keep, sha256),
            Standing::Different(_) => (Work::Replace, None),
            _ => (Work::Copy, None),
        };
        if format!("{}{}", tree.to, item.key).len() > LONGEST_KEY {
            seen.too_long.add(shown(&item.key));
        }
        if work != Work::Keep && tree.in_parts(item.bytes) {
            seen.large.add(item.bytes);
        }
        let line = Line { item, work, there: pair.there.map(|there| there.etag), sha256 };
        folders.see(&line);
        listing.add(&line).map(|_| ())
    })
    .await?;
    seen.skipped = tree.skipped();
    let listed = listing.finish()?;
    let mut slots = Vec::new();
    let mut lines = listed.lines()?;
    while let Some((place, line)) = lines.next()? {
        let Some(rank) = folders.rank(tree.order, &line) else { continue };
        if line.work == Work::Keep {
            seen.again.add(line.item.bytes);
            seen.again_names.add(shown(&line.item.key));
        }
        slots.push(Slot { rank, place, written: None });
    }
    slots.sort_by_key(|slot| (slot.rank, slot.place));
    Ok((seen, listed, slots))
}

/// Both sides, compared.
pub(crate) async fn compare(tree: &Tree) -> Result<Seen, Failure> {
    let mut seen = begin(tree).await?;
    each(tree, |pair, standing| {
        seen.add(tree, &pair, &standing);
        Ok(())
    })
    .await?;
    seen.skipped = tree.skipped();
    Ok(seen)
}

async fn begin(tree: &Tree) -> Result<Seen, Failure> {
    let cx = &tree.cx;
    let unfinished = cx.or_cancelled(tree.destination.unfinished(&tree.to)).await??;
    let mut seen = Seen { from: tree.from(), to: tree.to(), ..Seen::default() };
    for upload in unfinished {
        seen.unfinished.add(format!(
            "{} (begun {} by {})",
            shown(&upload.key),
            kit::minute(upload.begun),
            upload.by
        ));
    }
    match &tree.origin {
        Origin::Bucket { bucket, .. } if bucket.region != tree.destination.region => {
            seen.regions = Some((bucket.region.clone(), tree.destination.region.clone()));
        }
        Origin::Bucket { .. } | Origin::Folder(_) => {}
    }
    Ok(seen)
}

impl Seen {
    /// Counts a key. Whether it has a part in the copy.
    fn add(&mut self, tree: &Tree, pair: &Pair, standing: &Standing) -> bool {
        let Some(item) = pair.source.as_ref().or(pair.there.as_ref()) else { return false };
        self.latest_there = self.latest_there.max(pair.there.as_ref().map_or(0, |there| there.modified));
        let name = || shown(&item.key);
        if *standing == Standing::Extra {
            if tree.archive && item.key == SUMS {
                self.has_sums = true;
            } else if !item.key.is_empty() {
                self.extra.add(item.bytes);
                self.extra_names.add(name());
            }
            return false;
        }
        self.own_sums |= item.key == SUMS;
        // `s3://bucket/` as a destination: an object can't have an empty key.
        if item.key.is_empty() {
            self.nameless += 1;
            return false;
        }
        self.listed.add(item.bytes);
        match standing {
            Standing::Missing => {
                self.missing.add(item.bytes);
                self.missing_names.add(name());
            }
            Standing::Same { .. } => self.same.add(item.bytes),
            Standing::Different(why) => {
                self.different.add(item.bytes);
                self.different_names.add(format!("{} ({why})", name()));
            }
            Standing::Archived(how) => self.archived.add(format!("{} ({how})", name())),
            Standing::Extra => {}
        }
        true
    }
}

/// Judges every key of either side, in order.
async fn each(
    tree: &Tree,
    mut take: impl FnMut(Pair, Standing) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let judged = join(tree.list_source(), tree.list_destination())
        .map_ok(|pair| async move {
            let standing = judge(tree, &pair).await?;
            Ok((pair, standing))
        })
        .try_buffered(LOOKS);
    let mut judged = std::pin::pin!(judged);
    while let Some((pair, standing)) = tree.cx.in_time("compare both sides", judged.try_next()).await?? {
        take(pair, standing)?;
    }
    Ok(())
}

/// Compares one key. The same size and `ETag` are the same content: an `ETag` that is not an MD5 is one of MD5s, or made
/// anew with each write. Where they differ the objects are looked at, and read if need be.
async fn judge(tree: &Tree, pair: &Pair) -> Result<Standing, Failure> {
    let (source, there) = match (&pair.source, &pair.there) {
        (Some(source), Some(there)) => (source, there),
        (Some(source), None) => return missing(tree, source).await,
        (None, _) => return Ok(Standing::Extra),
    };
    if source.bytes != there.bytes {
        return Ok(Standing::Different(format!("{} bytes against {}", source.bytes, there.bytes)));
    }
    match &tree.origin {
        Origin::Folder(folder) => file(tree, &folder.join(&source.key), &there.key).await,
        Origin::Bucket { bucket, prefix, .. } => {
            if source.etag == there.etag {
                return Ok(Standing::Same { sha256: None });
            }
            let from = (bucket, format!("{prefix}{}", source.key));
            let to = (&tree.destination, format!("{}{}", tree.to, there.key));
            objects(tree, (from.0, &from.1), (to.0, &to.1)).await
        }
    }
}

async fn missing(tree: &Tree, item: &Item) -> Result<Standing, Failure> {
    if let Origin::Bucket { bucket, prefix, .. } = &tree.origin
        && matches!(item.class.as_str(), "GLACIER" | "DEEP_ARCHIVE")
        && let Some(object) = bucket.head(&format!("{prefix}{}", item.key), None).await?
        && let Some(how) = object.archived
    {
        return Ok(Standing::Archived(how));
    }
    Ok(Standing::Missing)
}

/// Compares a file with what is at its place, by CRC-64/NVME.
async fn file(tree: &Tree, path: &Path, key: &str) -> Result<Standing, Failure> {
    let key = format!("{}{key}", tree.to);
    let Some(there) = tree.destination.head(&key, None).await? else { return Ok(Standing::Missing) };
    let ours = match sums(&tree.cx, path, tree.archive).await {
        Ok(ours) => ours,
        Err(Problem::Changed(why)) => return Ok(Standing::Different(why)),
        Err(Problem::Failed(failure)) => return Err(failure),
    };
    let crc = match there.crc64nvme.clone() {
        Some(crc) => crc,
        None => sums_of(&tree.cx, &tree.destination, &key, &there).await?.crc64nvme,
    };
    Ok(if ours.bytes == there.bytes && ours.crc64nvme == crc {
        Standing::Same { sha256: ours.sha256.map(|sha256| kit::hex(&sha256)) }
    } else {
        Standing::Different("another CRC-64/NVME".to_owned())
    })
}

async fn objects(tree: &Tree, one: (&Bucket, &str), other: (&Bucket, &str)) -> Result<Standing, Failure> {
    let (source, there) = tokio::try_join!(one.0.head(one.1, None), other.0.head(other.1, None))?;
    let gone = |bucket: &Bucket, key: &str| {
        Failure::refused(format!("compare {}", bucket.uri(&shown(key))))
            .because("it was deleted while it was looked at")
            .help("run the same command again")
    };
    let source = source.ok_or_else(|| gone(one.0, one.1))?;
    let there = there.ok_or_else(|| gone(other.0, other.1))?;
    let judged = match contents(&source, &there) {
        Contents::Unknown if source.archived.is_none() && there.archived.is_none() => {
            by_reading(&tree.cx, (one.0, one.1, &source), (other.0, other.1, &there)).await?
        }
        judged => judged,
    };
    Ok(match judged {
        Contents::Same(_) => Standing::Same { sha256: None },
        Contents::Different(why) => Standing::Different(why),
        Contents::Unknown => Standing::Different("archived, and can't be compared".to_owned()),
    })
}
