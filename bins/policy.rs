//! The policy of a step: what a role needs that runs it, as IAM takes it.

use kit::{Permission, Step};
use serde_json::{Map, Value, json};

/// What is needed in one situation, of the same resources.
struct Statement {
    when: &'static str,
    resources: Vec<&'static str>,
    condition: Option<Value>,
    actions: Vec<&'static str>,
}

/// A policy document with a statement for each situation, whose `Sid` names it; what a release never does can be left out.
///
/// The words in capitals in an ARN are to be replaced. Permissions that are GitHub's are not in it.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>
pub(crate) fn policy(step: &Step) -> Value {
    let mut statements: Vec<Statement> = Vec::new();
    for permission in step.permissions.iter().filter(|permission| is_of_aws(permission.action)) {
        let (resources, condition) = (resources(permission), condition(permission.action));
        let alike = |it: &&mut Statement| {
            it.when == permission.when && it.resources == resources && it.condition == condition
        };
        match statements.iter_mut().find(alike) {
            Some(statement) => statement.actions.push(permission.action),
            None => statements.push(Statement {
                when: permission.when,
                resources,
                condition,
                actions: vec![permission.action],
            }),
        }
    }
    let mut taken: Vec<String> = Vec::new();
    let mut document = Vec::new();
    for statement in statements {
        let base = sid(statement.when);
        // A Sid stands once in a policy.
        let times = taken.iter().filter(|known| **known == base).count();
        let sid = if times == 0 { base.clone() } else { format!("{base}{}", times + 1) };
        taken.push(base);
        let mut fields = Map::new();
        fields.insert("Sid".to_owned(), sid.into());
        fields.insert("Effect".to_owned(), "Allow".into());
        fields.insert("Action".to_owned(), statement.actions.into());
        fields.insert("Resource".to_owned(), statement.resources.into());
        fields.extend(statement.condition.map(|condition| ("Condition".to_owned(), condition)));
        document.push(Value::Object(fields));
    }
    json!({"Version": "2012-10-17", "Statement": document})
}

/// `service:Action`; GitHub's are `scope: level`, and some are told in words.
fn is_of_aws(action: &str) -> bool {
    action.split_once(':').is_some_and(|(_, name)| name.starts_with(|first: char| first.is_ascii_uppercase()))
}

fn resources(permission: &Permission) -> Vec<&'static str> {
    permission.resource.split(" and ").collect()
}

/// "--db-instance" is `DbInstance`, always is `Always`.
fn sid(when: &str) -> String {
    if when.is_empty() {
        return "Always".to_owned();
    }
    let words = when.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
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
