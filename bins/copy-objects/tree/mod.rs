//! Everything below a prefix or in a folder, as one change.

pub(crate) mod apply;
pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod copy;
#[cfg(test)]
mod foreign_tests;
pub(crate) mod item;
pub(crate) mod join;
pub(crate) mod list;
pub(crate) mod manifest;
pub(crate) mod observe;
pub(crate) mod order;
pub(crate) mod plan;
#[cfg(test)]
mod plan_tests;
pub(crate) mod undo;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use kit::{Cx, Failure, Go, Outcome};
use s3::Bucket;
use tokio::sync::Semaphore;

use item::Count;
use list::{List, Skipped};
use order::Order;

/// What is copied.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Inside S3, or through this process.
    Bucket { bucket: Bucket, prefix: String, through: bool },
    /// A folder of this machine.
    Folder(PathBuf),
}

/// Both ends of a tree, and how it is copied.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Tree {
    pub(crate) cx: Cx,
    pub(crate) origin: Origin,
    pub(crate) destination: Bucket,
    /// For the copies of small objects.
    pub(crate) quick: Client,
    /// Ends in a slash, or is empty.
    pub(crate) to: String,
    pub(crate) order: Order,
    pub(crate) replace: bool,
    pub(crate) abort_others: bool,
    pub(crate) no_tags: bool,
    pub(crate) kms_key: Option<String>,
    pub(crate) multipart_above: u64,
    pub(crate) part_size: u64,
    /// The principal of this run.
    pub(crate) ours: String,
    /// An object was met that needs more than a listing tells: from then on each is looked at before it is copied.
    pub(crate) careful: AtomicBool,
    /// How many are copied in parts at the same time.
    pub(crate) large: Semaphore,
    /// Of files: what they are served as, where their names are not to tell.
    pub(crate) content_type: Option<String>,
    /// With a list of sums as the last object.
    pub(crate) archive: bool,
    pub(crate) allow_empty: bool,
    /// What is held of what this process sends.
    pub(crate) memory: Arc<Semaphore>,
    /// What the last listing of a folder left out.
    pub(crate) skipped: Mutex<Arc<Mutex<Skipped>>>,
}

/// At most so many are copied in parts at the same time, each eight parts at a time.
pub(crate) const LARGE: usize = 2;

/// The largest object that is small.
pub(crate) const SMALL: u64 = 64 << 20;

impl Tree {
    pub(crate) fn from(&self) -> String {
        match &self.origin {
            Origin::Bucket { bucket, prefix, .. } => bucket.uri(prefix),
            Origin::Folder(path) => path.display().to_string(),
        }
    }

    pub(crate) fn to(&self) -> String {
        self.destination.uri(&self.to)
    }

    pub(crate) fn list_source(&self) -> List {
        match &self.origin {
            Origin::Bucket { bucket, prefix, .. } => list::bucket(bucket, prefix),
            Origin::Folder(path) => {
                let (list, skipped) = list::folder(path);
                *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = skipped;
                list
            }
        }
    }

    pub(crate) fn list_destination(&self) -> List {
        list::bucket(&self.destination, &self.to)
    }

    /// The client that copies an object of this size.
    fn copier(&self, bytes: u64) -> Client {
        if bytes <= SMALL { self.quick.clone() } else { self.destination.sending_once(bytes) }
    }

    /// What the last listing of the source left out.
    pub(crate) fn skipped(&self) -> Skipped {
        let last = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is written in parts.
    fn in_parts(&self, bytes: u64) -> bool {
        match &self.origin {
            Origin::Bucket { through: false, .. } => self.is_large(bytes),
            _ => bytes > crate::send::PART,
        }
    }

    /// Whether it is larger than one call copies inside S3.
    pub(crate) fn is_large(&self, bytes: u64) -> bool {
        matches!(self.origin, Origin::Bucket { through: false, .. })
            && bytes > self.multipart_above.min(crate::plan::COPY_LIMIT)
    }
}

/// Copies what is missing, and proves that all is there.
pub(crate) async fn run(tree: Tree) -> Result<Outcome, Failure> {
    let tree = Arc::new(tree);
    let cx = tree.cx.clone();
    let (seen, listed, slots) = observe::observe(&tree).await?;
    cx.observed(&seen);
    let same_sums = seen.has_sums
        && seen.same == seen.listed
        && seen.listed.objects > 0
        && archive::is_there(&tree, &listed).await?;
    let request = plan::Request {
        replace: tree.replace,
        order: tree.order,
        archive: tree.archive,
        allow_empty: tree.allow_empty,
        same_sums,
    };
    let plan = plan::plan(request, &seen)?;
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let mut slots = slots;
    let copied = apply::apply(&tree, &plan, &listed, &mut slots).await?;
    // What is there already was compared just now.
    let read = if slots.is_empty() { seen.listed } else { check::check(&tree, &listed, slots).await? };
    if plan.sums {
        archive::write(&tree, &listed).await?;
    }
    cx.output("source-uri", tree.from());
    cx.output("copy-uri", tree.to());
    cx.output("objects", read.objects.to_string());
    cx.output("bytes", read.bytes.to_string());
    cx.output("copied", copied.objects.to_string());
    cx.output("verified-by", plan::VERIFIED_BY);
    let all = format!(
        "all {} below {} are at {}: as many and as large as were listed, each with the checksum of its source",
        read.in_words(),
        tree.from(),
        tree.to()
    );
    Ok(if copied == Count::default() && !plan.sums {
        Outcome::unchanged(all)
    } else {
        Outcome::changed(format!("{all}; {} copied", copied.in_words()))
    })
}

/// The two sides compared, and nothing written.
pub(crate) async fn compare(tree: Tree) -> Result<Outcome, Failure> {
    let seen = observe::compare(&tree).await?;
    tree.cx.observed(&seen);
    plan::report(&tree.cx, &seen)
}
