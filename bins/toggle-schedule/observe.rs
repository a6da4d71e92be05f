//! Reads the rules and their tags. The only file that reads AWS.

use aws::{Aws, failure};
use aws_sdk_eventbridge::error::ProvideErrorMetadata as _;
use kit::{Cx, Failure};

use crate::args::Args;
use crate::plan::{Rule, Stand};
use crate::saved::KEY;

/// The client.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) events: aws_sdk_eventbridge::Client,
}

impl World {
    pub(crate) async fn connect(cx: &Cx, args: &Args) -> Result<Self, Failure> {
        let aws = Aws::connect(cx, &args.aws).await?;
        let events = aws_sdk_eventbridge::Client::new(&aws.config);
        Ok(Self { aws, events })
    }
}

/// Every rule that was named, each once.
pub(crate) async fn observe(cx: &Cx, world: &World, args: &Args) -> Result<Vec<Rule>, Failure> {
    let mut rules: Vec<Rule> = Vec::new();
    for name in &args.rule {
        if rules.iter().any(|rule| rule.name == *name) {
            continue;
        }
        let Some(rule) = rule(cx, world, &args.event_bus, name).await? else {
            let near = near(cx, world, &args.event_bus, name).await?;
            return Err(Failure::refused(format!("find the rule {name}"))
                .because(format!(
                    "the event bus {} of account {} in {} has no rule of that name{near}",
                    args.event_bus, world.aws.account, world.aws.region
                ))
                .help("check --rule, --event-bus and --region; the case matters"));
        };
        rules.push(rule);
    }
    Ok(rules)
}

/// `None` when there is no such rule.
///
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html>
pub(crate) async fn rule(cx: &Cx, world: &World, bus: &str, name: &str) -> Result<Option<Rule>, Failure> {
    let attempt = format!("read the rule {name}");
    let sent = world.events.describe_rule().name(name).event_bus_name(bus).send();
    let answer = match cx.or_cancelled(sent).await? {
        Ok(answer) => answer,
        Err(error)
            if error.as_service_error().and_then(|error| error.code())
                == Some("ResourceNotFoundException") =>
        {
            return Ok(None);
        }
        Err(error) => {
            let arn = format!("arn:aws:events:{}:{}:rule/{name}", world.aws.region, world.aws.account);
            return Err(failure(attempt, "events:DescribeRule", &arn, error));
        }
    };
    let (Some(arn), Some(state)) = (answer.arn(), answer.state()) else {
        return Err(Failure::failed(attempt).because("the answer has no ARN or no state"));
    };
    let sent = world.events.list_tags_for_resource().resource_arn(arn).send();
    let tags = cx.or_cancelled(sent).await?.map_err(|error| {
        failure(format!("read the tags of the rule {name}"), "events:ListTagsForResource", arn, error)
    })?;
    let saved = tags.tags().iter().find(|tag| tag.key() == KEY).map(|tag| tag.value().to_owned());
    Ok(Some(Rule {
        name: name.to_owned(),
        bus: bus.to_owned(),
        arn: arn.to_owned(),
        schedule: answer.schedule_expression().filter(|text| !text.is_empty()).map(str::to_owned),
        managed_by: answer.managed_by().filter(|text| !text.is_empty()).map(str::to_owned),
        stand: Stand { state: state.as_str().to_owned(), saved },
    }))
}

/// The name that may have been meant. Not being allowed to list them is no reason to say less.
///
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html>
async fn near(cx: &Cx, world: &World, bus: &str, wanted: &str) -> Result<String, Failure> {
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let call = world.events.list_rules().event_bus_name(bus).set_next_token(token);
        let Ok(answer) = cx.or_cancelled(call.send()).await? else { break };
        names.extend(answer.rules().iter().filter_map(|rule| rule.name()).map(str::to_owned));
        token = answer.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(kit::nearest(wanted, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default())
}
