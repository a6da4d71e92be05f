//! The manifest of a dump.

use std::collections::BTreeMap;

use kit::Cx;
use postgres::{Manifest, Rung, manifest};
use s3::{Bucket, Object};

use super::plan::{Database, GlobalsPlan, Origin};
use super::take::Taken;
use crate::catalogue::Facts;
use crate::key::ZST;
use crate::rows::Rows;

/// What is known of a dump's database beside its origin; nothing where another run took it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) rows: Option<Rows>,
    pub(crate) facts: Option<Facts>,
}

pub(crate) fn document(
    cx: &Cx,
    store: &Bucket,
    database: &Database,
    key: &str,
    taken: &Taken,
    globals: Option<&GlobalsPlan>,
    rung: Rung,
) -> Manifest {
    let (origin, stored): (&Origin, &Object) = (&taken.origin, &taken.stored);
    let some = |map: &BTreeMap<String, u64>| (!map.is_empty()).then(|| map.clone());
    let rows = taken.counted.rows.as_ref();
    let facts = taken.counted.facts.as_ref();
    Manifest {
        schema: manifest::SCHEMA.to_owned(),
        kind: manifest::DUMP.to_owned(),
        bucket: store.name.clone(),
        key: key.to_owned(),
        bytes: stored.bytes,
        sha256: taken.sha256.clone(),
        checksum_crc64nvme: taken.crc64nvme.clone(),
        etag: stored.etag.clone(),
        parts: parts(&stored.etag),
        version_id: stored.version.clone(),
        compression: origin.compression.clone(),
        zstd_stream: key.ends_with(ZST),
        globals_key: globals.map(|globals| globals.key.clone()),
        globals_recipients: globals
            .map(|globals| globals.recipients.clone())
            .filter(|recipients| !recipients.is_empty()),
        database: database.name.clone(),
        database_bytes: Some(origin.database_bytes),
        tables: Some(origin.tables.count as u64),
        backup_id: Some(origin.backup_id.clone()),
        system_identifier: database.system_identifier.clone(),
        server_version: origin.server_version.clone(),
        client_version: origin.client_version.clone(),
        snapshot: origin.snapshot.clone(),
        rows: rows.map(|rows| rows.exact.clone()),
        rows_estimated: rows.and_then(|rows| some(&rows.estimated)),
        rows_unknown: rows.map(|rows| rows.unknown.clone()).filter(|unknown| !unknown.is_empty()),
        objects: facts.map(|facts| facts.objects.clone()),
        extensions: facts.map(|facts| facts.extensions.clone()),
        roles: facts.map(|facts| facts.roles.clone()),
        locale: facts.and_then(|facts| facts.locale.clone()),
        base: None,
        rung,
        started: origin.started,
        ended: cx.now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: origin.run.clone(),
        github: github(cx),
    }
}

pub(crate) fn github(cx: &Cx) -> Option<BTreeMap<String, String>> {
    const NAMES: [&str; 4] = ["GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_SHA"];
    let found = || NAMES.iter().filter_map(|name| Some(((*name).to_owned(), cx.env().get(name)?.to_owned())));
    cx.env().in_github_job().then(|| found().collect())
}

/// The `ETag` of an object uploaded in parts ends in their number
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>).
pub(crate) fn parts(etag: &str) -> u32 {
    etag.trim_matches('"').rsplit_once('-').and_then(|(_, parts)| parts.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_tells_the_number_of_parts() {
        assert_eq!(parts("\"d41d8cd98f00b204e9800998ecf8427e-38\""), 38);
        assert_eq!(parts("\"d41d8cd98f00b204e9800998ecf8427e\""), 1);
    }
}
