//! Makes one change. The only file here that writes.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::{Cx, Failure};
use serde_json::json;

use super::change::{Change, Named};
use super::observe::{Index, failure, indexes, saved};
use super::saved::{Keeper, Saved};
use crate::kinds::cluster::Client;
use crate::kinds::cluster::client::segment;

/// The least time for a writing request: a master that is busy answers late, and by itself after 30 seconds.
const LEAST: Duration = Duration::from_secs(45);

/// The pauses before a change is tried again where the cluster was busy or did not answer. Each change sets a value.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Makes the change. There is no token: without an answer, or with a server's error, it is looked whether it took effect,
/// and what did not is tried again.
pub(super) async fn make(
    cx: &Cx,
    client: &Client,
    keeper: Keeper,
    change: &Change,
    limit: Duration,
) -> Result<(), Failure> {
    let limit = limit.max(LEAST);
    let mut pauses = AGAIN.into_iter();
    let (mut is_again, mut is_in_doubt) = (false, false);
    loop {
        let made = match change {
            Change::Replicas { indexes, before, after } => {
                replicas(client, indexes, (before, after), limit, is_again).await
            }
            Change::Saved { before, after } => {
                keep(client, keeper, (before.as_ref(), after.as_ref()), limit, is_again).await
            }
        };
        let Err(failure) = made else { return made };
        is_in_doubt |= !failure.is_untouched();
        let failure = failure.untouched(!is_in_doubt);
        let Some(pause) = pauses.next().filter(|_| failure.is_transient()) else { return Err(failure) };
        cx.report().say(&format!("{failure}: {}; trying again", failure.chain().join(": ")));
        // A run that is cancelled here ends with what is known of the attempts.
        if cx.or_cancelled(cx.pause(pause)).await.is_err() {
            return Err(failure);
        }
        is_again = true;
    }
}

/// Source: <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/indices-update-settings.html>
async fn replicas(
    client: &Client,
    changed: &[Named],
    (before, after): (&str, &str),
    limit: Duration,
    is_again: bool,
) -> Result<(), Failure> {
    let attempt = format!("set number_of_replicas to {after}");
    // No request can say what it expects to find, so it is looked for right before.
    if let Some(other) =
        differs(client, changed, before, limit).await.map_err(|failure| failure.untouched(true))?
    {
        // It took effect after it had been looked for.
        if is_again && differs(client, changed, after, limit).await.is_ok_and(|differs| differs.is_none()) {
            return Ok(());
        }
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
    is_again: bool,
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
    if is_again && there.as_ref() == after {
        return Ok(());
    }
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
