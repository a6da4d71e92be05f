//! Reads topics, subscriptions and alarms. The only file that reads AWS.

use std::collections::{BTreeMap, BTreeSet};

use aws::{Arn, Aws, failure};
use aws_sdk_cloudwatch::types::AlarmType;
use aws_sdk_sns::error::ProvideErrorMetadata as _;
use kit::{Cx, Failure};

use crate::args::{Act, Args};
use crate::plan::{Alarm, Seen, Stand, Subscription, Topic};
use crate::saved::{KEY, present};

/// What `ListSubscriptionsByTopic` gives in place of an ARN until the subscription is confirmed.
const PENDING: &str = "PendingConfirmation";
/// The most names that one `DescribeAlarms` takes.
const NAMES: usize = 100;

/// The clients.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
}

impl World {
    pub(crate) async fn connect(cx: &Cx, args: &Args) -> Result<Self, Failure> {
        let aws = Aws::connect(cx, &args.aws).await?;
        let sns = aws_sdk_sns::Client::new(&aws.config);
        let cloudwatch = aws_sdk_cloudwatch::Client::new(&aws.config);
        Ok(Self { aws, sns, cloudwatch })
    }
}

/// Everything that the decision needs.
pub(crate) async fn observe(cx: &Cx, world: &World, args: &Args) -> Result<Seen, Failure> {
    let mut topics = Vec::new();
    for arn in arns(cx, world, &args.topic).await? {
        topics.push(topic(cx, world, &arn).await?);
    }
    let (alarms, missing) = alarms(cx, world, args).await?;
    Ok(Seen { topics, alarms, missing })
}

/// The ARNs of the topics, each once.
async fn arns(cx: &Cx, world: &World, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut known: Option<Vec<String>> = None;
    for topic in wanted {
        let arn = if topic.contains(':') {
            let attempt = format!("find the topic {topic}");
            let arn: Arn = topic.parse().map_err(|error: String| Failure::usage(&attempt).because(error))?;
            if arn.service != "sns" || arn.resource.contains(':') {
                return Err(Failure::usage(attempt)
                    .because("it is not the ARN of a topic")
                    .help("write the topic's name, or arn:aws:sns:REGION:ACCOUNT:NAME"));
            }
            if arn.region != world.aws.region {
                return Err(Failure::refused(attempt)
                    .because(format!("it is in {}, and this is {}", arn.region, world.aws.region))
                    .help("correct --topic or --region"));
            }
            topic.clone()
        } else {
            if known.is_none() {
                known = Some(list_topics(cx, world).await?);
            }
            by_name(topic, known.as_deref().unwrap_or_default(), world)?
        };
        if !found.contains(&arn) {
            found.push(arn);
        }
    }
    Ok(found)
}

fn by_name(wanted: &str, known: &[String], world: &World) -> Result<String, Failure> {
    let name = |arn: &'_ String| arn.rsplit(':').next().unwrap_or_default().to_owned();
    if let Some(arn) = known.iter().find(|arn| name(arn) == wanted) {
        return Ok(arn.clone());
    }
    let names: Vec<String> = known.iter().map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = kit::nearest(wanted, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(Failure::refused(format!("find the topic {wanted}"))
        .because(format!(
            "none of the {} topics of account {} in {} has that name{near}",
            known.len(),
            world.aws.account,
            world.aws.region
        ))
        .help("check --topic, the account and --region"))
}

/// Source: <https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html>
async fn list_topics(cx: &Cx, world: &World) -> Result<Vec<String>, Failure> {
    let mut pages = world.sns.list_topics().into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = cx.or_cancelled(pages.next()).await? {
        let page = page.map_err(|error| failure("list the topics", "sns:ListTopics", "*", error))?;
        found.extend(page.topics().iter().filter_map(|topic| topic.topic_arn()).map(str::to_owned));
    }
    Ok(found)
}

/// Source: <https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html>
async fn topic(cx: &Cx, world: &World, arn: &str) -> Result<Topic, Failure> {
    let name = arn.rsplit(':').next().unwrap_or(arn).to_owned();
    let mut pages = world.sns.list_subscriptions_by_topic().topic_arn(arn).into_paginator().send();
    let mut subscriptions = Vec::new();
    while let Some(page) = cx.or_cancelled(pages.next()).await? {
        let page = page.map_err(|error| {
            let unknown = error.as_service_error().and_then(|error| error.code()) == Some("NotFound");
            let failed = failure(
                format!("list the subscriptions of the topic {name}"),
                "sns:ListSubscriptionsByTopic",
                arn,
                error,
            );
            if unknown { failed.help("check --topic and the account") } else { failed }
        })?;
        for one in page.subscriptions() {
            let given = one.subscription_arn().unwrap_or_default();
            let mut found = Subscription {
                arn: given.to_owned(),
                topic: name.clone(),
                label: String::new(),
                endpoint: one.endpoint().unwrap_or_default().to_owned(),
                protocol: one.protocol().unwrap_or_default().to_owned(),
                foreign: one.owner().is_some_and(|owner| owner != world.aws.account),
                pending: given == PENDING,
                policy: None,
                scope: None,
            };
            found.label = found.shown();
            if given.starts_with("arn:") && !found.foreign {
                // Deleted since it was listed.
                let Some(now) = policy(cx, world, given).await? else { continue };
                found.pending = now.pending;
                found.policy = now.policy;
                found.scope = now.scope;
            } else if !found.foreign && !found.pending {
                // One that was deleted stays listed for a while, without its ARN.
                continue;
            }
            subscriptions.push(found);
        }
    }
    Ok(Topic { arn: arn.to_owned(), name, subscriptions })
}

/// What a subscription lets through.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) policy: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) pending: bool,
}

/// `None` when there is no such subscription any more.
///
/// Source: <https://docs.aws.amazon.com/sns/latest/api/API_GetSubscriptionAttributes.html>
pub(crate) async fn policy(cx: &Cx, world: &World, arn: &str) -> Result<Option<Filter>, Failure> {
    let sent = world.sns.get_subscription_attributes().subscription_arn(arn).send();
    match cx.or_cancelled(sent).await? {
        Ok(answer) => {
            let of = |name: &str| answer.attributes().and_then(|all| all.get(name)).map(String::as_str);
            Ok(Some(Filter {
                policy: present(of("FilterPolicy")),
                scope: of("FilterPolicyScope").filter(|scope| !scope.is_empty()).map(str::to_owned),
                pending: of("PendingConfirmation") == Some("true"),
            }))
        }
        Err(error) if error.as_service_error().and_then(|error| error.code()) == Some("NotFound") => Ok(None),
        Err(error) => {
            Err(failure(format!("read the subscription {arn}"), "sns:GetSubscriptionAttributes", arn, error))
        }
    }
}

/// The named alarms and those with a prefix, each once, in the order of their names; and the names and prefixes that none has. For `off`, one
/// that was deleted meanwhile must not keep the others silent, unless there is no other.
async fn alarms(cx: &Cx, world: &World, args: &Args) -> Result<(Vec<Alarm>, Vec<String>), Failure> {
    let mut found: BTreeMap<String, Alarm> = BTreeMap::new();
    let named: Vec<String> = args.alarm.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    for names in named.chunks(NAMES) {
        describe(cx, world, Some(names), None, &mut found).await?;
    }
    let mut missing: Vec<String> = named.into_iter().filter(|name| !found.contains_key(name)).collect();
    let none = |missing: &[String]| {
        Failure::refused(format!("find the alarm {}", missing.join(", ")))
            .because(format!("account {} has none of that name in {}", world.aws.account, world.aws.region))
            .help("check --alarm, --alarm-prefix and --region; the case matters")
    };
    if !missing.is_empty() && args.action != Act::Off {
        return Err(none(&missing));
    }
    for prefix in &args.alarm_prefix {
        let before = found.len();
        let has = found.keys().any(|name| name.starts_with(prefix));
        describe(cx, world, None, Some(prefix), &mut found).await?;
        if found.len() == before && !has {
            if args.action != Act::Off {
                return Err(Failure::refused(format!("find the alarms {prefix}*"))
                    .because(format!(
                        "account {} has none whose name begins so in {}",
                        world.aws.account, world.aws.region
                    ))
                    .help("check --alarm-prefix and --region; the case matters"));
            }
            missing.push(format!("{prefix}*"));
        }
    }
    if found.is_empty() && args.topic.is_empty() && !missing.is_empty() {
        return Err(none(&missing));
    }
    let mut alarms: Vec<Alarm> = found.into_values().collect();
    for alarm in &mut alarms {
        alarm.stand.saved = tag(cx, world, &alarm.arn).await?;
    }
    Ok((alarms, missing))
}

/// Alarms of every type: without them named, only those of a metric are given.
///
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>
async fn describe(
    cx: &Cx,
    world: &World,
    names: Option<&[String]>,
    prefix: Option<&str>,
    found: &mut BTreeMap<String, Alarm>,
) -> Result<(), Failure> {
    let call = world
        .cloudwatch
        .describe_alarms()
        .set_alarm_names(names.map(<[String]>::to_vec))
        .set_alarm_name_prefix(prefix.map(str::to_owned))
        .set_alarm_types(Some(vec![AlarmType::MetricAlarm, AlarmType::CompositeAlarm]))
        .max_records(100);
    let mut pages = call.into_paginator().send();
    while let Some(page) = cx.or_cancelled(pages.next()).await? {
        let page =
            page.map_err(|error| failure("read the alarms", "cloudwatch:DescribeAlarms", "*", error))?;
        let metric = page
            .metric_alarms()
            .iter()
            .map(|alarm| (alarm.alarm_name(), alarm.alarm_arn(), alarm.actions_enabled()));
        let composite = page
            .composite_alarms()
            .iter()
            .map(|alarm| (alarm.alarm_name(), alarm.alarm_arn(), alarm.actions_enabled()));
        for (name, arn, enabled) in metric.chain(composite) {
            let (Some(name), Some(arn), Some(enabled)) = (name, arn, enabled) else {
                return Err(Failure::failed("read the alarms").because(format!(
                    "the answer leaves out the name, the ARN or whether the actions of {} are enabled",
                    name.unwrap_or("an alarm")
                )));
            };
            let wanted = names.is_none_or(|names| names.iter().any(|one| one == name))
                && prefix.is_none_or(|prefix| name.starts_with(prefix));
            if wanted {
                let stand = Stand { enabled, saved: None };
                found.insert(name.to_owned(), Alarm { name: name.to_owned(), arn: arn.to_owned(), stand });
            }
        }
    }
    Ok(())
}

/// What the alarm is now; `None` when there is none of that name any more.
pub(crate) async fn alarm(cx: &Cx, world: &World, name: &str) -> Result<Option<Stand>, Failure> {
    let mut found = BTreeMap::new();
    describe(cx, world, Some(&[name.to_owned()]), None, &mut found).await?;
    let Some(alarm) = found.remove(name) else { return Ok(None) };
    let saved = tag(cx, world, &alarm.arn).await?;
    Ok(Some(Stand { saved, ..alarm.stand }))
}

/// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListTagsForResource.html>
async fn tag(cx: &Cx, world: &World, arn: &str) -> Result<Option<String>, Failure> {
    let sent = world.cloudwatch.list_tags_for_resource().resource_arn(arn).send();
    let answer = cx.or_cancelled(sent).await?.map_err(|error| {
        failure(format!("read the tags of {arn}"), "cloudwatch:ListTagsForResource", arn, error)
    })?;
    Ok(answer.tags().iter().find(|tag| tag.key() == Some(KEY)).and_then(|tag| tag.value()).map(str::to_owned))
}
