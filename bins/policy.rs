//! The policy of a step: what a role needs that runs it, as IAM takes it.

use kit::{Permission, Step};
use serde_json::{Map, Value, json};

/// A policy document with a statement for each situation, whose `Sid` names it; what a release never does can be left out.
///
/// The words in capitals in an ARN are to be replaced. Permissions that are GitHub's are not in it.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
pub(crate) fn policy(step: &Step) -> Value {
    let mut statements: Vec<(String, Vec<String>, Option<Value>, Vec<String>)> = Vec::new();
    for permission in step.permissions.iter().filter(|permission| is_of_aws(permission.action)) {
        let (sid, resources, condition) =
            (sid(permission), resources(permission), condition(permission.action));
        let same = |(s, r, c, _): &&mut (String, Vec<String>, Option<Value>, Vec<String>)| {
            (&*s, &*r, &*c) == (&sid, &resources, &condition)
        };
        match statements.iter_mut().find(same) {
            Some((.., actions)) => actions.push(permission.action.to_owned()),
            None => statements.push((sid, resources, condition, vec![permission.action.to_owned()])),
        }
    }
    let mut taken: Vec<String> = Vec::new();
    let mut document = Vec::new();
    for (sid, resources, condition, actions) in statements {
        // A Sid stands once in a policy.
        let times = taken.iter().filter(|known| **known == sid).count();
        taken.push(sid.clone());
        let sid = if times == 0 { sid } else { format!("{sid}{}", times + 1) };
        let mut statement = Map::new();
        statement.insert("Sid".to_owned(), sid.into());
        statement.insert("Effect".to_owned(), "Allow".into());
        statement.insert("Action".to_owned(), actions.into());
        statement.insert("Resource".to_owned(), resources.into());
        statement.extend(condition.map(|condition| ("Condition".to_owned(), condition)));
        document.push(Value::Object(statement));
    }
    json!({"Version": "2012-10-17", "Statement": document})
}

/// `service:Action`; GitHub's are `scope: level`, and some are told in words.
fn is_of_aws(action: &str) -> bool {
    action.split_once(':').is_some_and(|(_, name)| name.starts_with(|first: char| first.is_ascii_uppercase()))
}

fn resources(permission: &Permission) -> Vec<String> {
    permission.resource.split(" and ").map(str::to_owned).collect()
}

/// "--db-instance" is `DbInstance`, always is `Always`.
fn sid(permission: &Permission) -> String {
    if permission.when.is_empty() {
        return "Always".to_owned();
    }
    let words = permission.when.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    words.map(capital).collect()
}

/// A role is passed to the tasks that the step registers or starts, and to nothing else.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#ck_PassedToService>
fn condition(action: &str) -> Option<Value> {
    (action == "iam:PassRole")
        .then(|| json!({"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}))
}
