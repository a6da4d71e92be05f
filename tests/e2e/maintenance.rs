//! `maintenance-toggle` as its users run it: a zone of the emulator, a DNS server that answers from it, real web servers.
//!
//! The record and its TTL of 300 are those of `BossDB`'s entry (runbook steps B4 and B32); its service and its page stand here
//! as two servers on loopback.

mod listener;
mod moved;
pub(crate) mod stage;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use testkit::front::{Fault, When};

use self::stage::{Stage, create_zone, outputs, record};
use crate::world::{Ran, own, run};

const CHANGE: &str = "route53:ChangeResourceRecordSets";

#[tokio::test]
async fn on_and_off_again_leave_the_zone_byte_for_byte_as_it_was() {
    let stage = Stage::late(Duration::from_millis(300)).await;
    let before = stage.records().await;
    let on = stage.on(&["--release", "sprint43"]).await.expect(0).says(&[
        "CNAME live.test. (TTL 300) becomes CNAME page.test. (TTL 60)",
        "caches may keep the old answer for up to 300 s",
        "the zone's name servers answer as they should (1 of 1)",
        "the resolvers answer as they should (1 of 1)",
    ]);
    let told = outputs(&on);
    assert_eq!((&told["state"], &told["release"]), (&json!("on"), &json!("sprint43")));
    assert_eq!(told["saved"], "CNAME live.test. (TTL 300)");
    assert_eq!(stage.world.writes(), [CHANGE]);

    // Again: nothing is written.
    stage.world.front.forget();
    let again = stage.on(&["--release", "sprint43"]).await.expect(0);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
    let status = stage.toggle("status", &["--release", "who-asks"]).await.expect(0);
    assert_eq!(
        (&outputs(&status)["state"], &outputs(&status)["release"]),
        (&json!("on"), &json!("sprint43"))
    );

    // From another folder, as another job would.
    let off = stage.off(&["--release", "sprint43", "--live-contains", "2.1.0"]).await.expect(0);
    assert_eq!(outputs(&off)["record"], "CNAME live.test. (TTL 300)");
    assert_eq!(stage.records().await, before);
    stage.world.front.forget();
    let again = stage.off(&["--release", "sprint43", "--to-name", "page.test"]).await.expect(0);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
    let status = stage.toggle("status", &[]).await.expect(0);
    assert_eq!(outputs(&status)["state"], "off");
}

#[tokio::test]
async fn an_alias_gives_way_to_one_to_the_distribution_and_comes_back_whole() {
    let stage = Stage::empty().await;
    let distribution = distribution(&stage.name, true).await;
    let alias = format!(
        "<ResourceRecordSet><Name>{}.</Name><Type>A</Type><SetIdentifier>blue</SetIdentifier><Weight>7</Weight><AliasTarget>\
         <HostedZoneId>Z35SXDOTRQ7X7K</HostedZoneId><DNSName>live.test.</DNSName>\
         <EvaluateTargetHealth>true</EvaluateTargetHealth></AliasTarget></ResourceRecordSet>",
        stage.name
    );
    stage.create(&alias).await;
    let before = stage.records().await;
    let on = stage.toggle("on", &["--to-distribution", "by-name", "--no-fetch", "--dry-run"]).await.expect(0);
    on.says(&["A alias of live.test [blue, weight 7] becomes A alias of", &distribution]);
    assert_eq!(stage.records().await, before);
    // Its addresses are not known to the resolvers of this test: DNS alone can't prove it, and says what it waits for.
    let late = stage
        .toggle("on", &["--to-distribution", "by-name", "--no-fetch", "--timeout", "3s"])
        .await
        .expect(6);
    late.says(&["no such record", "the change is made"]);
    assert_ne!(stage.records().await, before);
    stage.off(&[]).await.expect(0);
    assert_eq!(stage.records().await, before);
}

#[tokio::test]
async fn two_releases_do_not_fight_over_the_page() {
    let stage = Stage::start().await;
    stage.on(&["--release", "first"]).await.expect(0);
    let held = stage.records().await;
    stage.world.front.forget();
    for (action, more) in [("on", &["--to-name", "page.test"][..]), ("off", &[])] {
        let args = [more, &["--release", "second"]].concat();
        stage.toggle(action, &args).await.expect(3).says(&[
            "first, since",
            "--release 'first'",
            "nothing was changed",
        ]);
    }
    assert_eq!(stage.world.writes(), [""; 0]);
    assert_eq!(stage.records().await, held);
    stage.off(&["--release", "first"]).await.expect(0);

    // Over its time, another one may: what was saved stays.
    stage.on(&["--release", "first", "--expires", "1s"]).await.expect(0);
    stage.world.front.forget();
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let taken = stage.on(&["--release", "second"]).await;
            if taken.code == 0 {
                taken.says(&["taken over from a release whose time was over: first"]);
                return;
            }
        }
    })
    .await
    .expect("the time is over at some point");
    let status = outputs(&stage.toggle("status", &[]).await.expect(0));
    assert_eq!(
        (&status["release"], &status["saved"]),
        (&json!("second"), &json!("CNAME live.test. (TTL 300)"))
    );
}

#[tokio::test]
async fn at_the_same_moment_one_gets_the_page() {
    let stage = Stage::start().await;
    let hold = stage.world.front.hold(CHANGE, When::BeforeForward);
    let first = stage.on(&["--release", "first"]);
    let second = async {
        hold.arrived().await;
        // The hold is for the first call alone.
        let ran = stage.on(&["--release", "second"]).await;
        hold.release();
        ran
    };
    let (first, second) = tokio::join!(first, second);
    second.expect(0);
    first.expect(7).says(&["somebody has changed it meanwhile", "nothing was changed"]);
    assert_eq!(outputs(&stage.toggle("status", &[]).await)["release"], "second");
}

#[tokio::test]
async fn a_foreign_change_is_refused_with_both_values() {
    let stage = Stage::start().await;
    stage.on(&[]).await.expect(0);
    stage.delete(&stage.cname("page.test.", 60)).await;
    stage.create(&stage.cname("elsewhere.test.", 300)).await;
    let there = stage.records().await;
    stage.world.front.forget();
    for (action, more) in [("on", &["--to-name", "page.test"][..]), ("off", &[])] {
        stage.toggle(action, more).await.expect(3).says(&[
            "it is now CNAME elsewhere.test.",
            "the page is CNAME page.test.",
            "before it there was CNAME live.test.",
        ]);
    }
    assert_eq!(outputs(&stage.toggle("status", &[]).await.expect(0))["state"], "foreign");
    assert_eq!(stage.world.writes(), [""; 0]);
    assert_eq!(stage.records().await, there);
    stage.off(&["--leave-record"]).await.expect(0);
    let left = stage.records().await;
    assert!(left.contains("elsewhere.test.") && !left.contains("_cutover"), "{left}");
}

#[tokio::test]
async fn off_without_a_saved_state_is_refused() {
    let stage = Stage::start().await;
    stage.off(&[]).await.expect(3).says(&["nothing is saved", "CNAME live.test."]);
    // Somebody switched it by hand.
    stage.delete(&stage.cname("live.test.", 300)).await;
    stage.create(&stage.cname("page.test.", 300)).await;
    stage.off(&["--to-name", "page.test"]).await.expect(3).says(&["what it was before is not known"]);
    stage.on(&[]).await.expect(3).says(&["leads there already"]);
    assert_eq!(stage.world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_page_that_is_not_served_is_found_before_anybody_is_led_there() {
    let stage = Stage::start().await;
    stage.toggle("on", &["--to-name", "live.test"]).await.expect(3).says(&["leads there already"]);
    let other = ["--to-name", "page.test", "--page-status", "200"];
    stage.toggle("on", &other).await.expect(3).says(&["the page is not served there", "503"]);
    stage.toggle("on", &["--to-name", "nowhere.test"]).await.expect(3).says(&["has no address"]);
    assert_eq!(stage.world.writes(), [""; 0]);
}

#[tokio::test]
async fn killed_at_any_call_the_next_run_ends_right() {
    for action in ["on", "off"] {
        let stage = Stage::start().await;
        let before = stage.records().await;
        if action == "off" {
            stage.on(&[]).await.expect(0);
        }
        stage.world.front.forget();
        let more = ["--to-name", "page.test"];
        stage.toggle(action, &more).await.expect(0);
        let calls: Vec<String> = stage.world.front.calls().iter().map(testkit::front::Call::name).collect();
        let wanted = stage.records().await;
        let reset = async || {
            stage.toggle("off", &more).await.expect(0);
            assert_eq!(stage.records().await, before);
            if action == "off" {
                stage.on(&[]).await.expect(0);
            }
        };
        // Reading twice is no other state than reading once; a change is in doubt until its answer is there.
        let points: BTreeSet<(&String, bool)> =
            calls.iter().flat_map(|call| [(call, false), (call, call == CHANGE)]).collect();
        for (call, after) in points {
            let when = if after { When::AfterEffect } else { When::BeforeForward };
            reset().await;
            let at = format!("{call}#1");
            stage.world.front.forget();
            let hold = stage.world.front.hold(at.as_str(), when);
            let mut command = stage.command(action, &more);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            hold.arrived().await;
            child.kill().await.unwrap();
            drop(hold);
            stage.toggle(action, &more).await.expect(0);
            assert_eq!(without_times(&stage.records().await), without_times(&wanted), "{action}: {at}");
        }
    }
}

/// The saved state names when it was made.
fn without_times(records: &str) -> String {
    let mut words: Vec<&str> = records.split(' ').collect();
    words.retain(|word| !word.starts_with("since=") && !word.starts_with("until="));
    words.join(" ")
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_throttling_waited_out() {
    let stage = Stage::start().await;
    stage.world.front.set_faults([Fault::error(CHANGE, 500, "InternalError", "").after_effect()]);
    stage.on(&[]).await.expect(0);
    stage
        .world
        .front
        .set_faults([Fault::throttle(CHANGE).times(2), Fault::throttle("route53:GetChange").times(2)]);
    stage.off(&[]).await.expect(0);
    stage.world.front.set_faults([Fault::access_denied(CHANGE)]);
    stage.on(&[]).await.expect(1).says(&["allow `route53:ChangeResourceRecordSets`", "nothing was changed"]);
}

/// Neither takes what comes a moment later for nothing, nor says that nothing was changed where that is not known.
#[tokio::test]
async fn a_change_without_an_answer_that_is_seen_late_is_not_taken_for_none() {
    let stage = Stage::start().await;
    let before = stage.records().await;
    let receipt = stage.world.path("on.json").to_str().unwrap().to_owned();
    let lost = || Fault::error(CHANGE, 500, "InternalError", "").after_effect();
    stage.world.front.set_faults([lost(), Fault::lag(CHANGE, 0)]);
    stage.on(&[]).await.expect(0);
    assert_eq!(stage.world.writes(), [CHANGE]);
    stage.world.front.set_faults([]);
    stage.off(&[]).await.expect(0);

    // Not seen in any look, and then the second try is refused.
    let denied = Fault::access_denied(&*format!("{CHANGE}#2"));
    let late = Fault::lag(&*format!("{CHANGE}#1"), 60_000);
    stage.world.front.forget();
    stage.world.front.set_faults([
        Fault::error(&*format!("{CHANGE}#1"), 500, "InternalError", "").after_effect(),
        late,
        denied,
    ]);
    let ran = stage.on(&["--receipt", &receipt]).await.expect(4);
    assert!(!ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    ran.says(&["whether the record of", "is not known"]);
    stage.world.front.set_faults([]);
    assert_ne!(stage.records().await, before);
    stage.on(&["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.records().await, before);
}

#[tokio::test]
async fn undo_puts_back_what_was_there_before_that_run() {
    let stage = Stage::start().await;
    let before = stage.records().await;
    let receipt = |name: &str| stage.world.path(name).to_str().unwrap().to_owned();
    stage.on(&["--receipt", &receipt("on.json")]).await.expect(0);
    let on = stage.records().await;
    stage.off(&["--receipt", &receipt("off.json")]).await.expect(0);
    // Seen by whoever asks, as after `on` and `off`.
    let seen = [
        "the zone's name servers answer as they should (1 of 1)",
        "the resolvers answer as they should (1 of 1)",
    ];
    stage.off(&["--undo", &receipt("off.json")]).await.expect(0).says(&seen);
    assert_eq!(stage.records().await, on);
    stage.on(&["--undo", &receipt("on.json")]).await.expect(0).says(&seen);
    assert_eq!(stage.records().await, before);
    stage.world.front.forget();
    let again = stage.on(&["--undo", &receipt("on.json")]).await.expect(0);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
    // Neither what it left nor what it found.
    stage.on(&["--receipt", &receipt("third.json")]).await.expect(0);
    stage.delete(&stage.cname("page.test.", 60)).await;
    stage.create(&stage.cname("elsewhere.test.", 300)).await;
    stage
        .on(&["--undo", &receipt("third.json")])
        .await
        .expect(3)
        .says(&["neither what that run left nor what it found"]);
}

#[tokio::test]
async fn a_dns_server_that_stays_behind_ends_at_the_deadline_and_a_silent_one_is_left_out() {
    let stage = Stage::late(Duration::from_hours(1)).await;
    let late = stage.on(&["--timeout", "4s"]).await.expect(6);
    late.says(&["CNAME live.test, for another 300 s at most", "the change is made"]);
    // The port is bound and nobody answers there.
    let stage = Stage::start().await;
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    stage.on(&["--resolver", &silent]).await.expect(0).says(&[&format!("{silent} is left out")]);
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_and_nothing_is_written() {
    let stage = Stage::start().await;
    let apart = own("apart");
    let double = create_zone(&format!("{apart}.test")).await;
    let other = create_zone(&format!("{apart}.test")).await;
    let case = async |args: &[&str]| -> Ran {
        let mut all = vec!["maintenance-toggle"];
        all.extend(args);
        run(stage.world.command(&all)).await
    };
    let (name, zone) = (stage.name.as_str(), stage.zone.as_str());
    let page = ["--to-name", "page.test", "--page-contains", "x"];
    let on = |name: &'static str, zone: &'static str| {
        [&["--action", "on", "--name", name, "--zone", zone][..], &page].concat()
    };
    case(&on("api", "example.org")).await.expect(2).says(&["whole host name"]);
    case(&on("api.example.org", "example.org"))
        .await
        .expect(3)
        .says(&["has none of that name", "check --zone"]);
    case(&on("api.example.org", "ZNOSUCHZONE")).await.expect(1).says(&["ZNOSUCHZONE"]);
    let ours = ["--action", "on", "--name", "api.example.org", "--zone", zone];
    case(&[&ours[..], &page].concat()).await.expect(3).says(&["does not end in the zone's"]);
    let private = ["--action", "on", "--name", name, "--zone", zone, "--private-zone"];
    case(&[&private[..], &page].concat())
        .await
        .expect(3)
        .says(&["no private one of that name", "leave --private-zone out"]);
    let nothing = ["--action", "on", "--name", name, "--zone", zone];
    case(&nothing).await.expect(2).says(&["--to-distribution"]);
    case(&[&nothing[..], &page[..2]].concat()).await.expect(2).says(&["--page-contains"]);
    case(&[&nothing[..], &page, &["--to-distribution", "E1"]].concat()).await.expect(2);
    case(&[&nothing[..], &page, &["--url", "https://other.test/"]].concat())
        .await
        .expect(2)
        .says(&["its host is not"]);
    let gone =
        ["--action", "on", "--name", name, "--zone", zone, "--page-contains", "x", "--to-distribution", "E1"];
    case(&gone).await.expect(3).says(&["distributions of this account", "--to-distribution ID"]);
    let none = format!("none.{zone}");
    let none = ["--action", "on", "--name", &none, "--zone", zone];
    case(&[&none[..], &page].concat()).await.expect(3).says(&["no address or CNAME record"]);
    let (apart_name, apart_zone) = (format!("api.{apart}.test"), format!("{apart}.test"));
    let two = ["--action", "on", "--name", &apart_name, "--zone", &apart_zone];
    case(&[&two[..], &page].concat()).await.expect(3).says(&["there are 2 public ones", &double, &other]);
    stage.create(&record(&format!("_cutover.{name}"), "TXT", 300, "&quot;hands off&quot;")).await;
    stage.on(&[]).await.expect(3).says(&["this project did not write it", "hands off"]);
    assert_eq!(stage.world.writes(), [""; 0]);
}

/// Makes a distribution with this alias and returns its domain name.
async fn distribution(alias: &str, enabled: bool) -> String {
    let body = format!(
        "<DistributionConfig xmlns=\"http://cloudfront.amazonaws.com/doc/2020-05-31/\"><CallerReference>{}</CallerReference>\
         <Aliases><Quantity>1</Quantity><Items><CNAME>{alias}</CNAME></Items></Aliases><Comment></Comment>\
         <Enabled>{enabled}</Enabled><Origins><Quantity>1</Quantity><Items><Origin><Id>page</Id>\
         <DomainName>pages.s3.amazonaws.com</DomainName></Origin></Items></Origins><DefaultCacheBehavior>\
         <TargetOriginId>page</TargetOriginId><ViewerProtocolPolicy>allow-all</ViewerProtocolPolicy></DefaultCacheBehavior>\
         </DistributionConfig>",
        own("distribution")
    );
    let emulator = crate::world::shared_emulator().await;
    let path = "/2020-05-31/distribution";
    let (status, answer) =
        emulator.rest("cloudfront", reqwest::Method::POST, path, body.into_bytes()).await.unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert_eq!(status, 201, "{text}");
    text.split("<DomainName>").nth(1).and_then(|rest| rest.split('<').next()).expect("a name").to_owned()
}
