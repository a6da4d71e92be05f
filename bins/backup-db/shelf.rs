//! The backups that lie below a prefix, as their manifests and the listing say.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};
use kit::{Cx, Failure};
use postgres::{Manifest, Rung, manifest};
use s3::{Bucket, Listed};
use serde::Serialize;
use time::OffsetDateTime;

use crate::key::{Kind, archive_of, is_archive, manifest_of};
use crate::vault;

/// What lies there.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Shelf {
    /// The newest first, by the time that the manifest says.
    pub(crate) backups: Vec<Backup>,
    /// Archives without a manifest: of a run that is under way or was killed, or of a backup that was half deleted.
    pub(crate) loose: Vec<Loose>,
    /// Manifests that can't be understood. What lies beside them is left alone.
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Shelf {
    /// What is of this kind. What can't be read is so by its key.
    #[must_use]
    pub(crate) fn only(mut self, kind: Kind) -> Self {
        self.backups.retain(|backup| backup.manifest.kind == kind.word());
        self.loose.retain(|loose| Kind::of(&loose.dump.key) == Some(kind));
        self.unreadable.retain(|bad| {
            let archive = bad.key.strip_suffix(manifest::SUFFIX).unwrap_or(&bad.key);
            Kind::of(archive).unwrap_or(Kind::Dump) == kind
        });
        self
    }
}

/// A backup.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Backup {
    pub(crate) manifest: Manifest,
    /// The manifest as an object.
    pub(crate) at: Listed,
    /// The objects that it describes, as far as they are there: dump and globals.
    pub(crate) objects: Vec<Listed>,
}

impl Backup {
    /// Whether the archive is there and is still the one that was verified.
    pub(crate) fn whole(&self) -> bool {
        self.objects.iter().any(|object| {
            object.key == self.manifest.key
                && object.bytes == self.manifest.bytes
                && object.etag.trim_matches('"') == self.manifest.etag.trim_matches('"')
        })
    }

    /// Whether it is whole and was verified so far.
    pub(crate) fn verified(&self, rung: Rung) -> bool {
        self.whole() && self.manifest.rung >= rung
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Loose {
    pub(crate) dump: Listed,
    pub(crate) beside: Vec<Listed>,
}

impl Loose {
    pub(crate) fn in_words(&self) -> &'static str {
        match Kind::of(&self.dump.key) {
            Some(Kind::Base) => "the archive of a base backup",
            _ => "a dump",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    pub(crate) key: String,
    pub(crate) why: String,
}

/// How many manifests are read at the same time.
const AT_ONCE: usize = 16;

/// Reads every manifest below a prefix.
pub(crate) async fn gather(cx: &Cx, store: &Bucket, prefix: &str) -> Result<Shelf, Failure> {
    let listed = cx.in_time("list the backups", store.list(prefix)).await??;
    let keys: Vec<String> = listed
        .iter()
        .map(|object| &object.key)
        // An export of Vault is described by a document of its own, and is nothing to restore or prune here.
        .filter(|key| key.ends_with(manifest::SUFFIX) && !vault::is_manifest(key))
        .cloned()
        .collect();
    let read = futures::stream::iter(keys.into_iter().map(|key| async move {
        let bytes = store.text(&key).await?;
        Ok::<_, Failure>((key, Manifest::parse(&bytes)))
    }));
    let read = cx.in_time("read the manifests", read.buffer_unordered(AT_ONCE).try_collect()).await??;
    Ok(sort(listed, read, &store.name))
}

/// Puts together what belongs together.
fn sort(listed: Vec<Listed>, read: Vec<(String, Result<Manifest, String>)>, bucket: &str) -> Shelf {
    let find = |key: &str| listed.iter().find(|object| object.key == key).cloned();
    let mut shelf = Shelf::default();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (key, manifest) in read {
        told.extend(key.strip_suffix(manifest::SUFFIX).map(str::to_owned));
        let manifest = manifest.and_then(|manifest| {
            let kind = Kind::of(&manifest.key);
            if manifest.bucket == bucket && manifest_of(&manifest.key) == key {
                match kind {
                    // What a manifest names is deleted with it.
                    _ if !has_own_globals(&manifest) => Err(format!(
                        "it names {} as its globals, which do not lie beside it",
                        kit::one_line(manifest.globals_key.as_deref().unwrap_or_default())
                    )),
                    Some(kind) if kind.word() != manifest.kind => Err(format!(
                        "it says that it is of a {}, and its name that of a {}",
                        manifest.kind,
                        kind.word()
                    )),
                    _ => Ok(manifest),
                }
            } else {
                Err(format!("it describes {}, which is not what lies beside it", manifest.uri()))
            }
        });
        match (manifest, find(&key)) {
            (Ok(manifest), Some(at)) => {
                let keys = [Some(&manifest.key), manifest.globals_key.as_ref()];
                let objects = keys.into_iter().flatten().filter_map(|key| find(key)).collect();
                shelf.backups.push(Backup { manifest, at, objects });
            }
            (Ok(_), None) => {}
            (Err(why), _) => shelf.unreadable.push(Unreadable { key, why }),
        }
    }
    for object in listed.iter().filter(|object| is_archive(&object.key) && !told.contains(&object.key)) {
        let beside =
            listed.iter().filter(|other| archive_of(&other.key) == Some(&object.key)).cloned().collect();
        shelf.loose.push(Loose { dump: object.clone(), beside });
    }
    shelf
        .backups
        .sort_by(|a, b| (b.manifest.started, &b.manifest.key).cmp(&(a.manifest.started, &a.manifest.key)));
    shelf.unreadable.sort_by(|a, b| a.key.cmp(&b.key));
    shelf
}

fn has_own_globals(manifest: &Manifest) -> bool {
    let own = |key: &str| manifest_of(&manifest.key) != key && archive_of(key) == Some(&manifest.key);
    manifest.globals_key.as_deref().is_none_or(own)
}

/// How old something is; nothing where it is from the future, beyond what two clocks may differ.
pub(crate) fn age(now: OffsetDateTime, then: OffsetDateTime) -> Option<std::time::Duration> {
    const SKEW: time::Duration = time::Duration::minutes(5);
    if then > now + SKEW { None } else { Some(std::time::Duration::try_from(now - then).unwrap_or_default()) }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn at(hours_ago: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_262_400 - hours_ago * 3600).unwrap()
    }

    pub(crate) fn object(key: &str, hours_ago: i64) -> Listed {
        Listed { key: key.into(), bytes: 10 << 20, etag: "\"e\"".into(), modified: at(hours_ago) }
    }

    /// A whole backup that was read back.
    pub(crate) fn backup(name: &str, hours_ago: i64) -> Backup {
        let key = format!("x/rally/{name}.dump");
        let manifest = Manifest { key: key.clone(), ..crate::tests::manifest(at(hours_ago)) };
        Backup { at: object(&manifest_of(&key), hours_ago), objects: vec![object(&key, hours_ago)], manifest }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{at, object};
    use super::*;

    #[test]
    fn the_newest_by_the_manifests_time_comes_first_whatever_the_keys_say() {
        let name = |time: &str, system: &str| format!("x/rally/{time}-{system}-a.dump");
        let (early, late) = (name("20261121T090000Z", "9"), name("20261120T160000Z", "1"));
        let manifest = |key: &str, hours_ago: i64| {
            let manifest = Manifest {
                key: key.into(),
                globals_key: Some(format!("{key}.globals.sql")),
                ..crate::tests::manifest(at(hours_ago))
            };
            (manifest_of(key), Ok(manifest))
        };
        let broken = name("20261101T000000Z", "1");
        let loose = name("20261102T000000Z", "1");
        let listed = [&early, &late, &broken, &loose]
            .into_iter()
            .flat_map(|key| {
                [object(key, 5), object(&format!("{key}.globals.sql"), 5), object(&manifest_of(key), 5)]
            })
            .filter(|object| object.key != manifest_of(&loose))
            .chain([object("x/rally/notes.txt", 1), object("x/rally/by-hand.dump", 1)])
            .collect();
        let moved = name("20261103T000000Z", "1");
        let read = vec![
            manifest(&early, 8),
            manifest(&late, 2),
            (manifest_of(&broken), Err("it is not JSON".to_owned())),
            (manifest_of(&moved), manifest("elsewhere/20261103T000000Z-1-a.dump", 1).1),
        ];
        let shelf = sort(listed, read, "b");
        let keys: Vec<&str> = shelf.backups.iter().map(|backup| backup.manifest.key.as_str()).collect();
        assert_eq!(keys, [late.as_str(), early.as_str()]);
        assert!(shelf.backups.iter().all(|backup| backup.objects.len() == 2));
        let loose_keys: Vec<&str> = shelf.loose.iter().map(|loose| loose.dump.key.as_str()).collect();
        assert_eq!(loose_keys, [loose.as_str()], "neither by hand nor beside a manifest that can't be read");
        assert_eq!(shelf.loose[0].beside.len(), 1);
        assert_eq!(shelf.unreadable.len(), 2);
        assert!(shelf.unreadable[1].why.contains("elsewhere/"), "{:?}", shelf.unreadable);
    }

    #[test]
    fn a_backup_whose_dump_is_another_is_not_verified() {
        let good = testing::backup("20261120T000000Z-1-a", 3);
        assert!(good.verified(Rung::ReadBack) && !good.verified(Rung::Restored));
        for change in [
            |object: &mut Listed| object.bytes = 5,
            |object: &mut Listed| object.etag = "\"other\"".into(),
            |object: &mut Listed| object.key.push('x'),
        ] {
            let mut bad = good.clone();
            change(&mut bad.objects[0]);
            assert!(!bad.verified(Rung::Present));
        }
    }

    /// A pruned backup takes along what its manifest names.
    #[test]
    fn a_manifest_that_names_another_backup_as_its_globals_is_none() {
        let (own, other) = ("x/rally/20261121T090000Z-1-a.dump", "x/rally/20261121T100000Z-1-b.dump");
        let manifest = |globals: &str| Manifest {
            key: own.to_owned(),
            globals_key: Some(globals.to_owned()),
            ..crate::tests::manifest(at(8))
        };
        for (globals, is_own) in [
            (format!("{own}.globals.sql"), true),
            (format!("{own}.globals.sql.age"), true),
            (other.to_owned(), false),
            (format!("{other}.globals.sql"), false),
            (own.to_owned(), false),
            (manifest_of(own), false),
            ("x/rally/globals.sql".to_owned(), false),
        ] {
            let listed = [own, other, &globals, &manifest_of(own)].iter().map(|key| object(key, 5)).collect();
            let shelf = sort(listed, vec![(manifest_of(own), Ok(manifest(&globals)))], "b");
            assert_eq!(
                (shelf.backups.len(), shelf.unreadable.len()),
                if is_own { (1, 0) } else { (0, 1) },
                "{globals}"
            );
        }
    }

    #[test]
    fn what_is_from_the_future_has_no_age() {
        assert_eq!(age(at(0), at(-1)), None);
        assert_eq!(age(at(0), at(2)), Some(std::time::Duration::from_hours(2)));
    }
}
