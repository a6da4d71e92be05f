use kit::Code;

use super::*;

fn rule(priority: u32, hosts: &[&str]) -> Rule {
    Rule {
        arn: format!(
            "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener-rule/app/elb/1/2/{priority:016x}"
        ),
        priority,
        hosts: if hosts.is_empty() {
            Hosts::Any
        } else {
            Hosts::Like(hosts.iter().map(|&host| host.into()).collect())
        },
        shown: format!("rule {priority}"),
        page: None,
        tags: BTreeMap::new(),
    }
}

fn listener(rules: Vec<Rule>) -> Listener {
    Listener { arn: "arn:listener".into(), what: "port 443 of elb".into(), dns: "elb.test".into(), rules }
}

fn page() -> Page {
    Page::Fixed { content_type: "text/html".into(), body: "<h1>Down for Maintenance</h1>".into() }
}

fn wish(act: Act) -> Wish {
    Wish {
        act,
        name: "api.theboss.io".into(),
        page: (act == Act::On).then(page),
        holder: "v2".into(),
        expires: Duration::hours(4),
        leave: false,
        now: OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap(),
    }
}

/// The listener after a change, as AWS would have it.
fn after(listener: &Listener, change: &Change) -> Listener {
    let mut next = listener.clone();
    match change {
        Change::Create { priority, page, saved } => {
            assert!(next.rules.iter().all(|rule| rule.priority != *priority), "PriorityInUse");
            next.rules.push(Rule {
                arn: "arn:ours/ffff".into(),
                hosts: Hosts::Like(vec!["api.theboss.io".into()]),
                page: Some(page.clone()),
                tags: saved.tags(),
                ..rule(*priority, &[])
            });
        }
        Change::Move { to, .. } => {
            for (arn, number) in to {
                let arn = if arn.is_empty() { "arn:ours/ffff" } else { arn };
                next.rules.iter_mut().find(|rule| rule.arn == arn).unwrap().priority = *number;
            }
            let numbers: BTreeSet<u32> = next.rules.iter().map(|rule| rule.priority).collect();
            assert_eq!(numbers.len(), next.rules.len(), "two rules with one priority");
        }
        Change::Delete { arn, .. } => next.rules.retain(|rule| rule.arn != *arn),
    }
    next
}

fn all(listener: &Listener, changes: &[Change]) -> Listener {
    changes.iter().fold(listener.clone(), |listener, change| after(&listener, change))
}

#[test]
fn hosts_are_compared_as_the_load_balancer_does() {
    for (pattern, name, takes) in [
        ("API.theboss.io", "api.theboss.io", true),
        ("*.theboss.io", "api.theboss.io", true),
        ("*.theboss.io", "theboss.io", false),
        ("a?i.*", "api.theboss.io", true),
        ("a??i.*", "api.theboss.io", false),
        ("auth.theboss.io", "api.theboss.io", false),
        ("*io*", "api.theboss.io", true),
    ] {
        assert_eq!(Hosts::Like(vec![pattern.into()]).takes(name), takes, "{pattern}");
    }
    assert!(Hosts::Any.takes("api.theboss.io"));
}

/// On, killed after each call and run again, is ahead of every rule that would match; off puts every priority back.
#[test]
fn on_is_ahead_of_all_that_would_match_and_off_leaves_all_as_it_was() {
    let other = &["auth.theboss.io"][..];
    for rules in [
        vec![],
        vec![rule(1, other)],
        vec![rule(10, &[])],
        vec![rule(1, other), rule(2, &["*.theboss.io"]), rule(3, &[])],
        vec![rule(1, &[]), rule(2, &[]), rule(3, other), rule(7, &[])],
        (1..=99).map(|n| rule(n, &[])).collect(),
        vec![rule(50_000, other)],
    ] {
        let before = listener(rules);
        let on = plan(&wish(Act::On), &before).unwrap();
        let reached = all(&before, &on.changes);
        for made in 0..=on.changes.len() {
            let now = all(&before, &on.changes[..made]);
            let again = plan(&wish(Act::On), &now).unwrap();
            let end = all(&now, &again.changes);
            assert_eq!(end.rules, reached.rules, "run again after {made} calls");
        }
        let (ours, _) = reached.ours("api.theboss.io").unwrap().unwrap();
        let first = reached.first("api.theboss.io", Some(&ours.arn));
        assert!(first.is_none_or(|first| ours.priority < first), "{first:?} {}", ours.priority);
        let unmoved = |rule: &&Rule| !rule.hosts.takes("api.theboss.io") && rule.priority < ours.priority;
        assert!(before.rules.iter().filter(unmoved).all(|rule| reached.rules.contains(rule)));

        let off = plan(&wish(Act::Off), &reached).unwrap();
        for made in 0..=off.changes.len() {
            let now = all(&reached, &off.changes[..made]);
            let again = plan(&wish(Act::Off), &now).unwrap();
            assert_eq!(all(&now, &again.changes).rules, before.rules, "off, run again after {made} calls");
        }
    }
}

#[test]
fn another_release_and_another_page_are_refused() {
    let before = listener(vec![rule(1, &[])]);
    let reached = all(&before, &plan(&wish(Act::On), &before).unwrap().changes);
    let other = Wish { holder: "v3".into(), ..wish(Act::On) };
    assert!(plan(&other, &reached).unwrap_err().chain()[0].contains("v2, since"));
    let other = Wish { holder: "v3".into(), ..wish(Act::Off) };
    assert_eq!(plan(&other, &reached).unwrap_err().code(), Code::Refused);
    let over = Wish { now: other.now + Duration::hours(5), ..other };
    assert!(plan(&over, &reached).is_ok());
    let page = Page::Group("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/page/1".into());
    let another = Wish { page: Some(page), ..wish(Act::On) };
    assert!(plan(&another, &reached).unwrap_err().chain()[0].contains("another one"));
}

#[test]
fn a_foreign_change_is_refused_with_both_values_and_can_be_left() {
    let before = listener(vec![rule(1, &[]), rule(2, &[])]);
    let mut reached = all(&before, &plan(&wish(Act::On), &before).unwrap().changes);
    // Somebody moves the second rule to the end.
    reached.rules[1].priority = 40;
    let refused = plan(&wish(Act::Off), &reached).unwrap_err();
    let why = &refused.chain()[0];
    assert!(why.contains("0000000000000002 at 2") && why.contains("0000000000000002 at 40"), "{why}");
    let leave = Wish { leave: true, ..wish(Act::Off) };
    let left = plan(&leave, &reached).unwrap();
    assert!(matches!(&left.changes[..], [Change::Delete { .. }]), "{left:?}");

    let mut reached = all(&before, &plan(&wish(Act::On), &before).unwrap().changes);
    reached.rules.retain(|rule| rule.priority != 2);
    reached.rules.iter_mut().find(|rule| rule.arn.ends_with("/ffff")).unwrap().priority = 45;
    assert!(plan(&wish(Act::On), &reached).unwrap_err().chain()[0].contains("before the page"));
}

#[test]
fn nothing_on_is_nothing_to_take_off() {
    let switch = plan(&wish(Act::Off), &listener(vec![rule(1, &[])])).unwrap();
    assert!(switch.changes.is_empty());
    assert_eq!(switch.unchanged(), "no rule of port 443 of elb is the maintenance page of api.theboss.io");
}
