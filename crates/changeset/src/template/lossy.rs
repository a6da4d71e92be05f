//! Changes that CloudFormation makes in place, without a word in the change set, and that drop data or take them out of reach.

use serde::Serialize;
use serde_json::Value;

use super::secret::secret;
use super::value::{as_bool, as_number, as_text, at, is_unknown, is_unknown_at, same};

/// A change in place that puts data at risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InPlaceRisk {
    /// Dots between names.
    pub property: String,
    /// A sentence.
    pub why: String,
}

/// What a number means where it is absent.
enum Absent {
    /// Nothing is ever dropped.
    Forever,
    /// The service's own value.
    Is(f64),
    /// AWS documents none, or it hangs on something else.
    Unknown,
}

/// Numbers of which a smaller one drops what is older, and the unit they count.
#[rustfmt::skip]
const RETENTIONS: [(&str, &[&str], Absent, &str); 22] = [
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html
    ("AWS::Logs::LogGroup", &["RetentionInDays"], Absent::Forever, "days of log events"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesis-stream.html
    ("AWS::Kinesis::Stream", &["RetentionPeriodHours"], Absent::Is(24.0), "hours of records"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html
    ("AWS::SQS::Queue", &["MessageRetentionPeriod"], Absent::Is(345_600.0), "seconds of messages"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesisvideo-stream.html
    ("AWS::KinesisVideo::Stream", &["DataRetentionInHours"], Absent::Is(0.0), "hours of video"),
    ("AWS::CloudTrail::EventDataStore", &["RetentionPeriod"], Absent::Unknown, "days of events"),
    ("AWS::Timestream::Table", &["RetentionProperties", "MagneticStoreRetentionPeriodInDays"], Absent::Unknown, "days of records"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-rds-dbinstance.html
    ("AWS::RDS::DBInstance", &["BackupRetentionPeriod"], Absent::Is(1.0), "days of automated backups"),
    ("AWS::RDS::DBCluster", &["BackupRetentionPeriod"], Absent::Is(1.0), "days of automated backups"),
    ("AWS::DocDB::DBCluster", &["BackupRetentionPeriod"], Absent::Is(1.0), "days of automated backups"),
    ("AWS::DocDBElastic::Cluster", &["BackupRetentionPeriod"], Absent::Is(1.0), "days of automatic snapshots"),
    ("AWS::FSx::FileSystem", &["LustreConfiguration", "AutomaticBackupRetentionDays"], Absent::Is(0.0), "days of automatic backups"),
    ("AWS::FSx::FileSystem", &["OntapConfiguration", "AutomaticBackupRetentionDays"], Absent::Unknown, "days of automatic backups"),
    ("AWS::FSx::FileSystem", &["OpenZFSConfiguration", "AutomaticBackupRetentionDays"], Absent::Unknown, "days of automatic backups"),
    ("AWS::FSx::FileSystem", &["WindowsConfiguration", "AutomaticBackupRetentionDays"], Absent::Unknown, "days of automatic backups"),
    ("AWS::APS::Workspace", &["WorkspaceConfiguration", "RetentionPeriodInDays"], Absent::Unknown, "days of metrics"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-events-archive.html
    ("AWS::Events::Archive", &["RetentionDays"], Absent::Forever, "days of events"),
    ("AWS::Neptune::DBCluster", &["BackupRetentionPeriod"], Absent::Is(1.0), "days of automated backups"),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-redshift-cluster.html
    ("AWS::Redshift::Cluster", &["AutomatedSnapshotRetentionPeriod"], Absent::Is(1.0), "days of automated snapshots"),
    ("AWS::ElastiCache::ReplicationGroup", &["SnapshotRetentionLimit"], Absent::Is(0.0), "days of automatic snapshots"),
    ("AWS::ElastiCache::CacheCluster", &["SnapshotRetentionLimit"], Absent::Is(0.0), "days of automatic snapshots"),
    ("AWS::ElastiCache::ServerlessCache", &["SnapshotRetentionLimit"], Absent::Is(0.0), "days of automatic snapshots"),
    ("AWS::MemoryDB::Cluster", &["SnapshotRetentionLimit"], Absent::Is(0.0), "days of automatic snapshots"),
];

/// Properties of which any other value is a risk, and why.
const CHANGED: [(&str, &[&str], &str); 27] = [
    ("AWS::RDS::DBInstance", &["EngineVersion"], ENGINE),
    ("AWS::RDS::DBCluster", &["EngineVersion"], ENGINE),
    ("AWS::RDS::GlobalCluster", &["EngineVersion"], ENGINE),
    ("AWS::DocDB::DBCluster", &["EngineVersion"], ENGINE),
    ("AWS::Neptune::DBCluster", &["EngineVersion"], ENGINE),
    ("AWS::MemoryDB::Cluster", &["EngineVersion"], ENGINE),
    ("AWS::AmazonMQ::Broker", &["EngineVersion"], ENGINE),
    ("AWS::ElastiCache::ReplicationGroup", &["EngineVersion"], ENGINE),
    ("AWS::ElastiCache::CacheCluster", &["EngineVersion"], ENGINE),
    ("AWS::ElastiCache::ServerlessCache", &["MajorEngineVersion"], ENGINE),
    ("AWS::OpenSearchService::Domain", &["EngineVersion"], ENGINE),
    ("AWS::Elasticsearch::Domain", &["ElasticsearchVersion"], ENGINE),
    ("AWS::ElastiCache::ReplicationGroup", &["CacheNodeType"], NODES),
    ("AWS::ElastiCache::ReplicationGroup", &["NumNodeGroups"], NODES),
    ("AWS::ElastiCache::ReplicationGroup", &["NodeGroupConfiguration"], NODES),
    ("AWS::ElastiCache::CacheCluster", &["CacheNodeType"], NODES),
    ("AWS::ElastiCache::CacheCluster", &["NumCacheNodes"], NODES),
    ("AWS::MemoryDB::Cluster", &["NodeType"], NODES),
    ("AWS::MemoryDB::Cluster", &["NumShards"], NODES),
    ("AWS::Redshift::Cluster", &["NodeType"], NODES),
    ("AWS::Redshift::Cluster", &["NumberOfNodes"], NODES),
    ("AWS::KMS::Key", &["KeyPolicy"], KEY_POLICY),
    ("AWS::KMS::ReplicaKey", &["KeyPolicy"], KEY_POLICY),
    ("AWS::DynamoDB::Table", &["TimeToLiveSpecification"], TTL),
    ("AWS::DynamoDB::GlobalTable", &["TimeToLiveSpecification"], TTL),
    ("AWS::ECR::Repository", &["LifecyclePolicy"], IMAGES),
    ("AWS::SecretsManager::Secret", &["GenerateSecretString"], GENERATED),
];

// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.Upgrading.html
const ENGINE: &str = "the engine is upgraded in place, with an interruption, and can't be taken back";
// https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Clusters.Modify.html
const NODES: &str =
    "nodes are exchanged or taken away: what they hold may go with them, and memory may not suffice";
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
const KEY_POLICY: &str =
    "who can use and manage the key changes: data can become unreadable, and the key unmanageable";
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
const TTL: &str = "DynamoDB deletes other items by itself than before";
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecret.html
const GENERATED: &str = "a new value is generated and becomes the current one: whoever reads it then no longer has the one that is in use";
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
const IMAGES: &str = "images that the policy names expire, those that are deployed among them";
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html
const STREAM: &str = "the stream is replaced: what was not read from the old one is lost";

/// Properties that may be added, and of which any other value and their absence are a risk once they are there.
const KEPT: [(&str, &str, &str); 3] = [
    ("AWS::DynamoDB::Table", "StreamSpecification", STREAM),
    ("AWS::DynamoDB::GlobalTable", "StreamSpecification", STREAM),
    ("AWS::S3::Bucket", "ObjectLockConfiguration", LOCK),
];

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
const LOCK: &str = "new objects are locked against deletion otherwise than before, or not at all";

/// Switches of which one position guards data.
const SWITCHES: [Switch; 8] = [
    Switch { kind: "AWS::KMS::Key", path: &["Enabled"], safe: true, absent: true, why: KEY_OFF },
    Switch { kind: "AWS::KMS::ReplicaKey", path: &["Enabled"], safe: true, absent: true, why: KEY_OFF },
    Switch {
        kind: "AWS::ECR::Repository",
        path: &["EmptyOnDelete"],
        safe: false,
        absent: false,
        why: "deleting the repository no longer fails while images are in it: they go with it",
    },
    Switch {
        kind: "AWS::DynamoDB::Table",
        path: &["PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"],
        safe: true,
        absent: false,
        why: "recovery to a point in time is turned off, and what it has recorded goes",
    },
    Switch {
        kind: "AWS::Cassandra::Table",
        path: &["PointInTimeRecoveryEnabled"],
        safe: true,
        absent: false,
        why: "recovery to a point in time is turned off, and what it has recorded goes",
    },
    Switch {
        kind: "AWS::RDS::DBInstance",
        path: &["DeleteAutomatedBackups"],
        safe: false,
        absent: true,
        why: "automated backups go at once when the instance is deleted",
    },
    Switch {
        kind: "AWS::RDS::DBCluster",
        path: &["DeleteAutomatedBackups"],
        safe: false,
        absent: true,
        why: "automated backups go at once when the cluster is deleted",
    },
    Switch {
        kind: "AWS::EFS::FileSystem",
        path: &["BackupPolicy", "Status"],
        safe: true,
        absent: false,
        why: "automatic backups are turned off",
    },
];

const KEY_OFF: &str = "the key is disabled: what it encrypted can't be read";

struct Switch {
    kind: &'static str,
    path: &'static [&'static str],
    /// The position that guards.
    safe: bool,
    /// Its position where the property is absent.
    absent: bool,
    why: &'static str,
}

/// The risks of changing a resource from one set of `Properties` to another in place. A value that is not known after the
/// update is a risk where the value before it is known and guards something; not known on both sides says nothing.
pub fn in_place_risks(resource_type: &str, before: &Value, after: &Value) -> Vec<InPlaceRisk> {
    let mut risks = Vec::new();
    for (_, path, absent, unit) in RETENTIONS.iter().filter(|(kind, ..)| *kind == resource_type) {
        risks.extend(shorter(path, absent, unit, before, after));
    }
    for (_, path, why) in CHANGED.iter().filter(|(kind, ..)| *kind == resource_type) {
        risks.extend(changed(path, why, before, after));
    }
    for (_, property, why) in KEPT.iter().filter(|(kind, ..)| *kind == resource_type) {
        risks.extend(kept(property, why, before, after));
    }
    for switch in SWITCHES.iter().filter(|switch| switch.kind == resource_type) {
        risks.extend(switched(switch, before, after));
    }
    match resource_type {
        "AWS::S3::Bucket" => bucket(before, after, &mut risks),
        "AWS::DynamoDB::Table" => risks.extend(recovery_period(before, after)),
        "AWS::DynamoDB::GlobalTable" => replicas(before, after, &mut risks),
        "AWS::SecretsManager::Secret" => risks.extend(secret(before, after)),
        _ => {}
    }
    risks
}

fn risk(path: &[&str], why: String) -> InPlaceRisk {
    InPlaceRisk { property: path.join("."), why }
}

/// What is known of a property before and after.
enum Sides<'a> {
    Known(Option<&'a Value>, Option<&'a Value>),
    UnknownAfter,
    SaysNothing,
}

fn sides<'a>(path: &[&str], before: &'a Value, after: &'a Value) -> Sides<'a> {
    if is_unknown_at(before, path) {
        return Sides::SaysNothing;
    }
    if is_unknown_at(after, path) {
        Sides::UnknownAfter
    } else {
        Sides::Known(at(before, path), at(after, path))
    }
}

fn shorter(path: &[&str], absent: &Absent, unit: &str, before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let number = |value: Option<&Value>| match value {
        Some(value) => as_number(value),
        None => match absent {
            Absent::Forever => Some(f64::INFINITY),
            Absent::Is(number) => Some(*number),
            Absent::Unknown => None,
        },
    };
    let (old, new) = match sides(path, before, after) {
        Sides::SaysNothing => return None,
        Sides::UnknownAfter => {
            let kept = number(at(before, path))?;
            return (kept > 0.0).then(|| risk(path, format!("how many {unit} are kept can't be known here")));
        }
        Sides::Known(old, new) => (number(old)?, number(new)?),
    };
    let words = |number: f64| if number.is_infinite() { "all".to_owned() } else { number.to_string() };
    let why = if new == 0.0 {
        format!("{} {unit} are kept now, none after the update", words(old))
    } else {
        format!("{} {unit} are kept now, {} after the update: the older ones go", words(old), words(new))
    };
    (new < old).then(|| risk(path, why))
}

fn changed(path: &[&str], why: &str, before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let shown = |value: &Value| as_text(value).unwrap_or_else(|| "another".to_owned());
    match sides(path, before, after) {
        Sides::SaysNothing => None,
        Sides::UnknownAfter => {
            at(before, path).map(|_| risk(path, format!("it may change, which can't be known here: {why}")))
        }
        // Left out, the service keeps the version and the nodes that it has; without a policy no image expires.
        Sides::Known(Some(_), None) if [ENGINE, NODES, IMAGES].contains(&why) => None,
        Sides::Known(old, new) => {
            let (nothing, old, new) = (Value::Null, old, new);
            let differ = !same(old.unwrap_or(&nothing), new.unwrap_or(&nothing));
            let scalars = [old, new].into_iter().flatten().all(|value| as_text(value).is_some());
            let how = match (old, new) {
                (Some(old), Some(new)) if scalars => format!(" from {} to {}", shown(old), shown(new)),
                (None, Some(new)) if scalars => format!(" to {}, where the template named none", shown(new)),
                _ => String::new(),
            };
            differ.then(|| risk(path, format!("it changes{how}: {why}")))
        }
    }
}

fn switched(switch: &Switch, before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let position = |value: Option<&Value>| match value {
        None => Some(switch.absent),
        Some(value) => as_bool(value).or_else(|| match as_text(value)?.as_str() {
            "ENABLED" => Some(true),
            "DISABLED" => Some(false),
            _ => None,
        }),
    };
    match sides(switch.path, before, after) {
        Sides::SaysNothing => None,
        Sides::UnknownAfter => (position(at(before, switch.path))? == switch.safe)
            .then(|| risk(switch.path, format!("it may change, which can't be known here: {}", switch.why))),
        Sides::Known(old, new) => (position(old)? == switch.safe && position(new)? != switch.safe)
            .then(|| risk(switch.path, switch.why.to_owned())),
    }
}

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html>
fn bucket(before: &Value, after: &Value, risks: &mut Vec<InPlaceRisk>) {
    let versioning = ["VersioningConfiguration", "Status"];
    let enabled = |value: Option<&Value>| value.and_then(as_text).as_deref() == Some("Enabled");
    if enabled(at(before, &versioning)) {
        let why = "versioning is suspended: what is overwritten or deleted from then on is gone";
        match sides(&versioning, before, after) {
            Sides::Known(_, new) if !enabled(new) => risks.push(risk(&versioning, why.to_owned())),
            Sides::UnknownAfter => {
                risks.push(risk(&versioning, format!("it may change, which can't be known here: {why}")));
            }
            _ => {}
        }
    }
    let rules = ["LifecycleConfiguration", "Rules"];
    let active = |value: Option<&Value>| -> Vec<Value> {
        let all = value.and_then(Value::as_array).cloned().unwrap_or_default();
        all.into_iter()
            .filter(|rule| rule.get("Status").and_then(as_text).as_deref() != Some("Disabled"))
            .collect()
    };
    match sides(&rules, before, after) {
        Sides::SaysNothing => {}
        Sides::UnknownAfter => {
            risks.push(risk(&rules, "which objects expire after the update can't be known here".to_owned()));
        }
        Sides::Known(old, new) => {
            let old = active(old);
            let fresh: Vec<String> = active(new)
                .iter()
                .enumerate()
                .filter(|(_, rule)| !old.iter().any(|other| same(other, rule)))
                .map(|(index, rule)| {
                    rule.get("Id").and_then(as_text).unwrap_or_else(|| format!("number {}", index + 1))
                })
                .collect();
            if !fresh.is_empty() {
                let why = format!(
                    "new or changed lifecycle rules ({}) expire or move objects that are there already",
                    fresh.join(", ")
                );
                risks.push(risk(&rules, why));
            }
        }
    }
}

fn kept(property: &str, why: &str, before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let old = at(before, &[property])?;
    match sides(&[property], before, after) {
        Sides::SaysNothing => None,
        Sides::UnknownAfter => Some(format!("it may change, which can't be known here: {why}")),
        Sides::Known(_, new) => new.is_none_or(|new| !same(old, new)).then(|| why.to_owned()),
    }
    .map(|why| risk(&[property], why))
}

/// How far back a table can be recovered, where that is turned on: 35 days unless it says another number.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PointInTimeRecoverySpecification.html>
fn recovery_period(before: &Value, after: &Value) -> Option<InPlaceRisk> {
    let on = |value: &Value| {
        at(value, &["PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"]).and_then(as_bool)
            == Some(true)
    };
    let path = ["PointInTimeRecoverySpecification", "RecoveryPeriodInDays"];
    (on(before) && on(after))
        .then(|| shorter(&path, &Absent::Is(35.0), "days of recovery", before, after))
        .flatten()
}

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-globaltable.html>
fn replicas(before: &Value, after: &Value, risks: &mut Vec<InPlaceRisk>) {
    let path = ["Replicas"];
    let Sides::Known(Some(Value::Array(old)), new) = sides(&path, before, after) else { return };
    let new = new.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if new.iter().any(is_unknown) {
        risks.push(risk(&path, "which replicas stay can't be known here".to_owned()));
        return;
    }
    let pitr = ["PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"];
    for replica in old {
        let Some(region) = replica.get("Region").and_then(as_text) else { continue };
        match new.iter().find(|other| other.get("Region").and_then(as_text).as_ref() == Some(&region)) {
            None => risks.push(risk(&path, format!("the replica in {region} is deleted with its data"))),
            Some(other) => {
                let on = |value: &Value| at(value, &pitr).and_then(as_bool) == Some(true);
                if on(replica) && !on(other) {
                    let property = format!("Replicas.{region}.{}", pitr.join("."));
                    let why = "recovery to a point in time is turned off or no longer certain".to_owned();
                    risks.push(InPlaceRisk { property, why });
                }
            }
        }
    }
}
