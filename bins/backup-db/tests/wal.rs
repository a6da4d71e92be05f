//! `--mode wal-g` and `wal-e`: a real server that archives, and a stand-in for the tool that leaves in the bucket what its
//! documentation says. Neither tool can be had here: wal-g is in no registry, and wal-e calls `pg_start_backup`, which the
//! servers of today do not have any more.

use std::os::unix::fs::PermissionsExt as _;

use kit::Code;
use testkit::postgres::Options;

use super::*;
use crate::wal::{Tool, run};

/// A server whose archive command copies into a folder, which the stand-in uploads.
struct Stage {
    world: World,
    postgres: Postgres,
    folder: tempfile::TempDir,
}

/// What the stand-in leaves.
#[derive(Clone, Copy)]
struct Left {
    partition: &'static str,
    sentinel: bool,
    /// What the server says the identifier is, or another.
    system: Option<&'static str>,
    notes: &'static str,
    wal: &'static str,
    exit: i32,
}

const GOOD: Left = Left {
    partition: "content",
    sentinel: true,
    system: None,
    notes: r#"{"Files": {"/base/1/1": {"IsSkipped": false}}}"#,
    wal: "content",
    exit: 0,
};

impl Stage {
    async fn new(archive_mode: &str, archive_command: &str) -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let options = Options {
            database: Some("rally".into()),
            data: Some(folder.path().join("data")),
            settings: vec![
                ("archive_mode".into(), archive_mode.into()),
                ("archive_command".into(), archive_command.into()),
            ],
            ..Options::default()
        };
        let (world, postgres) = tokio::join!(World::new(), Postgres::start(options));
        Self { world, postgres: postgres.unwrap(), folder }
    }

    async fn working() -> Self {
        Self::new("on", "true").await
    }

    /// A tool in the place of `wal-g`: it backs nothing up, switches to the next segment as a backup does at its end, and puts
    /// objects into the bucket.
    async fn tool(&self, left: Left) -> PathBuf {
        let system = self.postgres.psql("SELECT system_identifier FROM pg_control_system()").await.unwrap();
        let (start, segment) = {
            let row = self
                .postgres
                .psql("SELECT (pg_current_wal_lsn() - '0/0')::bigint || ' ' || pg_walfile_name(pg_current_wal_lsn())")
                .await
                .unwrap();
            let (start, segment) = row.split_once(' ').unwrap();
            (start.parse::<u64>().unwrap(), segment.to_owned())
        };
        let url = format!("{}/{}/prod", self.world.servers.emulator.url(), self.world.name);
        let name = format!("base_{segment}");
        let sentinel = format!(
            r#"{{"LSN": {start}, "FinishLSN": {}, "Timeline": 1, "PgVersion": 150018, "SystemIdentifier": {}, "UncompressedSize": 1000,
                "CompressedSize": 100, "Spec": null, "UserData": USER_DATA, "Version": 2}}"#,
            start + 1,
            left.system.unwrap_or(&system),
        );
        let mut objects = vec![
            (format!("basebackups_005/{name}/tar_partitions/part_1.tar.lz4"), left.partition.to_owned()),
            (format!("basebackups_005/{name}/files_metadata.json"), left.notes.to_owned()),
            (format!("wal_005/{segment}.lz4"), left.wal.to_owned()),
        ];
        if left.sentinel {
            objects.push((format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel));
        }
        let script = format!(
            r#"#!/usr/bin/env python3
import json, os, subprocess, sys, urllib.request
with open({called:?}, "w") as called:
    called.write(os.environ["WALG_S3_PREFIX"] + " " + " ".join(sys.argv[1:]))
print("pushing with", os.environ["AWS_SECRET_ACCESS_KEY"], file=sys.stderr)
subprocess.run([{psql:?}, "-X", "-q", "-c", "SELECT pg_switch_wal()"], check=True, stdout=subprocess.DEVNULL)
for key, body in json.loads({objects:?}):
    body = body.replace("USER_DATA", os.environ.get("WALG_SENTINEL_USER_DATA", "null"))
    request = urllib.request.Request("{url}/" + key, data=body.encode(), method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request)
sys.exit({exit})
"#,
            called = self.folder.path().join("called").display().to_string(),
            psql = self.postgres.bin_dir.join("psql").display().to_string(),
            objects = serde_json::to_string(&objects).unwrap(),
            exit = left.exit,
        );
        let path = self.folder.path().join("wal-g");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn cx(&self) -> Cx {
        let env = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("PGPASSWORD", self.postgres.password.clone()),
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.postgres.port.to_string()),
            ("PGUSER", server::USER.into()),
            ("PGDATABASE", "rally".into()),
            ("AWS_SECRET_ACCESS_KEY", "very-secret-key".into()),
        ];
        kit::testing::cx_of(&crate::STEP, env.into_iter().collect(), false)
    }

    async fn run(&self, cx: &Cx, left: Left, more: &[&str]) -> Result<Outcome, Failure> {
        let tool = self.tool(left).await.display().to_string();
        let data = self.folder.path().join("data").display().to_string();
        let own = ["--mode=wal-g", "--wal-tool", &tool, "--data-dir", &data];
        let args = self.world.args_with(&[&own[..], more].concat());
        args.check()?;
        let to = format!("s3://{}/prod", self.world.name).parse().unwrap();
        // A change, so that the switch of the segment is one.
        self.postgres.psql("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)").await.unwrap();
        run(cx, &args, Tool::WalG, &to, &self.world.store).await
    }
}

#[tokio::test]
async fn a_whole_backup_with_its_log_is_one_and_is_found_by_its_id() {
    let stage = Stage::working().await;
    let cx = stage.cx();
    assert!(stage.run(&cx, GOOD, &["--backup-id", "release-7"]).await.unwrap().changed);
    let called = std::fs::read_to_string(stage.folder.path().join("called")).unwrap();
    let data = stage.folder.path().join("data");
    assert_eq!(called.trim(), format!("s3://{}/prod backup-push {}", stage.world.name, data.display()));
    let story = cx.report().story().join("\n");
    assert!(story.contains("pushing with ***") && !story.contains("very-secret-key"), "{story}");
    std::fs::remove_file(stage.folder.path().join("called")).unwrap();
    let again = stage.run(&stage.cx(), GOOD, &["--backup-id", "release-7"]).await.unwrap();
    assert!(!again.changed && !stage.folder.path().join("called").exists());
}

#[tokio::test]
async fn an_exit_with_0_is_no_success() {
    let stage = Stage::working().await;
    for (left, says) in [
        (Left { sentinel: false, ..GOOD }, "no sentinel was written"),
        (Left { partition: "", ..GOOD }, "has no content"),
        (Left { wal: "", ..GOOD }, "archived without content"),
        (
            Left { notes: r#"{"Files": {"/base/16384/16397": {"CorruptBlocks": [1]}}}"#, ..GOOD },
            "/base/16384/16397",
        ),
        (Left { system: Some("99"), ..GOOD }, "of the server 99"),
    ] {
        let failure = stage.run(&stage.cx(), left, &[]).await.unwrap_err();
        assert_eq!(failure.code(), Code::Unverified, "{}", said(&failure));
        assert!(said(&failure).contains(says), "{says}: {}", said(&failure));
    }
    // The last one has shown that another server uses the prefix, too.
    let failure = stage.run(&stage.cx(), GOOD, &[]).await.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    assert!(said(&failure).contains("is of another server"), "{}", said(&failure));
}

#[tokio::test]
async fn a_tool_that_fails_and_a_server_that_does_not_archive_are_said() {
    let stage = Stage::working().await;
    let failure = stage.run(&stage.cx(), Left { exit: 3, ..GOOD }, &[]).await.unwrap_err();
    assert!(said(&failure).contains("exit code 3"), "{}", said(&failure));
    let elsewhere = tempfile::tempdir().unwrap().path().display().to_string();
    let tool = stage.tool(GOOD).await.display().to_string();
    let args = stage.world.args_with(&["--mode=wal-g", "--wal-tool", &tool, "--data-dir", &elsewhere]);
    let to = format!("s3://{}/prod", stage.world.name).parse().unwrap();
    let failure = run(&stage.cx(), &args, Tool::WalG, &to, &stage.world.store).await.unwrap_err();
    assert!(said(&failure).contains("global/pg_control"), "{}", said(&failure));

    let off = Stage::new("off", "true").await;
    assert!(said(&off.run(&off.cx(), GOOD, &[]).await.unwrap_err()).contains("archive_mode is off"));
    let none = Stage::new("on", "").await;
    assert!(said(&none.run(&none.cx(), GOOD, &[]).await.unwrap_err()).contains("neither archive_command"));
}
