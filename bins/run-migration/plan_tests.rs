//! The judgement, as tables.

use kit::{Code, Plan as _};
use postgres::{Identity, Manifest, Rung, ServerVersion};
use time::format_description::well_known::Rfc3339;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::*;
use crate::files::{Directory, prefix, stem};
use crate::ledger::parse_ledger;
use crate::lint::parse_allow;
use crate::observe::{Row, SeenBackup, SeenObject, SeenTable};
use crate::sql::parse;
use crate::version;

fn at(time: &str) -> OffsetDateTime {
    OffsetDateTime::parse(&format!("2026-11-21T{time}:00Z"), &Rfc3339).unwrap()
}

fn file(name: &str) -> File {
    File {
        name: name.to_owned(),
        version: version::of(stem(name).0).to_owned(),
        checksum: format!("sum of {name}"),
        bytes: 8,
        script: Ok(parse("SELECT 1")),
        down: None,
    }
}

fn row(name: &str) -> Row {
    Row {
        version: version::of(stem(name).0).to_owned(),
        name: name.to_owned(),
        checksum: format!("sum of {name}"),
        applied_at: "2026-11-20 10:00:00+00".to_owned(),
        run: "r".to_owned(),
        baseline: false,
        down_checksum: None,
        success: true,
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
        ledger: SeenLedger::Rows { rows: applied.iter().map(|name| row(name)).collect(), narrow: false },
        unfinished: Vec::new(),
        directory: Directory {
            path: "migrations".to_owned(),
            files,
            ignored: Vec::new(),
            problems: Vec::new(),
        },
        tables: BTreeMap::new(),
        backup: None,
    }
}

fn judge<'a>(world: &World, change: impl FnOnce(&mut Request<'a>)) -> Result<MigrationPlan, Failure> {
    static LEDGER: LazyLock<Ledger> = LazyLock::new(|| parse_ledger("cutover.migrations").unwrap());
    let mut request = Request {
        way: Way::Up,
        order: None,
        ledger: &LEDGER,
        baseline: None,
        to: None,
        allow: &[],
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
        assert_eq!(plan.to_version.as_deref(), Some("3"));
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
    for files in [["1_a.sql", "1_b.sql"], ["1.0_a.sql", "01.0_b.sql"]] {
        assert!(refusal(judge(&world(&files, &[]), |_| {})).contains("have the same version"), "{files:?}");
    }
    let mut lonely = world(&["1_a.sql"], &[]);
    lonely.directory.problems = vec!["2_b.down.sql takes back no file that is here".to_owned()];
    assert_eq!(refusal(judge(&lonely, |_| {})), "2_b.down.sql takes back no file that is here");
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
    assert!(
        plan.restore.contains("backup-db --action restore --backup s3://backups/rally.dump.manifest.json"),
        "{}",
        plan.restore
    );
}

#[test]
fn a_backup_that_can_not_stand_in_for_an_undo_is_refused() {
    type Change = fn(&mut Manifest, &mut SeenObject);
    let table: [(Change, &str); 10] = [
        (|manifest, _| manifest.database = "other".to_owned(), "of the database other, not rally"),
        (|manifest, _| manifest.system_identifier = Some("1".to_owned()), "of another server"),
        (|manifest, _| manifest.system_identifier = None, "can't be seen"),
        (|manifest, _| manifest.started = at("09:59"), "121 min old, and --max-age is 120 min"),
        (|manifest, _| manifest.ended = at("12:02"), "from the future: it ended"),
        (|manifest, _| manifest.started = at("12:02"), "from the future: it was begun"),
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

/// Three applied versions and the ways back of the last two.
fn reversible() -> World {
    let names = ["1_a.up.sql", "2_b.up.sql", "3_c.up.sql", "4_d.up.sql"];
    let mut world = world(&names, &names[..3]);
    for up in world.directory.files.iter_mut().skip(1) {
        up.down = Some(Box::new(file(&up.name.replace(".up.", ".down."))));
    }
    world
}

fn revert(world: &World, to: &str) -> Result<MigrationPlan, Failure> {
    judge(world, |request| (request.way, request.to) = (Way::Down, Some(to)))
}

#[test]
fn ways_back_run_last_first_down_to_a_version_that_stays() {
    let world = reversible();
    let plan = revert(&world, "1").unwrap();
    assert_eq!(names(&plan), ["3_c.down.sql", "2_b.down.sql"]);
    assert_eq!((plan.from_version.as_deref(), plan.to_version.as_deref()), (Some("3"), Some("1")));
    assert_eq!(plan.done(), "rally is back at 1: 2 migrations taken back");
    assert!(revert(&world, "3").unwrap().is_empty());
    for (to, why) in [
        ("none", "no way back is written for 1_a.up.sql"),
        ("4", "that version is not applied"),
        ("9", "no file has that version"),
    ] {
        assert_eq!(refusal(revert(&world, to)), why);
    }
}

#[test]
fn a_way_back_that_was_edited_is_refused_and_one_that_came_later_is_not() {
    let mut world = reversible();
    let mut set = |sum: Option<&str>| {
        let SeenLedger::Rows { rows, .. } = &mut world.ledger else { return Err(Failure::failed("rows")) };
        rows[2].down_checksum = sum.map(str::to_owned);
        revert(&world, "2")
    };
    assert!(set(None).is_ok());
    assert!(set(Some("sum of 3_c.down.sql")).is_ok());
    assert!(
        refusal(set(Some("another"))).contains("3_c.down.sql was edited after its migration was applied")
    );
}

#[test]
fn to_stops_at_a_version_and_never_goes_back() {
    let world = reversible();
    let to = |version| judge(&world, |request| request.to = Some(version));
    assert_eq!(names(&to("4").unwrap()), ["4_d.up.sql"]);
    let there = to("3").unwrap();
    assert!(there.is_empty() && there.left == 1);
    assert_eq!(refusal(to("2")), "it is at 3 already, which is later");
    assert_eq!(refusal(to("9")), "no file has that version");
}

fn begun(version: &str, way: Way, done: usize, prefix: &str) -> Progress {
    Progress {
        version: version.to_owned(),
        way,
        name: "x".to_owned(),
        done,
        prefix: prefix.to_owned(),
        stage: Stage::Sent,
        statement: "VACUUM".to_owned(),
        run: "r".to_owned(),
        began: "2026-11-21 10:00:00+00".to_owned(),
    }
}

#[test]
fn a_file_that_has_begun_is_the_next_one_and_begins_as_it_did() {
    let mut world = world(&["1_a.sql", "2_b.sql"], &["1_a.sql"]);
    let script = parse("-- cutover:no-transaction\nSELECT 1;\nVACUUM;");
    let right = prefix(&script, 1);
    world.directory.files[1].script = Ok(script);
    let mut with = |progress: Progress| {
        world.unfinished = vec![progress];
        judge(&world, |_| {})
    };
    let plan = with(begun("2", Way::Up, 1, &right)).unwrap();
    assert!(plan.actions()[0].detail.as_ref().unwrap().contains("1 statements have taken effect"));
    assert!(refusal(with(begun("2", Way::Up, 1, "other"))).contains("the file has others there now"));
    assert!(refusal(with(begun("2", Way::Up, 7, &right))).contains("the file has others there now"));
    for other in [begun("1", Way::Up, 1, &right), begun("2", Way::Down, 1, &right)] {
        assert!(refusal(with(other)).contains("is not what this run begins with"));
    }
    world.unfinished = vec![begun("2", Way::Up, 1, &right)];
    world.directory.files[1].script = Ok(parse("SELECT 1;\nVACUUM;"));
    assert!(refusal(judge(&world, |_| {})).contains("does not ask for that any more"));
}

#[test]
fn a_line_that_did_not_end_well_stops_the_run() {
    let mut world = world(&["1_a.sql"], &["1_a.sql"]);
    if let SeenLedger::Rows { rows, .. } = &mut world.ledger {
        rows[0].success = false;
    }
    assert!(refusal(judge(&world, |_| {})).contains("success = false"));
}

#[test]
fn what_is_dangerous_is_allowed_by_name_or_harmless_by_the_table() {
    let mut world = world(&["1_a.sql"], &[]);
    world.directory.files[0].script = Ok(parse("SELECT 1;\nDROP TABLE old;"));
    let mut seen = |table: SeenTable, allow: &[&str]| {
        let allow: Vec<Allow> = allow.iter().map(|text| parse_allow(text).unwrap()).collect();
        world.tables = BTreeMap::from([("old".to_owned(), table)]);
        judge(&world, |request| request.allow = Vec::leak(allow))
    };
    let said = refusal(seen(SeenTable::Bytes(3 << 30), &[]));
    assert_eq!(said, "1_a.sql, line 2: DROP TABLE throws data away (ban-drop-table, old has 3.0 GiB)");
    assert!(
        format!("{:?}", seen(SeenTable::Unknown, &[]).unwrap_err())
            .contains("--allow ban-drop-table@1_a.sql")
    );
    refusal(seen(SeenTable::Bytes(1), &["truncate", "ban-drop-table@2_b.sql"]));
    assert!(seen(SeenTable::Bytes(1), &["ban-drop-table@1_a.sql"]).is_ok());
    assert!(seen(SeenTable::Bytes(0), &[]).is_ok() && seen(SeenTable::Absent, &[]).is_ok());
}
