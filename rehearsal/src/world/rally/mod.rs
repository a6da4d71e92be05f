//! Rally's world: AWS, PostgreSQL, GitHub, and a service that runs and serves, each as real as it can be here.

mod definition;
mod description;
mod images;
mod seed;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use testkit::ecs::{Balancer, Ecs, ProcessLauncher, ProcessOptions, Settings};
use testkit::emulator::{self, Emulator};
use testkit::front::Front;
use testkit::github::{self, GithubWorld};
use testkit::moto::Moto;
use testkit::postgres::{self, Postgres};
use testkit::same_port;

use self::definition::Definition;
pub use self::description::{Backups, Database, Github, Pids, Registry, Release, Service, World};
use super::folder::Folder;
use super::traffic::Traffic;
use super::{Aws, PATIENCE, ReleaseOptions, Variant, port_of};

/// Ports and passwords.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    superuser_password: String,
    password: String,
    front_port: u16,
    balancer_port: u16,
    postgres_port: u16,
    github_port: u16,
}

impl Kept {
    /// What was kept, or new passwords for a new world.
    fn of(folder: &Folder) -> io::Result<Self> {
        if let Some(kept) = folder.kept()? {
            return Ok(kept);
        }
        let password = || uuid::Uuid::new_v4().simple().to_string();
        let kept = Self {
            superuser_password: password(),
            password: password(),
            front_port: 0,
            balancer_port: 0,
            postgres_port: 0,
            github_port: 0,
        };
        // Before the server is made with them.
        folder.keep(&kept)?;
        Ok(kept)
    }

    fn with_ports(self, world: &World) -> io::Result<Self> {
        Ok(Self {
            front_port: port_of(&world.aws.endpoint)?,
            balancer_port: port_of(&world.service.url)?,
            postgres_port: world.database.port,
            github_port: port_of(&world.github.api)?,
            ..self
        })
    }
}

/// Everything that runs. Fields are dropped in this order: what serves ends before what it needs.
pub(super) struct Running {
    pub(super) description: World,
    _front: Front,
    _github: GithubWorld,
    _traffic: Option<Traffic>,
    _scaling: Option<Moto>,
    _balancer: Balancer,
    ecs: Ecs,
    _postgres: Postgres,
    _emulator: Emulator,
}

impl Running {
    /// Migrations and a recorded definition that are given take the place of Rally's own.
    pub(super) async fn start(folder: &Folder, release: &ReleaseOptions) -> io::Result<Self> {
        let fail = release.fail;
        let migrations = release.migrations.as_ref().map(std::fs::canonicalize).transpose()?;
        let definition =
            release.task_definition.as_deref().map_or_else(Definition::rally, Definition::read)?;
        let kept = Kept::of(folder)?;
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
        let mut front = Front::builder()
            .upstream(emulator.url())
            .service(Arc::new(ecs.clone()))
            .record(folder.path("calls.jsonl"))
            .port(same_port(kept.front_port).await?);
        let (mut traffic, mut scaling) = (None, None);
        if release.variant == Some(Variant::Maintenance) {
            let wanted = seed::traffic(port_of(&balancer.url())?);
            traffic = Some(Traffic::start(&emulator, &wanted).await?);
            // The emulator has no Application Auto Scaling.
            let moto = Moto::start().await?;
            front = front.upstream_for("application-autoscaling", moto.url());
            scaling = Some(moto);
        }
        let front = front.start().await?;
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
            maintenance: traffic.as_ref().map(|traffic| traffic.entry.clone()),
        };
        folder.keep(&kept.with_ports(&description)?)?;
        Ok(Self {
            description,
            _front: front,
            _github: github,
            _traffic: traffic,
            _scaling: scaling,
            _balancer: balancer,
            ecs,
            _postgres: postgres,
            _emulator: emulator,
        })
    }

    /// Ends the tasks, then everything else.
    pub(super) async fn stop(self) {
        self.ecs.shutdown().await;
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
