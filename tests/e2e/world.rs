//! One world per test: a front of its own with a stateful ECS behind it, and the emulator, which all tests of the process
//! share, for everything else. Each test names its own resources in the emulator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::ecs::{Ecs, Launcher, Running, Settings, TaskSpec};
use testkit::emulator::{self, Emulator};
use testkit::front::{Builder, Front};
use testkit::s3::Double;
use tokio::process::Command;
use tokio::sync::OnceCell;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const CLUSTER: &str = "rally-prod";
pub(crate) const SERVICE: &str = "rally-prod-service";
pub(crate) const FAMILY: &str = "rally-prod";
pub(crate) const CONTAINER: &str = "rally-prod-webapp";

pub(crate) struct World {
    pub(crate) front: Front,
    pub(crate) ecs: Ecs,
    pub(crate) dir: TempDir,
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The document of `--format json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in the output of {self:?}"))
    }

    /// Asserts the exit code, with all that was printed in the message.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error has each of the texts.
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        }
        self
    }
}

/// A name in the shared emulator that no other test has. Not the port of a front, which the system gives out again.
pub(crate) fn own(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn shared_emulator() -> &'static Emulator {
    static EMULATOR: OnceCell<Emulator> = OnceCell::const_new();
    let start = || async {
        Emulator::start(emulator::Options {
            account: ACCOUNT.into(),
            region: REGION.into(),
            ..Default::default()
        })
        .await
        .expect("the emulator starts")
    };
    EMULATOR.get_or_init(start).await
}

/// Tasks whose image names its fate: one that contains `broken` exits with code 1, every other serves at once.
struct ByImage;

struct Task(Option<i32>);

impl Launcher for ByImage {
    fn launch(&self, spec: &TaskSpec) -> Result<Box<dyn Running>, String> {
        let broken = spec.containers.iter().any(|container| container.image.contains("broken"));
        Ok(Box::new(Task(broken.then_some(1))))
    }
}

impl Running for Task {
    fn poll(&mut self) -> Option<i32> {
        self.0
    }
    fn healthy(&mut self) -> bool {
        self.0.is_none()
    }
    fn stop(&mut self) {
        self.0.get_or_insert(0);
    }
    fn address(&self) -> Option<SocketAddr> {
        None
    }
}

impl World {
    /// A cluster with one service of two tasks that runs `rally-prod:1`, steady.
    pub(crate) async fn start() -> Self {
        Self::with(Front::builder()).await
    }

    /// The same with calls of S3 going to the double, and all else to the emulator.
    pub(crate) async fn with_s3(double: &Double) -> Self {
        Self::with(Front::builder().upstream_for("s3", double.url())).await
    }

    async fn with(builder: Builder) -> Self {
        let settings = Settings { account: ACCOUNT.into(), region: REGION.into(), ..Settings::default() };
        let ecs = Ecs::new(ByImage, settings);
        let front = builder
            .upstream(shared_emulator().await.url())
            .service(Arc::new(ecs.clone()))
            .start()
            .await
            .expect("the front starts");
        let world = Self { front, ecs, dir: tempfile::tempdir().expect("a folder") };
        world
            .register(&repository(
                "rally-prod",
                "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ))
            .await;
        world.call("CreateCluster", json!({"clusterName": CLUSTER})).await;
        world
            .call(
                "CreateService",
                json!({
                    "cluster": CLUSTER, "serviceName": SERVICE, "taskDefinition": FAMILY, "desiredCount": 2,
                    "deploymentConfiguration": {
                        "minimumHealthyPercent": 100, "maximumPercent": 200,
                        "deploymentCircuitBreaker": {"enable": true, "rollback": true},
                    },
                }),
            )
            .await;
        world.settle().await;
        world
    }

    /// Registers a revision of the family with that image and returns its ARN.
    pub(crate) async fn register(&self, image: &str) -> String {
        let answer = self
            .call(
                "RegisterTaskDefinition",
                json!({
                    "family": FAMILY,
                    "aFieldOfTomorrow": {"kept": ["as", "it", "is", ""]},
                    "containerDefinitions": [
                        {"name": CONTAINER, "image": image, "memory": 512, "environment": [{"name": "EMPTY", "value": ""}]},
                        {"name": "log-router", "image": "fluent-bit@sha256:1", "memory": 64, "essential": false},
                    ],
                    "tags": [{"key": "team", "value": "rally"}],
                }),
            )
            .await;
        answer["taskDefinition"]["taskDefinitionArn"].as_str().expect("an ARN").to_owned()
    }

    pub(crate) async fn call(&self, operation: &str, request: Value) -> Value {
        self.ecs.call(operation, request).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// One call of ECR to the emulator.
    pub(crate) async fn ecr(&self, operation: &str, request: Value) -> Value {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        let (status, answer) =
            shared_emulator().await.call("ecr", &target, &request).await.expect("an answer");
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// The keys in a bucket, unfinished uploads as `(unfinished) KEY`.
    pub(crate) async fn s3_keys(&self, bucket: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for (query, mark) in [("list-type=2", ""), ("uploads", "(unfinished) ")] {
            let url = format!("{}/{bucket}?{query}", shared_emulator().await.url());
            let answer = client().get(url).send().await.expect("an answer").text().await.expect("a text");
            let keyed = answer.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
            keys.extend(keyed.map(|key| format!("{mark}{key}")));
        }
        keys
    }

    /// Moves the service on until nothing changes any more.
    pub(crate) async fn settle(&self) {
        for _ in 0..50 {
            self.ecs.tick().await.expect("a step");
        }
    }

    /// The service as `DescribeServices` gives it.
    pub(crate) async fn service(&self) -> Value {
        self.call("DescribeServices", json!({"cluster": CLUSTER, "services": [SERVICE]})).await["services"][0]
            .clone()
    }

    /// The names of the writing calls since the last [`Front::forget`], refused and faulted ones included.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.front.writes().iter().map(testkit::front::Call::name).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run of `cutover` in this world, in an environment of its own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(args)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    }

    pub(crate) async fn cutover(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }
}

/// Proxies of the environment do not lead to this machine.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// A command with nothing of this process's environment but `PATH`.
pub(crate) fn scrubbed(program: impl AsRef<Path>, dir: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(mut command: Command) -> Ran {
    let output = command.output().await.expect("the executable starts");
    keep(&command, &output);
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Leaves what a run printed and recorded in the folder of `CUTOVER_RECORD_DIR`, if there is one: it is searched for secrets when
/// all tests are through.
fn keep(command: &Command, output: &std::process::Output) {
    let Some(folder) = std::env::var_os("CUTOVER_RECORD_DIR") else { return };
    let path = Path::new(&folder).join(format!("printed-{}.txt", std::process::id()));
    let mut text = [&output.stdout[..], &output.stderr[..]].concat();
    let args: Vec<_> = command.as_std().get_args().collect();
    let dir = command.as_std().get_current_dir().unwrap_or(Path::new("."));
    let named = args.windows(2).filter(|two| two[0] == "--receipt").map(|two| dir.join(two[1]));
    let unnamed = std::fs::read_dir(dir.join("cutover-receipts")).into_iter().flatten().flatten();
    for receipt in named.chain(unnamed.map(|entry| entry.path())).filter(|path| path.is_file()) {
        text.extend(std::fs::read(receipt).unwrap_or_default());
    }
    text.push(b'\n');
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, &text)).expect("the record is kept");
}

/// A run of `cutover` in a folder of its own and without AWS.
pub(crate) async fn run_bare(args: &[String]) -> Ran {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
    command.args(args);
    run(command).await
}

/// An image of the registry, by its repository and `:tag` or `@digest`.
pub(crate) fn repository(name: &str, rest: &str) -> String {
    format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}{rest}")
}

/// Looks again and again until it is so.
pub(crate) async fn until(ready: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if ready().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not come to be");
}
