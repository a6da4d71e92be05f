//! Runs the local `git`: never with a question to anybody, ended with the run.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kit::{Cx, Failure, one_line, shell_word};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Ties a git to another folder, index, object store or file of configuration than those of `-C`: what
/// `git rev-parse --local-env-vars` lists, but for `GIT_CONFIG_COUNT` and the like, which may be how a job names its key.
const TIES: [&str; 14] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// What lets gpg's agent put a question on a terminal or a screen.
const SCREENS: [&str; 3] = ["DISPLAY", "GPG_TTY", "WAYLAND_DISPLAY"];

/// How long a git that is told to end may take to put its locks away, and the last words of one that has ended to arrive.
const GRACE: Duration = Duration::from_secs(1);

/// `git` in one folder.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    folder: PathBuf,
    /// Where new objects go instead of into the clone.
    scratch: Option<PathBuf>,
}

/// How a git ended, and what it said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn ok(&self) -> bool {
        self.status.success()
    }

    /// Standard output without the line's end, of a git that succeeded.
    pub(crate) fn line(&self) -> Option<String> {
        let line = self.stdout.trim_end_matches('\n');
        (self.ok() && !line.is_empty()).then(|| line.to_owned())
    }

    /// The last lines of what it said, or how it ended.
    pub(crate) fn why(&self) -> String {
        // What gpg says to git, and where git keeps a message that is given with each run.
        let aside =
            |line: &str| line.starts_with("[GNUPG:]") || line.starts_with("The tag message has been left");
        let told = |line: &String| !line.trim().is_empty() && !aside(line);
        let lines: Vec<String> = self.stderr.lines().map(one_line).filter(told).collect();
        match lines.get(lines.len().saturating_sub(8)..) {
            Some(last) if !last.is_empty() => last.join("\n"),
            _ => format!("git said nothing and ended with {}", self.status),
        }
    }
}

impl Git {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), scratch: None }
    }

    /// The same clone, but that no object is added to it.
    pub(crate) fn keeping_objects_in(&self, scratch: &Path) -> Self {
        Self { scratch: Some(scratch.to_owned()), ..self.clone() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in TIES.into_iter().chain(SCREENS).chain(["LANGUAGE"]) {
            command.env_remove(name);
        }
        command
            .env("LC_ALL", "C")
            // A commit that is replaced locally is none of GitHub's.
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            // ssh and ssh-keygen would ask on the terminal itself; this answers each question with nothing.
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "force");
        if let Some(scratch) = &self.scratch {
            command.env("GIT_OBJECT_DIRECTORY", scratch);
        }
        // Not of the terminal's group: Ctrl-C is for this process, which ends the whole group.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs git to its end, however it ends.
    pub(crate) async fn run(&self, cx: &Cx, attempt: &str, args: &[&str]) -> Result<Said, Failure> {
        self.run_with(cx, attempt, args, "").await
    }

    /// [`Git::run`] with this on standard input.
    pub(crate) async fn run_with(
        &self,
        cx: &Cx,
        attempt: &str,
        args: &[&str],
        input: &str,
    ) -> Result<Said, Failure> {
        let mut command = self.command("git");
        // The two `-c` keep credential helpers and git's own colours quiet.
        command.arg("-C").arg(&self.folder).args([
            "-c",
            "credential.interactive=false",
            "-c",
            "color.ui=false",
        ]);
        command.args(args);
        match finish(cx, attempt, command, input).await? {
            Ok(said) => Ok(said),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(attempt)),
            Err(error) => Err(Failure::failed(attempt).because(format!("git can't be run: {error}"))),
        }
    }

    /// Runs another program that git would run.
    pub(crate) async fn program(
        &self,
        cx: &Cx,
        attempt: &str,
        program: &str,
        args: &[&str],
    ) -> Result<Option<Said>, Failure> {
        let mut command = self.command(program);
        command.args(args);
        Ok(finish(cx, attempt, command, "").await?.ok())
    }
}

/// `git -C FOLDER`, for a person's shell.
pub(crate) fn in_folder(folder: &Path) -> String {
    format!("git -C {}", shell_word(&folder.display().to_string()))
}

/// The refusal where there is no git.
pub(crate) fn missing(attempt: &str) -> Failure {
    Failure::refused(attempt)
        .because("there is no git on this machine")
        .help(INSTALL)
        .help(INSTEAD)
        .untouched(true)
}

pub(crate) const INSTALL: &str = "install git 2.34 or later";

pub(crate) const INSTEAD: &str = "or leave --sign out: the API then makes the tag, annotated and unsigned";

async fn finish(
    cx: &Cx,
    attempt: &str,
    mut command: Command,
    input: &str,
) -> Result<Result<Said, io::Error>, Failure> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut ended = Box::pin(ending(&mut child, input));
    match cx.in_time(attempt, &mut ended).await {
        Ok(said) => Ok(said),
        Err(failure) => {
            // It may have ended by itself in the meantime.
            let end = |signal| group.map(|group| kill_process_group(group, signal));
            end(Signal::TERM);
            if tokio::time::timeout(GRACE, ended).await.is_err() {
                end(Signal::KILL);
            }
            Err(failure)
        }
    }
}

/// Waits for the end and for what was said until then: an ssh that stays for the next connection may hold the pipes for longer
/// (`ControlPersist` of `ssh_config(5)`).
async fn ending(child: &mut Child, input: &str) -> Result<Said, io::Error> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
        return Err(io::Error::other("it has no pipes"));
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let talk = async {
            let send = async move {
                // A git that did not read to the end has said why.
                let _ = stdin.write_all(input.as_bytes()).await;
            };
            let _ = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err), send);
        };
        tokio::pin!(talk);
        tokio::select! {
            () = &mut talk => child.wait().await?,
            status = child.wait() => {
                let _ = tokio::time::timeout(GRACE, &mut talk).await;
                status?
            }
        }
    };
    Ok(Said {
        status,
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
    })
}
