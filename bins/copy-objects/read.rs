//! Compares two objects by reading both, in the memory of one chunk each.

use std::time::Duration;

use kit::{Cx, Failure};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::apply::alive;
use crate::facts::{Facts, size};
use crate::store::Store;
use crate::verify::Contents;

/// How often in a row a read that brings nothing is tried again.
const TRIES: u32 = 5;

/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(15);

/// Reads both objects through SHA-256, at the same time.
pub(crate) async fn compare(
    cx: &Cx,
    one: (&Store, &str, &Facts),
    other: (&Store, &str, &Facts),
) -> Result<Contents, Failure> {
    cx.report().say(&format!(
        "S3 keeps no checksum that both have: reading {} and {} ({} each)",
        one.0.uri(one.1),
        other.0.uri(other.1),
        size(one.2.bytes)
    ));
    let (one, other) =
        tokio::try_join!(sha256(cx, one.0, one.1, one.2), sha256(cx, other.0, other.1, other.2))?;
    Ok(if one == other {
        Contents::Same("SHA-256, both read whole".to_owned())
    } else {
        Contents::Different("another SHA-256".to_owned())
    })
}

/// A connection that breaks is taken up where it broke.
async fn sha256(cx: &Cx, store: &Store, key: &str, facts: &Facts) -> Result<[u8; 32], Failure> {
    let attempt = format!("read {}", store.uri(key));
    let mut hasher = Sha256::new();
    let (mut at, mut tries) = (0, 0);
    let mut said = Instant::now();
    while at < facts.bytes {
        let from = at;
        let broke = match alive(cx, &attempt, store.read(key, facts, from)).await? {
            Err(failure) => failure,
            Ok(answer) => {
                let starts = answer.content_range().and_then(range_start).unwrap_or(0);
                if starts != from {
                    return Err(Failure::failed(attempt).because(format!(
                        "asked for the bytes from {from} on, S3 answered with those from {starts} on"
                    )));
                }
                let mut body = answer.body;
                loop {
                    match alive(cx, &attempt, body.next()).await? {
                        Some(Ok(chunk)) => {
                            hasher.update(&chunk);
                            at += chunk.len() as u64;
                            if said.elapsed() > PROGRESS {
                                cx.report().say(&format!("{attempt}: {} of {}", size(at), size(facts.bytes)));
                                said = Instant::now();
                            }
                        }
                        Some(Err(error)) => break Failure::failed(&attempt).because(error).transient(true),
                        None => {
                            break Failure::failed(&attempt)
                                .because(format!("it ends after {at} of {} bytes", facts.bytes))
                                .transient(true);
                        }
                    }
                }
            }
        };
        tries = if at > from { 0 } else { tries + 1 };
        if at < facts.bytes && (!broke.is_transient() || tries == TRIES) {
            return Err(broke);
        }
        if at < facts.bytes {
            cx.or_cancelled(cx.pause(Duration::from_millis(500) * (tries + 1))).await?;
        }
    }
    Ok(hasher.finalize().into())
}

/// The first position of `bytes 5-9/10`.
fn range_start(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
