//! Reads the listener, its rules and their tags, and the page's target group.

use std::collections::BTreeMap;

use aws::failure;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, HostHeaderConditionConfig, Listener as SdkListener, LoadBalancerTypeEnum,
    Rule as Described, RuleCondition,
};
use kit::{Cx, Failure};

use super::plan::{Hosts, Listener, Page, Rule};

/// How many resources `DescribeTags` takes.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html>
const TAGGED: usize = 20;

/// How the listener is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Arn(String),
    /// Of a load balancer, by name, on this port.
    Of(String, u16),
}

/// Reads `ARN` or `NAME:PORT`.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    if text.starts_with("arn:") {
        return if text.contains(":listener/app/") {
            Ok(Place::Arn(text.to_owned()))
        } else {
            Err("that ARN is not of a listener of an application load balancer".to_owned())
        };
    }
    let pair = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    match pair {
        Some((name, port)) if !name.is_empty() => Ok(Place::Of(name.to_owned(), port)),
        _ => Err("write its ARN, or the load balancer's name and the port, as in api-prod:443".to_owned()),
    }
}

pub(crate) async fn listener(cx: &Cx, client: &Client, wanted: &Place) -> Result<Listener, Failure> {
    let attempt = match wanted {
        Place::Arn(arn) => format!("find the listener {arn}"),
        Place::Of(name, port) => format!("find the listener on port {port} of the load balancer {name}"),
    };
    let denied =
        |error, call: &str| failure(&attempt, call, "*", error).help("check --listener and the region");
    let (arn, port, balancer) = match wanted {
        Place::Arn(arn) => {
            let sent = client.describe_listeners().listener_arns(arn).send();
            let answer = cx.or_cancelled(sent).await?.map_err(|error| {
                failure(&attempt, "elasticloadbalancing:DescribeListeners", "*", error)
                    .help("check --listener and the region")
            })?;
            let found = answer.listeners().first();
            let found = found.ok_or_else(|| Failure::refused(&attempt).because("there is none"))?;
            (arn.clone(), found.port().unwrap_or_default(), found.load_balancer_arn().map(str::to_owned))
        }
        Place::Of(name, port) => {
            let sent = client.describe_load_balancers().names(name).send();
            let answer = cx
                .or_cancelled(sent)
                .await?
                .map_err(|error| denied(error, "elasticloadbalancing:DescribeLoadBalancers"))?;
            let balancer = answer.load_balancers().first().and_then(|one| one.load_balancer_arn());
            let balancer =
                balancer.ok_or_else(|| Failure::refused(&attempt).because("there is none of that name"))?;
            let mut pages = client.describe_listeners().load_balancer_arn(balancer).into_paginator().send();
            let mut all = Vec::new();
            while let Some(page) = cx.or_cancelled(pages.next()).await? {
                let page = page.map_err(|error| {
                    failure(&attempt, "elasticloadbalancing:DescribeListeners", balancer, error)
                })?;
                all.extend(page.listeners.unwrap_or_default());
            }
            let found = all.iter().find(|one| one.port() == Some(i32::from(*port)));
            let Some(found) = found else {
                let ports: Vec<String> =
                    all.iter().filter_map(SdkListener::port).map(|port| port.to_string()).collect();
                return Err(Failure::refused(&attempt)
                    .because(format!("it has listeners on the ports {}", ports.join(", ")))
                    .help("correct --listener"));
            };
            (found.listener_arn().unwrap_or_default().to_owned(), i32::from(*port), Some(balancer.to_owned()))
        }
    };
    let sent = client.describe_load_balancers().set_load_balancer_arns(balancer.map(|arn| vec![arn])).send();
    let answer = cx
        .or_cancelled(sent)
        .await?
        .map_err(|error| failure(&attempt, "elasticloadbalancing:DescribeLoadBalancers", "*", error))?;
    let balancer = answer.load_balancers().first();
    let balancer = balancer.ok_or_else(|| Failure::refused(&attempt).because("its load balancer is gone"))?;
    let name = balancer.load_balancer_name().unwrap_or_default();
    if balancer.r#type() != Some(&LoadBalancerTypeEnum::Application) {
        return Err(Failure::refused(attempt)
            .because(format!("{name} is no application load balancer, and others have no rules"))
            .help("lead the public name to a page instead: --zone"));
    }
    Ok(Listener {
        what: format!("port {port} of {name}"),
        dns: balancer.dns_name().map(dns::normal).unwrap_or_default(),
        rules: rules(cx, client, &arn).await?,
        arn,
    })
}

/// The listener's rules but for the default one, with their tags.
pub(crate) async fn rules(cx: &Cx, client: &Client, listener: &str) -> Result<Vec<Rule>, Failure> {
    let attempt = "read the rules of the listener";
    let mut described: Vec<Described> = Vec::new();
    let mut marker = None;
    loop {
        let sent = client.describe_rules().listener_arn(listener).set_marker(marker).send();
        let answer = cx
            .or_cancelled(sent)
            .await?
            .map_err(|error| failure(attempt, "elasticloadbalancing:DescribeRules", listener, error))?;
        marker = answer.next_marker().map(str::to_owned);
        described.extend(answer.rules.unwrap_or_default());
        if marker.is_none() {
            break;
        }
    }
    described.retain(|rule| rule.is_default() != Some(true));
    let arns: Vec<String> = described.iter().filter_map(|rule| rule.rule_arn()).map(str::to_owned).collect();
    let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for some in arns.chunks(TAGGED) {
        let sent = client.describe_tags().set_resource_arns(Some(some.to_vec())).send();
        let answer = cx.or_cancelled(sent).await?.map_err(|error| {
            failure("read the tags of the rules", "elasticloadbalancing:DescribeTags", listener, error)
        })?;
        for one in answer.tag_descriptions() {
            let pairs = one.tags().iter();
            let pairs = pairs.filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
            tags.insert(one.resource_arn().unwrap_or_default().to_owned(), pairs.collect());
        }
    }
    described
        .iter()
        .map(|rule| {
            let arn = rule.rule_arn().unwrap_or_default().to_owned();
            let priority = rule.priority().and_then(|number| number.parse().ok()).ok_or_else(|| {
                Failure::failed(attempt).because(format!("the rule {arn} has no priority that is a number"))
            })?;
            Ok(Rule {
                priority,
                hosts: hosts(rule.conditions()),
                shown: shown(rule),
                page: page(rule.actions()),
                tags: tags.remove(&arn).unwrap_or_default(),
                arn,
            })
        })
        .collect()
}

/// All conditions must hold, so one that asks for other hosts is enough. Regular expressions are not read: they may fit.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html>
fn hosts(conditions: &[RuleCondition]) -> Hosts {
    for condition in conditions.iter().filter(|condition| condition.field() == Some("host-header")) {
        let config = condition.host_header_config();
        let expressions =
            condition.regex_values().len() + config.map_or(0, |config| config.regex_values().len());
        let values = config.map(HostHeaderConditionConfig::values).filter(|values| !values.is_empty());
        let values = values.unwrap_or_else(|| condition.values());
        if expressions == 0 && !values.is_empty() {
            return Hosts::Like(values.to_vec());
        }
    }
    Hosts::Any
}

fn shown(rule: &Described) -> String {
    let conditions: Vec<String> = rule
        .conditions()
        .iter()
        .map(|condition| {
            let field = condition.field().unwrap_or("?");
            match (field, hosts(std::slice::from_ref(condition))) {
                ("host-header", Hosts::Like(patterns)) => format!("host {}", patterns.join(" or ")),
                _ => field.to_owned(),
            }
        })
        .collect();
    let actions: Vec<String> = rule.actions().iter().map(does).collect();
    format!("{} -> {}", conditions.join(" and "), actions.join(", "))
}

fn does(action: &Action) -> String {
    let kind = action.r#type().map_or("?", ActionTypeEnum::as_str);
    if let Some(status) = action.fixed_response_config().and_then(|fixed| fixed.status_code()) {
        return format!("{kind} {status}");
    }
    let several = action.forward_config().map_or(&[][..], |config| config.target_groups());
    let mut groups: Vec<&str> = several.iter().filter_map(|group| group.target_group_arn()).collect();
    if groups.is_empty() {
        groups.extend(action.target_group_arn());
    }
    let names: Vec<&str> = groups.into_iter().map(|arn| arn.split(':').next_back().unwrap_or(arn)).collect();
    if names.is_empty() { kind.to_owned() } else { format!("{kind} to {}", names.join(", ")) }
}

fn page(actions: &[Action]) -> Option<Page> {
    let [action] = actions else { return None };
    if let Some(fixed) = action.fixed_response_config().filter(|fixed| fixed.status_code() == Some("503")) {
        return Some(Page::Fixed {
            content_type: fixed.content_type().unwrap_or_default().to_owned(),
            body: fixed.message_body().unwrap_or_default().to_owned(),
        });
    }
    action.target_group_arn().map(|arn| Page::Group(arn.to_owned()))
}

/// The ARN of the target group with this name or ARN.
pub(crate) async fn group(cx: &Cx, client: &Client, wanted: &str) -> Result<String, Failure> {
    let attempt = format!("find the target group {wanted}");
    let call = client.describe_target_groups();
    let call = if wanted.starts_with("arn:") { call.target_group_arns(wanted) } else { call.names(wanted) };
    let answer = cx.or_cancelled(call.send()).await?.map_err(|error| {
        failure(&attempt, "elasticloadbalancing:DescribeTargetGroups", "*", error)
            .help("check --to-target-group and the region")
    })?;
    let arn = answer.target_groups().first().and_then(|group| group.target_group_arn());
    arn.map(str::to_owned).ok_or_else(|| Failure::refused(attempt).because("there is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_by_its_arn_or_by_balancer_and_port() {
        assert_eq!(place("api-prod:443"), Ok(Place::Of("api-prod".into(), 443)));
        let arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/api/1/2";
        assert_eq!(place(arn), Ok(Place::Arn(arn.into())));
        for wrong in
            ["api-prod", ":443", "api:x", "arn:aws:elasticloadbalancing:us-east-1:1:listener/net/a/1/2"]
        {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
