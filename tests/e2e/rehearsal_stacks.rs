//! The workflows of `BossDB` and Jenkins, driven whole with the real templates: what a person let pass is run in the runbook's order,
//! what nobody let pass stops before anything is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rehearsal::workflow::{Workflow, policy};
use rehearsal::world::{self, Aws, Description};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::inputs;
use tokio::process::Command;

use crate::rehearsal::{front, kill_tree, until};
use crate::world::{Ran, run};

/// The calls that change a stack.
const OPERATIONS: [&str; 5] =
    ["CreateStack", "DeleteStack", "ExecuteChangeSet", "RollbackStack", "UpdateStack"];

/// B12 to B30; of cloudwatch and idindexing the two scenarios have the same templates.
const UPDATE: [&str; 7] = [
    "ExecuteChangeSet CoreProductionBoss",
    "ExecuteChangeSet RedisProductionBoss",
    "ExecuteChangeSet ApiProductionBoss",
    "ExecuteChangeSet CachedbProductionBoss",
    "ExecuteChangeSet ActivitiesProductionBoss",
    "DeleteStack DynamolambdaProductionBoss",
    "ExecuteChangeSet DynamolambdaProductionBoss",
];

/// A world of its own, stopped and forgotten at the end.
struct Rehearsal {
    dir: TempDir,
    runbook: &'static str,
    inputs: PathBuf,
}

impl Rehearsal {
    /// `None` where the templates are not at hand.
    fn new(runbook: &'static str) -> Option<Self> {
        let inputs = inputs::recorded("a rehearsal of stacks")?;
        Some(Self { dir: tempfile::tempdir().unwrap(), runbook, inputs })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join(self.runbook)
    }

    async fn rehearse(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(["rehearse", "--repo", env!("CARGO_MANIFEST_DIR"), "--runbook", self.runbook, "--state"])
            .arg(self.state())
            .arg("--inputs")
            .arg(&self.inputs)
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(std::process::Stdio::null());
        command
    }

    /// Starts the world without a release.
    async fn start(&self) -> Aws {
        let mut command = Command::new(program());
        command.args(["world", "--background", "--runbook", self.runbook, "--state"]).arg(self.state());
        command.arg("--inputs").arg(&self.inputs);
        run(command).await.expect(0);
        match world::running(&self.state()).unwrap() {
            Some(Description::Boss(stacks) | Description::Jenkins(stacks)) => stacks.aws,
            other => panic!("another world runs: {other:?}"),
        }
    }

    /// The operations on stacks that had an effect, each with its stack, as the front recorded them.
    fn operations(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.state().join("calls.jsonl")).unwrap();
        let mut stacks = BTreeMap::new();
        let mut operations = Vec::new();
        for call in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let request = |key: &str| call["request"][key].as_str().unwrap_or_default().to_owned();
            let operation = call["operation"].as_str().unwrap().to_owned();
            if operation == "CreateChangeSet" {
                stacks.insert(request("ChangeSetName"), request("StackName"));
            }
            if !OPERATIONS.contains(&operation.as_str()) || call["effect"] != true {
                continue;
            }
            // arn:aws:cloudformation:REGION:ACCOUNT:changeSet/NAME/ID, and :stack/NAME/ID.
            let part = |arn: String| arn.split('/').nth(1).map_or(arn.clone(), str::to_owned);
            let stack = match operation.as_str() {
                "ExecuteChangeSet" => stacks[&part(request("ChangeSetName"))].clone(),
                _ => part(request("StackName")),
            };
            operations.push(format!("{operation} {stack}"));
        }
        operations
    }

    /// Everything that the runs handed on or showed on the run's page.
    fn handed_on(&self) -> String {
        let mut text = std::fs::read_to_string(self.state().join("summary.md")).unwrap_or_default();
        let mut folders = vec![self.state().join("artifacts")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
                }
            }
        }
        text
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // Nothing can be reported from here; a test that failed has said why.
        let _ = std::process::Command::new(program()).args(["stop", "--state"]).arg(self.state()).output();
    }
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_cutover")).with_file_name("rehearsal");
    assert!(program.is_file(), "{} is absent: build the whole workspace", program.display());
    program
}

fn last(ran: &Ran) -> &str {
    ran.stdout.trim_end().lines().last().unwrap_or_default()
}

/// The rows of the table of jobs, as `job result`.
fn jobs(ran: &Ran) -> Vec<String> {
    let rows = ran.stdout.lines().skip_while(|line| !(line.starts_with("job ") && line.contains("duration")));
    let rows = rows.skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| row.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn both_workflows_are_within_what_can_be_rehearsed_and_within_the_policy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["update-boss-stack.yml", "upgrade-jenkins-parallel.yml"] {
        let found = match Workflow::load(&root.join(".github/workflows").join(name), root, root) {
            Ok(workflow) => policy::check(&workflow),
            Err(findings) => findings,
        };
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn what_somebody_breaks_in_the_order_or_the_approval_is_noticed_by_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let boss = "update-boss-stack.yml";
    let jenkins = "upgrade-jenkins-parallel.yml";
    for (file, from, to, named) in [
        (boss, "    environment: ${{ inputs.environment }}\n", "", "job `core` writes (`deploy-stack`)"),
        (
            boss,
            "          fingerprint: ${{ needs.review.outputs.fingerprint }}\n",
            "",
            "has no `fingerprint`",
        ),
        (boss, "          review: review/review.json\n", "", "has no `review`"),
        (boss, "needs: [review, core]", "needs: core", "needs.review.outputs.fingerprint"),
        (boss, "needs: [review, core]", "needs: [review, kore]", "`kore`"),
        (jenkins, "    needs: infra\n", "", "`review-elb` needs nothing"),
        (jenkins, "needs.review-elb.outputs.fingerprint", "needs.review-elb.outputs.finger", "finger"),
    ] {
        let text = std::fs::read_to_string(root.join(".github/workflows").join(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), text.replacen(from, to, 1)).unwrap();
        let found = match Workflow::load(&dir.path().join(file), root, root) {
            Ok(workflow) => policy::check(&workflow),
            Err(findings) => findings,
        };
        assert!(found.iter().any(|finding| finding.what.contains(named)), "`{from}` -> `{to}`: {found:#?}");
    }
}

#[tokio::test]
async fn bossdb_is_updated_in_the_runbooks_order_and_keeps_its_data() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let first = rehearsal.rehearse(&[]).await.expect(0);
    assert_eq!(rehearsal.operations(), UPDATE);
    assert_eq!(
        last(&first),
        "DONE: 7 operations on stacks, and vault.production.boss still has all it had (1)"
    );
    // What the emulator has not is named.
    for copied in ["NAT (AWS::EC2::NatGateway)", "CacheManager (AWS::EC2::Instance)"] {
        assert!(first.stdout.contains(copied), "{}", first.stdout);
    }

    // The generated templates hold a password in clear.
    let template =
        std::fs::read_to_string(rehearsal.state().join("templates/ApiProductionBoss.template")).unwrap();
    let template: Value = serde_json::from_str(&template).unwrap();
    let password = template.pointer("/Resources/EndpointDB/Properties/MasterUserPassword").unwrap();
    let password = password.as_str().filter(|password| password.len() > 8).unwrap();
    assert!(!rehearsal.handed_on().contains(password), "a password is in an artefact or a summary");
    assert!(!first.stdout.contains(password), "a password is in the log");

    // Everything again: only the stack that is always made anew.
    let second = rehearsal.rehearse(&[]).await.expect(0);
    assert_eq!(rehearsal.operations()[UPDATE.len()..], UPDATE[5..]);
    assert!(second.stdout.contains("core: nothing changes"), "{}", second.stdout);
}

/// An update that fails in the middle: nobody is shown what is half-way, and nobody is left without alerts. The rest is done by
/// running it again (runbook steps B4, B11, B32 and B34).
#[tokio::test]
async fn when_an_update_fails_the_page_stays_and_the_alerts_come_back() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let aws = rehearsal.start().await;
    let denied = json!({
        "at": "cloudformation:ExecuteChangeSet#3",
        "effect": { "error": { "status": 403, "code": "AccessDenied", "message": "not authorized" } },
    });
    front(&aws, Method::POST, "/_front/faults", Some(denied)).await;
    let ran = rehearsal.rehearse(&[]).await.expect(1);
    assert!(last(&ran).starts_with("PART-WAY: the release failed after 2 operations"), "{}", ran.stdout);
    assert!(last(&ran).contains("api.theboss.io shows the page \"Down for Maintenance\""), "{}", last(&ran));
    assert!(ran.stdout.contains("alerts: 0 of 3 addresses are silenced"), "{}", ran.stdout);
    let ends = jobs(&ran);
    for end in ["api failure", "cachedb skipped", "open skipped", "unmute success", "stays-closed success"] {
        assert!(ends.iter().any(|job| job == end), "{end}: {ends:?}");
    }
    assert!(ran.stdout.contains("--release 'update of ProductionBoss'"), "{}", ran.stdout);

    let again = rehearsal.rehearse(&[]).await.expect(0);
    assert!(
        again.stdout.contains("the maintenance page is on: update of ProductionBoss"),
        "{}",
        again.stdout
    );
    assert!(again.stdout.contains("api.theboss.io shows {\"ping\":\"pong\"}"), "{}", again.stdout);
    assert!(last(&again).starts_with("DONE: "), "{}", last(&again));
}

#[tokio::test]
async fn what_nobody_let_pass_stops_before_anything_is_touched() {
    for (runbook, fail, says) in [
        (
            "boss",
            "table",
            &["api/EndpointMetaDB: LOSS (replace-delete)", "Process completed with exit code 3"][..],
        ),
        // boss-manage's own change from 583f06e to 81bfbfb.
        ("boss", "indexes", &["api/tileIndex: WILL FAIL", "Process completed with exit code 3"]),
        // The example of plus3it's repository, where the fourth line goes on after the value.
        ("jenkins", "parameters", &["elb.arguments", "line 4"]),
    ] {
        let Some(rehearsal) = Rehearsal::new(runbook) else { return };
        let ran = rehearsal.rehearse(&["--fail", fail]).await.expect(1);
        for text in says {
            assert!(ran.stdout.contains(text), "{fail}: `{text}` is not in:\n{}", ran.stdout);
        }
        assert!(
            last(&ran).starts_with("STOPPED: no stack was created, changed or deleted; "),
            "{}",
            ran.stdout
        );
        assert_eq!(rehearsal.operations(), [""; 0], "{fail}");
        let (first, rest) =
            jobs(&ran).split_first().map(|(first, rest)| (first.clone(), rest.to_vec())).unwrap();
        assert!(first.ends_with(" failure"), "{first}");
        let (report, between) = rest.split_last().unwrap();
        assert!(between.iter().all(|job| job.ends_with(" skipped")), "{rest:?}");
        assert_eq!(report, "report success");
    }
}

#[tokio::test]
async fn a_pull_request_gets_one_comment_and_no_stack_is_touched() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let review = ["--variant", "review"];
    for _ in 0..2 {
        let ran = rehearsal.rehearse(&review).await.expect(0);
        assert!(ran.stdout.lines().last().unwrap().starts_with("REVIEWED: "), "{}", ran.stdout);
        assert_eq!(rehearsal.operations(), [""; 0]);
    }
    let Some(other) = Rehearsal::new("boss") else { return };
    let ran = other.rehearse(&["--variant", "review", "--fail", "table"]).await.expect(1);
    assert!(ran.stdout.lines().last().unwrap().starts_with("REFUSED: "), "{}", ran.stdout);
    let comment = ran.stdout.split("== The comment").nth(1).unwrap();
    assert!(comment.contains("**LOSS**") && comment.contains("--allow api/EndpointMetaDB:"), "{comment}");
}

#[tokio::test]
async fn without_approval_nothing_runs() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let ran = rehearsal.rehearse(&["--approve", "staging"]).await.expect(1);
    assert!(
        ran.stdout.contains("Gate: environment production: the deployment was rejected"),
        "{}",
        ran.stdout
    );
    assert!(last(&ran).starts_with("STOPPED: "), "{}", ran.stdout);
    assert_eq!(rehearsal.operations(), [""; 0]);
    assert_eq!(jobs(&ran)[..3], ["review success", "approve failure", "close skipped"]);
}

#[tokio::test]
async fn redis_is_made_anew_only_after_it_has_drained() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let recreate = ["--input", "redis=recreate"];
    let refused = rehearsal.rehearse(&recreate).await.expect(1);
    assert!(refused.stdout.contains("redis/Cache: LOSS (remove-delete)"), "{}", refused.stdout);
    assert_eq!(rehearsal.operations(), [""; 0]);

    let allow = "allow=redis/Cache:remove-delete redis/CacheState:remove-delete";
    let pending = [&recreate[..], &["--input", allow, "--input", "drain-check=/bin/false"]].concat();
    let held = rehearsal.rehearse(&pending).await.expect(1);
    assert_eq!(rehearsal.operations(), ["ExecuteChangeSet CoreProductionBoss"]);
    assert!(jobs(&held).contains(&"redis failure".to_owned()), "{}", held.stdout);
    assert!(last(&held).starts_with("PART-WAY: "), "{}", held.stdout);

    let drained = [&recreate[..], &["--input", allow, "--input", "drain-check=/bin/true"]].concat();
    rehearsal.rehearse(&drained).await.expect(0);
    assert_eq!(
        rehearsal.operations()[1..4],
        [
            "DeleteStack RedisProductionBoss",
            "ExecuteChangeSet RedisProductionBoss",
            "ExecuteChangeSet ApiProductionBoss"
        ]
    );
}

/// B23, with the commits of boss-manage that did it: the index goes with one, and comes back with the next.
#[tokio::test]
async fn two_indexes_at_once_are_refused_and_the_split_passes() {
    let Some(rehearsal) = Rehearsal::new("boss") else { return };
    let refused = rehearsal.rehearse(&["--fail", "indexes"]).await.expect(1);
    assert!(refused.stdout.contains("api/tileIndex: WILL FAIL"), "{}", refused.stdout);
    let history = rehearsal.inputs.join("jhuapl-boss+boss-manage-generated/gsi-history");
    for commit in ["19f52d1", "3e84e82"] {
        let name = "ApiProductionBoss.template";
        std::fs::copy(history.join(commit).join(name), rehearsal.state().join("templates").join(name))
            .unwrap();
        let ran = rehearsal.rehearse(&["--fail", "indexes"]).await.expect(0);
        assert!(!ran.stdout.contains("WILL FAIL"), "{commit}: {}", ran.stdout);
        assert!(rehearsal.handed_on().contains("tileIndex"), "{commit}: the review does not name the table");
    }
    let operations = rehearsal.operations();
    let api = operations.iter().filter(|operation| *operation == "ExecuteChangeSet ApiProductionBoss");
    assert_eq!(api.count(), 2, "{operations:?}");
}

#[tokio::test]
async fn a_new_jenkins_is_made_and_the_old_one_is_left_alone() {
    let Some(rehearsal) = Rehearsal::new("jenkins") else { return };
    let first = rehearsal.rehearse(&[]).await.expect(0);
    // The review of a new stack leaves nothing behind: the stack that its change set made is deleted again.
    let expected = ["infra", "elb", "ec2"].map(|stack| {
        [format!("DeleteStack jenkins-new-{stack}"), format!("ExecuteChangeSet jenkins-new-{stack}")]
    });
    assert_eq!(rehearsal.operations(), expected.concat());
    assert_eq!(last(&first), "DONE: 3 operations on stacks, and what ran before is as it was");
    assert_eq!(first.stdout.matches("Gate: environment production").count(), 4);
    // The security group of the new infrastructure reached the load balancer without anybody's hands.
    assert!(
        first.stdout.contains("elb.SecurityGroupIds=@jenkins-new-infra.JenkinsAppSg"),
        "{}",
        first.stdout
    );

    // J2: by name JENKINS_HOME-40 would be the newest.
    let copied = "s3://jenkins-new-backups/Backups/sync/JENKINS_HOME-20.tar is a copy of \
                  s3://jenkins-old-backups/Backups/sync/JENKINS_HOME-20.tar";
    assert!(first.stdout.contains(copied), "{}", first.stdout);
    // J14: with all that the old one has.
    assert!(first.stdout.contains("wanted: /jobs has 5 or more"), "{}", first.stdout);

    let second = rehearsal.rehearse(&[]).await.expect(0);
    assert_eq!(last(&second), "DONE: there was nothing to do; what ran before is as it was");
    assert_eq!(rehearsal.operations(), expected.concat());
    assert!(
        second
            .stdout
            .contains("is a copy of s3://jenkins-old-backups/Backups/sync/JENKINS_HOME-20.tar already"),
        "{}",
        second.stdout
    );
}

#[tokio::test]
async fn a_new_jenkins_that_could_not_restore_the_backup_is_noticed() {
    let Some(rehearsal) = Rehearsal::new("jenkins") else { return };
    let ran = rehearsal.rehearse(&["--fail", "restore"]).await.expect(1);
    assert_eq!(
        last(&ran),
        "PART-WAY: the release failed after 3 operations on stacks; what ran before is as it was"
    );
    assert!(ran.stdout.contains("body contains \"Unlock Jenkins\", which is rejected"), "{}", ran.stdout);
    assert!(
        jobs(&ran).ends_with(&["restored failure".to_owned(), "report success".to_owned()]),
        "{}",
        ran.stdout
    );
}

#[tokio::test]
async fn an_update_whose_runner_was_lost_is_continued_by_the_same_workflow() {
    // The third execution is api's; the deletion is dynamolambda's, the last stack of all.
    for (at, when) in [
        ("cloudformation:ExecuteChangeSet#3", "before-forward"),
        ("cloudformation:ExecuteChangeSet#3", "after-effect"),
        ("cloudformation:DeleteStack#1", "after-effect"),
    ] {
        let Some(rehearsal) = Rehearsal::new("boss") else { return };
        let aws = rehearsal.start().await;
        let fault = json!({ "at": at, "effect": "hold", "when": when });
        front(&aws, Method::POST, "/_front/faults", Some(fault)).await;
        let mut driver = rehearsal.command(&[]).stdout(std::process::Stdio::null()).spawn().unwrap();
        until(at, async || {
            let held = front(&aws, Method::GET, "/_front/held", None).await;
            !held.as_array().is_none_or(Vec::is_empty)
        })
        .await;
        kill_tree(&mut driver).await;
        front(&aws, Method::DELETE, "/_front/faults", None).await;
        let again = rehearsal.rehearse(&[]).await.expect(0);
        assert!(last(&again).starts_with("DONE: "), "{at}: {}", again.stdout);
        assert_eq!(rehearsal.operations(), UPDATE, "{at} {when}");
    }
}

#[tokio::test]
async fn absent_templates_and_what_does_not_fit_are_told_in_a_line() {
    let nothing = tempfile::tempdir().unwrap();
    let empty = nothing.path().display().to_string();
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["--runbook", "boss", "--inputs", &empty],
            &[
                "production/CoreProductionBoss.template",
                "jhuapl-boss/boss-manage at 125b665e7d",
                "INPUTS=DIR",
            ],
        ),
        (
            &["--runbook", "jenkins", "--inputs", &empty],
            &["make_jenkins_infra.tmplt.json", "plus3it/cfn-jenkins at 33cc2f7419", "INPUTS=DIR"],
        ),
        (&["--runbook", "jenkins", "--fail", "table"], &["`table` goes wrong with boss, not with jenkins"]),
        (&["--runbook", "boss", "--migrations", &empty], &["boss has none"]),
    ];
    for (args, says) in cases {
        let mut command = Command::new(program());
        command.args(["rehearse", "--state"]).arg(nothing.path().join("world")).args(args);
        let ran = run(command).await.expect(2);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        for text in says {
            assert!(ran.stderr.contains(text), "`{text}` is not in: {}", ran.stderr);
        }
        assert!(!nothing.path().join("world").exists(), "a world was begun");
    }
}
