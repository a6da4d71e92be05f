//! The writing calls.

use std::time::Duration;

use aws::{RawAnswer, failure, send_json, without_retry};
use ecs::short;
use kit::{Cx, Failure, Receipt};
use serde_json::{Value, json};

use crate::canonical::fingerprint;
use crate::observe::{Clients, Definition, Observed, after};
use crate::verify::holds;

/// The id of the registering action.
pub(crate) const REGISTER: &str = "register-task-definition";

/// How often a registration is sent when its answer does not come.
const TRIES: u32 = 3;

/// Before each look after a registration without an answer, and before it is sent again. ECS may still be at work on it, or show it
/// late (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>, on eventual consistency); a throttled account needs
/// the time too, at a quota of one registration a second
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html>).
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];

pub(crate) fn deregister_id(arn: &str) -> String {
    format!("deregister-{}", short(arn).replace(':', "-"))
}

/// Registers the document and returns the new revision's ARN.
///
/// `RegisterTaskDefinition` has no client token and makes a new revision each time, so it is sent without automatic
/// retries: when the answer does not come, a look tells whether it took effect.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>
pub(crate) async fn register(
    cx: &Cx,
    clients: &Clients,
    document: &Value,
    observed: &Observed,
) -> Result<String, Failure> {
    let family = document["family"].as_str().unwrap_or_default();
    let before = observed.newest.as_ref().map_or(0, |newest| newest.revision);
    let inverse = json!({"family": family, "after-revision": before, "fingerprint": fingerprint(document)});
    cx.act(REGISTER, &inverse, async {
        let mut tries = 1;
        let mut in_doubt = false;
        loop {
            let failed = match register_once(clients, family, document).await {
                Ok(arn) => return Ok(arn),
                Err(failed) => failed,
            };
            // That this try was refused says nothing of the one before.
            in_doubt |= !failed.is_untouched();
            let is_transient = failed.is_transient();
            let failed = failed.untouched(!in_doubt);
            if !is_transient {
                return Err(failed);
            }
            cx.report()
                .say(&format!("{failed}: {}; looking whether it took effect", failed.chain().join(": ")));
            for pause in LOOKS {
                cx.pause(pause).await;
                if let Some(arn) = took_effect(cx, clients, family, before, document).await? {
                    return Ok(arn);
                }
            }
            if tries == TRIES {
                return Err(failed);
            }
            tries += 1;
        }
    })
    .await
}

/// The revision that a registration without an answer made, if it did. When even the look fails, it stays in doubt.
async fn took_effect(
    cx: &Cx,
    clients: &Clients,
    family: &str,
    before: i64,
    document: &Value,
) -> Result<Option<String>, Failure> {
    let newer = after(cx, clients, family, before).await.map_err(|failure| {
        failure
            .untouched(false)
            .state(format!("whether a revision of {family} after {before} was registered is not known"))
    })?;
    let ours = newer.into_iter().find(|seen| seen.status == "ACTIVE" && holds(&seen.document, document));
    Ok(ours.map(|definition| definition.arn))
}

async fn register_once(clients: &Clients, family: &str, document: &Value) -> Result<String, Failure> {
    let raw = RawAnswer::default();
    // The SDK insists on these two; the document takes the place of the body that it makes of them.
    let placeholder = aws_sdk_ecs::types::ContainerDefinition::builder().build();
    let attempt = format!("register a revision of {family}");
    clients
        .ecs
        .register_task_definition()
        .family(family)
        .container_definitions(placeholder)
        .customize()
        .config_override(aws_sdk_ecs::config::Config::builder().retry_config(without_retry()))
        .interceptor(raw.clone())
        .mutate_request(send_json(document))
        .send()
        .await
        .map_err(|error| {
            // "... is not authorized to perform: iam:PassRole on resource: arn:aws:iam::...": registering needs more
            // permissions than its own, and only the text says which one is missing.
            let text = error.as_service_error().and_then(|error| error.meta().message()).unwrap_or_default();
            let named = text.split_once("to perform: ").and_then(|(_, rest)| {
                let (action, rest) = rest.split_once(" on resource: ")?;
                Some((action.to_owned(), rest.split_whitespace().next()?.to_owned()))
            });
            let (permission, resource) = named.unwrap_or_else(|| {
                ("ecs:RegisterTaskDefinition".to_owned(), format!("task-definition/{family}:*"))
            });
            failure(&attempt, &permission, &resource, error)
        })?;
    let answer = raw.json().map_err(|error| Failure::failed(&attempt).because(error))?;
    answer["taskDefinition"]["taskDefinitionArn"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::failed(attempt).because("the answer has no ARN"))
}

/// Deregisters what an earlier run registered, and marks it so in that run's receipt.
pub(crate) async fn deregister(
    cx: &Cx,
    clients: &Clients,
    receipt: &Receipt,
    registered: &[Definition],
) -> Result<(), Failure> {
    for Definition { arn, .. } in registered {
        cx.act(&deregister_id(arn), &Value::Null, async {
            // Deregistering an inactive revision changes nothing, so the SDK's own retries serve.
            let call = clients.ecs.deregister_task_definition().task_definition(arn).send();
            call.await.map(|_| ()).map_err(|error| {
                failure(format!("deregister {}", short(arn)), "ecs:DeregisterTaskDefinition", "*", error)
            })
        })
        .await?;
    }
    for action in receipt.undoable() {
        cx.mark_undone(action)?;
    }
    Ok(())
}
