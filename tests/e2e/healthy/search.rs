//! Search clusters: their health, and how many copies their indexes have.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::search_double::{Fault, Search};
use super::{Web, command, wait};
use crate::world::{Ran, run, scrubbed};

const INDEXES: [(&str, &str); 3] = [("award", "1"), ("experiment", "1"), ("snp", "0")];

/// Runs in a folder that is kept for their receipts.
struct Terminal(TempDir);

impl Terminal {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.0.path());
        command.arg("wait-healthy").args(["--interval", "20ms"]).args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    async fn set(&self, search: &Search, replicas: &str) -> Ran {
        self.run(&["--action", "set-replicas", "--es", &search.url, "--replicas", replicas]).await
    }

    async fn restore(&self, search: &Search) -> Ran {
        self.run(&["--action", "restore-replicas", "--es", &search.url]).await
    }
}

fn counts(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, count)| ((*name).to_owned(), (*count).to_owned())).collect()
}

#[tokio::test]
async fn the_colour_the_nodes_and_the_reason() {
    let search = Search::start("5.6.16", 5, &INDEXES).await;
    let once = async |more: &[&str]| wait(&[&["--once", "--es", &search.url], more].concat(), &[]).await;
    let ran = once(&["--es-nodes", "6"]).await.expect(0);
    assert!(ran.stdout.contains("v37-cluster is green, 6 nodes, 5 shards, version 5.6.16"), "{}", ran.stdout);
    once(&["--es-nodes", "7"]).await.expect(1).says(&[
        "it has 6 nodes (v37-data0, v37-data1, v37-data2, v37-data3, v37-data4, and 1 more), want 7",
    ]);
    once(&["--es-node", "v37-master", "--es-node", "v37-data9"])
        .await
        .expect(1)
        .says(&["it does not see the node v37-data9", "it has nodes that are not named: v37-data0, "]);

    search.set("award", "5");
    let yellow = format!("{}=yellow", search.url);
    once(&[]).await.expect(1).says(&[
        "it is yellow, want green: 1 of 9 shards is unassigned (award yellow)",
        "the replica of shard 0 of award is unassigned (REPLICA_ADDED): a copy of this shard is already allocated to this node (same_shard, 5 nodes)",
    ]);
    let ran = wait(&["--once", "--format", "json", "--es", &yellow], &[]).await.expect(0).json();
    assert_eq!(ran["probes"][0]["details"]["unassigned-shards"], 1);
    search.state().red = true;
    wait(&["--once", "--es", &yellow], &[]).await.expect(1).says(&["it is red, want yellow"]);
    assert!(search.writes().is_empty());
}

#[tokio::test]
async fn a_cluster_that_becomes_green_is_waited_for() {
    let search = Search::start("opensearch 2.11.0", 3, &INDEXES).await;
    search.state().slow = 3;
    let settled = format!("{}=settled", search.url);
    let ran = wait(&["--interval", "20ms", "--es", &settled], &[]).await.expect(0);
    ran.says(&["waiting for the search cluster at", "it is yellow, want green, 1 is starting"]);
}

#[tokio::test]
async fn what_is_no_cluster_or_lets_nobody_in_says_so() {
    let page = Web::start("200 OK", "<h1>Kibana</h1>").await;
    wait(&["--once", "--es", &page.url], &[])
        .await
        .expect(1)
        .says(&["it does not answer as Elasticsearch does", "the cluster's HTTP port"]);
    let other = Web::start("200 OK", r#"{"status":"ok"}"#).await;
    wait(&["--once", "--es", &other.url], &[])
        .await
        .expect(1)
        .says(&["it does not answer as Elasticsearch does"]);

    let search = Search::start("8.17.0", 3, &INDEXES).await;
    search.state().authorization = Some("ApiKey c2VzYW1lLTQ3MTE=");
    let args = ["--once", "--es", &search.url];
    wait(&args, &[]).await.expect(1).says(&[
        "HTTP 401 Unauthorized: missing authentication credentials",
        "--es-header-env authorization=VARIABLE",
    ]);
    let with = [&args[..], &["--es-header-env", "authorization=ES_AUTH"]].concat();
    wait(&with, &[("ES_AUTH", "ApiKey c2VzYW1lLTQ3MTE=")]).await.expect(0);
    wait(&with, &[]).await.expect(2).says(&["ES_AUTH", "it is not set, or empty"]);
    // A token of the site is not for the cluster.
    wait(&[&args[..], &["--bearer-env", "TOKEN"]].concat(), &[("TOKEN", "sesame-4711")]).await.expect(2);
}

#[tokio::test]
async fn copies_are_saved_set_and_restored_in_every_version() {
    for version in ["5.6.16", "6.8.23", "7.7.1", "7.17.0", "8.17.0", "opensearch 1.3.20", "opensearch 3.1.0"]
    {
        let search = Search::start(version, 5, &INDEXES).await;
        let terminal = Terminal::new();
        let ran = terminal.set(&search, "2").await.expect(0);
        ran.says(&[
            "save the numbers of copies of 3 indexes in the cluster (template cutover-saved-replicas)",
            "set number_of_replicas of 1 index from 0 to 2",
            "set number_of_replicas of 2 indexes from 1 to 2",
            "undo: set it to 1 again",
            "waiting for the search cluster at",
        ]);
        assert_eq!(
            search.replicas(),
            counts(&[("award", "2"), ("experiment", "2"), ("snp", "2")]),
            "{version}"
        );
        assert_eq!(search.templates(), ["cutover-saved-replicas"], "{version}");
        // A second time, nothing is written.
        let before = search.writes().len();
        let ran = terminal
            .set(&search, "2")
            .await
            .expect(0)
            .says(&["number_of_replicas is 2 in v37-cluster already"]);
        assert!(ran.stdout.contains("changed=false"), "{}", ran.stdout);
        assert_eq!(search.writes().len(), before, "{version}");
        // From another machine, where there is no receipt.
        Terminal::new().restore(&search).await.expect(0);
        assert_eq!(search.replicas(), counts(&INDEXES), "{version}");
        assert_eq!(search.templates(), [""; 0], "{version}");
        let before = search.writes().len();
        Terminal::new()
            .restore(&search)
            .await
            .expect(0)
            .says(&["no number of copies is saved in v37-cluster"]);
        assert_eq!(search.writes().len(), before, "{version}");
    }
}

#[tokio::test]
async fn a_receipt_takes_back_what_was_set_and_what_was_restored() {
    let search = Search::start("7.17.0", 5, &INDEXES).await;
    let terminal = Terminal::new();
    let set = ["--action", "set-replicas", "--es", &search.url, "--replicas", "2", "--receipt", "set.json"];
    terminal.run(&set).await.expect(0);
    terminal
        .run(&["--undo", "set.json"])
        .await
        .expect(0)
        .says(&["set number_of_replicas of 2 indexes from 2 to 1"]);
    assert_eq!((search.replicas(), search.templates()), (counts(&INDEXES), Vec::new()));
    terminal.run(&["--undo", "set.json"]).await.expect(0).says(&[]);

    terminal.run(&["--action", "set-replicas", "--es", &search.url, "--replicas", "2"]).await.expect(0);
    let restore = ["--action", "restore-replicas", "--es", &search.url, "--receipt", "restore.json"];
    terminal.run(&restore).await.expect(0);
    terminal.run(&["--undo", "restore.json"]).await.expect(0);
    assert_eq!(search.replicas().into_values().collect::<Vec<_>>(), ["2", "2", "2"]);
    assert_eq!(search.templates(), ["cutover-saved-replicas"]);
    // And what was saved serves again, unless somebody has been there.
    search.set("award", "3");
    terminal.restore(&search).await.expect(3).says(&["award has 3, and had 1", "nothing was changed"]);
    terminal.run(&["--undo", "set.json"]).await.expect(0);
    search.set("award", "2");
    terminal.restore(&search).await.expect(0);
    assert_eq!(search.replicas(), counts(&INDEXES));
}

#[tokio::test]
async fn killed_at_any_write_and_run_again_it_ends_the_same() {
    let end = counts(&[("award", "2"), ("experiment", "2"), ("snp", "2")]);
    let writes = {
        let search = Search::start("7.17.0", 5, &INDEXES).await;
        Terminal::new().set(&search, "2").await.expect(0);
        Terminal::new().restore(&search).await.expect(0);
        search.writes().len()
    };
    assert_eq!(writes, 6, "save, two settings; two settings, drop");
    for nth in 1..=writes {
        for fault in [Fault::HoldBefore(nth), Fault::HoldAfter(nth)] {
            let search = Search::start("7.17.0", 5, &INDEXES).await;
            let terminal = Terminal::new();
            let setting = nth <= 3;
            if !setting {
                terminal.set(&search, "2").await.expect(0);
            }
            search.state().fault = Some(fault);
            let verb = if setting { "set-replicas" } else { "restore-replicas" };
            let mut args = vec!["--action", verb, "--es", &search.url];
            if setting {
                args.extend(["--replicas", "2"]);
            }
            let mut child =
                terminal.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            search.held().await;
            child.kill().await.unwrap();
            search.state().fault = None;
            // On a machine of its own, as a job that is run again.
            Terminal::new().run(&args).await.expect(0);
            let expected = if setting { end.clone() } else { counts(&INDEXES) };
            assert_eq!(search.replicas(), expected, "{fault:?}");
            Terminal::new().restore(&search).await.expect(0);
            assert_eq!(search.replicas(), counts(&INDEXES), "{fault:?}: nothing that was saved is lost");
            assert_eq!(search.templates(), [""; 0], "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_looked_for_and_what_a_busy_server_did_not_do_is_tried_again() {
    let search = Search::start("7.17.0", 5, &INDEXES).await;
    for nth in 1..=3 {
        search.state().writes.clear();
        search.state().fault = Some(Fault::Lost(nth));
        Terminal::new().set(&search, "2").await.expect(0);
        search.state().fault = None;
        Terminal::new().restore(&search).await.expect(0);
        assert_eq!(search.replicas(), counts(&INDEXES));
    }
    search.state().writes.clear();
    search.state().fault = Some(Fault::Unavailable(3));
    Terminal::new().set(&search, "2").await.expect(0).says(&[
        "set number_of_replicas to 2: ",
        "failed to process cluster event within 30s",
        "; trying again",
    ]);
    search.state().fault = None;
    Terminal::new().restore(&search).await.expect(0);
    search.state().writes.clear();
    let fault = |status, kind, reason| Fault::Refused { from: 3, times: 1000, status, kind, reason };
    search.state().fault = Some(fault(503, "process_cluster_event_timeout_exception", "busy"));
    Terminal::new().set(&search, "2").await.expect(4).says(&[
        "busy",
        "done: save the numbers of copies of 3 indexes",
        "in doubt: set number_of_replicas of 2 indexes from 1 to 2",
    ]);
    search.state().writes.clear();
    // A full queue has done nothing, and the copies are saved already.
    search.state().fault = Some(Fault::Refused {
        from: 1,
        times: 1000,
        status: 429,
        kind: "es_rejected_execution_exception",
        reason: "full",
    });
    Terminal::new().set(&search, "2").await.expect(1).says(&["full", "nothing was changed"]);
    search.state().fault = None;
    Terminal::new().set(&search, "2").await.expect(0);
    Terminal::new().restore(&search).await.expect(0);
    assert_eq!(search.replicas(), counts(&INDEXES));
}

#[tokio::test]
async fn whoever_is_there_at_the_same_moment_is_not_overruled() {
    let search = Search::start("7.17.0", 5, &INDEXES).await;
    search.state().fault = Some(Fault::Outrun(1));
    Terminal::new()
        .set(&search, "2")
        .await
        .expect(7)
        .says(&["another run has saved or dropped some meanwhile", "nothing was changed"]);
    assert_eq!(search.replicas(), counts(&INDEXES));
    search.state().templates.clear();
    search.state().writes.clear();
    search.state().fault = Some(Fault::Meddled(1));
    Terminal::new().set(&search, "2").await.expect(7).says(&[
        "somebody has changed it meanwhile: award has 3",
        "done: save the numbers of copies",
        "not done: set number_of_replicas of 2 indexes from 1 to 2",
    ]);
    assert_eq!(search.replicas()["award"], "3");
    Terminal::new().set(&search, "2").await.expect(3).says(&["award has 3, and had 1"]);
}

#[tokio::test]
async fn what_would_lose_data_or_never_end_is_refused() {
    let search = Search::start("8.17.0", 2, &INDEXES).await;
    let terminal = Terminal::new();
    terminal.set(&search, "2").await.expect(3).says(&[
        "the cluster sees 2 data nodes: two copies of a shard never share one, so 3 of them are needed",
        "--es-nodes N",
    ]);
    search.state().red = true;
    terminal
        .set(&search, "0")
        .await
        .expect(3)
        .says(&["a copy that is dropped may be the last one: award, experiment"]);
    search.state().red = false;
    terminal
        .set(&search, "0")
        .await
        .expect(0)
        .says(&["warning: copies are dropped", "a node that is lost takes its shards"]);
    terminal
        .set(&search, "1")
        .await
        .expect(3)
        .says(&["a terminal has set them to 0 at ", "--action restore-replicas"]);
    terminal.restore(&search).await.expect(0);
    assert_eq!(search.replicas(), counts(&INDEXES));
    // What is meant to stay is not in the way of the next release.
    terminal.set(&search, "1").await.expect(0);
    let forget = ["--action", "forget-replicas", "--es", &search.url];
    terminal.run(&forget).await.expect(0).says(&["drop the saved numbers of copies of 1 index"]);
    terminal.run(&forget).await.expect(0).says(&["no number of copies is saved in v37-cluster"]);
    assert_eq!(search.replicas(), counts(&[("award", "1"), ("experiment", "1"), ("snp", "1")]));
    terminal.set(&search, "0").await.expect(0);
}

#[tokio::test]
async fn indexes_that_are_not_the_users_are_left_alone_and_said() {
    let search = Search::start("8.17.0", 5, &INDEXES).await;
    search.add(".kibana_7.17.2_001", &[("index.auto_expand_replicas", "0-1"), ("index.hidden", "true")]);
    search.add("audit", &[("index.auto_expand_replicas", "0-all")]);
    search.add("metrics", &[("index.hidden", "true")]);
    search.add("archive", &[]);
    search.state().indexes.get_mut("archive").unwrap().open = false;
    let left = |search: &Search| {
        let all = search.replicas();
        [".kibana_7.17.2_001", "audit", "metrics", "archive"].map(|name| all[name].clone())
    };
    let terminal = Terminal::new();
    terminal.set(&search, "2").await.expect(0).says(&[
        "left alone, since their names begin with a dot, as those of the cluster's own do: .kibana_7.17.2_001",
        "left alone, since they choose their number of copies themselves (index.auto_expand_replicas): audit",
        "left alone, since they are hidden: metrics",
        "left alone, since they are closed: archive",
    ]);
    assert_eq!(left(&search), ["1", "1", "1", "1"]);
    let named = async |name: &str| {
        let args = ["--action", "set-replicas", "--es", &search.url, "--replicas", "2", "--es-index", name];
        terminal.run(&args).await
    };
    named("audit").await.expect(3).says(&["index.auto_expand_replicas is 0-all", "would be overridden"]);
    named("archive").await.expect(3).says(&["the index archive is closed"]);
    named("awards").await.expect(3).says(&["there is no index awards", "did you mean award?"]);
    named("metrics").await.expect(0);
    assert_eq!(search.replicas()["metrics"], "2");
    // One that was made anew meanwhile has nothing to be restored to, and one that is gone neither.
    search.add("award", &[("index.number_of_replicas", "2")]);
    search.state().indexes.remove("snp");
    terminal.restore(&search).await.expect(0).says(&[
        "award is left alone: it was made anew since, with 2",
        "snp is left alone: it is there no more",
    ]);
    assert_eq!(search.replicas()["award"], "2");
    assert_eq!(search.replicas()["metrics"], "1");
}

#[tokio::test]
async fn a_dry_run_and_a_template_of_somebody_else_change_nothing() {
    let search = Search::start("7.17.0", 5, &INDEXES).await;
    let terminal = Terminal::new();
    let set = ["--action", "set-replicas", "--es", &search.url, "--replicas", "2"];
    let other = [&set[..], &["--es-cluster", "v37-test-cluster"]].concat();
    terminal.run(&other).await.expect(3).says(&["it is the cluster v37-cluster, want v37-test-cluster"]);
    wait(&["--once", "--es", &search.url, "--es-cluster", "v37-test-cluster"], &[])
        .await
        .expect(3)
        .says(&["it is the cluster v37-cluster, want v37-test-cluster"]);
    let ran = terminal.run(&[&set[..], &["--dry-run"]].concat()).await.expect(0);
    assert!(ran.stdout.contains("dry run: 3 changes would be made"), "{}", ran.stdout);
    let foreign: Value = serde_json::from_str(r#"{"template":{},"_meta":{"owner":"somebody"}}"#).unwrap();
    search.state().templates.insert("cutover-saved-replicas".to_owned(), foreign);
    terminal.run(&set).await.expect(3).says(&["this version did not write it"]);
    assert!(search.writes().is_empty());
    assert_eq!(search.replicas(), counts(&INDEXES));
}

#[tokio::test]
async fn what_changes_replicas_is_about_one_cluster_and_nothing_else() {
    let es = ["--es", "http://127.0.0.1:1"];
    for (more, why) in [
        (&["--action", "set-replicas"][..], "nothing says how many"),
        (&["--action", "set-replicas", "--replicas", "2", "--once"], "leave --once out"),
        (
            &["--action", "set-replicas", "--replicas", "2", "--es", "http://127.0.0.1:2"],
            "name it with one --es",
        ),
        (
            &["--action", "set-replicas", "--replicas", "2", "--url", "http://127.0.0.1:2"],
            "in a call of its own",
        ),
        (&["--action", "restore-replicas", "--replicas", "2"], "leave --replicas out"),
        (&["--replicas", "2"], "add --action set-replicas"),
    ] {
        wait(&[&es[..], more].concat(), &[]).await.expect(2).says(&[why]);
    }
    let ran = run(command(&[&es[..], &["--action", "set-replicas", "--replicas", "2"]].concat(), &[])).await;
    ran.expect(1).says(&["connection refused by 127.0.0.1:1", "nothing was changed"]);
}
