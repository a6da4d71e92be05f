//! Whether what was read back is what was meant.

use ecs::short;
use kit::Failure;
use serde_json::Value;

use crate::canonical::canonical;
use crate::difference::difference;
use crate::observe::Definition;

/// The revision read back is active, and every field that was sent is there as it was sent. Fields that AWS filled in
/// beside them are its own.
pub(crate) fn verify(sent: &Value, seen: &Definition) -> Result<(), Failure> {
    if seen.status != "ACTIVE" {
        return Err(Failure::unverified(format!("verify {}", short(&seen.arn)))
            .because(format!("its status is {}, not ACTIVE", seen.status)));
    }
    if holds(&seen.document, sent) {
        return Ok(());
    }
    Err(Failure::unverified(format!("verify {}", short(&seen.arn)))
        .because(format!("what ECS keeps is not what was sent:\n{}", difference(sent, &seen.document)))
        .help("do not deploy it; take it back with --undo and the receipt"))
}

/// Whether a registered document has every field that was sent, as it was sent.
pub(crate) fn holds(registered: &Value, sent: &Value) -> bool {
    contains(&canonical(registered), &canonical(sent))
}

fn contains(seen: &Value, sent: &Value) -> bool {
    match (seen, sent) {
        (Value::Object(seen), Value::Object(sent)) => {
            sent.iter().all(|(key, sent)| seen.get(key).is_some_and(|seen| contains(seen, sent)))
        }
        (Value::Array(seen), Value::Array(sent)) => {
            seen.len() == sent.len() && seen.iter().zip(sent).all(|(seen, sent)| contains(seen, sent))
        }
        _ => seen == sent,
    }
}

/// Nothing of the run is active any more; the error is what still is.
pub(crate) fn deregistered(left: &[Definition]) -> Result<(), String> {
    match left.first() {
        None => Ok(()),
        Some(left) => Err(format!("ECS still says that {} is active", short(&left.arn))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(document: Value) -> Definition {
        Definition {
            arn: "x/web:2".into(),
            family: "web".into(),
            revision: 2,
            status: "ACTIVE".into(),
            document,
        }
    }

    #[test]
    fn defaults_that_ecs_fills_in_are_no_difference_and_a_lost_field_is() {
        let sent = json!({"containerDefinitions": [{"name": "a", "new": {"x": 1}}]});
        assert!(
            verify(
                &sent,
                &seen(
                    json!({"volumes": [], "containerDefinitions": [{"name": "a", "cpu": 0, "new": {"x": 1}}]})
                )
            )
            .is_ok()
        );
        let lost =
            verify(&sent, &seen(json!({"containerDefinitions": [{"name": "a", "cpu": 0}]}))).unwrap_err();
        assert_eq!(lost.code(), kit::Code::Unverified);
    }
}
