//! Buckets and objects as the steps use them: a [`Bucket`] is found in its own region, an [`Object`] is pinned by what it
//! was when it was looked at, a [`Reading`] takes up a connection that breaks, and an upload leaves either a whole object
//! or none.
//!
//! Each call is here once, with the permission that it needs in its failure; what an answer means is for the steps to
//! judge.

mod bucket;
mod object;
mod part_sizes;
mod progress;
mod reading;
mod sum;
mod upload;

pub use aws_sdk_s3;
pub use aws_sdk_s3::types::CompletedPart;

pub use bucket::{Bucket, once, patient};
pub use object::{Listed, Object, Unfinished, names, names_if_any};
pub use part_sizes::{MOST_PARTS, PartSizes};
pub use progress::Progress;
pub use reading::Reading;
pub use sum::{Hasher, Sha256, Sum, base64};
pub use upload::{RUN, TRIES};
