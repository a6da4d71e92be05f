//! Servers run as child processes that end with the test or world that started them, however that ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::TcpStream;

/// An unprivileged user that a server takes on where root started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A command that is sent INT or TERM when this process dies (`setpriv --pdeathsig`, where there is one), as another user
/// if asked.
///
/// The other user keeps the right to pass folders (`CAP_DAC_OVERRIDE`): a data folder or a server under root's own home
/// would be out of its reach.
pub(crate) fn command(program: &Path, signal: Signal, user: Option<User>) -> io::Result<Command> {
    let Some(setpriv) = find_on_path("setpriv") else {
        if user.is_some() {
            let reason =
                "this server refuses to run as root, and there is no `setpriv` to take another user's place";
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        return Ok(Command::new(program));
    };
    // It knows signals by name only.
    let name = if signal == Signal::INT { "INT" } else { "TERM" };
    let mut command = Command::new(setpriv);
    if let Some(User { uid, gid }) = user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        command.args(["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]);
        // Without it access(2), by which initdb looks for its programs, disregards capabilities.
        command.arg("--securebits=+no_setuid_fixup");
    }
    command.args([format!("--pdeathsig={name}")]).arg("--").arg(program);
    Ok(command)
}

pub(crate) fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// A port that is free now, as is the one so far above it (0: only the one), for servers that cannot be told to choose
/// one and for those that keep theirs.
///
/// They lie below the range from which the system takes the ports of outgoing connections (ip(7),
/// `ip_local_port_range`): between two runs of a server, none of those lands on it.
pub(crate) fn free_ports(distance: u16) -> Option<u16> {
    const LOWEST: u16 = 10_000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768_u16);
    let room = end.saturating_sub(LOWEST).saturating_sub(distance);
    (0..100).find_map(|_| {
        let [a, b, ..] = uuid::Uuid::new_v4().into_bytes();
        let port = LOWEST + u16::from_be_bytes([a, b]).checked_rem(room)?;
        (is_free(port) && is_free(port + distance)).then_some(port)
    })
}

/// The port that a server had before; another, if something else holds on to it. 0 is none before.
///
/// What was killed with the last run may need a moment to let go of it.
///
/// # Errors
/// There is none that is free.
pub async fn same_port(port: u16) -> io::Result<u16> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while port != 0 && Instant::now() < deadline {
        if is_free(port) {
            return Ok(port);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match free_ports(0) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The last lines of a log, for the error that says why a server did not start.
pub(crate) fn tail(log: &Path) -> String {
    const LENGTH: u64 = 2000;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(LENGTH);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", log.display()))
}

/// A running server; stopped when dropped.
pub(crate) struct Server {
    child: Child,
    stop: Signal,
    patience: Duration,
}

impl Server {
    /// Starts the command in a process group of its own, with its output in the log. `stop` asks it to end; what has not
    /// ended after `patience` is killed.
    pub(crate) fn start(
        mut command: Command,
        log: &Path,
        stop: Signal,
        patience: Duration,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self { child: spawn(command)?, stop, patience })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens on a port of loopback, and whatever else says that it has started is so.
    ///
    /// # Errors
    /// It ended, or does not come so far: the end of its log is in the message.
    pub(crate) async fn listens(
        &mut self,
        name: &str,
        port: u16,
        log: &Path,
        is_up: impl Fn() -> bool,
    ) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() || !is_up() {
            let why = match self.ended()? {
                Some(status) => format!("ended with {status}"),
                None if Instant::now() > deadline => "does not listen".to_owned(),
                None => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            return Err(io::Error::other(format!("{name} {why}:\n{}", tail(log))));
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(pid) = pid(self.child.id()) else { return };
        let _ = kill_process(pid, self.stop);
        let deadline = Instant::now() + self.patience;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // What it has started itself goes with it.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

pub(crate) fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// A parent-death signal is sent when the *thread* ends that started the child, and the threads of tests end early:
/// all children are therefore started by one thread that does not end.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let gone = || io::Error::other("the thread that starts servers has ended");
    let program = command.get_program().to_owned();
    let (answer, child) = channel();
    SPAWNER.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    child
        .recv()
        .map_err(|_| gone())?
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))
}
