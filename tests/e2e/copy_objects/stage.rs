//! Two buckets of an emulated S3 behind the front, which also tells what was sent.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use testkit::front::{Answer, Call, Front, Request, Service};
use testkit::s3::Double;
use testkit::scenario::Scenario;
use tokio::process::Command;

use crate::world::{REGION, Ran, client, own, run, scrubbed, shared_emulator};

pub(crate) const MIB: usize = 1 << 20;
/// `printf 'the whole of Jenkins' | md5sum`, which is the `ETag` of an object that was put in one piece.
pub(crate) const MD5: &str = "\"5bae618ea40d0d2b70ecf921bc1dbf72\"";
/// Small objects in parts.
pub(crate) const PARTS: [&str; 4] = ["--multipart-above", "8MiB", "--part-size", "5MiB"];

/// Sees the headers of every call to S3, and answers none.
#[derive(Default)]
pub(crate) struct Spy(Mutex<Vec<(String, Vec<(String, String)>)>>);

impl Spy {
    /// A header of each call of an operation.
    pub(crate) fn sent(&self, operation: &str, header: &str) -> Vec<String> {
        let calls = self.0.lock().unwrap();
        let of = calls.iter().filter(|(name, _)| name == operation);
        of.map(|(_, headers)| {
            let found = headers.iter().find(|(name, _)| name == header);
            found.map_or_else(|| "(absent)".to_owned(), |(_, value)| value.clone())
        })
        .collect()
    }
}

impl Service for Spy {
    fn service(&self) -> &'static str {
        "s3"
    }

    fn handle<'a>(
        &'a self,
        request: &'a Request,
    ) -> Pin<Box<dyn Future<Output = Option<Answer>> + Send + 'a>> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = request.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        self.0.lock().unwrap().push((request.operation.clone(), headers.collect()));
        Box::pin(std::future::ready(None))
    }
}

/// Two buckets of a test's own.
pub(crate) struct Stage {
    pub(crate) front: Front,
    pub(crate) spy: Arc<Spy>,
    pub(crate) scenario: Option<Scenario>,
    /// Where requests go that pass the front by.
    base: String,
    /// The S3 that refuses what S3 refuses, where the test is on it.
    double: Option<Double>,
    pub(crate) dir: TempDir,
    pub(crate) old: String,
    pub(crate) new: String,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/copy/{name}.json"));
        Self::with(Some(Scenario::load(&path).expect("a scenario"))).await
    }

    pub(crate) async fn with(scenario: Option<Scenario>) -> Self {
        let spy = Arc::new(Spy::default());
        let builder =
            Front::builder().upstream(shared_emulator().await.url()).service(Arc::<Spy>::clone(&spy));
        let builder = match &scenario {
            Some(scenario) => scenario.serve(builder),
            None => builder,
        };
        let front = builder.start().await.expect("the front starts");
        let (old, new) = (own("old-jenkins"), own("new-jenkins"));
        for bucket in [&old, &new] {
            shared_emulator().await.create_bucket(bucket).await.unwrap();
        }
        let base = shared_emulator().await.url().to_owned();
        let dir = tempfile::tempdir().expect("a folder");
        Self { front, spy, scenario, base, double: None, dir, old, new }
    }

    /// On the S3 that refuses what S3 refuses.
    pub(crate) async fn on_double(options: testkit::s3::Options) -> Self {
        let double = Double::start(options).await.expect("the double starts");
        let spy = Arc::new(Spy::default());
        let front = Front::builder()
            .upstream(shared_emulator().await.url())
            .upstream_for("s3", double.url())
            .service(Arc::<Spy>::clone(&spy))
            .start()
            .await
            .expect("the front starts");
        let (old, new) = ("old-jenkins".to_owned(), "new-jenkins".to_owned());
        double.create_bucket(&old);
        double.create_bucket(&new);
        let dir = tempfile::tempdir().expect("a folder");
        Self { front, spy, scenario: None, base: double.url(), double: Some(double), dir, old, new }
    }

    pub(crate) fn double(&self) -> &Double {
        self.double.as_ref().expect("a test on the double")
    }

    /// Sends a request past the front, with these headers.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Response {
        let url = format!("{}/{path}", self.base);
        let mut request = client().request(method.parse().unwrap(), url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success() || method == "HEAD", "{method} {path}: {}", answer.status());
        answer
    }

    pub(crate) async fn put(&self, key: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        self.send("PUT", &format!("{}/{key}", self.old), headers, body.into()).await;
    }

    pub(crate) async fn copy_of(&self, key: &str) -> Option<Vec<u8>> {
        let path = format!("{}/{key}", self.new);
        let there = self.send("HEAD", &path, &[], Vec::new()).await.status().is_success();
        if !there {
            return None;
        }
        Some(self.send("GET", &path, &[], Vec::new()).await.bytes().await.unwrap().to_vec())
    }

    /// The keys of a bucket, as they are listed.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let answer = self.send("GET", &format!("{bucket}?list-type=2"), &[], Vec::new()).await;
        let text = answer.text().await.unwrap();
        text.split("<Key>").skip(1).filter_map(|rest| Some(rest.split("</Key>").next()?.to_owned())).collect()
    }

    pub(crate) async fn unfinished(&self) -> usize {
        let answer = self.send("GET", &format!("{}?uploads", self.new), &[], Vec::new()).await;
        answer.text().await.unwrap().matches("<UploadId>").count()
    }

    pub(crate) fn from(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.old)
    }

    pub(crate) fn to(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.new)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.cutover(&[&["copy-objects", "--format", "json"], args].concat())
    }

    pub(crate) fn cutover(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .args(args)
            .env("AWS_ENDPOINT_URL", self.front.url())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
        command
    }

    /// Copies `key` to the same key.
    pub(crate) async fn copy(&self, key: &str, more: &[&str]) -> Ran {
        run(self.command(&[&["--from", &self.from(key), "--to", &self.to(key)][..], more].concat())).await
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        self.front.writes().iter().map(Call::name).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every call was foreseen, and everything foreseen was called.
    pub(crate) fn is_played(&self) {
        assert!(self.front.unmatched().is_empty(), "{:?}", self.front.unmatched());
        if let Some(double) = &self.double {
            assert!(double.refused().is_empty(), "{:?}", double.refused());
        }
        if let Some(scenario) = &self.scenario {
            assert!(scenario.unused().is_empty(), "{:?}", scenario.unused());
        }
    }
}

pub(crate) fn twelve() -> Vec<u8> {
    (0..12 * MIB).map(|n| u8::try_from((n / 7 + n / 4099) % 251).unwrap()).collect()
}
