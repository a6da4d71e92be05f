//! Looks at a copy anew and compares it with its source.

use kit::{Cx, Failure};

use crate::apply::{Ends, Written};
use crate::observe;
use crate::read;
use crate::verify::{self, Contents};

/// Looks at both ends anew. Says by what they are the same.
pub(crate) async fn prove(
    cx: &Cx,
    ends: &Ends,
    wanted: &verify::Wanted,
    written: &Written,
    taken_up: bool,
) -> Result<String, Failure> {
    let uri = ends.destination.uri(&ends.key);
    let unverified = |why: String| Failure::unverified(format!("verify {uri}")).because(why);
    let useless = "do not rely on it; --undo RECEIPT deletes it, and the source is as it was";
    let there = cx.or_cancelled(ends.destination.head(&ends.key, None)).await??;
    let Some(mut there) = there else {
        return Err(unverified("S3 accepted the copy, and there is no such object".to_owned()).help(useless));
    };
    if there.etag != written.etag {
        return Err(unverified(format!(
            "another object is there by now: ETag {} was written, {} is there",
            written.etag, there.etag
        ))
        .help(useless));
    }
    if wanted.tags.is_some() {
        there.tags = Some(observe::tags(cx, &ends.destination, &ends.key, None).await?);
    }
    let judged = match verify::contents(&ends.object, &there) {
        Contents::Unknown => {
            let source = (&ends.source, ends.source_key.as_str(), &ends.object);
            read::compare(cx, source, (&ends.destination, &ends.key, &there)).await?
        }
        judged => judged,
    };
    let by = match judged {
        Contents::Same(by) => by,
        Contents::Different(why) => {
            return Err(unverified(format!("its content is not the source's: {why}")).help(useless));
        }
        Contents::Unknown => {
            return Err(unverified("its content can't be compared".to_owned()).help(useless));
        }
    };
    let other = verify::attributes(wanted, &there);
    if !other.is_empty() {
        let failure = unverified(format!("its content is the source's, and {}", other.join(", ")));
        return Err(if taken_up {
            failure
                .because(format!(
                    "the upload that was taken up had been begun otherwise: the content is the source's, and {}",
                    other.join(", ")
                ))
                .help("run it again with --replace to copy it anew, or take it back with --undo RECEIPT")
        } else {
            failure.help(useless)
        });
    }
    let source = cx.or_cancelled(ends.source.head(&ends.source_key, None)).await??;
    if source.as_ref().is_none_or(|now| now.etag != ends.object.etag || now.version != ends.object.version) {
        return Err(unverified(format!(
            "{} was replaced or deleted meanwhile: the copy is whole, and of what was there before",
            ends.source.uri(&ends.source_key)
        ))
        .help("run it again with --replace to copy what is there now"));
    }
    Ok(by)
}
