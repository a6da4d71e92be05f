//! The newest backup by its manifest.

use serde_json::{Value, json};
use testkit::front::When;

use super::stage::Stage;
use crate::world::{Ran, run};

/// `printf 'the dump' | md5sum`
const ETAG: &str = "\"9e0d6ccefaecd11658595fcf12437b44\"";
/// `printf 'the dump' | sha256sum`
const SHA256: &str = "2c724c509950ce8c25c58be0a75241fb5dcb6c28f9af070005fe7f085348111a";

impl Stage {
    async fn put_backup(&self, name: &str, started: &str, dump: &str, etag: &str) {
        let manifest = json!({
            "schema": "cutover-backup/1", "kind": "dump", "bucket": self.old, "key": format!("rally/{name}.dump"),
            "bytes": dump.len(), "sha256": SHA256, "checksum_crc64nvme": "AAAAAAAAAAA=", "etag": etag, "parts": 1,
            "globals_key": format!("rally/{name}.dump.globals.sql"), "database": "rally",
            "system_identifier": "7", "server_version": "15", "client_version": "15", "rung": "read-back",
            "started": started, "ended": started, "tool_version": "0", "run": name, "rows": {"public.answers": 3},
        });
        self.put(&format!("rally/{name}.dump"), &[], dump).await;
        self.put(&format!("rally/{name}.dump.globals.sql"), &[], "CREATE ROLE rally;").await;
        self.put(&format!("rally/{name}.dump.manifest.json"), &[], manifest.to_string()).await;
    }

    async fn copy_backup(&self, more: &[&str]) -> Ran {
        let (from, to) = (self.from("rally/"), self.to("kept/"));
        let args = ["--latest", "--latest-by", "manifest", "--from", &from, "--to", &to];
        run(self.command(&[&args[..], more].concat())).await
    }
}

#[tokio::test]
async fn a_backup_is_copied_with_a_manifest_of_its_own_as_the_last_object() {
    let stage = Stage::start().await;
    stage.put_backup("b-today", "2026-11-21T09:00:00Z", "the dump", ETAG).await;
    // Written later, and of earlier data; and an object without a manifest is no backup.
    stage.put_backup("c-copied-late", "2026-11-20T16:00:00Z", "the dump", ETAG).await;
    stage.put("rally/z.dump", &[], "half a du").await;
    stage.front.forget();
    let ran = stage
        .copy_backup(&["--receipt", "r.json"])
        .await
        .expect(0)
        .says(&["rally/b-today.dump.manifest.json is the newest"]);
    let outputs = &ran.json()["outputs"];
    assert_eq!(outputs["manifest-uri"], stage.to("kept/b-today.dump.manifest.json"));
    assert_eq!(outputs["copy-uri"], stage.to("kept/b-today.dump"));
    assert_eq!(stage.writes(), ["s3:CopyObject", "s3:CopyObject", "s3:PutObject"]);
    let text = stage.copy_of("kept/b-today.dump.manifest.json").await.unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    for (field, value) in [
        ("bucket", json!(stage.new)),
        ("key", json!("kept/b-today.dump")),
        ("globals_key", json!("kept/b-today.dump.globals.sql")),
        ("etag", json!(ETAG)),
        ("sha256", json!(SHA256)),
        ("rows", json!({"public.answers": 3})),
        ("copied_from", json!(stage.from("rally/b-today.dump.manifest.json"))),
    ] {
        assert_eq!(manifest[field], value, "{field}");
    }
    stage.front.forget();
    let again = stage.copy_backup(&[]).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(stage.writes(), Vec::<String>::new());
    run(stage.command(&["--undo", "r.json"])).await.expect(0);
    assert_eq!(stage.keys(&stage.new).await, Vec::<String>::new());

    // Killed before the manifest: there is no backup yet, and the next run makes it one.
    let hold = stage.front.hold("s3:PutObject", When::BeforeForward);
    let (from, to) = (stage.from("rally/"), stage.to("kept/"));
    let mut command = stage.command(&["--latest", "--latest-by", "manifest", "--from", &from, "--to", &to]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    hold.arrived().await;
    child.kill().await.unwrap();
    drop(hold);
    assert_eq!(stage.keys(&stage.new).await, ["kept/b-today.dump", "kept/b-today.dump.globals.sql"]);
    stage.copy_backup(&[]).await.expect(0);
    assert_eq!(stage.keys(&stage.new).await.len(), 3);
}

#[tokio::test]
async fn a_dump_that_is_not_the_manifests_is_not_copied() {
    let stage = Stage::start().await;
    stage.put_backup("b", "2026-11-21T09:00:00Z", "not dump", "\"other\"").await;
    stage
        .copy_backup(&[])
        .await
        .expect(3)
        .says(&["not the dump that its manifest tells of", "nothing was changed"]);
    stage.put("rally/odd.manifest.json", &[], "{\"schema\":\"cutover-backup/9\"}").await;
    stage.copy_backup(&[]).await.expect(3).says(&["cutover-backup/9"]);
    let (from, to) = (stage.from("none/"), stage.to("kept/"));
    run(stage.command(&["--latest", "--latest-by", "manifest", "--from", &from, "--to", &to]))
        .await
        .expect(3)
        .says(&["no manifest of backup-db"]);
    run(stage.command(&["--latest-by", "manifest", "--from", &stage.from("a"), "--to", &to]))
        .await
        .expect(2)
        .says(&["--latest"]);
    assert_eq!(stage.keys(&stage.new).await, Vec::<String>::new());
}
