//! A child process, its end and what it said.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kit::{Cx, Failure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

/// A child process whose standard error is passed on as it comes.
pub(crate) struct Running {
    pub(crate) child: Child,
    program: String,
    stderr: Option<JoinHandle<Said>>,
}

/// The first and the last lines that a child said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) first: Vec<String>,
    pub(crate) last: VecDeque<String>,
}

/// How many lines are kept of each.
const KEPT: usize = 5;

impl Said {
    fn add(&mut self, line: String) {
        if self.first.len() < KEPT {
            self.first.push(line.clone());
        }
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// The last lines.
    pub(crate) fn end(&self) -> String {
        self.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Running {
    /// Starts it. The command is dropped, and with it this process's ends of the pipes that it was given.
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
        let (status, said) = self.ended(attempt).await?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::failed(attempt).because(self.reason(status, &said)))
        }
    }

    /// Waits for the end, whichever it is.
    pub(crate) async fn ended(&mut self, attempt: &str) -> Result<(ExitStatus, Said), Failure> {
        let status = self.child.wait().await.map_err(|error| Failure::failed(attempt).because(error))?;
        let said = match self.stderr.take() {
            Some(task) => task.await.unwrap_or_default(),
            None => Said::default(),
        };
        Ok((status, said))
    }

    /// How it ended and what it said at the end.
    pub(crate) fn reason(&self, status: ExitStatus, said: &Said) -> String {
        let reason = ending(&self.program, status);
        let end = said.end();
        if end.is_empty() { reason } else { format!("{reason}: {end}") }
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

/// Shows each line, and keeps a few for the error message.
async fn pass_on(cx: Cx, stderr: ChildStderr) -> Said {
    let mut lines = BufReader::new(stderr);
    let mut said = Said::default();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        cx.report().foreign(&text);
        said.add(text);
        line.clear();
    }
    said
}
