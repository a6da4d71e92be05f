//! Reads what a plan needs. The only file here that reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kit::Failure;
use serde::Serialize;
use serde_json::Value;

use super::change::Cluster;
use super::saved::{Keeper, Saved};
use crate::kinds::cluster::Client;
use crate::kinds::cluster::client::Trouble;
use crate::kinds::cluster::judge::Health;

/// One index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Index {
    pub(super) uuid: String,
    pub(super) replicas: String,
    /// The range that the index chooses its number of copies from by itself.
    pub(super) auto_expand: Option<String>,
    pub(super) hidden: bool,
    /// Open, and not hidden.
    pub(super) plain: bool,
}

/// The cluster as it is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct World {
    pub(super) cluster: String,
    pub(super) uuid: String,
    pub(super) keeper: Keeper,
    pub(super) status: String,
    pub(super) data_nodes: u64,
    pub(super) indexes: BTreeMap<String, Index>,
    pub(super) saved: Option<Saved>,
}

impl World {
    pub(super) fn identity(&self) -> Cluster {
        Cluster { name: self.cluster.clone(), uuid: self.uuid.clone() }
    }
}

/// The settings that count: all are shown with `index.` in front where `flat_settings` is true.
///
/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-get-settings.html>
const SETTINGS: &str = "index.number_of_replicas,index.auto_expand_replicas,index.hidden,index.uuid";

/// A failure of what was attempted.
pub(super) fn failure(attempt: impl Into<String>, trouble: &Trouble) -> Failure {
    let failure = Failure::failed(attempt).because(trouble.reason.clone());
    // Refused requests have had no effect; a server's error, and none at all, say nothing of that.
    let failure = failure.untouched(trouble.status.is_some_and(|status| status < 500));
    // 429 is what a full queue answers: https://www.elastic.co/docs/troubleshoot/elasticsearch/rejected-requests
    let failure = failure.transient(trouble.status.is_none_or(|status| status == 429 || status >= 500));
    match &trouble.help {
        Some(help) => failure.help(help.clone()),
        None => failure,
    }
}

pub(super) async fn world(client: &Client, limit: Duration) -> Result<World, Failure> {
    let about =
        client.get("/", limit).await.map_err(|trouble| failure(ask(client, "who it is"), &trouble))?;
    let text = |pointer: &str| about.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (number, distribution) = (text("/version/number"), text("/version/distribution"));
    let keeper = Keeper::of(distribution, number).ok_or_else(|| {
        Failure::refused(ask(client, "who it is"))
            .because(format!("it shows no version ({number:?}), as Elasticsearch and OpenSearch do"))
            .help("write the address of the cluster's HTTP port, as in https://es.example.org:9200")
    })?;
    let health = client
        .get("/_cluster/health", limit)
        .await
        .map_err(|trouble| failure(ask(client, "for its health"), &trouble))?;
    let health: Health = serde_json::from_value(health)
        .map_err(|error| Failure::refused(ask(client, "for its health")).because(error))?;
    Ok(World {
        cluster: text("/cluster_name").to_owned(),
        uuid: text("/cluster_uuid").to_owned(),
        keeper,
        status: health.status,
        data_nodes: health.number_of_data_nodes,
        indexes: indexes(client, limit).await?,
        saved: saved(client, keeper, limit).await?,
    })
}

fn ask(client: &Client, what: &str) -> String {
    format!("ask the cluster at {} {what}", client.base())
}

/// Every index. Which of them are closed stands in none of their settings in every version, but an open one is found without asking for
/// closed ones.
pub(super) async fn indexes(client: &Client, limit: Duration) -> Result<BTreeMap<String, Index>, Failure> {
    let all = settings(client, "all", limit).await?;
    let plain: BTreeSet<String> = settings(client, "open", limit).await?.into_keys().collect();
    Ok(all
        .into_iter()
        .map(|(name, index)| {
            // Wildcards have left hidden ones out since 7.7, which brought them.
            let plain = plain.contains(&name) && !index.hidden;
            (name, Index { plain, ..index })
        })
        .collect())
}

async fn settings(client: &Client, which: &str, limit: Duration) -> Result<BTreeMap<String, Index>, Failure> {
    let path = format!("/_all/_settings/{SETTINGS}?flat_settings=true&expand_wildcards={which}");
    let answer = match client.get(&path, limit).await {
        Ok(answer) => answer,
        // Elasticsearch before 7: there is no index.
        Err(Trouble { status: Some(404), .. }) => Value::Null,
        Err(trouble) => return Err(failure(ask(client, "for the settings of its indexes"), &trouble)),
    };
    let mut indexes = BTreeMap::new();
    for (name, index) in answer.as_object().into_iter().flatten() {
        let setting = |name: &str| index.get("settings")?.get(name)?.as_str().map(str::to_owned);
        let (Some(uuid), Some(replicas)) = (setting("index.uuid"), setting("index.number_of_replicas"))
        else {
            return Err(Failure::refused(ask(client, "for the settings of its indexes"))
                .because(format!("the answer does not say how many copies the index {name} has"))
                .help("the user may see a part of the settings only: it needs the index privilege view_index_metadata"));
        };
        indexes.insert(
            name.clone(),
            Index {
                uuid,
                replicas,
                auto_expand: setting("index.auto_expand_replicas").filter(|range| range != "false"),
                hidden: setting("index.hidden").as_deref() == Some("true"),
                plain: false,
            },
        );
    }
    Ok(indexes)
}

pub(super) async fn saved(
    client: &Client,
    keeper: Keeper,
    limit: Duration,
) -> Result<Option<Saved>, Failure> {
    match client.get(&keeper.path(), limit).await {
        Ok(answer) => keeper.read(&answer),
        Err(Trouble { status: Some(404), .. }) => Ok(None),
        Err(trouble) => Err(failure(ask(client, "for saved numbers of copies"), &trouble)),
    }
}
