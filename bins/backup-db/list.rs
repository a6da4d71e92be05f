//! `--action list`: the backups that are there.

use std::fmt::Write as _;

use kit::{Cx, Failure, Outcome, one_line};
use postgres::{Manifest, Rung, manifest};
use s3::Bucket;
use serde_json::json;
use time::OffsetDateTime;

use crate::key::{Destination, Kind, base_folder, folder};
use crate::shelf::{Shelf, age, gather};

/// Which backups are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// Everything below the prefix.
    All,
    /// The dumps of a database.
    Database(&'a str),
    /// The base backups.
    Base,
}

pub(crate) async fn list(
    cx: &Cx,
    store: &Bucket,
    to: &Destination,
    which: Which<'_>,
) -> Result<Outcome, Failure> {
    let prefix = match which {
        Which::All => to.prefix.clone(),
        Which::Database(database) => folder(&to.prefix, database),
        Which::Base => base_folder(&to.prefix),
    };
    let shelf = gather(cx, store, &prefix).await?;
    let shelf = match which {
        Which::All => shelf,
        Which::Database(_) => shelf.only(Kind::Dump),
        Which::Base => shelf.only(Kind::Base),
    };
    let newest = shelf
        .backups
        .iter()
        .find(|backup| backup.verified(Rung::ReadBack) && age(cx.now(), backup.manifest.started).is_some());
    if let (Some(newest), Which::Database(_) | Which::Base) = (newest, which) {
        cx.output("manifest-uri", store.uri(&newest.at.key));
        cx.output("backup-uri", newest.manifest.uri());
        cx.output("rung", newest.manifest.rung.word());
    }
    let text = table(&shelf, cx.now(), &|key| store.uri(key));
    let backups: Vec<serde_json::Value> = shelf
        .backups
        .iter()
        .map(|backup| {
            json!({
                "manifest-uri": store.uri(&backup.at.key),
                "whole": backup.whole(),
                "age-seconds": age(cx.now(), backup.manifest.started).map(|age| age.as_secs()),
                "manifest": backup.manifest,
            })
        })
        .collect();
    let document = json!({
        "backups": backups,
        "without-manifest": shelf.loose.iter().map(|loose| store.uri(&loose.dump.key)).collect::<Vec<_>>(),
        "unreadable": shelf.unreadable.iter().map(|bad| json!({"manifest-uri": store.uri(&bad.key), "why": bad.why})).collect::<Vec<_>>(),
    });
    cx.report().result(text, "shelf", document);
    let (what, of) = match which {
        Which::All => ("backup", String::new()),
        Which::Database(database) => ("backup", format!(" of {}", one_line(database))),
        Which::Base => ("base backup", String::new()),
    };
    let newest = match newest.and_then(|newest| age(cx.now(), newest.manifest.started)) {
        Some(age) => format!("the newest that was read back is {} old", kit::age(age)),
        None => "none of them was read back".to_owned(),
    };
    Ok(Outcome::unchanged(match shelf.backups.len() {
        0 => format!("there is no {what}{of} below {}", store.uri(&prefix)),
        1 => format!("1 {what}{of} below {}; {newest}", store.uri(&prefix)),
        n => format!("{n} {what}s{of} below {}; {newest}", store.uri(&prefix)),
    }))
}

/// The database, or that it is the whole server.
fn of(manifest: &Manifest) -> String {
    if manifest.kind == manifest::BASE { "the whole server".to_owned() } else { one_line(&manifest.database) }
}

/// A line for each backup, the newest first, and what else lies there.
fn table(shelf: &Shelf, now: OffsetDateTime, uri: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    for backup in &shelf.backups {
        let manifest = &backup.manifest;
        let age = age(now, manifest.started)
            .map_or_else(|| "from the future".to_owned(), |age| format!("{} old", kit::age(age)));
        let state =
            if backup.whole() { manifest.rung.word() } else { "NOT WHOLE: the archive is gone or another" };
        let _ = writeln!(
            out,
            "{}  {age}  {}  {}  PostgreSQL {}, server {}  {state}\n    {}",
            kit::minute(manifest.started),
            of(manifest),
            kit::size(manifest.bytes),
            one_line(&manifest.server_version),
            one_line(manifest.system_identifier.as_deref().unwrap_or("unknown")),
            one_line(&uri(&backup.at.key)),
        );
    }
    for loose in &shelf.loose {
        let _ = writeln!(
            out,
            "{}  {}  no backup: {} without a manifest, of a run that is under way or was killed\n    {}",
            kit::minute(loose.dump.modified),
            kit::size(loose.dump.bytes),
            loose.in_words(),
            one_line(&uri(&loose.dump.key))
        );
    }
    for bad in &shelf.unreadable {
        let _ = writeln!(
            out,
            "a manifest that can't be read ({})\n    {}",
            one_line(&bad.why),
            one_line(&uri(&bad.key))
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::testing::{at, backup, object};
    use crate::shelf::{Loose, Unreadable};

    #[test]
    fn each_thing_is_shown_as_what_it_is() {
        let mut gone = backup("20261119T120000Z-1-a", 48);
        gone.objects.clear();
        let future = backup("20261122T120000Z-1-a", -24);
        let shelf = Shelf {
            backups: vec![future, backup("20261121T100000Z-1-a", 2), gone],
            loose: vec![Loose { dump: object("x/rally/20261121T110000Z-1-b.dump", 1), beside: Vec::new() }],
            unreadable: vec![Unreadable {
                key: "x/rally/y.manifest.json".into(),
                why: "it is not JSON".into(),
            }],
        };
        let text = table(&shelf, at(0), &|key| format!("s3://b/{key}"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("from the future"), "{text}");
        assert!(lines[2].contains("2 h 0 min old") && lines[2].ends_with("read-back"), "{text}");
        assert!(lines[4].contains("NOT WHOLE"), "{text}");
        assert!(lines[6].contains("no backup: a dump without a manifest"), "{text}");
        assert!(
            lines[8].contains("it is not JSON") && lines[9].contains("s3://b/x/rally/y.manifest.json"),
            "{text}"
        );
    }
}
