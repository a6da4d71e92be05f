//! A stack policy that denies replacing and deleting what holds data.

use changeset::judge::Rules;
use changeset::live::{Cfn, Stack};
use changeset::review::Tier;
use kit::{Cx, Failure};
use serde_json::{Value, json};

use crate::plan::policy_id;

/// Adds the denial to the stack's policy. False when it says so already, or nothing in the stack holds data.
pub(crate) async fn protect(
    cx: &Cx,
    cfn: &Cfn,
    label: &str,
    stack: &Stack,
    rules: &Rules,
) -> Result<bool, Failure> {
    let held: Vec<String> = cfn
        .resources(cx, &stack.id)
        .await?
        .into_iter()
        .filter(|resource| resource.status != "DELETE_COMPLETE")
        .filter(|resource| {
            rules.types.of(&resource.resource_type).is_some_and(|holds| holds.tier == Tier::Data)
        })
        .map(|resource| resource.logical_id)
        .collect();
    let present = cfn.stack_policy(cx, &stack.id).await?;
    let Some(policy) = policy(present.as_deref(), &held)? else { return Ok(false) };
    write(cx, cfn, label, &stack.id, present.as_deref(), &policy.to_string()).await?;
    Ok(true)
}

/// Gives a stack that was made again the policy that it had, unless it has one.
pub(crate) async fn restore(
    cx: &Cx,
    cfn: &Cfn,
    label: &str,
    stack_id: &str,
    policy: &str,
) -> Result<(), Failure> {
    if cfn.stack_policy(cx, stack_id).await?.is_some() {
        return Ok(());
    }
    write(cx, cfn, label, stack_id, None, policy).await?;
    cx.report().say(&format!("{label}: it has its policy again"));
    Ok(())
}

async fn write(
    cx: &Cx,
    cfn: &Cfn,
    label: &str,
    stack_id: &str,
    before: Option<&str>,
    policy: &str,
) -> Result<(), Failure> {
    let inverse = json!({ "stack": stack_id, "policy": before });
    cx.act(&policy_id(label), &inverse, cfn.set_stack_policy(stack_id, policy)).await
}

/// The policy with the denial in it; none when nothing is to be added.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/protect-stack-resources.html>
pub(crate) fn policy(present: Option<&str>, held: &[String]) -> Result<Option<Value>, Failure> {
    if held.is_empty() {
        return Ok(None);
    }
    let mut policy: Value = match present {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Failure::failed("read the stack's policy")
                .because(error)
                .help("look at it with aws cloudformation get-stack-policy")
        })?,
        // Everything that a policy does not allow is denied.
        None => json!({"Statement": [
            {"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"}]}),
    };
    let mut ids: Vec<String> = held.iter().map(|id| format!("LogicalResourceId/{id}")).collect();
    ids.sort();
    let denial = json!({"Effect": "Deny", "Action": ["Update:Replace", "Update:Delete"], "Principal": "*", "Resource": ids});
    let Some(statements) = policy.get_mut("Statement").and_then(Value::as_array_mut) else {
        return Err(Failure::failed("read the stack's policy").because("it has no list of statements"));
    };
    if statements.contains(&denial) {
        return Ok(None);
    }
    statements.push(denial);
    Ok(Some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_adds_to_what_is_there_and_only_once() {
        let held = ["TileTable".to_owned(), "EndpointDB".to_owned()];
        let made = policy(None, &held).unwrap().unwrap();
        assert_eq!(made["Statement"][0]["Effect"], "Allow");
        assert_eq!(
            made["Statement"][1]["Resource"],
            json!(["LogicalResourceId/EndpointDB", "LogicalResourceId/TileTable"])
        );
        assert_eq!(made["Statement"][1]["Action"], json!(["Update:Replace", "Update:Delete"]));
        assert_eq!(policy(Some(&made.to_string()), &held).unwrap(), None);
        let own = json!({"Statement": [{"Effect": "Deny", "Action": "Update:*", "Principal": "*", "Resource": "*"}]});
        let added = policy(Some(&own.to_string()), &held).unwrap().unwrap();
        assert_eq!(added["Statement"][0], own["Statement"][0]);
        assert_eq!(added["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(policy(None, &[]).unwrap(), None);
    }
}
