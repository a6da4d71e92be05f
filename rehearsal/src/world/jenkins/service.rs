//! Both services as a browser and their own scripts see them: the old one, frozen by a person, and the new one, whose instance
//! restores the newest archive that it finds when it first starts.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use testkit::emulator::Emulator;
use testkit::same_port;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::home::{self, JOBS};
use super::{BACKUPS, NEW_VERSION, OLD_VERSION};
use crate::world::stacks::texts;

/// Every answer of Jenkins carries its version.
const VERSION: HeaderName = HeaderName::from_static("x-jenkins");

/// Where both answer; they end when this is dropped.
pub(super) struct Services {
    pub(super) old: String,
    pub(super) new: String,
    _running: JoinSet<()>,
}

impl Services {
    /// On these ports if they are free: 0 is any.
    pub(super) async fn start(emulator: Arc<Emulator>, ports: [u16; 2]) -> io::Result<Self> {
        let mut running = JoinSet::new();
        let old = Router::new().fallback(get(old_service));
        let new = Router::new().fallback(get(new_service)).with_state(Arc::new(Instance::new(emulator)));
        let old = serve(&mut running, ports[0], old).await?;
        let new = serve(&mut running, ports[1], new).await?;
        Ok(Self { old, new, _running: running })
    }
}

async fn serve(running: &mut JoinSet<()>, port: u16, router: Router) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, same_port(port).await?)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    running.spawn(async move {
        // It ends with the world.
        let _ = axum::serve(listener, router).await;
    });
    Ok(url)
}

/// The answers of a service with these jobs.
/// <https://www.jenkins.io/doc/book/using/remote-access-api/>
fn api(path: &str, jobs: &[impl AsRef<str>], quieting_down: bool) -> Option<Value> {
    match path {
        "/api/json" => {
            let jobs: Vec<Value> = jobs.iter().map(|job| json!({ "name": job.as_ref() })).collect();
            Some(json!({ "_class": "hudson.model.Hudson", "quietingDown": quieting_down, "jobs": jobs }))
        }
        "/computer/api/json" => Some(json!({ "_class": "hudson.model.ComputerSet", "busyExecutors": 0 })),
        _ => None,
    }
}

/// J8 is done: the old service takes no new work, and has none.
async fn old_service(uri: Uri) -> Response {
    match api(uri.path(), &JOBS, true) {
        Some(document) => ([(VERSION, OLD_VERSION)], Json(document)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What the new instance came to when it first started.
#[derive(Clone)]
enum Booted {
    /// With these jobs.
    Restored(Vec<String>),
    /// No usable archive: it carries on as a fresh installation, and says nothing (J14).
    Fresh,
}

struct Instance {
    emulator: Arc<Emulator>,
    /// The id of the stack that it belongs to, and what it came to.
    booted: Mutex<Option<(String, Booted)>>,
}

impl Instance {
    fn new(emulator: Arc<Emulator>) -> Self {
        Self { emulator, booted: Mutex::new(None) }
    }

    /// The state of the instance; none while its stack is not complete.
    async fn state(&self) -> io::Result<Option<Booted>> {
        let mut booted = self.booted.lock().await;
        let Some(stack) = self.stack("jenkins-new-ec2").await? else { return Ok(None) };
        if let Some((_, state)) = booted.as_ref().filter(|(id, _)| *id == stack.id) {
            return Ok(Some(state.clone()));
        }
        let Some(infrastructure) = self.stack("jenkins-new-infra").await? else { return Ok(None) };
        let state = self.boot(&infrastructure.bucket).await?;
        *booted = Some((stack.id, state.clone()));
        Ok(Some(state))
    }

    /// What the installation script does: the newest archive by time is tried, and if it can't be read to its end, the
    /// service is a new one, whose first password goes to the bucket.
    async fn boot(&self, bucket: &str) -> io::Result<Booted> {
        let path = format!("/{bucket}?list-type=2&prefix={BACKUPS}/sync/");
        let (_, list) = self.emulator.s3(reqwest::Method::GET, &path, Vec::new()).await?;
        let list = String::from_utf8_lossy(&list);
        let found = texts(&list, "LastModified").into_iter().zip(texts(&list, "Key"));
        if let Some((_, newest)) = found.max() {
            let path = format!("/{bucket}/{newest}");
            let (status, archive) = self.emulator.s3(reqwest::Method::GET, &path, Vec::new()).await?;
            if status == 200
                && let Ok(jobs) = home::unpack(&archive)
            {
                return Ok(Booted::Restored(jobs));
            }
        }
        self.emulator.put_object(bucket, "admin-info/initialAdminPassword", b"rehearsal").await?;
        Ok(Booted::Fresh)
    }

    async fn stack(&self, name: &str) -> io::Result<Option<Stack>> {
        let request = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", name)];
        let (_, answer) = self.emulator.query("cloudformation", &request).await?;
        let first = |element: &str| texts(&answer, element).into_iter().next();
        if first("StackStatus").is_none_or(|status| status != "CREATE_COMPLETE") {
            return Ok(None);
        }
        let mut outputs = texts(&answer, "OutputKey").into_iter().zip(texts(&answer, "OutputValue"));
        let bucket = outputs.find(|(key, _)| key == "JenkinsS3Bucket").map(|(_, value)| value);
        Ok(Some(Stack { id: first("StackId").unwrap_or_default(), bucket: bucket.unwrap_or_default() }))
    }
}

struct Stack {
    id: String,
    bucket: String,
}

async fn new_service(State(instance): State<Arc<Instance>>, uri: Uri) -> Response {
    let version = [(VERSION, NEW_VERSION)];
    match instance.state().await {
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        Ok(None) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Ok(Some(Booted::Restored(_))) if uri.path() == "/login" => {
            (version, "Sign in to Jenkins").into_response()
        }
        Ok(Some(Booted::Restored(jobs))) => match api(uri.path(), &jobs, false) {
            Some(document) => (version, Json(document)).into_response(),
            None => (StatusCode::NOT_FOUND, version).into_response(),
        },
        // <https://www.jenkins.io/doc/book/installing/linux/#unlocking-jenkins>
        Ok(Some(Booted::Fresh)) if uri.path() == "/login" => (version, "Unlock Jenkins").into_response(),
        Ok(Some(Booted::Fresh)) => (StatusCode::FORBIDDEN, version).into_response(),
    }
}
