//! The production workflow, driven whole: it ends live, its failures end on the old version, and a driver that was killed
//! anywhere and started again ends the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rehearsal::world::{self, Aws, World};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::{Ran, client, run};

/// A world of its own, stopped and forgotten at the end.
struct Rehearsal {
    dir: TempDir,
}

impl Rehearsal {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("world")
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_cutover")).with_file_name("rehearsal");
        assert!(program.is_file(), "{} is absent: build the whole workspace", program.display());
        let mut command = Command::new(program);
        command
            .args(["rehearse", "--repo", env!("CARGO_MANIFEST_DIR"), "--state"])
            .arg(self.state())
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(std::process::Stdio::null());
        command
    }

    async fn rehearse(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    fn world(&self) -> World {
        world::rally(&self.state()).unwrap().expect("the world runs")
    }

    /// Starts the world without a release.
    async fn start(&self) -> World {
        let program = Path::new(env!("CARGO_BIN_EXE_cutover")).with_file_name("rehearsal");
        let mut command = Command::new(program);
        command.args(["world", "--background", "--state"]).arg(self.state());
        run(command).await.expect(0);
        self.world()
    }

    /// The names of the writing calls that had an effect, with how often each was made.
    fn writes(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let text = std::fs::read_to_string(self.state().join("calls.jsonl")).unwrap();
        for call in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            if call["kind"] == "write" && call["effect"] == true && call["request"].get("fault").is_none() {
                let name =
                    format!("{}:{}", call["service"].as_str().unwrap(), call["operation"].as_str().unwrap());
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        let program = Path::new(env!("CARGO_BIN_EXE_cutover")).with_file_name("rehearsal");
        // Nothing can be reported from here; a test that failed has said why.
        let _ = std::process::Command::new(program).args(["stop", "--state"]).arg(self.state()).output();
    }
}

/// Kills the driver and everything that it started, as a hosted runner that is lost: children first learn nothing.
pub(crate) async fn kill_tree(child: &mut Child) {
    let mut pids = vec![child.id().expect("it runs")];
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    // One signal to all at once; some may have ended by themselves.
    let _ = std::process::Command::new("kill").arg("-KILL").args(&pids).output();
    child.wait().await.unwrap();
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(3);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn front(aws: &Aws, method: Method, path: &str, body: Option<Value>) -> Value {
    let body = body.map_or_else(String::new, |body| body.to_string());
    let request = client().request(method, format!("{}{path}", aws.endpoint)).body(body);
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_release_ends_live_and_a_second_run_finds_nothing_to_do() {
    let rehearsal = Rehearsal::new();
    let first = rehearsal.rehearse(&[]).await.expect(0);
    let last = first.stdout.trim_end().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("LIVE: ") && last.contains("2.1.0.0-RELEASE"), "{}", first.stdout);
    let undisturbed = rehearsal.writes();
    for once in ["ecs:RegisterTaskDefinition", "ecs:UpdateService", "s3:CompleteMultipartUpload"] {
        assert_eq!(undisturbed.get(once), Some(&1), "{undisturbed:?}");
    }
    let second = rehearsal.rehearse(&[]).await.expect(0);
    assert!(second.stdout.contains("nothing to do"), "{}", second.stdout);
    assert_eq!(rehearsal.writes(), undisturbed, "the second run wrote");
    let summary = std::fs::read_to_string(rehearsal.state().join("summary.md")).unwrap();
    assert!(summary.contains("register-task-def") && summary.contains("run-migration"), "{summary}");
}

/// R3: the commit that is tagged has the new version in Rally's file, and nothing else that its parent has not.
#[tokio::test]
async fn the_tagged_commit_says_the_new_version() {
    let rehearsal = Rehearsal::new();
    for _ in 0..2 {
        rehearsal.rehearse(&[]).await.expect(0);
        let world = rehearsal.world();
        let get = async |path: String| -> Value {
            let url = format!("{}/repos/{}/{path}", world.github.api, world.github.repository);
            let request = client().get(url).bearer_auth(&world.github.token);
            request.send().await.unwrap().json().await.unwrap()
        };
        let sha = |value: &Value| value.as_str().unwrap().to_owned();
        let tag = get(format!("git/ref/tags/{}", world.release.tag)).await;
        let object = get(format!("git/tags/{}", sha(&tag["object"]["sha"]))).await;
        let commit = get(format!("git/commits/{}", sha(&object["object"]["sha"]))).await;
        assert_eq!(commit["parents"][0]["sha"], world.github.commit, "{commit}");
        let mut object = sha(&commit["tree"]["sha"]);
        for name in world.release.version_file.split('/') {
            let tree = get(format!("git/trees/{object}")).await;
            let entry = tree["tree"].as_array().unwrap().iter().find(|entry| entry["path"] == name);
            object = sha(&entry.unwrap()["sha"]);
        }
        let blob = get(format!("git/blobs/{object}")).await;
        let content = blob["content"].as_str().unwrap().replace('\n', "");
        let text = BASE64_STANDARD.decode(content).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "# The version that /version answers\nversion=2.1.0.0-RELEASE\n"
        );
    }
}

#[tokio::test]
async fn each_failure_ends_on_the_old_version() {
    for (fail, says) in [
        ("migration", "volunteer_birth_year"),
        ("deploy", "ECS rolled the deployment back"),
        ("sanity", "/version is"),
    ] {
        let rehearsal = Rehearsal::new();
        let ran = rehearsal.rehearse(&["--fail", fail]).await.expect(1);
        let last = ran.stdout.trim_end().lines().last().unwrap_or_default();
        assert!(
            last.starts_with("NOT LIVE: ") && last.contains("2.0.1.11-RELEASE"),
            "{fail}: {}",
            ran.stdout
        );
        assert!(ran.stdout.contains(says), "{fail}: `{says}` is not in:\n{}", ran.stdout);
        if fail != "migration" {
            assert!(ran.stdout.contains("The database stays migrated"), "{fail}: {}", ran.stdout);
            assert!(ran.stdout.contains("pg_restore"), "{fail}: {}", ran.stdout);
        }
    }
}

/// Steps R17 to R20 of the runbook: nobody writes while the database is migrated, and nobody is let in to what is half-done.
#[tokio::test]
async fn behind_a_maintenance_page_a_release_ends_open_and_one_that_stopped_half_way_closed() {
    let rehearsal = Rehearsal::new();
    let ran = rehearsal.rehearse(&["--variant", "maintenance"]).await.expect(0);
    let last = ran.stdout.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("LIVE: "), "{}", ran.stdout);
    let entry = rehearsal.world().maintenance.expect("a public name");
    assert!(entry.seen("/version").await.contains("2.1.0.0-RELEASE"), "{}", entry.seen("/version").await);
    let writes = rehearsal.writes();
    for (call, times) in [
        ("route53:ChangeResourceRecordSets", 2),
        ("ecs:TagResource", 1),
        ("ecs:UntagResource", 1),
        // To no task, the new revision, and back to two.
        ("ecs:UpdateService", 3),
    ] {
        assert_eq!(writes.get(call), Some(&times), "{writes:?}");
    }

    for (fail, end, shown) in [
        ("migration", "CLOSED: ", "Rally is down for maintenance"),
        ("deploy", "NOT LIVE: ", "2.0.1.11-RELEASE"),
    ] {
        let rehearsal = Rehearsal::new();
        let ran = rehearsal.rehearse(&["--variant", "maintenance", "--fail", fail]).await.expect(1);
        let last = ran.stdout.trim_end().lines().last().unwrap_or_default();
        assert!(last.starts_with(end), "{fail}: {}", ran.stdout);
        let entry = rehearsal.world().maintenance.expect("a public name");
        let seen = entry.seen("/version").await;
        assert!(seen.contains(shown), "{fail}: {seen}");
        if fail == "migration" {
            assert!(
                ran.stdout.contains("deploy-service --service rally-prod/rally-prod-service --scale restore")
            );
        }
    }
}

/// What a killed upload leaves behind and the next run puts away: the stream of a dump can't be continued, so these calls
/// are the price of the kill, and no object comes of them.
const UNFINISHED: [&str; 3] = ["s3:CreateMultipartUpload", "s3:UploadPart", "s3:AbortMultipartUpload"];

#[tokio::test]
async fn what_is_merged_goes_to_staging_and_what_does_not_start_is_put_back() {
    let rehearsal = Rehearsal::new();
    let merge = ["--variant", "merge"];
    let first = rehearsal.rehearse(&merge).await.expect(0);
    assert!(first.stdout.lines().last().unwrap().starts_with("LIVE: "), "{}", first.stdout);
    let after_first = rehearsal.writes();
    for write in ["ecs:RegisterTaskDefinition", "ecs:UpdateService"] {
        assert_eq!(after_first.get(write), Some(&1), "{write}");
    }
    // Another merge of the same: nothing but a new backup.
    let again = rehearsal.rehearse(&merge).await.expect(0);
    assert!(again.stdout.lines().last().unwrap().starts_with("LIVE: "), "{}", again.stdout);
    let after_second = rehearsal.writes();
    for write in ["ecs:RegisterTaskDefinition", "ecs:UpdateService"] {
        assert_eq!(after_second.get(write), after_first.get(write), "{write}");
    }

    let other = Rehearsal::new();
    let ran = other.rehearse(&["--variant", "merge", "--fail", "deploy"]).await.expect(1);
    assert!(ran.stdout.lines().last().unwrap().starts_with("NOT LIVE: "), "{}", ran.stdout);
}

/// Writes what docs/guide.md gives to copy: the workflow and the migration, each beneath the comment with its path.
fn guide(into: &Path) {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md")).unwrap();
    let mut written = 0;
    for block in page.split("\n```").filter(|block| block.starts_with("yaml\n") || block.starts_with("sql\n"))
    {
        let (_, text) = block.split_once('\n').unwrap();
        let path = text.lines().next().unwrap().trim_start_matches(['#', '-', ' ']);
        let path = into.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        written += 1;
    }
    assert_eq!(written, 2, "the guide has a workflow and a migration");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_own_workflow_in_its_own_repository_ends_live_and_is_put_back_when_the_image_fails() {
    let rehearsal = Rehearsal::new();
    guide(rehearsal.dir.path());
    let tree = rehearsal.dir.path().join("rally");
    let workflow = tree.join(".github/workflows/release.yml");
    let migrations = tree.join("migrations");
    let given = ["--workflow", workflow.to_str().unwrap(), "--migrations", migrations.to_str().unwrap()];
    let ran = rehearsal.rehearse(&given).await.expect(0);
    assert!(ran.stdout.contains("LIVE: "), "{ran:?}");
    assert!(ran.stdout.contains("rally is at 0001: 1 migration applied"), "{ran:?}");

    let failed = Rehearsal::new();
    let ran = failed.rehearse(&[&given[..], &["--fail", "deploy"]].concat()).await.expect(1);
    assert!(ran.stdout.contains("NOT LIVE: the release failed"), "{ran:?}");

    // A release that nobody approved, and an action that anybody can change.
    let text = std::fs::read_to_string(&workflow).unwrap();
    let pinned = "register-task-def@0123456789abcdef0123456789abcdef01234567";
    for (from, to, says) in [
        ("    environment: production\n", "", "no job with an `environment` precedes it"),
        (pinned, "register-task-def@v1", "is not pinned to a full commit SHA"),
        ("expect-account:", "expect-acount:", "has no input `expect-acount`"),
        (pinned, "register-task-deff@0123456789abcdef0123456789abcdef01234567", "nothing stands in for"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&workflow, text.replacen(from, to, 1)).unwrap();
        let ran = rehearsal.rehearse(&given).await;
        assert!([2, 3].contains(&ran.code) && ran.stdout.contains(says), "{says}: {ran:?}");
    }
}

#[tokio::test]
async fn a_killed_driver_started_again_ends_the_same() {
    let undisturbed = {
        let rehearsal = Rehearsal::new();
        rehearsal.rehearse(&[]).await.expect(0);
        rehearsal.writes()
    };
    for at in ["s3:CompleteMultipartUpload", "migration", "ecs:ListTasks"] {
        let rehearsal = Rehearsal::new();
        let world = rehearsal.start().await;
        // A reader that keeps the second migration waiting for its lock, and the backup not.
        let mut blocker = None;
        if at == "migration" {
            let mut command =
                psql(&world, "BEGIN; LOCK TABLE study IN ROW EXCLUSIVE MODE; SELECT pg_sleep(600)");
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .kill_on_drop(true);
            blocker = Some(command.spawn().unwrap());
        } else {
            front(
                &world.aws,
                Method::POST,
                "/_front/faults",
                Some(json!({"at": format!("{at}#1"), "effect": "hold"})),
            )
            .await;
        }
        let mut driver = rehearsal.command(&[]).stdout(std::process::Stdio::null()).spawn().unwrap();
        if at == "migration" {
            until("a migration that waits for a lock", async || waiting_for_lock(&world).await).await;
        } else {
            until(at, async || {
                !front(&world.aws, Method::GET, "/_front/held", None)
                    .await
                    .as_array()
                    .is_none_or(Vec::is_empty)
            })
            .await;
        }
        kill_tree(&mut driver).await;
        front(&world.aws, Method::DELETE, "/_front/faults", None).await;
        if let Some(mut blocker) = blocker {
            // A server does not notice that the client of a sleeping statement is gone.
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
            run(psql(&world, end)).await.expect(0);
            blocker.kill().await.unwrap();
        }
        let again = rehearsal.rehearse(&[]).await.expect(0);
        assert!(again.stdout.contains("LIVE: "), "{at}: {}", again.stdout);
        let count = |mut writes: BTreeMap<String, usize>| {
            writes.retain(|name, _| !UNFINISHED.contains(&name.as_str()));
            writes
        };
        assert_eq!(count(rehearsal.writes()), count(undisturbed.clone()), "killed at {at}");
    }
}

async fn waiting_for_lock(world: &World) -> bool {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%ALTER TABLE study%' AND pid <> pg_backend_pid()";
    !matches!(run(psql(world, count)).await.stdout.trim(), "0" | "")
}

/// psql on the world's database as its owner, with one command.
fn psql(world: &World, sql: &str) -> Command {
    let database = &world.database;
    let mut command = Command::new(database.bin_dir.join("psql"));
    command
        .args(["-X", "-A", "-t", "-w", "-c", sql])
        .env("PGHOST", &database.host)
        .env("PGPORT", database.port.to_string())
        .env("PGUSER", &database.user)
        .env("PGDATABASE", &database.name)
        .env("PGPASSWORD", &database.password);
    command
}
