//! `--undo` with a file that is no receipt, or one that somebody has edited.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::judge::complaints;
use super::{AT_ONCE, Nothing, flags};

/// A receipt by `docs/receipts.md`, as far as `--undo` reads it.
fn receipt(step: &str, arguments: Value, inverse: Value) -> Value {
    json!({
        "schema": "cutover-receipt/1", "step": step, "version": "0", "run": "planted\u{1b}[2J", "arguments": arguments,
        "account": null, "region": null, "github": null, "started": "2026-11-21T10:00:00Z", "ended": null,
        "observed": inverse, "plan": null, "outputs": {}, "verdict": null, "undo_of": null,
        "actions": [{
            "id": "planted\n::error::planted", "run": "1", "does": "planted\u{202e}\n##[error]planted", "undo": "planted",
            "reversible": true, "state": "done", "inverse": inverse, "result": inverse,
        }],
    })
}

fn files(step: &str) -> Vec<(&'static str, Vec<u8>)> {
    let arguments = json!({"planted\n::error::x": "x"});
    let whole = |arguments: Value, inverse: Value| receipt(step, arguments, inverse).to_string().into_bytes();
    let mut cut = whole(json!({}), Value::Null);
    cut.truncate(cut.len() / 2);
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; 4096]),
        ("no UTF-8", vec![b'"', 0xff, 0xfe, b'"']),
        ("cut off", cut),
        // serde_json's own limit is 128: https://docs.rs/serde_json/latest/serde_json/struct.Deserializer.html
        ("deep", "[".repeat(10_000).into_bytes()),
        ("of another step", receipt("planted\n::error::x", json!({}), Value::Null).to_string().into_bytes()),
        ("with an argument that nobody knows", whole(arguments, Value::Null)),
        ("without inverse", whole(json!({}), Value::Null)),
        ("with an inverse of the wrong type", whole(json!({"timeout": 7}), json!(["planted", {"kind": -1}]))),
        (
            "with texts",
            whole(json!({}), json!({"kind": "planted\n::error::planted\u{1b}[2J", "name": "planted"})),
        ),
    ]
}

#[tokio::test]
async fn no_receipt_does_harm() {
    let world = Nothing::start().await;
    let folder = tempfile::tempdir().unwrap();
    let steps = flags::steps().await;
    let mut runs = Vec::new();
    for step in &steps {
        for (number, (name, bytes)) in files(&step.name).into_iter().enumerate() {
            let file = folder.path().join(format!("{}-{number}.json", step.name));
            std::fs::write(&file, bytes).unwrap();
            runs.push((step, name, file.display().to_string()));
        }
    }
    let judged = runs.into_iter().map(async |(step, name, file)| {
        let mut args = world.given(&step.name);
        args.extend(["--timeout", "1s", "--undo", &file].map(str::to_owned));
        let mut wrong = Vec::new();
        for inputs in [None, Some(&[][..])] {
            let ended = world.run(&step.name, &args, inputs).await;
            let told: String = String::from_utf8_lossy(&ended.stderr).chars().take(600).collect();
            let mut wrong_here = complaints(&ended, "", None, &step.outputs, inputs.is_some());
            let said = String::from_utf8_lossy(&ended.stdout).contains("nothing to take back");
            if ended.code == Some(0) && !said {
                wrong_here.push("it ended well".to_owned());
            }
            wrong.extend(
                wrong_here.into_iter().map(|what| format!("{} {name}: {what}\n    {told:?}", step.name)),
            );
        }
        wrong
    });
    let wrong: BTreeSet<String> = futures::stream::iter(judged)
        .buffer_unordered(AT_ONCE)
        .flat_map(futures::stream::iter)
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} things are wrong:\n{}",
        wrong.len(),
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
    assert!(world.front.writes().is_empty() && world.github.writes().is_empty());
}
