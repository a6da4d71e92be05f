//! The world in which a release is rehearsed: AWS, PostgreSQL, GitHub, and a service that runs and serves, each as real as it
//! can be here.
//!
//! It is a process of its own with a state folder, and outlives the runs of the driver as production does. Started again on the
//! same folder, it is where it was. What others need to know of it stands in `world.json` while it runs.

mod definition;
mod description;
mod folder;
mod images;
mod seed;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use testkit::ecs::{Balancer, Ecs, ProcessLauncher, ProcessOptions, Settings};
use testkit::emulator::{self, Emulator};
use testkit::front::Front;
use testkit::github::{self, GithubWorld};
use testkit::postgres::{self, Postgres};
use testkit::same_port;
use tokio::signal::unix::{SignalKind, signal};

use self::definition::Definition;
pub use self::description::{Aws, Backups, Database, Github, Pids, Registry, Release, Service, World};
use self::folder::Folder;

/// What goes wrong with the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// The second migration fails in its second statement
    Migration,
    /// The new image ends at once with exit code 1
    Deploy,
    /// The new image serves, and says that it is another version
    Sanity,
}

/// Starts the world and keeps it until SIGTERM or `rehearsal stop`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder of its state, made if absent
    #[arg(long)]
    pub state: PathBuf,
    /// What goes wrong with the release
    #[arg(long)]
    pub fail: Option<Fail>,
    /// Your own SQL migrations in place of Rally's
    #[arg(long, value_name = "DIR", conflicts_with = "fail")]
    pub migrations: Option<PathBuf>,
    /// A recorded task definition (an answer of `DescribeTaskDefinition`) in place of Rally's
    #[arg(long, value_name = "FILE")]
    pub task_definition: Option<PathBuf>,
    /// Return when it is ready; its output goes to world.log in the folder. A world that runs already is left as it is
    #[arg(long)]
    pub background: bool,
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
    let folder = Folder::claim(&options.state)?;
    let migrations = options.migrations.as_deref().map(std::fs::canonicalize).transpose()?;
    let definition = options.task_definition.as_deref().map_or_else(Definition::rally, Definition::read)?;

    let running = tokio::select! {
        running = Running::start(&folder, options.fail, migrations, definition) => running?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    folder.publish(&running.description)?;
    say(&format!(
        "the world is ready: {} serves {} ({})",
        running.description.service.url,
        running.description.release.from,
        folder.description().display()
    ));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    folder.unpublish()?;
    running.ecs.shutdown().await;
    drop(running);
    say("the world has stopped");
    Ok(())
}

async fn background(options: &Options) -> io::Result<()> {
    if let Some(world) = running(&options.state)? {
        say(&format!("the world runs already: {} ({})", world.service.url, options.state.display()));
        return Ok(());
    }
    std::fs::create_dir_all(&options.state)?;
    let path = options.state.join("world.log");
    let log = std::fs::File::create(&path)?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("world").arg("--state").arg(&options.state);
    if let Some(fail) = options.fail.and_then(|fail| fail.to_possible_value()) {
        command.arg("--fail").arg(fail.get_name());
    }
    if let Some(migrations) = &options.migrations {
        command.arg("--migrations").arg(migrations);
    }
    if let Some(definition) = &options.task_definition {
        command.arg("--task-definition").arg(definition);
    }
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
            say(&format!("the world is ready: {} serves {}", world.service.url, world.release.from));
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
pub fn running(state: &Path) -> io::Result<Option<World>> {
    if !Folder::is_claimed(state)? {
        return Ok(None);
    }
    match std::fs::read(state.join(folder::DESCRIPTION)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
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
    let pid = i32::try_from(world.pids.world).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other(format!("{} is no process number", world.pids.world)))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while Folder::is_claimed(&options.state)? {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("the world (process {}) does not end", world.pids.world)));
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

/// Everything that runs. Fields are dropped in this order: what serves ends before what it needs.
struct Running {
    description: World,
    _front: Front,
    _github: GithubWorld,
    _balancer: Balancer,
    ecs: Ecs,
    _postgres: Postgres,
    _emulator: Emulator,
}

impl Running {
    async fn start(
        folder: &Folder,
        fail: Option<Fail>,
        migrations: Option<PathBuf>,
        definition: Definition,
    ) -> io::Result<Self> {
        let kept = folder.kept()?;
        let emulator = Emulator::start(emulator::Options {
            account: seed::ACCOUNT.to_owned(),
            region: seed::REGION.to_owned(),
            state: Some(folder.path("aws")),
            port: 0,
        });
        let postgres = Postgres::start(postgres::Options {
            data: Some(folder.path("postgres")),
            database: Some(seed::DATABASE.to_owned()),
            password: Some(kept.superuser_password.clone()),
            port: kept.postgres_port,
            ..postgres::Options::default()
        });
        let (emulator, postgres) = tokio::try_join!(emulator, postgres)?;
        seed::database(&postgres, &kept.password).await?;
        let url = format!(
            "postgresql://{}:{}@127.0.0.1:{}/{}",
            seed::USER,
            kept.password,
            postgres.port,
            seed::DATABASE
        );
        let digests = seed::aws(&emulator, &url).await?;
        definition.references(&emulator).await?;
        let target_group = definition::target_group(&emulator).await?;

        let catalogue = folder.path("images.json");
        std::fs::write(
            &catalogue,
            images::catalogue(&digests, fail, migrations.is_some(), definition.sidecars())?,
        )?;
        let migrations = match migrations {
            Some(own) => own,
            None => seed::migrations(&folder.path("migrations"), fail)?,
        };
        let logs = folder.path("task-logs");
        std::fs::create_dir_all(&logs)?;
        let mut secrets: BTreeMap<String, String> =
            definition.secrets().into_iter().map(|from| (from, "of this world alone".to_owned())).collect();
        secrets.insert(seed::DATABASE_URL_PARAMETER.to_owned(), url);
        let launcher = ProcessLauncher::new(ProcessOptions {
            program: std::env::current_exe()?,
            leading_args: vec!["app".to_owned()],
            catalogue,
            secrets,
            logs: Some(logs),
        })?;
        let settings = Settings {
            account: seed::ACCOUNT.to_owned(),
            region: seed::REGION.to_owned(),
            principal: format!("arn:aws:iam::{}:role/release", seed::ACCOUNT),
            ..Settings::default()
        };
        let ecs = Ecs::open(folder.path("ecs.json"), launcher, settings)?;
        seed::service(&ecs, &definition, &target_group).await?;

        let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = loopback(same_port(kept.balancer_port).await?);
        let balancer = Balancer::start(listen, ecs.clone(), seed::CLUSTER, seed::SERVICE).await?;
        let front = Front::builder()
            .upstream(emulator.url())
            .service(Arc::new(ecs.clone()))
            .record(folder.path("calls.jsonl"))
            .port(same_port(kept.front_port).await?)
            .start()
            .await?;
        let github = GithubWorld::start(github::Options {
            port: same_port(kept.github_port).await?,
            state: Some(folder.path("github.json")),
        })
        .await?;
        let commit = seed::repository(&github)?;
        serving(&ecs).await?;

        let description = World {
            pids: Pids { world: std::process::id(), emulator: emulator.pid(), postgres: postgres.pid() },
            aws: Aws {
                endpoint: front.url().to_owned(),
                account: seed::ACCOUNT.to_owned(),
                region: seed::REGION.to_owned(),
            },
            service: Service::new(balancer.url(), &definition),
            registry: Registry::new(digests),
            database: Database::new(&postgres, &kept.password),
            backups: Backups { bucket: seed::BUCKET.to_owned() },
            github: Github::new(&github, commit),
            release: Release::new(migrations, fail),
        };
        folder.keep(&kept.with_ports(&description)?)?;
        Ok(Self {
            description,
            _front: front,
            _github: github,
            _balancer: balancer,
            ecs,
            _postgres: postgres,
            _emulator: emulator,
        })
    }
}

/// Waits until as many tasks serve as the service wants.
async fn serving(ecs: &Ecs) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        ecs.tick().await.map_err(io::Error::other)?;
        let (steady, wanted) = seed::steady(ecs).await?;
        if steady && ecs.targets(seed::CLUSTER, seed::SERVICE).await.len() >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(
                "the tasks of the service do not come to serve: see task-logs in the folder",
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A closed standard output must not end the world.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
