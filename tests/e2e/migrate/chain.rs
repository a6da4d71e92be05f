//! Commands from version to version, as `BossDB`'s migrations between stack versions.

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Ran, World, own, shared_emulator};

struct Chain {
    world: World,
    bucket: String,
}

impl Chain {
    async fn new() -> Self {
        let world = World::start().await;
        let bucket = own("chain");
        shared_emulator().await.create_bucket(&bucket).await.unwrap();
        std::fs::create_dir(world.path("core")).unwrap();
        world.front.forget();
        Self { world, bucket }
    }

    fn command(&self, name: &str, script: &str) {
        let path = self.world.path("core").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command that writes down that it ran, in the folder of the test.
    fn logs(&self, name: &str) {
        self.command(name, &format!("echo \"{name}: $CUTOVER_FROM to $CUTOVER_TO\" >> log; echo working"));
    }

    async fn run(&self, from: &str, to: &str, more: &[&str]) -> Ran {
        let progress = format!("s3://{}/production/core/", self.bucket);
        let args = ["run-migration", "--chain", "core", "--from", from, "--to", to, "--progress", &progress];
        self.world.cutover(&[&args[..], more].concat()).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.world.path("log")).unwrap_or_default()
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys = self.world.s3_keys(&self.bucket).await;
        keys.sort();
        keys
    }
}

#[tokio::test]
async fn each_command_runs_once_and_a_failed_one_is_run_again() {
    let chain = Chain::new().await;
    chain.logs("00010002_vault_backend.py");
    chain.command("00020003_keycloak11.py", "echo broken >&2; exit 7");
    chain.logs("00030004_dns.py");
    std::fs::write(chain.world.path("core/README.md"), "").unwrap();
    chain
        .run("1", "4", &["--dry-run"])
        .await
        .expect(0)
        .says(&["run 00010002_vault_backend.py (from 1 to 2)", "README.md"]);
    assert_eq!(chain.keys().await, Vec::<String>::new());
    let failed = chain.run("1", "4", &[]).await.expect(4);
    failed.says(&["  | working", "  | broken", "run 00020003_keycloak11.py", "exit code 7"]);
    chain.logs("00020003_keycloak11.py");
    let done = chain.run("1", "4", &["--format", "json"]).await.expect(0);
    assert_eq!(done.json()["outputs"]["applied"], "2");
    assert_eq!(done.json()["outputs"]["to-version"], "4");
    assert_eq!(
        chain.log(),
        "00010002_vault_backend.py: 1 to 2\n00020003_keycloak11.py: 2 to 3\n00030004_dns.py: 3 to 4\n"
    );
    let keys = chain.keys().await;
    assert!(keys.contains(&"production/core/2-3/1.failed.json".to_owned()), "{keys:?}");
    assert!(keys.contains(&"production/core/2-3/2.done.json".to_owned()), "{keys:?}");
    chain.world.front.forget();
    let again = chain.run("1", "4", &["--format", "json"]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert!(chain.world.writes().is_empty(), "{:?}", chain.world.writes());
}

#[tokio::test]
async fn a_gap_and_an_overlap_are_refused_before_anything_runs() {
    let chain = Chain::new().await;
    chain.logs("00010002_a.py");
    chain.logs("00030004_c.py");
    chain.run("1", "4", &[]).await.expect(3).says(&["no command goes from 2", "nothing was changed"]);
    chain.logs("00020004_b.py");
    chain.run("1", "4", &[]).await.expect(3).says(&["00030004_c.py (from 3) overlaps with 00020004_b.py"]);
    chain.run("1", "x", &[]).await.expect(2).says(&["is no version"]);
    assert_eq!(chain.log(), "");
    assert_eq!(chain.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_command_that_was_killed_with_its_run_is_asked_about() {
    let chain = Chain::new().await;
    chain.command("00010002_a.py", "echo begun > begun; exec sleep 20");
    let progress = format!("s3://{}/production/core", chain.bucket);
    let args = ["run-migration", "--chain", "core", "--from", "1", "--to", "2", "--progress", &progress];
    let mut step = chain.world.command(&args).spawn().unwrap();
    for _ in 0..1500 {
        if chain.world.path("begun").exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    step.kill().await.unwrap();
    chain.logs("00010002_a.py");
    chain.run("1", "2", &[]).await.expect(3).says(&[
        "00010002_a.py was started (production/core/1-2/1.started.json)",
        "--key production/core/1-2/1.done.json",
        "--key production/core/1-2/1.failed.json",
    ]);
    assert_eq!(chain.log(), "");
    // What the refusal says, done through the API.
    let url = format!("{}/{}/production/core/1-2/1.failed.json", shared_emulator().await.url(), chain.bucket);
    crate::world::client().put(url).send().await.unwrap();
    chain.run("1", "2", &[]).await.expect(0);
    assert_eq!(chain.log(), "00010002_a.py: 1 to 2\n");
}

#[tokio::test]
async fn a_cancelled_run_ends_its_command_and_says_so_in_the_world() {
    let chain = Chain::new().await;
    chain.command(
        "00010002_a.py",
        "trap 'echo told > told; exit 1' TERM; echo begun > begun; while :; do sleep 0.1; done",
    );
    let progress = format!("s3://{}/production/core", chain.bucket);
    let args = [
        "run-migration",
        "--chain",
        "core",
        "--from",
        "1",
        "--to",
        "2",
        "--progress",
        &progress,
        "--timeout",
        "4s",
    ];
    chain.world.cutover(&args).await.expect(6).says(&["--timeout was over while it ran"]);
    assert!(chain.world.path("told").exists());
    assert!(chain.keys().await.contains(&"production/core/1-2/1.failed.json".to_owned()));
}
