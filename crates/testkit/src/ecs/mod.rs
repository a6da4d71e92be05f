//! A stateful stand-in for Amazon ECS: it keeps what was registered and updated, moves deployments over polls, and runs
//! every task as whatever its [`Launcher`] starts.
//!
//! * Each Describe or List call about a service moves that service's scheduler by at most one step (so does [`Ecs::tick`]),
//!   and each `DescribeTasks` about a one-off task moves that task;
//!   nothing happens in between, and no test has to wait.
//! * Documents are carried as JSON values: a field that this code does not know comes back as it was sent.
//! * With [`Ecs::open`] everything outlives the process; tasks that were alive get new processes.
//!
//! Modelled: task definitions, clusters, services of the rolling-update kind, service deployments and revisions, tasks of
//! services and one-off tasks, tags. Not modelled: `DeleteService`, blue/green, task sets, other deployment controllers, placement,
//! alarms, the slowing down of tasks that fail again and again. Each file names the AWS pages that it follows. The texts of
//! events, roll-outs and stopped tasks are those that ECS writes, except where a comment says that AWS documents none; the
//! texts of refusals are ECS's where they are known.

mod balancer;
mod definitions;
mod error;
mod launcher;
mod process;
mod request;
mod rollout;
mod run_task;
mod scripted;
mod services;
mod state;
mod tasks;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Mutex;

pub use self::balancer::Balancer;
pub use self::error::EcsError;
pub use self::launcher::{ContainerSpec, Launcher, Running, TaskSpec};
pub use self::process::{ImageSpec, ProcessLauncher, ProcessOptions};
use self::rollout::{Fleet, Processes};
pub use self::scripted::{Behaviour, ScriptedLauncher};
use self::state::{Service, State, TaskStatus};
use crate::front;

/// Seconds since the epoch.
pub type Clock = Arc<dyn Fn() -> f64 + Send + Sync>;

/// In whose name the stand-in answers.
#[derive(Clone)]
pub struct Settings {
    /// The account in ARNs.
    pub account: String,
    /// The region in ARNs.
    pub region: String,
    /// ARN of the caller, for `registeredBy` and `createdBy`.
    pub principal: String,
    /// Where time stamps come from. Nothing but time stamps and the forgetting of stopped tasks depends on it.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            principal: "arn:aws:iam::123456789012:role/release".to_owned(),
            clock: Arc::new(|| {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                // AWS's time stamps have milliseconds.
                (since.unwrap_or_default().as_secs_f64() * 1000.0).round() / 1000.0
            }),
        }
    }
}

impl Settings {
    fn now(&self) -> f64 {
        (self.clock)()
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }
}

/// The stand-in. Clones share it.
#[derive(Clone)]
pub struct Ecs {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    launcher: Box<dyn Launcher>,
    file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

struct Kept {
    state: State,
    processes: Processes,
    saved: Vec<u8>,
}

/// Everything an operation works with.
struct World<'a> {
    settings: &'a Settings,
    launcher: &'a dyn Launcher,
    state: &'a mut State,
    processes: &'a mut Processes,
}

impl World<'_> {
    fn split(&mut self) -> (&mut Vec<Service>, Fleet<'_>) {
        let fleet = Fleet {
            settings: self.settings,
            launcher: self.launcher,
            definitions: &self.state.definitions,
            tasks: &mut self.state.tasks,
            processes: self.processes,
        };
        (&mut self.state.services, fleet)
    }

    fn step(&mut self, index: usize) {
        let (services, mut fleet) = self.split();
        if let Some(service) = services.get_mut(index) {
            rollout::step(service, &mut fleet);
        }
    }

    fn dispatch(&mut self, operation: &str, request: &Value) -> Result<Value, EcsError> {
        match operation {
            "CreateCluster" => Ok(self.create_cluster(request)),
            "CreateService" => self.create_service(request),
            "DeregisterTaskDefinition" => self.deregister_task_definition(request),
            "DescribeClusters" => self.describe_clusters(request),
            "DescribeServiceDeployments" => self.describe_service_deployments(request),
            "DescribeServiceRevisions" => self.describe_service_revisions(request),
            "DescribeServices" => self.describe_services(request),
            "DescribeTaskDefinition" => self.describe_task_definition(request),
            "DescribeTasks" => self.describe_tasks(request),
            "ListServiceDeployments" => self.list_service_deployments(request),
            "ListTagsForResource" => self.list_tags_for_resource(request),
            "ListTaskDefinitions" => self.list_task_definitions(request),
            "ListTasks" => self.list_tasks(request),
            "RegisterTaskDefinition" => self.register_task_definition(request),
            "RunTask" => self.run_task(request),
            "StopServiceDeployment" => self.stop_service_deployment(request),
            "StopTask" => self.stop_task(request),
            "TagResource" => self.tag_resource(request),
            "UntagResource" => self.untag_resource(request),
            "UpdateService" => self.update_service(request),
            other => Err(EcsError::UnknownOperation(other.to_owned())),
        }
    }
}

impl Ecs {
    /// A stand-in that forgets everything when it is dropped.
    pub fn new(launcher: impl Launcher + 'static, settings: Settings) -> Self {
        Self::with(launcher, settings, None, State::default(), Vec::new())
    }

    /// A stand-in whose state lies in a file, which need not exist yet. Tasks that were alive when it was last written are
    /// started again, so call this inside the runtime that the launcher needs.
    ///
    /// # Errors
    /// The file can't be read, or is no state of the stand-in.
    pub fn open(
        path: impl Into<PathBuf>,
        launcher: impl Launcher + 'static,
        settings: Settings,
    ) -> io::Result<Self> {
        let path = path.into();
        let (state, saved) = match std::fs::read(&path) {
            Ok(bytes) => (serde_json::from_slice(&bytes)?, bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (State::default(), Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(Self::with(launcher, settings, Some(path), state, saved))
    }

    fn with(
        launcher: impl Launcher + 'static,
        settings: Settings,
        file: Option<PathBuf>,
        mut state: State,
        saved: Vec<u8>,
    ) -> Self {
        let mut processes = Processes::new();
        let mut world =
            World { settings: &settings, launcher: &launcher, state: &mut state, processes: &mut processes };
        world.split().1.relaunch();
        let kept = Mutex::new(Kept { state, processes, saved });
        Self { inner: Arc::new(Inner { settings, launcher: Box::new(launcher), file, kept }) }
    }

    /// Carries out one operation, named as in `X-Amz-Target` after the dot.
    ///
    /// # Errors
    /// The exceptions that ECS documents for the operation, and [`EcsError::UnknownOperation`].
    pub async fn call(&self, operation: &str, request: Value) -> Result<Value, EcsError> {
        self.with_world(|world| world.dispatch(operation, &request)).await?
    }

    /// Moves every service by one step, as a poll about it would.
    ///
    /// # Errors
    /// The state can't be saved.
    pub async fn tick(&self) -> Result<(), EcsError> {
        self.with_world(|world| (0..world.state.services.len()).for_each(|index| world.step(index))).await
    }

    /// Where the healthy tasks of the service serve, oldest task first.
    pub async fn targets(&self, cluster: &str, service: &str) -> Vec<SocketAddr> {
        let mut kept = self.inner.kept.lock().await;
        let Kept { state, processes, .. } = &mut *kept;
        let mut targets = Vec::new();
        for task in &state.tasks {
            // The process is asked, not the record: a load balancer has its own health check.
            if task.cluster == cluster
                && task.service == service
                && task.status != TaskStatus::Stopped
                && let Some(process) = processes.get_mut(&task.arn)
                && process.poll().is_none()
                && process.healthy()
            {
                targets.extend(process.address());
            }
        }
        targets
    }

    /// Ends every process. The records stay as they are: opened again, the stand-in starts the same tasks.
    pub async fn shutdown(&self) {
        let mut kept = self.inner.kept.lock().await;
        for (_, mut process) in kept.processes.drain() {
            process.stop();
        }
    }

    async fn with_world<T>(&self, act: impl FnOnce(&mut World<'_>) -> T) -> Result<T, EcsError> {
        let mut kept = self.inner.kept.lock().await;
        let Kept { state, processes, saved } = &mut *kept;
        let mut world = World {
            settings: &self.inner.settings,
            launcher: self.inner.launcher.as_ref(),
            state,
            processes,
        };
        let outcome = act(&mut world);
        self.save(state, saved).map_err(|error| {
            EcsError::new("ServerException", format!("the ECS stand-in can't save its state: {error}"))
        })?;
        Ok(outcome)
    }

    /// Replaces the file in one step, if anything changed.
    fn save(&self, state: &State, saved: &mut Vec<u8>) -> io::Result<()> {
        let Some(path) = &self.inner.file else { return Ok(()) };
        let bytes = serde_json::to_vec_pretty(state)?;
        if bytes == *saved {
            return Ok(());
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        *saved = bytes;
        Ok(())
    }

    /// Serves the stand-in alone, on a free loopback port, until the answer is dropped.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn serve(&self) -> io::Result<Server> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let ecs = self.clone();
        let app = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let ecs = ecs.clone();
            async move { answer(&ecs, &headers, &body).await }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Server { address, task })
    }
}

async fn answer(ecs: &Ecs, headers: &HeaderMap, body: &Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let outcome = match target.strip_prefix("AmazonEC2ContainerServiceV20141113.") {
        None => Err(EcsError::UnknownOperation(target.to_owned())),
        Some(operation) => match serde_json::from_slice(body) {
            Ok(request) => ecs.call(operation, request).await,
            Err(error) => Err(EcsError::new("SerializationException", error.to_string())),
        },
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (StatusCode::BAD_REQUEST, error.body()),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-amz-json-1.1".to_owned()),
        (header::HeaderName::from_static("x-amzn-requestid"), uuid::Uuid::new_v4().to_string()),
    ];
    (status, headers, body.to_string()).into_response()
}

/// The front answers every ECS call from the stand-in, the unknown operations too: an emulator's ECS behind the front knows
/// nothing of this one's services.
impl front::Service for Ecs {
    fn service(&self) -> &'static str {
        "ecs"
    }

    fn handle<'a>(&'a self, request: &'a front::Request) -> BoxFuture<'a, Option<front::Answer>> {
        Box::pin(async move {
            Some(match self.call(&request.operation, request.json()).await {
                Ok(body) => front::Answer::json(&body),
                Err(error) => request.error(StatusCode::BAD_REQUEST, error.code(), &error.message()),
            })
        })
    }
}

/// A stand-in that listens.
pub struct Server {
    address: SocketAddr,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Server {
    /// For `AWS_ENDPOINT_URL_ECS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
