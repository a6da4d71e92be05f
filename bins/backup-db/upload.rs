//! A child's standard output into an object that exists only if the child succeeded.

use std::collections::{HashMap, VecDeque};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kit::{Cx, Failure};
use rustix::process::{Pid, Signal, kill_process};
use s3::{Bucket, CompletedPart, Hasher, MOST_PARTS, Object, PartSizes, Progress, Sum};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::{JoinHandle, JoinSet};

/// Parts that are uploaded at the same time, beside the one that is being filled.
const IN_FLIGHT: usize = 3;

/// Where a stream goes.
pub(crate) struct Upload<'a> {
    pub(crate) store: &'a Bucket,
    pub(crate) key: &'a str,
    /// Holds the run's id, by which a commit whose answer was lost is recognised.
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) run: &'a str,
    pub(crate) sizes: PartSizes,
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
        self,
        cx: &Cx,
        command: Command,
        permit: impl FnOnce(&Sum) -> Result<(), Failure>,
    ) -> Result<Committed, Failure> {
        let mut child = Running::start(cx, command, self.attempt)?;
        let mut upload = Begun::No;
        let streamed = self.stream(cx, &mut child, &mut upload).await.and_then(|whole| {
            permit(&whole.0)?;
            Ok(whole)
        });
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
        upload: &mut Begun,
    ) -> Result<(Sum, Vec<CompletedPart>), Failure> {
        let Some(mut output) = child.child.stdout.take() else {
            return Err(Failure::failed(self.attempt).because("the child has no standard output"));
        };
        let mut hasher = Hasher::new();
        let mut parts = Vec::new();
        let mut in_flight = JoinSet::new();
        let mut progress = Progress::new();
        for number in 1.. {
            let size = usize::try_from(self.sizes.of(number)).unwrap_or(usize::MAX);
            let part = {
                let fill = fill(&mut output, size, &mut hasher);
                tokio::pin!(fill);
                loop {
                    tokio::select! {
                        part = cx.in_time(self.attempt, &mut fill) => break part?,
                        // A part that can't be uploaded ends the dump at once, not when the next part is full.
                        Some(done) = in_flight.join_next() => parts.push(joined(done)?),
                        () = progress.due() => progress.say(cx, self.attempt, None),
                    }
                }
            };
            progress.bytes = hasher.bytes();
            let part = part.map_err(|error| Failure::failed(self.attempt).because(error))?;
            let last = part.len() < size;
            if last {
                cx.in_time(self.attempt, child.succeeded(self.attempt)).await??;
                if hasher.bytes() == 0 {
                    return Err(Failure::failed(self.attempt).because("it ended well and printed nothing"));
                }
            }
            if !part.is_empty() {
                if number > MOST_PARTS {
                    return Err(Failure::failed(self.attempt)
                        .because(format!("the dump is larger than the {MOST_PARTS} parts that S3 allows")));
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
                while in_flight.len() >= IN_FLIGHT {
                    tokio::select! {
                        done = cx.in_time(self.attempt, in_flight.join_next()) => {
                            if let Some(done) = done? {
                                parts.push(joined(done)?);
                            }
                        }
                        () = progress.due() => progress.say(cx, self.attempt, Some("waiting for S3")),
                    }
                }
                let (store, key) = (self.store.clone(), self.key.to_owned());
                let number = i32::try_from(number).unwrap_or(i32::MAX);
                in_flight.spawn(async move {
                    let crc = s3::base64(crc_fast::crc64_nvme(&part));
                    store.part(&key, &id, number, part, crc).await
                });
            }
            if last {
                break;
            }
        }
        while !in_flight.is_empty() {
            tokio::select! {
                done = cx.in_time(self.attempt, in_flight.join_next()) => {
                    if let Some(done) = done? {
                        parts.push(joined(done)?);
                    }
                }
                () = progress.due() => progress.say(cx, self.attempt, Some("waiting for S3")),
            }
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok((hasher.finish(), parts))
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

/// One part of the stream: `size` bytes, or fewer at its end.
async fn fill(
    output: &mut (impl AsyncRead + Unpin),
    size: usize,
    hasher: &mut Hasher,
) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(size);
    while buffer.len() < size {
        let from = buffer.len();
        if output.read_buf(&mut (&mut buffer).limit(size - from)).await? == 0 {
            break;
        }
        hasher.update(buffer.get(from..).unwrap_or_default());
    }
    Ok(buffer.freeze())
}

fn joined(
    done: Result<Result<CompletedPart, Failure>, tokio::task::JoinError>,
) -> Result<CompletedPart, Failure> {
    done.map_err(|error| Failure::failed("upload a part").because(error))?
}

/// A child process whose standard error is passed on as it comes.
pub(crate) struct Running {
    pub(crate) child: Child,
    program: String,
    stderr: Option<JoinHandle<VecDeque<String>>>,
}

impl Running {
    pub(crate) fn start(cx: &Cx, mut command: Command, attempt: &str) -> Result<Self, Failure> {
        let path = std::path::PathBuf::from(command.as_std().get_program());
        let program = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        command.stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Failure::failed(attempt)
                .because(format!("{} can't be started: {error}", path.display()))
                .untouched(true)
        })?;
        let stderr = child.stderr.take().map(|stderr| tokio::spawn(pass_on(cx.clone(), stderr)));
        Ok(Self { child, program, stderr })
    }

    /// Waits for the end, which is a failure unless it is an exit with 0.
    pub(crate) async fn succeeded(&mut self, attempt: &str) -> Result<(), Failure> {
        let status = self.child.wait().await.map_err(|error| Failure::failed(attempt).because(error))?;
        let said = match self.stderr.take() {
            Some(task) => task.await.unwrap_or_default(),
            None => VecDeque::new(),
        };
        if status.success() {
            return Ok(());
        }
        let mut reason = ending(&self.program, status);
        if !said.is_empty() {
            reason = format!("{reason}: {}", Vec::from(said).join("\n"));
        }
        Err(Failure::failed(attempt).because(reason))
    }

    /// Asks the child to end, so that it cancels its query on the server too, and sees to it that it does.
    pub(crate) async fn stop(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        // It may have ended by itself in the meantime.
        let _ = kill_process(pid, Signal::TERM);
        if tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

fn ending(program: &str, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("{program} ended with exit code {code}"),
        (None, Some(signal)) => format!("{program} was killed by signal {signal}"),
        (None, None) => format!("{program} ended with {status}"),
    }
}

/// Shows each line, and keeps the last few for the error message.
async fn pass_on(cx: Cx, stderr: ChildStderr) -> VecDeque<String> {
    let mut lines = BufReader::new(stderr);
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        cx.report().foreign(&text);
        last.push_back(text);
        if last.len() > 5 {
            last.pop_front();
        }
        line.clear();
    }
    last
}
