use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request as Incoming, State};
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::{Answer, Call, Effect, Fault, Front, Kind, Request, Service, When};

/// Counts what reaches it, and answers with the path asked for.
#[derive(Clone, Default)]
struct Emulator {
    seen: Arc<AtomicUsize>,
}

impl Emulator {
    async fn start(&self) -> String {
        async fn answer(State(emulator): State<Emulator>, request: Incoming) -> Response {
            let path = request.uri().to_string();
            let sent = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            emulator.seen.fetch_add(1, Ordering::SeqCst);
            Response::new(Body::from(format!("{path} {}", sent.len())))
        }
        serve(axum::Router::new().fallback(answer).with_state(self.clone())).await
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

/// A client that never reuses a connection, so that a reset strikes the call itself.
fn client() -> Client {
    Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

fn signed(request: RequestBuilder, service: &str) -> RequestBuilder {
    let scope = format!("AKIAIOSFODNN7EXAMPLE/20261121/eu-west-1/{service}/aws4_request");
    request.header(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=0123"),
    )
}

fn ecs(front: &Front, operation: &str) -> RequestBuilder {
    signed(client().post(front.url()), "ecs")
        .header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(r#"{"cluster":"rally-prod","service":"rally-prod-service"}"#)
}

fn s3(front: &Front, method: &str, path: &str) -> RequestBuilder {
    signed(client().request(method.parse().unwrap(), format!("{}{path}", front.url())), "s3")
}

fn sts(front: &Front) -> RequestBuilder {
    signed(client().post(front.url()), "sts")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("Action=GetCallerIdentity&Version=2011-06-15")
}

async fn front_with(emulator: &Emulator) -> Front {
    Front::builder().upstream(emulator.start().await).start().await.unwrap()
}

fn only_call(front: &Front) -> Call {
    let calls = front.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.into_iter().next().unwrap()
}

#[tokio::test]
async fn s3_operations_have_the_names_of_the_api_reference() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let cases = [
        ("GET", "/", "ListBuckets", Kind::Read),
        ("PUT", "/backups", "CreateBucket", Kind::Write),
        ("HEAD", "/backups", "HeadBucket", Kind::Read),
        ("GET", "/backups?list-type=2&prefix=rally%2F", "ListObjectsV2", Kind::Read),
        ("GET", "/backups/?list-type=2", "ListObjectsV2", Kind::Read),
        ("GET", "/backups?uploads", "ListMultipartUploads", Kind::Read),
        ("GET", "/backups?location", "GetBucketLocation", Kind::Read),
        ("GET", "/backups?versioning", "GetBucketVersioning", Kind::Read),
        ("PUT", "/backups?lifecycle", "PutBucketLifecycleConfiguration", Kind::Write),
        ("DELETE", "/backups?lifecycle", "DeleteBucketLifecycle", Kind::Write),
        ("POST", "/backups?delete", "DeleteObjects", Kind::Write),
        ("PUT", "/backups/rally/a.dump?x-id=PutObject", "PutObject", Kind::Write),
        ("HEAD", "/backups/rally/a.dump", "HeadObject", Kind::Read),
        ("GET", "/backups/rally/a.dump?x-id=GetObject", "GetObject", Kind::Read),
        ("GET", "/backups/rally/a.dump?attributes", "GetObjectAttributes", Kind::Read),
        ("GET", "/backups/rally/a.dump?tagging", "GetObjectTagging", Kind::Read),
        ("POST", "/backups/rally/a.dump?uploads", "CreateMultipartUpload", Kind::Write),
        ("PUT", "/backups/rally/a.dump?partNumber=1&uploadId=u&x-id=UploadPart", "UploadPart", Kind::Write),
        ("GET", "/backups/rally/a.dump?uploadId=u", "ListParts", Kind::Read),
        ("POST", "/backups/rally/a.dump?uploadId=u", "CompleteMultipartUpload", Kind::Write),
        ("DELETE", "/backups/rally/a.dump?uploadId=u", "AbortMultipartUpload", Kind::Write),
        ("DELETE", "/backups/rally/a.dump?x-id=DeleteObject", "DeleteObject", Kind::Write),
    ];
    for (method, path, operation, kind) in cases {
        s3(&front, method, path).send().await.unwrap();
        let call = only_call(&front);
        assert_eq!((call.name(), call.kind), (format!("s3:{operation}"), kind), "{method} {path}");
        front.forget();
    }
    for (query, operation) in [("", "CopyObject"), ("?partNumber=1&uploadId=u", "UploadPartCopy")] {
        let path = format!("/backups/b.dump{query}");
        s3(&front, "PUT", &path).header("x-amz-copy-source", "backups/a.dump").send().await.unwrap();
        assert_eq!(only_call(&front).operation, operation);
        front.forget();
    }
}

#[tokio::test]
async fn a_call_is_recorded_with_what_its_protocol_says() {
    let emulator = Emulator::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let front = Front::builder().upstream(emulator.start().await).record(&file).start().await.unwrap();

    ecs(&front, "UpdateService")
        .header("amz-sdk-invocation-id", "5d3f9a61-0b4e-4f0d-9a53-5f6ce21b8a0c")
        .header("amz-sdk-request", "ttl=20261121T091500Z; attempt=2; max=3")
        .send()
        .await
        .unwrap();
    sts(&front).send().await.unwrap();

    let calls = front.calls();
    let names: Vec<_> = calls.iter().map(Call::name).collect();
    assert_eq!(names, ["ecs:UpdateService", "sts:GetCallerIdentity"]);
    let update = &calls[0];
    assert_eq!(update.kind, Kind::Write);
    assert_eq!(update.region, "eu-west-1");
    assert_eq!(update.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_eq!(update.status, Some(200));
    assert_eq!(update.invocation.as_deref(), Some("5d3f9a61-0b4e-4f0d-9a53-5f6ce21b8a0c"));
    assert_eq!(update.attempt, Some(2));
    assert_eq!(update.request["service"], "rally-prod-service");
    assert_eq!(calls[1].kind, Kind::Read);
    assert_eq!(front.writes(), calls[..1]);

    let lines = std::fs::read_to_string(&file).unwrap();
    let recorded: Vec<Call> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(recorded, calls);
}

/// A body that was buffered on its way would never end here: each side sends the rest only when the other has the start.
#[tokio::test]
async fn s3_bodies_are_streamed_both_ways() {
    type Signals = (oneshot::Sender<()>, oneshot::Receiver<()>);
    async fn answer(State(signals): State<Arc<Mutex<Option<Signals>>>>, request: Incoming) -> Response {
        let (arrived, received) = signals.lock().await.take().unwrap();
        let mut body = request.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "start");
        arrived.send(()).unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "end");
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from("first"))]);
        let last = received.map(|_| Ok(Bytes::from("last"))).into_stream();
        Response::new(Body::from_stream(first.chain(last)))
    }
    let (arrived, arrival) = oneshot::channel();
    let (received, receipt) = oneshot::channel();
    let signals = Arc::new(Mutex::new(Some((arrived, receipt))));
    let upstream = serve(axum::Router::new().fallback(answer).with_state(signals)).await;
    let front = Front::builder().upstream(upstream).start().await.unwrap();

    let start = stream::iter([Ok::<_, std::io::Error>(Bytes::from("start"))]);
    let end = arrival.map(|_| Ok(Bytes::from("end"))).into_stream();
    let exchange = async {
        let body = reqwest::Body::wrap_stream(start.chain(end));
        let mut answer = s3(&front, "PUT", "/backups/a.dump").body(body).send().await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
        received.send(()).unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "last");
    };
    timeout(Duration::from_secs(20), exchange).await.expect("neither side waits for the other's end");
}

#[tokio::test]
async fn an_injected_error_has_the_shape_of_the_protocol() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([
        Fault::throttle("ecs:UpdateService"),
        Fault::access_denied("sts:GetCallerIdentity"),
        Fault::error("s3:*", 503, "SlowDown", "Please reduce your request rate."),
    ]);

    let answer = ecs(&front, "UpdateService").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/x-amz-json-1.1");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }));

    let answer = sts(&front).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let body = answer.text().await.unwrap();
    assert!(body.starts_with("<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"), "{body}");

    let answer = s3(&front, "PUT", "/backups/a.dump").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body = answer.text().await.unwrap();
    assert!(
        body.contains("<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"),
        "{body}"
    );

    let answer = s3(&front, "HEAD", "/backups/a.dump").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(emulator.seen(), 0, "an error before the effect keeps the call from AWS");
    assert_eq!(front.calls()[0].fault.as_deref(), Some("400 ThrottlingException"));
    assert!(!front.calls()[0].effect);
}

/// The bytes: RFC 8949, 3.1, major types 5 and 3.
#[tokio::test]
async fn an_injected_error_of_rpc_v2_is_cbor_with_the_code_of_the_query_protocol_for_who_asks() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([Fault::throttle("monitoring:DescribeAlarms")]);
    let call = Client::builder().no_proxy().build().unwrap();
    let call = call
        .post(format!("{}/service/GraniteServiceVersion20100801/operation/DescribeAlarms", front.url()))
        .header("smithy-protocol", "rpc-v2-cbor")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/eu-west-1/monitoring/aws4_request",
        );
    let answer = call.try_clone().unwrap().send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/cbor");
    assert_eq!(answer.headers()["smithy-protocol"], "rpc-v2-cbor");
    assert!(!answer.headers().contains_key("x-amzn-query-error"));
    assert_eq!(
        answer.bytes().await.unwrap().as_ref(),
        b"\xa2\x79\x00\x06__type\x79\x00\x0aThrottling\x79\x00\x07message\x79\x00\x0dRate exceeded"
    );
    let answer = call.header("x-amzn-query-mode", "true").send().await.unwrap();
    assert_eq!(answer.headers()["x-amzn-query-error"], "Throttling;Sender");
}

#[tokio::test]
async fn an_injected_error_reaches_a_client_that_is_still_sending() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([Fault::error("s3:PutObject", 403, "AccessDenied", "Access Denied")]);
    // A client that looks at the answer only when all is sent; the pauses let a reset arrive.
    let mut connection =
        tokio::net::TcpStream::connect(front.url().trim_start_matches("http://")).await.unwrap();
    let head = "PUT /backups/a.dump HTTP/1.1\r\nhost: s3\r\ncontent-length: 16777216\r\nauthorization: \
                AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261121/eu-west-1/s3/aws4_request\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..16 {
        connection.write_all(&vec![0; 1 << 20]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut status = [0; 12];
    connection.read_exact(&mut status).await.unwrap();
    assert_eq!(str::from_utf8(&status).unwrap(), "HTTP/1.1 403");
    assert_eq!(emulator.seen(), 0);
}

#[tokio::test]
async fn a_fault_strikes_the_occurrences_it_names() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let statuses = async |operation: &str, count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(ecs(&front, operation).send().await.unwrap().status().as_u16());
        }
        statuses
    };
    front.set_faults([
        Fault::error("ecs:DescribeServices#2", 500, "ServerException", "try again"),
        Fault::throttle("ecs:DescribeTasks").times(2),
        Fault::error(
            super::Matcher::new("ecs", "ListTasks").field("cluster", "another"),
            400,
            "ClusterNotFoundException",
            "Cluster not found.",
        ),
    ]);
    assert_eq!(statuses("DescribeServices", 3).await, [200, 500, 200]);
    assert_eq!(statuses("DescribeTasks", 3).await, [400, 400, 200]);
    assert_eq!(statuses("ListTasks", 1).await, [200], "the request names another cluster");
}

#[tokio::test]
async fn a_reset_strikes_before_or_after_the_effect() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([
        Fault::new("ecs:UpdateService#1", Effect::Reset),
        Fault::new("ecs:UpdateService#2", Effect::Reset).after_effect(),
    ]);

    ecs(&front, "UpdateService").send().await.unwrap_err();
    assert_eq!(emulator.seen(), 0);
    ecs(&front, "UpdateService").send().await.unwrap_err();
    assert_eq!(emulator.seen(), 1);
    let calls = front.calls();
    assert_eq!(
        calls.iter().map(|call| (call.status, call.effect)).collect::<Vec<_>>(),
        [(None, false), (None, true)]
    );
}

#[tokio::test]
async fn an_answer_can_end_in_the_middle_of_its_body() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([Fault::new("s3:GetObject#1", Effect::Truncate(4))]);
    let mut answer = s3(&front, "GET", "/backups/a.dump").send().await.unwrap();
    assert_eq!(answer.content_length(), Some(17), "/backups/a.dump 0");
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "/bac");
    answer.chunk().await.unwrap_err();
    let whole = s3(&front, "GET", "/backups/a.dump").send().await.unwrap();
    assert_eq!(whole.text().await.unwrap(), "/backups/a.dump 0");
}

#[tokio::test]
async fn a_delay_lets_the_call_go_on() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    front.set_faults([Fault::new("ecs:*", Effect::Delay(80))]);
    let start = Instant::now();
    assert_eq!(ecs(&front, "DescribeServices").send().await.unwrap().status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_process_can_be_killed_at_a_call() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let mut client = tokio::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(client.id().unwrap()).unwrap();
    front.set_faults([Fault::new("s3:CompleteMultipartUpload", Effect::Kill(pid)).after_effect()]);

    s3(&front, "POST", "/backups/a.dump?uploadId=u").send().await.unwrap_err();
    assert_eq!(client.wait().await.unwrap().signal(), Some(9));
    assert_eq!(emulator.seen(), 1, "AWS has completed the upload");
}

#[tokio::test]
async fn a_held_call_goes_on_when_released() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let hold = front.hold("ecs:UpdateService", When::BeforeForward);
    let call = tokio::spawn(ecs(&front, "UpdateService").send());
    hold.arrived().await;
    assert_eq!(emulator.seen(), 0);
    hold.release();
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    assert_eq!(emulator.seen(), 1);
}

#[tokio::test]
async fn a_held_call_that_is_dropped_never_reaches_aws() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let hold = front.hold("ecs:UpdateService", When::BeforeForward);
    let call = tokio::spawn(ecs(&front, "UpdateService").send());
    hold.arrived().await;
    drop(hold);
    call.await.unwrap().unwrap_err();
    assert_eq!(emulator.seen(), 0);
}

#[tokio::test]
async fn what_aws_has_received_takes_effect_though_the_client_is_gone() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let before = front.hold("ecs:UpdateService", When::BeforeForward);
    let after = front.hold("ecs:UpdateService", When::AfterEffect);
    let call = tokio::spawn(ecs(&front, "UpdateService").send());
    before.arrived().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    before.release();
    after.arrived().await;
    assert_eq!(emulator.seen(), 1);
}

#[tokio::test]
async fn an_unmatched_call_is_a_client_error_and_is_listed() {
    let front = Front::builder().start().await.unwrap();
    let answer = ecs(&front, "DescribeServices").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let reason = "ecs:DescribeServices is answered by no service, and the front has no emulator";
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["message"], format!("front: {reason}"));
    assert_eq!(front.unmatched(), [reason]);
}

#[tokio::test]
async fn a_dead_emulator_is_a_client_error() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let front = Front::builder().upstream(format!("http://{address}")).start().await.unwrap();
    let answer = s3(&front, "GET", "/backups/a.dump").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(
        front.unmatched()[0].starts_with("s3:GetObject could not be passed on to the emulator"),
        "{:?}",
        front.unmatched()
    );
}

struct Clusters;

impl Service for Clusters {
    fn service(&self) -> &'static str {
        "ecs"
    }

    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        async {
            match request.operation.as_str() {
                "DescribeClusters" => Some(Answer::json(&json!({ "asked": request.json()["cluster"] }))),
                _ => None,
            }
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_service_answers_what_it_knows_and_the_emulator_the_rest() {
    let emulator = Emulator::default();
    let builder = Front::builder().upstream(emulator.start().await).service(Arc::new(Clusters));
    let front = builder.start().await.unwrap();
    let answer: Value = ecs(&front, "DescribeClusters").send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({ "asked": "rally-prod" }));
    assert_eq!(emulator.seen(), 0);
    let answer = ecs(&front, "ListClusters").send().await.unwrap().text().await.unwrap();
    assert_eq!(answer, "/ 55", "the body read for the service is passed on");
}

#[tokio::test]
async fn another_process_controls_the_front_over_http() {
    let emulator = Emulator::default();
    let front = front_with(&emulator).await;
    let url = |path: &str| format!("{}/_front/{path}", front.url());
    let get = async |path: &str| client().get(url(path)).send().await.unwrap().json::<Value>().await.unwrap();

    assert_eq!(get("health").await["status"], "ok");
    let faults = json!([
        { "at": "ecs:UpdateService#1", "effect": { "error": { "status": 500, "code": "ServerException", "message": "" } } },
        { "at": { "service": "ecs", "operation": "UpdateService", "nth": 2 }, "when": "after-effect", "effect": "hold" },
    ]);
    let added = client().post(url("faults")).body(faults.to_string()).send().await.unwrap();
    assert_eq!(added.json::<Value>().await.unwrap(), json!({ "faults": 2 }));
    let refused =
        client().post(url("faults")).body(r#"{"at":"ecs:*","effect":"explode"}"#).send().await.unwrap();
    assert_eq!(refused.status(), 400);

    assert_eq!(ecs(&front, "UpdateService").send().await.unwrap().status(), 500);
    let call = tokio::spawn(ecs(&front, "UpdateService").send());
    while get("held").await != json!(["ecs:UpdateService"]) {
        tokio::task::yield_now().await;
    }
    let released = client().post(url("release")).send().await.unwrap();
    assert_eq!(released.json::<Value>().await.unwrap(), json!({ "released": 1 }));
    assert_eq!(call.await.unwrap().unwrap().status(), 200);

    let calls = get("calls?since=1").await;
    assert_eq!(calls.as_array().unwrap().len(), 1, "the control calls are not among them");
    assert_eq!(calls[0]["operation"], "UpdateService");
    client().delete(url("faults")).send().await.unwrap();
    assert_eq!(get("faults").await, json!([]));
    assert_eq!(emulator.seen(), 1);
}

/// A cluster's counter, which each update raises.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Service for Counter {
    fn service(&self) -> &'static str {
        "ecs"
    }

    fn handle<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Option<Answer>> {
        async {
            if request.operation == "UpdateService" {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            let arn = "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:5";
            let count = self.0.load(Ordering::Relaxed);
            Some(Answer::json(&json!({"count": count, "taskDefinition": {"taskDefinitionArn": arn}})))
        }
        .boxed()
    }
}

#[tokio::test]
async fn reads_are_behind_a_write_twice_of_each_kind_and_then_tell_it() {
    let front = Front::builder().service(Arc::new(Counter::default())).start().await.unwrap();
    front.set_faults([Fault::lag("ecs:UpdateService", 0)]);
    let count = async |operation: &str| {
        ecs(&front, operation).send().await.unwrap().json::<Value>().await.unwrap()["count"].clone()
    };
    assert_eq!(count("DescribeServices").await, 0);
    assert_eq!(count("DescribeTasks").await, 0);
    assert_eq!(count("UpdateService").await, 1, "the write itself tells what it did");
    for operation in ["DescribeServices", "DescribeTasks"] {
        let told = [count(operation).await, count(operation).await, count(operation).await];
        assert_eq!(told, [0, 0, 1].map(Value::from), "{operation}");
    }
    assert_eq!(count("ListTasks").await, 1, "what nobody asked before is not known");
    count("UpdateService").await;
    assert_eq!(count("DescribeServices").await, 1, "of the second write it is one behind");
    front.set_faults([]);
    assert_eq!(count("DescribeServices").await, 2);
}

/// The error is ECS's of a revision that is not there.
#[tokio::test]
async fn what_was_just_made_is_not_found_and_what_was_there_is() {
    let front = Front::builder().service(Arc::new(Counter::default())).start().await.unwrap();
    front.set_faults([Fault::lag("ecs:RegisterTaskDefinition", 0)]);
    ecs(&front, "RegisterTaskDefinition").send().await.unwrap();
    let describe = async |name: &str| {
        let body = json!({ "taskDefinition": name }).to_string();
        ecs(&front, "DescribeTaskDefinition").body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(describe("web:4").await, 200);
    let whole = "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:5";
    for name in ["web:5", whole] {
        assert_eq!([describe(name).await, describe(name).await, describe(name).await], [400, 400, 200]);
    }
}
