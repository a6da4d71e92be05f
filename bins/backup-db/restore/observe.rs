//! Reads what a restore depends on: the backup, the server, and the names that are taken there.

use kit::{Cx, Failure};
use postgres::{Manifest, Rung, Session, Target, manifest};
use s3::{Bucket, Hasher, Object};

use super::plan::{Present, Request, World};
use crate::args::Args;
use crate::catalogue::{stay, text, value};
use crate::globals::{missing, not_ours};
use crate::key::{Destination, Kind, folder};
use crate::refill::lacking;
use crate::shelf::{Shelf, age, gather};
use crate::sql::literal;
use crate::tools::{Runner, Tools, Version};
use crate::verify::whole;

/// Which backup.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The newest of a database.
    Latest { to: Destination, database: String },
    /// The one with this manifest.
    Manifest { key: String },
}

impl Source {
    /// `s3://BUCKET/KEY.manifest.json`
    pub(crate) fn parse(uri: &str) -> Result<(String, Self), Failure> {
        let failed = |why: &str| {
            Failure::usage(format!("read --backup {uri}")).because(why).help(
                "give the URI of a manifest, as backup-db's output manifest-uri or --action list says it",
            )
        };
        let (bucket, key) = uri
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| failed("it is no s3:// URI"))?;
        if !key.ends_with(manifest::SUFFIX) {
            return Err(failed(&format!("it does not end in {}", manifest::SUFFIX)));
        }
        Ok((bucket.to_owned(), Self::Manifest { key: key.to_owned() }))
    }
}

/// What a restore has at hand.
pub(crate) struct Scene {
    pub(crate) request: Request,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_key: String,
    pub(crate) object: Object,
    pub(crate) runner: Runner,
    pub(crate) world: World,
    /// Connected to the database that was named, not to the one that is made. Its name is that of the interim database.
    pub(crate) session: Session,
}

/// What a database is called until it is verified: the same for each run that restores into this name.
pub(crate) fn interim(into: &str) -> String {
    let mut hasher = Hasher::new();
    hasher.update(into.as_bytes());
    let sum = hasher.finish().sha256;
    format!("cutover_restore_{}", sum.get(..16).unwrap_or(&sum))
}

pub(crate) async fn observe(cx: &Cx, args: &Args, store: &Bucket, source: Source) -> Result<Scene, Failure> {
    let into = args.into.clone().unwrap_or_default();
    let key = match source {
        Source::Manifest { key } => key,
        Source::Latest { to, database } => {
            let shelf = gather(cx, store, &folder(&to.prefix, &database)).await?.only(Kind::Dump);
            latest(&shelf, &format!("backup of {database}"), args.min_rung(), cx.now())?
        }
    };
    let manifest = read(cx, store, &key, Kind::Dump).await?;
    let object = cx.or_cancelled(store.head(&manifest.key, None)).await??;
    let object = object.filter(|object| whole(&manifest, object)).ok_or_else(|| {
        Failure::refused(format!("restore {}", manifest.uri()))
            .because("it is gone, or is no longer what its manifest says")
            .help("choose another backup: --action list shows them")
    })?;
    let target = args.pg.target(cx.env())?;
    let interim = interim(&into);
    let runner = Runner::new(cx.env(), Some(target.child_env()));
    let client = Version::parse(&manifest.client_version).unwrap_or_else(|| Version::of_server(0));
    let tools = cx.or_cancelled(Tools::find(&runner, args.pg_dump.as_deref(), &client)).await??;
    cx.or_cancelled(tools.fit(&runner)).await??;
    // By this name it is known that the interim database is being worked on.
    let target = Target { application_name: interim.clone(), ..target };
    let session = cx.or_cancelled(postgres::connect(cx, &target)).await??;
    cx.or_cancelled(stay(&session)).await??;
    let extensions = manifest.extensions.clone().unwrap_or_default();
    let attempt = "look at the server";
    let may_create =
        value(&session, attempt, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            .await?;
    let busy = busy(&session, &interim).await?;
    let world = World {
        now: cx.now(),
        server: target.server(),
        version: Version::of_server(session.identity.server_version.0),
        in_recovery: session.identity.in_recovery,
        may_create: may_create.as_deref() == Some("t"),
        lacks_extensions: lacking(&session, extensions.keys()).await?,
        lacks_roles: missing(&session, manifest.roles.as_deref().unwrap_or_default()).await?,
        roles_of_others: not_ours(&session, manifest.roles.as_deref().unwrap_or_default()).await?,
        present: present(&session, &into).await?,
        left: present(&session, &interim).await?.is_some(),
        busy,
        interim,
        tools,
    };
    let request = Request {
        into,
        manifest_uri: store.uri(&key),
        max_age: args.max_age,
        min_rung: args.min_rung(),
        owners: !args.no_owner,
        manifest: manifest.clone(),
    };
    Ok(Scene { request, manifest, manifest_key: key, object, runner, world, session })
}

/// The key of the manifest of the newest verified backup.
pub(crate) fn latest(
    shelf: &Shelf,
    what: &str,
    rung: Rung,
    now: time::OffsetDateTime,
) -> Result<String, Failure> {
    let attempt = format!("find the latest {what}");
    let help = "--action list shows what is there; name one with --backup MANIFEST-URI";
    let good: Vec<_> = shelf
        .backups
        .iter()
        .filter(|backup| backup.verified(rung) && age(now, backup.manifest.started).is_some())
        .collect();
    let Some(newest) = good.first() else {
        return Err(Failure::refused(attempt)
            .because(format!(
                "none of the {} that are there is whole and verified ({rung})",
                shelf.backups.len()
            ))
            .help(help));
    };
    let mut servers: Vec<&str> =
        good.iter().map(|backup| backup.manifest.system_identifier.as_deref().unwrap_or("unknown")).collect();
    servers.sort_unstable();
    servers.dedup();
    if servers.len() > 1 {
        return Err(Failure::refused(attempt)
            .because(format!(
                "those of {} servers lie there ({}), and the newest may be of the wrong one",
                servers.len(),
                servers.join(", ")
            ))
            .help(help));
    }
    Ok(newest.at.key.clone())
}

pub(crate) async fn read(cx: &Cx, store: &Bucket, key: &str, kind: Kind) -> Result<Manifest, Failure> {
    let attempt = format!("read the manifest {}", store.uri(key));
    if cx.or_cancelled(store.head(key, None)).await??.is_none() {
        return Err(Failure::refused(attempt)
            .because("there is no such object")
            .help("--action list shows the backups that are there"));
    }
    let bytes = cx.or_cancelled(store.text(key)).await??;
    let manifest = Manifest::parse(&bytes).map_err(|why| Failure::refused(&attempt).because(why))?;
    if manifest.kind != kind.word() {
        let failure = Failure::refused(attempt);
        return Err(match kind {
            Kind::Dump => failure
                .because(format!("it is a {} backup, of a whole server and not of one database", manifest.kind))
                .help("unpack it into a new folder for a server of its own: --mode base --action restore --into-dir DIR"),
            Kind::Base => failure
                .because(format!("it is a {} of one database", manifest.kind))
                .help("restore it into a new database: --action restore --into NAME, without --mode base"),
        });
    }
    if manifest.bucket != store.name {
        return Err(Failure::refused(attempt)
            .because(format!("it describes {}, in another bucket", manifest.uri()))
            .help("restore from that bucket, where dump and manifest lie side by side"));
    }
    Ok(manifest)
}

/// Whether a living run works on the interim database: its sessions have its name.
pub(super) async fn busy(session: &Session, interim: &str) -> Result<bool, Failure> {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = {} AND pid <> pg_backend_pid()",
        literal(interim)
    );
    Ok(value(session, "look for another restore into this name", &query).await?.as_deref() != Some("0"))
}

/// A database and the mark in its comment.
async fn present(session: &Session, name: &str) -> Result<Option<Present>, Failure> {
    let rows = crate::catalogue::all(
        session,
        "look whether the database is there",
        &format!(
            "SELECT oid, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}",
            literal(name)
        ),
    )
    .await?;
    Ok(rows.first().map(|row| Present { comment: text(row, 1).map(str::to_owned) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::testing::{at, backup};

    #[test]
    fn the_latest_is_the_newest_that_is_whole_and_verified_of_the_one_server() {
        let mut shelf = Shelf {
            backups: vec![
                backup("20261121T110000Z-1-a", 1),
                backup("20261121T090000Z-1-a", 3),
                backup("20261120T090000Z-1-a", 27),
            ],
            ..Shelf::default()
        };
        let name = |shelf: &Shelf| {
            latest(shelf, "backup of rally", Rung::ReadBack, at(0))
                .map_err(|failure| failure.chain()[0].clone())
        };
        assert!(name(&shelf).unwrap().contains("20261121T110000Z"));
        shelf.backups[0].manifest.rung = Rung::Present;
        shelf.backups[1].objects.clear();
        assert!(name(&shelf).unwrap().contains("20261120T090000Z"));
        shelf.backups.push(backup("20261119T090000Z-99-a", 51));
        shelf.backups[3].manifest.system_identifier = Some("99".into());
        assert!(name(&shelf).unwrap_err().contains("2 servers"));
        assert!(name(&Shelf::default()).unwrap_err().contains("none of the 0"));
    }

    #[test]
    fn a_backup_is_named_by_its_manifest() {
        let (bucket, source) = Source::parse("s3://b/x/rally/t.dump.manifest.json").unwrap();
        assert_eq!(bucket, "b");
        assert!(matches!(source, Source::Manifest { key } if key == "x/rally/t.dump.manifest.json"));
        for wrong in ["s3://b/x/rally/t.dump", "x.manifest.json", "https://b/x.manifest.json", "s3://b"] {
            assert!(Source::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_interim_name_is_the_same_in_every_run_and_short() {
        assert_eq!(interim("rally_restored"), interim("rally_restored"));
        assert_ne!(interim("a"), interim("b"));
        assert!(interim(&"x".repeat(63)).len() < 63);
    }
}
