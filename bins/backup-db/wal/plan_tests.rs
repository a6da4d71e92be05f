use kit::Code;

use super::*;

const NAME: &str = "base_000000010000000000000002";

fn sentinel() -> Sentinel {
    Sentinel {
        name: NAME.into(),
        first: "000000010000000000000002".into(),
        last: "000000010000000000000004".into(),
        bytes: 1 << 30,
        system_identifier: Some("73".into()),
        backup_id: Some("release-7".into()),
        of: None,
        corrupt: Vec::new(),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap()
}

fn world(tool: Tool) -> World {
    World {
        now: now(),
        tool,
        program: "/usr/bin/tool".into(),
        place: "s3://b/prod/".into(),
        server: Server {
            address: "db:5432".into(),
            version: Version::parse("14.2").unwrap(),
            standby: false,
            system_identifier: Some("73".into()),
            segment_bytes: 16 << 20,
            archive_mode: "on".into(),
            archives: true,
            archiver: Archiver {
                last_archived: Some("000000010000000000000001".into()),
                ..Archiver::default()
            },
        },
        data_dir: Some(DataDir { path: "/data".into(), system_identifier: Ok("73".into()) }),
        sentinels: vec![Listed {
            key: format!("prod/basebackups_005/{NAME}_backup_stop_sentinel.json"),
            bytes: 300,
            etag: "\"e\"".into(),
            modified: now() - Duration::from_mins(30),
        }],
        newest: Some(Ok(sentinel())),
        takes_id: tool == Tool::WalG,
        checks_pages: true,
    }
}

fn request(id: &str) -> Request {
    Request { backup_id: id.into(), max_age: Duration::from_hours(1) }
}

fn refused(world: &World) -> String {
    let failure = plan(&request("other"), world).unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    failure.chain().join("; ")
}

#[test]
fn a_backup_without_its_write_ahead_log_is_not_begun() {
    let cases: [(fn(&mut World), &str); 8] = [
        (|world| world.server.archive_mode = "off".into(), "archive_mode is off"),
        (|world| world.server.archives = false, "neither archive_command nor archive_library"),
        (
            |world| {
                world.server.archiver.failing_since = Some("2026-11-21 11:00:00+00".into());
                world.server.archiver.last_failed = Some("000000010000000000000002".into());
            },
            "at last with 000000010000000000000002, at 2026-11-21 11:00:00+00",
        ),
        (
            |world| world.data_dir.as_mut().unwrap().system_identifier = Ok("99".into()),
            "/data is of another server",
        ),
        (
            |world| world.data_dir.as_mut().unwrap().system_identifier = Err("Permission denied".into()),
            "Permission denied",
        ),
        (
            |world| world.newest.as_mut().unwrap().as_mut().unwrap().system_identifier = Some("99".into()),
            "is of another server",
        ),
        (
            |world| world.server.version = Version::parse("15.18").unwrap(),
            "pg_start_backup, which is gone since 15",
        ),
        (|world| world.server.standby = true, "it is a standby"),
    ];
    for (change, says) in cases {
        let mut world = world(Tool::WalE);
        change(&mut world);
        let said = refused(&world);
        assert!(said.contains(says), "{says}: {said}");
    }
    for change in [
        |world: &mut World| world.server.standby = true,
        |world: &mut World| {
            world.server.version = Version::parse("18.0").unwrap();
        },
    ] {
        let mut world = world(Tool::WalG);
        change(&mut world);
        assert!(plan(&request("other"), &world).is_ok(), "wal-g can");
    }
}

#[test]
fn what_wal_g_made_for_the_same_id_is_not_made_again() {
    let kept = |world: &World, id: &str| plan(&request(id), world).unwrap().keep.is_some();
    assert!(kept(&world(Tool::WalG), "release-7"));
    assert!(!kept(&world(Tool::WalG), "release-8"));
    assert!(!kept(&world(Tool::WalE), "release-7"), "wal-e keeps none");
    let mut old = world(Tool::WalG);
    old.sentinels[0].modified = now() - Duration::from_mins(61);
    assert!(!kept(&old, "release-7"));
    let made = plan(&request("release-8"), &world(Tool::WalG)).unwrap();
    assert_eq!(made.arguments, ["backup-push", "/data"]);
    assert_eq!(made.actions().len(), 1);
    assert!(plan(&request("release-7"), &world(Tool::WalG)).unwrap().actions().is_empty());
}

#[test]
fn the_prefix_is_said_once_or_alike_everywhere() {
    let env = |pairs: &[(&str, &str)]| -> Env {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let to: Destination = "s3://b/prod".parse().unwrap();
    let none = env(&[]);
    assert_eq!(Tool::WalE.prefix(Some(&to), &none).unwrap(), to);
    assert_eq!(Tool::WalE.prefix(None, &env(&[("WALE_S3_PREFIX", "s3://b/prod/")])).unwrap(), to);
    assert_eq!(Tool::WalG.prefix(None, &env(&[("WALE_S3_PREFIX", "s3://b/prod")])).unwrap(), to);
    assert_eq!(
        Tool::WalE.prefix(Some(&to), &env(&[("WALG_S3_PREFIX", "s3://b/x")])).unwrap(),
        to,
        "not wal-e's"
    );
    for (tool, to, pairs) in [
        (Tool::WalE, None, &[][..]),
        (Tool::WalE, Some(&to), &[("WALE_S3_PREFIX", "s3://b/other")][..]),
        (Tool::WalG, None, &[("WALE_S3_PREFIX", "s3://b/x"), ("WALG_S3_PREFIX", "s3://b/y")][..]),
        (Tool::WalG, None, &[("WALG_S3_PREFIX", "b/x")][..]),
    ] {
        assert_eq!(tool.prefix(to, &env(pairs)).unwrap_err().code(), Code::Usage, "{pairs:?}");
    }
}

#[test]
fn bad_blocks_and_a_backup_of_another_server_are_no_success() {
    let seen = |corrupt: &[&str], system: &str| Seen {
        sentinel: Sentinel { system_identifier: Some(system.into()), ..sentinel() },
        uri: "s3://b/x".into(),
        archives: 3,
        stored_bytes: 1 << 20,
        corrupt: corrupt.iter().map(|path| (*path).to_owned()).collect(),
    };
    let server = world(Tool::WalG).server;
    assert_eq!(judge(&seen(&[], "73"), &server), Ok(()));
    assert!(judge(&seen(&[], "99"), &server).unwrap_err().contains("of the server 99"));
    let said = judge(&seen(&["/base/16384/16397", "/base/1/2"], "73"), &server).unwrap_err();
    assert!(said.contains("/base/16384/16397 and 1 other files"), "{said}");
}

#[test]
fn the_log_is_archived_when_the_bucket_and_the_server_say_so() {
    let before = Archiver { failed: 2, ..Archiver::default() };
    let at = |name: &str| Archiver { last_archived: Some(name.into()), failed: 2, ..Archiver::default() };
    let judged =
        |missing: &[String], standby, now: &Archiver| archived(&sentinel(), missing, standby, (&before, now));
    let none: [String; 0] = [];
    for reached in [
        "000000010000000000000004",
        "000000010000000000000004.00000028.backup",
        "000000010000000100000000",
        "000000020000000000000001",
    ] {
        assert_eq!(judged(&none, false, &at(reached)), Archived::All, "{reached}");
    }
    for reached in
        ["000000010000000000000003", "000000010000000000000003.00000028.backup", "00000002.history"]
    {
        assert!(matches!(judged(&none, false, &at(reached)), Archived::Waiting(_)), "{reached}");
    }
    assert!(matches!(judged(&none, false, &before), Archived::Waiting(_)), "nothing yet");
    assert_eq!(judged(&none, true, &before), Archived::All, "a standby's own archiver need not move");
    let missing = ["000000010000000000000004".to_owned()];
    assert!(matches!(judged(&missing, false, &at("000000010000000000000009")), Archived::Waiting(_)));
    let failing =
        |failed| Archiver { failed, failing_since: Some("11:00".into()), ..at("000000010000000000000003") };
    assert!(matches!(judged(&missing, false, &failing(4)), Archived::Waiting(_)), "it tries again");
    assert!(
        matches!(judged(&missing, false, &failing(5)), Archived::Failing(why) if why.contains("3 times"))
    );
}
