//! `mute-alerts` and `toggle-schedule` as their users run them, against the emulator.
//!
//! The topic, the addresses and the rule are those of BossDB's release (runbook steps B11, B34 and B35).

pub(crate) mod stage;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::front::{Fault, When};

use self::stage::{POLICY, Stage, outputs, without_times};
use crate::world::{own, run};

const SET: &str = "sns:SetSubscriptionAttributes";
const KEEP: [&str; 2] = ["--keep", "operator@example.org"];

#[tokio::test]
async fn on_and_off_again_leave_topic_and_alarms_byte_for_byte_as_they_were() {
    let stage = Stage::start().await;
    let before = stage.state().await;
    let dry = stage.mute("on", &[&KEEP[..], &["--dry-run"]].concat()).await.expect(0);
    dry.says(&[
        "silence email a…@example.org",
        "disable the actions of the alarm",
        "up to 15 minutes",
        "dropped, never delivered later",
        "is not confirmed yet",
        "were disabled by somebody else, and stay so",
    ]);
    assert_eq!(stage.world.writes(), [""; 0]);
    let on = stage.mute("on", &KEEP).await.expect(0);
    assert!(!format!("{on:?}").contains("anna@"), "no address in full: {on:?}");
    let headline = "silenced: 2 of 3 subscriptions (1 more not confirmed yet), 2 of 3 alarms";
    assert_eq!(on.json()["headline"], headline);
    let told = outputs(&on);
    assert_eq!(
        (&told["state"], &told["silenced"], &told["open"], &told["pending"], &told["alarms-silenced"]),
        (&json!("part"), &json!("2"), &json!("1"), &json!("1"), &json!("2"))
    );
    assert!(stage.policy("ben@example.org").await.unwrap().starts_with(r#"{"cutover-muted":["#));
    assert_eq!(stage.policy("operator@example.org").await, None);

    stage.world.front.forget();
    let again = stage.mute("on", &KEEP).await.expect(0);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
    let status = stage.mute("status", &[]).await.expect(0);
    assert_eq!(outputs(&status)["state"], "part");

    // Without the receipt, as another job would.
    let off = stage.mute("off", &[]).await.expect(0);
    assert_eq!(outputs(&off)["state"], "off");
    assert_eq!(stage.policy("ben@example.org").await.as_deref(), Some(POLICY));
    assert_eq!(stage.state().await, before);
    stage.world.front.forget();
    assert_eq!(stage.mute("off", &[]).await.expect(0).json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
    assert!(stage.world.front.unmatched().is_empty(), "{:?}", stage.world.front.unmatched());
}

#[tokio::test]
async fn a_subscription_that_came_or_went_meanwhile_is_no_error() {
    let stage = Stage::start().await;
    stage.mute("on", &KEEP).await.expect(0);
    stage.subscribe("email", "late@example.org").await;
    stage.mute("on", &KEEP).await.expect(0).says(&["silence email l…@example.org"]);
    let gone = stage.subscription("anna@example.org").await;
    stage.sns(&[("Action", "Unsubscribe"), ("SubscriptionArn", &gone)]).await;
    stage.mute("off", &[]).await.expect(0);
    assert_eq!(stage.policy("late@example.org").await, None);
    assert_eq!(stage.policy("ben@example.org").await.as_deref(), Some(POLICY));
}

#[tokio::test]
async fn a_muting_policy_that_somebody_changed_is_refused_with_both_values() {
    let stage = Stage::start().await;
    stage.mute("on", &KEEP).await.expect(0);
    let ben = stage.subscription("ben@example.org").await;
    let muting = stage.policy("ben@example.org").await.unwrap();
    stage.set(&ben, "FilterPolicyScope", "MessageAttributes").await;
    stage.world.front.forget();
    for action in ["off"] {
        stage.mute(action, &[]).await.expect(3).says(&[
            "its scope is now MessageAttributes, and was MessageBody",
            POLICY,
            "nothing was changed",
        ]);
    }
    stage.set(&ben, "FilterPolicyScope", "MessageBody").await;
    stage.set(&ben, "FilterPolicy", &muting.replacen('{', r#"{"store":["x"],"#, 1)).await;
    for action in ["on", "off"] {
        stage.mute(action, &[]).await.expect(3).says(&["other keys were added to it", r#""store":["x"]"#]);
    }
    assert_eq!(stage.world.writes(), [""; 0]);
    stage.mute("off", &["--keep", "ben@example.org"]).await.expect(0);
    assert_eq!(stage.policy("anna@example.org").await, None);
    assert!(stage.policy("ben@example.org").await.unwrap().contains("store"));
}

#[tokio::test]
async fn mute_killed_at_any_call_the_next_run_ends_right() {
    for action in ["on", "off"] {
        let stage = Stage::start().await;
        let prefix = format!("{}-", stage.name);
        let what = ["--topic", &stage.name, "--alarm-prefix", &prefix];
        let before = stage.state().await;
        if action == "off" {
            stage.mute("on", &[]).await.expect(0);
        }
        stage.world.front.forget();
        stage.mute(action, &[]).await.expect(0);
        let points = Stage::points(&stage.world.front.calls(), &stage.world.front.writes());
        let wanted = stage.state().await;
        assert!(points.len() > 12, "{points:?}");
        for (at, after) in points {
            stage.mute("off", &[]).await.expect(0);
            assert_eq!(stage.state().await, before);
            if action == "off" {
                stage.mute("on", &[]).await.expect(0);
            }
            let when = if after { When::AfterEffect } else { When::BeforeForward };
            stage.killed(stage.command("mute-alerts", action, &what), &at, when).await;
            stage.mute(action, &[]).await.expect(0);
            assert_eq!(without_times(&stage.state().await), without_times(&wanted), "{action}: {at} {after}");
            // What was cut off can be put back at once, too.
            if action == "on" && after {
                stage.mute("off", &[]).await.expect(0);
                stage.killed(stage.command("mute-alerts", action, &what), &at, when).await;
                stage.mute("off", &[]).await.expect(0);
                assert_eq!(stage.state().await, before, "{at}");
            }
        }
    }
}

#[tokio::test]
async fn undo_of_mute_puts_back_what_was_there_before_that_run() {
    let stage = Stage::start().await;
    let before = stage.state().await;
    let receipt = |name: &str| stage.world.path(name).to_str().unwrap().to_owned();
    stage.mute("on", &["--receipt", &receipt("on.json")]).await.expect(0);
    let on = stage.state().await;
    assert!(!std::fs::read_to_string(receipt("on.json")).unwrap().contains("anna@"));
    stage.mute("off", &["--receipt", &receipt("off.json")]).await.expect(0);
    stage.mute("off", &["--undo", &receipt("off.json")]).await.expect(0);
    assert_eq!(stage.state().await, on);
    stage.mute("on", &["--undo", &receipt("on.json")]).await.expect(0);
    assert_eq!(stage.state().await, before);
    stage.world.front.forget();
    let again = stage.mute("on", &["--undo", &receipt("on.json")]).await.expect(0);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);

    // Neither what it left nor what it found: a stack's update has replaced the policy whole. `off` leaves that one.
    stage.mute("on", &["--receipt", &receipt("third.json")]).await.expect(0);
    let ben = stage.subscription("ben@example.org").await;
    stage.set(&ben, "FilterPolicy", r#"{"store":["x"]}"#).await;
    stage.world.front.forget();
    stage.mute("on", &["--undo", &receipt("third.json")]).await.expect(3).says(&[
        r#"it has the policy {"store":["x"]}"#,
        POLICY,
        "nothing was changed",
    ]);
    assert_eq!(stage.world.writes(), [""; 0]);
    stage
        .mute("off", &[])
        .await
        .expect(0)
        .says(&[r#"is not silenced, and keeps its policy {"store":["x"]}"#]);
    assert_eq!(stage.policy("ben@example.org").await.as_deref(), Some(r#"{"store":["x"]}"#));
}

#[tokio::test]
async fn what_a_user_of_mute_gets_wrong_is_said_and_nothing_is_written() {
    let stage = Stage::start().await;
    let case = async |args: &[&str]| {
        let mut all = vec!["mute-alerts"];
        all.extend(args);
        stage.world.cutover(&all).await
    };
    case(&["--action", "on"]).await.expect(2).says(&["neither a topic nor an alarm", "--topic"]);
    case(&["--action", "on", "--alarm", "x", "--keep", "y"]).await.expect(2).says(&["without --topic"]);
    let wrong = format!("{}x", stage.name);
    case(&["--action", "on", "--topic", &wrong])
        .await
        .expect(3)
        .says(&["has that name", &format!("did you mean {}", stage.name)]);
    let far = stage.topic.replace("us-east-1", "eu-west-1");
    case(&["--action", "on", "--topic", &far]).await.expect(3).says(&["it is in eu-west-1"]);
    case(&["--action", "on", "--topic", "arn:aws:sqs:us-east-1:1:q"])
        .await
        .expect(2)
        .says(&["not the ARN of a topic"]);
    let gone = format!("{}-gone", stage.topic);
    case(&["--action", "on", "--topic", &gone]).await.expect(1).says(&["NotFound", "check --topic"]);
    stage
        .mute("on", &["--keep", "oprator@example.org"])
        .await
        .expect(3)
        .says(&["no subscription has that address", "o…@example.org"]);
    case(&["--action", "on", "--alarm", "no-such-alarm"])
        .await
        .expect(3)
        .says(&["no-such-alarm", "the case matters"]);
    let none = own("none");
    case(&["--action", "on", "--alarm-prefix", &none]).await.expect(3).says(&[&none, "begins so"]);
    // Off with a prefix that is mistyped would leave what it means silent, with an exit of 0.
    case(&["--action", "off", "--alarm-prefix", &none]).await.expect(3).says(&[&none, "the case matters"]);
    case(&["--action", "off", "--topic", &stage.name, "--alarm-prefix", &none])
        .await
        .expect(0)
        .says(&[&format!("there is no alarm {none}*")]);
    let mut bare = stage.command("mute-alerts", "status", &["--topic", &stage.name]);
    run({
        bare.env_remove("AWS_REGION");
        bare
    })
    .await
    .expect(3)
    .says(&["--region"]);
    assert_eq!(stage.world.writes(), [""; 0]);

    stage.world.front.set_faults([Fault::error(SET, 403, "AuthorizationError", "not authorized")]);
    stage
        .mute("on", &[])
        .await
        .expect(1)
        .says(&["allow `sns:SetSubscriptionAttributes`", "nothing was changed"]);
    // The second is denied: the first is done, and running again goes on.
    stage.world.front.set_faults([Fault::error(
        "sns:SetSubscriptionAttributes#2",
        403,
        "AuthorizationError",
        "no",
    )]);
    stage.mute("on", &[]).await.expect(4).says(&["done: silence email a…", "not done: silence email o…"]);
    // A lost answer, and throttling.
    stage.world.front.set_faults([
        Fault::error("sns:SetSubscriptionAttributes#1", 500, "InternalError", "").after_effect(),
        Fault::error("sns:ListSubscriptionsByTopic", 400, "Throttling", "Rate exceeded").times(2),
    ]);
    stage.mute("on", &[]).await.expect(0);
    stage.world.front.set_faults([]);
    stage.mute("off", &[]).await.expect(0);
}

#[tokio::test]
async fn a_change_at_the_same_moment_is_seen() {
    let stage = Stage::start().await;
    // Four are looked at before the plan, then each right before its write: this is the second of them.
    let ben = stage.subscription("ben@example.org").await;
    let hold = stage.world.front.hold("sns:GetSubscriptionAttributes#6", When::BeforeForward);
    let mute = stage.mute("on", &KEEP);
    let meanwhile = async {
        tokio::time::timeout(Duration::from_mins(1), hold.arrived()).await.expect("it is looked at again");
        stage.set(&ben, "FilterPolicy", r#"{"store":["x"]}"#).await;
        hold.release();
    };
    let (ran, ()) = tokio::join!(mute, meanwhile);
    ran.expect(7).says(&["somebody has changed it at this moment", "run the same command again"]);
    assert_eq!(stage.policy("ben@example.org").await.as_deref(), Some(r#"{"store":["x"]}"#));
}

#[tokio::test]
async fn rules_are_disabled_and_put_back_byte_for_byte() {
    let stage = Stage::start().await;
    let (live, dead) = (stage.rule("ENABLED").await, stage.rule("DISABLED").await);
    let rules = [live.as_str(), dead.as_str()];
    let state = async || format!("{}\n{}", stage.rule_state(&live).await, stage.rule_state(&dead).await);
    let before = state().await;
    let on = stage
        .toggle("disable", &rules, &[])
        .await
        .expect(0)
        .says(&["disable the rule", "save that the rule"]);
    assert_eq!((&outputs(&on)["state"], &outputs(&on)["saved"]), (&json!("disabled"), &json!("2")));
    stage.world.front.forget();
    assert_eq!(stage.toggle("disable", &rules, &[]).await.expect(0).json()["changed"], false);
    stage.toggle("assert", &rules, &["--expect", "disabled"]).await.expect(0);
    stage.toggle("status", &rules, &[]).await.expect(0);
    assert_eq!(stage.world.writes(), [""; 0]);
    // Another release does not use what this one saved.
    stage.toggle("restore", &rules, &["--release", "other"]).await.expect(3).says(&[
        "a terminal, since",
        "saved that it was ENABLED",
        "--release 'a terminal'",
    ]);
    let back = stage.toggle("restore", &rules, &[]).await.expect(0);
    assert_eq!(outputs(&back)["state"], "mixed");
    assert_eq!(state().await, before);
    stage.world.front.forget();
    let again = stage.toggle("restore", &rules, &[]).await.expect(0).says(&["nothing is saved of the rule"]);
    assert_eq!(again.json()["changed"], false);
    assert_eq!(stage.world.writes(), [""; 0]);
}

#[tokio::test]
async fn assert_refuses_a_rule_that_would_delete_and_changes_nothing() {
    let stage = Stage::start().await;
    let (live, dead) = (stage.rule("ENABLED").await, stage.rule("DISABLED").await);
    let unmet = stage.toggle("assert", &[&live, &dead], &["--expect", "disabled"]).await.expect(3);
    assert_eq!(outputs(&unmet)["state"], "mixed");
    unmet.says(&[&format!("{live} is ENABLED"), "--action disable --no-save"]);
    assert_eq!(stage.world.writes(), [""; 0]);
    stage.toggle("disable", &[&live], &["--no-save"]).await.expect(0);
    stage.toggle("assert", &[&live, &dead], &["--expect", "disabled"]).await.expect(0);
    assert!(!stage.rule_state(&live).await.contains("cutover"));
}

#[tokio::test]
async fn a_rule_that_somebody_changed_is_refused_with_both_values() {
    let stage = Stage::start().await;
    let rule = stage.rule("DISABLED").await;
    stage.toggle("disable", &[&rule], &[]).await.expect(0);
    stage.events("EnableRule", json!({"Name": rule})).await;
    stage.world.front.forget();
    stage
        .toggle("restore", &[&rule], &[])
        .await
        .expect(3)
        .says(&["it is ENABLED; this release left it DISABLED, and before it was DISABLED"]);
    assert_eq!(stage.world.writes(), [""; 0]);
    stage.toggle("forget", &[&rule], &[]).await.expect(0);
    let left = stage.rule_state(&rule).await;
    assert!(left.contains("ENABLED") && !left.contains("cutover"), "{left}");
}

#[tokio::test]
async fn toggle_killed_at_any_call_the_next_run_ends_right() {
    let stage = Stage::start().await;
    let rule = stage.rule("ENABLED").await;
    let before = stage.rule_state(&rule).await;
    for action in ["disable", "restore"] {
        if action == "restore" {
            stage.toggle("disable", &[&rule], &[]).await.expect(0);
        }
        stage.world.front.forget();
        stage.toggle(action, &[&rule], &[]).await.expect(0);
        let points = Stage::points(&stage.world.front.calls(), &stage.world.front.writes());
        let wanted = stage.rule_state(&rule).await;
        for (at, after) in points {
            stage.toggle("disable", &[&rule], &[]).await.expect(0);
            if action == "disable" {
                stage.toggle("restore", &[&rule], &[]).await.expect(0);
                assert_eq!(stage.rule_state(&rule).await, before);
            }
            let when = if after { When::AfterEffect } else { When::BeforeForward };
            stage.killed(stage.command("toggle-schedule", action, &["--rule", &rule]), &at, when).await;
            stage.toggle(action, &[&rule], &[]).await.expect(0);
            let now = stage.rule_state(&rule).await;
            assert_eq!(without_times(&now), without_times(&wanted), "{action}: {at} {after}");
        }
        stage.toggle("restore", &[&rule], &[]).await.expect(0);
        assert_eq!(stage.rule_state(&rule).await, before);
    }
}

#[tokio::test]
async fn a_refused_rerun_leaves_the_receipt_of_the_first_run_as_it_was() {
    let stage = Stage::start().await;
    let rule = stage.rule("ENABLED").await;
    let receipt = stage.world.path("r.json").to_str().unwrap().to_owned();
    stage.toggle("disable", &[&rule], &["--receipt", &receipt]).await.expect(0);
    let first = std::fs::read(&receipt).unwrap();
    // Put back without the receipt, there is something to do again.
    stage.toggle("restore", &[&rule], &[]).await.expect(0);
    let state = stage.rule_state(&rule).await;
    for _ in 0..2 {
        stage
            .toggle("disable", &[&rule], &["--receipt", &receipt])
            .await
            .expect(2)
            .says(&["came to its end", "name another file with --receipt"]);
        assert_eq!(stage.rule_state(&rule).await, state);
        assert!(std::fs::read(&receipt).unwrap() == first, "it is the first run's");
    }
    // Nor one of the same workflow run, which goes on with it, has planned something, and is denied its first call.
    let in_job = |region: &str| {
        let mut command =
            stage.command("toggle-schedule", "disable", &["--rule", &rule, "--receipt", "job.json"]);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_RUN_ID", "7").env("AWS_REGION", region);
        run(command)
    };
    in_job("us-east-1").await.expect(0);
    let of_job = std::fs::read(stage.world.path("job.json")).unwrap();
    stage.toggle("restore", &[&rule], &["--release", "run 7"]).await.expect(0);
    stage.world.front.set_faults([Fault::access_denied("events:TagResource")]);
    in_job("us-east-1").await.expect(1);
    stage.world.front.set_faults([]);
    assert!(std::fs::read(stage.world.path("job.json")).unwrap() == of_job, "it is the first run's");
    // Nor one that was sent to another region by mistake.
    in_job("eu-west-1").await.expect(3);
    assert!(std::fs::read(stage.world.path("job.json")).unwrap() == of_job, "it is the first run's");
    in_job("us-east-1").await.expect(0);
    let both: Value = serde_json::from_slice(&std::fs::read(stage.world.path("job.json")).unwrap()).unwrap();
    let done = both["actions"].as_array().unwrap().iter().filter(|action| action["state"] == "done").count();
    let of_first: Value = serde_json::from_slice(&of_job).unwrap();
    assert_eq!(done, 2 * of_first["actions"].as_array().unwrap().len(), "what both did is to be taken back");
    stage.toggle("restore", &[&rule], &["--release", "run 7"]).await.expect(0);
    // Nor does one that fails before it has planned anything write its own account, arguments and verdict into it.
    stage.world.front.set_faults([Fault::access_denied("events:DescribeRule")]);
    stage.toggle("disable", &[&rule], &["--receipt", &receipt]).await.expect(1);
    stage.world.front.set_faults([]);
    assert!(std::fs::read(&receipt).unwrap() == first, "it is the first run's");
}

#[tokio::test]
async fn a_refusal_after_a_try_that_may_have_taken_effect_is_in_doubt() {
    let stage = Stage::start().await;
    let rule = stage.rule("ENABLED").await;
    let before = stage.rule_state(&rule).await;
    // The SDK tries again by itself, and its error is that of the second attempt.
    stage.world.front.set_faults([
        Fault::error("events:TagResource#1", 500, "InternalException", "lost").after_effect(),
        Fault::access_denied("events:TagResource#2"),
    ]);
    let receipt = stage.world.path("r.json").to_str().unwrap().to_owned();
    stage
        .toggle("disable", &[&rule], &["--receipt", &receipt])
        .await
        .expect(4)
        .says(&["allow `events:TagResource`", "in doubt"]);
    stage.world.front.set_faults([]);
    assert_ne!(stage.rule_state(&rule).await, before, "the first attempt took effect");
    stage.toggle("disable", &[&rule], &["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.rule_state(&rule).await, before);
}

#[tokio::test]
async fn undo_of_toggle_and_what_its_user_gets_wrong() {
    let stage = Stage::start().await;
    let rule = stage.rule("ENABLED").await;
    let before = stage.rule_state(&rule).await;
    let receipt = stage.world.path("r.json").to_str().unwrap().to_owned();
    stage.toggle("disable", &[&rule], &["--receipt", &receipt]).await.expect(0);
    stage.toggle("disable", &[&rule], &["--undo", &receipt]).await.expect(0);
    assert_eq!(stage.rule_state(&rule).await, before);
    stage.world.front.forget();
    let again = stage.toggle("disable", &[&rule], &["--undo", &receipt]).await.expect(0);
    assert_eq!(again.json()["changed"], false);

    let wrong = format!("{rule}x");
    stage
        .toggle("disable", &[&wrong], &[])
        .await
        .expect(3)
        .says(&["has no rule of that name", &format!("did you mean {rule}")]);
    stage
        .toggle("disable", &[&rule], &["--event-bus", "elsewhere"])
        .await
        .expect(3)
        .says(&["event bus elsewhere"]);
    stage.toggle("assert", &[&rule], &[]).await.expect(2).says(&["--expect disabled"]);
    stage.toggle("enable", &[&rule], &["--expect", "enabled"]).await.expect(2).says(&["--action assert"]);
    stage.toggle("restore", &[&rule], &["--no-save"]).await.expect(2).says(&["--no-save"]);
    stage.toggle("enable", &[], &[]).await.expect(2).says(&["--rule"]);
    stage.toggle("enable", &["arn:aws:events:x"], &[]).await.expect(2).says(&["not its ARN"]);
    assert_eq!(stage.world.writes(), [""; 0]);
    stage.world.front.set_faults([Fault::access_denied("events:TagResource")]);
    stage
        .toggle("disable", &[&rule], &[])
        .await
        .expect(1)
        .says(&["allow `events:TagResource`", "nothing was changed"]);
    stage.world.front.set_faults([Fault::access_denied("events:DisableRule")]);
    stage.toggle("disable", &[&rule], &[]).await.expect(4).says(&["allow `events:DisableRule`", "in doubt"]);
    stage.world.front.set_faults([]);
    stage.toggle("disable", &[&rule], &[]).await.expect(0);
    stage.toggle("restore", &[&rule], &[]).await.expect(0);
    assert_eq!(stage.rule_state(&rule).await, before);
}
