//! Steps whose world is servers, or files alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::nginx::{self, Machine, Nginx};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Terminal;
use crate::world::scrubbed;

/// A server that tells its version: to each request the next of these, and the last from then on.
struct App {
    address: String,
    serving: JoinHandle<()>,
}

impl App {
    async fn start(versions: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                // A connection that asks for nothing is one that sees whether there is a server.
                if !stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    continue;
                }
                let turn = asked.fetch_add(1, Ordering::Relaxed).min(versions.len() - 1);
                let body = json!({"version": versions[turn]}).to_string();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, serving }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn wait_healthy() {
    let app = App::start(&["2.0.1", "2.0.1", "2.1.0"]).await;
    let dir = tempfile::tempdir().unwrap();
    Terminal::new("wait-healthy", &scrubbed("cutover", dir.path()))
        .flag("interval", "10ms")
        .shown("10ms", "5s")
        .shown(format!("http://{}", app.address), "http://rally.internal")
        .shown(&app.address, "rally.internal:80")
        .figure("waited=", "5")
        .plays()
        .await;
}

#[tokio::test]
async fn swap_upstream() {
    if nginx::installation().is_none() {
        testkit::inputs::skipped("the transcript of swap-upstream: there is no nginx on this machine");
        return;
    }
    let (old, new) = (App::start(&["v31"]).await, App::start(&["v37"]).await);
    let machine = Machine::local().unwrap();
    let http = format!(
        "    upstream production {{\n        server {};\n        keepalive 30;\n    }}\n    server {{\n        listen 127.0.0.1:PORT;\n        location / {{ proxy_pass http://production; }}\n    }}",
        old.address
    );
    let nginx = Nginx::start(&machine, &http).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    // The lines left out are those after which an old worker may be told of that is about to end.
    Terminal::new("swap-upstream", &scrubbed("cutover", dir.path()))
        .flag("nginx", format!("www={}", nginx.program.display()))
        .flag("connect-to", format!("www=127.0.0.1:{}", nginx.port))
        .shown(nginx.config.display().to_string(), "/etc/nginx/nginx.conf")
        .shown(&old.address, "10.0.4.31:6543")
        .shown(&new.address, "10.0.4.37:6543")
        .shown(format!("127.0.0.1:{}", nginx.port), "127.0.0.1:80")
        .plays()
        .await;
}

/// A receipt as docs/receipts.md has it, of a job of a release of Rally.
fn receipt(step: &str, minute: u8, action: Value, outputs: Value, verdict: Value) -> Value {
    let mut action = action;
    action["run"] = json!(format!("run-of-{step}"));
    json!({
        "schema": "cutover-receipt/1", "step": step, "version": "0.1.0", "run": format!("run-of-{step}"),
        "arguments": {}, "account": "123456789012", "region": "us-east-1", "github": null,
        "started": format!("2025-11-18T09:{minute:02}:00Z"),
        "ended": format!("2025-11-18T09:{:02}:40Z", minute + 1),
        "observed": null, "plan": null, "actions": [action], "outputs": outputs, "verdict": verdict, "undo_of": null,
    })
}

#[tokio::test]
async fn release_report() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("receipts");
    std::fs::create_dir(&folder).unwrap();
    let register = json!({
        "id": "register", "does": "register a new revision of rally-prod", "undo": "deregister it", "reversible": true,
        "state": "done", "inverse": {"arn": "arn:aws:ecs:us-east-1:123456789012:task-definition/rally-prod:42"}, "result": null,
    });
    let deploy = json!({
        "id": "update-service", "does": "put rally-prod-service on rally-prod:42", "undo": "put it back on rally-prod:41",
        "reversible": true, "state": "done", "inverse": {}, "result": null,
    });
    let receipts = [
        receipt(
            "register-task-def",
            30,
            register,
            json!({"changed": "true", "revision": "42"}),
            json!({"code": 0, "message": "registered rally-prod:42"}),
        ),
        receipt(
            "deploy-service",
            32,
            deploy,
            json!({"changed": "true", "rolled-back": "true"}),
            json!({
                "code": 5, "message": "deploy rally-prod:42 to rally-prod-service",
                "causes": ["ECS rolled the deployment back", "container rally-prod-webapp exited with code 1"],
                "help": ["look at the container's log"], "state": ["rally-prod:41 serves"],
            }),
        ),
    ];
    for receipt in &receipts {
        let name = receipt["step"].as_str().unwrap();
        std::fs::write(folder.join(format!("{name}.json")), receipt.to_string()).unwrap();
    }
    Terminal::new("release-report", &scrubbed("cutover", dir.path())).plays().await;
}
