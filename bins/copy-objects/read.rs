//! Compares two objects by reading both, in the memory of one chunk each.

use kit::{Cx, Failure};
use s3::{Bucket, Object, Progress, Reading, Sha256};

use crate::verify::Contents;

/// Reads both objects through SHA-256, at the same time.
pub(crate) async fn compare(
    cx: &Cx,
    one: (&Bucket, &str, &Object),
    other: (&Bucket, &str, &Object),
) -> Result<Contents, Failure> {
    cx.report().say(&format!(
        "S3 keeps no checksum that both have: reading {} and {} ({} each)",
        one.0.uri(one.1),
        other.0.uri(other.1),
        kit::size(one.2.bytes)
    ));
    let (one, other) =
        tokio::try_join!(sha256(cx, one.0, one.1, one.2), sha256(cx, other.0, other.1, other.2))?;
    Ok(if one == other {
        Contents::Same("SHA-256, both read whole".to_owned())
    } else {
        Contents::Different("another SHA-256".to_owned())
    })
}

async fn sha256(cx: &Cx, bucket: &Bucket, key: &str, object: &Object) -> Result<[u8; 32], Failure> {
    let attempt = format!("read {}", bucket.uri(key));
    let mut reading = Reading::new(bucket, key, object, &*attempt);
    let mut hasher = Sha256::new();
    let mut progress = Progress::new();
    loop {
        let chunk = {
            let next = reading.next(cx);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    chunk = &mut next => break chunk?,
                    () = progress.due() => progress.say(cx, &attempt, None),
                }
            }
        };
        let Some(chunk) = chunk else { return Ok(hasher.finish()) };
        hasher.update(&chunk);
        progress.bytes += chunk.len() as u64;
    }
}
