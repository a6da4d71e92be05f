//! What is registered with a load balancer is in service: a target group, or a classic load balancer.
//!
//! Sources: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html>,
//! <https://docs.aws.amazon.com/elasticloadbalancing/2012-06-01/APIReference/API_DescribeInstanceHealth.html>

use aws::{Arn, Aws, failure};
use aws_sdk_elasticloadbalancing::Client as Classic;
use aws_sdk_elasticloadbalancing::operation::describe_instance_health::DescribeInstanceHealthError;
use aws_sdk_elasticloadbalancingv2::Client as V2;
use aws_sdk_elasticloadbalancingv2::operation::describe_target_groups::DescribeTargetGroupsError;
use aws_sdk_elasticloadbalancingv2::operation::describe_target_health::DescribeTargetHealthError;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use kit::Failure;
use serde::Serialize;

use super::Look;

/// How many targets are named in a line.
const NAMED: usize = 8;

/// A target group or classic load balancer, and how many of its targets must at least be in service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) least: usize,
    pub(crate) classic: bool,
}

/// For clap's `value_parser`: `NAME[=N]`, or a target group's ARN in place of the name.
pub(crate) fn parse_group(text: &str) -> Result<Group, String> {
    let group = parse(text, false)?;
    if group.name.starts_with("arn:") {
        let arn = group.name.parse::<Arn>().ok().filter(|arn| arn.service == "elasticloadbalancing");
        if !arn.is_some_and(|arn| arn.resource.starts_with("targetgroup/")) {
            return Err("this is no ARN of a target group".to_owned());
        }
    }
    Ok(group)
}

/// For clap's `value_parser`: `NAME[=N]` of a classic load balancer.
pub(crate) fn parse_classic(text: &str) -> Result<Group, String> {
    parse(text, true)
}

fn parse(text: &str, classic: bool) -> Result<Group, String> {
    let (name, least) = match text.split_once('=') {
        None => (text, 1),
        Some((name, least)) => {
            let least = least.parse().ok().filter(|least| *least > 0);
            (name, least.ok_or("after the `=` stands the least number of targets, 1 or more")?)
        }
    };
    if name.is_empty() {
        return Err("write NAME, or NAME=N for at least N targets".to_owned());
    }
    Ok(Group { name: name.to_owned(), least, classic })
}

impl Group {
    pub(crate) fn name(&self) -> String {
        let name = short(&self.name);
        if self.classic { format!("instances of {name}") } else { format!("targets of {name}") }
    }
}

/// The name in the ARN of a target group (`...:targetgroup/NAME/ID`), or what is none.
fn short(name: &str) -> &str {
    name.split_once(":targetgroup/").and_then(|(_, rest)| rest.split('/').next()).unwrap_or(name)
}

/// One registered target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Instance, address or function; with the port where it has one.
    pub(crate) id: String,
    pub(crate) state: State,
    /// Why it is not in service, as AWS says it.
    pub(crate) reason: String,
}

/// What counts of a target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    InService,
    /// On its way out: it need not be healthy any more, and does not count.
    Draining,
    Other(String),
}

/// Whether all targets are in service, and enough of them. None at all is not.
pub(crate) fn judge(targets: &[Target], least: usize) -> Look {
    let of = |wanted: fn(&State) -> bool| targets.iter().filter(move |target| wanted(&target.state));
    let draining: Vec<&str> =
        of(|state| *state == State::Draining).map(|target| target.id.as_str()).collect();
    let good = of(|state| *state == State::InService).count();
    let bad: Vec<String> = targets
        .iter()
        .filter_map(|target| match &target.state {
            State::Other(state) if target.reason.is_empty() => Some(format!("{} is {state}", target.id)),
            State::Other(state) => Some(format!("{} is {state} ({})", target.id, target.reason)),
            _ => None,
        })
        .collect();
    let registered = good + bad.len();
    let mut parts = vec![if registered == 0 {
        "none is registered".to_owned()
    } else {
        format!("{good} of {registered} are in service")
    }];
    if bad.is_empty() && good < least {
        parts.push(format!("want {least} at least"));
    }
    parts.extend(bad.iter().take(NAMED).cloned());
    if bad.len() > NAMED {
        parts.push(format!("{} more are not", bad.len() - NAMED));
    }
    if !draining.is_empty() {
        parts.push(format!("draining: {}", draining.join(", ")));
    }
    let line = parts.join("; ");
    if bad.is_empty() && good >= least { Look::healthy(line) } else { Look::not_yet(line) }
}

/// A probe of one group.
#[derive(Debug)]
pub(crate) struct Targets {
    group: Group,
    aws: Aws,
    /// The ARN of a group that was given by name.
    arn: Option<String>,
}

impl Targets {
    pub(crate) fn new(group: Group, aws: Aws) -> Self {
        let arn = group.name.starts_with("arn:").then(|| group.name.clone());
        Self { group, aws, arn }
    }

    pub(crate) fn name(&self) -> String {
        self.group.name()
    }

    pub(crate) fn is_classic(&self) -> bool {
        self.group.classic
    }

    pub(crate) async fn look(&mut self) -> Result<Look, Failure> {
        let targets = if self.group.classic { self.instances().await? } else { self.targets().await? };
        Ok(judge(&targets, self.group.least))
    }

    async fn targets(&mut self) -> Result<Vec<Target>, Failure> {
        let client = V2::new(&self.aws.config);
        let arn = match &self.arn {
            Some(arn) => arn.clone(),
            None => self.arn.insert(self.find(&client).await?).clone(),
        };
        let attempt = format!("look at the {}", self.name());
        let answer =
            client.describe_target_health().target_group_arn(&arn).send().await.map_err(|error| {
                if error
                    .as_service_error()
                    .is_some_and(DescribeTargetHealthError::is_target_group_not_found_exception)
                {
                    return self.absent(&attempt);
                }
                failure(&attempt, "elasticloadbalancing:DescribeTargetHealth", "*", error)
            })?;
        Ok(answer
            .target_health_descriptions()
            .iter()
            .map(|seen| {
                let target = seen.target();
                let id = target.and_then(|target| target.id()).unwrap_or("?");
                let health = seen.target_health();
                let state =
                    health.and_then(|health| health.state()).map_or("unknown", |state| state.as_str());
                let code = health.and_then(|health| health.reason()).map_or("", |reason| reason.as_str());
                let text = health.and_then(|health| health.description()).unwrap_or_default();
                Target {
                    id: target
                        .and_then(TargetDescription::port)
                        .map_or(id.to_owned(), |port| format!("{id}:{port}")),
                    state: match state {
                        "healthy" => State::InService,
                        "draining" => State::Draining,
                        other => State::Other(other.to_owned()),
                    },
                    reason: reason(code, text),
                }
            })
            .collect())
    }

    /// The ARN of the group of exactly that name.
    async fn find(&self, client: &V2) -> Result<String, Failure> {
        let name = &self.group.name;
        let attempt = format!("find the target group {name}");
        let answer = client.describe_target_groups().names(name).send().await.map_err(|error| {
            if error
                .as_service_error()
                .is_some_and(DescribeTargetGroupsError::is_target_group_not_found_exception)
            {
                return self.absent(&attempt);
            }
            failure(&attempt, "elasticloadbalancing:DescribeTargetGroups", "*", error)
        })?;
        // A name is unique in an account and region.
        let found = answer.target_groups().iter().find(|group| group.target_group_name() == Some(name));
        found
            .and_then(|group| group.target_group_arn())
            .map(str::to_owned)
            .ok_or_else(|| self.absent(&attempt))
    }

    async fn instances(&self) -> Result<Vec<Target>, Failure> {
        let name = &self.group.name;
        let attempt = format!("look at the {}", self.name());
        let client = Classic::new(&self.aws.config);
        let answer =
            client.describe_instance_health().load_balancer_name(name).send().await.map_err(|error| {
                if error
                    .as_service_error()
                    .is_some_and(DescribeInstanceHealthError::is_access_point_not_found_exception)
                {
                    return self.absent(&attempt);
                }
                failure(&attempt, "elasticloadbalancing:DescribeInstanceHealth", "*", error)
            })?;
        Ok(answer
            .instance_states()
            .iter()
            .map(|seen| {
                let not_given = |text: &&str| !text.is_empty() && *text != "N/A";
                let code = seen.reason_code().filter(not_given).unwrap_or_default();
                let text = seen.description().filter(not_given).unwrap_or_default();
                Target {
                    id: seen.instance_id().unwrap_or("?").to_owned(),
                    state: match seen.state() {
                        Some("InService") => State::InService,
                        other => State::Other(other.unwrap_or("unknown").to_owned()),
                    },
                    reason: reason(code, text),
                }
            })
            .collect())
    }

    fn absent(&self, attempt: &str) -> Failure {
        let (what, list) = if self.group.classic {
            ("classic load balancer", "aws elb describe-load-balancers")
        } else {
            ("target group", "aws elbv2 describe-target-groups")
        };
        Failure::refused(attempt)
            .because(format!(
                "there is no such {what} in account {} in {}",
                self.aws.account, self.aws.region
            ))
            .help(format!("check the name and --region; list them with: {list}"))
    }
}

fn reason(code: &str, text: &str) -> String {
    kit::one_line(&[code, text].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str, state: State, reason: &str) -> Target {
        Target { id: id.to_owned(), state, reason: reason.to_owned() }
    }

    #[test]
    fn all_that_are_registered_must_be_in_service_and_enough_of_them() {
        let good = |id: &str| target(id, State::InService, "");
        let bad =
            |id: &str| target(id, State::Other("unhealthy".into()), "Target.Timeout: Request timed out");
        let draining = |id: &str| target(id, State::Draining, "");
        for (targets, least, verdict) in [
            (vec![], 1, Err("none is registered; want 1 at least")),
            (vec![good("i-1:80")], 1, Ok("1 of 1 are in service")),
            (vec![good("i-1:80")], 2, Err("1 of 1 are in service; want 2 at least")),
            (
                vec![good("i-1:80"), bad("i-2:80")],
                1,
                Err("1 of 2 are in service; i-2:80 is unhealthy (Target.Timeout: Request timed out)"),
            ),
            (vec![good("i-1:80"), draining("i-0:80")], 1, Ok("1 of 1 are in service; draining: i-0:80")),
            (vec![draining("i-0:80")], 1, Err("none is registered; want 1 at least; draining: i-0:80")),
        ] {
            let seen = judge(&targets, least).verdict;
            assert_eq!(seen, verdict.map(str::to_owned).map_err(str::to_owned));
        }
        // Registered, but no zone or listener leads there: it gets no request.
        let unused = target("i-1:80", State::Other("unused".into()), "Target.NotInUse");
        assert!(judge(&[unused], 1).verdict.is_err());
    }

    #[test]
    fn groups_are_named_with_their_least_number() {
        let arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/boss-api/73e2d6bc24d8a067";
        assert_eq!(
            parse_group("boss-api=2").unwrap(),
            Group { name: "boss-api".into(), least: 2, classic: false }
        );
        assert_eq!(parse_group(arn).unwrap().name(), "targets of boss-api");
        assert_eq!(parse_classic("elb-boss").unwrap().name(), "instances of elb-boss");
        for bad in ["", "=2", "boss-api=", "boss-api=0", "boss-api=two", "arn:aws:ecs:us-east-1:1:service/a"]
        {
            assert!(parse_group(bad).is_err(), "{bad}");
        }
    }
}
