//! Several probes in one call.

use super::{Web, wait};

#[tokio::test]
async fn several_endpoints_are_one_table_and_the_worst_is_the_outcome() {
    let good = Web::start("200 OK", r#"{"version":"2.1.0"}"#).await;
    let old = Web::start("200 OK", r#"{"version":"2.0.1.11"}"#).await;
    let both = ["--url", &good.url, "--url", &old.url, "--once"];
    wait(&both, &[]).await.expect(0);
    let version = [&both[..], &["--expect-json", "/version=2.1.0"]].concat();
    let ran = wait(&version, &[]).await.expect(1);
    let reason = r#"/version is "2.0.1.11", want "2.1.0""#;
    assert!(ran.stdout.contains(&format!("healthy   {}", good.url)), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("not yet   {}  {reason}", old.url)), "{}", ran.stdout);
    ran.says(&["check 2 probes", &format!("{}: {reason}", old.url), "nothing was changed"]);
    let json = wait(&[&version[..], &["--format", "json"]].concat(), &[]).await.expect(1).json();
    let seen: Vec<bool> =
        json["probes"].as_array().unwrap().iter().map(|probe| probe["healthy"] == true).collect();
    assert_eq!(seen, [true, false]);
    assert_eq!(json["probes"][0]["details"]["values"]["/version"], "2.1.0");
}

#[tokio::test]
async fn a_list_of_endpoints_comes_from_an_input() {
    let (one, two) = (Web::start("200 OK", "").await, Web::start("503 Service Unavailable", "").await);
    let list = format!("{}\n{}\n", one.url, two.url);
    let ran = wait(&[], &[("INPUT_URL", &list), ("INPUT_ONCE", "true")]).await.expect(1);
    ran.says(&[&format!("{}: HTTP 503 Service Unavailable, want 200-299", two.url)]);
}

#[tokio::test]
async fn nothing_to_look_at_and_expectations_of_nothing_are_usage_errors() {
    wait(&["--once"], &[]).await.expect(2).says(&["--url <URL>", "--redis-empty <URL=PATTERN>"]);
    let keys = "redis://127.0.0.1:1=a*";
    wait(&["--redis-empty", keys, "--expect-body", "x"], &[]).await.expect(2).says(&["--url <URL>"]);
}

#[tokio::test]
async fn a_deadline_ends_all_of_them_with_what_each_lacks() {
    let (good, bad) = (Web::start("200 OK", "").await, Web::start("502 Bad Gateway", "").await);
    let args = ["--url", &good.url, "--url", &bad.url, "--interval", "100ms", "--timeout", "500ms"];
    wait(&args, &[])
        .await
        .expect(6)
        .says(&[&format!("{}: HTTP 502 Bad Gateway, want 200-299", bad.url), "run the same command again"]);
}

#[tokio::test]
async fn one_kind_may_have_less_time_than_the_others() {
    let bad = Web::start("502 Bad Gateway", "").await;
    let args = ["--url", &bad.url, "--interval", "50ms", "--timeout", "1h", "--within", "url=200ms"];
    wait(&args, &[]).await.expect(6).says(&[
        "its --within of 200ms passed",
        "want 200-299",
        "run the same command again",
    ]);
    let wrong = ["--url", &bad.url, "--within", "es=2h"];
    wait(&wrong, &[]).await.expect(2).says(&["there is no --es whose time it could be"]);
    wait(&["--url", &bad.url, "--within", "http=2h"], &[])
        .await
        .expect(2)
        .says(&["the kinds are url, redis-empty"]);
    wait(&["--url", &bad.url, "--within", "url=1m", "--once"], &[]).await.expect(2);
}

#[tokio::test]
async fn a_wait_that_outlasts_its_job_says_how_it_goes_on() {
    let bad = Web::start("502 Bad Gateway", "").await;
    let job = [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "4711")];
    let args = ["--url", &bad.url, "--interval", "50ms", "--timeout", "300ms"];
    wait(&args, &job).await.expect(6).says(&["gh run rerun 4711 --failed"]);
    let long = ["--url", &bad.url, "--timeout", "6h", "--dry-run"];
    wait(&long, &job).await.expect(0).says(&["warning: a job on GitHub's runners is ended after 6 hours"]);
    assert!(!wait(&long, &[]).await.expect(0).stderr.contains("warning"));
}

#[tokio::test]
async fn every_target_and_every_address_must_answer_as_expected() {
    let (new, old) = (Web::start("200 OK", "v2.1.0").await, Web::start("200 OK", "v2.0.1").await);
    let place = |web: &Web| web.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (at_new, at_old) = (place(&new), place(&old));
    let args =
        ["--once", "--url", "http://api.theboss.io/", "--expect-body", "v2.1.0", "--connect-to", &at_new];
    wait(&args, &[]).await.expect(0);
    let both = [&args[..], &["--connect-to", &at_old]].concat();
    wait(&both, &[])
        .await
        .expect(1)
        .says(&[&format!("http://api.theboss.io/ at {at_old}: body does not contain")]);

    let port = place_on_every_address_of_localhost().await;
    let url = format!("http://localhost:{port}/");
    let args = ["--once", "--each-address", "--url", &url];
    let ran = wait(&args, &[]).await.expect(0);
    assert!(ran.stdout.contains(", at each of "), "{}", ran.stdout);
    wait(&[&args[..], &["--expect-body", "v2.1.0"]].concat(), &[])
        .await
        .expect(1)
        .says(&["127.0.0.1: body does not contain"]);
}

/// A port on which each address that the name `localhost` has here is served.
async fn place_on_every_address_of_localhost() -> u16 {
    let mut addresses: Vec<_> = tokio::net::lookup_host(("localhost", 0)).await.unwrap().collect();
    addresses.sort();
    addresses.dedup();
    'ports: loop {
        let mut listeners = Vec::new();
        let mut port = 0;
        for address in &addresses {
            let Ok(listener) = tokio::net::TcpListener::bind((address.ip(), port)).await else {
                continue 'ports;
            };
            port = listener.local_addr().unwrap().port();
            listeners.push(listener);
        }
        for listener in listeners {
            tokio::spawn(super::serve(listener, "200 OK", "v2.0.1"));
        }
        return port;
    }
}
