//! The world in which a release is rehearsed, one kind for each runbook.
//!
//! It is a process of its own with a state folder, and outlives the runs of the driver as production does. Started again on the
//! same folder, it is where it was. What others need to know of it stands in `world.json` while it runs.

mod boss;
mod folder;
mod jenkins;
mod rally;
mod stacks;
mod traffic;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use self::folder::Folder;
pub use self::rally::{Backups, Database, Github, Pids, Registry, Release, Service, World};
pub(crate) use self::stacks::texts;
pub use self::stacks::{Copied, Deployed, Inputs, StackPids, Stacks};
pub use self::traffic::Entry;

/// Whose release it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runbook {
    /// An ECS service, its database and its image
    #[default]
    Rally,
    /// Eight stacks of a production system, updated in order
    Boss,
    /// A new service in stacks of its own beside the old one
    Jenkins,
}

/// What goes wrong with the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// Rally: the second migration fails in its second statement
    Migration,
    /// Rally: the new image ends at once with exit code 1
    Deploy,
    /// Rally: the new image serves, and says that it is another version
    Sanity,
    /// Boss: the new template renames a table, which would be replaced
    Table,
    /// Boss: the new template changes two indexes of a table at once
    Indexes,
    /// Jenkins: the parameters are the example as it is published
    Parameters,
    /// Jenkins: the old service's archives are cut off, so that the new one can't restore them
    Restore,
}

impl Fail {
    fn runbook(self) -> Runbook {
        match self {
            Self::Migration | Self::Deploy | Self::Sanity => Runbook::Rally,
            Self::Table | Self::Indexes => Runbook::Boss,
            Self::Parameters | Self::Restore => Runbook::Jenkins,
        }
    }
}

/// In which way the release is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Rally: behind a maintenance page, with no task while the database is migrated
    Maintenance,
    /// Rally: to staging, as each merge does
    Merge,
    /// Boss: the new templates in a pull request, whose review is a comment there
    Review,
}

impl Variant {
    fn runbook(self) -> Runbook {
        match self {
            Self::Maintenance | Self::Merge => Runbook::Rally,
            Self::Review => Runbook::Boss,
        }
    }
}

/// The value as the command line has it.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// `world.json`: what others need to know of a world that runs. All addresses are on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runbook", rename_all = "lowercase")]
pub enum Description {
    Rally(Box<World>),
    Boss(Box<Stacks>),
    Jenkins(Box<Stacks>),
}

impl Description {
    fn pid(&self) -> u32 {
        match self {
            Self::Rally(world) => world.pids.world,
            Self::Boss(stacks) | Self::Jenkins(stacks) => stacks.pids.world,
        }
    }

    /// What there is to see before the release.
    fn stands(&self) -> String {
        match self {
            Self::Rally(world) => format!("{} serves {}", world.service.url, world.release.from),
            Self::Boss(stacks) | Self::Jenkins(stacks) => {
                format!("{} has {} stacks", stacks.aws.endpoint, stacks.stacks.len() + stacks.untouched.len())
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aws {
    /// The front's, for `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    pub account: String,
    pub region: String,
}

/// Starts the world and keeps it until SIGTERM or `rehearsal stop`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder of its state, made if absent
    #[arg(long)]
    pub state: PathBuf,
    #[command(flatten)]
    pub release: ReleaseOptions,
    /// Return when it is ready; its output goes to world.log in the folder. A world that runs already is left as it is
    #[arg(long)]
    pub background: bool,
}

/// Which release, and what is particular about it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReleaseOptions {
    /// Whose release it is
    #[arg(long, value_enum, default_value_t)]
    pub runbook: Runbook,
    /// What goes wrong with the release
    #[arg(long)]
    pub fail: Option<Fail>,
    /// In which other way the release is done
    #[arg(long)]
    pub variant: Option<Variant>,
    /// Rally: your own SQL migrations in place of Rally's
    #[arg(long, value_name = "DIR")]
    pub migrations: Option<PathBuf>,
    /// Rally: a recorded task definition (an answer of `DescribeTaskDefinition`) in place of Rally's
    #[arg(long, value_name = "FILE")]
    pub task_definition: Option<PathBuf>,
    /// Boss and Jenkins: where the templates are
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<PathBuf>,
}

impl ReleaseOptions {
    /// What doesn't fit together or is absent, in a line for the person who asked.
    ///
    /// # Errors
    /// The line.
    pub fn check(&self) -> Result<(), String> {
        let runbook = name(self.runbook);
        if let Some(fail) = self.fail.filter(|fail| fail.runbook() != self.runbook) {
            let other = name(fail.runbook());
            return Err(format!("`{}` goes wrong with {other}, not with {runbook}", name(fail)));
        }
        if let Some(variant) = self.variant.filter(|variant| variant.runbook() != self.runbook) {
            let other = name(variant.runbook());
            return Err(format!("the variant `{}` is one of {other}, not of {runbook}", name(variant)));
        }
        if self.runbook != Runbook::Rally && (self.migrations.is_some() || self.task_definition.is_some()) {
            return Err(format!("migrations and task definitions are Rally's; {runbook} has none"));
        }
        if self.fail == Some(Fail::Migration) && self.migrations.is_some() {
            return Err(
                "the migration that fails is one of Rally's own: let one of yours fail instead".to_owned()
            );
        }
        match self.runbook {
            Runbook::Rally => Ok(()),
            Runbook::Boss => boss::inputs(self.inputs.as_deref(), self.fail).map(drop),
            Runbook::Jenkins => jenkins::inputs(self.inputs.as_deref(), self.fail).map(drop),
        }
    }

    /// The same on the command line of another process.
    fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["--runbook".into(), name(self.runbook).into()];
        if let Some(fail) = self.fail {
            arguments.extend(["--fail".into(), name(fail).into()]);
        }
        if let Some(variant) = self.variant {
            arguments.extend(["--variant".into(), name(variant).into()]);
        }
        let paths = [
            ("--migrations", &self.migrations),
            ("--task-definition", &self.task_definition),
            ("--inputs", &self.inputs),
        ];
        for (flag, path) in paths {
            arguments.extend(path.iter().flat_map(|path| [flag.into(), path.into()]));
        }
        arguments
    }
}

/// What names a world that exists.
#[derive(Debug, clap::Args)]
pub struct StateOptions {
    /// The folder of its state
    #[arg(long)]
    pub state: PathBuf,
}

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// Runs the world, in the foreground or (started as a process of its own) in the background.
///
/// # Errors
/// Another world has the folder, something cannot be started, or the old release does not come to serve.
pub async fn world(options: &Options) -> io::Result<()> {
    if options.background { background(options).await } else { foreground(options).await }
}

async fn foreground(options: &Options) -> io::Result<()> {
    // In place before anything is started that would have to be stopped.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    options.release.check().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let folder = Folder::claim(&options.state)?;

    let running = tokio::select! {
        running = Running::start(&folder, &options.release) => running?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let description = running.description();
    folder.publish(&description)?;
    say(&format!("the world is ready: {} ({})", description.stands(), folder.description().display()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    folder.unpublish()?;
    running.stop().await;
    say("the world has stopped");
    Ok(())
}

/// Everything that runs, whichever release it is for.
enum Running {
    Rally(Box<rally::Running>),
    Stacks(Box<stacks::Running>, Runbook),
}

impl Running {
    async fn start(folder: &Folder, release: &ReleaseOptions) -> io::Result<Self> {
        let inputs = release.inputs.as_deref();
        Ok(match release.runbook {
            Runbook::Rally => Self::Rally(Box::new(rally::Running::start(folder, release).await?)),
            Runbook::Boss => {
                Self::Stacks(Box::new(boss::start(folder, inputs, release.fail).await?), release.runbook)
            }
            Runbook::Jenkins => {
                Self::Stacks(Box::new(jenkins::start(folder, inputs, release.fail).await?), release.runbook)
            }
        })
    }

    fn description(&self) -> Description {
        match self {
            Self::Rally(running) => Description::Rally(Box::new(running.description.clone())),
            Self::Stacks(running, Runbook::Jenkins) => {
                Description::Jenkins(Box::new(running.description.clone()))
            }
            Self::Stacks(running, _) => Description::Boss(Box::new(running.description.clone())),
        }
    }

    async fn stop(self) {
        match self {
            Self::Rally(running) => running.stop().await,
            Self::Stacks(running, _) => drop(running),
        }
    }
}

async fn background(options: &Options) -> io::Result<()> {
    if let Some(world) = running(&options.state)? {
        say(&format!("the world runs already: {} ({})", world.stands(), options.state.display()));
        return Ok(());
    }
    std::fs::create_dir_all(&options.state)?;
    let path = options.state.join("world.log");
    let log = std::fs::File::create(&path)?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("world").arg("--state").arg(&options.state);
    command.args(options.release.arguments());
    // A group of its own: Ctrl-C at the terminal is meant for the driver.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(&path)?;
            return Err(io::Error::other(format!("the world ended with {status}:\n{}", text.trim_end())));
        }
        if let Some(world) = running(&options.state)? {
            say(&format!("the world is ready: {}", world.stands()));
            return Ok(());
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            return Err(io::Error::other(format!(
                "the world is not ready after {PATIENCE:?}: see {}",
                path.display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The description of the world that runs on this folder, if one does and is ready.
///
/// # Errors
/// The description is there and cannot be read.
pub fn running(state: &Path) -> io::Result<Option<Description>> {
    if !Folder::is_claimed(state)? {
        return Ok(None);
    }
    match std::fs::read(state.join(folder::DESCRIPTION)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The description of Rally's world, if it runs on this folder and is ready.
///
/// # Errors
/// As [`running`]; or the world is another release's.
pub fn rally(state: &Path) -> io::Result<Option<World>> {
    match running(state)? {
        None => Ok(None),
        Some(Description::Rally(world)) => Ok(Some(*world)),
        Some(_) => Err(io::Error::other(format!("the world in {} is not Rally's", state.display()))),
    }
}

/// Stops the world and waits until it has ended; its state stays.
///
/// # Errors
/// It does not end.
pub async fn stop(options: &StateOptions) -> io::Result<()> {
    let Some(world) = running(&options.state)? else {
        say(&format!("no world runs in {}", options.state.display()));
        return Ok(());
    };
    let pid = i32::try_from(world.pid()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other(format!("{} is no process number", world.pid())))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while Folder::is_claimed(&options.state)? {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("the world (process {}) does not end", world.pid())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say("the world has stopped");
    Ok(())
}

/// Stops the world and forgets its state.
///
/// # Errors
/// It does not end, or the folder is not one of a world.
pub async fn reset(options: &StateOptions) -> io::Result<()> {
    if !options.state.exists() {
        return Ok(());
    }
    stop(options).await?;
    if !options.state.join(folder::LOCK).exists() {
        let reason = format!("{} is not the folder of a world: it stays", options.state.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    std::fs::remove_dir_all(&options.state)
}

fn port_of(url: &str) -> io::Result<u16> {
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.ok_or_else(|| io::Error::other(format!("{url} has no port")))
}

/// A closed standard output must not end the world.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
