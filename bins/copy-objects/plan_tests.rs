//! What is judged, by table.

use std::collections::BTreeMap;

use kit::{Code, Plan as _};
use s3::{Object, Unfinished};
use time::OffsetDateTime;

use crate::plan::{COPY_LIMIT, How, Request, Side, There, Work, World, part_size, plan};
use crate::resume::{Begun, Part, Whose};
use crate::verify::{Contents, attributes, contents};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn facts(bytes: u64) -> Object {
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Object {
        bytes,
        etag: "\"9b2cf535f27731c974343645a3985328\"".into(),
        version: None,
        modified: OffsetDateTime::UNIX_EPOCH,
        crc64nvme: Some("rosUhgp5mIg=".into()),
        headers: pairs(&[("Content-Type", "application/x-tar")]),
        metadata: pairs(&[("jenkins", "2.5")]),
        tags: Some(pairs(&[("keep", "yes")])),
        storage_class: "STANDARD".into(),
        encryption: Some("AES256".into()),
        kms_key: None,
        bucket_key: None,
        archived: None,
    }
}

fn request() -> Request {
    Request {
        replace: false,
        abort_others: false,
        multipart_above: COPY_LIMIT,
        part_size: 64 * MIB,
        kms_key: None,
        through: false,
    }
}

fn world(object: Object) -> World {
    let side =
        |bucket: &str| Side { bucket: bucket.into(), key: "sync/a.tar".into(), region: "us-east-1".into() };
    World {
        now: OffsetDateTime::UNIX_EPOCH,
        source: side("old-jenkins"),
        object,
        destination: side("new-jenkins"),
        there: None,
        unfinished: Vec::new(),
        newest_beside: None,
        chosen: None,
    }
}

fn there(facts: Object, contents: Contents) -> Option<There> {
    Some(There { facts, contents })
}

fn same() -> Contents {
    Contents::Same("CRC-64/NVME of the whole object".into())
}

fn how(request: &Request, world: &World) -> How {
    match plan(request, world).unwrap().work {
        Work::Copy(copy) => copy.how,
        Work::Keep(by) => panic!("kept: {by}"),
    }
}

#[test]
fn five_gibibytes_are_one_call_and_a_byte_more_is_parts() {
    assert_eq!(how(&request(), &world(facts(0))), How::One);
    assert_eq!(how(&request(), &world(facts(5 * GIB))), How::One);
    assert_eq!(
        how(&request(), &world(facts(5 * GIB + 1))),
        How::Parts { bytes: 64 * MIB, count: 81, resume: None }
    );
    let low = Request { multipart_above: 8 * MIB, part_size: 5 * MIB, ..request() };
    assert_eq!(how(&low, &world(facts(12 * MIB))), How::Parts { bytes: 5 * MIB, count: 3, resume: None });
    let high = Request { multipart_above: u64::MAX, ..request() };
    assert_eq!(how(&high, &world(facts(6 * GIB))), How::Parts { bytes: 64 * MIB, count: 96, resume: None });
}

#[test]
fn parts_stay_within_the_limits_of_s3() {
    // At most 10,000 parts of 5 MiB to 5 GiB; objects up to 50 TB.
    for bytes in [1, 64 * MIB, 15 * GIB, 600 * GIB, 5 * TIB, 45 * TIB] {
        let part = part_size(bytes, 64 * MIB);
        assert!((64 * MIB..=5 * GIB).contains(&part), "{bytes}: {part}");
        assert!(bytes.div_ceil(part) <= 9_500, "{bytes}: {part}");
    }
    assert_eq!(part_size(15 * GIB, 64 * MIB), 64 * MIB);
    assert_eq!(part_size(1, 0), 5 * MIB);
}

#[test]
fn a_copy_that_is_there_is_nothing_to_do() {
    let mut world = world(facts(10));
    let mut copy = facts(10);
    copy.etag = "\"other-2\"".into();
    world.there = there(copy, same());
    world.unfinished = vec![upload(Whose::Others), upload(Whose::Unknown)];
    let plan = plan(&request(), &world).unwrap();
    assert_eq!(plan.work, Work::Keep("CRC-64/NVME of the whole object".into()));
    assert!(plan.actions().is_empty());
    assert!(
        plan.unchanged()
            .contains("s3://new-jenkins/sync/a.tar is a copy of s3://old-jenkins/sync/a.tar already")
    );
}

fn upload(whose: Whose) -> Begun {
    Begun {
        upload: Unfinished {
            key: "sync/a.tar".into(),
            id: "u1".into(),
            begun: OffsetDateTime::UNIX_EPOCH,
            by: "arn:aws:iam::123456789012:user/ann".into(),
        },
        whose,
        full_crc64nvme: true,
        storage_class: "STANDARD".into(),
        parts: vec![Part { number: 2, bytes: 5 * MIB, etag: "\"2\"".into(), crc64nvme: Some("c".into()) }],
    }
}

#[test]
fn remains_are_put_away_before_a_copy() {
    let mut world = world(facts(10));
    world.unfinished = vec![upload(Whose::Ours)];
    let ids: Vec<String> =
        plan(&request(), &world).unwrap().actions().into_iter().map(|action| action.id).collect();
    assert_eq!(ids, ["abort-upload-1", "copy"]);
    // Beside a copy that is there, only one's own are put away.
    world.there = there(facts(10), same());
    world.unfinished = vec![upload(Whose::Others), upload(Whose::Ours)];
    let ids: Vec<String> =
        plan(&request(), &world).unwrap().actions().into_iter().map(|action| action.id).collect();
    assert_eq!(ids, ["abort-upload-1"]);
}

#[test]
fn an_upload_of_our_own_is_taken_up_and_somebody_elses_refused() {
    let low = Request { multipart_above: 8 * MIB, part_size: 5 * MIB, ..request() };
    let mut world = world(facts(12 * MIB));
    let mut ours = upload(Whose::Ours);
    ours.upload.id = "u2".into();
    ours.upload.begun += std::time::Duration::from_mins(1);
    world.unfinished = vec![upload(Whose::Ours), ours.clone()];
    let took = plan(&low, &world).unwrap();
    assert_eq!(took.aborts().count(), 1);
    assert!(took.actions()[1].does.contains("taking up the upload"), "{}", took.actions()[1].does);
    let How::Parts { resume: Some(resume), .. } = how(&low, &world) else { panic!("not taken up") };
    assert_eq!(resume.begun, ours.upload.begun);
    world.unfinished = vec![ours, upload(Whose::Others)];
    let failure = plan(&low, &world).unwrap_err();
    assert_eq!(failure.code(), Code::Refused);
    let text = format!("{failure:?}");
    assert!(text.contains("user/ann") && text.contains("--abort-others"), "{text}");
    assert_eq!(plan(&Request { abort_others: true, ..low }, &world).unwrap().aborts().count(), 1);
}

#[test]
fn what_would_lose_data_is_refused() {
    let refused = |request: &Request, world: &World, says: &str| {
        let failure = plan(request, world).unwrap_err();
        assert_eq!(failure.code(), Code::Refused);
        let text = format!("{failure:?}");
        assert!(text.contains(says), "`{says}` is not in {text}");
    };
    let mut itself = world(facts(10));
    itself.destination.bucket = "old-jenkins".into();
    refused(&request(), &itself, "the same object");

    let mut other = world(facts(10));
    other.there = there(facts(9), Contents::Different("10 bytes against 9".into()));
    refused(&request(), &other, "10 bytes against 9");
    refused(&request(), &other, "--replace");

    let mut typed = world(facts(10));
    let mut copy = facts(10);
    copy.headers.insert("Content-Type".into(), "binary/octet-stream".into());
    copy.tags = Some(BTreeMap::new());
    typed.there = there(copy, same());
    refused(&request(), &typed, "Content-Type has another value, tag keep is missing");

    let mut cold = facts(10);
    cold.storage_class = "GLACIER".into();
    cold.archived = Some("GLACIER".into());
    refused(&request(), &world(cold), "restore it first");

    let mut keyed = facts(10);
    keyed.encryption = Some("aws:kms".into());
    keyed.kms_key = Some("arn:aws:kms:us-east-1:1:key/k".into());
    let mut far = world(keyed);
    far.destination.region = "eu-west-1".into();
    refused(&request(), &far, "--kms-key");
    assert!(
        plan(&Request { kms_key: Some("arn:aws:kms:eu-west-1:1:key/k".into()), ..request() }, &far).is_ok()
    );
}

#[test]
fn what_is_replaced_comes_back_only_where_versions_are_kept() {
    let replace = Request { replace: true, ..request() };
    for (version, undo) in [(Some("v1".to_owned()), "is current again"), (None, "is lost")] {
        let mut world = world(facts(10));
        let mut other = facts(9);
        other.version = version;
        world.there = there(other, Contents::Different("10 bytes against 9".into()));
        let shown = serde_json::to_string(&plan(&replace, &world).unwrap().actions()).unwrap();
        assert!(shown.contains(undo), "{shown}");
    }
}

#[test]
fn contents_are_told_by_the_best_that_both_have() {
    let source = facts(10);
    let cases: [(&str, fn(&mut Object), fn(&Contents) -> bool); 7] = [
        ("equal", |_| (), |c| matches!(c, Contents::Same(by) if by.starts_with("CRC-64/NVME"))),
        ("parts differ, sum equal", |f| f.etag = "\"x-3\"".into(), |c| matches!(c, Contents::Same(_))),
        ("size", |f| f.bytes = 11, |c| *c == Contents::Different("10 bytes against 11".into())),
        ("sum", |f| f.crc64nvme = Some("AAAAAAAAAAA=".into()), |c| matches!(c, Contents::Different(_))),
        ("MD5", |f| f.crc64nvme = None, |c| *c == Contents::Same("MD5".into())),
        (
            "in parts, no sum",
            |f| {
                f.crc64nvme = None;
                f.etag = "\"x-3\"".into();
            },
            |c| *c == Contents::Unknown,
        ),
        (
            "under KMS the ETag is no MD5",
            |f| {
                f.crc64nvme = None;
                f.encryption = Some("aws:kms".into());
            },
            |c| *c == Contents::Unknown,
        ),
    ];
    for (name, change, expected) in cases {
        let mut copy = facts(10);
        change(&mut copy);
        let judged = contents(&source, &copy);
        assert!(expected(&judged), "{name}: {judged:?}");
    }
}

#[test]
fn attributes_are_compared_by_name_and_values_are_not_shown() {
    let Work::Copy(copy) = plan(&request(), &world(facts(10))).unwrap().work else { panic!("no copy") };
    assert!(attributes(&copy.wanted, &facts(10)).is_empty());
    let mut other = facts(10);
    other.metadata = BTreeMap::from([("jenkins".into(), "secret".into()), ("new".into(), "x".into())]);
    other.storage_class = "STANDARD_IA".into();
    // A bucket whose default is stronger than the source's encryption is as good.
    other.encryption = Some("aws:kms".into());
    assert_eq!(
        attributes(&copy.wanted, &other),
        [
            "metadata jenkins has another value",
            "metadata new is only on the copy",
            "storage class STANDARD_IA instead of STANDARD"
        ]
    );
}

#[test]
fn a_key_is_the_same_by_id_or_arn() {
    let arn = "arn:aws:kms:us-east-1:123456789012:key/1234abcd";
    for (wanted, differs) in [(arn, false), ("1234abcd", false), ("alias/backups", false), ("5678", true)] {
        let request = Request { kms_key: Some(wanted.into()), ..request() };
        let Work::Copy(copy) = plan(&request, &world(facts(10))).unwrap().work else { panic!("no copy") };
        let mut under = facts(10);
        under.encryption = Some("aws:kms".into());
        under.kms_key = Some(arn.into());
        assert_eq!(!attributes(&copy.wanted, &under).is_empty(), differs, "{wanted}");
        assert_eq!(attributes(&copy.wanted, &facts(10)), ["encryption AES256 instead of aws:kms"]);
    }
}
