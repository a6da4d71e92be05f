//! PostgreSQL, Vault and DNS servers.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use testkit::dns::{Dns, Options as DnsOptions};
use testkit::postgres::{Options, Postgres};
use testkit::vault::Vault;

use super::{Going, command, wait};
use crate::world::{Ran, own, shared_emulator};

async fn look(postgres: &Postgres, args: &[&str]) -> Ran {
    let env = [("PGPASSWORD", postgres.password.as_str())];
    wait(&[&["--once"][..], args].concat(), &env).await
}

#[tokio::test]
async fn a_server_is_asked_what_it_is() {
    let postgres = Postgres::start(Options::default()).await.unwrap();
    let url = postgres.url();
    look(&postgres, &["--postgres", &format!("{url}=primary")]).await.expect(0);
    look(&postgres, &["--postgres", &format!("{url}=accepting")]).await.expect(0);
    look(&postgres, &["--postgres", &format!("{url}=standby")])
        .await
        .expect(1)
        .says(&["it is a primary, want a standby"]);
    look(&postgres, &["--postgres", &url]).await.expect(2).says(&["URL=primary"]);
    look(&postgres, &["--postgres-same", &url]).await.expect(2).says(&["two different servers"]);
    let state = format!("{url}=primary");
    let args = ["--postgres", state.as_str(), "--timeout", "30s"];
    wait(&args, &[("PGPASSWORD", "hunter22")])
        .await
        .expect(1)
        .says(&["password authentication failed", "PGPASSWORD"]);
    let with_password = format!("{}=primary", url.replace("postgres@", "postgres:hunter22@"));
    let refused = look(&postgres, &["--postgres", &with_password]).await.expect(2);
    assert!(!refused.stderr.contains("hunter22"), "{}", refused.stderr);
    let port = postgres.port.to_string();
    let dead = url.replace(&port, "1");
    let args = ["--postgres", &format!("{dead}=primary"), "--timeout", "300ms", "--interval", "50ms"];
    wait(&args, &[("PGPASSWORD", "x")]).await.expect(6).says(&["127.0.0.1:1 can't be reached"]);
}

/// Folders that root made belong to the server's user, or it does not start.
fn give_to(owner: (u32, u32), path: &Path) {
    std::os::unix::fs::lchown(path, Some(owner.0), Some(owner.1)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_to(owner, &entry.unwrap().path());
        }
    }
}

#[tokio::test]
async fn a_standby_is_told_apart_and_its_position_is_compared() {
    let primary = Postgres::start(Options::default()).await.unwrap();
    if !primary.bin_dir.join("pg_basebackup").exists() {
        eprintln!("skipped: this PostgreSQL has no pg_basebackup");
        return;
    }
    primary.psql("CREATE TABLE volunteer AS SELECT generate_series(1, 1000) AS id").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let copied = tokio::process::Command::new(primary.bin_dir.join("pg_basebackup"))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &primary.port.to_string(),
            "-U",
            "postgres",
            "-X",
            "stream",
            "-R",
            "-c",
            "fast",
            "-D",
        ])
        .arg(&data)
        .env("PGPASSWORD", &primary.password)
        .status()
        .await
        .unwrap();
    assert!(copied.success());
    let owner = std::fs::metadata(format!("/proc/{}", primary.pid())).unwrap();
    give_to((owner.uid(), owner.gid()), &data);
    let options =
        Options { data: Some(data), password: Some(primary.password.clone()), ..Options::default() };
    let standby = Postgres::start(options).await.unwrap();
    look(&standby, &["--postgres", &format!("{}=standby", standby.url())]).await.expect(0);
    look(&standby, &["--postgres", &format!("{}=primary", standby.url())])
        .await
        .expect(1)
        .says(&["it is a standby (in recovery), want a primary"]);
    let (one, two) = (primary.url(), standby.url());
    let same = ["--postgres-same", &one, "--postgres-same", &two, "--interval", "50ms", "--timeout", "1m"];
    let env = [("PGPASSWORD", primary.password.as_str())];
    wait(&same, &env).await.expect(0);
    // Replay stands still, and the primary goes on.
    standby.psql("SELECT pg_wal_replay_pause()").await.unwrap();
    primary.psql("INSERT INTO volunteer SELECT generate_series(1, 1000)").await.unwrap();
    let mut going = Going::start(command(&same, &env));
    going.says("has replayed ").await;
    standby.psql("SELECT pg_wal_replay_resume()").await.unwrap();
    assert_eq!(going.end().await.0, 0);
    let other = Postgres::start(Options { password: Some(primary.password.clone()), ..Options::default() })
        .await
        .unwrap();
    let same = ["--postgres-same", &one, "--postgres-same", &other.url()];
    wait(&same, &env).await.expect(3).says(&["they are different clusters"]);
}

#[tokio::test]
async fn a_vault_is_asked_for_its_health_without_a_token() {
    let vault = Vault::start().await.unwrap();
    let url = vault.url().to_owned();
    let ran = wait(&["--once", "--vault", &url], &[]).await.expect(0);
    assert!(ran.stdout.contains("unsealed, active, version 1.17.2"), "{}", ran.stdout);
    let standby = format!("{url}=standby");
    wait(&["--once", "--vault", &standby], &[]).await.expect(1).says(&["unsealed, active", "want a standby"]);
    vault.seal();
    let unsealed = format!("{url}=unsealed");
    wait(&["--once", "--vault", &unsealed], &[]).await.expect(1).says(&["it is sealed", "unseal"]);
    assert!(vault.requests().iter().all(|request| request == "GET /v1/sys/health"), "{:?}", vault.requests());
    let web = super::Web::start("200 OK", "<html>").await;
    wait(&["--once", "--vault", &web.url], &[]).await.expect(1).says(&["does not answer as Vault does"]);
}

async fn route53(method: reqwest::Method, path: &str, body: String) -> String {
    let emulator = shared_emulator().await;
    let (status, answer) = emulator.rest("route53", method, path, body.into_bytes()).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert!(status < 300, "{text}");
    text
}

async fn change(zone: &str, action: &str, name: &str, to: &str) {
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes><Change>\
         <Action>{action}</Action><ResourceRecordSet><Name>{name}.</Name><Type>CNAME</Type><TTL>300</TTL><ResourceRecords>\
         <ResourceRecord><Value>{to}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change></Changes>\
         </ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    route53(reqwest::Method::POST, &format!("/2013-04-01/hostedzone/{zone}/rrset"), body).await;
}

#[tokio::test]
async fn every_server_that_is_named_must_answer_as_wanted() {
    let zone = format!("{}.test", own("healthy"));
    let name = format!("api.{zone}");
    let body = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{zone}</Name>\
         <CallerReference>{}</CallerReference></CreateHostedZoneRequest>",
        own("zone")
    );
    let made = route53(reqwest::Method::POST, "/2013-04-01/hostedzone", body).await;
    let id =
        made.split("<Id>/hostedzone/").nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
    change(&id, "CREATE", &name, "page.test.").await;
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    let serve = async |delay: Duration| {
        let options = DnsOptions {
            zones: vec![(zone.clone(), id.clone())],
            addresses: vec![
                ("live.test".into(), address),
                ("page.test".into(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))),
            ],
            delay,
        };
        Dns::start(shared_emulator().await.url(), options).await.unwrap()
    };
    let (prompt, late) = (serve(Duration::ZERO).await, serve(Duration::from_hours(1)).await);
    let (prompt, late) = (prompt.address().to_string(), late.address().to_string());
    let live = format!("{name}=live.test");
    let page = format!("{name}=page.test");
    wait(&["--once", "--dns", &page, "--name-server", &prompt, "--resolver", &late], &[]).await.expect(0);
    let args = ["--dns", &live, "--name-server", &prompt, "--resolver", &prompt, "--interval", "50ms"];
    let mut going = Going::start(command(&args, &[]));
    going.says("0 of 2 servers answer as wanted").await;
    change(&id, "DELETE", &name, "page.test.").await;
    change(&id, "CREATE", &name, "live.test.").await;
    assert_eq!(going.end().await.0, 0);
    let args = ["--once", "--dns", &live, "--resolver", &prompt, "--resolver", &late];
    wait(&args, &[]).await.expect(1).says(&[
        "1 of 2 servers answer as wanted",
        &format!("{late}: CNAME page.test, kept for another 300 s at most"),
    ]);
    let addresses = format!("{name}=192.0.2.7");
    wait(&["--once", "--dns", &addresses, "--resolver", &prompt], &[]).await.expect(0);
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let args = ["--once", "--dns", &live, "--resolver", &silent, "--request-timeout", "500ms"];
    wait(&args, &[]).await.expect(1).says(&[&format!("{silent}: ")]);
    wait(&["--once", "--dns", "api.test"], &[]).await.expect(2).says(&["NAME=OTHER-NAME"]);
    wait(&["--once", "--url", "http://127.0.0.1:1/", "--resolver", &silent], &[])
        .await
        .expect(2)
        .says(&["--dns"]);
}
