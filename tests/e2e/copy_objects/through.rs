//! Through this process, with two credential sets.

use std::fs;

use testkit::front::{Fault, When};

use super::stage::{Stage, twelve};
use crate::world::run;

#[tokio::test]
async fn the_source_is_read_with_its_own_credentials_and_all_is_carried_over() {
    let stage = Stage::start().await;
    let headers =
        [("content-type", "application/x-tar"), ("x-amz-meta-jenkins", "2.5"), ("x-amz-tagging", "keep=yes")];
    stage.put("small.tar", &headers, "the whole of Jenkins").await;
    stage.put("big.tar", &headers[..2], twelve()).await;
    fs::create_dir(stage.path(".aws")).unwrap();
    let profile = "[profile other]\naws_access_key_id = THEIRKEY\naws_secret_access_key = x\n";
    fs::write(stage.path(".aws/config"), profile).unwrap();
    for key in ["small.tar", "big.tar"] {
        stage
            .copy(key, &["--through", "--source-profile", "other"])
            .await
            .expect(0)
            .says(&["through this process"]);
        let there = stage.send("HEAD", &format!("{}/{key}", stage.new), &[], Vec::new()).await;
        for (name, value) in &headers[..2] {
            assert_eq!(there.headers().get(*name).unwrap(), value);
        }
    }
    assert_eq!(stage.copy_of("big.tar").await.unwrap(), twelve());
    let by = |operation: &str| {
        let signed = stage.spy.sent(operation, "authorization");
        (signed.iter().filter(|by| by.contains("THEIRKEY")).count(), signed.len())
    };
    assert_eq!(by("PutObject").0, 0);
    assert_eq!(by("UploadPart"), (0, 3));
    assert!(by("GetObject").0 >= 2, "{:?}", by("GetObject"));
    assert!(stage.spy.sent("GetObject", "if-match").iter().all(|pin| pin.len() >= 34));
    stage.front.forget();
    stage.copy("small.tar", &["--through"]).await.expect(0);
    assert_eq!(stage.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_is_replaced_while_it_is_read_is_not_copied() {
    let stage = Stage::start().await;
    stage.put("big.tar", &[], twelve()).await;
    let hold = stage.front.hold("s3:GetObject", When::BeforeForward);
    let copy = stage.copy("big.tar", &["--through"]);
    let replace = async {
        hold.arrived().await;
        stage.put("big.tar", &[], "other").await;
        hold.release();
    };
    let (ran, ()) = tokio::join!(copy, replace);
    assert!([1, 7].contains(&ran.code), "{ran:?}");
    assert_eq!(stage.copy_of("big.tar").await, None);
    assert_eq!(stage.unfinished().await, 0);
}

#[tokio::test]
async fn a_tree_goes_through_this_process_too() {
    let stage = Stage::start().await;
    stage.put("tree/a", &[("x-amz-meta-team", "rally")], "a").await;
    stage.put("tree/big", &[], twelve()).await;
    let (from, to) = (stage.from("tree/"), stage.to("kept/"));
    let args = ["--from", &*from, "--to", &to, "--tree", "--through"];
    run(stage.command(&args)).await.expect(0);
    assert_eq!(stage.copy_of("kept/big").await.unwrap(), twelve());
    assert!(stage.spy.sent("CopyObject", "x").is_empty());
    stage.front.set_faults([Fault::error("s3:GetObject", 403, "AccessDenied", "Access Denied")]);
    stage.put("tree/c", &[], "c").await;
    run(stage.command(&args)).await.expect(1).says(&["s3:GetObject", "nothing was changed"]);
    run(stage.command(&["--from", &from, "--to", &to, "--tree", "--source-profile", "x"]))
        .await
        .expect(2)
        .says(&["--through"]);
}
