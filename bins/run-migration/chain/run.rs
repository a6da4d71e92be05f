//! The commands of a chain, one after the other, each between two objects that say how it began and ended.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kit::{Code, Cx, Failure};
use rustix::process::{Pid, Signal, kill_process_group};
use s3::Bucket;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::plan::{ChainPlan, Todo};

/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(3);

pub(super) async fn run(cx: &Cx, bucket: &Bucket, folder: &Path, plan: &ChainPlan) -> Result<(), Failure> {
    for (n, todo) in plan.links.iter().enumerate() {
        let inverse = json!({ "restore": "what the command did, taken back by hand" });
        cx.act(&todo.id, &inverse, link(cx, bucket, folder, todo)).await?;
        cx.output("applied", (n + 1).to_string());
        cx.output("pending", (plan.links.len() - n - 1).to_string());
        cx.output("to-version", todo.link.to.to_string());
    }
    Ok(())
}

/// One command: `started` is created before it begins, which fails where another run has created it.
async fn link(cx: &Cx, bucket: &Bucket, folder: &Path, todo: &Todo) -> Result<(), Failure> {
    let name = &todo.link.name;
    let record = async |word: &str, why: &str| {
        let body = json!({
            "command": name, "from": todo.link.from, "to": todo.link.to, "run": cx.run_id(), "what": why,
        });
        let key = format!("{}.{word}.json", todo.key);
        bucket.put(&key, &cx.run_id(), "application/json", format!("{body:#}\n").into_bytes()).await
    };
    record("started", "begins").await.map_err(|failure| {
        failure
            .untouched(true)
            .help("where that key is taken, another run has begun this command: wait for it, and run again")
    })?;
    let started = Instant::now();
    let ended = command(cx, folder, todo).await;
    let (word, why) = match &ended {
        Ok(()) => ("done", String::new()),
        Err(failure) => ("failed", format!("{failure}: {}", failure.chain().join(": "))),
    };
    let recorded = record(word, &why).await;
    match (ended, recorded) {
        (Ok(()), Ok(_)) => {
            cx.report().say(&format!("{name} has ended well after {} s", started.elapsed().as_secs()));
            Ok(())
        }
        (Ok(()), Err(failure)) => Err(failure.state(format!(
            "{name} has ended well, and that could not be written down: the next run asks what became of it"
        ))),
        (Err(failure), _) => Err(failure),
    }
}

async fn command(cx: &Cx, folder: &Path, todo: &Todo) -> Result<(), Failure> {
    let name = &todo.link.name;
    let attempt = format!("run {name}");
    let path = folder.join(name);
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let mut child = Command::new(&path)
        .env("CUTOVER_FROM", todo.link.from.to_string())
        .env("CUTOVER_TO", todo.link.to.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::failed(&attempt)
                .because(error)
                .help("its first line must name the program that runs it, as #!/usr/bin/env python3 does")
        })?;
    cx.report().say(&format!("running {name}"));
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let readers = [
        tokio::spawn(say(cx.clone(), child.stdout.take())),
        tokio::spawn(say(cx.clone(), child.stderr.take())),
    ];
    let ended = tokio::select! {
        biased;
        status = child.wait() => Ok(status),
        () = cx.cancelled() => Err(cx.cancellation()),
        () = tokio::time::sleep_until(cx.deadline()) => Err(Failure::new(Code::Deadline, attempt.clone())
            .because("--timeout was over while it ran, and it was ended")
            .help("look how far it came, and run again with a longer --timeout")),
    };
    let ended = match ended {
        Ok(status) => verdict(&attempt, status),
        Err(stop) => {
            // What the command has started is told too.
            let tell = |signal| group.is_some_and(|group| kill_process_group(group, signal).is_ok());
            tell(Signal::TERM);
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                tell(Signal::KILL);
            }
            Err(stop.state(format!(
                "{name} was broken off: how far it came is for it to find out when it runs again"
            )))
        }
    };
    // What it has started and left behind may keep its output open for ever.
    for reader in readers {
        let _ = tokio::time::timeout(Duration::from_secs(1), reader).await;
    }
    ended
}

fn verdict(attempt: &str, status: std::io::Result<ExitStatus>) -> Result<(), Failure> {
    let status = status.map_err(|error| Failure::failed(attempt).because(error))?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
    };
    Err(Failure::failed(attempt)
        .because(how)
        .help("its own words are above; running again runs it again, so it must bear that"))
}

/// Says what the command says, as it comes.
async fn say(cx: Cx, from: Option<impl AsyncRead + Unpin>) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        cx.report().foreign(&String::from_utf8_lossy(&line));
    }
}
