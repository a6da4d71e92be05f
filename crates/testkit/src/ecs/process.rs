//! Tasks as real local processes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::launcher::{ContainerSpec, Launcher, Running, TaskSpec};
use crate::app::LISTENING;

/// What an image of the catalogue holds: a release of the rehearsal's application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageSpec {
    /// What `GET /version` answers.
    pub version: String,
    /// `sha256:...`, for images that are referred to by tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// A query that must give true, or the application ends with exit code 1: its migration is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// The application ends at once with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// It serves this in place of `version`: an image that was built from something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_version: Option<String>,
}

/// How to start the application, and with what.
#[derive(Clone, Debug, Default)]
pub struct ProcessOptions {
    /// The executable that is, or has as a subcommand, [`crate::app`].
    pub program: PathBuf,
    /// What comes before its options.
    pub leading_args: Vec<String>,
    /// A JSON object from image reference to [`ImageSpec`], read anew at every start. A reference with a digest is looked up
    /// as it stands and by its digest alone (`sha256:...`), one with a tag as it stands.
    pub catalogue: PathBuf,
    /// Values of secrets, by `valueFrom`.
    pub secrets: BTreeMap<String, String>,
    /// A folder for the standard error of each task, as `TASK-ID.log`; discarded without.
    pub logs: Option<PathBuf>,
}

/// Starts one process per task.
pub struct ProcessLauncher {
    options: ProcessOptions,
    client: reqwest::Client,
}

impl ProcessLauncher {
    /// Must be used inside a Tokio runtime.
    ///
    /// # Errors
    /// No HTTP client can be made for the health checks.
    pub fn new(options: ProcessOptions) -> io::Result<Self> {
        // `NO_PROXY` may not name loopback addresses.
        let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
        Ok(Self { options, client })
    }

    fn image(&self, reference: &str) -> Result<ImageSpec, String> {
        let file = self.options.catalogue.display();
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("CannotPullContainerError: the image catalogue {file} can't be read: {error}")
        };
        let text = std::fs::read(&self.options.catalogue).map_err(|e| unreadable(&e))?;
        let mut images: BTreeMap<String, ImageSpec> =
            serde_json::from_slice(&text).map_err(|e| unreadable(&e))?;
        let digest = reference.split_once('@').map(|(_, digest)| digest);
        images.remove(reference).or_else(|| images.remove(digest?)).ok_or_else(|| {
            format!(
                "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref \
                 {reference}: {reference}: not found"
            )
        })
    }

    /// The environment of a container: nothing of ours, as in a container.
    fn environment(&self, container: &ContainerSpec) -> Result<BTreeMap<String, String>, String> {
        let mut environment = container.environment.clone();
        for (name, from) in &container.secrets {
            let value = self.options.secrets.get(from).ok_or_else(|| {
                format!(
                    "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret \
                     from asm: service call has been retried 1 time(s): failed to fetch secret {from}: \
                     ResourceNotFoundException"
                )
            })?;
            environment.insert(name.clone(), value.clone());
        }
        Ok(environment)
    }
}

impl Launcher for ProcessLauncher {
    fn launch(&self, spec: &TaskSpec) -> Result<Box<dyn Running>, String> {
        for container in &spec.containers {
            self.image(&container.image)?;
        }
        let main = spec.main_container().ok_or("the task definition has no container")?;
        let image = self.image(&main.image)?;
        let mut command = Command::new(&self.options.program);
        command.args(&self.options.leading_args);
        command.arg("--version").arg(image.wrong_version.as_ref().unwrap_or(&image.version));
        command.args(["--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        if let Some(query) = &image.requires {
            command.arg("--requires").arg(query);
        }
        if let Some(code) = image.exit_code {
            command.arg("--exit-code").arg(code.to_string());
        }
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment(main)?);
        let stderr = match &self.options.logs {
            None => Stdio::null(),
            Some(folder) => {
                let file = folder.join(format!("{}.log", spec.task_id()));
                let opened = OpenOptions::new().create(true).append(true).open(&file);
                opened.map_err(|e| format!("ResourceInitializationError: {}: {e}", file.display()))?.into()
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            format!("CannotStartContainerError: {}: {error}", self.options.program.display())
        })?;
        let shared = Arc::new(Shared::default());
        let probe = child
            .stdout
            .take()
            .map(|stdout| tokio::spawn(watch(stdout, Arc::clone(&shared), self.client.clone())));
        Ok(Box::new(Process { stdin: child.stdin.take(), child: Some(child), shared, probe }))
    }

    fn image_digest(&self, image: &str) -> Option<String> {
        match image.split_once('@') {
            Some((_, digest)) => Some(digest.to_owned()),
            None => self.image(image).ok()?.digest,
        }
    }
}

#[derive(Default)]
struct Shared {
    address: OnceLock<SocketAddr>,
    healthy: AtomicBool,
}

/// Waits for the line that names the address, then keeps asking for `/health`.
async fn watch(stdout: ChildStdout, shared: Arc<Shared>, client: reqwest::Client) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix(LISTENING).and_then(|a| a.trim().parse::<SocketAddr>().ok())
        {
            let _ = shared.address.set(address);
            break;
        }
    }
    let Some(address) = shared.address.get() else { return };
    // An unread pipe would stop a talkative process; it closes when the process ends.
    let drain = async { while let Ok(Some(_)) = lines.next_line().await {} };
    tokio::select! {
        () = drain => {}
        () = probe(&client, *address, &shared.healthy) => {}
    }
    shared.healthy.store(false, Ordering::Relaxed);
}

async fn probe(client: &reqwest::Client, address: SocketAddr, healthy: &AtomicBool) {
    loop {
        let answer = client.get(format!("http://{address}/health")).send().await;
        let passed = answer.is_ok_and(|answer| answer.status().is_success());
        healthy.store(passed, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(if passed { 1000 } else { 50 })).await;
    }
}

struct Process {
    child: Option<Child>,
    /// The application ends when this closes, so that it can't outlive a killed stand-in.
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
    probe: Option<tokio::task::JoinHandle<()>>,
}

impl Running for Process {
    fn poll(&mut self) -> Option<i32> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        // A shell's convention, and Docker's: 128 + signal.
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    fn healthy(&mut self) -> bool {
        self.child.is_some() && self.shared.healthy.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself in this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let stdin = self.stdin.take();
        tokio::spawn(async move {
            if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            drop(stdin);
        });
    }

    fn address(&self) -> Option<SocketAddr> {
        self.shared.address.get().copied()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}
