//! A topic with subscriptions, alarms, and rules in the emulator.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::front::{Call, When};

use crate::world::{ACCOUNT, REGION, Ran, World, own, run, shared_emulator};

pub(crate) const POLICY: &str = r#"{ "severity" : ["high", {"numeric": [">", 1.50]}] }"#;

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) name: String,
    pub(crate) topic: String,
}

impl Stage {
    /// The topic NAME with two confirmed e-mail subscriptions, one of them with a filter policy on the body, the operator's, and
    /// one that is not confirmed; the alarms NAME-cpu (which acts), NAME-disk (which does not) and, composite, NAME-all.
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let name = own("boss");
        let stage = Self { world, topic: format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}"), name };
        stage.sns(&[("Action", "CreateTopic"), ("Name", &stage.name)]).await;
        stage.subscribe("email", "anna@example.org").await;
        let ben = stage.subscribe("email", "ben@example.org").await;
        stage.set(&ben, "FilterPolicyScope", "MessageBody").await;
        stage.set(&ben, "FilterPolicy", POLICY).await;
        stage.subscribe("email", "operator@example.org").await;
        stage.subscribe("http", "http://127.0.0.1:9/pending").await;
        for (alarm, enabled) in [("cpu", true), ("disk", false)] {
            let alarm = json!({
                "AlarmName": format!("{}-{alarm}", stage.name), "ActionsEnabled": enabled, "AlarmActions": [stage.topic],
                "MetricName": alarm, "Namespace": "boss", "Statistic": "Average", "Period": 60, "EvaluationPeriods": 1,
                "Threshold": 80.0, "ComparisonOperator": "GreaterThanThreshold",
                "Tags": [{"Key": "team", "Value": "boss"}],
            });
            stage.monitoring("PutMetricAlarm", alarm).await;
        }
        let rule = format!("ALARM(\"{0}-cpu\") OR ALARM(\"{0}-disk\")", stage.name);
        let all = json!({
            "AlarmName": format!("{}-all", stage.name), "AlarmRule": rule, "ActionsEnabled": true,
            "AlarmActions": [stage.topic],
        });
        stage.monitoring("PutCompositeAlarm", all).await;
        stage.world.front.forget();
        stage
    }

    pub(crate) async fn sns(&self, parameters: &[(&str, &str)]) -> String {
        let (status, answer) = shared_emulator().await.query("sns", parameters).await.unwrap();
        assert_eq!(status, 200, "{parameters:?}: {answer}");
        answer
    }

    pub(crate) async fn monitoring(&self, operation: &str, request: Value) -> Value {
        let target = format!("GraniteServiceVersion20100801.{operation}");
        let (status, answer) = shared_emulator().await.call("monitoring", &target, &request).await.unwrap();
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// The ARN of a new subscription.
    pub(crate) async fn subscribe(&self, protocol: &str, endpoint: &str) -> String {
        self.sns(&[
            ("Action", "Subscribe"),
            ("TopicArn", &self.topic),
            ("Protocol", protocol),
            ("Endpoint", endpoint),
        ])
        .await;
        self.subscription(endpoint).await
    }

    pub(crate) async fn subscription(&self, endpoint: &str) -> String {
        let all = self.sns(&[("Action", "ListSubscriptionsByTopic"), ("TopicArn", &self.topic)]).await;
        let one = all.split("<member>").find(|one| one.contains(endpoint)).expect("it is listed");
        between(one, "<SubscriptionArn>", "</SubscriptionArn>").expect("an ARN").to_owned()
    }

    pub(crate) async fn set(&self, subscription: &str, attribute: &str, value: &str) {
        self.sns(&[
            ("Action", "SetSubscriptionAttributes"),
            ("SubscriptionArn", subscription),
            ("AttributeName", attribute),
            ("AttributeValue", value),
        ])
        .await;
    }

    /// The filter policy of the subscription with that address.
    pub(crate) async fn policy(&self, endpoint: &str) -> Option<String> {
        let arn = self.subscription(endpoint).await;
        let all = self.sns(&[("Action", "GetSubscriptionAttributes"), ("SubscriptionArn", &arn)]).await;
        let text = between(&all, "<key>FilterPolicy</key><value>", "</value>")?;
        let text =
            text.replace("&quot;", "\"").replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
        (text != "{}").then_some(text)
    }

    /// All that the step could change: each subscription's attributes, each alarm, each alarm's tags.
    ///
    /// A policy that was set to `{}` is removed by AWS
    /// (<https://docs.aws.amazon.com/sns/latest/dg/example_sns_SetSubscriptionAttributes_section.html>) and kept by the emulator.
    pub(crate) async fn state(&self) -> String {
        let all = self.sns(&[("Action", "ListSubscriptionsByTopic"), ("TopicArn", &self.topic)]).await;
        let mut text = String::new();
        for one in all.split("<member>").skip(1) {
            let arn = between(one, "<SubscriptionArn>", "</SubscriptionArn>").expect("an ARN");
            let one = self.sns(&[("Action", "GetSubscriptionAttributes"), ("SubscriptionArn", arn)]).await;
            let one = between(&one, "<Attributes>", "</Attributes>").expect("attributes");
            text += &one.replace("<entry><key>FilterPolicy</key><value>{}</value></entry>", "");
            text.push('\n');
        }
        let request = json!({"AlarmNamePrefix": self.name, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]});
        let alarms = self.monitoring("DescribeAlarms", request).await;
        for alarm in
            ["MetricAlarms", "CompositeAlarms"].iter().flat_map(|kind| alarms[kind].as_array().unwrap())
        {
            let arn = alarm["AlarmArn"].as_str().unwrap();
            let tags = self.monitoring("ListTagsForResource", json!({"ResourceARN": arn})).await;
            text += &format!("{} {} {tags}\n", alarm["AlarmName"], alarm["ActionsEnabled"]);
        }
        text
    }

    pub(crate) fn command(&self, step: &str, action: &str, more: &[&str]) -> tokio::process::Command {
        self.world.command(&[&[step, "--action", action, "--format", "json"][..], more].concat())
    }

    pub(crate) async fn mute(&self, action: &str, more: &[&str]) -> Ran {
        let prefix = format!("{}-", self.name);
        let what = ["--topic", &self.name, "--alarm-prefix", &prefix];
        run(self.command("mute-alerts", action, &[&what[..], more].concat())).await
    }

    pub(crate) async fn events(&self, operation: &str, request: Value) -> Value {
        let target = format!("AWSEvents.{operation}");
        let (status, answer) = shared_emulator().await.call("events", &target, &request).await.unwrap();
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    /// A rule on the default bus, in that state, with a tag of its owner's; returns its name.
    pub(crate) async fn rule(&self, state: &str) -> String {
        let name = own("deleteEventRule.production.boss");
        let rule = json!({
            "Name": name, "ScheduleExpression": "rate(1 day)", "State": state, "Description": "deletes customer data",
            "Tags": [{"Key": "team", "Value": "boss"}],
        });
        self.events("PutRule", rule).await;
        name
    }

    /// All of a rule, tags included.
    pub(crate) async fn rule_state(&self, name: &str) -> String {
        let rule = self.events("DescribeRule", json!({"Name": name})).await;
        let tags = self.events("ListTagsForResource", json!({"ResourceARN": rule["Arn"]})).await;
        format!("{rule} {tags}")
    }

    pub(crate) async fn toggle(&self, action: &str, rules: &[&str], more: &[&str]) -> Ran {
        let rules: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
        run(self.command("toggle-schedule", action, &[&rules, more].concat())).await
    }

    /// Runs the command until `at`, and kills it there.
    pub(crate) async fn killed(&self, mut command: tokio::process::Command, at: &str, when: When) {
        let hold = self.world.front.hold(at, when);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::timeout(Duration::from_mins(1), hold.arrived())
            .await
            .expect("the run comes to this call");
        child.kill().await.unwrap();
        drop(hold);
    }

    /// Where a run that made these calls can be killed: at each, and after each that writes. Reading twice is no other state
    /// than reading once.
    pub(crate) fn points(calls: &[Call], writes: &[Call]) -> BTreeSet<(String, bool)> {
        let mut points = BTreeSet::new();
        for call in calls {
            points.insert((format!("{}#1", call.name()), false));
        }
        for (n, call) in writes.iter().enumerate() {
            let nth = writes.iter().take(n + 1).filter(|other| other.name() == call.name()).count();
            points.extend([false, true].map(|after| (format!("{}#{nth}", call.name()), after)));
        }
        points
    }
}

pub(crate) fn outputs(ran: &Ran) -> Value {
    ran.json()["outputs"].clone()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(inner, _)| inner)
}

/// The saved state names when it was made.
pub(crate) fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("2026-").or_else(|| rest.find("20")) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let is_time = tail.len() > 20
            && tail.as_bytes().get(10) == Some(&b'T')
            && tail.as_bytes().get(19) == Some(&b'Z');
        let (skip, put) = if is_time { (20, "TIME") } else { (2, "20") };
        out.push_str(put);
        rest = &tail[skip..];
    }
    out.push_str(rest);
    out
}
