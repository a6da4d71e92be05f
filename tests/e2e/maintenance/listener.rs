//! The page as a rule of a load balancer. The emulator applies the rules to the requests that are fetched from it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use serde_json::json;
use testkit::dns::{Dns, Options};
use testkit::front::{Fault, When};
use tokio::process::Command;

use super::stage::outputs;
use crate::world::{Ran, World, own, run, shared_emulator};

const CREATE: &str = "elasticloadbalancing:CreateRule";
const MOVE: &str = "elasticloadbalancing:SetRulePriorities";
const DELETE: &str = "elasticloadbalancing:DeleteRule";
const NAME: &str = "api.theboss.io";
/// No markup: the emulator would put it into its answers as it stands.
const PAGE: &str = "Down for Maintenance";

async fn elb(form: &[(&str, &str)]) -> String {
    let form = [&[("Version", "2015-12-01")], form].concat();
    let (status, answer) = shared_emulator().await.query("elasticloadbalancing", &form).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

fn first<'t>(answer: &'t str, element: &str) -> &'t str {
    let rest = answer.split(&format!("<{element}>")).nth(1).expect(element);
    rest.split('<').next().expect(element)
}

/// A load balancer whose listener answers "live" by default, and a file with the page.
struct Balancer {
    world: World,
    name: String,
    listener: String,
    port: u16,
    dns: Dns,
}

impl Balancer {
    /// With rules of these priorities and hosts; a host that is empty is any path.
    async fn with(rules: &[(u32, &str)]) -> Self {
        let world = World::start().await;
        let emulator = shared_emulator().await;
        let port = emulator.url().rsplit_once(':').unwrap().1.parse().unwrap();
        let name = own("elb");
        let made = elb(&[("Action", "CreateLoadBalancer"), ("Name", &name), ("Type", "application")]).await;
        let host = first(&made, "DNSName").to_owned();
        let listener = elb(&[
            ("Action", "CreateListener"),
            ("LoadBalancerArn", first(&made, "LoadBalancerArn")),
            ("Protocol", "HTTP"),
            ("Port", &format!("{port}")),
            ("DefaultActions.member.1.Type", "fixed-response"),
            ("DefaultActions.member.1.FixedResponseConfig.StatusCode", "200"),
            ("DefaultActions.member.1.FixedResponseConfig.MessageBody", "live"),
        ])
        .await;
        let listener = first(&listener, "ListenerArn").to_owned();
        let addresses = vec![(host, IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let dns = Dns::start(emulator.url(), Options { addresses, ..Options::default() }).await.unwrap();
        let balancer = Self { world, name, listener, port, dns };
        for (priority, host) in rules {
            balancer.rule(*priority, host).await;
        }
        std::fs::write(balancer.world.dir.path().join("page.txt"), PAGE).unwrap();
        balancer.world.front.forget();
        balancer
    }

    async fn rule(&self, priority: u32, host: &str) {
        let (field, value) = if host.is_empty() { ("path-pattern", "*") } else { ("host-header", host) };
        elb(&[
            ("Action", "CreateRule"),
            ("ListenerArn", &self.listener),
            ("Priority", &priority.to_string()),
            ("Conditions.member.1.Field", field),
            ("Conditions.member.1.Values.member.1", value),
            ("Actions.member.1.Type", "fixed-response"),
            ("Actions.member.1.FixedResponseConfig.StatusCode", "200"),
            ("Actions.member.1.FixedResponseConfig.MessageBody", "live"),
        ])
        .await;
    }

    /// The rules, as the emulator describes them, without the ID of the answer.
    async fn rules(&self) -> String {
        let answer = elb(&[("Action", "DescribeRules"), ("ListenerArn", &self.listener)]).await;
        let mut rules: Vec<&str> = answer
            .split("<member><RuleArn>")
            .skip(1)
            .map(|rule| rule.split("</Rules>").next().unwrap())
            .collect();
        rules.sort_unstable();
        rules.join("\n")
    }

    fn command(&self, action: &str, more: &[&str]) -> Command {
        let listener = format!("{}:{}", self.name, self.port);
        let url = format!("http://{NAME}:{}/_alb/{}/", self.port, self.name);
        let server = self.dns.address().to_string();
        let args = [
            &[
                "maintenance-toggle",
                "--action",
                action,
                "--name",
                NAME,
                "--listener",
                &listener,
                "--url",
                &url,
            ][..],
            &["--resolver", &server, "--page-contains", "Down for Maintenance", "--live-contains", "live"],
            &["--format", "json"],
            more,
        ]
        .concat();
        self.world.command(&args)
    }

    async fn on(&self, more: &[&str]) -> Ran {
        run(self.command("on", &[&["--page-file", "page.txt"], more].concat())).await
    }

    async fn off(&self, more: &[&str]) -> Ran {
        run(self.command("off", more)).await
    }
}

#[tokio::test]
async fn the_page_is_ahead_of_every_rule_that_would_match_and_leaves_all_as_it_was() {
    // A free priority ahead of the first that matches; none, so that two rules move; a listener without rules.
    for (rules, writes, priority) in [
        (&[(1, "auth.theboss.io"), (20, "*.theboss.io"), (30, "")][..], &[CREATE][..], 19),
        (&[(1, "auth.theboss.io"), (2, ""), (3, "auth.theboss.io"), (9, "")], &[CREATE, MOVE], 2),
        (&[], &[CREATE], 1),
    ] {
        let balancer = Balancer::with(rules).await;
        let before = balancer.rules().await;
        let on = balancer.on(&["--release", "sprint43"]).await.expect(0);
        let told = outputs(&on);
        assert_eq!((&told["state"], &told["release"]), (&json!("on"), &json!("sprint43")));
        let record = told["record"].as_str().unwrap();
        assert!(record.starts_with(&format!("rule {priority} of port ")), "{record}");
        assert_eq!(balancer.world.writes(), writes);

        balancer.world.front.forget();
        assert_eq!(balancer.on(&["--release", "sprint43"]).await.expect(0).json()["changed"], false);
        let status = run(balancer.command("status", &[])).await.expect(0);
        assert_eq!(outputs(&status)["release"], "sprint43");
        assert_eq!(balancer.world.writes(), [""; 0]);
        balancer
            .off(&["--release", "v3"])
            .await
            .expect(3)
            .says(&["another release's: sprint43", "--release 'sprint43'"]);

        balancer.off(&["--release", "sprint43"]).await.expect(0);
        assert_eq!(balancer.rules().await, before);
        balancer.world.front.forget();
        assert_eq!(balancer.off(&["--release", "sprint43"]).await.expect(0).json()["changed"], false);
        assert_eq!(balancer.world.writes(), [""; 0]);
    }
}

#[tokio::test]
async fn killed_at_any_call_of_a_listener_the_next_run_ends_right() {
    let balancer = Balancer::with(&[(1, ""), (2, "*.theboss.io")]).await;
    let before = balancer.rules().await;
    for action in ["on", "off"] {
        balancer.world.front.forget();
        balancer.on(&[]).await.expect(0);
        if action == "off" {
            balancer.world.front.forget();
            balancer.off(&[]).await.expect(0);
        }
        let calls: Vec<String> =
            balancer.world.front.calls().iter().map(testkit::front::Call::name).collect();
        let writes = [CREATE, MOVE, DELETE];
        let points: BTreeSet<(&String, bool)> =
            calls.iter().flat_map(|call| [(call, false), (call, writes.contains(&call.as_str()))]).collect();
        for (call, after) in points {
            balancer.off(&[]).await.expect(0);
            assert_eq!(balancer.rules().await, before);
            if action == "off" {
                balancer.on(&[]).await.expect(0);
            }
            let at = format!("{call}#1");
            let hold = balancer
                .world
                .front
                .hold(at.as_str(), if after { When::AfterEffect } else { When::BeforeForward });
            let page: &[&str] = if action == "on" { &["--page-file", "page.txt"] } else { &[] };
            let mut command = balancer.command(action, page);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            hold.arrived().await;
            child.kill().await.unwrap();
            drop(hold);
            if action == "on" {
                balancer.on(&[]).await.expect(0);
            }
            balancer.off(&[]).await.expect(0);
            assert_eq!(balancer.rules().await, before, "{action}: {at}");
        }
    }
}

/// <https://github.com/hashicorp/terraform-provider-aws/issues/20442>
#[tokio::test]
async fn rules_that_are_read_as_they_were_are_read_again() {
    let balancer = Balancer::with(&[(1, ""), (2, "*.theboss.io")]).await;
    let before = balancer.rules().await;
    balancer.world.front.set_faults([CREATE, MOVE, DELETE].map(|at| Fault::lag(at, 0)));
    balancer.on(&[]).await.expect(0).says(&["waiting for the changes to be read back"]);
    assert_eq!(balancer.world.writes(), [CREATE, MOVE]);
    balancer.world.front.set_faults([DELETE, MOVE].map(|at| Fault::lag(at, 0)));
    balancer.off(&[]).await.expect(0).says(&["waiting for the changes to be read back"]);
    assert_eq!(balancer.rules().await, before);
}

#[tokio::test]
async fn a_rule_without_an_answer_that_is_seen_late_is_not_taken_for_none() {
    let balancer = Balancer::with(&[(1, "")]).await;
    let before = balancer.rules().await;
    let first = || format!("{CREATE}#1");
    let faults = |lag| {
        let lost = Fault::error(&*first(), 500, "InternalFailure", "").after_effect();
        [lost, Fault::lag(&*first(), lag), Fault::access_denied(&*format!("{CREATE}#2"))]
    };
    balancer.world.front.set_faults(faults(0));
    balancer.on(&[]).await.expect(0);
    balancer.world.front.set_faults([]);
    balancer.off(&[]).await.expect(0);
    balancer.world.front.forget();
    balancer.world.front.set_faults(faults(60_000));
    let ran = balancer.on(&["--receipt", "on.json"]).await.expect(4);
    assert!(!ran.stderr.contains("nothing was changed"), "{}", ran.stderr);
    ran.says(&["whether the rule for", "is not known"]);
    balancer.world.front.set_faults([]);
    run(balancer.world.command(&["maintenance-toggle", "--undo", "on.json"])).await.expect(0);
    assert_eq!(balancer.rules().await, before);
}

#[tokio::test]
async fn a_run_of_a_listener_is_taken_back() {
    let balancer = Balancer::with(&[(1, ""), (2, "")]).await;
    let before = balancer.rules().await;
    balancer.on(&["--receipt", "on.json"]).await.expect(0);
    // What is read as it was is read again, until it is as it was before.
    balancer.world.front.set_faults([MOVE, DELETE].map(|at| Fault::lag(at, 0)));
    let undo = run(balancer.world.command(&["maintenance-toggle", "--undo", "on.json"])).await.expect(0);
    undo.says(&["waiting for the changes to be read back"]);
    assert_eq!(balancer.rules().await, before);
    run(balancer.world.command(&["maintenance-toggle", "--undo", "on.json"])).await.expect(0);

    balancer.on(&[]).await.expect(0);
    balancer.off(&["--receipt", "off.json"]).await.expect(0);
    run(balancer.world.command(&["maintenance-toggle", "--undo", "off.json"])).await.expect(0);
    let status = run(balancer.command("status", &[])).await.expect(0);
    assert_eq!(outputs(&status)["state"], "on");
    balancer.off(&[]).await.expect(0);
    assert_eq!(balancer.rules().await, before);
}

#[tokio::test]
async fn what_a_user_gets_wrong_about_a_listener_is_said() {
    let balancer = Balancer::with(&[(1, "")]).await;
    let before = balancer.rules().await;
    std::fs::write(balancer.world.dir.path().join("long.html"), "ä".repeat(1025)).unwrap();
    for (args, code, says) in [
        (
            &["--page-file", "long.html"][..],
            2,
            "it has 1025 characters, and a load balancer sends 1024 at most",
        ),
        (&["--page-file", "gone.html"], 2, "gone.html"),
        (&["--to-name", "page.test"], 2, "a rule leads to no other name"),
        (&[], 2, "--page-file or --to-target-group"),
        (&["--to-target-group", "no-such-group"], 3, "find the target group no-such-group"),
        (
            &["--page-file", "page.txt", "--listener", "no-such-balancer:443"],
            1,
            "check --listener and the region",
        ),
    ] {
        run(balancer.command("on", args)).await.expect(code).says(&[says]);
    }
    let url = format!("http://{NAME}:1/");
    let listener = format!("{}:81", balancer.name);
    let wrong =
        ["maintenance-toggle", "--action", "on", "--name", NAME, "--url", &url, "--listener", &listener];
    let wrong = [&wrong[..], &["--page-file", "page.txt", "--no-fetch"]].concat();
    run(balancer.world.command(&wrong)).await.expect(3).says(&["it has listeners on the ports"]);
    balancer.world.front.set_faults([Fault::access_denied(CREATE)]);
    balancer.on(&[]).await.expect(1).says(&["elasticloadbalancing:CreateRule", "nothing was changed"]);
    // Somebody else's rule came in between.
    balancer.world.front.set_faults([Fault::error(CREATE, 400, "PriorityInUse", "Priority '50' is in use")]);
    balancer.on(&[]).await.expect(7).says(&["run the same command again", "nothing was changed"]);
    assert_eq!(balancer.rules().await, before);
}

/// The emulator forwards to functions alone: whether the page is seen is not looked at here.
#[tokio::test]
async fn a_target_group_can_serve_the_page() {
    let balancer = Balancer::with(&[(1, "")]).await;
    let before = balancer.rules().await;
    let group = own("page");
    let mut arns = Vec::new();
    for name in [group.clone(), format!("{group}-old")] {
        let made = [
            ("Action", "CreateTargetGroup"),
            ("Name", &*name),
            ("Protocol", "HTTP"),
            ("Port", "80"),
            ("VpcId", "vpc-1"),
        ];
        arns.push(first(&elb(&made).await, "TargetGroupArn").to_owned());
    }
    let on = async |group: &str, code: i32| {
        let args = ["--to-target-group", group, "--no-fetch"];
        run(balancer.command("on", &args)).await.expect(code)
    };
    let told = outputs(&on(&group, 0).await);
    assert!(told["record"].as_str().unwrap().contains(&format!("targetgroup/{group}/")), "{told}");
    let there = balancer.rules().await;
    assert!(there.contains(&arns[0]) && !there.contains(&arns[1]), "{there}");
    assert_eq!(on(&arns[0], 0).await.json()["changed"], false);
    on(&arns[1], 3).await.says(&["the page is on already, and it is another one"]);
    balancer.off(&[]).await.expect(0);
    assert_eq!(balancer.rules().await, before);
}
