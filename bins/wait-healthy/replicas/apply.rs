//! Makes one change. The only file here that writes.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::Failure;
use serde_json::json;

use super::change::{Change, Named};
use super::observe::{Index, failure, indexes, saved};
use super::saved::{Keeper, Saved};
use crate::kinds::cluster::Client;
use crate::kinds::cluster::client::segment;

/// The least time for a writing request: a master that is busy answers late, and by itself after 30 seconds.
const LEAST: Duration = Duration::from_secs(45);

/// Makes the change. There is no token: without an answer, or with a server's error, it is looked whether it took effect.
pub(super) async fn make(
    client: &Client,
    keeper: Keeper,
    change: &Change,
    limit: Duration,
) -> Result<(), Failure> {
    let limit = limit.max(LEAST);
    match change {
        Change::Replicas { indexes, before, after } => {
            replicas(client, indexes, (before, after), limit).await
        }
        Change::Saved { before, after } => {
            keep(client, keeper, (before.as_ref(), after.as_ref()), limit).await
        }
    }
}

/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-update-settings.html>
async fn replicas(
    client: &Client,
    changed: &[Named],
    (before, after): (&str, &str),
    limit: Duration,
) -> Result<(), Failure> {
    let attempt = format!("set number_of_replicas to {after}");
    // No request can say what it expects to find, so it is looked for right before.
    if let Some(other) =
        differs(client, changed, before, limit).await.map_err(|failure| failure.untouched(true))?
    {
        return Err(Failure::waiting(&attempt)
            .because(format!("somebody has changed it meanwhile: {other}"))
            .help("run the same command again, which looks anew")
            .untouched(true));
    }
    let names: Vec<String> = changed.iter().map(|index| segment(&index.name)).collect();
    let value = after.parse::<u32>().map_or_else(|_| json!(after), |number| json!(number));
    let body = json!({"index": {"number_of_replicas": value}});
    let Err(trouble) = client.put(&format!("/{}/_settings", names.join(",")), &body, limit).await else {
        return Ok(());
    };
    let refused = trouble.status.is_some_and(|status| status < 500);
    if !refused && differs(client, changed, after, limit).await.is_ok_and(|differs| differs.is_none()) {
        return Ok(());
    }
    Err(failure(attempt, &trouble))
}

/// The first of the indexes that has not this number of copies, or is not there.
async fn differs(
    client: &Client,
    changed: &[Named],
    wanted: &str,
    limit: Duration,
) -> Result<Option<String>, Failure> {
    let there = indexes(client, limit).await?;
    Ok(changed.iter().find_map(|named| other(&there, named, wanted)))
}

/// What is so instead, where the index has not this number of copies, or is not there.
pub(super) fn other(there: &BTreeMap<String, Index>, named: &Named, wanted: &str) -> Option<String> {
    match there.get(&named.name) {
        None => Some(format!("the index {} is there no more", named.name)),
        Some(index) if index.uuid != named.uuid => Some(format!("the index {} was made anew", named.name)),
        Some(index) if index.replicas != wanted => Some(format!("{} has {}", named.name, index.replicas)),
        Some(_) => None,
    }
}

async fn keep(
    client: &Client,
    keeper: Keeper,
    (before, after): (Option<&Saved>, Option<&Saved>),
    limit: Duration,
) -> Result<(), Failure> {
    let attempt =
        if after.is_some() { "save the numbers of copies" } else { "drop the saved numbers of copies" };
    let there = saved(client, keeper, limit).await.map_err(|failure| failure.untouched(true))?;
    let meanwhile = || {
        Failure::waiting(attempt)
            .because("another run has saved or dropped some meanwhile")
            .help("run the same command again, which looks anew")
            .untouched(true)
    };
    if there.as_ref() != before {
        return Err(meanwhile());
    }
    let path = keeper.path();
    let sent = match (before, after) {
        // What makes it is the lock: it replaces none.
        (None, Some(after)) => {
            client.put(&format!("{path}?create=true"), &keeper.document(after), limit).await
        }
        (Some(_), Some(after)) => client.put(&path, &keeper.document(after), limit).await,
        (_, None) => client.delete(&path, limit).await,
    };
    let Err(trouble) = sent else { return Ok(()) };
    match saved(client, keeper, limit).await {
        Ok(there) if there.as_ref() == after => Ok(()),
        Ok(there) if there.as_ref() != before => Err(meanwhile()),
        _ => Err(failure(attempt, &trouble)),
    }
}
