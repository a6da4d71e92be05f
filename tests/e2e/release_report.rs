//! The report of a release, from receipts on disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::world::{Ran, run, scrubbed};

/// A receipt as docs/receipts.md has it.
fn receipt(step: &str, minute: u8, verdict: Value, state: &str) -> Value {
    json!({
        "schema": "cutover-receipt/1", "step": step, "version": "0.1.0", "run": format!("run-of-{step}"),
        "arguments": {"to": "s3://b/k"}, "account": "123456789012", "region": "us-east-1",
        "github": {
            "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "data",
        },
        "started": format!("2026-11-22T09:{minute:02}:00Z"),
        "ended": if verdict.is_null() { Value::Null } else { json!(format!("2026-11-22T09:{minute:02}:30.5Z")) },
        "observed": null, "plan": null,
        "actions": [{
            "id": "x", "run": format!("run-of-{step}"), "does": format!("do what {step} does"),
            "undo": format!("undo {step}"), "reversible": true, "state": state, "inverse": {}, "result": null,
        }],
        "outputs": {"changed": "true"}, "verdict": verdict, "undo_of": null,
    })
}

/// A folder with artefacts in a folder each, as `actions/download-artifact` leaves them.
fn artefacts(receipts: &[Value]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for receipt in receipts {
        let step = receipt["step"].as_str().unwrap();
        let folder = dir.path().join("receipts").join(format!("receipts-{step}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{step}.json")), receipt.to_string()).unwrap();
    }
    dir
}

fn done() -> Value {
    json!({"code": 0, "message": "all is as wanted"})
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir);
    command.arg("release-report").args(args);
    command
}

async fn report(dir: &Path, args: &[&str]) -> Ran {
    run(command(dir, args)).await
}

#[tokio::test]
async fn half_a_release_is_drawn_with_what_is_missing_and_the_way_back() {
    let refused = json!({"code": 3, "message": "let the release pass", "causes": ["a check is red"], "help": ["mend it"]});
    let dir = artefacts(&[
        receipt("backup-db", 1, done(), "done"),
        receipt("deploy-service", 5, Value::Null, "started"),
        receipt("tag-release", 0, refused, "planned"),
    ]);
    // What is no receipt is passed over: a review, a log, what a killed write left.
    let beside = dir.path().join("receipts/receipts-backup-db");
    std::fs::write(beside.join("review.json"), "{\"schema\": \"cutover/changeset-review/1\"}").unwrap();
    std::fs::write(beside.join("log.txt"), "{").unwrap();
    std::fs::write(beside.join(".receipt-x.tmp"), "{\"schema\": \"cutover-receipt/1\", ").unwrap();
    let summary = dir.path().join("summary.md");
    let outputs = dir.path().join("outputs");
    let args = [
        "--receipts",
        "receipts",
        "--html",
        "out/r.html",
        "--markdown",
        "out/r.md",
        "--expect",
        "wait-healthy",
    ];
    let mut first = command(dir.path(), &args);
    first.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_OUTPUT", &outputs);
    let ran = run(first).await.expect(0);
    for said in [
        "backup-db (2) (job data): all is as wanted",
        "REFUSED: let the release pass",
        "because: a check is red",
        "next: mend it",
        "in doubt: do what deploy-service does",
        "No receipt of wait-healthy",
        "$ gh run download 7 --repo o/r --pattern 'receipts-*' --dir receipts",
        "$ backup-db --undo receipts/receipts-backup-db/backup-db.json",
        "note: 3 files are no receipts and were passed over, such as receipts/receipts-backup-db/.receipt-x.tmp",
        "verdict=killed",
        "changes=1",
        "in-doubt=1",
        "changed=true",
    ] {
        assert!(ran.stdout.contains(said), "`{said}` is not in:\n{}", ran.stdout);
    }
    let markdown = std::fs::read_to_string(dir.path().join("out/r.md")).unwrap();
    assert!(std::fs::read_to_string(summary).unwrap().contains(&markdown));
    assert!(markdown.contains("```mermaid\ngantt\n"));
    assert!(std::fs::read_to_string(outputs).unwrap().contains("missing<<"));
    let page = dir.path().join("out/r.html");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("default-src 'none'") && !html.contains("<script"));
    // Whoever uploads it is another user than the container's.
    let plain = dir.path().join("receipts/receipts-backup-db/log.txt");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&page), mode(&plain));

    let again = report(dir.path(), &args).await.expect(0);
    assert!(again.stdout.contains("changed=false"), "{}", again.stdout);
    assert_eq!(std::fs::read_to_string(page).unwrap(), html);
    assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 2, "no temporary file is left");
    assert!(!dir.path().join("cutover-receipts").exists());
}

#[tokio::test]
async fn json_says_the_same_and_a_dry_run_writes_nothing() {
    let dir = artefacts(&[receipt("backup-db", 1, done(), "done")]);
    let file = "receipts/receipts-backup-db/backup-db.json";
    let ran = report(
        dir.path(),
        &["--receipts", "receipts", "--receipts", file, "--format", "json", "--dry-run", "--html", "r.html"],
    )
    .await
    .expect(0)
    .says(&["would write r.html"]);
    let document = ran.json();
    assert_eq!(document["report"]["verdict"], "done");
    assert_eq!(document["report"]["runs"].as_array().unwrap().len(), 1, "named twice, told once");
    assert_eq!(document["report"]["back"][0]["command"], format!("backup-db --undo {file}"));
    assert!(!dir.path().join("r.html").exists());
}

#[tokio::test]
async fn what_cannot_be_read_ends_it_with_its_name_and_nothing_is_written() {
    let good = receipt("backup-db", 1, done(), "done").to_string();
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "receipts/a/cut.json",
            &good[..good.len() / 2],
            &["read the receipt receipts/a/cut.json", "was cut off"],
        ),
        (
            "receipts/a/next.json",
            &good.replace("cutover-receipt/1", "cutover-receipt/2"),
            &["receipts/a/next.json", "its schema is cutover-receipt/2"],
        ),
        ("receipts/a/odd", &good.replace("\"actions\"", "\"actoins\""), &["receipts/a/odd", "actions"]),
        (
            "receipts/a/name.json",
            &good.replace("\"step\":\"backup-db\"", "\"step\":\"backup db; rm\""),
            &["receipts/a/name.json", "no step is called"],
        ),
        ("receipts/a/list.json", "[1, 2", &["receipts/a/list.json", "no receipt: then move it"]),
    ];
    for (path, text, said) in cases {
        let dir = artefacts(&[receipt("tag-release", 0, done(), "done")]);
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        report(dir.path(), &["--receipts", "receipts", "--html", "r.html"]).await.expect(2).says(said);
        assert!(!dir.path().join("r.html").exists());
    }
}

#[tokio::test]
async fn every_mistake_has_its_own_message() {
    let dir = artefacts(&[receipt("backup-db", 1, done(), "done")]);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::write(dir.path().join("empty/notes.txt"), "x").unwrap();
    let receipt = "receipts/receipts-backup-db/backup-db.json";
    let cases: [(&[&str], i32, &[&str]); 11] = [
        (&[], 2, &["--receipts <PATH>"]),
        (&["--receipts", ""], 2, &[]),
        (&["--receipts", "empty"], 2, &["there is none (1 other file is there)", "--allow-none"]),
        (&["--receipts", "nowhere"], 2, &["read nowhere", "No such file", "--allow-none"]),
        (&["--receipts", "/dev/zero"], 2, &["neither a file nor a folder"]),
        (&["--receipts", "receipts", "--expect", "Backup DB"], 2, &["write a step's name"]),
        (&["--receipts", "receipts", "--needs", "[]"], 2, &["it is no object of jobs", "toJSON(needs)"]),
        (&["--receipts", "receipts", "--html", "x", "--markdown", "x"], 2, &["the same file"]),
        (&["--receipts", "receipts", "--html", receipt], 2, &["it is one of the receipts"]),
        (&["--receipts", "receipts", "--html", "empty"], 2, &["it is no file"]),
        (
            &["--receipts", "receipts", "--html", "/proc/r.html"],
            1,
            &["write /proc/r.html", "nothing was changed"],
        ),
    ];
    for (args, code, said) in cases {
        report(dir.path(), args).await.expect(code).says(said);
    }
    report(dir.path(), &["--undo", receipt]).await.expect(2).says(&["it is a receipt of backup-db"]);
    let none =
        report(dir.path(), &["--receipts", "empty", "--receipts", "nowhere", "--allow-none"]).await.expect(0);
    for said in
        ["no step left a receipt", "nowhere is not there", "verdict=none", "No receipt says that anything"]
    {
        assert!(none.stdout.contains(said), "`{said}` is not in:\n{}", none.stdout);
    }
}

/// Mermaid's own parser, where Node and the package are: `npm install --prefix ~/.cache/cutover/mermaid mermaid@11`.
const PARSE: &str = r"
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';
const require = createRequire(process.argv[2] + '/');
const {default: mermaid} = await import(pathToFileURL(require.resolve('mermaid')));
const text = readFileSync(process.argv[3], 'utf8');
const charts = [...text.matchAll(/^```mermaid\n([^]*?)^```$/gm)].map(match => match[1]);
for (const chart of charts) console.log(JSON.stringify(await mermaid.parse(chart)));
";

#[tokio::test]
async fn mermaids_own_parser_reads_the_time_line() {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.unwrap_or_default().join("cutover/mermaid");
    let node = std::process::Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !node || !folder.join("node_modules/mermaid").exists() {
        let why = if node { "there is no mermaid in the cache" } else { "there is no node" };
        testkit::inputs::skipped(&format!("the time line is not read by Mermaid itself: {why}"));
        return;
    }
    let mut odd = receipt("deploy-service", 5, json!({"code": 5, "message": "x"}), "done");
    odd["github"]["GITHUB_JOB"] = json!("section; crit: %%{init}%% end #35; \"q\" [x] 1");
    let dir = artefacts(&[
        receipt("backup-db", 1, done(), "done"),
        odd,
        receipt("tag-release", 0, Value::Null, "planned"),
    ]);
    report(dir.path(), &["--receipts", "receipts", "--markdown", "r.md"]).await.expect(0);
    let script = folder.join("parse-time-line.mjs");
    std::fs::write(&script, PARSE).unwrap();
    let mut parse = scrubbed("node", dir.path());
    parse.arg(&script).arg(&folder).arg("r.md");
    let ran = run(parse).await.expect(0);
    assert_eq!(ran.stdout.trim(), r#"{"diagramType":"gantt","config":{}}"#, "{}", ran.stderr);
}
