use std::time::Duration;

use kit::{Code, Plan as _};
use s3::{Object, Sum, Unfinished};
use time::OffsetDateTime;

use super::*;
use crate::arena::Named;
use crate::dump::plan::{Database, Origin, Unproven};
use crate::earlier::Earlier;
use crate::tests::{manifest, tools};
use crate::tools::Version;
use crate::verify::Tables;

const HOUR: Duration = Duration::from_hours(1);
const MIB: u64 = 1 << 20;

fn at(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_262_400 + minutes * 60).unwrap()
}

fn request() -> Request {
    Request {
        bucket: "b".into(),
        backup_id: "run-7".into(),
        run: "1b4e28ba-2fa1-11d2-883f-0016d3cca427".into(),
        max_age: HOUR,
        rung: Rung::ReadBack,
        compression: Compression::Zstd,
        count_limit: 1000,
        allow_shrink: false,
    }
}

fn world() -> World {
    World {
        now: at(0),
        database: Database {
            name: "rally".into(),
            server: "db.example:5432".into(),
            system_identifier: Some("73".into()),
            standby: false,
            version: Version::parse("15.18").unwrap(),
            bytes: 100 * MIB,
        },
        tools: tools(),
        globals: Globals::Read {
            stored: b"CREATE ROLE rally;".into(),
            script: b"CREATE ROLE rally;".into(),
            recipients: Vec::new(),
        },
        site: None,
        key: "rally/now.dump".into(),
        key_taken: false,
        last: None,
        same: Vec::new(),
        unproven: Vec::new(),
        unfinished: Vec::new(),
        warnings: Vec::new(),
    }
}

fn stored(bytes: u64) -> Object {
    Object::bare(bytes, "\"e\"")
}

fn earlier(started: OffsetDateTime) -> Earlier {
    Earlier { manifest: manifest(started), stored: Some(stored(10 * MIB)) }
}

fn unproven(proof: Option<Result<Sum, String>>) -> Unproven {
    Unproven {
        key: "rally/left.dump".into(),
        stored: stored(7),
        origin: Origin {
            run: "dead".into(),
            backup_id: "run-7".into(),
            started: at(-5),
            database_bytes: 1,
            server_version: "15.18".into(),
            client_version: "15.18".into(),
            tables: Tables::of([1]),
            snapshot: None,
            compression: None,
        },
        globals_key: Some("rally/left.dump.globals.sql".into()),
        proof,
        unread: None,
    }
}

fn ids(plan: &BackupPlan) -> Vec<String> {
    plan.actions().into_iter().map(|action| action.id).collect()
}

fn all_notes(plan: &BackupPlan) -> String {
    let text = |note: Note| match note {
        Note::Info(text) | Note::Warning(text) => text,
    };
    kit::Plan::notes(plan).into_iter().map(text).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_new_backup_is_dump_globals_and_manifest_in_this_order() {
    let planned = plan(&request(), &world()).unwrap();
    assert_eq!(ids(&planned), ["upload-dump", "write-globals", "write-manifest"]);
    let first = &planned.actions()[0];
    assert_eq!(
        first.does,
        "dump rally (100.0 MiB, PostgreSQL 15.18 on db.example:5432) with pg_dump 15.18 to s3://b/rally/now.dump"
    );
}

#[test]
fn globals_that_are_denied_are_a_warning() {
    let denied =
        World { globals: Globals::Denied("permission denied for table pg_authid".into()), ..world() };
    let planned = plan(&request(), &denied).unwrap();
    assert_eq!(ids(&planned), ["upload-dump", "write-manifest"]);
    assert!(all_notes(&planned).contains("permission denied for table pg_authid"));
}

#[test]
fn a_fresh_whole_backup_of_the_same_id_is_kept_and_no_other() {
    let with = |earlier: Earlier| World { same: vec![earlier], ..world() };
    let kept = plan(&request(), &with(earlier(at(-59)))).unwrap();
    assert_eq!(ids(&kept), Vec::<String>::new());

    let stale = plan(&request(), &with(earlier(at(-61)))).unwrap();
    assert_eq!(ids(&stale).len(), 3);
    assert!(all_notes(&stale).contains("older than --max-age"));

    let mut lesser = earlier(at(-5));
    lesser.manifest.rung = Rung::Contents;
    assert!(all_notes(&plan(&request(), &with(lesser)).unwrap()).contains("read-back is asked for"));

    let gone = Earlier { stored: None, ..earlier(at(-5)) };
    let other = Earlier { stored: Some(stored(9)), ..earlier(at(-5)) };
    for broken in [gone, other] {
        let planned = plan(&request(), &with(broken)).unwrap();
        assert_eq!(ids(&planned).len(), 3);
        assert!(all_notes(&planned).contains("no longer what its manifest says"));
    }
    assert_eq!(ids(&plan(&request(), &with(earlier(at(60)))).unwrap()).len(), 3, "from the future");
}

#[test]
fn the_same_id_on_another_server_is_refused() {
    let mut theirs = earlier(at(-5));
    theirs.manifest.system_identifier = Some("99".into());
    let refused = plan(&request(), &World { same: vec![theirs], ..world() }).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain()[0].contains("99") && refused.chain()[0].contains("73"));
}

#[test]
fn what_a_dead_run_left_is_finished_or_removed_or_named() {
    let sum = Sum { bytes: 7, sha256: "bb".into(), crc64nvme: "c".into() };
    let with = |proof| World { unproven: vec![unproven(proof)], ..world() };
    assert_eq!(ids(&plan(&request(), &with(Some(Ok(sum)))).unwrap()), ["write-manifest"]);
    let broken = plan(&request(), &with(Some(Err("unexpected end of file".into())))).unwrap();
    assert_eq!(ids(&broken), ["remove-dump-1", "upload-dump", "write-globals", "write-manifest"]);
    let old = plan(&request(), &with(None)).unwrap();
    assert_eq!(ids(&old), ["upload-dump", "write-globals", "write-manifest"]);
    assert!(all_notes(&old).contains("s3://b/rally/left.dump has no manifest"));
    let unread = Unproven { unread: Some("pg_dump 17.2 wrote it".into()), ..unproven(None) };
    let kept = plan(&request(), &World { unproven: vec![unread], ..world() }).unwrap();
    assert_eq!(ids(&kept), ["upload-dump", "write-globals", "write-manifest"]);
    assert!(all_notes(&kept).contains("died, pg_dump 17.2 wrote it;"), "{}", all_notes(&kept));
}

#[test]
fn unfinished_uploads_are_aborted_first_even_where_the_backup_is_made() {
    let left = Unfinished {
        key: "rally/x.dump".into(),
        id: "u".into(),
        begun: OffsetDateTime::UNIX_EPOCH,
        by: "backup".into(),
    };
    let world = World { unfinished: vec![left], same: vec![earlier(at(-5))], ..world() };
    assert_eq!(ids(&plan(&request(), &world).unwrap()), ["abort-upload-1"]);
}

#[test]
fn a_database_that_lost_most_of_its_size_is_refused_unless_allowed() {
    let mut world = World { last: Some(manifest(at(-1440))), ..world() };
    world.database.bytes = 49 * MIB;
    let refused = plan(&request(), &world).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    assert!(refused.chain()[0].contains("49.0 MiB") && refused.chain()[0].contains("100.0 MiB"));
    let allowed = plan(&Request { allow_shrink: true, ..request() }, &world).unwrap();
    assert!(matches!(allowed.work, Work::Dump(dump) if dump.at_least.is_none()));
    world.database.bytes = 51 * MIB;
    let planned = plan(&request(), &world).unwrap();
    assert!(matches!(planned.work, Work::Dump(dump) if dump.at_least == Some(5 * MIB)));
}

#[test]
fn a_key_that_is_taken_is_refused() {
    let refused = plan(&request(), &World { key_taken: true, ..world() }).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
}

fn restored() -> Request {
    Request { rung: Rung::Restored, ..request() }
}

fn named() -> Named {
    let env: kit::Env = [("HOME", "/nonexistent")].into_iter().collect();
    Named {
        target: crate::arena::named("postgresql://tester@127.0.0.1/postgres", &env).unwrap(),
        server: "127.0.0.1:5432".into(),
        version: Version::parse("16.1").unwrap(),
        system_identifier: Some("99".into()),
        may_create: true,
        lacks_extensions: Vec::new(),
        lacks_roles: Vec::new(),
        roles_of_others: Vec::new(),
        left: Vec::new(),
    }
}

fn proving_on(named: Named) -> World {
    World { site: Some(Site::Named(Box::new(named))), ..world() }
}

#[test]
fn a_proof_on_a_named_server_is_an_action_that_is_taken_back_and_mends_what_dead_ones_left() {
    let left = Named { left: vec!["cutover_prove_1".into()], ..named() };
    let planned = plan(&restored(), &proving_on(left)).unwrap();
    assert_eq!(
        ids(&planned),
        ["drop-proof-1", "upload-dump", "write-globals", "prove-restore", "write-manifest"]
    );
    assert!(planned.actions()[3].does.contains("cutover_prove_1b4e28ba2fa111d2883f0016d3cca427"));
    let roleless =
        plan(&restored(), &proving_on(Named { lacks_roles: vec!["rally".into()], ..named() })).unwrap();
    assert!(all_notes(&roleless).contains("does not have the roles rally: it is proven without owners"));
}

#[test]
fn a_server_on_which_nothing_can_be_proven_is_refused_before_the_dump() {
    type Change = fn(&mut Named);
    let cases: [(Change, &str); 4] = [
        (|named| named.system_identifier = Some("73".into()), "the server that is backed up"),
        (|named| named.version = Version::parse("14.2").unwrap(), "older than what is backed up"),
        (|named| named.may_create = false, "may not make databases"),
        (|named| named.lacks_extensions = vec!["postgis".into()], "lacks the extensions postgis"),
    ];
    for (change, why) in cases {
        let mut server = named();
        change(&mut server);
        let refused = plan(&restored(), &proving_on(server)).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains(why), "{why}: {:?}", refused.chain());
    }
}

#[test]
fn a_scratch_server_without_room_is_refused_with_the_numbers() {
    let place = |free: u64| place::Place {
        bin: "/p".into(),
        version: Version::parse("15.18").unwrap(),
        folder: "/scratch".into(),
        free,
        user: None,
    };
    let on = |free: u64| World { site: Some(Site::Own(place(free))), ..world() };
    let refused = plan(&restored(), &on(300 * MIB)).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    let why = refused.chain()[0].clone();
    assert!(why.contains("100.0 MiB") && why.contains("328.0 MiB") && why.contains("300.0 MiB"), "{why}");
    let planned = plan(&restored(), &on(400 * MIB)).unwrap();
    assert_eq!(ids(&planned), ["upload-dump", "write-globals", "write-manifest"]);
    assert!(all_notes(&planned).contains("scratch server of PostgreSQL 15.18 in /scratch"));
}

#[test]
fn a_whole_dump_of_a_dead_run_is_not_enough_where_restored_is_asked_for() {
    let world =
        World { unproven: vec![unproven(None)], site: Some(Site::Named(Box::new(named()))), ..world() };
    let planned = plan(&restored(), &world).unwrap();
    assert!(matches!(planned.work, Work::Dump(_)));
    assert!(all_notes(&planned).contains("the rows that it had counted are lost"), "{}", all_notes(&planned));
}

#[test]
fn sizes_of_dumps_are_compared_only_where_they_were_compressed_alike() {
    let at_least = |compression: Option<&str>, now: Compression| {
        let last = Manifest { compression: compression.map(str::to_owned), ..manifest(at(-1440)) };
        let planned =
            plan(&Request { compression: now, ..request() }, &World { last: Some(last), ..world() });
        match planned.unwrap().work {
            Work::Dump(dump) => dump.at_least,
            _ => None,
        }
    };
    assert_eq!(at_least(Some("zstd"), Compression::Zstd), Some(5 * MIB));
    assert_eq!(at_least(None, Compression::Gzip), Some(5 * MIB), "older manifests are of pg_dump's own gzip");
    assert_eq!(at_least(None, Compression::Zstd), None);
    assert_eq!(at_least(Some("none"), Compression::Zstd), None);
}

#[test]
fn zstd_is_put_around_only_where_pg_dump_cannot() {
    let method = |zstd: bool, compression: Compression| {
        let world = World { tools: crate::tools::Tools { zstd, ..tools() }, ..world() };
        match plan(&Request { compression, ..request() }, &world).unwrap().work {
            Work::Dump(dump) => dump.method,
            _ => unreachable!(),
        }
    };
    assert_eq!(method(true, Compression::Zstd), Method::ZstdInside);
    assert_eq!(method(false, Compression::Zstd), Method::ZstdAround);
    assert_eq!(method(true, Compression::Gzip), Method::Gzip);
    assert_eq!(Method::ZstdAround.argument(), Some("--compress=0"));
}

#[test]
fn tables_that_lost_all_their_rows_or_are_gone_are_named() {
    let counts =
        |pairs: &[(&str, u64)]| pairs.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
    let last = Manifest {
        rows: Some(counts(&[("a", 5), ("b", 7), ("c", 0), ("d", 9), ("e", 1)])),
        rows_estimated: Some(counts(&[("big", 10_000_000)])),
        ..manifest(at(-60))
    };
    let now = Rows {
        exact: counts(&[("a", 0), ("b", 1), ("c", 0), ("big", 0)]),
        estimated: counts(&[("e", 1)]),
        unknown: [].into(),
    };
    assert_eq!(
        emptied(&last, &now),
        ["a had 5 rows and has none", "d had 9 rows and is gone", "big had 10000000 rows and has none"]
    );
}

/// The messages are those of `pg_dump` 15.
#[test]
fn what_pg_dump_says_most_often_has_a_next_move() {
    for (said, advised) in [
        (
            "pg_dump: error: query failed: ERROR:  query would be affected by row-level security policy for table \"a\"",
            "BYPASSRLS",
        ),
        ("pg_dump: error: query failed: ERROR:  permission denied for table a", "pg_read_all_data"),
        (
            "pg_dump: detail: Error message from server: ERROR:  canceling statement due to conflict with recovery",
            "hot_standby_feedback",
        ),
    ] {
        assert!(advice(said).unwrap().contains(advised), "{said}");
    }
    assert_eq!(advice("out of memory"), None);
}
