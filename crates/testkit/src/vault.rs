//! A stand-in for `HashiCorp` Vault, since no server of it can be had from a package registry: health, the look at a mount, and the
//! reading side of the key/value engines. Its answers are those of the API's documentation:
//! <https://developer.hashicorp.com/vault/api-docs/system/health>,
//! <https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts>,
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1>,
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The token that may do everything that its policy does not deny.
pub const TOKEN: &str = "hvs.CAESIJthetokenofthestandin";

/// The id of its cluster.
pub const CLUSTER: &str = "1c9e3b07-9c86-4a0b-8b0f-2f8f3f6f0c11";

/// A server, which ends when this is dropped.
pub struct Vault {
    url: String,
    state: Arc<Mutex<Server>>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct Server {
    sealed: bool,
    /// By path without a slash at its end.
    engines: BTreeMap<String, Engine>,
    denied: BTreeSet<String>,
    /// What is written just before the reading of a secret that has this number.
    later: BTreeMap<usize, (String, String, String)>,
    reads: usize,
    requests: Vec<String>,
}

struct Engine {
    /// `kv`, or something else.
    kind: &'static str,
    version: u8,
    /// The text of each value; nothing where the newest version is deleted.
    secrets: BTreeMap<String, (u64, Option<String>)>,
}

impl Vault {
    /// An unsealed server with no engine.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> io::Result<Self> {
        let state: Arc<Mutex<Server>> = Arc::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(state.clone());
        let running = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, state, running })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enables an engine: `kv` of version 1 or 2, or another kind.
    pub fn enable(&self, path: &str, kind: &'static str, version: u8) {
        self.server().engines.insert(path.to_owned(), Engine { kind, version, secrets: BTreeMap::new() });
    }

    /// Writes a secret, whose value is the text of a JSON object.
    pub fn write(&self, engine: &str, path: &str, value: &str) {
        self.server().write(engine, path, Some(value.to_owned()));
    }

    /// Deletes the newest version of a secret, as `vault kv delete` does with an engine of version 2.
    pub fn delete(&self, engine: &str, path: &str) {
        self.server().write(engine, path, None);
    }

    /// Writes a secret just before the `read`th reading of one, counted from 1.
    pub fn write_before_read(&self, read: usize, engine: &str, path: &str, value: &str) {
        let later = (engine.to_owned(), path.to_owned(), value.to_owned());
        self.server().later.insert(read, later);
    }

    pub fn seal(&self) {
        self.server().sealed = true;
    }

    /// Denies the token one path of the API, such as `secret/data/auth/realm`.
    pub fn deny(&self, path: &str) {
        self.server().denied.insert(path.to_owned());
    }

    /// The requests so far: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.server().requests.clone()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Server {
    fn write(&mut self, engine: &str, path: &str, value: Option<String>) {
        if let Some(engine) = self.engines.get_mut(engine) {
            let version = engine.secrets.get(path).map_or(0, |(version, _)| *version);
            engine.secrets.insert(path.to_owned(), (version + u64::from(value.is_some()), value));
        }
    }
}

async fn answer(
    State(state): State<Arc<Mutex<Server>>>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut server = state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
    server.requests.push(format!("{method} {path}"));
    let Some(path) = path.strip_prefix("/v1/") else { return StatusCode::NOT_FOUND.into_response() };
    if path == "sys/health" {
        return health(&server, &query);
    }
    if server.sealed {
        return errors(StatusCode::SERVICE_UNAVAILABLE, &["Vault is sealed"]);
    }
    if headers.get("x-vault-token").is_none_or(|token| token != TOKEN) || server.denied.contains(path) {
        return errors(StatusCode::FORBIDDEN, &["permission denied"]);
    }
    if let Some(path) = path.strip_prefix("sys/internal/ui/mounts/") {
        return match server.engines.get(path) {
            Some(engine) => {
                let version = engine.version.to_string();
                found(
                    json!({ "type": engine.kind, "path": format!("{path}/"), "options": { "version": version } }),
                )
            }
            // <https://github.com/hashicorp/vault/issues/6263>: it does not tell whether there is such an engine.
            None => errors(
                StatusCode::FORBIDDEN,
                &[
                    "preflight capability check returned 403, please ensure client's policies grant access to path",
                ],
            ),
        };
    }
    let list = method.as_str() == "LIST" || query.get("list").is_some_and(|list| list == "true");
    let engine = server.engines.keys().find(|engine| path.starts_with(&format!("{engine}/"))).cloned();
    let Some(name) = engine else { return errors(StatusCode::NOT_FOUND, &["no handler for route"]) };
    let rest = path.get(name.len() + 1..).unwrap_or_default().to_owned();
    let version = server.engines.get(&name).map_or(0, |engine| engine.version);
    let place = match (version, list) {
        (1, _) => Some(rest.as_str()),
        (_, true) => rest.strip_prefix("metadata/"),
        (_, false) => rest.strip_prefix("data/"),
    };
    match place {
        Some(folder) if list => names(&server, &name, folder),
        Some(path) => read(&mut server, &name, version, path),
        None => errors(StatusCode::NOT_FOUND, &[]),
    }
}

fn health(server: &Server, query: &HashMap<String, String>) -> Response {
    let (code, default) = if server.sealed { ("sealedcode", 503) } else { ("activecode", 200) };
    let status = query.get(code).and_then(|code| code.parse().ok()).unwrap_or(default);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut body = json!({
        "initialized": true, "sealed": server.sealed, "standby": false, "performance_standby": false,
        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
        "server_time_utc": 1_795_262_400, "version": "1.17.2",
    });
    if !server.sealed {
        body["cluster_name"] = json!("vault-cluster-boss");
        body["cluster_id"] = json!(CLUSTER);
    }
    (status, axum::Json(body)).into_response()
}

fn names(server: &Server, engine: &str, folder: &str) -> Response {
    let secrets = server.engines.get(engine).map(|engine| engine.secrets.keys());
    let below = secrets.into_iter().flatten().filter_map(|path| path.strip_prefix(folder));
    let names: BTreeSet<&str> = below
        .map(|rest| rest.split_inclusive('/').next().unwrap_or(rest))
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() { errors(StatusCode::NOT_FOUND, &[]) } else { found(json!({ "keys": names })) }
}

fn read(server: &mut Server, engine: &str, version: u8, path: &str) -> Response {
    server.reads += 1;
    if let Some((engine, path, value)) = server.later.remove(&server.reads) {
        server.write(&engine, &path, Some(value));
    }
    let stored = server.engines.get(engine).and_then(|engine| engine.secrets.get(path));
    // As text, so that a value arrives as it was written.
    let (status, data) = match (stored, version) {
        (None, _) | (Some((_, None)), 1) => return errors(StatusCode::NOT_FOUND, &[]),
        (Some((_, Some(value))), 1) => (StatusCode::OK, value.clone()),
        (Some((version, value)), _) => {
            let deleted = if value.is_some() { "" } else { "2026-11-20T19:31:05.613Z" };
            let metadata = json!({
                "created_time": "2026-11-20T19:30:00.000000000Z", "custom_metadata": null, "deletion_time": deleted,
                "destroyed": false, "version": version,
            });
            let status = if value.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
            (status, format!("{{\"data\":{},\"metadata\":{metadata}}}", value.as_deref().unwrap_or("null")))
        }
    };
    let body = format!(
        "{{\"request_id\":\"{}\",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":{data},\"wrap_info\":null,\
         \"warnings\":null,\"auth\":null}}\n",
        uuid::Uuid::new_v4()
    );
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn found(data: Value) -> Response {
    axum::Json(json!({
        "request_id": uuid::Uuid::new_v4().to_string(), "lease_id": "", "renewable": false, "lease_duration": 0,
        "data": data, "wrap_info": null, "warnings": null, "auth": null,
    }))
    .into_response()
}

fn errors(status: StatusCode, errors: &[&str]) -> Response {
    (status, axum::Json(json!({ "errors": errors }))).into_response()
}
