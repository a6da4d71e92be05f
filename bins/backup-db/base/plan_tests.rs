use kit::Code;
use s3::Object;

use super::*;

fn at(minutes_ago: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_262_400 - minutes_ago * 60).unwrap()
}

fn manifest(minutes_ago: i64) -> Manifest {
    Manifest {
        kind: postgres::manifest::BASE.into(),
        database: String::new(),
        base: Some(Base { files: 900, unpacked_bytes: 100 << 20, wal: Vec::new(), databases: None }),
        ..crate::tests::manifest(at(minutes_ago))
    }
}

fn archive() -> Object {
    Object::bare(10 << 20, "\"e\"")
}

fn world() -> World {
    World {
        now: at(0),
        server: Server {
            address: "db.example:5432".into(),
            system_identifier: Some("73".into()),
            standby: false,
            version: Version::parse("15.18").unwrap(),
            bytes: 100 << 20,
            databases: vec!["postgres".into(), "rally".into()],
            tablespaces: Vec::new(),
            role: "backup".into(),
            may_replicate: true,
            wal_level: "replica".into(),
            senders: (2, 10),
            slots: (0, 10),
            data_checksums: true,
        },
        program: "/p/pg_basebackup".into(),
        client: Version::parse("15.18").unwrap(),
        place: None,
        key: "x/base/20261121T120000Z-73-run-7.base.tar.zst".into(),
        key_taken: false,
        last: None,
        same: Vec::new(),
        unproven: Vec::new(),
        unfinished: Vec::new(),
        warnings: Vec::new(),
    }
}

fn request() -> Request {
    Request {
        bucket: "b".into(),
        backup_id: "run-7".into(),
        max_age: Duration::from_hours(1),
        rung: Rung::ReadBack,
        zstd: true,
        allow_shrink: false,
    }
}

fn refused(request: &Request, world: &World) -> String {
    let failure = plan(request, world).unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    format!("{failure}: {}", failure.chain().join("; "))
}

#[test]
fn a_server_that_can_be_copied_is_and_the_manifest_comes_last() {
    let plan = plan(&request(), &world()).unwrap();
    let actions = plan.actions();
    assert_eq!(actions.iter().map(|action| action.id.as_str()).collect::<Vec<_>>(), [UPLOAD, MANIFEST]);
    let detail = actions[0].detail.as_ref().unwrap();
    assert!(detail.contains("postgres, rally") && detail.contains("temporary slot"), "{detail}");
    let warns_of_upgrades = |note: &Note| matches!(note, Note::Info(text) if text.contains("PostgreSQL 15 alone") && text.contains("dump"));
    assert!(plan.notes().iter().any(warns_of_upgrades), "{:?}", plan.notes());
}

#[test]
fn what_the_server_does_not_allow_is_refused_before_anything_is_written() {
    let cases: [(fn(&mut Server), &str); 7] = [
        (|server| server.may_replicate = false, "the role backup has no right of replication"),
        (|server| server.wal_level = "minimal".into(), "wal_level is minimal"),
        (|server| server.senders = (0, 0), "max_wal_senders is 0"),
        (|server| server.senders = (10, 10), "all 10 of its max_wal_senders are in use"),
        (|server| server.tablespaces = vec!["fast in /mnt/fast".into()], "fast in /mnt/fast"),
        (|server| server.version = Version::parse("12.9").unwrap(), "from 13 on"),
        (|server| server.version = Version::parse("9.3.25").unwrap(), "from 13 on"),
    ];
    for (change, says) in cases {
        let mut world = world();
        change(&mut world.server);
        let said = refused(&request(), &world);
        assert!(said.contains(says), "{says}: {said}");
    }
    let taken = World { key_taken: true, ..world() };
    assert!(refused(&request(), &taken).contains("there is an object with this key"));
}

#[test]
fn without_a_free_slot_it_goes_on_and_says_what_may_happen() {
    let mut world = world();
    world.server.slots = (10, 10);
    let plan = plan(&request(), &world).unwrap();
    assert!(matches!(&plan.work, Work::Take(take) if !take.slot));
    assert!(
        plan.notes().iter().any(|note| matches!(note, Note::Warning(text) if text.contains("wal_keep_size")))
    );
}

#[test]
fn a_backup_of_the_same_id_is_kept_as_long_as_it_is_new_whole_and_verified_enough() {
    let with = |manifest: Manifest, stored: Option<Object>| World {
        same: vec![Earlier { manifest, stored }],
        ..world()
    };
    let kept = |world: &World, request: &Request| matches!(plan(request, world).unwrap().work, Work::Keep(_));
    assert!(kept(&with(manifest(30), Some(archive())), &request()));
    assert!(!kept(&with(manifest(61), Some(archive())), &request()));
    assert!(!kept(&with(manifest(-10), Some(archive())), &request()), "from the future");
    assert!(!kept(&with(manifest(30), None), &request()));
    assert!(!kept(&with(manifest(30), Some(Object::bare(5, "\"e\""))), &request()));
    let higher = Request { rung: Rung::Restored, ..request() };
    assert!(!kept(&with(manifest(30), Some(archive())), &higher));
    let other = Manifest { system_identifier: Some("99".into()), ..manifest(30) };
    assert!(refused(&request(), &with(other, Some(archive()))).contains("of another server"));
}

#[test]
fn what_a_killed_run_left_is_finished_or_removed_as_reading_it_back_says() {
    let origin = Origin {
        run: "r".into(),
        backup_id: "run-7".into(),
        started: at(5),
        server_bytes: 100 << 20,
        server_version: "15.18".into(),
        client_version: "15.18".into(),
    };
    let left = |proof| World {
        unproven: vec![Unproven {
            key: "x/base/20261121T115500Z-73-run-7.base.tar.zst".into(),
            stored: archive(),
            origin: origin.clone(),
            proof,
        }],
        ..world()
    };
    let sum = Sum { bytes: 10 << 20, sha256: "aa".into(), crc64nvme: "crc".into() };
    let finished = plan(&request(), &left(Some(Ok((sum, manifest(5).base.unwrap()))))).unwrap();
    assert_eq!(finished.actions().iter().map(|action| action.id.as_str()).collect::<Vec<_>>(), [MANIFEST]);
    let removed = plan(&request(), &left(Some(Err("base/1/2662 is missing".into())))).unwrap();
    let ids: Vec<String> = removed.actions().into_iter().map(|action| action.id).collect();
    assert_eq!(ids, ["remove-archive-1", UPLOAD, MANIFEST]);
    let old = plan(&request(), &left(None)).unwrap();
    assert!(matches!(old.work, Work::Take(_)) && old.remove.is_empty());
}

#[test]
fn a_server_that_lost_more_than_half_is_refused_unless_that_is_allowed() {
    let mut world = World { last: Some(manifest(1440)), ..world() };
    world.server.bytes = 40 << 20;
    assert!(refused(&request(), &world).contains("100.0 MiB in the last backup"));
    let allowed = plan(&Request { allow_shrink: true, ..request() }, &world).unwrap();
    assert!(matches!(allowed.work, Work::Take(take) if take.at_least.is_none()));
    world.server.bytes = 60 << 20;
    let plan = plan(&request(), &world).unwrap();
    assert!(matches!(plan.work, Work::Take(take) if take.at_least == Some(50 << 20)));
}

#[test]
fn it_is_started_only_by_its_own_major_version_and_where_there_is_room() {
    let place = |version: &str, free: u64| Place {
        bin: "/p".into(),
        version: Version::parse(version).unwrap(),
        folder: "/tmp".into(),
        free,
        user: None,
    };
    let request = Request { rung: Rung::Restored, ..request() };
    let at = |place| World { place: Some(place), ..world() };
    assert!(refused(&request, &at(place("16.4", 1 << 40))).contains("the same major version"));
    assert!(refused(&request, &at(place("15.2", 1 << 20))).contains("1.0 MiB free"));
    assert!(plan(&request, &at(place("15.2", 1 << 40))).is_ok());
}
