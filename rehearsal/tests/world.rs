//! The world as others see it: its processes, its addresses and what they answer.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but not in what tests share"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rehearsal::world::World;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

fn rehearsal(arguments: &[&str], state: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rehearsal")).args(arguments).arg("--state").arg(state).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A world in a folder of its own, stopped at the end.
struct Rally {
    folder: TempDir,
    world: World,
}

impl Rally {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self::up(folder.path(), arguments);
        Self { folder, world }
    }

    fn up(state: &Path, arguments: &[&str]) -> World {
        let output = rehearsal(&[&["world", "--background"], arguments].concat(), state);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        rehearsal::world::rally(state).unwrap().expect("it says that it is ready")
    }

    fn again(&mut self) {
        self.world = Self::up(self.folder.path(), &[]);
    }

    /// Through the front, as the steps call it.
    async fn call(&self, service: &str, target: &str, document: &Value) -> Value {
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20261121/us-east-1/{service}/aws4_request");
        let request = client().post(&self.world.aws.endpoint).header("x-amz-target", target).header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        );
        let request = request.header("content-type", "application/x-amz-json-1.1").body(document.to_string());
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn ecs(&self, operation: &str, document: &Value) -> Value {
        self.call("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), document).await
    }

    async fn served(&self) -> String {
        let answer = client().get(format!("{}/version", self.world.service.url)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["version"].as_str().unwrap().to_owned()
    }

    /// As the owner of the database, with the server's own client.
    fn psql(&self, arguments: &[&str]) -> Output {
        let database = &self.world.database;
        Command::new(database.bin_dir.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &database.host,
                "-U",
                &database.user,
            ])
            .args(["-p", &database.port.to_string(), "-d", &database.name])
            .args(arguments)
            .env("PGPASSWORD", &database.password)
            .env("PGSSLMODE", "disable")
            .output()
            .unwrap()
    }

    /// Each file in a transaction of its own; the last output.
    fn migrate(&self) -> Output {
        let mut files = std::fs::read_dir(&self.world.release.migrations)
            .unwrap()
            .map(|file| file.unwrap().path().to_str().unwrap().to_owned())
            .collect::<Vec<_>>();
        files.sort();
        assert_eq!(files.len(), 2);
        assert!(self.psql(&["-1", "-f", &files[0]]).status.success());
        self.psql(&["-1", "-f", &files[1]])
    }

    /// Releases the new image by hand, and gives the deployment's state at its end.
    async fn deploy(&self) -> String {
        let service = &self.world.service;
        let mut definition =
            self.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": service.family })).await;
        let mut definition = definition["taskDefinition"].take();
        let digest = &self.world.registry.images[&self.world.release.image_tag];
        definition["containerDefinitions"][0]["image"] =
            json!(format!("{}@{digest}", self.world.registry.uri));
        let registered = self.ecs("RegisterTaskDefinition", &definition).await;
        let revision = registered.pointer("/taskDefinition/taskDefinitionArn").unwrap_or(&registered);
        let request =
            json!({ "cluster": service.cluster, "service": service.name, "taskDefinition": revision });
        let list = json!({ "cluster": service.cluster, "service": service.name });
        let known = arns(&self.ecs("ListServiceDeployments", &list).await);
        let updated = self.ecs("UpdateService", &request).await;
        assert_eq!(updated["service"]["taskDefinition"], *revision);
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            // A poll moves the stand-in on.
            self.ecs("DescribeServices", &json!({ "cluster": service.cluster, "services": [service.name] }))
                .await;
            let deployments = self.ecs("ListServiceDeployments", &list).await;
            let ours =
                arns(&deployments).iter().position(|arn| !known.contains(arn)).expect("it is listed at once");
            let ours = &deployments["serviceDeployments"][ours];
            match ours["status"].as_str().unwrap() {
                "PENDING" | "IN_PROGRESS" | "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => {}
                end => return end.to_owned(),
            }
            assert!(Instant::now() < deadline, "{ours}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn arns(deployments: &Value) -> Vec<String> {
    let deployments = deployments["serviceDeployments"].as_array().unwrap();
    deployments.iter().map(|one| one["serviceDeploymentArn"].as_str().unwrap().to_owned()).collect()
}

impl Drop for Rally {
    fn drop(&mut self) {
        rehearsal(&["stop"], self.folder.path());
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn the_old_release_serves_and_what_the_new_one_needs_is_there() {
    let rally = Rally::start(&["--fail", "migration"]);
    assert_eq!(rally.served().await, "2.0.1.11-RELEASE");

    let request = json!({
        "repositoryName": "rally-prod",
        "imageIds": [{ "imageTag": "RALLY-V2_0_1_11-RELEASE" }, { "imageTag": "RALLY-V2_1_0_0-RELEASE" }],
    });
    let found = rally.call("ecr", "AmazonEC2ContainerRegistry_V20150921.BatchGetImage", &request).await;
    let images = found["images"].as_array().unwrap();
    assert_eq!(images.len(), 2, "{found}");
    for image in images {
        let manifest = image["imageManifest"].as_str().unwrap();
        assert_eq!(image["imageId"]["imageDigest"], format!("sha256:{:x}", Sha256::digest(manifest)));
        let tag = image["imageId"]["imageTag"].as_str().unwrap();
        assert_eq!(image["imageId"]["imageDigest"], rally.world.registry.images[tag]);
    }

    let github = &rally.world.github;
    let url = format!("{}/repos/{}/git/ref/heads/master", github.api, github.repository);
    let head =
        client().get(url).bearer_auth(&github.token).header("user-agent", "test").send().await.unwrap();
    assert_eq!(head.json::<Value>().await.unwrap()["object"]["sha"], github.commit);

    let rows = rally.psql(&[
        "-c",
        "SELECT count(*) FROM interest",
        "-c",
        "SELECT usesuper FROM pg_user WHERE usename = current_user",
    ]);
    assert_eq!(text(&rows.stdout), "5000\nf\n");
    let calls = std::fs::read_to_string(rally.folder.path().join("calls.jsonl")).unwrap();
    assert_eq!(
        calls.lines().count(),
        1,
        "what seeds the world is not recorded as a release's doing: {calls}"
    );
}

#[tokio::test]
async fn a_release_needs_its_migrations_and_lives_on_when_the_world_is_stopped_or_killed() {
    let mut rally = Rally::start(&[]);
    assert_eq!(rally.deploy().await, "ROLLBACK_SUCCESSFUL");
    assert_eq!(rally.served().await, "2.0.1.11-RELEASE");
    assert!(rally.migrate().status.success());
    assert_eq!(rally.deploy().await, "SUCCESSFUL");
    assert_eq!(rally.served().await, "2.1.0.0-RELEASE");
    let before = rally.world.clone();

    let second = rehearsal(&["world"], rally.folder.path());
    assert!(text(&second.stderr).starts_with("error: another world runs in "), "{}", text(&second.stderr));

    assert!(rehearsal(&["stop"], rally.folder.path()).status.success());
    client().get(&before.service.url).send().await.unwrap_err();
    rally.again();
    assert_eq!(rally.served().await, "2.1.0.0-RELEASE");
    assert_eq!(
        (&rally.world.aws, &rally.world.service, &rally.world.github),
        (&before.aws, &before.service, &before.github)
    );

    let kill = Command::new("kill").args(["-KILL", &rally.world.pids.world.to_string()]).status().unwrap();
    assert!(kill.success());
    while rehearsal::world::running(rally.folder.path()).unwrap().is_some() {
        std::thread::yield_now();
    }
    rally.again();
    assert_eq!(rally.served().await, "2.1.0.0-RELEASE");
    assert_eq!(rally.world.database, before.database);
    assert_eq!(text(&rally.psql(&["-c", "SELECT count(*) FROM consent"]).stdout), "2000\n");

    assert!(rehearsal(&["reset"], rally.folder.path()).status.success());
    assert!(!rally.folder.path().exists());
}

#[tokio::test]
async fn the_failing_image_is_rolled_back() {
    let rally = Rally::start(&["--fail", "deploy"]);
    assert!(rally.migrate().status.success());
    assert_eq!(rally.deploy().await, "ROLLBACK_SUCCESSFUL");
    assert_eq!(rally.served().await, "2.0.1.11-RELEASE");
}

#[tokio::test]
async fn the_insane_image_serves_another_version() {
    let rally = Rally::start(&["--fail", "sanity"]);
    assert!(rally.migrate().status.success());
    assert_eq!(rally.deploy().await, "SUCCESSFUL");
    assert_eq!(rally.served().await, "2.1.0.0-SNAPSHOT");
}

/// Recorded from AWS: 21 variables of which 9 are empty, two secrets, empty lists, `linuxParameters`, tags.
#[tokio::test]
async fn a_recorded_task_definition_runs_in_place_of_rallys() {
    let Some(inputs) = testkit::inputs::recorded("a recorded task definition runs in place of Rally's")
    else {
        return;
    };
    let placebo = "cloud-custodian+cloud-custodian/tests/data/placebo";
    let file =
        inputs.join(placebo).join("test_ecs_service_update_definition/ecs.DescribeTaskDefinition_1.json");
    let rally = Rally::start(&["--task-definition", file.to_str().unwrap()]);
    assert_eq!(rally.served().await, "2.0.1.11-RELEASE");
    assert_eq!(
        (rally.world.service.family.as_str(), rally.world.service.container.as_str()),
        ("dev-redash-server", "server")
    );
    let wanted = json!({"taskDefinition": "dev-redash-server", "include": ["TAGS"]});
    let answer = rally.ecs("DescribeTaskDefinition", &wanted).await;
    let recorded: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let path = "/taskDefinition/containerDefinitions/0/environment";
    assert_eq!(answer.pointer(path), recorded["data"].pointer(path));
    assert_eq!(answer["tags"], recorded["data"]["tags"]);
}

#[test]
fn a_folder_that_is_no_worlds_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let output = rehearsal(&["reset"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).ends_with("is not the folder of a world: it stays\n"),
        "{}",
        text(&output.stderr)
    );
    assert!(folder.path().exists());
}
