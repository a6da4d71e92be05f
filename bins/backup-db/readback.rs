//! Reads an object back from S3 through `pg_restore`.

use std::process::Stdio;

use kit::{Cx, Failure};
use postgres::Rung;
use s3::{Bucket, Hasher, Object, Progress, Reading, Sum};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::child::{Running, Said};
use crate::pipe::Feed;
use crate::tools::{Runner, Tools};
use crate::verify::{self, Proof, Tables};

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Of all that was read.
    pub(crate) sum: Sum,
    /// Whether what came could be decompressed, where it is.
    pub(crate) unpacked: Result<(), String>,
    /// How the reader ended: `Err` says why it was not content.
    pub(crate) reader: Result<(), String>,
    /// What it said beside.
    pub(crate) said: Said,
    /// What the reader printed.
    pub(crate) printed: Vec<u8>,
}

/// A dump in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) key: &'a str,
    pub(crate) object: &'a Object,
}

impl Stored<'_> {
    /// Whether the archive is inside of a zstd stream.
    pub(crate) fn zstd(&self) -> bool {
        self.key.ends_with(crate::key::ZST)
    }
}

/// A stored dump that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(crate) proof: Proof,
    /// Of the dump's bytes.
    pub(crate) sum: Sum,
}

/// What became of verifying a stored dump.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Whole(Proven),
    /// It is not what was sent, or not a dump of this database: why.
    Damaged(String),
    /// Its bytes are those that were sent, and `pg_restore` failed on them: why. A program is killed where memory is short, can be
    /// too old or lack a library; that says nothing of the dump.
    Unread(String),
}

/// Verifies a stored dump up to `rung`. `sent` is what was uploaded; where that is not known, because another run did it,
/// everything is read and S3's own checksum is what it is compared with.
///
/// An error says that it could not be read.
pub(crate) async fn prove(
    cx: &Cx,
    store: &Bucket,
    (runner, tools): (&Runner, &Tools),
    dump: Stored<'_>,
    (tables, sent): (&Tables, Option<&Sum>),
    rung: Rung,
) -> Result<Verdict, Failure> {
    let rung = if sent.is_none() { Rung::ReadBack } else { rung };
    let mut by = String::new();
    if let Some(sent) = sent {
        match verify::present(sent, dump.object) {
            Ok(how) => by.push_str(how),
            Err(why) => return Ok(Verdict::Damaged(why)),
        }
        if rung == Rung::Present {
            return Ok(Verdict::Whole(Proven { proof: Proof { rung, by }, sum: sent.clone() }));
        }
    }
    let mut list = runner.command(&tools.pg_restore);
    list.arg("--list");
    let listed = through(cx, store, dump, list, Extent::AsNeeded).await?;
    let contents = verify::contents(tables, &listed);
    // Where nothing could be listed, the sums of all that is there tell whether that is the dump's fault.
    if let (Err(why), Ok(())) = (&contents, &listed.reader) {
        return Ok(Verdict::Damaged(why.clone()));
    }
    if let (Rung::Contents, Some(sent), Ok(())) = (rung, sent, &contents) {
        by.push_str(&format!("; {} tables in its table of contents", tables.count));
        return Ok(Verdict::Whole(Proven { proof: Proof { rung, by }, sum: sent.clone() }));
    }
    let mut restore = runner.command(&tools.pg_restore);
    restore.args(["--file", "/dev/null"]);
    let read = through(cx, store, dump, restore, Extent::Whole).await?;
    let same = match sent {
        Some(sent) => verify::read_back(sent, &read),
        None => verify::present(&read.sum, dump.object).map(|how| by.push_str(how)),
    };
    if let Err(why) = same.and(read.unpacked) {
        return Ok(Verdict::Damaged(why));
    }
    if let Err(why) = contents.and(read.reader) {
        return Ok(Verdict::Unread(why));
    }
    by.push_str(&format!(
        "; {} tables in its table of contents; read back with the same SHA-256 and through pg_restore to its end",
        tables.count
    ));
    Ok(Verdict::Whole(Proven { proof: Proof { rung, by }, sum: read.sum }))
}

/// How much of the object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// To the end, whether the reader wants it or not.
    Whole,
    /// Until the reader has had enough.
    AsNeeded,
}

/// Reads the object into the command's standard input. A connection that breaks is taken up where it broke.
///
/// `Err` means that it could not be read; what it says about the object is in [`Read`].
pub(crate) async fn through(
    cx: &Cx,
    store: &Bucket,
    dump: Stored<'_>,
    mut command: Command,
    extent: Extent,
) -> Result<Read, Failure> {
    let attempt = format!("read {} back", store.uri(dump.key));
    let (from, to) =
        std::io::pipe().map_err(|error| Failure::failed(&*attempt).because(error).untouched(true))?;
    command.stdin(from).stdout(Stdio::piped());
    let mut child = Running::start(cx, command, &attempt)?;
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
    let feed = Feed::into(to, dump.zstd(), extent == Extent::Whole);
    let reading = Reading::new(store, dump.key, dump.object, &*attempt);
    let fed = give(cx, reading, &feed, &mut hasher, &attempt).await;
    if let Err(failure) = fed {
        child.stop().await;
        return Err(failure);
    }
    let unpacked = cx.in_time(&attempt, feed.end()).await?;
    let (status, said) = cx.in_time(&attempt, child.ended(&attempt)).await??;
    let printed = printed.await.unwrap_or_default();
    let reader = if status.success() { Ok(()) } else { Err(child.reason(status, &said)) };
    // What can't be decompressed is why the reader found it short.
    let reader = unpacked.clone().and(reader);
    Ok(Read { sum: hasher.finish(), unpacked, reader, said, printed })
}

/// Reads the object into the feed, until that wants no more.
pub(crate) async fn give(
    cx: &Cx,
    mut reading: Reading<'_>,
    feed: &Feed,
    hasher: &mut Hasher,
    attempt: &str,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    loop {
        let chunk = {
            let next = reading.next(cx);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    chunk = &mut next => break chunk?,
                    () = progress.due() => progress.say(cx, attempt, None),
                }
            }
        };
        let Some(chunk) = chunk else { return Ok(()) };
        hasher.update(&chunk);
        progress.bytes = hasher.bytes();
        let mut given = std::pin::pin!(feed.give(chunk));
        let wanted = loop {
            tokio::select! {
                wanted = cx.in_time(attempt, &mut given) => break wanted?,
                () = progress.due() => progress.say(cx, attempt, None),
            }
        };
        if !wanted {
            return Ok(());
        }
    }
}
