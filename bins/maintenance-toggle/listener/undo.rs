//! Takes a run back, last call first, where what it left is still there.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::Client;
use kit::{Action, ActionRecord, Cx, Failure, Go, Outcome, Plan, Poll, Receipt};
use serde::Serialize;

use super::plan::{Change, Priorities, Rule};
use super::saved::Saved;
use super::{Inverse, apply, observe};
use crate::args::{Act, Request};
use crate::check::answers_at;

/// What is to be done about one record.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// It is taken back already.
    Settled,
    Create,
    Delete(String),
    Move(Priorities),
}

#[derive(Debug, Serialize)]
struct Back {
    name: String,
    #[serde(skip)]
    steps: Vec<(ActionRecord, Inverse, Way)>,
}

impl Back {
    /// The ARNs of the rules that the receipt's runs, or taking them back, changed.
    fn touched(&self, made: Option<&(String, String)>) -> BTreeSet<String> {
        let mut arns = BTreeSet::new();
        for (_, inverse, way) in &self.steps {
            match (&inverse.change, way) {
                (Change::Move { from, .. }, _) => arns.extend(from.keys().cloned()),
                (Change::Delete { arn, .. }, _) | (Change::Create { .. }, Way::Delete(arn)) => {
                    arns.insert(arn.clone());
                }
                (Change::Create { .. }, _) => {}
            }
        }
        if let Some((old, new)) = made
            && arns.remove(old)
        {
            arns.insert(new.clone());
        }
        arns
    }
}

impl Plan for Back {
    fn actions(&self) -> Vec<Action> {
        let does = |(record, inverse, way): &(ActionRecord, Inverse, Way)| {
            let text = match (way, &inverse.change) {
                (Way::Create, Change::Delete { priority, .. }) => {
                    format!("add the page's rule of {} with priority {priority} again", self.name)
                }
                (Way::Delete(arn), _) => format!("delete the page's rule {arn}"),
                (Way::Move(to), _) => format!("give {} rules the priorities that they had", to.len()),
                (Way::Settled | Way::Create, _) => return None,
            };
            Some(Action::irreversible(&record.id, text, "run the step again instead"))
        };
        self.steps.iter().filter_map(does).collect()
    }

    fn unchanged(&self) -> String {
        format!("the rules for {} are what they were before that run", self.name)
    }
}

pub(crate) async fn take_back(
    cx: &Cx,
    request: &Request,
    client: &Client,
    receipt: &Receipt,
) -> Result<Outcome, Failure> {
    let records = receipt.inverses::<Inverse>()?;
    let Some((_, first)) = records.first() else {
        return Ok(Outcome::unchanged("nothing to take back: that run changed nothing"));
    };
    let (listener, name) = (first.listener.clone(), first.name.clone());
    let mut rules = observe::rules(cx, client, &listener).await?;
    let mut steps = Vec::new();
    for (record, inverse) in records {
        let way = way(&inverse, &mut rules)?;
        steps.push((record, inverse, way));
    }
    let back = Back { name, steps };
    if let Go::Stop(outcome) = cx.show(&back)? {
        return Ok(outcome);
    }
    let mut changed = false;
    let mut made: Option<(String, String)> = None;
    for (record, inverse, way) in &back.steps {
        match (way, &inverse.change) {
            (Way::Settled, _) => cx.mark_undone(record)?,
            (Way::Create, Change::Delete { arn, priority, page: Some(page), saved }) => {
                let call = apply::create(cx, client, &listener, *priority, page, saved);
                made = Some((arn.clone(), cx.act_undo(&record.id, record, call).await?));
            }
            (Way::Create, _) => {}
            (Way::Delete(arn), _) => cx.act_undo(&record.id, record, apply::delete(client, arn)).await?,
            (Way::Move(to), _) => {
                let to = match &made {
                    Some((old, new)) => renamed(to, old, new),
                    None => to.clone(),
                };
                cx.act_undo(&record.id, record, apply::set_priorities(client, &listener, &to)).await?;
            }
        }
        changed |= !matches!(way, Way::Settled);
    }
    // A rule that is made again has another ARN.
    if let Some((old, new)) = &made
        && let Some(rule) = rules.iter_mut().find(|rule| rule.arn == *old)
    {
        rule.arn.clone_from(new);
    }
    let touched = back.touched(made.as_ref());
    let mut now = Vec::new();
    cx.read_back(async || {
        now = observe::rules(cx, client, &listener).await?;
        Ok(unlike(&touched, &rules, &now).map_or(Poll::Ready(()), Poll::Pending))
    })
    .await?;
    if let Some(place) = request.args.listener.as_ref().filter(|_| !request.args.no_fetch) {
        let on = now.iter().any(|rule| Saved::is_for(&rule.tags, &back.name));
        let request = request.acting(if on { Act::On } else { Act::Off });
        let dns = observe::listener(cx, client, place).await?.dns;
        answers_at(cx, &request, &BTreeSet::new(), std::slice::from_ref(&dns)).await?;
    }
    let headline = back.unchanged();
    Ok(if changed { Outcome::changed(headline) } else { Outcome::unchanged(headline) })
}

/// What of the rules is not as it is to be; those that no run of the receipt touched may be as they like.
fn unlike(touched: &BTreeSet<String>, wanted: &[Rule], now: &[Rule]) -> Option<String> {
    let priority = |rules: &[Rule], arn: &str| {
        rules
            .iter()
            .find(|rule| rule.arn == arn)
            .map_or_else(|| "not there".to_owned(), |rule| format!("at {}", rule.priority))
    };
    touched.iter().find_map(|arn| {
        let (wanted, now) = (priority(wanted, arn), priority(now, arn));
        (wanted != now).then(|| format!("the rule {arn} is {now} and not {wanted}"))
    })
}

fn renamed(priorities: &Priorities, old: &str, new: &str) -> Priorities {
    priorities
        .iter()
        .map(|(arn, number)| (if arn == old { new.to_owned() } else { arn.clone() }, *number))
        .collect()
}

/// What takes the change back, and the rules as they are then.
fn way(inverse: &Inverse, rules: &mut Vec<Rule>) -> Result<Way, Failure> {
    let refused = |why: String| {
        Failure::refused(format!("put the rules for {} back", inverse.name))
            .because(why)
            .help("see --action status, and put it right by hand")
    };
    match &inverse.change {
        Change::Create { saved, .. } => {
            let tags = saved.tags();
            let Some(at) = rules.iter().position(|rule| rule.tags == tags) else { return Ok(Way::Settled) };
            Ok(Way::Delete(rules.remove(at).arn))
        }
        Change::Move { from, to } => {
            let now: BTreeMap<&str, u32> =
                rules.iter().map(|rule| (rule.arn.as_str(), rule.priority)).collect();
            let is = |wanted: &Priorities| {
                wanted.iter().all(|(arn, number)| now.get(arn.as_str()).is_none_or(|now| now == number))
            };
            if is(from) {
                return Ok(Way::Settled);
            }
            if !is(to) {
                return Err(refused(
                    "the priorities are neither what that run left nor what it found".to_owned(),
                ));
            }
            for rule in rules.iter_mut() {
                if let Some(number) = from.get(&rule.arn) {
                    rule.priority = *number;
                }
            }
            Ok(Way::Move(from.clone()))
        }
        Change::Delete { priority, page, saved, arn } => {
            if rules.iter().any(|rule| rule.tags == saved.tags()) {
                return Ok(Way::Settled);
            }
            let Some(page) = page else {
                return Err(refused(
                    "the rule was not one that this step makes, so it can't be made again".to_owned(),
                ));
            };
            if let Some(other) = rules.iter().find(|rule| rule.priority == *priority) {
                return Err(refused(format!(
                    "its priority {priority} is another rule's now: {}",
                    other.shown
                )));
            }
            rules.push(Rule {
                arn: arn.clone(),
                priority: *priority,
                hosts: super::plan::Hosts::Like(vec![inverse.name.clone()]),
                shown: String::new(),
                page: Some(page.clone()),
                tags: saved.tags(),
            });
            Ok(Way::Create)
        }
    }
}
