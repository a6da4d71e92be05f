//! Runs a script where a proxy's file is: by `sh` here, or by the system's `ssh` there.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use kit::{Cx, Failure, one_line};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::place::{Proxy, Ssh};
use crate::script::{Answer, Script};

/// How long one script may take: `nginx -t` resolves every name of the configuration.
const LIMIT: Duration = Duration::from_mins(2);

/// How often a connection is tried. Every script may run twice: each looks first whether it has taken effect.
const TRIES: u32 = 3;

const PAUSE: Duration = Duration::from_secs(1);

/// How the machines are reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// `NAME=VALUE` of `ssh_config(5)`.
    pub(crate) ssh_options: Vec<String>,
    pub(crate) sudo: bool,
}

/// What ssh is told where the caller does not say otherwise: of several values of an option, it takes the first.
const DEFAULTS: [&str; 5] = [
    // Nobody is there to be asked.
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    // A connection that died is noticed within 15 seconds.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
];

impl Reach {
    fn command(&self, proxy: &Proxy) -> Command {
        let shell: &[&str] = if self.sudo { &["sudo", "-n", "sh"] } else { &["sh"] };
        let command = match &proxy.ssh {
            None => {
                let mut command = Command::new(shell.first().copied().unwrap_or("sh"));
                command.args(shell.get(1..).unwrap_or_default());
                command
            }
            Some(ssh) => {
                let mut command = self.ssh(ssh, &[]);
                command.args(shell);
                command
            }
        };
        piped(command)
    }

    /// A connection from the proxy to `to`, on standard input and output.
    pub(crate) fn tunnel(&self, proxy: &Proxy, to: &str) -> Command {
        // Without ssh there is none: the caller connects by itself.
        piped(proxy.ssh.as_ref().map_or_else(|| Command::new("false"), |ssh| self.ssh(ssh, &["-W", to])))
    }

    fn ssh(&self, ssh: &Ssh, more: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-T");
        for option in self.ssh_options.iter().map(String::as_str).chain(DEFAULTS) {
            command.args(["-o", option]);
        }
        if let Some(user) = &ssh.user {
            command.args(["-l", user]);
        }
        if let Some(port) = ssh.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(more).arg("--").arg(&ssh.host);
        command
    }

    /// Runs the script until it has answered.
    ///
    /// # Errors
    /// No connection, no shell, no answer. Unless it says that nothing ran, the script may have had its effect.
    pub(crate) async fn run(&self, cx: &Cx, proxy: &Proxy, script: &Script) -> Result<Answer, Failure> {
        let mut tries = 1;
        let mut begun = false;
        loop {
            let failure = match self.once(proxy, script).await {
                Ok(answer) => return Ok(answer),
                Err((failure, this)) => {
                    begun |= this;
                    failure
                }
            };
            if !failure.is_transient() || tries == TRIES {
                return Err(failure.untouched(!begun));
            }
            let why = failure.chain().pop().unwrap_or_default();
            cx.report().say(&format!("{failure}: {why}; trying again"));
            tries += 1;
            cx.pause(PAUSE).await;
        }
    }

    /// Beside a failure stands whether the script may have begun.
    async fn once(&self, proxy: &Proxy, script: &Script) -> Result<Answer, (Failure, bool)> {
        let attempt = match &proxy.ssh {
            Some(_) => format!("run a script on {} by ssh", proxy.name),
            None => "run a script on this machine".to_owned(),
        };
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let mut child = match self.command(proxy).spawn() {
            Ok(child) => child,
            Err(error) => return Err((no_program(&attempt, proxy, self.sudo, error), false)),
        };
        let stdin = child.stdin.take();
        let text = script.text(&mark);
        let send = async {
            if let Some(mut stdin) = stdin {
                // A shell that did not read to the end has said why.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), send).0 };
        let output = match tokio::time::timeout(LIMIT, both).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err((Failure::failed(attempt).because(error), true)),
            Err(_) => {
                let late = Failure::failed(attempt)
                    .because(format!("it did not answer within {} seconds", LIMIT.as_secs()))
                    .help("see what hangs there: nginx -t waits for every name that it can't resolve");
                return Err((late, true));
            }
        };
        let stdout = String::from_utf8_lossy(&output.stdout);
        if let Some(answer) = Answer::read(&stdout, &mark) {
            return Ok(answer);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        // What had begun may have taken effect.
        let begun = stdout.contains(&format!("begin {mark}"));
        Err((unanswered(attempt, proxy, output.status.code(), &stderr), begun))
    }
}

fn piped(mut command: Command) -> Command {
    // Not of the terminal's group: Ctrl-C is for this process, which puts things away with it.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn no_program(attempt: &str, proxy: &Proxy, sudo: bool, error: io::Error) -> Failure {
    let program = match (&proxy.ssh, sudo) {
        (Some(_), _) => "ssh",
        (None, true) => "sudo",
        (None, false) => "sh",
    };
    let failure = Failure::failed(attempt);
    if error.kind() != io::ErrorKind::NotFound {
        return failure.because(error);
    }
    let failure = failure.because(format!("there is no {program} on this machine"));
    match program {
        "ssh" => failure.help("install the OpenSSH client (on Debian, the package openssh-client)"),
        "sudo" => failure.help("leave --sudo out where this runs as root"),
        _ => failure,
    }
}

/// What ssh says when it ends with 255, and what helps.
///
/// Source: <https://man.openbsd.org/ssh#EXIT_STATUS>
fn unanswered(attempt: String, proxy: &Proxy, code: Option<i32>, stderr: &str) -> Failure {
    let lines: Vec<String> = stderr.lines().map(one_line).filter(|line| !line.trim().is_empty()).collect();
    let said = lines.get(lines.len().saturating_sub(6)..).unwrap_or_default().join("\n");
    let has = |text: &str| stderr.contains(text);
    let failure = Failure::failed(attempt);
    if has("sudo: ") {
        return failure.because(said).help(
            "allow this user `sudo sh` without a password, log in as one who may, or leave --sudo out",
        );
    }
    if proxy.ssh.is_none() || code != Some(255) {
        let ended = code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
        let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
        return failure
            .because(format!("the shell ended with {ended} before it had answered:\n{said}"))
            .help("log in by hand and see whether `sh` runs there");
    }
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return failure
            .because(format!("the key of {} is not the one that is known", proxy.name))
            .help("find out why before you trust it; then replace it in known_hosts");
    }
    if has("Host key verification failed") || has("host key is known for") {
        return failure.because(said).help(
            "compare the host's key (`ssh-keyscan`) with what its owner says, and add it to known_hosts, or to a file named with --ssh-option UserKnownHostsFile=FILE",
        );
    }
    if has("Permission denied") || has("Too many authentication failures") {
        return failure.because(said).help(
            "no password is asked for: name a key with --ssh-option IdentityFile=FILE, or load it into an agent",
        );
    }
    if has("Could not resolve hostname") {
        return failure.because(said).help("correct the host in --proxy");
    }
    if has("Bad configuration option") || has("configuration options") || has("extra arguments") {
        return failure.because(said).help("correct --ssh-option: see ssh_config(5)");
    }
    let said = if said.is_empty() { "ssh ended with code 255".to_owned() } else { said };
    failure.because(said).help("see that the host is up and lets this machine in").transient(true)
}
