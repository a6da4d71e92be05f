//! `backup-db --mode rds-snapshot`: the waiting in scenarios, since no emulator takes its time; names, tags, second runs and
//! undo against one.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use testkit::front::{Effect, Fault, Front};
use testkit::scenario::Scenario;

use crate::world::{REGION, Ran, World, own, run, scrubbed, shared_emulator};

struct Stage {
    front: Front,
    scenario: Scenario,
    dir: TempDir,
}

impl Stage {
    async fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/rds/{name}.json"));
        let scenario = Scenario::load(&path).expect("a scenario");
        let builder = Front::builder().upstream(shared_emulator().await.url());
        let front = scenario.serve(builder).start().await.expect("the front starts");
        Self { front, scenario, dir: tempfile::tempdir().expect("a folder") }
    }

    async fn snapshot(&self) -> Ran {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args([
                "backup-db",
                "--mode",
                "rds-snapshot",
                "--db-instance",
                "rally",
                "--backup-id",
                "release 7",
            ])
            .args(["--format", "json", "--max-age", "365d"])
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        run(command).await
    }

    fn writes(&self) -> Vec<String> {
        self.front.writes().iter().map(testkit::front::Call::name).collect()
    }
}

#[tokio::test]
async fn it_is_followed_until_it_is_available_and_a_second_run_makes_none() {
    let stage = Stage::load("available").await;
    let report = stage.snapshot().await.expect(0).says(&["creating, 40 %"]).json();
    let arn = "arn:aws:rds:us-east-1:123456789012:snapshot:cutover-rally-release-7";
    assert_eq!(report["outputs"]["snapshot-arn"], arn);
    assert_eq!(report["changed"], true);
    let again = stage.snapshot().await.expect(0).json();
    assert_eq!(again["changed"], false);
    assert_eq!(stage.writes(), ["rds:CreateDBSnapshot"]);
    assert_eq!(stage.scenario.unused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_not_sent_again() {
    let stage = Stage::load("available").await;
    stage.front.set_faults([Fault::new("rds:CreateDBSnapshot", Effect::Reset).after_effect().times(1)]);
    // Whose it is can't be seen in the scenario, whose tags are another run's: it is told, and the next run follows it.
    stage.snapshot().await.expect(7).says(&["another run has made one of this name meanwhile"]);
    assert_eq!(stage.writes(), ["rds:CreateDBSnapshot"]);
    stage.snapshot().await.expect(0);
}

#[tokio::test]
async fn one_that_fails_or_vanishes_ends_the_run_at_once() {
    for (name, says) in [("fails", "RDS says that it failed"), ("vanishes", "it is gone")] {
        let stage = Stage::load(name).await;
        stage.snapshot().await.expect(5).says(&[says, "describe-events"]);
    }
}

/// What a snapshot is taken of, as the API and the step call it.
struct Kind {
    flag: &'static str,
    /// The call that makes one, with what it needs beside the names.
    create: &'static [(&'static str, &'static str)],
    id: &'static str,
    snapshot: &'static str,
    writes: [&'static str; 2],
    nowhere: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        flag: "--db-instance",
        create: &[
            ("Action", "CreateDBInstance"),
            ("DBInstanceClass", "db.t3.micro"),
            ("Engine", "postgres"),
            ("AllocatedStorage", "20"),
        ],
        id: "DBInstanceIdentifier",
        snapshot: "snapshot",
        writes: ["rds:CreateDBSnapshot", "rds:DeleteDBSnapshot"],
        nowhere: "there is no such DB instance in account 123456789012, region us-east-1",
    },
    Kind {
        flag: "--db-cluster",
        create: &[("Action", "CreateDBCluster"), ("Engine", "aurora-postgresql")],
        id: "DBClusterIdentifier",
        snapshot: "cluster-snapshot",
        writes: ["rds:CreateDBClusterSnapshot", "rds:DeleteDBClusterSnapshot"],
        nowhere: "there is no such DB cluster in account 123456789012, region us-east-1",
    },
];

#[tokio::test]
async fn against_an_emulator_it_is_made_kept_and_taken_back() {
    for Kind { flag, create, id: field, snapshot, writes: [made, deleted], nowhere } in KINDS {
        let world = World::start().await;
        let id = own("rally");
        let names = [
            ("Version", "2014-10-31"),
            (field, &*id),
            ("MasterUsername", "rally"),
            ("MasterUserPassword", "not-a-secret"),
        ];
        let (status, answer) =
            shared_emulator().await.query("rds", &[create, &names[..]].concat()).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        world.front.forget();
        let given = ["backup-db", "--mode", "rds-snapshot", flag, &id, "--format", "json"];
        let args = [&given[..], &["--backup-id", "release 7", "--receipt", "snapshot.json"]].concat();
        let report = world.cutover(&args).await.expect(0).json();
        let arn = report["outputs"]["snapshot-arn"].as_str().unwrap().to_owned();
        assert!(arn.ends_with(&format!(":{snapshot}:cutover-{id}-release-7")), "{arn}");
        let again = world.cutover(&args[..args.len() - 2]).await.expect(0).json();
        assert_eq!(again["changed"], json!(false));
        assert_eq!(world.writes(), [made]);
        world.cutover(&[&given[..], &["--undo", "snapshot.json"]].concat()).await.expect(0);
        world.cutover(&[&given[..], &["--undo", "snapshot.json"]].concat()).await.expect(0);
        assert_eq!(world.writes(), [made, deleted]);
        let other = ["backup-db", "--mode", "rds-snapshot", flag, "nowhere"];
        world.cutover(&other).await.expect(3).says(&[nowhere]);
    }
}

#[tokio::test]
async fn what_does_not_go_with_a_snapshot_is_refused_before_aws_is_asked() {
    let world = World::start().await;
    for (args, says) in [
        (&[][..], "--db-instance ID or --db-cluster ID"),
        (&["--db-instance", "rally", "--to", "s3://b/x"], "RDS keeps the snapshot itself"),
        (&["--db-instance", "rally", "--verify", "present"], "it belongs to --mode dump"),
    ] {
        let ran = world.cutover(&[&["backup-db", "--mode", "rds-snapshot"], args].concat()).await;
        ran.expect(2).says(&[says]);
    }
    assert!(world.front.calls().is_empty());
}
