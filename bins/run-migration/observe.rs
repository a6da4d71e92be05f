//! What the directory, the database and S3 hold: plain data, and nothing written.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use aws::Aws;
use kit::{Cx, Failure};
use postgres::tokio_postgres::error::SqlState;
use postgres::{Identity, Manifest, Session};
use s3::Bucket;
use serde::Serialize;

use crate::files::Directory;
use crate::ledger::{Ledger, Progress, cells, progress, rows};

/// Everything the plan is made from.
#[derive(Debug, Serialize)]
pub(crate) struct World {
    pub(crate) identity: Identity,
    pub(crate) ledger: SeenLedger,
    /// The files that have begun and not ended.
    pub(crate) unfinished: Vec<Progress>,
    pub(crate) directory: Directory,
    /// The tables that pending files lock or empty, by the name that a file has for them.
    pub(crate) tables: BTreeMap<String, SeenTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<SeenBackup>,
}

/// The ledger as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SeenLedger {
    /// There is no such table, and perhaps no such schema.
    Absent { schema: bool },
    /// There is a table of that name with other columns.
    Other(String),
    /// Its lines, in the order in which they were written, and whether it lacks the newest column.
    Rows { rows: Vec<Row>, narrow: bool },
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) checksum: String,
    pub(crate) applied_at: String,
    pub(crate) run: String,
    pub(crate) baseline: bool,
    /// Of the file that takes it back, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down_checksum: Option<String>,
    /// sqlx's `success`.
    pub(crate) success: bool,
}

/// A table as it is before anything is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SeenTable {
    /// There is none of that name.
    Absent,
    /// Its size on disk in bytes, its partitions' included; none means that no row was ever written.
    Bytes(u64),
    /// A view, a foreign table, or one that can't be measured.
    Unknown,
}

/// An object in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct S3Uri {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

pub(crate) fn parse_s3_uri(text: &str) -> Result<S3Uri, String> {
    match text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')) {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(S3Uri { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => {
            Err("write it as s3://bucket/key, as the output `manifest-uri` of backup-db gives it".to_owned())
        }
    }
}

/// The backup that `--require-backup` names.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SeenBackup {
    pub(crate) uri: String,
    /// The manifest, or why there is none to read.
    pub(crate) manifest: Result<Manifest, String>,
    /// What S3 says of the object that the manifest names, or why it says nothing.
    pub(crate) object: Result<SeenObject, String>,
}

/// An object's size and checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeenObject {
    pub(crate) bytes: i64,
    pub(crate) etag: String,
    /// Of the whole object, where S3 keeps one.
    pub(crate) checksum_crc64nvme: Option<String>,
}

/// Reads the ledger, and what is unfinished.
pub(crate) async fn ledger(
    session: &Session,
    ledger: &Ledger,
) -> Result<(SeenLedger, Vec<Progress>), Failure> {
    let attempt = format!("read the ledger {ledger}");
    let failed = |error| session.failure(&attempt, &error).untouched(true);
    let exists = cells(&session.client.simple_query(&ledger.exists_query()).await.map_err(failed)?);
    let is = |n: usize| exists.get(n).map(String::as_str) == Some("t");
    if !is(1) {
        return Ok((SeenLedger::Absent { schema: is(0) }, Vec::new()));
    }
    let answer = match session.client.simple_query(&ledger.rows_query(is(2))).await {
        Ok(answer) => answer,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
            let why = error.as_db_error().map(|db| db.message().to_owned()).unwrap_or_default();
            return Ok((SeenLedger::Other(why), Vec::new()));
        }
        Err(error) => return Err(failed(error)),
    };
    let found = rows(&answer).filter_map(|cells| match <[String; 8]>::try_from(cells) {
        Ok([version, name, checksum, applied_at, run, baseline, down, success]) => Some(Row {
            version,
            name,
            checksum,
            applied_at,
            run,
            baseline: baseline == "t",
            down_checksum: Some(down).filter(|down: &String| !down.is_empty()),
            success: success == "t",
        }),
        Err(_) => None,
    });
    let narrow = matches!(ledger, Ledger::Own { .. }) && !is(2);
    let seen = SeenLedger::Rows { rows: found.collect(), narrow };
    let unfinished = if is(3) { progress::read(session, ledger).await? } else { Vec::new() };
    Ok((seen, unfinished))
}

/// A manifest is a few kilobytes, with the row counts of many tables some hundred.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// Reads the manifest, and asks S3 for the object that it names: the current one, which is what a restore takes.
///
/// In a box, for the stack of a run that has to do without: what the SDK's calls need is large.
pub(crate) fn backup<'a>(
    cx: &'a Cx,
    aws: &'a Aws,
    uri: &'a S3Uri,
) -> Pin<Box<dyn Future<Output = Result<SeenBackup, Failure>> + Send + 'a>> {
    Box::pin(async move {
        let find = Bucket::find(aws, &uri.bucket, None, "--require-backup");
        let bucket = cx.or_cancelled(find).await??;
        let manifest = manifest(cx, &bucket, uri).await?;
        let object = match &manifest {
            Ok(manifest) if manifest.bucket == bucket.name => object(cx, &bucket, &manifest.key).await?,
            Ok(manifest) => {
                let find = Bucket::find(aws, &manifest.bucket, None, "the manifest");
                object(cx, &cx.or_cancelled(find).await??, &manifest.key).await?
            }
            Err(_) => Err("not asked".to_owned()),
        };
        Ok(SeenBackup { uri: uri.to_string(), manifest, object })
    })
}

async fn manifest(cx: &Cx, bucket: &Bucket, uri: &S3Uri) -> Result<Result<Manifest, String>, Failure> {
    let Some(seen) = cx.or_cancelled(bucket.head(&uri.key, None)).await?? else {
        return Ok(Err("there is no such object".to_owned()));
    };
    if seen.bytes > MANIFEST_LIMIT {
        return Ok(
            Err("it is too large for a manifest: give the URI that ends in .manifest.json".to_owned()),
        );
    }
    let text = cx.or_cancelled(bucket.text(&uri.key)).await?.map_err(|failure| failure.untouched(true))?;
    Ok(Manifest::parse(&text))
}

async fn object(cx: &Cx, bucket: &Bucket, key: &str) -> Result<Result<SeenObject, String>, Failure> {
    let there = cx.or_cancelled(bucket.head(key, None)).await??;
    Ok(there.map_or_else(
        || Err("it is not there".to_owned()),
        |there| {
            Ok(SeenObject {
                bytes: i64::try_from(there.bytes).unwrap_or(i64::MAX),
                etag: there.etag,
                checksum_crc64nvme: there.crc64nvme,
            })
        },
    ))
}

/// Measures the tables that files name: as the role sees them, before anything is applied.
pub(crate) async fn tables(
    session: &Session,
    names: Vec<String>,
) -> Result<BTreeMap<String, SeenTable>, Failure> {
    let mut tables = BTreeMap::new();
    for name in names {
        // A partitioned table has its rows in its partitions. The main forks only: an empty table has pages of others.
        let query = format!(
            "SELECT c.relkind, (SELECT sum(pg_relation_size(p.oid) + coalesce(pg_relation_size(nullif(p.reltoastrelid, 0)), 0)) \
             FROM pg_class p WHERE p.oid = c.oid OR (c.relkind = 'p' AND p.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))) \
             FROM pg_class c WHERE c.oid = to_regclass('{}')",
            name.replace('\'', "''")
        );
        let seen = match session.client.simple_query(&query).await {
            Ok(answer) => match cells(&answer).as_slice() {
                [] => SeenTable::Absent,
                [kind, bytes] if matches!(kind.as_str(), "r" | "p" | "m") => {
                    bytes.parse().map_or(SeenTable::Unknown, SeenTable::Bytes)
                }
                _ => SeenTable::Unknown,
            },
            // A name of three parts, or no right to look.
            Err(error) if error.as_db_error().is_some() => SeenTable::Unknown,
            Err(error) => {
                return Err(session.failure(format!("measure the table {name}"), &error).untouched(true));
            }
        };
        tables.insert(name, seen);
    }
    Ok(tables)
}
