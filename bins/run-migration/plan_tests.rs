//! The judgement, as tables.

use kit::{Code, Plan as _};
use postgres::{Identity, Manifest, Rung, ServerVersion};
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::ledger::parse_ledger;
use crate::observe::{SeenBackup, SeenObject};
use crate::sql::parse;

fn at(time: &str) -> OffsetDateTime {
    OffsetDateTime::parse(&format!("2026-11-21T{time}:00Z"), &Rfc3339).unwrap()
}

fn file(name: &str) -> File {
    File {
        name: name.to_owned(),
        version: version::of(name).to_owned(),
        checksum: format!("sum of {name}"),
        bytes: 8,
        script: Ok(parse("SELECT 1")),
    }
}

fn row(name: &str) -> Row {
    Row {
        version: version::of(name).to_owned(),
        name: name.to_owned(),
        checksum: format!("sum of {name}"),
        applied_at: "2026-11-20 10:00:00+00".to_owned(),
        run: "r".to_owned(),
        baseline: false,
    }
}

fn world(files: &[&str], applied: &[&str]) -> World {
    let mut files: Vec<File> = files.iter().map(|name| file(name)).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    World {
        identity: Identity {
            database: "rally".to_owned(),
            user: "rally".to_owned(),
            server_version: ServerVersion(150_018),
            system_identifier: Some("7300000000000000001".to_owned()),
            system_identifier_unknown: None,
            in_recovery: false,
            backend_pid: 1,
            encrypted: true,
        },
        ledger: SeenLedger::Rows(applied.iter().map(|name| row(name)).collect()),
        directory: Directory { path: "migrations".to_owned(), files, ignored: Vec::new() },
        backup: None,
    }
}

fn judge(world: &World, change: impl FnOnce(&mut Request<'_>)) -> Result<MigrationPlan, Failure> {
    let ledger = parse_ledger("cutover.migrations").unwrap();
    let mut request = Request {
        order: None,
        ledger: &ledger,
        baseline: None,
        without_backup: Some("rally"),
        max_age: Duration::from_hours(2),
        min_rung: Rung::ReadBack,
        dry_run: false,
        now: at("12:00"),
    };
    change(&mut request);
    plan(&request, world)
}

fn names(plan: &MigrationPlan) -> Vec<&str> {
    plan.files.iter().map(|item| item.name.as_str()).collect()
}

fn refusal(result: Result<MigrationPlan, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    failure.chain().join(": ")
}

#[test]
fn what_is_pending_is_what_comes_after_the_applied_ones() {
    let all = ["1_a.sql", "2_b.sql", "3_c.sql"];
    for (applied, pending, from) in [
        (&[][..], &["1_a.sql", "2_b.sql", "3_c.sql"][..], None),
        (&["1_a.sql"], &["2_b.sql", "3_c.sql"], Some("1")),
        (&["2_b.sql", "1_a.sql"], &["3_c.sql"], Some("2")),
        (&all, &[], Some("3")),
    ] {
        let plan = judge(&world(&all, applied), |_| {}).unwrap();
        assert_eq!(names(&plan), pending);
        assert_eq!(plan.from_version.as_deref(), from);
        assert_eq!(plan.to_version().as_deref(), Some("3"));
        assert_eq!(plan.actions().len(), pending.len());
    }
}

#[test]
fn a_directory_and_a_ledger_that_do_not_fit_together_are_refused() {
    let gone = refusal(judge(&world(&["1_a.sql"], &["1_a.sql", "2_b.sql"]), |_| {}));
    assert_eq!(gone, "applied, and not in migrations: 2_b.sql");
    let early = refusal(judge(&world(&["1_a.sql", "2_b.sql", "3_c.sql"], &["1_a.sql", "3_c.sql"]), |_| {}));
    assert_eq!(early, "2_b.sql comes before 3_c.sql, which is applied already");
    let mut edited = world(&["1_a.sql"], &["1_a.sql"]);
    edited.directory.files[0].checksum = "another".to_owned();
    let said = refusal(judge(&edited, |_| {}));
    assert!(
        said.contains("1_a.sql was edited") && said.contains("sum of 1_a.sql") && said.contains("another"),
        "{said}"
    );
    let mut foreign = world(&["1_a.sql"], &[]);
    foreign.ledger = SeenLedger::Other("column \"checksum\" does not exist".to_owned());
    assert!(refusal(judge(&foreign, |_| {})).contains("is no ledger of this step"));
}

#[test]
fn the_order_is_said_where_it_would_differ() {
    let differ = ["1_a.sql", "2_b.sql", "10_c.sql"];
    let said = refusal(judge(&world(&differ, &[]), |_| {}));
    assert_eq!(said, "by number 1_a.sql comes where by name 10_c.sql does, and nothing says which is meant");
    let numeric = judge(&world(&differ, &[]), |request| request.order = Some(Order::Numeric)).unwrap();
    assert_eq!(names(&numeric), ["1_a.sql", "2_b.sql", "10_c.sql"]);
    let name = judge(&world(&differ, &[]), |request| request.order = Some(Order::Name)).unwrap();
    assert_eq!(names(&name), ["10_c.sql", "1_a.sql", "2_b.sql"]);
    let same = ["03.00.00_50_post.sql", "03.01.00_01_pre.sql"];
    assert_eq!(names(&judge(&world(&same, &[]), |_| {}).unwrap()), same);
    let mixed = refusal(judge(&world(&["1_a.sql", "init.sql"], &[]), |_| {}));
    assert_eq!(mixed, "the name of init.sql does not begin with a number");
}

#[test]
fn two_files_with_one_version_are_refused() {
    for (files, help) in [
        (&["1_a.sql", "1_b.sql"][..], "its own version"),
        (&["1.0_a.sql", "01.0_b.sql"], "its own version"),
        (&["1_a.up.sql", "1_a.down.sql"], "only goes forward"),
    ] {
        let failure = judge(&world(files, &[]), |_| {}).unwrap_err();
        assert!(failure.chain()[0].contains("have the same version"), "{:?}", failure.chain());
        assert!(format!("{failure:?}").contains(help), "{failure:?}");
    }
}

#[test]
fn an_empty_folder_is_not_nothing_to_do() {
    assert_eq!(refusal(judge(&world(&[], &[]), |_| {})), "it is empty");
    let mut docs = world(&[], &[]);
    docs.directory.ignored = vec!["README.md".to_owned()];
    assert_eq!(refusal(judge(&docs, |_| {})), "it has no .sql file, only README.md");
}

#[test]
fn a_standby_is_refused() {
    let mut standby = world(&["1_a.sql"], &[]);
    standby.identity.in_recovery = true;
    assert!(refusal(judge(&standby, |_| {})).contains("standby"));
}

#[test]
fn statements_that_can_not_run_are_refused_with_file_and_line_but_only_in_pending_files() {
    let mut bad = world(&["1_a.sql", "2_b.sql"], &["1_a.sql"]);
    for file in &mut bad.directory.files {
        file.script = Ok(parse("SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t (a);"));
    }
    let said = refusal(judge(&bad, |_| {}));
    assert_eq!(said, "2_b.sql, line 2: CREATE INDEX CONCURRENTLY can't run inside a transaction");
    let mut binary = world(&["1_a.sql"], &[]);
    binary.directory.files[0].script = Err("is not UTF-8 (byte 7 of the file)".to_owned());
    assert_eq!(refusal(judge(&binary, |_| {})), "1_a.sql is not UTF-8 (byte 7 of the file)");
}

#[test]
fn a_baseline_records_a_prefix_once() {
    let all = ["1_a.sql", "2_b.sql", "3_c.sql"];
    let plan = judge(&world(&all, &[]), |request| request.baseline = Some("2")).unwrap();
    assert_eq!((names(&plan), plan.left, plan.actions().len()), (vec!["1_a.sql", "2_b.sql"], 1, 1));
    let again = judge(&world(&all, &["1_a.sql", "2_b.sql"]), |request| request.baseline = Some("2")).unwrap();
    assert!(again.is_empty());
    assert_eq!(again.unchanged(), "rally is at 2, and has the baseline; 1 pending");
    let late = judge(&world(&all, &["1_a.sql"]), |request| request.baseline = Some("2"));
    assert!(refusal(late).contains("has 1 versions already"));
    let unknown = judge(&world(&all, &[]), |request| request.baseline = Some("9"));
    assert_eq!(refusal(unknown), "no file has that version");
}

fn backup() -> SeenBackup {
    let manifest = Manifest::parse(
        br#"{
        "schema": "cutover-backup/1", "kind": "dump", "bucket": "backups", "key": "rally.dump", "bytes": 1000,
        "sha256": "00", "checksum_crc64nvme": "fLmqkjK9GWM=", "etag": "\"e\"", "parts": 1, "database": "rally",
        "system_identifier": "7300000000000000001", "server_version": "15.18", "client_version": "15.18",
        "rung": "read-back", "started": "2026-11-21T10:59:00Z", "ended": "2026-11-21T11:00:00Z",
        "tool_version": "0.1.0", "run": "r"}"#,
    )
    .unwrap();
    SeenBackup {
        uri: "s3://backups/rally.dump.manifest.json".to_owned(),
        manifest: Ok(manifest),
        object: Ok(SeenObject {
            bytes: 1000,
            etag: "\"e\"".to_owned(),
            checksum_crc64nvme: Some("fLmqkjK9GWM=".to_owned()),
        }),
    }
}

fn with_backup(change: impl FnOnce(&mut Manifest, &mut SeenObject)) -> Result<MigrationPlan, Failure> {
    let mut world = world(&["1_a.sql"], &[]);
    let mut backup = backup();
    if let (Ok(manifest), Ok(object)) = (&mut backup.manifest, &mut backup.object) {
        change(manifest, object);
    }
    world.backup = Some(backup);
    judge(&world, |request| request.without_backup = None)
}

#[test]
fn a_backup_of_this_database_lets_it_through_and_is_named_as_the_way_back() {
    let plan = with_backup(|_, _| {}).unwrap();
    assert!(plan.restore.contains("s3://backups/rally.dump"), "{}", plan.restore);
    assert!(plan.restore.contains("pg_restore"), "{}", plan.restore);
}

#[test]
fn a_backup_that_can_not_stand_in_for_an_undo_is_refused() {
    type Change = fn(&mut Manifest, &mut SeenObject);
    let table: [(Change, &str); 9] = [
        (|manifest, _| manifest.database = "other".to_owned(), "of the database other, not rally"),
        (|manifest, _| manifest.system_identifier = Some("1".to_owned()), "of another server"),
        (|manifest, _| manifest.system_identifier = None, "can't be seen"),
        (|manifest, _| manifest.ended = at("09:59"), "121 min old, and --max-age is 120 min"),
        (|manifest, _| manifest.ended = at("12:02"), "from the future"),
        (
            |manifest, _| manifest.rung = Rung::Contents,
            "verified up to contents, and --min-rung is read-back",
        ),
        (|_, object| object.bytes = 999, "has 999 bytes, and the manifest says 1000"),
        (|_, object| object.checksum_crc64nvme = Some("AAAAAAAAAAA=".to_owned()), "checksum AAAAAAAAAAA="),
        (|_, object| object.etag = "\"f\"".to_owned(), "the ETag \"f\""),
    ];
    for (change, why) in table {
        let said = refusal(with_backup(change));
        assert!(said.contains(why), "{why}: {said}");
    }
    for broken in [
        SeenBackup { manifest: Err("there is no such object".to_owned()), ..backup() },
        SeenBackup { object: Err("it is not there".to_owned()), ..backup() },
    ] {
        let mut world = world(&["1_a.sql"], &[]);
        world.backup = Some(broken);
        refusal(judge(&world, |request| request.without_backup = None));
    }
}

#[test]
fn going_without_a_backup_takes_the_database_s_own_name() {
    let pending = world(&["1_a.sql"], &[]);
    let none = |dry_run| {
        judge(&pending, |request| {
            request.without_backup = None;
            request.dry_run = dry_run;
        })
    };
    assert_eq!(refusal(none(false)), "a migration can't be undone, and no backup is given");
    assert!(none(true).is_ok(), "a dry run shows the plan before there is a backup");
    let other = judge(&pending, |request| request.without_backup = Some("prod"));
    assert_eq!(refusal(other), "--without-backup names prod, and this is the database rally");
    let nothing = judge(&world(&["1_a.sql"], &["1_a.sql"]), |request| request.without_backup = None);
    assert!(nothing.unwrap().is_empty(), "nothing pending needs no backup");
}
