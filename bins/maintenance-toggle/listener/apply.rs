//! Makes the changes of the listener. None of the calls has a token: after a lost answer the rules are looked at.

use std::time::Duration;

use aws::{failure, without_retry};
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::error::ProvideErrorMetadata;
use aws_sdk_elasticloadbalancingv2::operation::create_rule::CreateRuleError;
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, HostHeaderConditionConfig, RuleCondition,
    RulePriorityPair, Tag,
};
use kit::{Cx, Failure};

use super::observe::rules;
use super::plan::{Page, Priorities};
use super::saved::Saved;
use crate::apply::LOOKS;

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// The ARN of the new rule.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html>
pub(crate) async fn create(
    cx: &Cx,
    client: &Client,
    listener: &str,
    priority: u32,
    page: &Page,
    saved: &Saved,
) -> Result<String, Failure> {
    let attempt = format!("add the rule of the page for {}", saved.name);
    let action = match page {
        Page::Fixed { content_type, body } => {
            let fixed = FixedResponseActionConfig::builder()
                .status_code("503")
                .content_type(content_type)
                .message_body(body);
            Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(fixed.build())
        }
        Page::Group(arn) => Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(arn),
    };
    let hosts = HostHeaderConditionConfig::builder().values(&saved.name).build();
    let condition = RuleCondition::builder().field("host-header").host_header_config(hosts).build();
    let tags = saved.tags().into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    let tags: Vec<Tag> = tags.collect();
    let mut tries = 0;
    // Whether one of the tries may have taken effect all the same.
    let mut doubt = false;
    let left = |failure: Failure, doubt: bool| {
        let failure = failure.untouched(!doubt);
        if doubt {
            failure.state(format!("whether the rule for {} was added is not known", saved.name))
        } else {
            failure
        }
    };
    loop {
        tries += 1;
        let sent = client
            .create_rule()
            .listener_arn(listener)
            .priority(i32::try_from(priority).unwrap_or(i32::MAX))
            .conditions(condition.clone())
            .actions(action.clone().build())
            .set_tags(Some(tags.clone()))
            .customize()
            .config_override(
                aws_sdk_elasticloadbalancingv2::config::Builder::new().retry_config(without_retry()),
            )
            .send()
            .await;
        let error = match sent {
            Ok(answer) => {
                let arn = answer.rules().first().and_then(|rule| rule.rule_arn());
                return arn
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::failed(attempt).because("the answer names no rule"));
            }
            Err(error) => error,
        };
        let taken = error.as_service_error().is_some_and(CreateRuleError::is_priority_in_use_exception);
        let failed = failure(&attempt, "elasticloadbalancing:CreateRule", listener, error);
        doubt |= !failed.is_untouched();
        for pause in LOOKS.into_iter().filter(|_| doubt) {
            cx.or_cancelled(cx.pause(pause)).await.map_err(|cancelled| left(cancelled, doubt))?;
            let all = rules(cx, client, listener).await.map_err(|failed| left(failed, doubt))?;
            if let Some(ours) = all.into_iter().find(|rule| rule.tags == saved.tags()) {
                return Ok(ours.arn);
            }
        }
        if taken {
            return Err(left(in_between(&attempt, &failed), doubt));
        }
        if !failed.is_transient() || tries == TRIES {
            return Err(left(failed, doubt));
        }
        cx.or_cancelled(cx.pause(PAUSE)).await.map_err(|cancelled| left(cancelled, doubt))?;
    }
}

fn in_between(attempt: &str, failed: &Failure) -> Failure {
    Failure::waiting(attempt)
        .because(failed.chain().join(": "))
        .help("somebody has changed the rules meanwhile: run the same command again, which looks anew")
        .untouched(true)
}

/// All of them or none. The call says what is to be, so it may be repeated.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html>
pub(crate) async fn set_priorities(client: &Client, listener: &str, to: &Priorities) -> Result<(), Failure> {
    let attempt = "move the rules";
    let pair = |(arn, number): (&String, &u32)| {
        RulePriorityPair::builder().rule_arn(arn).priority(i32::try_from(*number).unwrap_or(i32::MAX)).build()
    };
    let pairs = to.iter().map(pair).collect();
    match client.set_rule_priorities().set_rule_priorities(Some(pairs)).send().await {
        Ok(_) => Ok(()),
        Err(error) => {
            let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
            let failed = failure(attempt, "elasticloadbalancing:SetRulePriorities", listener, error);
            match code.as_deref() {
                Some("PriorityInUse" | "RuleNotFound") => Err(in_between(attempt, &failed)),
                _ => Err(failed),
            }
        }
    }
}

/// A rule that is gone is as good.
///
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteRule.html>
pub(crate) async fn delete(client: &Client, arn: &str) -> Result<(), Failure> {
    match client.delete_rule().rule_arn(arn).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().and_then(|error| error.code()) == Some("RuleNotFound") => {
            Ok(())
        }
        Err(error) => {
            Err(failure("delete the rule of the page", "elasticloadbalancing:DeleteRule", arn, error))
        }
    }
}
