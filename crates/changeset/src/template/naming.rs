//! Names that a template gives to resources itself. An update that must replace such a resource fails, since the new one is
//! made before the old one goes and can't have its name: "You can't perform an update that causes a custom-named resource to be
//! replaced. If you must replace the resource, specify a new name."
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-name.html>

use serde_json::Value;

use super::value::{as_text, at};

/// Types and the property that names them. The first part is the list of the page above; the second are types whose own
/// pages say the same of their name ("If you specify a name, you cannot perform updates that require replacement of this
/// resource"), or whose name is unique in its account and region.
#[rustfmt::skip]
const NAMES: [(&str, &str); 58] = [
    ("AWS::ApiGateway::ApiKey", "Name"),
    ("AWS::ApiGateway::Model", "Name"),
    ("AWS::CloudWatch::Alarm", "AlarmName"),
    ("AWS::CodeDeploy::Application", "ApplicationName"),
    ("AWS::CodeDeploy::DeploymentConfig", "DeploymentConfigName"),
    ("AWS::CodeDeploy::DeploymentGroup", "DeploymentGroupName"),
    ("AWS::Config::ConfigRule", "ConfigRuleName"),
    ("AWS::Config::ConfigurationRecorder", "Name"),
    ("AWS::Config::DeliveryChannel", "Name"),
    ("AWS::DynamoDB::Table", "TableName"),
    ("AWS::EC2::SecurityGroup", "GroupName"),
    ("AWS::ECR::Repository", "RepositoryName"),
    ("AWS::ECS::Cluster", "ClusterName"),
    ("AWS::ElastiCache::CacheCluster", "ClusterName"),
    ("AWS::ElasticBeanstalk::Application", "ApplicationName"),
    ("AWS::ElasticBeanstalk::Environment", "EnvironmentName"),
    ("AWS::ElasticLoadBalancing::LoadBalancer", "LoadBalancerName"),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"),
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"),
    ("AWS::Elasticsearch::Domain", "DomainName"),
    ("AWS::Events::Rule", "Name"),
    ("AWS::IAM::Group", "GroupName"),
    ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
    ("AWS::IAM::Role", "RoleName"),
    ("AWS::IAM::User", "UserName"),
    ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::RDS::DBInstance", "DBInstanceIdentifier"),
    ("AWS::S3::Bucket", "BucketName"),
    ("AWS::SNS::Topic", "TopicName"),
    ("AWS::SQS::Queue", "QueueName"),

    ("AWS::AutoScaling::AutoScalingGroup", "AutoScalingGroupName"),
    ("AWS::AutoScaling::LaunchConfiguration", "LaunchConfigurationName"),
    ("AWS::Backup::BackupVault", "BackupVaultName"),
    ("AWS::Cognito::UserPoolDomain", "Domain"),
    ("AWS::DocDB::DBCluster", "DBClusterIdentifier"),
    ("AWS::DocDB::DBInstance", "DBInstanceIdentifier"),
    ("AWS::DynamoDB::GlobalTable", "TableName"),
    ("AWS::EC2::LaunchTemplate", "LaunchTemplateName"),
    ("AWS::ECS::Service", "ServiceName"),
    ("AWS::EKS::Cluster", "Name"),
    ("AWS::ElastiCache::ReplicationGroup", "ReplicationGroupId"),
    ("AWS::ElastiCache::ServerlessCache", "ServerlessCacheName"),
    ("AWS::IAM::InstanceProfile", "InstanceProfileName"),
    ("AWS::KMS::Alias", "AliasName"),
    ("AWS::Kinesis::Stream", "Name"),
    ("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName"),
    ("AWS::Logs::LogGroup", "LogGroupName"),
    ("AWS::MSK::Cluster", "ClusterName"),
    ("AWS::MemoryDB::Cluster", "ClusterName"),
    ("AWS::Neptune::DBCluster", "DBClusterIdentifier"),
    ("AWS::Neptune::DBInstance", "DBInstanceIdentifier"),
    ("AWS::OpenSearchService::Domain", "DomainName"),
    ("AWS::RDS::DBCluster", "DBClusterIdentifier"),
    ("AWS::RDS::DBSubnetGroup", "DBSubnetGroupName"),
    ("AWS::Redshift::Cluster", "ClusterIdentifier"),
    ("AWS::SSM::Parameter", "Name"),
    ("AWS::SecretsManager::Secret", "Name"),
    ("AWS::StepFunctions::StateMachine", "StateMachineName"),
];

/// The property that gives a resource a name of its own, where `properties` has it.
pub fn custom_name(resource_type: &str, properties: &Value) -> Option<&'static str> {
    let (_, property) = NAMES.iter().find(|(known, _)| *known == resource_type)?;
    at(properties, &[property]).map(|_| *property)
}

/// The property and the name that a resource has before and after: its replacement is known to fail. None where the
/// name changes, and where it is not known on both sides.
pub fn same_custom_name(
    resource_type: &str,
    before: &Value,
    after: &Value,
) -> Option<(&'static str, String)> {
    let property = custom_name(resource_type, after)?;
    let name = as_text(at(after, &[property])?)?;
    (as_text(at(before, &[property])?)? == name).then_some((property, name))
}
