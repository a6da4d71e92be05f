//! ENCODE's indexers: answers in the shape that the listener's source gives them, one after another.
//!
//! Source: <https://github.com/ENCODE-DCC/snovault/blob/4fac66c11fa8a76ff396cd26bcbcfe6bf539c264/src/snovault/elasticsearch/es_index_listener.py>

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::wait;

/// An indexer that gives its answers in order, and the last one from then on.
struct Indexer {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Indexer {
    async fn start(answers: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            let mut next = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..length]).into_owned();
                seen.lock().unwrap().push(head);
                let body = answers[next.min(answers.len() - 1)].to_string();
                next += 1;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        Self { url, asked, serving }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The listener's status after the round that ended at this minute.
fn status(status: &str, minute: u32, snapshot: &str) -> Value {
    let at = format!("2016-12-09T19:{minute:02}:00.654321");
    json!({
        "status": status, "started": "2016-12-09T17:00:00.123456", "timeout": 60, "listening": false,
        "recovery": true, "snapshot": snapshot, "max_xid": 0, "timestamp": at, "errors": [],
        "results": [
            {"xmin": 5990, "txn_count": 3, "indexed": 7, "errors": [], "lag": "0:03:00.500000", "timestamp": "2016-12-09T18:53:00"},
            {"xmin": 5980, "txn_count": 9, "indexed": 2000, "errors": [], "lag": "0:12:00.250000", "timestamp": "2016-12-09T18:40:00"},
        ],
        "last_result": {"xmin": 6000, "txn_count": 0, "stats": {}, "timestamp": at},
    })
}

#[tokio::test]
async fn the_first_indexing_is_waited_for() {
    let starting = json!({"status": "starting listener", "started": "2016-12-09T17:00:00.123456", "errors": [], "results": []});
    let new = Indexer::start(vec![
        starting,
        status("indexing", 1, "6000:6000:"),
        status("waiting", 2, "6000:6000:"),
    ])
    .await;
    let indexed = format!("{}=indexed", new.url);
    let args = ["--interval", "20ms", "--indexer", &indexed, "--indexer-max-lag", "5m"];
    let ran = wait(&args, &[])
        .await
        .expect(0)
        .says(&["it is starting", "it is indexing since 2016-12-09T19:01:00.654321"]);
    assert!(ran.stdout.contains("lags 12m 0s, 3m 0s, falling"), "{}", ran.stdout);
    assert!(new.asked()[0].starts_with("GET /_indexer HTTP/1.1"), "{:?}", new.asked());
    let primary = format!("{}=primary", new.url);
    wait(&["--once", "--indexer", &primary], &[]).await.expect(1).says(&["recovery: true, want false"]);
}

#[tokio::test]
async fn an_indexer_that_lists_all_that_it_did_is_read_whole() {
    let mut long = status("waiting", 1, "6000:6000:");
    let uuids: Vec<String> = (0..40_000).map(|n| format!("4cead359-10e9-49a8-9d20-{n:012}")).collect();
    long["results"][0]["updated"] = json!(uuids);
    long["results"][1]["errors"] = json!([{"error": "TransportError(500)", "uuid": uuids[39_999]}]);
    let indexer = Indexer::start(vec![long]).await;
    let indexed = format!("{}=indexed", indexer.url);
    wait(&["--once", "--indexer", &indexed], &[]).await.expect(0);
}

#[tokio::test]
async fn snapshots_agree_in_two_rounds_of_both_and_not_in_one_that_is_read_twice() {
    let at = |minute| status("waiting", minute, "6000:6000:");
    // The new one is behind at first; then both stay where they are, and only their second round there counts.
    let old = Indexer::start(vec![at(1), at(1), at(1), at(1), at(2)]).await;
    let new = Indexer::start(vec![status("waiting", 1, "5990:5990:"), at(2), at(2), at(3), at(3)]).await;
    let args = ["--interval", "20ms", "--indexer-same", &old.url, "--indexer-same", &new.url];
    let ran = wait(&args, &[]).await.expect(0);
    assert_eq!((old.asked().len(), new.asked().len()), (5, 5));
    ran.says(&[
        "is at snapshot 5990:5990:",
        "all wait in recovery at snapshot 6000:6000:, seen so 1 of 2 times",
    ]);

    let stuck = Indexer::start(vec![at(1)]).await;
    let args = [
        "--interval",
        "20ms",
        "--timeout",
        "400ms",
        "--indexer-same",
        &old.url,
        "--indexer-same",
        &stuck.url,
    ];
    wait(&args, &[]).await.expect(6).says(&["seen so 1 of 2 times"]);
    let once = ["--once", "--indexer-same", &old.url, "--indexer-same", &stuck.url];
    wait(&once, &[]).await.expect(0);
}

#[tokio::test]
async fn what_is_no_indexer_and_one_that_is_compared_with_itself() {
    let page = Indexer::start(vec![json!({"@type": ["Portal"]})]).await;
    wait(&["--once", "--indexer", &page.url], &[])
        .await
        .expect(1)
        .says(&["it does not answer as ENCODE's indexer does", "/_indexer"]);
    let twice = ["--indexer-same", &page.url, "--indexer-same", &format!("{}/_indexer", page.url)];
    wait(&twice, &[]).await.expect(2).says(&["an indexer is always where it is itself"]);
    wait(&["--indexer-same", &page.url], &[]).await.expect(2).says(&["name two different ones"]);
    wait(&["--indexer", "http://127.0.0.1:1=waiting"], &[])
        .await
        .expect(2)
        .says(&["is no state of an indexer"]);
    wait(&["--es", "http://127.0.0.1:1", "--indexer-max-lag", "5m"], &[])
        .await
        .expect(2)
        .says(&["--indexer <URL[=STATE]>"]);
}

#[tokio::test]
async fn the_sites_token_goes_to_its_indexer() {
    let site = Indexer::start(vec![status("waiting", 1, "6000:6000:")]).await;
    let state = format!("{}/_indexer_state", site.url);
    let args = ["--once", "--indexer", &state, "--bearer-env", "TOKEN"];
    wait(&args, &[("TOKEN", "sesame-4711")]).await.expect(0);
    let head = &site.asked()[0];
    assert!(
        head.starts_with("GET /_indexer_state ") && head.contains("authorization: Bearer sesame-4711"),
        "{head}"
    );
}
