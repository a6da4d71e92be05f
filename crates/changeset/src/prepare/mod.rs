//! From what the caller gave to what CloudFormation is asked for: files read and checked offline, the stack observed,
//! parameters put together.

mod files;
mod parameters;

use std::collections::BTreeMap;

use kit::{Cx, Failure, Secret, nearest};

pub use self::files::{Files, files, is_url};
use self::parameters::{Values, as_before, check};

use crate::live::{
    Bucket, Cfn, Kind, ParameterValue, Phase, Recovery, RollbackTrigger, Stack, TemplateSource, Want,
};
use crate::request::{ParamArg, StackArg};
use crate::template::GivenValue;

/// What one call of a step is about.
#[derive(Clone, Debug)]
pub struct Call {
    pub stacks: Vec<StackArg>,
    pub params: Vec<ParamArg>,
    pub capabilities: Vec<String>,
    pub bucket: Option<Bucket>,
}

/// A stack with all that a change set for it takes.
#[derive(Clone, Debug)]
pub struct Ready {
    pub arg: StackArg,
    /// As it is; none where there is none, or only the empty one of an earlier change set.
    pub observed: Option<Stack>,
    /// Whether there was no stack at all: the empty one that a change set leaves is this run's own then.
    pub absent: bool,
    pub want: Want,
    /// The text that is to get to CloudFormation through a bucket, or within the request.
    pub body: Option<String>,
    /// What the reader should know of the files.
    pub notes: Vec<String>,
}

/// What a stack was, for making it again.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// Those that say `NoEcho` as `****`.
    pub parameters: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub role_arn: Option<String>,
    pub notification_arns: Vec<String>,
    pub rollback_triggers: Vec<RollbackTrigger>,
    pub monitoring_minutes: Option<i32>,
}

impl From<&Stack> for Former {
    fn from(stack: &Stack) -> Self {
        Self {
            parameters: stack.parameters.clone(),
            tags: stack.tags.clone(),
            role_arn: stack.role_arn.clone(),
            notification_arns: stack.notification_arns.clone(),
            rollback_triggers: stack.rollback_triggers.clone(),
            monitoring_minutes: stack.monitoring_minutes,
        }
    }
}

/// Whether a stack can be planned now.
#[derive(Clone, Debug)]
pub enum Prepared {
    Ready(Box<Ready>),
    /// Not before a stack ahead of it has run; why.
    Provisional(String),
}

impl Call {
    /// The stack of a label.
    pub fn stack(&self, label: &str) -> Option<&StackArg> {
        self.stacks.iter().find(|stack| stack.label == label)
    }

    /// Refuses labels and names that stand twice, and parameters for stacks that are not there.
    pub fn check(&self) -> Result<(), Failure> {
        for (n, stack) in self.stacks.iter().enumerate() {
            let earlier = self.stacks.iter().take(n);
            if earlier.clone().any(|other| other.label == stack.label || other.stack == stack.stack) {
                return Err(Failure::usage(format!("work on stack {}", stack.label))
                    .because("it is given twice")
                    .help("give each stack once, in the order in which they are to be run"));
            }
        }
        let labels: Vec<&str> = self.stacks.iter().map(|stack| stack.label.as_str()).collect();
        for label in self.params.iter().filter_map(|param| param.label.as_deref()) {
            if self.stack(label).is_none() {
                return Err(no_label(&format!("give a parameter to stack {label}"), label, &labels));
            }
        }
        self.check_used()
    }

    /// Prepares one stack. `ahead` are the labels of those that run before it and will change.
    ///
    /// # Errors
    /// Files that can't be used and parameters that don't fit the template (exit 2), a stack whose state allows no update
    /// and an output that does not exist (exit 3).
    pub async fn prepare(
        &self,
        cx: &Cx,
        cfn: &Cfn,
        arg: &StackArg,
        ahead: &[&str],
    ) -> Result<Prepared, Failure> {
        let found = cfn.observe_stack(cx, &arg.stack).await?;
        let absent = found.as_ref().is_none_or(|stack| stack.phase() == Phase::Deleted);
        let observed = match found {
            Some(stack) => updatable(stack)?,
            None => None,
        };
        self.put_together(cx, cfn, arg, Found { observed, absent }, None, ahead).await
    }

    /// Prepares a stack that is made again after its deletion: what is not given is as it was.
    ///
    /// # Errors
    /// As [`Call::prepare`]; and a `NoEcho` parameter that is not given (exit 3), as its value can't be read back.
    pub async fn prepare_again(
        &self,
        cx: &Cx,
        cfn: &Cfn,
        arg: &StackArg,
        former: &Former,
        ahead: &[&str],
    ) -> Result<Prepared, Failure> {
        // What is there by then is deleted by then.
        let found = Found { observed: None, absent: true };
        self.put_together(cx, cfn, arg, found, Some(former), ahead).await
    }

    async fn put_together(
        &self,
        cx: &Cx,
        cfn: &Cfn,
        arg: &StackArg,
        found: Found,
        former: Option<&Former>,
        ahead: &[&str],
    ) -> Result<Prepared, Failure> {
        let Found { observed, absent } = found;
        let files = files(arg)?;
        let Values { mut given, later } = self.values(cx, cfn, arg, &files, ahead).await?;
        if let Some(former) = former {
            as_before(arg, &files, former, &mut given)?;
        }
        let mut notes = files.parameters.notes.clone();
        // What can be checked is, though the stack may have to wait.
        check(arg, &files, &given, &later, observed.as_ref(), &mut notes)?;
        if let Some(later) = later.into_iter().next() {
            return Ok(Prepared::Provisional(later.because));
        }
        let mut parameters: BTreeMap<String, ParameterValue> = BTreeMap::new();
        if let Some(stack) = &observed {
            let declared = |name: &str| match &files.template {
                Some(template) => template.parameters().any(|(parameter, _)| parameter == name),
                // What a template elsewhere declares is not known here; AWS says if it is less.
                None => true,
            };
            parameters.extend(
                stack
                    .parameters
                    .keys()
                    .filter(|name| declared(name))
                    .map(|name| (name.clone(), ParameterValue::Previous)),
            );
        }
        for entry in given {
            let value = match entry.value {
                GivenValue::Previous => ParameterValue::Previous,
                GivenValue::Text(text) => {
                    if files.template.as_ref().is_some_and(|template| template.is_no_echo(&entry.parameter)) {
                        // From here on no output shows it.
                        let _ = Secret::new(text.clone());
                    }
                    ParameterValue::Given(text)
                }
            };
            parameters.insert(entry.parameter, value);
        }
        let template = match (&arg.template, &files.body) {
            (Some(url), None) => cfn.template_at(url)?,
            (_, Some(text)) => {
                cfn.check_size(text, self.bucket.as_ref())?;
                TemplateSource::Body(text.clone())
            }
            (None, None) if observed.is_some() => TemplateSource::Previous,
            (None, None) => {
                return Err(Failure::usage(format!("make stack {}", arg.stack))
                    .because("it does not exist, and no template is given")
                    .help(format!("add =TEMPLATE to --stack {arg}")));
            }
        };
        let mut tags = match (&observed, former) {
            (Some(stack), _) => stack.tags.clone(),
            (None, Some(former)) => former.tags.clone(),
            (None, None) => BTreeMap::new(),
        };
        tags.extend(files.parameters.tags.iter().cloned());
        // What an update leaves out stays; a stack that is made again has nothing that could stay.
        let as_it_was = former.cloned().unwrap_or_default();
        let want = Want {
            stack: arg.stack.clone(),
            kind: if observed.is_some() { Kind::Update } else { Kind::Create },
            template,
            parameters,
            capabilities: self.capabilities.clone(),
            tags,
            role_arn: as_it_was.role_arn,
            notification_arns: as_it_was.notification_arns,
            rollback_triggers: as_it_was.rollback_triggers,
            monitoring_minutes: as_it_was.monitoring_minutes,
            description: String::new(),
        };
        Ok(Prepared::Ready(Box::new(Ready {
            arg: arg.clone(),
            observed,
            absent,
            want,
            body: files.body,
            notes,
        })))
    }
}

/// What is there under a stack's name.
struct Found {
    observed: Option<Stack>,
    absent: bool,
}

/// A label that no stack of the call has.
pub fn no_label(attempt: &str, label: &str, labels: &[&str]) -> Failure {
    let failure = Failure::usage(attempt).because(format!("no --stack has the label {label}"));
    match nearest(label, labels) {
        Some(near) => failure.help(format!("did you mean {near}?")),
        None => failure.help(format!("there is {}", labels.join(", "))),
    }
}

/// The stack when it can be updated, none when it is still to be made.
fn updatable(stack: Stack) -> Result<Option<Stack>, Failure> {
    let name = stack.name.clone();
    let refused = |why: String| Failure::refused(format!("plan a change of stack {name}")).because(why);
    let is = format!("it is {}", stack.status);
    match stack.phase() {
        Phase::Settled | Phase::RolledBack => Ok(Some(stack)),
        Phase::Review | Phase::Deleted => Ok(None),
        Phase::InProgress => Err(refused(format!("{is}: something else is at work on it"))
            .help("wait until it is over; `deploy-stack` does so by itself")),
        Phase::NeedsRecovery(Recovery::ContinueRollback | Recovery::Rollback) => {
            Err(refused(is)
                .help(format!("bring it back first: deploy-stack --action recover --stack {name}")))
        }
        Phase::NeedsRecovery(Recovery::Delete) => Err(refused(format!("{is}, and can only be deleted"))
            .help(format!(
                "look at what is left of it, then: deploy-stack --action delete --stack {name} --save-to DIR"
            ))),
        Phase::NeedsRecovery(Recovery::Person) => {
            Err(refused(is).help("look at it in the console: there is no call that brings it back"))
        }
    }
}
