//! From what the caller gave to what CloudFormation is asked for: files read and checked offline, the stack observed,
//! parameters put together.

use std::collections::BTreeMap;

use kit::{Cx, Failure, Secret, nearest};

use crate::live::{
    Bucket, Cfn, Kind, ParameterValue, Phase, Recovery, RollbackTrigger, Stack, TemplateSource, Want,
};
use crate::request::{ParamArg, ParamValue, StackArg};
use crate::template::{Given, GivenValue, ParameterFile, Template, check_parameters};

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

/// The files of one stack.
#[derive(Clone, Debug)]
pub struct Files {
    /// None where the template lies in S3, or the stack's own is to stay.
    pub template: Option<Template>,
    pub body: Option<String>,
    pub parameters: ParameterFile,
}

/// Reads the template and the parameters of a stack.
///
/// # Errors
/// A file can't be read or is malformed (exit 2), with the line.
pub fn files(arg: &StackArg) -> Result<Files, Failure> {
    let mut read = Files { template: None, body: None, parameters: ParameterFile::default() };
    if let Some(file) = arg.template.as_deref().filter(|template| !is_url(template)) {
        let text = read_file("template", file)?;
        let template = Template::parse(&text).map_err(|error| {
            Failure::usage(format!("read the template {file}")).because(error).help("correct the file")
        })?;
        read.template = Some(template);
        read.body = Some(text);
    }
    if let Some(file) = &arg.parameters {
        let text = read_file("parameters", file)?;
        let no_echo = read.template.as_ref().map(Template::no_echo).unwrap_or_default();
        read.parameters = ParameterFile::parse(&text, &no_echo).map_err(|error| {
            Failure::usage(format!("read the parameters {file}")).because(error).help("correct the file")
        })?;
    }
    Ok(read)
}

/// Whether a template is named by a URL, and read by CloudFormation itself.
pub fn is_url(template: &str) -> bool {
    template.starts_with("s3://") || template.starts_with("https://")
}

fn read_file(what: &str, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("read the {what} {file}")).because(error).help("name a file that is there")
    })
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
        Ok(())
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
        let mut given = files.parameters.given.clone();
        for param in &self.params {
            if param.label.as_ref().is_some_and(|label| *label != arg.label) {
                continue;
            }
            if let Some(template) = &files.template
                && param.label.is_none()
                && !template.parameters().any(|(name, _)| name == param.key)
            {
                continue;
            }
            let value = match self.value(cx, cfn, arg, param, files.template.as_ref(), ahead).await? {
                Ok(value) => value,
                Err(because) => return Ok(Prepared::Provisional(because)),
            };
            given.retain(|entry| entry.parameter != param.key);
            given.push(Given { parameter: param.key.clone(), value: GivenValue::Text(value), line: None });
        }
        self.check_unused(&files, arg)?;
        if let Some(former) = former {
            as_before(arg, &files, former, &mut given)?;
        }
        let mut notes = files.parameters.notes.clone();
        check(arg, &files, &given, observed.as_ref(), &mut notes)?;
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

    /// A parameter without a label that no template of the call has.
    fn check_unused(&self, files: &Files, arg: &StackArg) -> Result<(), Failure> {
        let Some(template) = &files.template else { return Ok(()) };
        let single = self.stacks.len() == 1;
        for param in self.params.iter().filter(|param| param.label.is_none() && single) {
            let names: Vec<&str> = template.parameters().map(|(name, _)| name).collect();
            if !names.contains(&param.key.as_str()) {
                let failure =
                    Failure::usage(format!("give the parameter {} to stack {}", param.key, arg.label))
                        .because("its template has no such parameter");
                return Err(match nearest(&param.key, &names) {
                    Some(near) => failure.help(format!("did you mean {near}?")),
                    None => failure.help(format!("it has {}", names.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// The value of a parameter, or why it can't be known before a stack ahead has run.
    async fn value(
        &self,
        cx: &Cx,
        cfn: &Cfn,
        arg: &StackArg,
        param: &ParamArg,
        template: Option<&Template>,
        ahead: &[&str],
    ) -> Result<Result<String, String>, Failure> {
        let attempt = || format!("give the parameter {} to stack {}", param.key, arg.label);
        match &param.value {
            ParamValue::Text(text) => {
                if template.is_some_and(|template| template.is_no_echo(&param.key)) {
                    return Err(Failure::usage(attempt())
                        .because("its template says NoEcho: its value must not be seen on a command line")
                        .help(format!(
                            "write --param {}=@env:NAME, and put the value into the environment",
                            param.key
                        )));
                }
                Ok(Ok(text.clone()))
            }
            ParamValue::Environment(name) => match cx.env().get(name) {
                Some(value) => {
                    let _ = Secret::new(value);
                    Ok(Ok(value.to_owned()))
                }
                None => Err(Failure::usage(attempt())
                    .because(format!("the environment has no variable {name}"))
                    .help(format!("set {name}"))),
            },
            ParamValue::Output { stack: label, output } => {
                let within = self.stack(label);
                let name = within.map_or(label, |stack| &stack.stack);
                let stack = cfn.observe_stack(cx, name).await?.filter(|stack| stack.phase() != Phase::Review);
                let waits = ahead.contains(&label.as_str());
                let Some(stack) = stack.filter(|stack| stack.phase() != Phase::Deleted) else {
                    if waits {
                        return Ok(Err(format!(
                            "it needs the output {output} of {label}, which is still to be made"
                        )));
                    }
                    return Err(Failure::refused(attempt())
                        .because(format!("there is no stack {name}, whose output {output} it is to be"))
                        .help("run that stack first, or correct its name"));
                };
                match stack.outputs.get(output) {
                    Some(found) => Ok(Ok(found.value.clone())),
                    None if waits => {
                        Ok(Err(format!("it needs the output {output}, which {label} does not have yet")))
                    }
                    None => {
                        let names: Vec<&str> = stack.outputs.keys().map(String::as_str).collect();
                        let failure = Failure::refused(attempt())
                            .because(format!("stack {name} has no output {output}"));
                        Err(match nearest(output, &names) {
                            Some(near) => failure.help(format!("did you mean @{label}.{near}?")),
                            None if names.is_empty() => failure.help("it has none at all"),
                            None => failure.help(format!("it has {}", names.join(", "))),
                        })
                    }
                }
            }
        }
    }
}

/// What is there under a stack's name.
struct Found {
    observed: Option<Stack>,
    absent: bool,
}

/// Gives the parameters that are not given the values that they had.
fn as_before(arg: &StackArg, files: &Files, former: &Former, given: &mut Vec<Given>) -> Result<(), Failure> {
    let Some(template) = &files.template else { return Ok(()) };
    let mut hidden: Vec<&str> = Vec::new();
    for (name, _) in template.parameters() {
        let asked = given.iter().find(|entry| entry.parameter == name);
        if asked.is_some_and(|entry| entry.value != GivenValue::Previous) {
            continue;
        }
        match former.parameters.get(name) {
            Some(value) if template.is_no_echo(name) || value == HIDDEN => hidden.push(name),
            Some(value) => {
                given.retain(|entry| entry.parameter != name);
                let value = GivenValue::Text(value.clone());
                given.push(Given { parameter: name.to_owned(), value, line: None });
            }
            None => {}
        }
    }
    if hidden.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("make stack {} again", arg.label))
        .because(format!("{} can't be read back from it: NoEcho hides what it was", hidden.join(", ")))
        .help(format!(
            "give each: --param {}=@env:NAME, or in the file of parameters",
            hidden.join("=..., ")
        )))
}

/// What DescribeStacks gives for a `NoEcho` parameter.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>
const HIDDEN: &str = "****";

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

/// Every parameter that does not fit, in one message.
fn check(
    arg: &StackArg,
    files: &Files,
    given: &[Given],
    observed: Option<&Stack>,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(template) = &files.template else {
        if arg.template.is_some() {
            notes.push(
                "the template lies elsewhere: its parameters were not checked before AWS was asked"
                    .to_owned(),
            );
        }
        return Ok(());
    };
    let previous: Option<Vec<&str>> =
        observed.map(|stack| stack.parameters.keys().map(String::as_str).collect());
    let (warnings, problems): (Vec<_>, Vec<_>) = check_parameters(template, given, previous.as_deref())
        .into_iter()
        .partition(crate::template::ParameterProblem::is_warning);
    notes.extend(warnings.iter().map(ToString::to_string));
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let file = arg.parameters.as_ref().map(|file| format!(" {file}")).unwrap_or_default();
    Err(Failure::usage(format!("give stack {} its parameters{file}", arg.label))
        .because(lines.join("\n"))
        .help("correct the parameters; nothing was asked of AWS with them"))
}
