//! A review leaves nothing behind but what it tells: its change sets, the empty stacks of new ones, files, comments.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::front::When;
use testkit::github::{Fault, GithubWorld, Options, TOKEN};

use super::{Stage, line, read, tiles};
use crate::world::run;

#[tokio::test]
async fn nothing_is_left_of_a_review_but_with_keep() {
    let stage = Stage::start().await;
    stage.tiles("Core", &tiles("core", "one")).await;
    let changed = stage.file("changed.template", &tiles("core", "two").to_string());
    let fresh = stage.file("fresh.template", &tiles("fresh", "one").to_string());
    let (changed, fresh) = (format!("core:Core={changed}"), format!("fresh:Fresh={fresh}"));
    stage.front.forget();
    let both = ["--stack", changed.as_str(), "--stack", fresh.as_str()];
    stage.review(&both).await.expect(0);
    assert_eq!(
        stage.writes(),
        ["CreateChangeSet", "DeleteChangeSet", "CreateChangeSet", "DeleteChangeSet", "DeleteStack"]
    );
    assert_eq!(stage.sets("Core").await, Vec::<String>::new());
    assert_eq!(stage.status("Fresh").await, None);

    // That nothing changes leaves nothing either.
    let same = stage.file("same.template", &tiles("core", "one").to_string());
    let ran = stage.review(&["--stack", &format!("core:Core={same}"), "--keep"]).await.expect(0);
    assert_eq!(line(&ran.stdout, "has-changes="), "false");
    assert_eq!(stage.sets("Core").await, Vec::<String>::new());

    let receipt = stage.path("kept.json").display().to_string();
    let kept = stage.review(&[&both[..], &["--keep", "--receipt", &receipt]].concat()).await.expect(0);
    let arns: Value = serde_json::from_str(&line(&kept.stdout, "change-set-arns=")).unwrap();
    let set = stage.sets("Core").await;
    assert!(arns["core"].as_str().is_some_and(|arn| arn.contains(&set[0])), "{arns} {set:?}");
    assert_eq!(stage.status("Fresh").await.as_deref(), Some("REVIEW_IN_PROGRESS"));
    // And --undo takes those away.
    stage.review(&["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.sets("Core").await, Vec::<String>::new());
    assert_eq!(stage.status("Fresh").await, None);
    stage.is_whole();
}

/// "As soon as one action was started and is not known to have had no effect, a failure or refusal becomes 4": docs/exit-codes.md.
#[tokio::test]
async fn a_refusal_that_leaves_its_change_sets_is_not_nothing() {
    let stage = Stage::start().await;
    stage.tiles("Core", &tiles("core", "one")).await;
    let mut without = tiles("core", "one");
    without["Resources"].as_object_mut().unwrap().remove("TileTable");
    let without = stage.file("without.template", &without.to_string());
    let receipt = stage.path("kept.json").display().to_string();
    let args = ["--stack", &format!("core:Core={without}"), "--receipt", &receipt];
    stage.review(&args).await.expect(3).says(&["what this run did is taken back"]);
    assert_eq!(stage.sets("Core").await, Vec::<String>::new());
    let kept = stage.review(&[&args[..], &["--keep"]].concat()).await.expect(4);
    kept.says(&["core/TileTable: LOSS (remove-delete)", "done: ", "receipt: "]);
    assert_eq!(stage.sets("Core").await.len(), 1);
    stage.review(&["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.sets("Core").await, Vec::<String>::new());
    let help = run(stage.command("changeset-review", &["--help"])).await.expect(0);
    assert!(help.stdout.contains("as 1 or 3, and change sets are left, as --keep asks"), "{}", help.stdout);
    stage.is_whole();
}

#[tokio::test]
async fn what_a_cancelled_review_left_is_told_and_taken_away_by_undo() {
    let stage = Stage::start().await;
    let fresh = stage.file("fresh.template", &tiles("fresh", "one").to_string());
    let receipt = stage.path("cut.json").display().to_string();
    let args = ["--stack", &format!("fresh:Fresh={fresh}"), "--receipt", &receipt];
    let hold = stage.front.hold("cloudformation:DescribeChangeSet", When::BeforeForward);
    let mut command = stage.command("changeset-review", &args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the executable starts");
    let pid = child.id().expect("it runs").to_string();
    hold.arrived().await;
    let kill = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
    assert!(kill.success());
    let output = child.wait_with_output().await.expect("an end");
    drop(hold);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(143), "{told}");
    assert_eq!(
        stage.sets("Fresh").await,
        Vec::<String>::new(),
        "the set itself goes within the time there is:\n{told}"
    );
    if stage.status("Fresh").await.is_some() {
        assert!(told.contains("--undo"), "{told}");
        stage.review(&["--undo", &receipt]).await.expect(0).says(&["delete the empty stack Fresh"]);
    }
    assert_eq!(stage.status("Fresh").await, None);
    stage.review(&["--undo", &receipt]).await.expect(0);
    stage.is_whole();
}

#[tokio::test]
async fn nested_sets_pages_and_values_that_are_left_out_are_read_whole() {
    let (stage, scenario) = Stage::scene("nested-review").await;
    let template = stage
        .file("infra.template", &json!({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}).to_string());
    let ran = stage
        .review(&["--stack", &format!("infra:jenkins-infra={template}"), "--comment-file", "comment.md"])
        .await;
    let ran = ran.expect(3);
    for text in [
        // Of the nested set.
        "infra/S3Res/Bucket  AWS::S3::Bucket  REPLACE, the old one is DELETED",
        "--allow infra/S3Res/Bucket:replace-delete",
        // A nested stack goes with a table in it.
        "infra/IamRes",
        "Audit",
        // Of the plain description's second page and of the set with values.
        "[WARN] --include-property-values option can return incomplete ChangeSet data because: No export named core-queue found.",
        "somebody else's change set h1a2b3c4 of this stack could be executed too",
    ] {
        let told: String = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&text), "`{text}` is not in:\n{}", ran.stdout);
    }
    assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"]);
    assert!(read(&stage.path("comment.md")).contains("infra/S3Res/Bucket"));
    stage.is_played(&scenario);
}

#[tokio::test]
async fn a_set_that_cannot_be_made_tells_the_nested_reason_and_goes_too() {
    let (stage, scenario) = Stage::scene("failed-review").await;
    let template = stage
        .file("infra.template", &json!({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}).to_string());
    stage.review(&["--stack", &format!("infra:jenkins-infra={template}")]).await.expect(1).says(&[
        "error: make a change set for stack infra",
        "jenkins-infra-S3Res-ABC: Bucket (AWS::S3::Bucket)",
        "with identifier 'jenkins-backups' already exists. [NAME_CONFLICT_VALIDATION]",
        "state: nothing was changed: what this run did is taken back",
    ]);
    assert_eq!(stage.writes(), ["CreateChangeSet", "DeleteChangeSet"]);
    stage.is_played(&scenario);
}

const REPO: &str = "acme/release";

#[tokio::test]
async fn the_review_is_kept_as_one_comment_and_a_token_that_may_not_stops_nothing() {
    let stage = Stage::start().await;
    stage.tiles("Core", &tiles("core", "one")).await;
    let github = GithubWorld::start(Options::default()).await.expect("GitHub");
    github.repository(REPO, "main");
    github.pull_request(REPO, 7);
    let review = async |text: &str, args: &[&str]| {
        stage.file("changed.template", &tiles("core-2", text).to_string());
        let stack = ["--stack", "core:Core=changed.template", "--pull-request", "7"];
        let mut command = stage.command("changeset-review", &[&stack[..], args].concat());
        command.env("GITHUB_API_URL", github.url()).env("GITHUB_TOKEN", TOKEN).env("GITHUB_REPOSITORY", REPO);
        run(command).await.expect(3)
    };
    let allow = ["--comment-file", "comment.md"];
    review("two", &allow).await.says(&["commented: "]);
    review("two", &allow).await.says(&["the comment says so already: "]);
    let approved = review("three", &["--strict", "--comment-file", "comment.md"]).await;
    approved.says(&["brought the comment up to date: "]);
    let comments = github.comments(REPO, 7);
    assert_eq!(comments.len(), 1);
    let body = comments[0]["body"].as_str().unwrap();
    assert_eq!(body.trim(), read(&stage.path("comment.md")).trim());
    assert!(
        body.contains("core/TileTable") && body.contains("replace-delete") && body.contains("```mermaid"),
        "{body}"
    );
    assert!(body.len() < 65_536);
    github.fault(Fault::status(
        "POST",
        "/repos/acme/release/issues/8/comments",
        403,
        "Resource not accessible by integration",
    ));
    github.pull_request(REPO, 8);
    stage.file("changed.template", &tiles("core-2", "two").to_string());
    let mut command =
        stage.command("changeset-review", &["--stack", "core:Core=changed.template", "--pull-request", "8"]);
    command.env("GITHUB_API_URL", github.url()).env("GITHUB_TOKEN", TOKEN).env("GITHUB_REPOSITORY", REPO);
    run(command).await.expect(3).says(&[
        "warning: there is no comment on pull request 8",
        "Resource not accessible by integration",
        "pull-requests: write",
    ]);
    stage.is_whole();
}

#[tokio::test]
async fn every_parameter_that_does_not_fit_is_told_at_once() {
    let stage = Stage::start().await;
    let template = json!({
        "Parameters": {
            "Size": {"Type": "String", "AllowedValues": ["small", "large"]},
            "Port": {"Type": "Number", "MinValue": 1},
            "Name": {"Type": "String", "AllowedPattern": "[a-z]+"},
            "Cert": {"Type": "String"},
            "Missing": {"Type": "String"},
        },
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    });
    let template = stage.file("t.template", &template.to_string());
    let arguments = json!([
        {"ParameterKey": "Size", "ParameterValue": "medium"},
        {"ParameterKey": "Port", "ParameterValue": "http"},
        {"ParameterKey": "Name", "ParameterValue": "N1"},
        {"ParameterKey": "Cert", "ParameterValue": "<ACM_CERT_ID>"},
        {"ParameterKey": "Sise", "ParameterValue": "small"},
    ]);
    let arguments = stage.file("t.arguments", &serde_json::to_string_pretty(&arguments).unwrap());
    let operand = format!("core:Core={template},{arguments}");
    for ran in
        [stage.review(&["--stack", &operand]).await, stage.deploy("create", &["--stack", &operand]).await]
    {
        ran.expect(2).says(&[
            "Size",
            "medium",
            "Port",
            "Name",
            "<ACM_CERT_ID>",
            "Missing",
            "Sise",
            "line ",
            "state: nothing was changed",
        ]);
    }
    assert_eq!(stage.writes(), Vec::<String>::new());
    // A template that is none.
    let broken =
        stage.file("broken.template", "{\"Resources\": {\"Topic\": {\"Type\": \"AWS::SNS::Topic\"}}");
    stage
        .review(&["--stack", &format!("core:Core={broken}")])
        .await
        .expect(2)
        .says(&["error: read the template broken.template", "line 1"]);
}

/// Everything that a run leaves in a folder or prints.
fn all_of(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            all_of(&entry.path(), into);
        } else if !entry.file_name().to_string_lossy().ends_with(".template")
            && !entry.file_name().to_string_lossy().ends_with(".stack.json")
        {
            into.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

#[tokio::test]
async fn secrets_are_in_nothing_that_is_printed_or_left() {
    let stage = Stage::start().await;
    let auth = |size: &str, password: &str| {
        json!({
            "Parameters": {
                "Token": {"Type": "String", "NoEcho": true},
                "DbPassword": {"Type": "String", "Default": "careless-sekret"}},
            "Resources": {
                "AuthDB": {"Type": "AWS::RDS::DBInstance", "Properties": {
                    "AllocatedStorage": "5", "DBInstanceClass": size, "Engine": "mysql", "DBInstanceIdentifier": "auth",
                    "MasterUsername": "keycloak", "MasterUserPassword": password}},
                "Parameter": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": {"Ref": "Token"}}},
            },
        })
        .to_string()
    };
    stage.file("auth.template", &auth("db.t3.micro", "body-sekret-one"));
    let mut text = String::new();
    let summary = stage.path("summary.md");
    let mut ran = async |step: &str, args: &[&str], token: &str| {
        let stack = ["--stack", "auth:Auth=auth.template", "--param", "Token=@env:TOKEN_OF_AUTH"];
        let mut command = stage.command(step, &[&stack[..], args].concat());
        command
            .env("TOKEN_OF_AUTH", token)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary);
        let ran = run(command).await;
        // The command by which the log's masks are set is not shown by GitHub, and is the only place where a secret may stand.
        let shown: String = ran
            .stdout
            .lines()
            .chain(ran.stderr.lines())
            .filter(|line| !line.starts_with("::add-mask::"))
            .collect::<Vec<_>>()
            .join("\n");
        text.push_str(&shown);
        ran.code
    };
    let report = ["--report", "r.json", "--comment-file", "c.md", "--comment-values"];
    assert_eq!(ran("changeset-review", &report, "env-sekret-one").await, 0);
    assert_eq!(ran("deploy-stack", &["--action", "create"], "env-sekret-one").await, 0);
    stage.file("auth.template", &auth("db.t3.small", "body-sekret-two"));
    assert!([0, 3].contains(&ran("changeset-review", &report, "env-sekret-two").await));
    assert!(
        [0, 3].contains(
            &ran("deploy-stack", &["--action", "update", "--format", "json"], "env-sekret-two").await
        )
    );
    let gone = [
        "--action",
        "recreate",
        "--save-to",
        "saved",
        "--allow",
        "auth/AuthDB:remove-delete,remove-snapshot",
    ];
    assert_eq!(ran("deploy-stack", &gone, "env-sekret-two").await, 0);
    all_of(stage.dir.path(), &mut text);
    assert!(text.contains("auth/AuthDB"), "{text}");
    let leaked: Vec<&str> = text.lines().filter(|line| line.contains("sekret")).collect();
    assert_eq!(leaked, Vec::<&str>::new());
    stage.is_whole();
}
