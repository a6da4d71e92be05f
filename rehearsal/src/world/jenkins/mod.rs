//! Jenkins' world: an old service in three stacks, and the templates and parameters of a new one beside it.

mod home;
mod service;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::service::Services;
use super::Fail;
use super::folder::Folder;
use super::stacks::{self, ACCOUNT, Deployed, Inputs, Making, REGION, Running, Stack, Stacks, TEMPLATES};

const REPOSITORY: &str = "plus3it+cfn-jenkins";
const FETCH: &str = "fetch github.com/plus3it/cfn-jenkins at 33cc2f7419";

const INFRASTRUCTURE: &str = "make_jenkins_infra.tmplt.json";
const BALANCER: &str = "make_jenkins_ELBv1-pub-autoscale.tmplt.json";
const MASTER: &str = "make_jenkins_EC2-Master-autoscale.tmplt.json";
/// The nested stacks of the infrastructure, by the parameter that takes the URL.
const NESTED: [(&str, &str); 3] = [
    ("BucketTemplate", "make_jenkins_S3-bucket.tmplt.json"),
    ("IamRoleTemplate", "make_jenkins_IAM-role.tmplt.json"),
    ("SecurityGroupTemplate", "make_jenkins_SGs.tmplt.json"),
];

/// The load balancer's parameters as the repository publishes them: an example with placeholders, which is not JSON.
const EXAMPLE: &str = "docs/ELBv1.parameters";

/// The folder of the backups in both services' buckets.
const BACKUPS: &str = "Backups";
const OLD_VERSION: &str = "2.150.3";
const NEW_VERSION: &str = "2.164.1";
/// The archives of the old service, in the order in which its cron job wrote them: the names have the minute only, so that the
/// newest is not the last by name.
const ARCHIVES: [(&str, usize); 3] = [("40", 3), ("00", 4), ("20", 5)];
/// Older ones would be refused as stale: the old service's are no older than twenty minutes.
const FRESH: time::Duration = time::Duration::minutes(20);

/// The order in which a service is made.
const LABELS: [&str; 3] = ["infra", "elb", "ec2"];

type Parameters = BTreeMap<String, String>;

/// The folder of the repository.
pub(super) fn inputs(given: Option<&Path>, _fail: Option<Fail>) -> Result<PathBuf, String> {
    stacks::repository(given, REPOSITORY, &format!("Templates/{INFRASTRUCTURE}"), FETCH)
}

/// Makes the old service, and the files of the new one.
pub(super) async fn start(folder: &Folder, given: Option<&Path>, fail: Option<Fail>) -> io::Result<Running> {
    let inputs = inputs(given, fail).map_err(io::Error::other)?;
    let template = |name: &str| stacks::read(&inputs.join("Templates").join(name));
    let mut making = Making::new(folder).await?;
    let mut nested = Parameters::new();
    for (parameter, name) in NESTED {
        let text = making.copy(name, &template(name)?, &Parameters::new())?;
        nested.insert(parameter.to_owned(), making.upload(&format!("jenkins/{name}"), &text).await?);
    }
    let network = Network::of(&making).await?;

    // The old service, made as the new one will be.
    let mut fed = Parameters::new();
    for (label, name) in [("infra", INFRASTRUCTURE), ("elb", BALANCER), ("ec2", MASTER)] {
        let mut parameters = network.parameters(label, "old");
        parameters.extend(if label == "infra" { nested.clone() } else { outputs_into(label, &fed) });
        let text = making.copy(name, &template(name)?, &parameters)?;
        let stack = format!("jenkins-old-{label}");
        making.create(&Stack { name: &stack, template: &text, parameters: &parameters }).await?;
        fed.extend(making.outputs(&stack).await?);
    }
    let old_bucket = fed.get("JenkinsS3Bucket").cloned().unwrap_or_default();
    back_up(&making, &old_bucket, fail).await?;

    let mut files = PathBuf::new();
    for (label, name) in [("infra", INFRASTRUCTURE), ("elb", BALANCER), ("ec2", MASTER)] {
        let mut parameters = network.parameters(label, "new");
        // Conditions that the emulator can't evaluate ask only whether these are empty, and they will not be.
        let mut complete = parameters.clone();
        match label {
            "infra" => parameters.extend(nested.clone()),
            _ => complete.extend(outputs_into(label, &fed)),
        }
        let text = making.copy(name, &template(name)?, &complete)?;
        files = making.file(label, &text, &parameters)?;
    }
    if fail == Some(Fail::Parameters) {
        std::fs::write(files.join("elb.arguments"), stacks::read(&inputs.join(EXAMPLE))?)?;
    }

    let services = Services::start(making.emulator().clone(), making.ports()?).await?;
    let (old, new) = (services.old.clone(), services.new.clone());
    making.beside(&[&old, &new], services)?;
    making
        .finish(|aws, pids| Stacks {
            pids,
            aws,
            inputs: workflow_inputs(&files, &old_bucket, &old, &new),
            stacks: LABELS
                .map(|label| Deployed { label: label.to_owned(), name: format!("jenkins-new-{label}") })
                .to_vec(),
            untouched: LABELS.map(|label| format!("jenkins-old-{label}")).to_vec(),
            table: None,
            copies: Vec::new(),
            fail,
            maintenance: None,
            topic: None,
            // A user's name and API token: nobody checks them here.
            secrets: [("JENKINS_AUTHORIZATION".to_owned(), "Basic cmVoZWFyc2FsOnRva2Vu".to_owned())].into(),
        })
        .await
}

/// What the old service's cron job leaves in its bucket; archives that are there and fresh stay.
async fn back_up(making: &Making<'_>, bucket: &str, fail: Option<Fail>) -> io::Result<()> {
    let path = format!("/{bucket}?list-type=2&prefix={BACKUPS}/sync/");
    let (_, list) = making.emulator().s3(reqwest::Method::GET, &path, Vec::new()).await?;
    let written = stacks::texts(&String::from_utf8_lossy(&list), "LastModified").into_iter().max();
    let read = |text: String| OffsetDateTime::parse(&text, &Rfc3339).ok();
    if written.and_then(read).is_some_and(|written| OffsetDateTime::now_utc() - written < FRESH) {
        return Ok(());
    }
    for (minute, jobs) in ARCHIVES {
        let mut archive = home::pack(home::JOBS.get(..jobs).unwrap_or_default())?;
        if fail == Some(Fail::Restore) {
            archive.truncate(archive.len() / 2 + 1);
        }
        let key = format!("{BACKUPS}/sync/JENKINS_HOME-{minute}.tar");
        making.emulator().put_object(bucket, &key, &archive).await?;
        // S3's times are whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    Ok(())
}

/// The network that both services are in: the account's default one.
struct Network {
    vpc: String,
    subnets: String,
}

impl Network {
    async fn of(making: &Making<'_>) -> io::Result<Self> {
        let ask = async |action| {
            let request = [("Action", action), ("Version", "2016-11-15")];
            making.emulator().query("ec2", &request).await.map(|(_, answer)| answer)
        };
        let vpcs = stacks::texts(&ask("DescribeVpcs").await?, "vpcId");
        let vpc = vpcs.into_iter().next().ok_or_else(|| io::Error::other("the emulator has no network"))?;
        Ok(Self { vpc, subnets: stacks::texts(&ask("DescribeSubnets").await?, "subnetId").join(",") })
    }

    /// What a person fills in, but for what comes from other stacks.
    fn parameters(&self, label: &str, age: &str) -> Parameters {
        let script = |name: &str| format!("https://s3.{REGION}.amazonaws.com/{TEMPLATES}/jenkins/{name}");
        let pairs = match label {
            "infra" => vec![
                ("BackupBucketName", format!("jenkins-{age}-backups")),
                ("CloudwatchBucketName", "amazoncloudwatch-agent".to_owned()),
                ("JenkinsAgentPort", "50000".to_owned()),
                ("RolePrefix", format!("JENKINS-{age}")),
                ("TargetVPC", self.vpc.clone()),
            ],
            "elb" => vec![
                ("BackendTimeout", "600".to_owned()),
                ("HaSubnets", self.subnets.clone()),
                ("JenkinsAgentPort", "50000".to_owned()),
                ("JenkinsListenerCert", "12345678-1234-1234-1234-123456789012".to_owned()),
                ("ProxyPrettyName", format!("jenkins-{age}")),
            ],
            _ => vec![
                ("AdminPubkeyURL", String::new()),
                ("AmiId", "ami-0abcdef1234567890".to_owned()),
                ("BackupFolder", BACKUPS.to_owned()),
                ("InstanceType", "t3.xlarge".to_owned()),
                ("JenkinsAppinstallScriptUrl", script("jenkins_appinstall.sh")),
                ("JenkinsOsPrepScriptUrl", script("jenkins_osprep.sh")),
                (
                    "JenkinsRpmName",
                    format!("jenkins-{}", if age == "old" { OLD_VERSION } else { NEW_VERSION }),
                ),
                ("KeyPairName", String::new()),
                ("SubnetIds", self.subnets.clone()),
            ],
        };
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// What the workflow passes on from stack to stack, for the old service.
fn outputs_into(label: &str, outputs: &Parameters) -> Parameters {
    let pairs: &[(&str, &str)] = match label {
        "elb" => &[("SecurityGroupIds", "JenkinsAppSg")],
        _ => &[
            ("BackupBucket", "JenkinsS3Bucket"),
            ("InstanceRoleName", "JenkinsIamRoleName"),
            ("InstanceRoleProfile", "JenkinsIamRoleProfile"),
            ("LoadBalancerNames", "JenkinsElbId"),
            ("SecurityGroupIds", "JenkinsAppSg"),
        ],
    };
    let value = |output: &str| outputs.get(output).cloned().unwrap_or_default();
    pairs.iter().map(|(parameter, output)| ((*parameter).to_owned(), value(output))).collect()
}

fn workflow_inputs(files: &Path, old_bucket: &str, old: &str, new: &str) -> Inputs {
    let inputs = [
        ("templates", files.display().to_string()),
        ("stacks", "jenkins-new".to_owned()),
        ("template-bucket", format!("s3://{TEMPLATES}/deployed")),
        ("backups", format!("s3://{old_bucket}/{BACKUPS}/sync/")),
        ("old-url", old.to_owned()),
        ("new-url", new.to_owned()),
        ("version", NEW_VERSION.to_owned()),
        ("account", ACCOUNT.to_owned()),
        ("region", REGION.to_owned()),
        ("role", format!("arn:aws:iam::{ACCOUNT}:role/release")),
    ];
    inputs.map(|(name, value)| (name.to_owned(), value)).into()
}
