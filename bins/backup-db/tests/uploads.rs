//! A child's output into an object, whatever goes wrong.

use kit::Code;
use testkit::front::{Effect, Fault, When};

use super::{World, said};

#[tokio::test]
async fn a_dump_that_dies_half_way_leaves_no_object_and_no_parts() {
    let world = World::new().await;
    let half = "head -c 300000 /dev/zero";
    for (end, why) in [
        ("kill -9 $$", "was killed by signal 9"),
        ("echo 'connection to server was lost' >&2; exit 1", "exit code 1: connection to server was lost"),
    ] {
        let failure = world.upload(&world.cx(), &format!("{half}; {end}")).await.unwrap_err();
        assert!(said(&failure).contains(why), "{}", said(&failure));
        assert!(world.writes().contains(&"AbortMultipartUpload".to_owned()));
        world.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_dump_that_dies_in_its_first_part_makes_no_writing_call() {
    let world = World::new().await;
    let failure = world.upload(&world.cx(), "echo PGDMP; exit 3").await.unwrap_err();
    assert!(said(&failure).contains("exit code 3"), "{}", said(&failure));
    let empty = world.upload(&world.cx(), "exit 0").await.unwrap_err();
    assert!(said(&empty).contains("printed nothing"), "{}", said(&empty));
    assert_eq!(world.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn many_parts_come_out_in_order_although_calls_fail_on_the_way() {
    let world = World::new().await;
    world.front.set_faults([
        Fault::error("s3:CreateMultipartUpload#1", 503, "SlowDown", "Please reduce your request rate.")
            .after_effect(),
        Fault::error("s3:UploadPart#2", 500, "InternalError", "We encountered an internal error."),
        Fault::new("s3:UploadPart#5", Effect::Reset),
        Fault::new("s3:CompleteMultipartUpload#1", Effect::Reset).after_effect(),
    ]);
    let committed = world.upload(&world.cx(), "seq 1 100000").await.unwrap();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(world.store.text("x.dump").await.unwrap(), expected.as_bytes());
    assert_eq!(committed.sum.bytes, expected.len() as u64);
    assert_eq!(world.store.unfinished("").await.unwrap(), []);
}

#[tokio::test]
async fn a_cancelled_upload_is_put_away() {
    let world = World::new().await;
    let cx = world.cx();
    let hold = world.front.hold("s3:UploadPart#2", When::BeforeForward);
    let script = "head -c 1000000 /dev/zero; exec sleep 600";
    let (failure, ()) = tokio::join!(world.upload(&cx, script), async {
        hold.arrived().await;
        cx.cancel(Code::Terminated);
        drop(hold);
    });
    assert_eq!(failure.unwrap_err().code(), Code::Terminated);
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn an_object_that_appears_meanwhile_is_not_written_over() {
    let world = World::new().await;
    let hold = world.front.hold("s3:CompleteMultipartUpload", When::BeforeForward);
    let cx = world.cx();
    let (failure, ()) = tokio::join!(world.upload(&cx, "seq 1 100000"), async {
        hold.arrived().await;
        world.store.put("x.dump", "other", "text/plain", b"theirs".into()).await.unwrap();
        hold.release();
    });
    assert!(said(&failure.unwrap_err()).contains("another run"), "the other's object wins");
    assert_eq!(world.store.text("x.dump").await.unwrap(), b"theirs");
    assert_eq!(world.store.unfinished("").await.unwrap(), []);
}
