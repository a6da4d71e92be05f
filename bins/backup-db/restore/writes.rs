//! Whether somebody wrote to a restored database, or is about to: what the server counts and who is connected.
//!
//! Counts of rows don't see an `UPDATE`, and the largest tables are not counted. The server's own counters see every row that is
//! written. They can be reset, and are after a crash or a failover: then they are lower than they were and prove nothing.
//! They don't see `TRUNCATE`, definitions and sequences: <https://www.postgresql.org/docs/current/monitoring-stats.html>.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kit::{Cx, Failure};
use postgres::{Manifest, Target};
use serde::{Deserialize, Serialize};

use crate::catalogue::{all, column, text};

/// Rows that were written to a database, as its server counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Writes {
    inserted: u64,
    updated: u64,
    deleted: u64,
    /// Of all kinds, to large objects: restoring them updates too.
    large_objects: u64,
}

/// A database as its server sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// `None` where the server does not count.
    pub(super) writes: Option<Writes>,
    /// Whoever is connected beside us.
    pub(super) others: Vec<String>,
}

/// Who has left is on the list for a moment, and what it wrote is counted when it has left.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

/// Looks at a database, once all have left it that are about to and the rows that are known to be written are counted.
pub(super) async fn seen(cx: &Cx, database: &Target, rows: u64) -> Result<Seen, Failure> {
    let attempt = "look who writes to the database";
    let session = postgres::connect(cx, database).await?;
    if session.identity.server_version.0 < 150_000 {
        // Until 14 a process of its own counted, and told it half a second later.
        cx.or_cancelled(cx.pause(Duration::from_secs(1))).await?;
    }
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let looked = async {
            // Processes of the server itself have no name of a role.
            let others = column(
                &session,
                attempt,
                "SELECT format('%s as %s, process %s', coalesce(nullif(application_name, ''), 'unnamed'), usename, pid) \
                 FROM pg_stat_activity WHERE datname = current_database() AND usename IS NOT NULL \
                 AND pid <> pg_backend_pid() ORDER BY pid",
            )
            .await?;
            let counted = all(
                &session,
                attempt,
                "SELECT current_setting('track_counts'), sum(n_tup_ins) FILTER (WHERE NOT large), \
                 sum(n_tup_upd) FILTER (WHERE NOT large), sum(n_tup_del) FILTER (WHERE NOT large), \
                 sum(n_tup_ins + n_tup_upd + n_tup_del) FILTER (WHERE large) FROM (SELECT *, relid IN \
                 ('pg_catalog.pg_largeobject'::regclass, 'pg_catalog.pg_largeobject_metadata'::regclass) AS large \
                 FROM pg_stat_all_tables) t WHERE large OR schemaname !~ '^pg_' AND schemaname <> 'information_schema'",
            )
            .await?;
            Ok::<_, Failure>((others, counted))
        };
        let (others, counted) = cx.in_time(attempt, looked).await??;
        let row = counted.first().map(Vec::as_slice).unwrap_or_default();
        let number = |column: usize| text(row, column).and_then(|text| text.parse().ok()).unwrap_or(0);
        let writes = (text(row, 0) == Some("on")).then(|| Writes {
            inserted: number(1),
            updated: number(2),
            deleted: number(3),
            large_objects: number(4),
        });
        let counted = writes.is_none_or(|writes| writes.inserted >= rows);
        if (others.is_empty() && counted) || Instant::now() > until {
            session.close().await;
            return Ok(Seen { writes: writes.filter(|_| counted), others });
        }
        cx.or_cancelled(cx.pause(Duration::from_millis(50))).await?;
    }
}

/// Whether nobody wrote to a database since it was restored from the backup of this manifest, beyond what counting its rows and
/// objects tells. `then` is what the restore saw at its end; a restore that was killed did not say it.
pub(super) fn untouched(manifest: &Manifest, then: Option<Writes>, now: &Seen) -> Result<(), String> {
    if !now.others.is_empty() {
        return Err(format!("somebody is connected to it: {}", now.others.join("; ")));
    }
    let unknown = |why: &str| Err(format!("whether somebody wrote to it can't be told: {why}"));
    let Some(now) = now.writes else { return unknown("the server does not count it (track_counts is off)") };
    let (Some(rows), Some(_)) = (&manifest.rows, &manifest.objects) else {
        return unknown("the manifest of the backup has no counts to compare it with");
    };
    // A server that had counted nothing can't be told from one whose counters were reset.
    let then = if let Some(then) = then.filter(|then| then.inserted > 0) {
        then
    } else {
        let uncounted = manifest.rows_estimated.as_ref().map_or(0, BTreeMap::len)
            + manifest.rows_unknown.as_ref().map_or(0, BTreeMap::len);
        if uncounted > 0 {
            return unknown(&format!(
                "its restore did not note what it wrote, and {} of the backup were not counted",
                kit::counted(uncounted, "table")
            ));
        }
        // How many rows there are is compared beside this; a restore itself updates and deletes none.
        Writes { inserted: now.inserted.max(rows.values().sum()), updated: 0, deleted: 0, ..now }
    };
    let of = |writes: Writes| [writes.inserted, writes.updated, writes.deleted, writes.large_objects];
    if of(now).into_iter().zip(of(then)).any(|(now, then)| now < then) {
        return unknown(
            "the server's counters were reset, by hand, a crash or a failover, or tables were dropped",
        );
    }
    if now == then {
        return Ok(());
    }
    let said: Vec<String> = of(now)
        .into_iter()
        .zip(of(then))
        .zip(["inserted", "updated", "deleted", "of large objects written"])
        .filter(|((now, then), _)| now > then)
        .map(|((now, then), what)| format!("{} {what}", now - then))
        .collect();
    Err(format!("it was written to since it was restored (rows: {})", said.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::testing::at;

    fn manifest() -> Manifest {
        Manifest {
            rows: Some(BTreeMap::from([("public.a".to_owned(), 7)])),
            rows_estimated: None,
            rows_unknown: None,
            objects: Some(BTreeMap::from([("tables".to_owned(), 1)])),
            ..crate::tests::manifest(at(3))
        }
    }

    fn counted(inserted: u64, updated: u64, deleted: u64, large_objects: u64) -> Writes {
        Writes { inserted, updated, deleted, large_objects }
    }

    fn now(writes: Writes) -> Seen {
        Seen { writes: Some(writes), others: Vec::new() }
    }

    #[test]
    fn whatever_is_written_is_seen_and_told() {
        let then = Some(counted(9, 0, 0, 3));
        assert_eq!(untouched(&manifest(), then, &now(counted(9, 0, 0, 3))), Ok(()));
        for (writes, why) in [
            (counted(10, 0, 0, 3), "1 inserted"),
            (counted(9, 4, 0, 3), "4 updated"),
            (counted(10, 0, 1, 3), "1 inserted, 1 deleted"),
            (counted(9, 0, 0, 5), "2 of large objects written"),
            (counted(0, 1, 0, 3), "can't be told: the server's counters were reset"),
        ] {
            let said = untouched(&manifest(), then, &now(writes)).unwrap_err();
            assert!(said.contains(why), "{why}: {said}");
        }
        let busy = Seen { others: vec!["rally as app, process 7".into()], ..now(counted(9, 0, 0, 3)) };
        assert!(
            untouched(&manifest(), then, &busy)
                .unwrap_err()
                .contains("somebody is connected to it: rally as app")
        );
        let off = Seen { writes: None, others: Vec::new() };
        assert!(untouched(&manifest(), then, &off).unwrap_err().contains("track_counts"));
    }

    #[test]
    fn a_backup_without_counts_proves_nothing_and_uncounted_tables_need_the_counters_of_the_restore() {
        let same = counted(9, 0, 0, 3);
        let bare = Manifest { rows: None, objects: None, ..manifest() };
        assert!(untouched(&bare, Some(same), &now(same)).unwrap_err().contains("no counts"));
        let large = Manifest {
            rows_estimated: Some(BTreeMap::from([("public.big".into(), 20_000_000)])),
            ..manifest()
        };
        assert_eq!(untouched(&large, Some(same), &now(same)), Ok(()));
        assert!(untouched(&large, None, &now(same)).unwrap_err().contains("1 table of the backup"));
        // That of a run which was killed before it could note them.
        assert_eq!(untouched(&manifest(), None, &now(same)), Ok(()));
        assert!(untouched(&manifest(), None, &now(counted(9, 1, 0, 3))).unwrap_err().contains("1 updated"));
        assert!(untouched(&manifest(), None, &now(counted(2, 0, 0, 3))).unwrap_err().contains("reset"));
    }
}
