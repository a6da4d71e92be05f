//! One child process: its lines as they come, its time limit, and the runner's way of ending it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::{Instant, sleep_until};

use super::console::Console;

/// After SIGINT a cancelled step has this long until SIGTERM,
const TO_TERM: Duration = Duration::from_millis(7500);
/// and then this long until SIGKILL.
const TO_KILL: Duration = Duration::from_millis(2500);
/// How long lines are still read from what a finished step left behind.
const DRAIN: Duration = Duration::from_secs(1);

/// The signals with which a person cancels the run.
pub(crate) struct Cancel {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// Once: `if: always()` steps still run. Twice: nothing does.
    pub(crate) asked: u8,
}

impl Cancel {
    pub(crate) fn listen() -> io::Result<Self> {
        let interrupt = unix::signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: unix::signal(SignalKind::terminate())?, asked: 0 })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
        self.asked = self.asked.saturating_add(1);
    }

    /// Counts a signal that came while no process ran.
    pub(crate) async fn noticed(&mut self) {
        tokio::select! { biased; () = self.next() => {}, () = std::future::ready(()) => {} }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With the exit code, or 128 and the signal's number.
    Exited(i32),
    TimedOut,
    Cancelled,
}

/// Runs `command` to its end. Its group is signalled at `deadline`, and on a cancel unless `spared` (a step whose
/// condition holds when cancelled goes on). The flag is false when it printed a command that fails a step.
pub(crate) async fn run(
    mut command: Command,
    console: &mut Console,
    cancel: &mut Cancel,
    spared: bool,
    deadline: Instant,
) -> io::Result<(Ended, bool)> {
    let (reader, writer) = io::pipe()?;
    command.stdin(std::process::Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.kill_on_drop(true).spawn()?;
    drop(command); // holds the writing ends: without this the pipe never ends
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(reader.into())?);
    let (mut line, mut open, mut clean) = (Vec::new(), true, true);
    let (mut exit, mut stopped_by, mut deadline) = (None, None, deadline);
    let mut signals = VecDeque::new();
    let stop = |signals: &mut VecDeque<(Instant, Signal)>| {
        let now = Instant::now();
        *signals =
            [(now, Signal::INT), (now + TO_TERM, Signal::TERM), (now + TO_TERM + TO_KILL, Signal::KILL)]
                .into();
    };
    while exit.is_none() || open {
        let next_signal = signals.front().copied();
        tokio::select! {
            read = lines.read_until(b'\n', &mut line), if open => {
                open = read? > 0 && line.ends_with(b"\n");
                if !line.is_empty() {
                    let text = String::from_utf8_lossy(&line);
                    clean &= console.child_line(text.strip_suffix('\n').unwrap_or(&text));
                    line.clear();
                }
            }
            status = child.wait(), if exit.is_none() => {
                use std::os::unix::process::ExitStatusExt;
                let status = status?;
                exit = status.code().or(status.signal().map(|number| 128 + number));
                signals.clear();
                deadline = Instant::now() + DRAIN;
            }
            () = cancel.next(), if exit.is_none() => {
                if signals.is_empty() && (!spared || cancel.asked > 1) {
                    stopped_by = Some(Ended::Cancelled);
                    stop(&mut signals);
                }
            }
            () = sleep_until(next_signal.map_or(deadline, |(at, _)| at)), if next_signal.is_some() => {
                signals.pop_front();
                next_signal.and_then(|(_, number)| signal(number));
            }
            () = sleep_until(deadline), if next_signal.is_none() && stopped_by.is_none_or(|_| exit.is_some()) => {
                if exit.is_some() { break }
                stopped_by = Some(Ended::TimedOut);
                stop(&mut signals);
            }
        }
    }
    // A container takes its processes with it, and the runner ends what a script left behind.
    signal(Signal::KILL);
    Ok((stopped_by.unwrap_or(Ended::Exited(exit.unwrap_or(1))), clean))
}
