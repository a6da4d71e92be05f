use serde_json::json;

use super::*;

fn kinds(before: &str, after: &str) -> Vec<(String, FindingKind)> {
    compare(&resolved(before), &resolved(after)).into_iter().map(|it| (it.logical_id, it.kind)).collect()
}

#[test]
fn weakened_policies_are_found() {
    let stack =
        |attributes: &str| format!("Resources:\n  A: {{Type: 'AWS::RDS::DBInstance', {attributes}}}\n");
    let weakened = |which, before, after| FindingKind::PolicyWeakened { which, before, after };
    let (deletion, replace) = (PolicyAttribute::DeletionPolicy, PolicyAttribute::UpdateReplacePolicy);
    for (before, after, found) in [
        (
            "DeletionPolicy: Retain",
            "DeletionPolicy: Snapshot",
            vec![weakened(deletion, Policy::Retain, Policy::Snapshot)],
        ),
        // The default of an instance in no cluster is Snapshot.
        ("DeletionPolicy: Retain", "", vec![weakened(deletion, Policy::Retain, Policy::Snapshot)]),
        ("", "DeletionPolicy: Delete", vec![weakened(deletion, Policy::Snapshot, Policy::Delete)]),
        ("UpdateReplacePolicy: Snapshot", "", vec![weakened(replace, Policy::Snapshot, Policy::Delete)]),
        (
            "DeletionPolicy: Retain",
            "DeletionPolicy: !ImportValue x",
            vec![weakened(deletion, Policy::Retain, Policy::Unknown)],
        ),
        // For a resource that exists the two are the same.
        ("DeletionPolicy: Retain", "DeletionPolicy: RetainExceptOnCreate", vec![]),
        ("DeletionPolicy: Snapshot", "", vec![]),
        ("DeletionPolicy: Delete", "DeletionPolicy: Retain", vec![]),
    ] {
        let found: Vec<_> = found.into_iter().map(|kind| ("A".to_owned(), kind)).collect();
        assert_eq!(kinds(&stack(before), &stack(after)), found, "{before} -> {after}");
    }
}

#[test]
fn protections_that_go_off_are_found() {
    let off = |kind: &str, before: Value, after: Value| -> Vec<String> {
        protections_off(kind, &before, &after).into_iter().map(|off| off.property).collect()
    };
    for (kind, before, after, property) in [
        (
            "AWS::RDS::DBCluster",
            json!({"DeletionProtection": true}),
            json!({"DeletionProtection": false}),
            "DeletionProtection",
        ),
        ("AWS::RDS::DBCluster", json!({"DeletionProtection": "true"}), json!({}), "DeletionProtection"),
        (
            "AWS::DynamoDB::Table",
            json!({"DeletionProtectionEnabled": true}),
            json!({"DeletionProtectionEnabled": {"Ref": "Bucket"}}),
            "DeletionProtectionEnabled",
        ),
        (
            "AWS::Cognito::UserPool",
            json!({"DeletionProtection": "ACTIVE"}),
            json!({"DeletionProtection": "INACTIVE"}),
            "DeletionProtection",
        ),
        ("AWS::EC2::Instance", json!({"DisableApiTermination": true}), json!({}), "DisableApiTermination"),
        (
            "AWS::EMR::Cluster",
            json!({"Instances": {"TerminationProtected": true}}),
            json!({"Instances": {"TerminationProtected": false}}),
            "Instances.TerminationProtected",
        ),
        (
            "AWS::DynamoDB::GlobalTable",
            json!({"Replicas": [{"Region": "eu-west-1", "DeletionProtectionEnabled": true}, {"Region": "us-east-1"}]}),
            json!({"Replicas": [{"Region": "us-east-1"}, {"Region": "eu-west-1"}]}),
            "Replicas.eu-west-1.DeletionProtectionEnabled",
        ),
        (
            "AWS::ElasticLoadBalancingV2::LoadBalancer",
            json!({"LoadBalancerAttributes": [{"Key": "deletion_protection.enabled", "Value": "true"}]}),
            json!({"LoadBalancerAttributes": [{"Key": "idle_timeout.timeout_seconds", "Value": "60"}]}),
            "LoadBalancerAttributes.deletion_protection.enabled",
        ),
        (
            "AWS::EFS::FileSystem",
            json!({"FileSystemProtection": {"ReplicationOverwriteProtection": "ENABLED"}}),
            json!({"FileSystemProtection": {"ReplicationOverwriteProtection": "DISABLED"}}),
            "FileSystemProtection.ReplicationOverwriteProtection",
        ),
        (
            "AWS::OpenSearchServerless::Collection",
            json!({"DeletionProtection": "ENABLED"}),
            json!({}),
            "DeletionProtection",
        ),
        (
            "AWS::VerifiedPermissions::PolicyStore",
            json!({"DeletionProtection": {"Mode": "ENABLED"}}),
            json!({"DeletionProtection": {"Mode": "DISABLED"}}),
            "DeletionProtection",
        ),
    ] {
        assert_eq!(off(kind, before.clone(), after), [property]);
        assert!(off(kind, before.clone(), before).is_empty(), "{kind}: kept on");
    }
    assert!(
        off("T", json!({"DeletionProtection": {"Ref": "P"}}), json!({})).is_empty(),
        "what is unknown says nothing"
    );
    assert!(off("T", json!({"DeletionProtection": false}), json!({})).is_empty());
    assert!(off("T", json!({}), json!({"DeletionProtection": false})).is_empty());
}

#[test]
fn changes_in_place_that_lose_something_are_found() {
    let rule = |days: u32| json!({"LifecycleConfiguration": {"Rules": [{"Id": "old", "Status": "Enabled", "ExpirationInDays": days}]}});
    for (kind, before, after, property, word) in [
        (
            "AWS::Logs::LogGroup",
            json!({"RetentionInDays": 30}),
            json!({"RetentionInDays": "7"}),
            "RetentionInDays",
            "30 days of log events are kept now, 7 after",
        ),
        (
            "AWS::Logs::LogGroup",
            json!({}),
            json!({"RetentionInDays": 7}),
            "RetentionInDays",
            "all days of log events",
        ),
        (
            "AWS::Kinesis::Stream",
            json!({"RetentionPeriodHours": 48}),
            json!({}),
            "RetentionPeriodHours",
            "24 after",
        ),
        (
            "AWS::SQS::Queue",
            json!({}),
            json!({"MessageRetentionPeriod": 60}),
            "MessageRetentionPeriod",
            "345600 seconds",
        ),
        (
            "AWS::RDS::DBInstance",
            json!({"BackupRetentionPeriod": "7"}),
            json!({"BackupRetentionPeriod": "0"}),
            "BackupRetentionPeriod",
            "none after",
        ),
        (
            "AWS::RDS::DBInstance",
            json!({"EngineVersion": "13.4"}),
            json!({"EngineVersion": "14.1"}),
            "EngineVersion",
            "from 13.4 to 14.1",
        ),
        (
            "AWS::Neptune::DBCluster",
            json!({"EngineVersion": "1.2"}),
            json!({"EngineVersion": {"Ref": "P"}}),
            "EngineVersion",
            "can't be known",
        ),
        (
            "AWS::S3::Bucket",
            json!({"VersioningConfiguration": {"Status": "Enabled"}}),
            json!({"VersioningConfiguration": {"Status": "Suspended"}}),
            "VersioningConfiguration.Status",
            "suspended",
        ),
        (
            "AWS::S3::Bucket",
            json!({"VersioningConfiguration": {"Status": "Enabled"}}),
            json!({}),
            "VersioningConfiguration.Status",
            "suspended",
        ),
        ("AWS::S3::Bucket", json!({}), rule(30), "LifecycleConfiguration.Rules", "(old)"),
        ("AWS::S3::Bucket", rule(30), rule(3), "LifecycleConfiguration.Rules", "(old)"),
        (
            "AWS::SecretsManager::Secret",
            json!({"GenerateSecretString": {"PasswordLength": 20}}),
            json!({"GenerateSecretString": {"PasswordLength": 32}}),
            "GenerateSecretString",
            "a new value is generated",
        ),
        (
            "AWS::SecretsManager::Secret",
            json!({"SecretString": "hunter2"}),
            json!({"SecretString": "hunter3"}),
            "SecretString",
            "one that was rotated or set by hand too, is replaced by the template's",
        ),
        (
            "AWS::SecretsManager::Secret",
            json!({}),
            json!({"SecretString": "hunter3"}),
            "SecretString",
            "replaced",
        ),
        (
            "AWS::SecretsManager::Secret",
            json!({"SecretString": "hunter2"}),
            json!({"SecretString": {"Ref": "Password"}}),
            "SecretString",
            "may change",
        ),
        (
            "AWS::SecretsManager::Secret",
            json!({"SecretString": "hunter2"}),
            json!({}),
            "SecretString",
            "not documented",
        ),
        (
            "AWS::DynamoDB::Table",
            json!({}),
            json!({"TimeToLiveSpecification": {"AttributeName": "at", "Enabled": true}}),
            "TimeToLiveSpecification",
            "deletes other items",
        ),
        (
            "AWS::DynamoDB::Table",
            json!({"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true}}),
            json!({}),
            "PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled",
            "turned off",
        ),
        (
            "AWS::DynamoDB::Table",
            json!({"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true}}),
            json!({"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true, "RecoveryPeriodInDays": 7}}),
            "PointInTimeRecoverySpecification.RecoveryPeriodInDays",
            "35 days of recovery",
        ),
        (
            "AWS::DynamoDB::Table",
            json!({"StreamSpecification": {"StreamViewType": "NEW_IMAGE"}}),
            json!({}),
            "StreamSpecification",
            "stream is replaced",
        ),
        (
            "AWS::DynamoDB::GlobalTable",
            json!({"Replicas": [{"Region": "eu-west-1"}, {"Region": "us-east-1"}]}),
            json!({"Replicas": [{"Region": "us-east-1"}]}),
            "Replicas",
            "replica in eu-west-1 is deleted",
        ),
        (
            "AWS::ElastiCache::ReplicationGroup",
            json!({"CacheNodeType": "cache.m5.large"}),
            json!({"CacheNodeType": "cache.t3.small"}),
            "CacheNodeType",
            "from cache.m5.large",
        ),
        (
            "AWS::ElastiCache::ReplicationGroup",
            json!({"NumNodeGroups": 3}),
            json!({"NumNodeGroups": 2}),
            "NumNodeGroups",
            "from 3 to 2",
        ),
        ("AWS::KMS::Key", json!({}), json!({"Enabled": false}), "Enabled", "disabled"),
        (
            "AWS::KMS::Key",
            json!({"KeyPolicy": {"Statement": []}}),
            json!({"KeyPolicy": {"Statement": [1]}}),
            "KeyPolicy",
            "unreadable",
        ),
        (
            "AWS::S3::Bucket",
            json!({"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Days": 9}}}}),
            json!({"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Days": 1}}}}),
            "ObjectLockConfiguration",
            "locked",
        ),
        (
            "AWS::Cassandra::Table",
            json!({"PointInTimeRecoveryEnabled": true}),
            json!({}),
            "PointInTimeRecoveryEnabled",
            "turned off",
        ),
        (
            "AWS::FSx::FileSystem",
            json!({"WindowsConfiguration": {"AutomaticBackupRetentionDays": 30}}),
            json!({"WindowsConfiguration": {"AutomaticBackupRetentionDays": 0}}),
            "WindowsConfiguration.AutomaticBackupRetentionDays",
            "none after",
        ),
        ("AWS::ECR::Repository", json!({}), json!({"EmptyOnDelete": true}), "EmptyOnDelete", "go with it"),
    ] {
        let found = in_place_risks(kind, &before, &after);
        assert!(
            found.len() == 1
                && found[0].property == property
                && found[0].why.contains(word)
                && !found[0].why.contains("hunter"),
            "{kind} {before} -> {after}: {found:?}"
        );
        assert!(in_place_risks(kind, &before, &before).is_empty(), "{kind} {before} unchanged");
    }
}

#[test]
fn changes_in_place_that_lose_nothing_are_not() {
    for (kind, before, after) in [
        ("AWS::Logs::LogGroup", json!({"RetentionInDays": 7}), json!({})),
        ("AWS::Kinesis::Stream", json!({}), json!({"RetentionPeriodHours": 48})),
        ("AWS::SQS::Queue", json!({"MessageRetentionPeriod": 345_600}), json!({})),
        ("AWS::S3::Bucket", json!({}), json!({"VersioningConfiguration": {"Status": "Enabled"}})),
        ("AWS::S3::Bucket", json!({"LifecycleConfiguration": {"Rules": [{"Status": "Enabled"}]}}), json!({})),
        ("AWS::DynamoDB::Table", json!({}), json!({"StreamSpecification": {"StreamViewType": "NEW_IMAGE"}})),
        ("AWS::RDS::DBInstance", json!({"EngineVersion": "14"}), json!({})),
        ("AWS::RDS::DBInstance", json!({"EngineVersion": {"Ref": "P"}}), json!({"EngineVersion": "14"})),
        ("AWS::ECR::Repository", json!({"EmptyOnDelete": true}), json!({})),
        ("AWS::SNS::Topic", json!({"DisplayName": "a"}), json!({"DisplayName": "b"})),
    ] {
        assert_eq!(in_place_risks(kind, &before, &after), [], "{kind} {before} -> {after}");
    }
}

#[test]
fn a_secret_parameter_shows_in_no_finding() {
    let text = "Parameters: {V: {Type: String, NoEcho: true}}\nResources: {A: {Type: 'AWS::RDS::DBInstance', Properties: {EngineVersion: !Ref V}}}";
    let with = |value: &str| {
        let parameters = BTreeMap::from_iter([("V".to_owned(), value.to_owned())]);
        template(text).resolve(&parameters, &Pseudo::default())
    };
    let fixed = resolved("Resources: {A: {Type: 'AWS::RDS::DBInstance', Properties: {EngineVersion: '14'}}}");
    let told = serde_json::to_string(&compare(&fixed, &with("hunter2"))).unwrap();
    assert!(told.contains("can't be known") && !told.contains("hunter2"), "{told}");
}

#[test]
fn conditions_and_parameters_take_part_in_the_comparison() {
    let text = "
Parameters: {Protect: {Type: String, Default: 'true'}, Days: {Type: Number, Default: 30}}
Conditions: {P: !Equals [!Ref Protect, 'true']}
Resources:
  Db: {Type: 'AWS::RDS::DBCluster', Properties: {DeletionProtection: !If [P, true, false]}}
  Log: {Type: 'AWS::Logs::LogGroup', Properties: {RetentionInDays: !Ref Days}}
";
    let with = |protect: &str, days: &str| {
        let pairs = [("Protect", protect), ("Days", days)];
        let parameters =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        template(text).resolve(&parameters, &Pseudo::default())
    };
    let found = compare(&with("true", "30"), &with("false", "7"));
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        json!([
            {"logical-id": "Db", "kind": "protection-off", "property": "DeletionProtection", "text": "DeletionProtection is turned off"},
            {
                "logical-id": "Log", "kind": "in-place-risk", "property": "RetentionInDays",
                "why": "30 days of log events are kept now, 7 after the update: the older ones go",
                "text": "RetentionInDays: 30 days of log events are kept now, 7 after the update: the older ones go",
            },
        ])
    );
    assert_eq!(compare(&with("true", "30"), &with("true", "30")), []);
}

#[test]
fn tables_in_a_loop_can_t_be_verified() {
    let stack = |reads: u32| {
        format!(
            "Transform: AWS::LanguageExtensions\nResources:\n  Fn::ForEach::Tables: [N, [a, b], {{'${{N}}T': {{Type: 'AWS::DynamoDB::Table', Properties: {{R: {reads}}}}}}}]\n"
        )
    };
    assert_eq!(
        kinds(&stack(1), &stack(2)),
        [("Fn::ForEach::Tables".to_owned(), FindingKind::IndexesUnverifiable)]
    );
    assert_eq!(kinds(&stack(1), &stack(1)), []);
}

#[test]
fn a_custom_name_that_stays_is_known() {
    let table = json!({"TableName": "bossmeta", "KeySchema": []});
    assert_eq!(custom_name("AWS::DynamoDB::Table", &table), Some("TableName"));
    assert_eq!(custom_name("AWS::DynamoDB::Table", &json!({})), None);
    assert_eq!(
        custom_name("AWS::RDS::DBInstance", &json!({"DBInstanceIdentifier": "x"})),
        Some("DBInstanceIdentifier")
    );
    assert_eq!(custom_name("AWS::EC2::VPC", &json!({"Name": "x"})), None);
    let same = |before: &Value, after: &Value| same_custom_name("AWS::DynamoDB::Table", before, after);
    assert_eq!(same(&table, &table), Some(("TableName", "bossmeta".to_owned())));
    assert_eq!(same(&table, &json!({"TableName": "other"})), None);
    assert_eq!(same(&json!({}), &table), None);
    assert_eq!(same(&json!({"TableName": {"Ref": "P"}}), &json!({"TableName": {"Ref": "P"}})), None);
}
