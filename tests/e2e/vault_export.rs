//! The export of a Vault's secrets as whole processes: the stand-in with the answers of Vault's documentation, an emulated S3
//! behind the front.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::front::{Fault, When};
use testkit::keys::Pair;
use testkit::vault::{CLUSTER, TOKEN, Vault};
use tokio::process::Command;

use crate::world::{Ran, World, own, run, shared_emulator};

/// A value that must be seen nowhere.
const PASSWORD: &str = "planted-correct-horse-battery-staple";

struct Secrets {
    world: World,
    vault: Vault,
    keys: Pair,
    bucket: String,
}

impl Secrets {
    /// What `BossDB` keeps, and what is awkward to carry: odd names, a number that no float holds, a folder with a secret's name.
    async fn start(version: u8) -> Self {
        let world = World::start().await;
        let bucket = own("vault");
        shared_emulator().await.create_bucket(&bucket).await.unwrap();
        let vault = Vault::start().await.unwrap();
        vault.enable("secret", "kv", version);
        vault.enable("pki", "pki", 1);
        vault.write(
            "secret",
            "auth/realm",
            &format!("{{\"username\":\"bossadmin\",\"password\":\"{PASSWORD}\"}}"),
        );
        vault.write("secret", "auth", "{\"a folder too\":true}");
        vault.write(
            "secret",
            "endpoint/django/db",
            "{\"port\":3306,\"serial\":123456789012345678901234567890}",
        );
        vault.write("secret", "odd names/ä?#% \"x\"", "{\"key\":\"line\\nbreak\"}");
        world.front.forget();
        Self { world, vault, keys: Pair::new(), bucket }
    }

    fn command(&self, more: &[&str]) -> Command {
        let to = format!("s3://{}/boss", self.bucket);
        let public = self.keys.public();
        let given = [
            "backup-db",
            "--mode",
            "vault-export",
            "--to",
            &to,
            "--age-recipient",
            &public,
            "--format",
            "json",
        ];
        let mut command = self.world.command(&[&given[..], more].concat());
        command.env("VAULT_ADDR", self.vault.url()).env("VAULT_TOKEN", TOKEN);
        command
    }

    async fn export(&self, more: &[&str]) -> Ran {
        let ran = run(self.command(more)).await;
        for secret in [PASSWORD, TOKEN, "123456789012345678901234567890", "line\\nbreak"] {
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!said.contains(secret), "{secret} is in {said}");
        }
        ran
    }

    async fn object(&self, uri: &str) -> Vec<u8> {
        let path = uri.strip_prefix("s3://").unwrap();
        let (status, body) =
            shared_emulator().await.s3(reqwest::Method::GET, &format!("/{path}"), Vec::new()).await.unwrap();
        assert_eq!(status, 200, "{uri}");
        body
    }

    async fn keys_there(&self) -> Vec<String> {
        self.world.s3_keys(&self.bucket).await
    }
}

fn output<'a>(report: &'a Value, name: &str) -> &'a str {
    report["outputs"][name].as_str().unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[tokio::test]
async fn every_secret_is_in_the_export_as_vault_has_it_and_nowhere_else() {
    for version in [1, 2] {
        let secrets = Secrets::start(version).await;
        if version == 2 {
            secrets.vault.write("secret", "gone", "{\"old\":true}");
            secrets.vault.delete("secret", "gone");
        }
        let report = secrets.export(&[]).await.expect(0).json();
        let sealed = secrets.object(output(&report, "backup-uri")).await;
        let clear = String::from_utf8(secrets.keys.open(&sealed).unwrap()).unwrap();
        assert!(!sealed.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()));
        let (head, lines) = clear.split_once('\n').unwrap();
        let head: Value = serde_json::from_str(head).unwrap();
        assert_eq!((&head["mount"], &head["cluster_id"]), (&json!("secret"), &json!(CLUSTER)));
        let number = if version == 2 { "\"version\":1," } else { "" };
        let expected = [
            ("auth", "{\"a folder too\":true}".to_owned()),
            ("auth/realm", format!("{{\"username\":\"bossadmin\",\"password\":\"{PASSWORD}\"}}")),
            ("endpoint/django/db", "{\"port\":3306,\"serial\":123456789012345678901234567890}".to_owned()),
            ("odd names/ä?#% \\\"x\\\"", "{\"key\":\"line\\nbreak\"}".to_owned()),
        ]
        .map(|(path, data)| format!("{{\"path\":\"{path}\",{number}\"data\":{data}}}\n"));
        assert_eq!(lines, expected.concat(), "version {version}");

        let manifest: Value =
            serde_json::from_slice(&secrets.object(output(&report, "manifest-uri")).await).unwrap();
        assert_eq!(manifest["secrets"], 4);
        assert_eq!(manifest["deleted"], i32::from(version == 2));
        assert_eq!(manifest["kv"], format!("v{version}"));
        assert_eq!(secrets.vault.requests().iter().filter(|request| !request.starts_with("GET ")).count(), 0);
    }
}

#[tokio::test]
async fn one_of_the_same_id_is_not_made_again_and_undo_takes_it_back() {
    let secrets = Secrets::start(2).await;
    let args = ["--backup-id", "release 7", "--receipt", "export.json"];
    secrets.export(&args).await.expect(0);
    assert_eq!(secrets.keys_there().await.len(), 2);
    secrets.world.front.forget();
    let again = secrets.export(&args[..2]).await.expect(0).json();
    assert_eq!((&again["changed"], secrets.world.writes()), (&json!(false), Vec::new()));
    // Another release makes its own; so does one for other people.
    secrets.export(&["--backup-id", "release 8"]).await.expect(0);
    assert_eq!(secrets.keys_there().await.len(), 4);
    let to = format!("s3://{}/boss", secrets.bucket);
    let undo = [
        "backup-db",
        "--mode",
        "vault-export",
        "--to",
        &to,
        "--age-recipient",
        &secrets.keys.public(),
        "--undo",
        "export.json",
    ];
    secrets.world.cutover(&undo).await.expect(0);
    let left = secrets.keys_there().await;
    assert!(left.len() == 2 && left.iter().all(|key| key.contains("release-8")), "{left:?}");
}

#[tokio::test]
async fn what_changes_while_it_is_read_leaves_no_export() {
    let secrets = Secrets::start(2).await;
    // The four are read, then read again: the second is rewritten when it has been read.
    secrets.vault.write_before_read(
        4,
        "secret",
        "auth/realm",
        "{\"username\":\"bossadmin\",\"password\":\"other\"}",
    );
    let ran = secrets.export(&[]).await.expect(1);
    ran.says(&["these changed while they were read: auth/realm", "nothing was changed"]);
    assert_eq!(secrets.keys_there().await, Vec::<String>::new());
    secrets.export(&[]).await.expect(0);
}

#[tokio::test]
async fn killed_at_any_call_it_leaves_nothing_that_the_next_run_does_not_mend() {
    for (call, when) in [
        ("s3:PutObject#1", When::BeforeForward),
        ("s3:PutObject#1", When::AfterEffect),
        ("s3:PutObject#2", When::BeforeForward),
        ("s3:PutObject#2", When::AfterEffect),
    ] {
        let secrets = Secrets::start(2).await;
        let hold = secrets.world.front.hold(call, when);
        let mut command = secrets.command(&["--backup-id", "release 7"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        hold.arrived().await;
        child.kill().await.unwrap();
        drop(hold);
        let report = secrets.export(&["--backup-id", "release 7"]).await.expect(0).json();
        let left = secrets.keys_there().await;
        assert_eq!(left.len(), 2, "{call}: {left:?}");
        let sealed = secrets.object(output(&report, "backup-uri")).await;
        assert!(secrets.keys.open(&sealed).is_ok());
    }
}

/// As the legs of a matrix are, which have one id.
#[tokio::test]
async fn an_export_that_another_one_removed_is_none() {
    let secrets = Secrets::start(2).await;
    let id = ["--backup-id", "release 7"];
    let hold = secrets.world.front.hold("s3:PutObject#2", When::BeforeForward);
    let first = tokio::spawn(run(secrets.command(&id)));
    hold.arrived().await;
    // Its key has another second in it.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = secrets.export(&id).await.expect(0).json();
    hold.release();
    first.await.unwrap().expect(5).says(&["another export with the same --backup-id", "a --backup-id each"]);
    secrets.object(output(&second, "backup-uri")).await;
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_before_anything_is_written() {
    let secrets = Secrets::start(2).await;
    let case = async |more: &[&str], change: &dyn Fn(&mut Command), code: i32, says: &[&str]| {
        let mut command = secrets.command(more);
        change(&mut command);
        run(command).await.expect(code).says(says);
    };
    case(&[], &|c| _ = c.env_remove("VAULT_TOKEN"), 2, &["there is no token", "vault login"]).await;
    case(&[], &|c| _ = c.env_remove("VAULT_ADDR"), 2, &["no address is given", "--vault-addr"]).await;
    case(&[], &|c| _ = c.env("VAULT_TOKEN", "hvs.expired"), 3, &["the token may not use it"]).await;
    case(&["--vault-mount", "secrets"], &|_| (), 3, &["there is no such engine", "--vault-mount"]).await;
    case(&["--vault-mount", "pki"], &|_| (), 3, &["it is a pki engine"]).await;
    case(
        &["--vault-addr", "http://127.0.0.1:1"],
        &|_| (),
        1,
        &["ask http://127.0.0.1:1 for its health", "refused"],
    )
    .await;
    let front = secrets.world.front.url().to_owned();
    case(&["--vault-addr", &front], &|_| (), 1, &["check --vault-addr"]).await;
    case(&["--verify", "present"], &|_| (), 2, &["it belongs to --mode dump"]).await;
    case(&["--action", "list"], &|_| (), 2, &["--undo"]).await;
    let secret = secrets.keys.secret();
    let ran =
        run(secrets.command(&["--age-recipient", &secret])).await.expect(2).says(&["it is a secret key"]);
    assert!(!ran.stderr.contains(&secret) && !ran.stdout.contains(&secret), "{ran:?}");
    let to = format!("s3://{}/boss", secrets.bucket);
    let naked = secrets.world.cutover(&["backup-db", "--mode", "vault-export", "--to", &to]).await;
    naked.expect(2).says(&["encrypted or not at all", "age-keygen"]);
    secrets.world.front.set_faults([Fault::access_denied("s3:PutObject")]);
    case(&[], &|_| (), 1, &["allow `s3:PutObject`", "nothing was changed"]).await;
    secrets.world.front.set_faults([]);
    secrets.vault.deny("secret/data/auth/realm");
    case(&[], &|_| (), 1, &["read secret/auth/realm", "capability `read` on secret/data/auth/realm"]).await;
    secrets.vault.deny("secret/metadata/endpoint/");
    case(&[], &|_| (), 1, &["list secret/endpoint/", "capability `list`"]).await;
    secrets.vault.seal();
    case(&[], &|_| (), 3, &["the server is sealed", "operator unseal"]).await;
    assert_eq!(secrets.keys_there().await, Vec::<String>::new());
}
