//! Carries the plan out: reads each secret, encrypts, stores, and compares.

use std::collections::{BTreeMap, BTreeSet};

use ::vault::{Mount, Stored, Vault};
use age::x25519::Recipient;
use futures::{StreamExt as _, TryStream, TryStreamExt as _, stream};
use kit::{Cx, Failure};
use s3::{Bucket, Hasher, Object, Reading};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::document::{Export, Head, KIND, Line, SCHEMA, line, manifest_of};
use super::observe::{self, World};
use super::plan::{EXPORT, ExportPlan, MANIFEST};
use crate::dump::{Inverse, Written};

/// Requests to Vault at the same time: it serves others too.
const AT_ONCE: usize = 4;

/// How many changed paths are named.
const SHOWN: usize = 10;

/// What was read of each path: a digest, or nothing where its newest version is deleted.
type Seen = BTreeMap<String, Option<[u8; 32]>>;

/// Makes the export and its manifest.
pub(super) async fn make(
    cx: &Cx,
    (vault, bucket): (&Vault, &Bucket),
    world: &World,
    recipients: &[Recipient],
    (id, key): (&str, &str),
    plan: &ExportPlan,
) -> Result<Export, Failure> {
    remove(cx, bucket, plan).await?;
    let (started, run) = (cx.now(), cx.run_id());
    let inverse = |key: &str| Inverse { bucket: bucket.name.clone(), key: key.to_owned() };
    let take = take(cx, vault, bucket, world, recipients, key, &run);
    let taken = cx.act(EXPORT, &inverse(key), take).await?;
    let export = Export {
        schema: SCHEMA.to_owned(),
        kind: KIND.to_owned(),
        bucket: bucket.name.clone(),
        key: key.to_owned(),
        bytes: taken.object.bytes,
        sha256: taken.sha256,
        etag: taken.object.etag.clone(),
        version_id: taken.object.version.clone(),
        cluster_id: world.health.cluster_id.clone(),
        cluster_name: world.health.cluster_name.clone(),
        vault_version: world.health.version.clone(),
        namespace: world.namespace.clone(),
        mount: world.mount.path.clone(),
        kv: world.mount.kv,
        secrets: taken.secrets,
        deleted: taken.deleted,
        recipients: recipients.iter().map(ToString::to_string).collect(),
        backup_id: id.to_owned(),
        started,
        ended: cx.now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.clone(),
        github: crate::dump::github(cx),
    };
    let manifest = manifest_of(key);
    let put = async {
        let text = serde_json::to_vec_pretty(&export)
            .map_err(|error| Failure::failed("write the manifest").because(error).untouched(true))?;
        let stored = bucket.put(&manifest, &run, "application/json", text).await?;
        Ok(Written::of(&stored))
    };
    cx.act(MANIFEST, &inverse(&manifest), put).await?;
    // Without a manifest it could be taken for what a dead run left, by another one with the same id at the same time.
    let there = cx.or_cancelled(bucket.head(key, None)).await??;
    if there.is_none_or(|there| there.etag != export.etag) {
        return Err(Failure::unverified(format!("look at {} once more", bucket.uri(key)))
            .because("it is not there any more: another export with the same --backup-id went on at the same time and removed it")
            .help("run the same command again; give exports that run side by side, as of several namespaces, a --backup-id each"));
    }
    Ok(export)
}

/// Deletes what runs that were killed left.
pub(super) async fn remove(cx: &Cx, bucket: &Bucket, plan: &ExportPlan) -> Result<(), Failure> {
    for (action, key, etag) in plan.removals() {
        cx.act(&action, &serde_json::Value::Null, bucket.delete(key, None, etag)).await?;
    }
    Ok(())
}

/// An export in its place.
#[derive(Serialize)]
struct Taken {
    #[serde(flatten)]
    written: Written,
    #[serde(skip)]
    object: Object,
    sha256: String,
    secrets: usize,
    deleted: usize,
}

async fn take(
    cx: &Cx,
    vault: &Vault,
    bucket: &Bucket,
    world: &World,
    recipients: &[Recipient],
    key: &str,
    run: &str,
) -> Result<Taken, Failure> {
    let (sealed, seen) =
        encrypt(cx, vault, world, recipients).await.map_err(|failure| failure.untouched(true))?;
    let sha256 = kit::hex(&Sha256::digest(&sealed));
    let secrets = seen.values().flatten().count();
    if secrets == 0 {
        return Err(Failure::refused(format!("export the secrets of {}/", world.mount.path))
            .because("every secret there is deleted")
            .untouched(true));
    }
    let object = bucket.put(key, run, "application/octet-stream", sealed).await?;
    let checked = check(cx, vault, bucket, world, (key, &object, &sha256), &seen).await;
    let Err(failure) = checked else {
        let written = Written::of(&object);
        return Ok(Taken { written, object, sha256, secrets, deleted: seen.len() - secrets });
    };
    // Without a manifest nothing relies on it, and nobody should find it.
    match bucket.delete(key, None, &object.etag).await {
        Ok(()) => Err(failure.untouched(true)),
        Err(left) => Err(failure.state(format!(
            "{} is still there ({left}); the next run of the same --backup-id deletes it",
            bucket.uri(key)
        ))),
    }
}

/// The lines of the export, encrypted as they come; a secret is in clear only while it is written.
async fn encrypt(
    cx: &Cx,
    vault: &Vault,
    world: &World,
    recipients: &[Recipient],
) -> Result<(Vec<u8>, Seen), Failure> {
    let keys = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(keys).map_err(|error| unwritten(&error))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|error| unwritten(&error))?;
    let head = Head {
        schema: SCHEMA,
        cluster_id: world.health.cluster_id.as_deref(),
        namespace: world.namespace.as_deref(),
        mount: &world.mount.path,
        kv: world.mount.kv,
        taken: cx.now(),
    };
    write(&mut writer, &head)?;
    let mut seen = Seen::new();
    let mut secrets = std::pin::pin!(secrets(cx, vault, &world.mount, &world.paths));
    while let Some((path, stored)) = secrets.try_next().await? {
        if let Some(Stored { data, version }) = &stored {
            write(&mut writer, &Line { path: &path, version: *version, data })?;
        }
        seen.insert(path, stored.as_ref().map(digest));
    }
    writer.finish().map_err(|error| unwritten(&error))?;
    Ok((sealed, seen))
}

fn write(writer: &mut impl std::io::Write, of: &impl Serialize) -> Result<(), Failure> {
    let line = line(of).map_err(|error| unwritten(&error))?;
    writer.write_all(&line).map_err(|error| unwritten(&error))
}

fn unwritten(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed("encrypt the secrets").because(error.to_string())
}

/// What stands at each path, in their order.
fn secrets<'a>(
    cx: &'a Cx,
    vault: &'a Vault,
    mount: &'a Mount,
    paths: &'a BTreeSet<String>,
) -> impl TryStream<Ok = (String, Option<Stored>), Error = Failure> + 'a {
    let read = move |path: &'a String| async move { Ok((path.clone(), vault.read(cx, mount, path).await?)) };
    stream::iter(paths).map(read).buffered(AT_ONCE)
}

fn digest(stored: &Stored) -> [u8; 32] {
    Sha256::digest(stored.data.get()).into()
}

/// Reads the object back, and Vault a second time: what changed meanwhile is in the export half old and half new.
async fn check(
    cx: &Cx,
    vault: &Vault,
    bucket: &Bucket,
    world: &World,
    (key, object, sha256): (&str, &Object, &str),
    seen: &Seen,
) -> Result<(), Failure> {
    let attempt = format!("read {} back", bucket.uri(key));
    let mut reading = Reading::new(bucket, key, object, &*attempt);
    let mut hasher = Hasher::new();
    while let Some(chunk) = reading.next(cx).await? {
        hasher.update(&chunk);
    }
    let back = hasher.finish().sha256;
    if back != sha256 {
        return Err(Failure::unverified(attempt)
            .because(format!("the SHA-256 of what was sent is {sha256}, of what came back {back}")));
    }
    let paths = observe::paths(cx, vault, &world.mount).await?;
    let mut changed: BTreeSet<&String> = paths.symmetric_difference(&world.paths).collect();
    let both: BTreeSet<String> = paths.intersection(&world.paths).cloned().collect();
    let mut secrets = std::pin::pin!(secrets(cx, vault, &world.mount, &both));
    while let Some((path, stored)) = secrets.try_next().await? {
        if seen.get(&path) != Some(&stored.as_ref().map(digest)) {
            changed.extend(world.paths.get(&path));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = changed.iter().take(SHOWN).map(|path| path.as_str()).collect();
    let more =
        if changed.len() > SHOWN { format!(" and {} more", changed.len() - SHOWN) } else { String::new() };
    Err(Failure::failed(format!("export the secrets of {}/", world.mount.path))
        .because(format!("these changed while they were read: {}{more}", names.join(", ")))
        .help("run it again when nobody writes to Vault"))
}
