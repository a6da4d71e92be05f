//! A child's standard output into an object that exists only if the child succeeded.

use std::collections::HashMap;
use std::io::PipeWriter;
use std::time::Duration;

use kit::{Cx, Failure};
use s3::{Bucket, CompletedPart, MOST_PARTS, Object, PartSizes, Progress, Sum};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::child::Running;
use crate::pipe::{Packing, Parts};

/// Where a stream goes.
pub(crate) struct Upload<'a> {
    pub(crate) store: &'a Bucket,
    pub(crate) key: &'a str,
    /// Holds the run's id, by which a commit whose answer was lost is recognised.
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) run: &'a str,
    pub(crate) sizes: PartSizes,
    pub(crate) packing: Packing,
    /// Where the stream goes beside, as it comes.
    pub(crate) tap: Option<PipeWriter>,
    /// What is done, for messages: "dump rally".
    pub(crate) attempt: &'a str,
}

/// How far the upload of a stream has come.
enum Begun {
    No,
    /// The call was made; what it answered is not known.
    Maybe,
    /// Under this id.
    As(String),
}

/// An object that was committed.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) sum: Sum,
    pub(crate) stored: Object,
}

impl Upload<'_> {
    /// Runs the command and uploads what it prints.
    ///
    /// The end of its output is not success: only when it has exited with 0, and `permit` has nothing against what came,
    /// the object is committed. In all other cases, cancellation and deadline included, there is no object, and no parts
    /// are left. A stream shorter than one part makes no call at all before it is known to be whole.
    pub(crate) async fn run(
        mut self,
        cx: &Cx,
        mut command: Command,
        permit: impl AsyncFnOnce(&Sum) -> Result<(), Failure>,
    ) -> Result<Committed, Failure> {
        let (from, to) =
            std::io::pipe().map_err(|error| Failure::failed(self.attempt).because(error).untouched(true))?;
        command.stdout(to);
        let mut child = Running::start(cx, command, self.attempt)?;
        let stream = Parts::of(from, self.packing, self.sizes, self.tap.take());
        let mut upload = Begun::No;
        let streamed = match self.stream(cx, &mut child, stream, &mut upload).await {
            Ok(whole) => permit(&whole.0).await.map(|()| whole),
            Err(failure) => Err(failure),
        };
        let failure = match (streamed, &upload) {
            (Ok((sum, parts)), Begun::As(id)) => match self.commit(cx, id, parts, &sum).await {
                Ok(stored) => return Ok(Committed { sum, stored }),
                Err(failure) => failure,
            },
            (Ok(_), _) => Failure::failed(self.attempt).because("nothing was uploaded"),
            (Err(failure), _) => failure,
        };
        child.stop().await;
        if matches!(upload, Begun::No) {
            return Err(failure.untouched(true));
        }
        let put_away = async {
            self.store.abort_all(self.key).await?;
            // A commit whose answer was lost may have come through all the same.
            Ok(self.store.head(self.key, None).await?.is_none_or(|stored| !stored.written_by(self.run)))
        };
        match put_away.await {
            Ok(true) => Err(failure.untouched(true)),
            Ok(false) => Err(failure.untouched(false).state(format!(
                "{} was committed all the same; with the same --backup-id the next run verifies it",
                self.store.uri(self.key)
            ))),
            Err::<_, Failure>(left) => Err(failure.untouched(false).state(format!(
                "an unfinished upload of {} may remain ({left}: {}); the next backup to the same place aborts it",
                self.store.uri(self.key),
                left.chain().join(": ")
            ))),
        }
    }

    /// Reads the stream to its end, and waits for every part and for the child's exit.
    async fn stream(
        &self,
        cx: &Cx,
        child: &mut Running,
        mut stream: Parts,
        upload: &mut Begun,
    ) -> Result<(Sum, Vec<CompletedPart>), Failure> {
        let mut parts = Vec::new();
        let mut in_flight = JoinSet::new();
        let mut progress = Progress::new();
        let mut number = 0;
        let mut whole = None;
        while whole.is_none() || !in_flight.is_empty() {
            let part = tokio::select! {
                part = cx.in_time(self.attempt, stream.next()), if whole.is_none() => part?,
                // A part that can't be uploaded ends the stream at once, not when the next part is full.
                done = cx.in_time(self.attempt, in_flight.join_next()), if !in_flight.is_empty() => {
                    if let Some(done) = done? {
                        parts.push(joined(done)?);
                    }
                    continue;
                }
                () = progress.due() => {
                    let waits = stream.read() == progress.bytes && !in_flight.is_empty();
                    progress.bytes = stream.read();
                    progress.say(cx, self.attempt, waits.then_some("waiting for S3"));
                    continue;
                }
            };
            let Some(part) = part else {
                return Err(Failure::failed(self.attempt).because("the stream has no end"));
            };
            let part = part.map_err(|error| Failure::failed(self.attempt).because(error))?;
            if part.last.is_some() {
                cx.in_time(self.attempt, child.succeeded(self.attempt)).await??;
                if stream.read() == 0 {
                    return Err(Failure::failed(self.attempt).because("it ended well and printed nothing"));
                }
            }
            whole = part.last;
            number += 1;
            if number > MOST_PARTS {
                return Err(Failure::failed(self.attempt)
                    .because(format!("it is larger than the {MOST_PARTS} parts that S3 allows")));
            }
            let id = if let Begun::As(id) = upload {
                id.clone()
            } else {
                *upload = Begun::Maybe;
                // Not dropped half-way by a signal: whether it took effect would be in doubt.
                let id = self.store.begin(cx, self.key, &self.metadata).await?;
                *upload = Begun::As(id.clone());
                id
            };
            let (store, key) = (self.store.clone(), self.key.to_owned());
            let (body, room) = (part.body, part.room);
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            in_flight.spawn(async move {
                let crc = s3::base64(crc_fast::crc64_nvme(&body));
                let sent = store.part(&key, &id, number, body, crc).await;
                drop(room);
                sent
            });
        }
        parts.sort_by_key(CompletedPart::part_number);
        match whole {
            Some(sum) => Ok((sum, parts)),
            None => Err(Failure::failed(self.attempt).because("the stream has no end")),
        }
    }

    /// Completes the upload. Whatever the answer, the object decides: an answer can be lost, and a repeated call is told that
    /// the upload is gone or the key is taken.
    async fn commit(
        &self,
        cx: &Cx,
        upload: &str,
        parts: Vec<CompletedPart>,
        sum: &Sum,
    ) -> Result<Object, Failure> {
        cx.or_cancelled(std::future::ready(())).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = self.store.complete(self.key, upload, parts.clone(), sum.bytes).await.err();
            match (self.store.head(self.key, None).await, failure) {
                (Ok(Some(stored)), _) if stored.written_by(self.run) => return Ok(stored),
                (Ok(Some(_)), _) => {
                    return Err(Failure::failed(format!("write {}", self.store.uri(self.key)))
                        .because("an object of another run has this key by now"));
                }
                (Ok(None), Some(failure)) if failure.is_transient() && tries < 5 => {}
                (_, Some(failure)) => return Err(failure),
                (Ok(None), None) => {
                    return Err(Failure::failed(format!("write {}", self.store.uri(self.key)))
                        .because("S3 completed the upload, and there is no such object"));
                }
                (Err(unseen), None) => return Err(unseen),
            }
            cx.or_cancelled(cx.pause(Duration::from_secs(2))).await?;
        }
    }
}

fn joined(
    done: Result<Result<CompletedPart, Failure>, tokio::task::JoinError>,
) -> Result<CompletedPart, Failure> {
    done.map_err(|error| Failure::failed("upload a part").because(error))?
}
