//! The writing calls.

use aws::{RawAnswer, failure, send_json, without_retry};
use ecs::short;
use kit::{Cx, Failure, Receipt};
use serde_json::{Value, json};

use crate::document::fingerprint;
use crate::observe::{Clients, Definition, Observed, definition};

/// The id of the registering action.
pub(crate) const REGISTER: &str = "register-task-definition";

/// How often a registration is sent when its answer does not come.
const TRIES: u32 = 3;

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
    let Definition { family, revision: before, .. } = &observed.newest;
    let inverse = json!({"family": family, "after-revision": before, "fingerprint": fingerprint(document)});
    cx.act(REGISTER, &inverse, async {
        let mut tries = 1;
        loop {
            let failed = match register_once(clients, family, document).await {
                Ok(arn) => return Ok(arn),
                Err(failed) if failed.is_transient() && tries < TRIES => failed,
                Err(failed) => return Err(failed),
            };
            cx.report()
                .say(&format!("{failed}: {}; looking whether it took effect", failed.chain().join(": ")));
            // When even the look fails, the registration stays in doubt.
            let newest = definition(cx, clients, family).await.map_err(|failure| failure.untouched(false))?;
            if newest.revision > *before && fingerprint(&newest.document) == fingerprint(document) {
                return Ok(newest.arn);
            }
            tries += 1;
        }
    })
    .await
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
            let passes_role = format!("{error:?}").contains("iam:PassRole");
            let permission = if passes_role { "iam:PassRole" } else { "ecs:RegisterTaskDefinition" };
            let roles = "the definition's taskRoleArn and executionRoleArn".to_owned();
            let resource = if passes_role { roles } else { format!("task-definition/{family}:*") };
            failure(&attempt, permission, &resource, error)
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
