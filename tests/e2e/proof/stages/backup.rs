//! A database that is dumped to S3.

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::postgres::wire::Wire;
use testkit::s3::{self, Double};
use tokio::process::Command;

use crate::migrate::Db;
use crate::proof::{Case, Place, Stage, started};
use crate::world::{ACCOUNT, World};

pub(super) const CASES: [Case; 1] =
    [Case { step: "backup-db", does: "dumps", start: || started(Backup::new()) }];

const BUCKET: &str = "backups";

struct Backup {
    world: World,
    double: Double,
    db: Db,
    wire: Wire,
    system: String,
}

impl Backup {
    async fn new() -> Self {
        let options = s3::Options { account: ACCOUNT.into(), ..s3::Options::default() };
        let double = Double::start(options).await.unwrap();
        double.create_bucket(BUCKET);
        let world = World::with_s3(&double).await;
        let db = Db::new().await;
        db.sql(
            "CREATE TABLE volunteer AS SELECT n AS id, md5(n::text) AS name FROM generate_series(1, 500) n",
        )
        .await;
        let system = db.sql("SELECT system_identifier FROM pg_control_system()").await;
        let wire = Wire::start(db.server.port).await.unwrap();
        Self { world, double, db, wire, system }
    }

    /// What a manifest tells that is the same of each dump, and whether it tells the truth of its object. Not its counts: they
    /// were taken in the dump's snapshot, which ended with a run that was killed, and the next run makes none up.
    fn manifest(&self, key: &str) -> Value {
        let object = self.double.object(BUCKET, key).unwrap();
        let manifest: Value = serde_json::from_slice(&object.body).unwrap();
        let dump = self.double.object(BUCKET, manifest["key"].as_str().unwrap());
        let is_true = dump.is_some_and(|dump| manifest["sha256"] == dump.sha256().as_str());
        let keep = ["key", "globals_key", "database", "backup_id", "rung"];
        let mut kept: Value =
            keep.iter().map(|field| ((*field).to_owned(), manifest[*field].clone())).collect();
        kept["true"] = json!(is_true);
        kept
    }
}

impl Stage for Backup {
    fn world(&self) -> Option<&World> {
        Some(&self.world)
    }

    fn place(&self) -> Option<&dyn Place> {
        Some(&self.wire)
    }

    /// `pg_dump` asks the catalogue a hundred questions.
    fn stride(&self) -> usize {
        12
    }

    fn cutover(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(args);
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.db.server.bin_dir.display()))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.wire.port().to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", &self.db.name)
            .env("PGPASSWORD", &self.db.server.password);
        command
    }

    fn args(&self) -> Vec<String> {
        let to = format!("s3://{BUCKET}/safe");
        ["backup-db", "--to", &to, "--backup-id", "release-1"].map(str::to_owned).to_vec()
    }

    fn names(&self) -> Vec<(String, &'static str)> {
        vec![
            (self.db.name.clone(), "DATABASE"),
            (self.system.clone(), "SYSTEM"),
            (self.wire.port().to_string(), "PORT"),
        ]
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async {
            let keys = self.double.keys(BUCKET);
            let manifests: Vec<Value> = keys
                .iter()
                .filter(|key| key.ends_with(".manifest.json"))
                .map(|key| self.manifest(key))
                .collect();
            json!({"keys": keys, "manifests": manifests, "unfinished": self.double.unfinished(BUCKET)})
        }
        .boxed()
    }

    /// A dump has the time at which it was made in it.
    fn given_by_the_platform(&self) -> &'static [&'static str] {
        &["bytes", "sha256"]
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["duration"]
    }

    /// An upload is begun anew, and the first one aborted: what is left of either is in the state.
    fn counts_effects(&self) -> bool {
        false
    }
}
