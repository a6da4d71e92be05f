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
        let (resources, condition) = (resources(permission), condition(step.name, permission.action));
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

/// The row of an action in the Service Authorization Reference; `None` of a permission that is GitHub's.
///
/// Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
pub(crate) fn reference(action: &str) -> Option<String> {
    let (service, name) = action.split_once(':').filter(|_| is_of_aws(action))?;
    let page = match service {
        "application-autoscaling" => "awsapplicationautoscaling",
        "cloudformation" => "awscloudformation",
        "cloudfront" => "amazoncloudfront",
        "cloudwatch" => "amazoncloudwatch",
        "ecr" => "amazonelasticcontainerregistry",
        "ecs" => "amazonelasticcontainerservice",
        "elasticloadbalancing" => "awselasticloadbalancingv2",
        "events" => "amazoneventbridge",
        "iam" => "awsidentityandaccessmanagementiam",
        "logs" => "amazoncloudwatchlogs",
        "rds" => "amazonrds",
        "route53" => "amazonroute53",
        "s3" => "amazons3",
        "secretsmanager" => "awssecretsmanager",
        "sns" => "amazonsns",
        "ssm" => "awssystemsmanager",
        "sts" => "awssecuritytokenservice",
        _ => return None,
    };
    let folder = "https://docs.aws.amazon.com/service-authorization/latest/reference";
    Some(format!("{folder}/list_{page}.html#{page}-{name}"))
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

/// What narrows an action beyond its resource, by keys that the Service Authorization Reference lists for it.
///
/// `s3:ListBucket` has none: `s3:prefix` comes with a listing alone, and whoever may not list is told 403 instead of 404 of an object
/// that is not there (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>), on which the steps rely.
/// Nor has `rds:AddTagsToResource`: an instance can have its own tags copied to its snapshots, whatever their keys.
fn condition(step: &str, action: &str) -> Option<Value> {
    let tags = |keys: &[&str]| json!({"ForAllValues:StringEquals": {"aws:TagKeys": keys}});
    Some(match (step, action) {
        // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#ck_PassedToService
        ("changeset-review" | "deploy-stack", "iam:PassRole") => {
            json!({"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}})
        }
        (_, "iam:PassRole") => json!({"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
        // These two name the cluster nowhere else.
        (_, "ecs:ListTasks" | "ecs:RunTask") => {
            json!({"ArnEquals": {"ecs:cluster": "arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER"}})
        }
        // Tags at the registration alone:
        // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
        ("register-task-def", "ecs:TagResource") => {
            json!({"StringEquals": {"ecs:CreateAction": "RegisterTaskDefinition"}})
        }
        ("deploy-service", "ecs:TagResource" | "ecs:UntagResource") => tags(&["cutover:scaled-from"]),
        (_, "application-autoscaling:RegisterScalableTarget") => json!({"StringEquals": {
            "application-autoscaling:service-namespace": "ecs",
            "application-autoscaling:scalable-dimension": "ecs:service:DesiredCount",
        }}),
        (_, "cloudwatch:TagResource" | "cloudwatch:UntagResource") => tags(&["cutover-muted"]),
        (_, "events:TagResource" | "events:UntagResource") => tags(&["cutover-schedule"]),
        // https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/tagging-resources-during-creation.html
        (_, "elasticloadbalancing:AddTags") => {
            json!({"StringEquals": {"elasticloadbalancing:CreateAction": "CreateRule"}})
        }
        // In lower case, and without the dot at the end:
        // https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-rrset-conditions.html
        (_, "route53:ChangeResourceRecordSets") => json!({"ForAllValues:StringEquals": {
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": ["NAME", "_cutover.NAME"],
        }}),
        // A set is named when it is made, and by its ARN from then on.
        (
            _,
            "cloudformation:CreateChangeSet"
            | "cloudformation:DeleteChangeSet"
            | "cloudformation:ExecuteChangeSet",
        ) => json!({"StringLike": {"cloudformation:ChangeSetName": [
            "cutover-*",
            "arn:aws:cloudformation:REGION:ACCOUNT:changeSet/cutover-*",
        ]}}),
        _ => return None,
    })
}
