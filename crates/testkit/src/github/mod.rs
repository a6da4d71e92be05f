//! A small, stateful GitHub: what the steps read and write through its REST API, on a loopback port.
//!
//! Git objects, refs and releases are kept and answered in the shapes of <https://docs.github.com/en/rest>; commit
//! statuses, check runs, comments and what the gates of a release look at are kept too. What nobody models is answered with 404, as GitHub answers what it does not know.
//!
//! Not modelled: what pull requests have beside comments, rulesets as such (a branch's refusal is given as GitHub words it),
//! secondary rate limits (a [`Fault`] gives them).

mod api;
mod bare;
mod checks;
mod comments;
mod fault;
mod gates;
mod git;
mod lag;
mod objects;
mod releases;
mod state;
mod workflows;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::comments::Comment;
use self::fault::Rules;
pub use self::fault::{Effect, Fault, When};
use self::lag::Lag;
use self::objects::Entry;
use self::state::{Repo, State};
pub use self::workflows::Workflow;

/// A token that may do everything.
pub const TOKEN: &str = "ghp_worldWritesEverything0000000000000000";

/// One that may do everything, of the kind that apps and workflows have.
pub const APP_TOKEN: &str = "ghs_worldWritesEverything0000000000000000";

/// A token that may read.
pub const READ_TOKEN: &str = "ghp_worldReadsOnly00000000000000000000000";

/// How the world starts.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where the state is kept, so that it outlives the process.
    pub state: Option<PathBuf>,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub method: String,
    /// With the query.
    pub path: String,
    /// The status answered; `None` where the connection was cut instead.
    pub status: Option<u16>,
}

/// An answer of the API.
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<Value>,
}

struct Shared {
    url: String,
    file: Option<PathBuf>,
    state: Mutex<State>,
    rules: Mutex<Rules>,
    lag: Mutex<Option<Lag>>,
    calls: Mutex<Vec<Call>>,
}

/// The running world; it stops listening when dropped.
pub struct GithubWorld {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl GithubWorld {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken, or the state file is there and can't be read.
    pub async fn start(options: Options) -> io::Result<Self> {
        let state = match &options.state {
            Some(file) if file.exists() => serde_json::from_slice(&std::fs::read(file)?)?,
            _ => State::default(),
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))).await?;
        let shared = Arc::new(Shared {
            url: format!("http://{}", listener.local_addr()?),
            file: options.state,
            state: Mutex::new(state),
            rules: Mutex::default(),
            lag: Mutex::default(),
            calls: Mutex::default(),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// The value for `GITHUB_API_URL`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Every request that has ended, in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// The requests that may change something.
    pub fn writes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method != "GET").collect()
    }

    /// Forgets the requests so far.
    pub fn forget_calls(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Adds a fault; those given earlier go first.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.rules).add(fault);
    }

    /// References, releases and runs are read, for so long after a write, as they were before it.
    pub fn lag(&self, lasts: Duration) {
        *lock(&self.shared.lag) = Some(Lag::new(lasts));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        *lock(&self.shared.rules) = Rules::default();
        *lock(&self.shared.lag) = None;
    }

    /// Creates an empty repository, unless it is there.
    pub fn repository(&self, name: &str, default_branch: &str) {
        self.change(|state| {
            let id = state.next_id();
            state.repos.entry(name.to_owned()).or_insert_with(|| Repo::new(id, default_branch));
        });
    }

    /// Lays a bare repository, which git can fetch from and push to, beneath an empty repository of the world.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn bare(&self, repository: &str, folder: &Path) {
        self.change(|state| repo(state, repository).bare = Some(folder.to_owned()));
    }

    /// From now on the repository's people have uploaded the keys that they sign with.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn knows_keys(&self, repository: &str) {
        self.change(|state| repo(state, repository).knows_keys = true);
    }

    /// Puts a commit on a branch, which is created if need be; answers its SHA.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn commit(&self, repository: &str, branch: &str, message: &str) -> String {
        self.change(|state| repo(state, repository).commit(branch, message, &[]))
    }

    /// [`GithubWorld::commit`] with these files written.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn commit_files(
        &self,
        repository: &str,
        branch: &str,
        message: &str,
        files: &[(&str, &str)],
    ) -> String {
        self.change(|state| {
            let repo = repo(state, repository);
            let mut changes = Vec::new();
            for (path, content) in files {
                let sha = repo.write_blob(content.as_bytes());
                changes.push((*path, Entry { mode: "100644".to_owned(), sha }));
            }
            repo.commit(branch, message, &changes)
        })
    }

    /// [`GithubWorld::commit`] with a submodule's pointer set.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn commit_submodule(
        &self,
        repository: &str,
        branch: &str,
        message: &str,
        path: &str,
        sha: &str,
    ) -> String {
        let entry = Entry { mode: "160000".to_owned(), sha: sha.to_owned() };
        self.change(|state| repo(state, repository).commit(branch, message, &[(path, entry)]))
    }

    /// A file as it is on a branch, a tag or a commit; of a submodule, the commit that it points to.
    pub fn file(&self, repository: &str, rev: &str, path: &str) -> Option<String> {
        let state = lock(&self.shared.state);
        let repo = state.repos.get(repository)?;
        let commit = repo.commits.get(&repo.resolve(rev)?)?;
        let entry = repo.files(&commit.tree).get(path).cloned()?;
        if entry.mode == "160000" {
            return Some(entry.sha);
        }
        Some(String::from_utf8_lossy(&repo.read_blob(&entry.sha)?).into_owned())
    }

    /// A commit's message, parents and the paths in which it differs from the first of them.
    pub fn commit_of(&self, repository: &str, rev: &str) -> Option<(String, Vec<String>, Vec<String>)> {
        let state = lock(&self.shared.state);
        let repo = state.repos.get(repository)?;
        let commit = repo.commits.get(&repo.resolve(rev)?)?;
        let parent = commit.parents.first().and_then(|parent| repo.commits.get(parent));
        let before = parent.map(|parent| repo.files(&parent.tree)).unwrap_or_default();
        let after = repo.files(&commit.tree);
        let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        Some((commit.message.clone(), commit.parents.clone(), changed.cloned().collect()))
    }

    /// What GitHub answers whoever changes this branch by the API, from its rules: `Changes must be made through a pull request.`
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn refuse_changes(&self, repository: &str, branch: &str, message: &str) {
        self.change(|state| {
            repo(state, repository).refusals.insert(branch.to_owned(), message.to_owned());
        });
    }

    /// From now on the repository's releases become immutable when they are published.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn immutable_releases(&self, repository: &str) {
        self.change(|state| repo(state, repository).immutable = true);
    }

    /// Sets a ref (`refs/tags/v1`) to an object, as `git push` would.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn set_ref(&self, repository: &str, name: &str, sha: &str) {
        self.change(|state| {
            repo(state, repository).put_ref(name, sha);
        });
    }

    /// Deletes a ref, as `git push --delete` would.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn delete_ref(&self, repository: &str, name: &str) {
        self.change(|state| {
            repo(state, repository).drop_ref(name);
        });
    }

    /// Changes a release as a person in the browser would; the fields are merged into it.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn edit_release(&self, repository: &str, id: u64, fields: &Value) {
        self.change(|state| {
            for release in repo(state, repository).releases.iter_mut().filter(|release| release.id == id) {
                release.edit(fields);
            }
        });
    }

    /// A check run of a commit: `test`, which succeeded, but for the fields given (`conclusion`, `details_url`, ...).
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn check_run(&self, repository: &str, sha: &str, fields: &Value) {
        self.change(|state| {
            let id = state.next_id();
            repo(state, repository).checks.push((sha.to_owned(), gates::check_run(id, sha, fields)));
        });
    }

    /// A commit status with these fields (`state`, `context`, `target_url`).
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn status(&self, repository: &str, sha: &str, fields: &Value) {
        self.change(|state| repo(state, repository).statuses.push((sha.to_owned(), fields.clone())));
    }

    /// A workflow that can be dispatched; one of the same file is replaced.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn workflow(&self, repository: &str, workflow: Workflow) {
        self.change(|state| {
            let all = &mut repo(state, repository).gates.workflows;
            match all.iter_mut().find(|it| it.file == workflow.file) {
                Some(there) => *there = workflow,
                None => all.push(workflow),
            }
        });
    }

    /// The runs of workflows, the oldest first.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn workflow_runs(&self, repository: &str) -> Vec<Value> {
        self.change(|state| repo(state, repository).gates.runs.clone())
    }

    /// A run of a workflow, as the API lists it (`id`, `check_suite_id`, `path`, `event`, `head_sha`).
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn workflow_run(&self, repository: &str, run: &Value) {
        self.change(|state| repo(state, repository).gates.runs.push(run.clone()));
    }

    /// What rulesets say of a branch, as the API lists it; and its classic protection.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn rules(&self, repository: &str, branch: &str, rules: &[Value], protection: Option<&Value>) {
        self.change(|state| {
            let gates = &mut repo(state, repository).gates;
            gates.rules.insert(branch.to_owned(), rules.to_vec());
            if let Some(protection) = protection {
                gates.protection.insert(branch.to_owned(), protection.clone());
            }
        });
    }

    /// An open pull request, or issue, in a milestone and with labels, which are made.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn open(
        &self,
        repository: &str,
        title: &str,
        is_pull: bool,
        milestone: Option<&str>,
        labels: &[&str],
    ) {
        self.change(|state| {
            let gates = &mut repo(state, repository).gates;
            if let Some(title) = milestone.filter(|title| !gates.milestones.iter().any(|it| it == title)) {
                gates.milestones.push(title.to_owned());
            }
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            gates.labels.extend(labels.iter().cloned());
            let number = gates.issues.len() as u64 + 1;
            let milestone = milestone.map(str::to_owned);
            gates.issues.push(gates::Issue { number, title: title.to_owned(), milestone, labels, is_pull });
        });
    }

    /// Closes what is open under this title.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn close(&self, repository: &str, title: &str) {
        self.change(|state| repo(state, repository).gates.issues.retain(|issue| issue.title != title));
    }

    /// Opens a pull request, or an issue, of this number.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn pull_request(&self, repository: &str, number: u64) {
        self.change(|state| {
            repo(state, repository).issues.insert(number);
        });
    }

    /// Writes a comment as `author`; answers its id.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn comment(&self, repository: &str, number: u64, author: &str, body: &str) -> u64 {
        self.change(|state| {
            let id = state.next_id();
            repo(state, repository).comments.push(Comment::new(id, number, author, body));
            id
        })
    }

    /// The comments of an issue or pull request as the API answers them, the oldest first.
    pub fn comments(&self, repository: &str, number: u64) -> Vec<Value> {
        let state = lock(&self.shared.state);
        let comments = state.repos.get(repository).map(|repo| repo.comments.as_slice()).unwrap_or_default();
        let of = comments.iter().filter(|comment| comment.issue == number);
        of.map(|comment| comment.json(&self.shared.url, repository)).collect()
    }

    /// The refs of a repository with the commit that each peels to.
    pub fn refs(&self, repository: &str) -> Vec<(String, String)> {
        let mut state = lock(&self.shared.state);
        let repo = state.repos.get_mut(repository).map(|repo| {
            repo.look();
            &*repo
        });
        let peeled = |repo: &Repo, sha: &String| repo.peel(sha).unwrap_or_else(|| sha.clone());
        repo.map(|repo| repo.refs.iter().map(|(name, sha)| (name.clone(), peeled(repo, sha))).collect())
            .unwrap_or_default()
    }

    /// The latest release is that of this tag, as of one that was published before.
    ///
    /// # Panics
    /// When the repository was not created.
    pub fn set_latest(&self, repository: &str, tag: &str) {
        self.change(|state| repo(state, repository).latest = Some(tag.to_owned()));
    }

    /// The tag of the latest release.
    pub fn latest(&self, repository: &str) -> Option<String> {
        lock(&self.shared.state).repos.get(repository)?.latest.clone()
    }

    /// The releases of a repository as the API answers them, oldest first.
    pub fn releases(&self, repository: &str) -> Vec<Value> {
        let state = lock(&self.shared.state);
        let repo = state.repos.get(repository);
        repo.map(|repo| {
            repo.releases.iter().map(|release| release.json(&self.shared.url, repository)).collect()
        })
        .unwrap_or_default()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut lock(&self.shared.state));
        self.shared.keep();
        value
    }
}

impl Drop for GithubWorld {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(clippy::panic, reason = "a test that names a repository which it did not create is wrong")]
fn repo<'a>(state: &'a mut State, name: &str) -> &'a mut Repo {
    state.repos.get_mut(name).unwrap_or_else(|| panic!("the world has no repository {name}"))
}

impl Shared {
    /// Writes the state to its file. A world that can't keep its state goes on without: the next start shows it.
    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let state = lock(&self.state);
        let written = serde_json::to_vec_pretty(&*state).map_err(io::Error::other).and_then(|bytes| {
            let temporary = file.with_extension("tmp");
            std::fs::write(&temporary, bytes)?;
            std::fs::rename(&temporary, file)
        });
        debug_assert!(written.is_ok(), "{}: {written:?}", file.display());
    }

    fn record(&self, method: &Method, path: &str, status: Option<StatusCode>) {
        lock(&self.calls).push(Call {
            method: method.to_string(),
            path: path.to_owned(),
            status: status.map(|status| status.as_u16()),
        });
    }

    /// Answers one request; an error cuts the connection without an answer.
    async fn handle(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        if path == "/_github/calls" {
            let calls = json!(lock(&self.calls).clone());
            return Ok(Answer::json(StatusCode::OK, calls).into_response());
        }
        let strike = lock(&self.rules).striking(&parts.method, parts.uri.path());
        if let Some((When::Before, effect)) = &strike {
            return self.struck(&parts.method, &path, effect).await;
        }
        let answer = {
            let mut state = lock(&self.state);
            state.repos.values_mut().for_each(Repo::look);
            let mut lag = lock(&self.lag);
            if let Some(lag) = lag.as_mut().filter(|_| parts.method != Method::GET) {
                lag.write(&state);
            }
            let before = lag.as_mut().and_then(|lag| lag.before(&parts.method, &path));
            api::answer(
                before.unwrap_or(&mut state),
                &self.url,
                &parts.method,
                &parts.uri,
                &parts.headers,
                &body,
            )
        };
        if parts.method != Method::GET {
            self.keep();
        }
        if let Some((When::After, effect)) = &strike {
            return self.struck(&parts.method, &path, effect).await;
        }
        self.record(&parts.method, &path, Some(answer.status));
        Ok(answer.into_response())
    }

    async fn struck(
        &self,
        method: &Method,
        path: &str,
        effect: &Effect,
    ) -> io::Result<Response<Full<Bytes>>> {
        match effect {
            Effect::Reset => {
                self.record(method, path, None);
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "a fault"))
            }
            Effect::Hang => {
                self.record(method, path, None);
                std::future::pending().await
            }
            Effect::Answer { status, headers, body } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.record(method, path, Some(status));
                let mut response = Response::new(Full::from(body.clone()));
                *response.status_mut() = status;
                for (name, value) in headers {
                    if let (Ok(name), Ok(value)) =
                        (name.parse::<header::HeaderName>(), value.parse::<header::HeaderValue>())
                    {
                        response.headers_mut().insert(name, value);
                    }
                }
                Ok(response)
            }
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Accepting fails for want of file descriptors or on a client that has gone again: both pass.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Small answers would otherwise wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.handle(request).await }
    });
    // The error of a cut connection is the fault that cut it.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Answer {
    fn json(status: StatusCode, body: Value) -> Self {
        Self { status, headers: HeaderMap::new(), body: Some(body) }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let text = self.body.map(|body| body.to_string()).unwrap_or_default();
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json; charset=utf-8"),
        );
        response
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
