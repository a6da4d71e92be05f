//! Whether a search cluster is as wanted, and in plain words why not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kit::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::short;
use crate::kinds::Look;

/// How many names are shown of many.
const NAMED: usize = 5;

/// What the cluster is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Every primary shard is assigned.
    Yellow,
    /// Every shard is.
    Green,
    /// And none is being moved or started.
    Settled,
}

/// What is wanted of a cluster.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wanted {
    pub(crate) state: State,
    /// The cluster's name.
    pub(crate) cluster: Option<String>,
    /// Exactly so many nodes.
    pub(crate) nodes: Option<u64>,
    /// Exactly the nodes of these names.
    pub(crate) names: Vec<String>,
}

/// `GET /_cluster/health`: these fields are the same from Elasticsearch 1 to 9 and in OpenSearch, but for the last two, which say
/// whether there is a master: OpenSearch alone has them, the one from 1.0 and the other from 2.0 on.
///
/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/5.6/cluster-health.html>,
/// <https://docs.opensearch.org/latest/api-reference/cluster-api/cluster-health/>
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Health {
    pub(crate) cluster_name: String,
    pub(crate) status: String,
    pub(crate) number_of_nodes: u64,
    pub(crate) number_of_data_nodes: u64,
    active_shards: u64,
    relocating_shards: u64,
    initializing_shards: u64,
    pub(crate) unassigned_shards: u64,
    discovered_master: Option<bool>,
    discovered_cluster_manager: Option<bool>,
}

/// One node: its name, and the version that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What one look saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) health: Health,
    pub(crate) nodes: Vec<Node>,
    /// Indexes that lack shards, with their own colour.
    pub(crate) lacking: BTreeMap<String, String>,
    /// Why one of the unassigned shards is.
    pub(crate) explained: Option<String>,
}

/// The nodes of `GET /_nodes`, by name.
///
/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/cluster-nodes-info.html>
pub(crate) fn nodes(answer: &Value) -> Vec<Node> {
    let text = |node: &Value, field: &str| {
        kit::one_line(node.get(field).and_then(Value::as_str).unwrap_or_default())
    };
    let found = answer.get("nodes").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let mut nodes: Vec<Node> =
        found.map(|node| Node { name: text(node, "name"), version: text(node, "version") }).collect();
    nodes.sort_by(|one, two| one.name.cmp(&two.name));
    nodes
}

/// The indexes that lack shards in `GET /_cluster/health?level=indices`.
pub(crate) fn lacking(answer: &Value) -> BTreeMap<String, String> {
    let indices = answer.get("indices").and_then(Value::as_object).into_iter().flatten();
    indices
        .filter_map(|(name, index)| {
            let status = index.get("status")?.as_str()?;
            (status != "green").then(|| (kit::one_line(name), short(status)))
        })
        .collect()
}

/// The reason that the cluster itself gives for one unassigned shard (`GET /_cluster/allocation/explain`, from 5.0 on).
///
/// Sources: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/cluster-allocation-explain.html>, and for 5.0 and 5.1,
/// which name things otherwise, <https://www.elastic.co/guide/en/elasticsearch/reference/5.1/cluster-allocation-explain.html>
pub(crate) fn explain(answer: &Value) -> Option<String> {
    let old = answer.get("shard").filter(|shard| shard.is_object());
    let about = old.unwrap_or(answer);
    let index = about.get("index")?.as_str()?;
    let shard = old.map_or_else(|| answer.get("shard"), |shard| shard.get("id"))?.as_u64()?;
    let kind = if about.get("primary")?.as_bool()? { "primary" } else { "replica" };
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let since = text("/unassigned_info/reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    let shard = format!("the {kind} of shard {shard} of {index} is unassigned{since}");
    let general = || {
        text("/allocate_explanation")
            .map(str::to_owned)
            .or_else(|| text("/unassigned_info/details").map(str::to_owned))
    };
    // What each node says counts where the cluster says no; where it says wait, it says itself what for.
    let why = match text("/can_allocate") {
        None | Some("no") => deciders(answer).or_else(general),
        Some("allocation_delayed") => {
            let left =
                text("/remaining_delay").map(|time| format!(" for another {time}")).unwrap_or_default();
            Some(format!("it waits{left} for the node that had it to come back"))
        }
        Some(_) => general(),
    };
    Some(short(&why.map_or_else(|| shard.clone(), |why| format!("{shard}: {why}"))))
}

/// What keeps it from the nodes, each reason once with the number of nodes. That a node has a copy already is said last: so it is
/// with every replica and the primary's node.
fn deciders(answer: &Value) -> Option<String> {
    let nodes =
        answer.get("node_allocation_decisions").and_then(Value::as_array).map(|nodes| nodes.iter().collect());
    let old = || answer.get("nodes").and_then(Value::as_object).map(|nodes| nodes.values().collect());
    let nodes: Vec<&Value> = nodes.or_else(old)?;
    let mut reasons: Vec<(&str, String, usize)> = Vec::new();
    for node in nodes {
        let decisions = node.get("deciders").or_else(|| node.get("decisions")).and_then(Value::as_array);
        for decision in decisions.into_iter().flatten() {
            let text = |field: &str| decision.get(field).and_then(Value::as_str).unwrap_or_default();
            if !matches!(text("decision"), "NO" | "THROTTLE") {
                continue;
            }
            let decider = text("decider");
            // The rest differs from node to node: "[[award][0], node[3sULL...], [P], s[STARTED]]".
            let why = text("explanation").split(" [[").next().unwrap_or_default().trim().to_owned();
            match reasons.iter_mut().find(|(one, ..)| *one == decider) {
                Some((.., nodes)) => *nodes += 1,
                None => reasons.push((decider, why, 1)),
            }
        }
    }
    reasons.sort_by_key(|(decider, ..)| *decider == "same_shard");
    let line = |(decider, why, nodes): &(&str, String, usize)| {
        format!("{why} ({decider}, {nodes} node{})", if *nodes == 1 { "" } else { "s" })
    };
    (!reasons.is_empty()).then(|| reasons.iter().take(2).map(line).collect::<Vec<_>>().join("; "))
}

/// Whether it is the cluster that is meant: what another one is like says nothing of it.
///
/// # Errors
/// It is another one.
pub(crate) fn meant(cluster: Option<&str>, name: &str, address: &str) -> Result<(), Failure> {
    let Some(cluster) = cluster.filter(|cluster| *cluster != name) else { return Ok(()) };
    Err(Failure::refused(format!("use the cluster at {address}"))
        .because(format!("it is the cluster {}, want {cluster}", kit::one_line(name)))
        .help("correct --es, or --es-cluster"))
}

/// Whether the cluster is as wanted.
pub(crate) fn judge(wanted: &Wanted, seen: &Seen) -> Look {
    let health = &seen.health;
    let mut unmet = Vec::new();
    if [health.discovered_master, health.discovered_cluster_manager].contains(&Some(false)) {
        unmet.push("it has no elected master".to_owned());
    }
    let enough = match wanted.state {
        State::Yellow => matches!(health.status.as_str(), "yellow" | "green"),
        State::Green | State::Settled => health.status == "green" && health.unassigned_shards == 0,
    };
    if !enough {
        let want = if wanted.state == State::Yellow { "yellow" } else { "green" };
        let mut line = format!("it is {}, want {want}", short(&health.status));
        if health.unassigned_shards > 0 {
            let all = [health.initializing_shards, health.unassigned_shards]
                .into_iter()
                .fold(health.active_shards, u64::saturating_add);
            let lacks = health.unassigned_shards;
            line.push_str(&format!(": {lacks} of {all} shards {} unassigned", is(lacks)));
        }
        if health.initializing_shards > 0 {
            let starting = health.initializing_shards;
            line.push_str(&format!(", {starting} {} starting", is(starting)));
        }
        // Red ones first: their data can't be had.
        let mut names: Vec<(&String, &String)> = seen.lacking.iter().collect();
        names.sort_by_key(|(_, status)| *status != "red");
        let names: Vec<String> = names.into_iter().map(|(name, status)| format!("{name} {status}")).collect();
        if !names.is_empty() {
            line.push_str(&format!(" ({})", some(&names)));
        }
        unmet.push(line);
        unmet.extend(seen.explained.clone());
    } else if wanted.state == State::Settled {
        let moving = [(health.relocating_shards, "being moved"), (health.initializing_shards, "starting")];
        let moving = moving.iter().filter(|(count, _)| *count > 0);
        let moving: Vec<String> =
            moving.map(|(count, what)| format!("{count} shard{} {} {what}", s(*count), is(*count))).collect();
        if !moving.is_empty() {
            unmet.push(moving.join(", "));
        }
    }
    unmet.extend(members(wanted, seen));
    let mut look = if unmet.is_empty() { Look::healthy(line(seen)) } else { Look::not_yet(unmet.join("; ")) };
    look.details = details(seen);
    look
}

/// What is wrong with the nodes: their number, then those that are missing or strange.
fn members(wanted: &Wanted, seen: &Seen) -> Vec<String> {
    let there: Vec<&str> = seen.nodes.iter().map(|node| node.name.as_str()).collect();
    let mut unmet = Vec::new();
    let count = seen.health.number_of_nodes;
    if let Some(want) = wanted.nodes.filter(|want| *want != count) {
        let names = some(&there);
        unmet.push(format!("it has {count} node{} ({names}), want {want}", s(count)));
    }
    if wanted.names.is_empty() {
        return unmet;
    }
    let missing: Vec<&str> =
        wanted.names.iter().map(String::as_str).filter(|name| !there.contains(name)).collect();
    let strange: BTreeSet<&str> =
        there.iter().copied().filter(|name| !wanted.names.iter().any(|wanted| wanted == name)).collect();
    if !missing.is_empty() {
        unmet.push(format!(
            "it does not see the node{} {}",
            if missing.len() == 1 { "" } else { "s" },
            some(&missing)
        ));
    }
    if !strange.is_empty() {
        let strange: Vec<&str> = strange.into_iter().collect();
        unmet.push(format!("it has nodes that are not named: {}", some(&strange)));
    }
    unmet
}

fn is(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn s(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Some of many names.
pub(crate) fn some(names: &[impl AsRef<str>]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > NAMED {
        shown.push(format!("and {} more", names.len() - NAMED));
    }
    shown.join(", ")
}

/// "v37-cluster is green, 6 nodes, 545 shards, version 5.6.9".
fn line(seen: &Seen) -> String {
    let health = &seen.health;
    let nodes = health.number_of_nodes;
    let mut line = format!(
        "{} is {}, {nodes} node{}, {} shard{}",
        kit::one_line(&health.cluster_name),
        health.status,
        s(nodes),
        health.active_shards,
        s(health.active_shards)
    );
    for (count, what) in [
        (health.unassigned_shards, "unassigned"),
        (health.initializing_shards, "starting"),
        (health.relocating_shards, "being moved"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let versions: BTreeSet<&str> =
        seen.nodes.iter().map(|node| node.version.as_str()).filter(|version| !version.is_empty()).collect();
    if !versions.is_empty() {
        let versions: Vec<&str> = versions.into_iter().collect();
        line.push_str(&format!(", version {}", versions.join(" and ")));
    }
    line
}

fn details(seen: &Seen) -> Map<String, Value> {
    let health = &seen.health;
    let nodes: Vec<&str> = seen.nodes.iter().map(|node| node.name.as_str()).collect();
    let all = json!({
        "cluster": health.cluster_name,
        "status": health.status,
        "nodes": nodes,
        "data-nodes": health.number_of_data_nodes,
        "active-shards": health.active_shards,
        "unassigned-shards": health.unassigned_shards,
        "initializing-shards": health.initializing_shards,
        "relocating-shards": health.relocating_shards,
        "lacking": seen.lacking,
    });
    if let Value::Object(map) = all { map } else { Map::new() }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
