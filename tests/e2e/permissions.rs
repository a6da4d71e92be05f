//! The policies of `docs/iam` where they are enforced: a user who has the policy of a step can run it, and without any one of the
//! actions that the run comes to, it is refused, says which is missing, and has changed nothing.
//!
//! moto enforces the actions of IAM policies (<https://docs.getmoto.org/en/latest/docs/iam.html>). It does not enforce all of a policy:
//!
//! * it asks for each call's own action alone, so that `iam:PassRole` and `ecs:TagResource` are never missing;
//! * it holds the resource of every service but S3 to be "*", and knows no condition: [`as_moto_knows_it`] takes them away.
//!
//! Those are held against the Service Authorization Reference instead, in `tests/recorded`.

#[path = "../recorded/actions.rs"]
mod actions;
mod steps;

use std::process::Command;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::front::{Answer, Call, Front, Kind, Request, Service};
use testkit::moto::Moto;

use crate::world::{Ran, client, run, scrubbed};

const REGION: &str = "us-east-1";
const USER: &str = "releaser";

/// moto, and a user whose permissions it enforces.
struct Enforced {
    moto: Moto,
    front: Front,
    dir: TempDir,
    key: String,
    secret: String,
}

/// moto's ECS, which is refused in XML, as services of the JSON protocol never are: what they say is
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html>.
struct Ecs(String);

impl Service for Ecs {
    fn service(&self) -> &'static str {
        "ecs"
    }

    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        async {
            let sent =
                client().post(&self.0).headers(request.headers.clone()).body(request.body.clone()).send();
            let answer = sent.await.ok()?;
            let (status, headers, body) =
                (answer.status(), answer.headers().clone(), answer.bytes().await.ok()?);
            if status == StatusCode::FORBIDDEN {
                let message = element(&String::from_utf8_lossy(&body), "Message").unwrap_or_default();
                return Some(request.error(StatusCode::BAD_REQUEST, "AccessDeniedException", &message));
            }
            Some(Answer { status, headers, body })
        }
        .boxed()
    }
}

/// What one step is to prove.
struct Proof<'a> {
    step: &'a str,
    /// The actions without any of which the run is refused, in the order of its calls.
    needs: &'a [&'a str],
    /// The words in capitals of a bucket's ARN, and what takes their place.
    places: &'a [(&'a str, &'a str)],
    /// Actions of calls that moto does not ask for, each with the reason.
    unasked: &'a [(&'a str, &'a str)],
}

impl Enforced {
    async fn start() -> Self {
        let moto = Moto::start().await.expect("moto starts");
        let front = Front::builder()
            .upstream(moto.url())
            .service(Arc::new(Ecs(moto.url().to_owned())))
            .start()
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let world = Self { moto, front, dir, key: String::new(), secret: String::new() };
        world.query("iam", "2010-05-08", &[("Action", "CreateUser"), ("UserName", USER)]).await;
        let made =
            world.query("iam", "2010-05-08", &[("Action", "CreateAccessKey"), ("UserName", USER)]).await;
        let of = |name: &str| element(&made, name).expect(name);
        Self { key: of("AccessKeyId"), secret: of("SecretAccessKey"), ..world }
    }

    /// Past the front, by somebody who may do everything.
    async fn send(&self, service: &str, request: reqwest::RequestBuilder) -> String {
        let scope = format!("AKIAIOSFODNN7EXAMPLE/20261121/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let answer = request.header("authorization", authorization).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{service}: {text}");
        text
    }

    async fn query(&self, service: &str, version: &str, form: &[(&str, &str)]) -> String {
        let form = [form, &[("Version", version)]].concat();
        let encoded = reqwest::Url::parse_with_params(self.moto.url(), &form).unwrap();
        let request = client()
            .post(self.moto.url())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded.query().unwrap_or_default().to_owned());
        self.send(service, request).await
    }

    async fn json(&self, service: &str, target: &str, body: &Value) -> Value {
        let request = client()
            .post(self.moto.url())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(body.to_string());
        let text = self.send(service, request).await;
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Whether permissions are asked for from now on.
    /// <https://docs.getmoto.org/en/latest/docs/iam.html>: the number of calls that are let through without.
    async fn enforce(&self, is_on: bool) {
        let count = if is_on { "0" } else { "inf" };
        let answer =
            client().post(format!("{}/moto-api/reset-auth", self.moto.url())).body(count).send().await;
        assert!(answer.unwrap().status().is_success());
    }

    async fn allow(&self, policy: &Value) {
        self.put_policy(&[("Action", "PutUserPolicy"), ("UserName", USER)], policy).await;
    }

    /// moto asks for an action that IAM does not have:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html#API_HeadBucket_RequestSyntax>.
    async fn put_policy(&self, to: &[(&str, &str)], policy: &Value) {
        let text = policy.to_string().replace(r#""s3:ListBucket""#, r#""s3:ListBucket","s3:HeadBucket""#);
        let form = [to, &[("PolicyName", "step"), ("PolicyDocument", &text)]].concat();
        self.query("iam", "2010-05-08", &form).await;
    }

    async fn as_user(&self, args: &[String]) -> Ran {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(args)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &self.key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret);
        self.enforce(true).await;
        let ran = run(command).await;
        self.enforce(false).await;
        ran
    }

    /// Runs the step with its whole policy, and then with each that lacks one action. `fresh` makes what the run is about, and gives
    /// its arguments and a name for `state`, which tells what the run could change.
    async fn prove(
        &self,
        proof: &Proof<'_>,
        fresh: impl AsyncFn() -> (Vec<String>, String),
        state: impl AsyncFn(&str) -> Value,
    ) {
        let step = proof.step;
        let policy = as_moto_knows_it(&policy(step), proof.places);
        self.allow(&policy).await;
        let (args, name) = fresh().await;
        let before = state(&name).await;
        self.front.forget();
        self.as_user(&args).await.expect(0);
        assert_ne!(state(&name).await, before, "{step}: the run changes something");
        let calls = self.front.calls();
        assert_eq!(self.front.unmatched(), [""; 0], "{step}");
        let granted = actions_of(&policy);
        let mut asked: Vec<(String, bool)> = Vec::new();
        for call in &calls {
            // The first of them is the call's own; of S3's calls none has more than moto asks for.
            let own = if call.service == "s3" { usize::MAX } else { 1 };
            for action in actions::of(&call.service, &call.operation).into_iter().take(own) {
                assert!(
                    granted.contains(&action),
                    "{step}: {} was let through without {action}",
                    call.name()
                );
                if !asked.iter().any(|(known, _)| *known == action) {
                    asked.push((action, has_written(&calls, call)));
                }
            }
        }
        asked.retain(|(action, _)| proof.unasked.iter().all(|(unasked, _)| unasked != action));
        let needs: Vec<&str> = asked.iter().map(|(action, _)| action.as_str()).collect();
        assert_eq!(needs, proof.needs, "{step}");
        for (action, is_later) in asked {
            let (args, name) = fresh().await;
            let before = state(&name).await;
            self.allow(&without(&policy, &action)).await;
            let ran = self.as_user(&args).await.says(&[&action]);
            let story = format!("{step} without {action}\n{}\n{}", ran.stdout, ran.stderr);
            if is_later {
                assert!([4, 5].contains(&ran.code), "something was changed: {story}");
                assert!(ran.stderr.contains("state: "), "{story}");
            } else {
                assert!([1, 3].contains(&ran.code), "refused: {story}");
                assert_eq!(state(&name).await, before, "nothing was changed: {story}");
            }
        }
    }
}

/// Whether a call before this one has changed something.
fn has_written(calls: &[Call], call: &Call) -> bool {
    calls.iter().any(|other| other.sequence < call.sequence && other.kind == Kind::Write)
}

fn element(xml: &str, name: &str) -> Option<String> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    Some(rest.split_once('<')?.0.to_owned())
}

fn policy(step: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover")).args(["--policy", step]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn statements(policy: &Value) -> Vec<Value> {
    policy["Statement"].as_array().unwrap().clone()
}

fn actions_of(policy: &Value) -> Vec<String> {
    let texts = |actions: &Value| -> Vec<String> {
        actions.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect()
    };
    statements(policy).iter().flat_map(|statement| texts(&statement["Action"])).collect()
}

/// Of S3 the resources are enforced, with the words in capitals replaced.
fn as_moto_knows_it(policy: &Value, places: &[(&str, &str)]) -> Value {
    let mut known = statements(policy);
    for statement in &mut known {
        let fields = statement.as_object_mut().unwrap();
        fields.shift_remove("Condition");
        let mut resources = fields["Resource"].to_string();
        if resources.contains(":s3:::") {
            for (word, place) in places {
                resources = resources.replace(word, place);
            }
            fields["Resource"] = serde_json::from_str(&resources).unwrap();
        } else {
            fields["Resource"] = json!(["*"]);
        }
    }
    json!({"Version": "2012-10-17", "Statement": known})
}

fn without(policy: &Value, action: &str) -> Value {
    let mut left = statements(policy);
    for statement in &mut left {
        statement["Action"].as_array_mut().unwrap().retain(|granted| granted != action);
    }
    left.retain(|statement| statement["Action"] != json!([]));
    json!({"Version": "2012-10-17", "Statement": left})
}
