//! Which permissions a call of AWS needs.
//!
//! Most calls need the action of their own name. The others are listed here, each by the page of the Service Authorization
//! Reference (<https://docs.aws.amazon.com/service-authorization/latest/reference/>) that says so; the actions' rows, with resources,
//! condition keys and dependent actions, are in `reference.txt`.

/// The prefix of a service's actions, where it is not its signing name.
const PREFIXES: [(&str, &str); 1] = [
    // list_amazoncloudwatch.html
    ("monitoring", "cloudwatch"),
];

/// Calls that need other actions than their own name says.
pub(crate) const CALLS: [(&str, &str, &[&str]); 20] = [
    // list_amazons3.html; https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    ("s3", "HeadBucket", &["s3:ListBucket"]),
    ("s3", "ListObjectsV2", &["s3:ListBucket"]),
    ("s3", "ListObjects", &["s3:ListBucket"]),
    ("s3", "ListMultipartUploads", &["s3:ListBucketMultipartUploads"]),
    ("s3", "ListParts", &["s3:ListMultipartUploadParts"]),
    ("s3", "HeadObject", &["s3:GetObject"]),
    ("s3", "CopyObject", &["s3:GetObject", "s3:PutObject"]),
    ("s3", "CreateMultipartUpload", &["s3:PutObject"]),
    ("s3", "UploadPart", &["s3:PutObject"]),
    ("s3", "UploadPartCopy", &["s3:GetObject", "s3:PutObject"]),
    ("s3", "CompleteMultipartUpload", &["s3:PutObject"]),
    ("s3", "DeleteObjects", &["s3:DeleteObject"]),
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html#API_GetObjectAttributes_Permissions
    ("s3", "GetObjectAttributes", &["s3:GetObject", "s3:GetObjectAttributes"]),
    // list_amazonecs.html: both act on a role, and pass it; a revision with tags is tagged.
    ("ecs", "RegisterTaskDefinition", &["ecs:RegisterTaskDefinition", "ecs:TagResource", "iam:PassRole"]),
    ("ecs", "RunTask", &["ecs:RunTask", "iam:PassRole"]),
    // list_awscloudformation.html: a change set has the stack's service role again.
    ("cloudformation", "CreateChangeSet", &["cloudformation:CreateChangeSet", "iam:PassRole"]),
    // list_awselasticloadbalancingv2.html: a rule with tags is tagged.
    (
        "elasticloadbalancing",
        "CreateRule",
        &["elasticloadbalancing:CreateRule", "elasticloadbalancing:AddTags"],
    ),
    // list_amazonrds.html: a snapshot with tags is tagged.
    ("rds", "CreateDBSnapshot", &["rds:CreateDBSnapshot", "rds:AddTagsToResource"]),
    ("rds", "CreateDBClusterSnapshot", &["rds:CreateDBClusterSnapshot", "rds:AddTagsToResource"]),
    // https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: "No permissions are required".
    ("sts", "GetCallerIdentity", &[]),
];

pub(crate) fn of(service: &str, operation: &str) -> Vec<String> {
    if let Some((_, _, actions)) = CALLS.iter().find(|(s, o, _)| (*s, *o) == (service, operation)) {
        return actions.iter().map(|action| (*action).to_owned()).collect();
    }
    let prefix = PREFIXES.iter().find(|(signed, _)| *signed == service).map_or(service, |(_, prefix)| prefix);
    vec![format!("{prefix}:{operation}")]
}
