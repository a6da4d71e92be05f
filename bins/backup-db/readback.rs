//! Reads an object back from S3 through `pg_restore`.

use std::process::Stdio;

use kit::{Cx, Failure};
use postgres::Rung;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};

use crate::hash::{Hasher, Sum};
use crate::store::{Store, Stored};
use crate::tools::{Runner, Tools};
use crate::upload::{Progress, Running, alive};
use crate::verify::{self, Proof, Tables};

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Of all that was read.
    pub(crate) sum: Sum,
    /// How the reader ended: `Err` says why it was not content.
    pub(crate) reader: Result<(), String>,
    /// What the reader printed.
    pub(crate) printed: Vec<u8>,
}

/// A stored dump that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(crate) proof: Proof,
    /// Of the dump's bytes.
    pub(crate) sum: Sum,
}

/// Verifies a stored dump up to `rung`. `sent` is what was uploaded; where that is not known, because another run did it,
/// everything is read and S3's own checksum is what it is compared with.
///
/// The inner result is the judgement; the outer one says that it could not be made.
pub(crate) async fn prove(
    cx: &Cx,
    store: &Store,
    (runner, tools): (&Runner, &Tools),
    (key, stored): (&str, &Stored),
    (tables, sent): (&Tables, Option<&Sum>),
    rung: Rung,
) -> Result<Result<Proven, String>, Failure> {
    let rung = if sent.is_none() { Rung::ReadBack } else { rung };
    let mut by = String::new();
    if let Some(sent) = sent {
        match verify::present(sent, stored) {
            Ok(how) => by.push_str(how),
            Err(why) => return Ok(Err(why)),
        }
        if rung == Rung::Present {
            return Ok(Ok(Proven { proof: Proof { rung, by }, sum: sent.clone() }));
        }
    }
    let mut list = runner.command(&tools.pg_restore);
    list.arg("--list");
    let listed = through(cx, store, key, stored, list, Extent::AsNeeded).await?;
    if let Err(why) = verify::contents(tables, &listed) {
        return Ok(Err(why));
    }
    if let (Rung::Contents, Some(sent)) = (rung, sent) {
        by.push_str(&format!("; {} tables in its table of contents", tables.count));
        return Ok(Ok(Proven { proof: Proof { rung, by }, sum: sent.clone() }));
    }
    let mut restore = runner.command(&tools.pg_restore);
    restore.args(["--file", "/dev/null"]);
    let read = through(cx, store, key, stored, restore, Extent::Whole).await?;
    let judged = match sent {
        Some(sent) => verify::read_back(sent, &read),
        None => {
            verify::present(&read.sum, stored).map(|how| by.push_str(how)).and_then(|()| read.reader.clone())
        }
    };
    if let Err(why) = judged {
        return Ok(Err(why));
    }
    by.push_str(&format!(
        "; {} tables in its table of contents; read back with the same SHA-256 and through pg_restore to its end",
        tables.count
    ));
    Ok(Ok(Proven { proof: Proof { rung, by }, sum: read.sum }))
}

/// How much of the object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end, whether the reader wants it or not.
    Whole,
    /// Until the reader has had enough.
    AsNeeded,
}

/// How often in a row a read that brings nothing is tried again.
const TRIES: u32 = 5;

/// Reads the object into the command's standard input. A connection that breaks is taken up where it broke.
///
/// `Err` means that it could not be read; what it says about the object is in [`Read`].
pub(crate) async fn through(
    cx: &Cx,
    store: &Store,
    key: &str,
    stored: &Stored,
    mut command: Command,
    extent: Extent,
) -> Result<Read, Failure> {
    let attempt = format!("read {} back", store.uri(key));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Running::start(cx, command, &attempt)?;
    let mut stdin = child.child.stdin.take();
    let stdout = child.child.stdout.take();
    let printed = tokio::spawn(async move {
        let mut printed = Vec::new();
        if let Some(mut stdout) = stdout {
            // What can't be read was not printed; the exit code tells the rest.
            let _ = stdout.read_to_end(&mut printed).await;
        }
        printed
    });
    let mut hasher = Hasher::new();
    let fed = feed(cx, store, key, stored, &mut stdin, extent, &mut hasher, &attempt).await;
    drop(stdin);
    if let Err(failure) = fed {
        child.stop().await;
        return Err(failure);
    }
    let reader = alive(cx, &attempt, child.succeeded(&attempt)).await?;
    let printed = printed.await.unwrap_or_default();
    let reader = reader.map_err(|failure| failure.chain().join(": "));
    Ok(Read { sum: hasher.finish(), reader, printed })
}

#[expect(
    clippy::too_many_arguments,
    reason = "the state of one loop, which is apart only to be cancelled as one"
)]
async fn feed(
    cx: &Cx,
    store: &Store,
    key: &str,
    stored: &Stored,
    stdin: &mut Option<ChildStdin>,
    extent: Extent,
    hasher: &mut Hasher,
    attempt: &str,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut tries = 0;
    while hasher.bytes() < stored.bytes {
        let from = hasher.bytes();
        let broke = match alive(cx, attempt, store.read(key, &stored.etag, from)).await? {
            Err(failure) => failure,
            Ok(answer) => {
                // An answer that ignores the range starts at 0, which is right only for the first.
                let starts = answer.content_range().and_then(range_start).unwrap_or(0);
                if starts != from {
                    return Err(Failure::failed(attempt).because(format!(
                        "asked for the bytes from {from} on, S3 answered with those from {starts} on"
                    )));
                }
                // An object that is shorter than it was is no broken connection: the judge is told what there is.
                let total = answer.content_range().and_then(range_total).unwrap_or(stored.bytes);
                let mut body = answer.body;
                let broke = loop {
                    let chunk = tokio::select! {
                        chunk = alive(cx, attempt, body.next()) => chunk?,
                        () = progress.due() => {
                            progress.bytes = hasher.bytes();
                            progress.say(cx, attempt, None);
                            continue;
                        }
                    };
                    match chunk {
                        None => {
                            break Failure::failed(attempt).because(format!(
                                "it ends after {} of {} bytes",
                                hasher.bytes(),
                                stored.bytes
                            ));
                        }
                        Some(Err(error)) => break Failure::failed(attempt).because(error),
                        Some(Ok(chunk)) => {
                            hasher.update(&chunk);
                            let gone = match stdin {
                                Some(open) => alive(cx, attempt, open.write_all(&chunk)).await?.is_err(),
                                None => false,
                            };
                            if gone {
                                // It has ended: content, or not, as its exit code says.
                                *stdin = None;
                                if extent == Extent::AsNeeded {
                                    return Ok(());
                                }
                            }
                        }
                    }
                };
                if hasher.bytes() >= total.min(stored.bytes) {
                    break;
                }
                broke.transient(true)
            }
        };
        tries = if hasher.bytes() > from { 0 } else { tries + 1 };
        if !broke.is_transient() || tries == TRIES {
            return Err(broke);
        }
        cx.or_cancelled(cx.pause(std::time::Duration::from_millis(500) * (tries + 1))).await?;
    }
    Ok(())
}

/// The first position of `bytes 5-9/10`.
fn range_start(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The size of the whole in `bytes 5-9/10`.
fn range_total(range: &str) -> Option<u64> {
    range.rsplit('/').next()?.parse().ok()
}
