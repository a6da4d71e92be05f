//! `changeset-review` and `deploy-stack` against an emulator that was not written here. Each test has an account of its own in it,
//! so that templates which name their tables and buckets can be deployed by several tests at once.

mod again;
mod boss;
mod failing;
mod jenkins;
mod keeps;
mod live;
mod meanwhile;
mod mistakes;
mod names;
mod remade;
mod removal;
mod reviewed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::front::{Call, Front, When};
use testkit::scenario::Scenario;
use tokio::process::{Child, Command};

use crate::world::{ACCOUNT, REGION, Ran, client, run, scrubbed, shared_emulator};

/// The calls that change a stack or begin to.
const OPERATIONS: [&str; 7] = [
    "CancelUpdateStack",
    "ContinueUpdateRollback",
    "CreateStack",
    "DeleteStack",
    "ExecuteChangeSet",
    "RollbackStack",
    "UpdateStack",
];

pub(crate) struct Stage {
    pub(crate) front: Front,
    pub(crate) account: String,
    pub(crate) dir: TempDir,
}

/// What a review came to, for the runs that it is given to.
#[derive(Clone)]
pub(crate) struct Approved {
    pub(crate) file: String,
    pub(crate) fingerprint: String,
}

impl Stage {
    /// An empty account.
    pub(crate) async fn start() -> Self {
        static ACCOUNTS: AtomicU64 = AtomicU64::new(200_000_000_001);
        // The emulator takes an access key of twelve digits for the account.
        Self::of(ACCOUNTS.fetch_add(1, Ordering::Relaxed).to_string()).await
    }

    /// An account of that number.
    pub(crate) async fn of(account: String) -> Self {
        let front =
            Front::builder().upstream(shared_emulator().await.url()).start().await.expect("the front starts");
        Self { front, account, dir: tempfile::tempdir().expect("a folder") }
    }

    /// A situation that no emulator can be brought into: a state machine in `tests/scenarios/stacks`.
    pub(crate) async fn scene(name: &str) -> (Self, Scenario) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/stacks/{name}.json"));
        let scenario = Scenario::load(&path).expect("a scenario");
        let front = scenario.serve(Front::builder()).start().await.expect("the front starts");
        front.set_faults(scenario.faults());
        let stage = Self { front, account: ACCOUNT.to_owned(), dir: tempfile::tempdir().expect("a folder") };
        (stage, scenario)
    }

    /// A run of a step that looks often.
    pub(crate) fn command(&self, step: &str, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args([step, "--interval", "20ms"])
            .args(args)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &self.account)
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    }

    pub(crate) async fn review(&self, args: &[&str]) -> Ran {
        run(self.command("changeset-review", args)).await
    }

    pub(crate) async fn deploy(&self, action: &str, args: &[&str]) -> Ran {
        run(self.command("deploy-stack", &[&["--action", action], args].concat())).await
    }

    /// Reviews, expects that exit code, and gives the review and its fingerprint.
    pub(crate) async fn reviewed(&self, name: &str, args: &[&str], code: i32) -> (Approved, Ran) {
        let file = self.path(name).display().to_string();
        let ran = self.review(&[&["--report", &file], args].concat()).await.expect(code);
        let fingerprint = line(&ran.stdout, "fingerprint=");
        (Approved { file, fingerprint }, ran)
    }

    /// Deploys what was reviewed.
    pub(crate) async fn deploy_as(&self, approved: &Approved, action: &str, args: &[&str]) -> Ran {
        let by = ["--review", &approved.file, "--fingerprint", &approved.fingerprint];
        self.deploy(action, &[&by[..], args].concat()).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the folder in which the steps run; gives its name.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("a file");
        name.to_owned()
    }

    /// The writing calls since the last [`Front::forget`].
    pub(crate) fn writes(&self) -> Vec<String> {
        self.front.writes().iter().map(|call| call.operation.clone()).collect()
    }

    /// Those that changed a stack or asked for it.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.writes().into_iter().filter(|name| OPERATIONS.contains(&name.as_str())).collect()
    }

    /// The calls of one operation.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        self.front.calls().into_iter().filter(|call| call.operation == operation).collect()
    }

    /// One call of the Query protocol past the front.
    pub(crate) async fn query(&self, service: &str, version: &str, parameters: &[(&str, &str)]) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("Version", version)
            .extend_pairs(parameters)
            .finish();
        self.ask(service, |request| {
            request.header("content-type", "application/x-www-form-urlencoded").body(form)
        })
        .await
    }

    pub(crate) async fn cloudformation(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.query("cloudformation", "2010-05-15", &[&[("Action", action)], parameters].concat()).await
    }

    /// One call of the JSON protocol past the front.
    pub(crate) async fn call(&self, service: &str, target: &str, document: Value) -> Value {
        let target = target.to_owned();
        let answer = self
            .ask(service, |request| {
                let request = request.header("x-amz-target", target);
                request.header("content-type", "application/x-amz-json-1.0").body(document.to_string())
            })
            .await;
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
    }

    async fn ask(
        &self,
        service: &str,
        request: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> String {
        let url = shared_emulator().await.url();
        let signed = self.signed(service, client().post(url));
        request(signed).send().await.expect("an answer").text().await.expect("a text")
    }

    fn signed(&self, service: &str, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let scope = format!("{}/20260101/{REGION}/{service}/aws4_request", self.account);
        let signature =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=unverified");
        request.header("authorization", signature)
    }

    /// Puts a bucket, or an object of one (`bucket/key`), past the front.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        let url = format!("{}/{path}", shared_emulator().await.url());
        let request = self.signed("s3", client().put(url)).body(body.to_owned());
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// A run of deploy-stack that is killed where that call is, before AWS sees it or after it took effect.
    pub(crate) async fn killed_at(&self, at: &str, when: When, action: &str, args: &[&str]) {
        let hold = self.front.hold(format!("cloudformation:{at}").as_str(), when);
        let mut child = self.spawn(action, args);
        hold.arrived().await;
        child.kill().await.expect("it runs");
    }

    pub(crate) fn spawn(&self, action: &str, args: &[&str]) -> Child {
        let mut command = self.command("deploy-stack", &[&["--action", action], args].concat());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().expect("the executable starts")
    }

    /// Makes a stack of [`tiles`] with a parameter and a tag of its own.
    pub(crate) async fn tiles(&self, stack: &str, template: &Value) -> String {
        let file = self.file(&format!("{stack}.template"), &template.to_string());
        let tagged = json!({"Parameters": {"Stage": "prod"}, "Tags": {"team": "boss"}}).to_string();
        let arguments = self.file(&format!("{stack}.arguments"), &tagged);
        let operand = format!("{stack}={file},{arguments}");
        self.deploy("create", &["--stack", &operand]).await.expect(0);
        format!("{stack}={file}")
    }

    /// What `DescribeStacks` says of a stack; none where there is none.
    pub(crate) async fn status(&self, stack: &str) -> Option<String> {
        let answer = self.cloudformation("DescribeStacks", &[("StackName", stack)]).await;
        texts(&answer, "StackStatus").into_iter().next()
    }

    pub(crate) async fn stack_id(&self, stack: &str) -> String {
        let answer = self.cloudformation("DescribeStacks", &[("StackName", stack)]).await;
        texts(&answer, "StackId").into_iter().next().unwrap_or_else(|| panic!("{stack}: {answer}"))
    }

    /// The physical ids of a stack's resources, by logical id.
    pub(crate) async fn resources(&self, stack: &str) -> BTreeMap<String, String> {
        let answer = self.cloudformation("DescribeStackResources", &[("StackName", stack)]).await;
        texts(&answer, "LogicalResourceId").into_iter().zip(texts(&answer, "PhysicalResourceId")).collect()
    }

    /// The names of a stack's change sets that were not executed.
    pub(crate) async fn sets(&self, stack: &str) -> Vec<String> {
        let answer = self.cloudformation("ListChangeSets", &[("StackName", stack)]).await;
        let names = texts(&answer, "ChangeSetName").into_iter().zip(texts(&answer, "ExecutionStatus"));
        names.filter(|(_, status)| status != "EXECUTE_COMPLETE").map(|(name, _)| name).collect()
    }

    /// How many items a table has.
    pub(crate) async fn items(&self, table: &str) -> u64 {
        let scan = json!({"TableName": table, "Select": "COUNT"});
        self.call("dynamodb", "DynamoDB_20120810.Scan", scan).await["Count"].as_u64().unwrap_or_default()
    }

    /// Ends a test in a scenario: everything foreseen was called, and nothing else.
    pub(crate) fn is_played(&self, scenario: &Scenario) {
        self.is_whole();
        assert_eq!(scenario.unused(), Vec::<String>::new(), "{}", scenario.title());
    }

    /// Ends a test: nothing was asked that the world does not know.
    pub(crate) fn is_whole(&self) {
        assert_eq!(self.front.unmatched(), Vec::<String>::new());
    }
}

/// A table whose name decides whether it is replaced, and a topic whose text does not.
pub(crate) fn tiles(table: &str, text: &str) -> Value {
    json!({
        "Parameters": {"Stage": {"Type": "String", "Default": "dev"}},
        "Resources": {
            "TileTable": {"Type": "AWS::DynamoDB::Table", "Properties": {
                "TableName": table,
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST"}},
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::Sub": format!("{text} ${{Stage}}")}}},
        },
        "Outputs": {"Stage": {"Value": {"Ref": "Stage"}}},
    })
}

/// The rest of the line that begins so.
pub(crate) fn line(text: &str, beginning: &str) -> String {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning));
    rest.unwrap_or_else(|| panic!("no line begins with {beginning} in:\n{text}")).to_owned()
}

/// The texts of all elements of that name in an answer of the Query protocol, in order.
pub(crate) fn texts(xml: &str, element: &str) -> Vec<String> {
    let (opening, closing) = (format!("<{element}>"), format!("</{element}>"));
    let parts = xml.split(&opening).skip(1);
    parts.filter_map(|part| part.split_once(&closing)).map(|(text, _)| text.to_owned()).collect()
}

/// CloudFormation's file of parameters.
pub(crate) fn arguments(parameters: &BTreeMap<String, String>) -> String {
    let list: Vec<Value> =
        parameters.iter().map(|(key, value)| json!({"ParameterKey": key, "ParameterValue": value})).collect();
    json!(list).to_string()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
