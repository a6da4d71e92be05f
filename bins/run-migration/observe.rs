//! What the directory, the database and S3 hold: plain data, and nothing written.

use std::fmt;
use std::fs;
use std::path::Path;

use aws::Aws;
use aws_sdk_s3::types::ChecksumMode;
use kit::{Cx, Failure};
use postgres::tokio_postgres::SimpleQueryMessage;
use postgres::tokio_postgres::error::SqlState;
use postgres::{Identity, Manifest, Session};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::ledger::{Ledger, cells};
use crate::sql::{Script, parse};
use crate::version;

/// Everything the plan is made from.
#[derive(Debug, Serialize)]
pub(crate) struct World {
    pub(crate) identity: Identity,
    pub(crate) ledger: SeenLedger,
    pub(crate) directory: Directory,
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
    /// Its lines, in the order in which they were written.
    Rows(Vec<Row>),
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
}

/// The folder of migrations.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Directory {
    pub(crate) path: String,
    /// By name.
    pub(crate) files: Vec<File>,
    /// What lies there and is no migration.
    pub(crate) ignored: Vec<String>,
}

/// A migration.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub(crate) checksum: String,
    pub(crate) bytes: usize,
    /// Its statements, or why it can't be read as text.
    #[serde(skip)]
    pub(crate) script: Result<Script, String>,
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

impl S3Uri {
    fn arn(&self) -> String {
        format!("arn:aws:s3:::{}/{}", self.bucket, self.key)
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

/// The backup that `--backup` names.
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

/// Reads the folder.
pub(crate) fn directory(path: &Path) -> Result<Directory, Failure> {
    let attempt = format!("read the migrations in {}", path.display());
    let failed = |error: std::io::Error| {
        Failure::usage(&attempt).because(error).help("--migrations names a folder of .sql files")
    };
    let mut files = Vec::new();
    let mut ignored = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let sql = Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
        if !sql || name.starts_with('.') || !entry.path().metadata().map_err(failed)?.is_file() {
            ignored.push(name);
            continue;
        }
        let bytes = fs::read(entry.path())
            .map_err(|error| Failure::usage(format!("read {}", entry.path().display())).because(error))?;
        files.push(File {
            version: version::of(&name).to_owned(),
            name,
            checksum: hex(&Sha256::digest(&bytes)),
            bytes: bytes.len(),
            script: script(&bytes),
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    ignored.sort();
    Ok(Directory { path: path.display().to_string(), files, ignored })
}

fn script(bytes: &[u8]) -> Result<Script, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 (byte {} of the file)", error.valid_up_to() + 1))?;
    if text.contains('\0') {
        return Err("holds a NUL character, as a file in UTF-16 does".to_owned());
    }
    Ok(parse(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads the ledger.
pub(crate) async fn ledger(session: &Session, ledger: &Ledger) -> Result<SeenLedger, Failure> {
    let attempt = format!("read the ledger {ledger}");
    let failed = |error| session.failure(&attempt, &error).untouched(true);
    let exists = cells(&session.client.simple_query(&ledger.exists_query()).await.map_err(failed)?);
    let is = |n: usize| exists.get(n).map(String::as_str) == Some("t");
    if !is(1) {
        return Ok(SeenLedger::Absent { schema: is(0) });
    }
    let answer = match session.client.simple_query(&ledger.rows_query()).await {
        Ok(answer) => answer,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
            return Ok(SeenLedger::Other(
                error.as_db_error().map(|db| db.message().to_owned()).unwrap_or_default(),
            ));
        }
        Err(error) => return Err(failed(error)),
    };
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cell = |n: usize| row.get(n).unwrap_or_default().to_owned();
            Some(Row {
                version: cell(0),
                name: cell(1),
                checksum: cell(2),
                applied_at: cell(3),
                run: cell(4),
                baseline: row.get(5) == Some("t"),
            })
        }
        _ => None,
    });
    Ok(SeenLedger::Rows(rows.collect()))
}

/// A manifest is a few kilobytes, with the row counts of many tables some hundred.
const MANIFEST_LIMIT: i64 = 16 << 20;

/// Reads the manifest, and asks S3 for the object that it names.
pub(crate) async fn backup(cx: &Cx, aws: &Aws, uri: &S3Uri) -> Result<SeenBackup, Failure> {
    let s3 = aws_sdk_s3::Client::new(&aws.config);
    let manifest = manifest(cx, &s3, uri).await?;
    let object = match &manifest {
        Ok(manifest) => object(cx, &s3, manifest).await?,
        Err(_) => Err("not asked".to_owned()),
    };
    Ok(SeenBackup { uri: uri.to_string(), manifest, object })
}

async fn manifest(
    cx: &Cx,
    s3: &aws_sdk_s3::Client,
    uri: &S3Uri,
) -> Result<Result<Manifest, String>, Failure> {
    let attempt = format!("read the backup's manifest {uri}");
    let got = match cx.or_cancelled(s3.get_object().bucket(&uri.bucket).key(&uri.key).send()).await? {
        Ok(got) => got,
        Err(error)
            if error
                .as_service_error()
                .is_some_and(aws_sdk_s3::operation::get_object::GetObjectError::is_no_such_key) =>
        {
            return Ok(Err("there is no such object".to_owned()));
        }
        Err(error) => return Err(aws::failure(attempt, "s3:GetObject", &uri.arn(), error)),
    };
    if got.content_length().is_some_and(|bytes| bytes > MANIFEST_LIMIT) {
        return Ok(
            Err("it is too large for a manifest: give the URI that ends in .manifest.json".to_owned()),
        );
    }
    let bytes = cx
        .or_cancelled(got.body.collect())
        .await?
        .map_err(|error| Failure::failed(attempt).because(error).transient(true).untouched(true))?;
    Ok(Manifest::parse(&bytes.into_bytes()))
}

async fn object(
    cx: &Cx,
    s3: &aws_sdk_s3::Client,
    manifest: &Manifest,
) -> Result<Result<SeenObject, String>, Failure> {
    let uri = S3Uri { bucket: manifest.bucket.clone(), key: manifest.key.clone() };
    let call = s3
        .head_object()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .set_version_id(manifest.version_id.clone())
        .checksum_mode(ChecksumMode::Enabled);
    match cx.or_cancelled(call.send()).await? {
        Ok(head) => Ok(Ok(SeenObject {
            bytes: head.content_length().unwrap_or_default(),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            // A checksum of the parts' checksums ("...-3") says nothing of the bytes as a whole.
            checksum_crc64nvme: head
                .checksum_crc64_nvme()
                .filter(|checksum| !checksum.contains('-'))
                .map(str::to_owned),
        })),
        // HEAD has no body, so a missing object is known by its status alone.
        Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => {
            Ok(Err("it is not there".to_owned()))
        }
        Err(error) => {
            Err(aws::failure(format!("look at the backup {uri}"), "s3:GetObject", &uri.arn(), error))
        }
    }
}
