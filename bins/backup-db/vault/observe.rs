//! What Vault and the bucket hold: paths, never values.

use std::collections::BTreeSet;

use ::vault::{Health, Mount, Vault};
use kit::{Cx, Failure};
use s3::{Bucket, Object};
use serde::Serialize;
use time::OffsetDateTime;

use super::document::{self, Export};
use crate::key;

/// Everything that the plan is made from.
#[derive(Debug, Serialize)]
pub(super) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(super) now: OffsetDateTime,
    pub(super) address: String,
    pub(super) namespace: Option<String>,
    pub(super) health: Health,
    pub(super) mount: Mount,
    /// In order. Some may have no value, being deleted.
    pub(super) paths: BTreeSet<String>,
    pub(super) bucket: String,
    /// The key of an export that is made now, and whether there is one already.
    pub(super) key: String,
    pub(super) key_taken: bool,
    /// Exports of the same id, and what lies at their key.
    pub(super) same: Vec<(Export, Option<Object>)>,
    /// Objects of the same id that a killed run left without a manifest.
    pub(super) orphans: Vec<(String, Object)>,
    pub(super) warnings: Vec<String>,
}

impl World {
    /// The paths, for the job summary; no value is among them.
    pub(super) fn listing(&self) -> String {
        let mut text = format!(
            "\n{} paths below {}/ of {}:\n\n",
            self.paths.len(),
            kit::markdown_inline(&self.mount.path),
            kit::markdown_inline(&self.address)
        );
        for path in &self.paths {
            text.push_str(&format!("    {}\n", kit::one_line(path)));
        }
        text
    }
}

pub(super) struct Wanted<'a> {
    pub(super) mount: &'a str,
    pub(super) prefix: &'a str,
    pub(super) id: &'a str,
}

pub(super) async fn observe(
    cx: &Cx,
    vault: &Vault,
    bucket: &Bucket,
    wanted: Wanted<'_>,
) -> Result<World, Failure> {
    let health = vault.health(cx).await?;
    if !health.initialized || health.sealed {
        return Err(Failure::refused(format!("export the secrets of {}", vault.address()))
            .because(if health.initialized { "the server is sealed" } else { "the server was never initialized" })
            .help("have it unsealed by those who hold the keys (`vault operator unseal`), or name an unsealed one"));
    }
    let mount = vault.mount(cx, wanted.mount).await?;
    let paths = paths(cx, vault, &mount).await?;

    let now = cx.now();
    let cluster = health.cluster_id.as_deref().unwrap_or("unknown");
    let folder = key::folder(wanted.prefix, &format!("vault.{}", mount.path));
    let tail = format!("-{}-{}{}", key::slug(cluster), key::slug(wanted.id), document::SUFFIX);
    let key = format!("{folder}{}{tail}", key::time(now));
    let listed = cx.or_cancelled(bucket.list(&folder)).await??;
    let keys: BTreeSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    let (mut same, mut orphans, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for object in listed.iter().filter(|object| object.key.ends_with(&tail)) {
        let manifest = document::manifest_of(&object.key);
        let head = cx.or_cancelled(bucket.head(&object.key, None)).await??;
        if !keys.contains(manifest.as_str()) {
            // Written by this step, or it stays.
            orphans.extend(
                head.filter(|head| head.metadata.contains_key(s3::RUN))
                    .map(|head| (object.key.clone(), head)),
            );
            continue;
        }
        let text = cx.or_cancelled(bucket.text(&manifest)).await??;
        match Export::parse(&text, &bucket.name, &object.key) {
            Ok(export) if export.backup_id == wanted.id => same.push((export, head)),
            Ok(_) => {}
            Err(why) => warnings.push(format!("{} can't be read: {why}", bucket.uri(&manifest))),
        }
    }
    Ok(World {
        now,
        address: vault.address().to_owned(),
        bucket: bucket.name.clone(),
        namespace: vault.namespace().map(str::to_owned),
        key_taken: keys.contains(key.as_str()),
        health,
        mount,
        paths,
        key,
        same,
        orphans,
        warnings,
    })
}

/// Every path below the engine, in order.
pub(super) async fn paths(cx: &Cx, vault: &Vault, mount: &Mount) -> Result<BTreeSet<String>, Failure> {
    let mut paths = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in vault.list(cx, mount, &folder).await? {
            let path = format!("{folder}{name}");
            if path.ends_with('/') {
                folders.push(path);
            } else {
                paths.insert(path);
            }
        }
    }
    Ok(paths)
}
