//! Reads the zone, the record, the saved state and the page's place. The only file that reads AWS.

use aws::{Aws, failure};
use aws_sdk_route53::types::RrType;
use kit::{Cx, Failure};

use crate::args::{Act, Request};
use crate::live::StackPart;
use crate::marker::name_of;
use crate::page::Target;
use crate::plan::{Seen, Zone};
use crate::record_set::{RecordSet, absolute};

/// The hosted zone of every CloudFront distribution.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html>
const CLOUDFRONT_ZONE: &str = "Z2FDTNDATAQYW2";

/// The clients.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) route53: aws_sdk_route53::Client,
}

impl World {
    pub(crate) async fn connect(cx: &Cx, request: &Request) -> Result<Self, Failure> {
        let aws = Aws::connect(cx, &request.args.aws).await?;
        let route53 = aws_sdk_route53::Client::new(&aws.config);
        Ok(Self { aws, route53 })
    }
}

/// Everything that the decision needs.
pub(crate) async fn observe(cx: &Cx, world: &World, request: &Request) -> Result<Seen, Failure> {
    let args = &request.args;
    let wanted = args.zone.as_deref().unwrap_or_default();
    let zone = zone(cx, world, wanted, args.private_zone).await?;
    if args.name != zone.name && !args.name.ends_with(&format!(".{}", zone.name)) {
        return Err(Failure::refused(format!("find {} in the zone {}", args.name, zone.name))
            .because("the name does not end in the zone's")
            .help("check --name and --zone"));
    }
    let at_name = records(cx, world, &zone, &args.name).await?;
    let marker = marker(cx, world, &zone, &args.name).await?;
    let target = match args.action {
        Act::Status => None,
        Act::On | Act::Off => target(cx, world, request).await?,
    };
    let live = match &args.live_from {
        Some(part) => Some(live(cx, world, part).await?),
        None => None,
    };
    let stack = if args.action == Act::On { stack(cx, world, &args.name).await? } else { Ok(None) };
    Ok(Seen { zone, at_name, marker, target, live, stack })
}

/// The zone of exactly this name or ID. `ListHostedZonesByName` answers with the next name when there is none of that name.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZonesByName.html>
async fn zone(cx: &Cx, world: &World, wanted: &str, private: bool) -> Result<Zone, Failure> {
    let attempt = format!("find the hosted zone {wanted}");
    let of = |zone: &aws_sdk_route53::types::HostedZone| Zone {
        id: zone.id.trim_start_matches("/hostedzone/").to_owned(),
        name: dns::normal(&crate::record_set::unescaped(&zone.name)),
        private: zone.config().is_some_and(|config| config.private_zone),
    };
    let kind = if private { "private" } else { "public" };
    if !wanted.contains('.') {
        let answer =
            cx.or_cancelled(world.route53.get_hosted_zone().id(wanted).send()).await?.map_err(|error| {
                let arn = format!("arn:aws:route53:::hostedzone/{wanted}");
                failure(&attempt, "route53:GetHostedZone", &arn, error)
                    .help("check --zone; `aws route53 list-hosted-zones` shows all")
            })?;
        let zone = answer.hosted_zone().map(of);
        let zone = zone.ok_or_else(|| Failure::failed(&attempt).because("the answer has none"))?;
        if zone.private != private {
            return Err(Failure::refused(attempt)
                .because(format!("{} is not a {kind} zone", zone.name))
                .help("check --zone, and --private-zone"));
        }
        return Ok(zone);
    }
    let mut found = Vec::new();
    let mut near = None;
    let mut from = (Some(wanted.to_owned()), None);
    'pages: loop {
        let call = world.route53.list_hosted_zones_by_name();
        let call = call.set_dns_name(from.0.clone()).set_hosted_zone_id(from.1.clone());
        let answer = cx
            .or_cancelled(call.send())
            .await?
            .map_err(|error| failure(&attempt, "route53:ListHostedZonesByName", "*", error))?;
        for zone in answer.hosted_zones().iter().map(of) {
            if zone.name != dns::normal(wanted) {
                near.get_or_insert(zone.name);
                break 'pages;
            }
            found.push(zone);
        }
        if !answer.is_truncated() {
            break;
        }
        from = (answer.next_dns_name.clone(), answer.next_hosted_zone_id.clone());
    }
    let (right, wrong): (Vec<Zone>, Vec<Zone>) = found.into_iter().partition(|zone| zone.private == private);
    let ids = |zones: &[Zone]| zones.iter().map(|zone| zone.id.clone()).collect::<Vec<_>>().join(", ");
    match (&right[..], &wrong[..]) {
        ([zone], _) => Ok(zone.clone()),
        ([], []) => Err(Failure::refused(attempt)
            .because(match near {
                Some(near) => format!("this account has none of that name; the next one in order is {near}"),
                None => "this account has none of that name".to_owned(),
            })
            .help("check --zone and the account")),
        ([], wrong) => Err(Failure::refused(attempt)
            .because(format!("this account has no {kind} one of that name; the other kind is {}", ids(wrong)))
            .help(if private { "leave --private-zone out" } else { "add --private-zone" })),
        (several, _) => Err(Failure::refused(attempt)
            .because(format!("there are {} {kind} ones of that name: {}", several.len(), ids(several)))
            .help("name the one that is meant by its ID: --zone ID")),
    }
}

/// Every record set of the name, whatever its type.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListResourceRecordSets.html>
pub(crate) async fn records(
    cx: &Cx,
    world: &World,
    zone: &Zone,
    name: &str,
) -> Result<Vec<RecordSet>, Failure> {
    let wanted = absolute(name);
    let mut found = Vec::new();
    let mut from: (Option<String>, Option<RrType>, Option<String>) = (Some(wanted.clone()), None, None);
    loop {
        let call = world.route53.list_resource_record_sets().hosted_zone_id(&zone.id);
        let call = call
            .set_start_record_name(from.0.clone())
            .set_start_record_type(from.1.clone())
            .set_start_record_identifier(from.2.clone());
        let answer = cx.or_cancelled(call.send()).await?.map_err(|error| {
            let arn = format!("arn:aws:route53:::hostedzone/{}", zone.id);
            failure(format!("read the records of {name}"), "route53:ListResourceRecordSets", &arn, error)
        })?;
        for set in answer.resource_record_sets() {
            let set = RecordSet::from(set);
            if dns::normal(&set.name) != dns::normal(&wanted) {
                return Ok(found);
            }
            found.push(set);
        }
        if !answer.is_truncated() {
            return Ok(found);
        }
        from = (
            answer.next_record_name.clone(),
            answer.next_record_type.clone(),
            answer.next_record_identifier.clone(),
        );
    }
}

/// What lies at the marker's name.
pub(crate) async fn marker(
    cx: &Cx,
    world: &World,
    zone: &Zone,
    name: &str,
) -> Result<Option<RecordSet>, Failure> {
    let place = name_of(name);
    let mut there = records(cx, world, zone, &place).await?;
    there.retain(|set| set.kind == "TXT");
    if there.len() > 1 {
        return Err(Failure::refused(format!("read the saved state at {}", dns::normal(&place)))
            .because(format!("there are {} TXT record sets", there.len()))
            .help("see whose they are"));
    }
    Ok(there.pop())
}

async fn target(cx: &Cx, world: &World, request: &Request) -> Result<Option<Target>, Failure> {
    let args = &request.args;
    if let Some(id) = &args.to_distribution {
        return distribution(cx, world, id, request).await.map(Some);
    }
    if let Some(name) = &args.to_load_balancer {
        return load_balancer(cx, world, name, args.action).await.map(Some);
    }
    Ok(args.to_name.as_ref().map(|name| Target {
        what: name.clone(),
        dns: name.clone(),
        alias_zone: None,
        ipv6: false,
    }))
}

/// The distribution, by its ID or by the name that it serves. For `on`, it must be ready to serve it.
///
/// Source: <https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_ListDistributions.html>
async fn distribution(cx: &Cx, world: &World, id: &str, request: &Request) -> Result<Target, Failure> {
    let name = &request.args.name;
    let by_name = id == "by-name";
    let attempt = if by_name {
        format!("find the CloudFront distribution of {name}")
    } else {
        format!("find the CloudFront distribution {id}")
    };
    let client = aws_sdk_cloudfront::Client::new(&world.aws.config);
    let mut pages = client.list_distributions().into_paginator().send();
    let mut found = Vec::new();
    let mut count = 0;
    while let Some(page) = cx.or_cancelled(pages.next()).await? {
        let page = page.map_err(|error| failure(&attempt, "cloudfront:ListDistributions", "*", error))?;
        for summary in page.distribution_list().map_or(&[][..], |list| list.items()) {
            count += 1;
            let serves = summary
                .aliases()
                .is_some_and(|aliases| aliases.items().iter().any(|alias| covers(alias, name)));
            if (by_name && serves) || (!by_name && summary.id == id) {
                found.push((summary.clone(), serves));
            }
        }
    }
    let [(summary, serves)] = &found[..] else {
        let why = match found.len() {
            0 => format!("none of the {count} distributions of this account is it"),
            n => {
                let ids: Vec<&str> = found.iter().map(|(summary, _)| summary.id.as_str()).collect();
                format!("{n} have that name or a wildcard for it among their aliases: {}", ids.join(", "))
            }
        };
        return Err(Failure::refused(attempt).because(why).help("name it by its ID: --to-distribution ID"));
    };
    let what = format!("the CloudFront distribution {} ({})", summary.id, summary.domain_name);
    let not_ready = if !summary.enabled {
        Some("it is disabled".to_owned())
    } else if summary.status != "Deployed" {
        Some(format!("its state is {}, not Deployed: some places still serve what it was", summary.status))
    } else if !serves {
        Some(format!("{name} is not among its aliases, so it would answer 403"))
    } else {
        None
    };
    if let Some(why) = not_ready.filter(|_| request.args.action == Act::On) {
        return Err(Failure::refused(format!("lead {name} to {what}"))
            .because(why)
            .help("mend the distribution first"));
    }
    Ok(Target {
        what,
        dns: dns::normal(&summary.domain_name),
        alias_zone: Some(CLOUDFRONT_ZONE.to_owned()),
        ipv6: summary.is_ipv6_enabled,
    })
}

/// Whether an alias of a distribution, which may begin with a wildcard for one label, covers the name.
///
/// Source: <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/CNAMEs.html>
fn covers(alias: &str, name: &str) -> bool {
    let (alias, name) = (dns::normal(alias), dns::normal(name));
    match alias.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => alias == name,
    }
}

/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html>
async fn load_balancer(cx: &Cx, world: &World, wanted: &str, act: Act) -> Result<Target, Failure> {
    let attempt = format!("find the load balancer {wanted}");
    let client = aws_sdk_elasticloadbalancingv2::Client::new(&world.aws.config);
    let call = client.describe_load_balancers();
    let call = if wanted.starts_with("arn:") { call.load_balancer_arns(wanted) } else { call.names(wanted) };
    let answer = cx.or_cancelled(call.send()).await?.map_err(|error| {
        failure(&attempt, "elasticloadbalancing:DescribeLoadBalancers", "*", error)
            .help("check the name and the region; a classic load balancer goes by --to-name")
    })?;
    let [found] = answer.load_balancers() else {
        return Err(Failure::refused(attempt)
            .because(format!("{} have that name", answer.load_balancers().len()))
            .help("name it by its ARN"));
    };
    let state = found.state().and_then(|state| state.code()).map_or("unknown", |code| code.as_str());
    if state != "active" && act == Act::On {
        return Err(Failure::refused(format!("lead a name to the load balancer {wanted}"))
            .because(format!("its state is {state}, not active"))
            .help("wait until it is active"));
    }
    let dns = found.dns_name().map(dns::normal).filter(|name| !name.is_empty());
    let dns = dns.ok_or_else(|| Failure::failed(attempt).because("it has no DNS name"))?;
    Ok(Target {
        what: format!("the load balancer {wanted} ({dns})"),
        alias_zone: found.canonical_hosted_zone_id().map(str::to_owned),
        ipv6: found.ip_address_type().is_some_and(|kind| kind.as_str().starts_with("dualstack")),
        dns,
    })
}

/// The load balancer that a stack has, or the name that one of its outputs holds.
///
/// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackResource.html>
async fn live(cx: &Cx, world: &World, wanted: &StackPart) -> Result<Target, Failure> {
    let StackPart { stack, part } = wanted;
    let attempt = format!("find {part} of the stack {stack}");
    let client = aws_sdk_cloudformation::Client::new(&world.aws.config);
    let sent = client.describe_stack_resource().stack_name(stack).logical_resource_id(part).send();
    let found = match cx.or_cancelled(sent).await? {
        Ok(answer) => answer.stack_resource_detail().cloned(),
        Err(error) => {
            let failure = failure(&attempt, "cloudformation:DescribeStackResource", stack, error);
            // The one code for a stack that is not there, and for one without such a resource.
            if failure.chain().iter().any(|why| why.contains("does not exist")) {
                None
            } else {
                return Err(failure);
            }
        }
    };
    let Some(found) = found else { return output(cx, world, &client, wanted).await };
    let id = found.physical_resource_id().unwrap_or_default();
    match found.resource_type().unwrap_or_default() {
        "AWS::ElasticLoadBalancingV2::LoadBalancer" => load_balancer(cx, world, id, Act::On).await,
        "AWS::ElasticLoadBalancing::LoadBalancer" => classic(cx, world, id).await,
        other => Err(Failure::refused(attempt)
            .because(format!("it is a {other}, and no load balancer"))
            .help("name a load balancer of the stack, or an output that holds a DNS name")),
    }
}

/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/2012-06-01/APIReference/API_DescribeLoadBalancers.html>
async fn classic(cx: &Cx, world: &World, name: &str) -> Result<Target, Failure> {
    let attempt = format!("find the classic load balancer {name}");
    let client = aws_sdk_elasticloadbalancing::Client::new(&world.aws.config);
    let sent = client.describe_load_balancers().load_balancer_names(name).send();
    let answer = cx
        .or_cancelled(sent)
        .await?
        .map_err(|error| failure(&attempt, "elasticloadbalancing:DescribeLoadBalancers", "*", error))?;
    let found = answer.load_balancer_descriptions().first();
    let dns = found.and_then(|found| found.dns_name()).map(dns::normal).filter(|name| !name.is_empty());
    let dns = dns.ok_or_else(|| Failure::failed(attempt).because("it has no DNS name"))?;
    Ok(Target {
        what: format!("the load balancer {name} ({dns})"),
        alias_zone: found.and_then(|found| found.canonical_hosted_zone_name_id()).map(str::to_owned),
        ipv6: false,
        dns,
    })
}

/// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html>
async fn output(
    cx: &Cx,
    world: &World,
    client: &aws_sdk_cloudformation::Client,
    wanted: &StackPart,
) -> Result<Target, Failure> {
    let StackPart { stack, part } = wanted;
    let attempt = format!("find {part} of the stack {stack}");
    let sent = client.describe_stacks().stack_name(stack).send();
    let answer = cx.or_cancelled(sent).await?.map_err(|error| {
        let failure = failure(&attempt, "cloudformation:DescribeStacks", stack, error);
        if failure.chain().iter().any(|why| why.contains("does not exist")) {
            return Failure::refused(&attempt)
                .because(format!(
                    "there is no stack {stack} in account {}, region {}",
                    world.aws.account, world.aws.region
                ))
                .help("correct --live-from, --region or the credentials");
        }
        failure
    })?;
    let outputs = answer.stacks().first().map_or(&[][..], |stack| stack.outputs());
    let value = outputs
        .iter()
        .find(|output| output.output_key() == Some(part))
        .and_then(|output| output.output_value());
    let Some(value) = value else {
        let names: Vec<&str> = outputs.iter().filter_map(|output| output.output_key()).collect();
        return Err(Failure::refused(attempt)
            .because(format!(
                "it has no resource of that logical ID and no such output; its outputs are: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
            .help("correct --live-from"));
    };
    let dns = crate::args::name(value).map_err(|_| {
        Failure::refused(&attempt)
            .because(format!("its value is no DNS name: {value}"))
            .help("name an output that holds a DNS name, or the load balancer by its logical ID")
    })?;
    Ok(Target {
        what: format!("{dns}, the output {part} of the stack {stack}"),
        alias_zone: None,
        ipv6: false,
        dns,
    })
}

/// The stack that has the record: a record set's physical ID is its name. Not being allowed to know is no reason to stop.
///
/// Source: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackResources.html>
async fn stack(cx: &Cx, world: &World, name: &str) -> Result<Result<Option<String>, String>, Failure> {
    let client = aws_sdk_cloudformation::Client::new(&world.aws.config);
    let sent = client.describe_stack_resources().physical_resource_id(name).send();
    Ok(match cx.or_cancelled(sent).await? {
        Ok(answer) => Ok(answer
            .stack_resources()
            .iter()
            .find(|resource| {
                resource.physical_resource_id().is_some_and(|id| dns::normal(id) == dns::normal(name))
            })
            .and_then(|resource| resource.stack_name())
            .map(str::to_owned)),
        Err(error) => {
            let failure = failure("", "cloudformation:DescribeStackResources", "*", error);
            let why = failure.chain().join(": ");
            // How it says that no stack has it.
            if why.contains("does not exist") { Ok(None) } else { Err(why) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn an_alias_covers_its_name_and_a_wildcard_one_label() {
        assert!(covers("API.theboss.io", "api.theboss.io"));
        assert!(covers("*.theboss.io", "api.theboss.io"));
        assert!(!covers("*.theboss.io", "theboss.io"));
        assert!(!covers("*.theboss.io", "v1.api.theboss.io"));
        assert!(!covers("xapi.theboss.io", "api.theboss.io"));
    }
}
