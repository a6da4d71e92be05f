//! A search cluster as far as `wait-healthy` uses one: a state machine that answers as the documentation of the version says.
//!
//! No server of this kind comes from the registries that the tests may use. Sources, by request:
//! `_cluster/health` <https://www.elastic.co/guide/en/elasticsearch/reference/5.6/cluster-health.html> and
//! <https://docs.opensearch.org/latest/api-reference/cluster-api/cluster-health/>;
//! `_cluster/allocation/explain` <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/cluster-allocation-explain.html>;
//! `_settings` <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-get-settings.html>;
//! `_component_template` <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-component-template.html>;
//! `_template` <https://www.elastic.co/guide/en/elasticsearch/reference/6.8/indices-templates.html> and, with one pattern,
//! <https://www.elastic.co/guide/en/elasticsearch/reference/5.6/indices-templates.html>.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is wrong with one writing request, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is never answered, and had no effect.
    HoldBefore(usize),
    /// It is never answered, and had its effect.
    HoldAfter(usize),
    /// The connection ends without an answer after it had its effect.
    Lost(usize),
    /// 503, and no effect.
    Unavailable(usize),
    /// It has its effect, and then somebody gives the index `award` three copies.
    Meddled(usize),
    /// Another run saves its own a moment earlier.
    Outrun(usize),
    /// So many are refused from this one on, and had no effect.
    Refused { from: usize, times: usize, status: u16, kind: &'static str, reason: &'static str },
    /// Every answer comes a byte a second, those of reading requests too.
    Slow,
}

#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) open: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    /// `7.17.0`, and for OpenSearch `2.11.0` with its distribution.
    pub(crate) version: &'static str,
    pub(crate) distribution: Option<&'static str>,
    pub(crate) nodes: Vec<&'static str>,
    /// Of the nodes, those that hold data.
    pub(crate) data_nodes: u64,
    /// A primary shard is lost.
    pub(crate) red: bool,
    /// How many times the health is asked for before new copies are made.
    pub(crate) slow: u32,
    pub(crate) indexes: BTreeMap<String, Index>,
    pub(crate) templates: BTreeMap<String, Value>,
    /// The header that each request needs.
    pub(crate) authorization: Option<&'static str>,
    pub(crate) fault: Option<Fault>,
    /// Method, path and query of each request that could write.
    pub(crate) writes: Vec<String>,
}

pub(crate) struct Search {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    held: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Drop for Search {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Search {
    /// A master without data and its data nodes, as ENCODE's runbook makes them.
    pub(crate) async fn start(version: &'static str, data_nodes: u64, indexes: &[(&str, &str)]) -> Self {
        const NAMES: [&str; 6] =
            ["v37-master", "v37-data0", "v37-data1", "v37-data2", "v37-data3", "v37-data4"];
        let (version, distribution) = match version.strip_prefix("opensearch ") {
            Some(version) => (version, Some("opensearch")),
            None => (version, None),
        };
        let state = State {
            version,
            distribution,
            nodes: NAMES[..=usize::try_from(data_nodes).unwrap()].to_vec(),
            data_nodes,
            red: false,
            slow: 0,
            indexes: BTreeMap::new(),
            templates: BTreeMap::new(),
            authorization: None,
            fault: None,
            writes: Vec::new(),
        };
        let (state, held) = (Arc::new(Mutex::new(state)), Arc::new(Notify::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = (Arc::clone(&state), Arc::clone(&held));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, held) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                tokio::spawn(async move { serve(stream, &state, &held).await });
            }
        });
        let search = Self { url, state, held, serving };
        for (name, replicas) in indexes {
            search.add(name, &[("index.number_of_replicas", replicas)]);
        }
        search
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes an index, anew if there is one of that name.
    pub(crate) fn add(&self, name: &str, settings: &[(&str, &str)]) {
        let mut state = self.state();
        let mut all: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let made = state.indexes.len() + state.writes.len();
        all.insert("index.uuid".to_owned(), format!("{name}-{made}"));
        all.entry("index.number_of_replicas".to_owned()).or_insert_with(|| "1".to_owned());
        all.insert("index.number_of_shards".to_owned(), "1".to_owned());
        state.indexes.insert(name.to_owned(), Index { settings: all, open: true });
    }

    pub(crate) fn set(&self, name: &str, replicas: &str) {
        let mut state = self.state();
        let index = state.indexes.get_mut(name).unwrap();
        index.settings.insert("index.number_of_replicas".to_owned(), replicas.to_owned());
    }

    /// The number of copies of each index.
    pub(crate) fn replicas(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let one = |(name, index): (&String, &Index)| {
            (name.clone(), index.settings["index.number_of_replicas"].clone())
        };
        state.indexes.iter().map(one).collect()
    }

    /// All that a request can change.
    pub(crate) fn contents(&self) -> Value {
        json!({"replicas": self.replicas(), "templates": self.state().templates})
    }

    /// Counts writing requests from 1 again.
    pub(crate) fn forget(&self) {
        self.state().writes.clear();
    }

    /// The names of the templates that are there.
    pub(crate) fn templates(&self) -> Vec<String> {
        self.state().templates.keys().cloned().collect()
    }

    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// Comes back when a request is held.
    pub(crate) async fn held(&self) {
        self.held.notified().await;
    }
}

struct Asked {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    head: String,
    body: Value,
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let first = String::from_utf8_lossy(&bytes[..end]).lines().next()?.to_owned();
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Asked {
        method,
        path: path.to_owned(),
        query: query.split('&').filter_map(pair).collect(),
        head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        body: serde_json::from_slice(&bytes[end..]).unwrap_or(Value::Null),
    })
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>, held: &Notify) {
    let Some(asked) = read(&mut stream).await else { return };
    let (fault, answer) = {
        let mut state = state.lock().unwrap();
        let mut fault = None;
        if asked.method != "GET" {
            state.writes.push(format!("{} {}", asked.method, asked.path));
            let nth = state.writes.len();
            fault = state.fault.filter(|fault| match fault {
                Fault::HoldBefore(n)
                | Fault::HoldAfter(n)
                | Fault::Lost(n)
                | Fault::Unavailable(n)
                | Fault::Meddled(n)
                | Fault::Outrun(n) => *n == nth,
                Fault::Refused { from, times, .. } => (*from..from + times).contains(&nth),
                Fault::Slow => false,
            });
        }
        match fault {
            Some(Fault::HoldBefore(_)) => (fault, (0, Value::Null)),
            Some(Fault::Unavailable(_)) => (
                None,
                error(
                    503,
                    "process_cluster_event_timeout_exception",
                    "failed to process cluster event within 30s",
                ),
            ),
            Some(Fault::Refused { status, kind, reason, .. }) => (None, error(status, kind, reason)),
            Some(Fault::Meddled(_)) => {
                let answer = state.answer(&asked);
                let award = state.indexes.get_mut("award").unwrap();
                award.settings.insert("index.number_of_replicas".to_owned(), "3".to_owned());
                (None, answer)
            }
            Some(Fault::Outrun(_)) => {
                let other = asked.body.to_string().replace("a terminal", "run 4711");
                let name = asked.path.rsplit('/').next().unwrap().to_owned();
                state.templates.insert(name, serde_json::from_str(&other).unwrap());
                (None, state.answer(&asked))
            }
            _ => (fault, state.answer(&asked)),
        }
    };
    match fault {
        Some(Fault::Lost(_)) => return,
        Some(_) => {
            held.notify_one();
            // Until the other side is gone.
            let _ = stream.read_u8().await;
            return;
        }
        None => {}
    }
    let (status, body) = answer;
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let is_slow = state.lock().unwrap().fault == Some(Fault::Slow);
    for byte in format!("{head}{body}").bytes() {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        if is_slow {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}

fn error(status: u16, kind: &str, reason: &str) -> (u16, Value) {
    let cause = json!({"type": kind, "reason": reason});
    (status, json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status}))
}

impl State {
    fn at_least(&self, wanted: (u32, u32)) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap());
        let own = (parts.next().unwrap(), parts.next().unwrap());
        self.distribution.is_some() || own >= wanted
    }

    fn answer(&mut self, asked: &Asked) -> (u16, Value) {
        if let Some(wanted) = self.authorization
            && !asked.head.contains(&format!("authorization: {wanted}"))
        {
            return error(401, "security_exception", "missing authentication credentials for REST request");
        }
        // Checked from 6.0 on: <https://www.elastic.co/blog/strict-content-type-checking-for-elasticsearch-rest-requests>
        let typed = asked.head.to_ascii_lowercase().contains("content-type: application/json");
        if asked.method == "PUT" && !typed && self.at_least((6, 0)) {
            return error(406, "content_type", "Content-Type header is not supported");
        }
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => (
                200,
                json!({
                    "name": self.nodes[0], "cluster_name": "v37-cluster", "cluster_uuid": "c-1",
                    "version": {"number": self.version, "distribution": self.distribution},
                }),
            ),
            ("GET", ["_cluster", "health"]) => (200, self.health(asked.query.contains_key("level"))),
            ("GET", ["_nodes"]) => {
                let nodes = self.nodes.iter().enumerate();
                let nodes: Map<String, Value> = nodes
                    .map(|(n, name)| (format!("id-{n}"), json!({"name": name, "version": self.version})))
                    .collect();
                (200, json!({"nodes": nodes}))
            }
            ("GET", ["_cluster", "allocation", "explain"]) => self.explain(),
            ("GET", ["_all", "_settings", names]) => {
                (200, self.settings(names, &asked.query["expand_wildcards"]))
            }
            ("PUT", [names, "_settings"]) => self.put_settings(names, &asked.body),
            (method, [kind @ ("_component_template" | "_template"), name]) => {
                self.template(method, kind, name, asked)
            }
            _ => error(400, "illegal_argument_exception", "no handler found for this request"),
        }
    }

    /// Copies beyond the data nodes stay unassigned.
    fn unassigned(&self) -> BTreeMap<&String, u64> {
        let one = |(name, index): (_, &Index)| {
            let copies = index.settings["index.number_of_replicas"].parse::<u64>().unwrap() + 1;
            (name, copies.saturating_sub(self.data_nodes))
        };
        self.indexes.iter().filter(|(_, index)| index.open).map(one).filter(|(_, lacks)| *lacks > 0).collect()
    }

    fn health(&mut self, indices: bool) -> Value {
        let lacks: u64 = self.unassigned().values().sum();
        let starting = u64::from(self.slow > 0);
        if !indices {
            self.slow = self.slow.saturating_sub(1);
        }
        let copies: u64 = self
            .indexes
            .values()
            .filter(|index| index.open)
            .map(|index| index.settings["index.number_of_replicas"].parse::<u64>().unwrap() + 1)
            .sum();
        let status = match lacks + starting {
            _ if self.red => "red",
            0 => "green",
            _ => "yellow",
        };
        let mut health = json!({
            "cluster_name": "v37-cluster", "status": status, "timed_out": false,
            "number_of_nodes": self.nodes.len(), "number_of_data_nodes": self.data_nodes,
            "active_primary_shards": self.indexes.len(), "active_shards": copies - lacks - starting,
            "relocating_shards": 0, "initializing_shards": starting, "unassigned_shards": lacks,
            "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0,
            "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 50.0,
        });
        if self.distribution.is_some() {
            health["discovered_master"] = json!(true);
            health["discovered_cluster_manager"] = json!(true);
        }
        if indices {
            let lacking = self.unassigned();
            let indices: Map<String, Value> = self
                .indexes
                .keys()
                .map(|name| {
                    let status = if lacking.contains_key(name) { "yellow" } else { "green" };
                    (name.clone(), json!({"status": status}))
                })
                .collect();
            health["indices"] = Value::Object(indices);
        }
        health
    }

    fn explain(&self) -> (u16, Value) {
        let Some((index, _)) = self.unassigned().into_iter().next() else {
            return error(
                400,
                "illegal_argument_exception",
                "unable to find any unassigned shards to explain [ClusterAllocationExplainRequest[useAnyUnassignedShard=true]",
            );
        };
        let decisions: Vec<Value> = self.nodes[1..]
            .iter()
            .map(|name| {
                json!({
                    "node_id": name, "node_name": name, "node_decision": "no",
                    "deciders": [{
                        "decider": "same_shard", "decision": "NO",
                        "explanation": format!("a copy of this shard is already allocated to this node [[{index}][0], node[{name}], [P], s[STARTED], a[id=eV9P8BN1QPqRc3B4PLx6cg]]"),
                    }],
                })
            })
            .collect();
        (
            200,
            json!({
                "index": index, "shard": 0, "primary": false, "current_state": "unassigned",
                "unassigned_info": {"reason": "REPLICA_ADDED", "at": "2017-01-04T18:53:59.498Z", "last_allocation_status": "no_attempt"},
                "can_allocate": "no",
                "allocate_explanation": "cannot allocate because allocation is not permitted to any of the nodes",
                "node_allocation_decisions": decisions,
            }),
        )
    }

    fn settings(&self, names: &str, which: &str) -> Value {
        let shown = |index: &Index| -> Map<String, Value> {
            let wanted = |name: &String| names.split(',').any(|wanted| wanted == name);
            index
                .settings
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect()
        };
        // Hidden indexes, and with them what `all` and `open` mean of them, came with 7.7.
        let hidden =
            |index: &Index| index.settings.get("index.hidden").is_some_and(|hidden| hidden == "true");
        let found = self.indexes.iter().filter(|(_, index)| which == "all" || (index.open && !hidden(index)));
        found
            .map(|(name, index)| (name.clone(), json!({"settings": shown(index)})))
            .collect::<Map<_, _>>()
            .into()
    }

    fn put_settings(&mut self, names: &str, body: &Value) -> (u16, Value) {
        let names: Vec<&str> = names.split(',').collect();
        if let Some(missing) = names.iter().find(|name| !self.indexes.contains_key(**name)) {
            return error(404, "index_not_found_exception", &format!("no such index [{missing}]"));
        }
        let Some(replicas) = body.pointer("/index/number_of_replicas").and_then(Value::as_u64) else {
            return error(400, "illegal_argument_exception", "no settings to update");
        };
        for name in names {
            let index = self.indexes.get_mut(name).unwrap();
            index.settings.insert("index.number_of_replicas".to_owned(), replicas.to_string());
        }
        self.slow = 2;
        (200, json!({"acknowledged": true}))
    }

    fn template(&mut self, method: &str, kind: &str, name: &str, asked: &Asked) -> (u16, Value) {
        let component = kind == "_component_template";
        if component && !self.at_least((7, 8)) {
            return error(400, "illegal_argument_exception", "no handler found for this request");
        }
        let there = self.templates.get(name).cloned();
        match (method, there) {
            ("GET" | "DELETE", None) => (404, json!({})),
            ("GET", Some(template)) if component => {
                (200, json!({"component_templates": [{"name": name, "component_template": template}]}))
            }
            ("GET", Some(template)) => (200, Value::Object(Map::from_iter([(name.to_owned(), template)]))),
            ("DELETE", Some(_)) => {
                self.templates.remove(name);
                (200, json!({"acknowledged": true}))
            }
            ("PUT", Some(_)) if asked.query.get("create").is_some_and(|create| create == "true") => {
                error(400, "illegal_argument_exception", &format!("template [{name}] already exists"))
            }
            ("PUT", _) => {
                if let Some(wrong) = self.wrong_template(component, &asked.body) {
                    return error(400, "mapper_parsing_exception", wrong);
                }
                self.templates.insert(name.to_owned(), asked.body.clone());
                (200, json!({"acknowledged": true}))
            }
            _ => error(405, "method", "not allowed"),
        }
    }

    /// What the version does not take.
    fn wrong_template(&self, component: bool, body: &Value) -> Option<&'static str> {
        if component {
            return (!body["template"].is_object()).then_some("template is required");
        }
        let pattern = if self.at_least((6, 0)) {
            body["index_patterns"].is_array()
        } else {
            body["template"].is_string()
        };
        if !pattern {
            return Some("index patterns are missing");
        }
        // Types are gone from 7.0 on, and needed before.
        let typed = !body["mappings"]["saved"].is_null();
        (typed == self.at_least((7, 0))).then_some("Root mapping definition has unsupported parameters")
    }
}
