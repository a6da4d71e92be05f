//! Jenkins' runbook with its real templates: infrastructure in nested stacks, a load balancer that takes the security group from
//! its outputs, and a master whose template is too long for a request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use testkit::inputs;
use testkit::templates::derive;

use super::{Stage, arguments, line, read, texts};
use crate::world::REGION;

type Parameters = BTreeMap<String, String>;

const INFRASTRUCTURE: &str = "make_jenkins_infra.tmplt.json";
const BALANCER: &str = "make_jenkins_ELBv1-pub-autoscale.tmplt.json";
const MASTER: &str = "make_jenkins_EC2-Master-autoscale.tmplt.json";
const NESTED: [(&str, &str); 3] = [
    ("BucketTemplate", "make_jenkins_S3-bucket.tmplt.json"),
    ("IamRoleTemplate", "make_jenkins_IAM-role.tmplt.json"),
    ("SecurityGroupTemplate", "make_jenkins_SGs.tmplt.json"),
];

const NAMED: [&str; 4] = ["--capability", "CAPABILITY_NAMED_IAM", "--capability", "CAPABILITY_IAM"];

fn repository(skipped: &str) -> Option<PathBuf> {
    inputs::recorded(skipped).map(|folder| folder.join("plus3it+cfn-jenkins"))
}

fn map(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The release's files, and its operands of `--stack`.
struct Release {
    infra: String,
    elb: String,
    ec2: String,
}

async fn release(stage: &Stage, repository: &std::path::Path) -> Release {
    let template = |name: &str| read(&repository.join("Templates").join(name));
    let bucket = format!("templates-{}", stage.account);
    stage.put(&bucket, "").await;
    let mut infra = Parameters::new();
    for (parameter, name) in NESTED {
        let copy = derive(&template(name), &Parameters::new()).expect("a template").text;
        stage.put(&format!("{bucket}/jenkins/{name}"), &copy).await;
        infra.insert(
            parameter.to_owned(),
            format!("https://s3.{REGION}.amazonaws.com/{bucket}/jenkins/{name}"),
        );
    }
    let ask = async |action: &str| stage.query("ec2", "2016-11-15", &[("Action", action)]).await;
    let vpc = texts(&ask("DescribeVpcs").await, "vpcId").remove(0);
    let subnets = texts(&ask("DescribeSubnets").await, "subnetId").join(",");
    let script = |name: &str| format!("https://s3.{REGION}.amazonaws.com/{bucket}/{name}");
    infra.extend(map(&[
        ("BackupBucketName", &format!("jenkins-backups-{}", stage.account)),
        ("CloudwatchBucketName", "amazoncloudwatch-agent"),
        ("JenkinsAgentPort", "50000"),
        ("RolePrefix", "JENKINS"),
        ("TargetVPC", &vpc),
    ]));
    let elb = map(&[
        ("BackendTimeout", "600"),
        ("HaSubnets", &subnets),
        ("JenkinsAgentPort", "50000"),
        ("JenkinsListenerCert", "12345678-1234-1234-1234-123456789012"),
        ("ProxyPrettyName", "jenkins"),
    ]);
    let ec2 = map(&[
        ("AdminPubkeyURL", ""),
        ("AmiId", "ami-0abcdef1234567890"),
        ("BackupFolder", "Backups"),
        ("InstanceType", "t3.xlarge"),
        ("JenkinsAppinstallScriptUrl", &script("jenkins_appinstall.sh")),
        ("JenkinsOsPrepScriptUrl", &script("jenkins_osprep.sh")),
        ("JenkinsRpmName", "jenkins-2.164.1"),
        ("KeyPairName", ""),
        ("SubnetIds", &subnets),
    ]);
    let file = |label: &str, name: &str, values: &Parameters| {
        // Conditions that the emulator can't evaluate ask only whether these are empty, and they will not be.
        let mut complete = values.clone();
        for from_elsewhere in [
            "SecurityGroupIds",
            "BackupBucket",
            "InstanceRoleName",
            "InstanceRoleProfile",
            "LoadBalancerNames",
        ] {
            complete.insert(from_elsewhere.to_owned(), "given".to_owned());
        }
        let copy = derive(&template(name), &complete).expect("a template").text;
        stage.file(&format!("{label}.template"), &copy);
        stage.file(&format!("{label}.arguments"), &arguments(values));
        format!("{label}:jenkins-{label}={label}.template,{label}.arguments")
    };
    Release {
        infra: file("infra", INFRASTRUCTURE, &infra),
        elb: file("elb", BALANCER, &elb),
        ec2: file("ec2", MASTER, &ec2),
    }
}

const GROUP: [&str; 2] = ["--param", "elb.SecurityGroupIds=@infra.JenkinsAppSg"];

#[tokio::test]
async fn what_needs_an_output_that_does_not_exist_yet_waits_for_its_own_review() {
    let Some(repository) = repository("Jenkins' three stacks") else { return };
    let stage = Stage::start().await;
    let release = release(&stage, &repository).await;
    let args = [&["--stack", &release.infra, "--stack", &release.elb], &GROUP[..], &NAMED].concat();
    let (approved, ran) = stage.reviewed("review.json", &args, 0).await;
    assert_eq!(line(&ran.stdout, "provisional="), "elb");
    assert!(
        ran.stdout.contains("it needs the output JenkinsAppSg of infra, which is still to be made"),
        "{}",
        ran.stdout
    );
    assert_eq!(stage.operations(), ["DeleteStack"], "the empty stack of the change set that was looked at");
    assert_eq!(stage.status("jenkins-infra").await, None);

    stage.front.forget();
    let ran = stage.deploy_as(&approved, "create", &args).await.expect(7);
    let command = format!(
        "help: review it now: changeset-review --stack {} --stack {} --param elb.SecurityGroupIds=@infra.JenkinsAppSg \
         --capability CAPABILITY_NAMED_IAM --capability CAPABILITY_IAM --report review.json",
        release.infra, release.elb
    );
    ran.says(&[
        "infra: CREATE_COMPLETE",
        "CREATE_COMPLETE SgRes (AWS::CloudFormation::Stack)",
        "error: run stack elb",
        "it could not be planned then: it needs the output JenkinsAppSg of infra",
        &command,
        "state: through: infra",
    ]);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    assert_eq!(stage.status("jenkins-elb").await, None);

    // Just as the message says.
    let (approved, ran) = stage.reviewed("review.json", &args, 0).await;
    assert_eq!(line(&ran.stdout, "provisional="), "");
    stage.front.forget();
    stage
        .deploy_as(&approved, "create", &args)
        .await
        .expect(0)
        .says(&["infra: nothing changes", "elb: CREATE_COMPLETE"]);
    assert_eq!(stage.operations(), ["ExecuteChangeSet"]);
    // The nested stack's security group got where the runbook has it copied by hand.
    let outputs = stage.cloudformation("DescribeStacks", &[("StackName", "jenkins-infra")]).await;
    let group =
        texts(&outputs, "OutputValue").into_iter().find(|value| value.starts_with("sg-")).expect("a group");
    let made = stage.calls("CreateChangeSet").last().expect("a change set").request.to_string();
    assert!(made.contains(&group), "{group} is not in {made}");
    stage.is_whole();
}

#[tokio::test]
async fn a_template_that_is_too_long_for_a_request_goes_through_the_bucket() {
    let Some(repository) = repository("Jenkins' master") else { return };
    let stage = Stage::start().await;
    let release = release(&stage, &repository).await;
    let given = [
        "--param",
        "SecurityGroupIds=sg-0123456789abcdef0",
        "--param",
        "BackupBucket=backups",
        "--param",
        "InstanceRoleName=JENKINS",
        "--param",
        "InstanceRoleProfile=JENKINS",
        "--param",
        "LoadBalancerNames=jenkins",
    ];
    let args = [&["--stack", &release.ec2], &given[..], &NAMED].concat();
    for ran in [stage.review(&args).await, stage.deploy("create", &args).await] {
        ran.expect(3).says(&[
            "bytes, and a request takes 51200 at most",
            "help: name a bucket with --template-bucket",
            "state: nothing was changed",
        ]);
    }
    assert_eq!(stage.writes(), Vec::<String>::new());
    let bucket = format!("s3://templates-{}/deployed", stage.account);
    let args = [&args[..], &["--template-bucket", &bucket]].concat();
    let (approved, _) = stage.reviewed("review.json", &args, 0).await;
    stage.deploy_as(&approved, "create", &args).await.expect(0);
    assert_eq!(stage.status("jenkins-ec2").await.as_deref(), Some("CREATE_COMPLETE"));
    let url = &stage.calls("CreateChangeSet")[0].request["TemplateURL"];
    assert!(
        url.as_str().is_some_and(|url| url.contains("/deployed/") && url.ends_with(".template")),
        "{url}"
    );
    stage.is_whole();
}

#[tokio::test]
async fn a_file_with_placeholders_that_is_no_json_is_told_by_its_lines() {
    let Some(repository) = repository("Jenkins' published parameters") else { return };
    let stage = Stage::start().await;
    let template = repository.join("Templates").join(BALANCER).display().to_string();
    let example = repository.join("docs/ELBv1.parameters").display().to_string();
    let operand = format!("elb:jenkins-elb={template},{example}");
    for ran in
        [stage.review(&["--stack", &operand]).await, stage.deploy("create", &["--stack", &operand]).await]
    {
        ran.expect(2).says(&[
            "docs/ELBv1.parameters",
            "line 4, column 50",
            "<-- Recommend value >= 600",
            "line 8: the text is not closed",
            "state: nothing was changed",
        ]);
    }
    assert_eq!(stage.front.calls().len(), 0, "AWS was not asked");
}
