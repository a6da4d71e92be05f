//! The parameters of a stack: from its file, from the command line, from the stack as it is.

use kit::{Cx, Failure, Secret, nearest};

use super::{Call, Files, Former, files};
use crate::live::{Cfn, Phase, Stack};
use crate::request::{ParamArg, ParamValue, StackArg};
use crate::template::{Given, GivenValue, ParameterProblem, Template, check_parameters};

/// What is given for the parameters of one stack.
pub(super) struct Values {
    pub(super) given: Vec<Given>,
    /// Those that can't be known before a stack ahead has run.
    pub(super) later: Vec<Later>,
}

/// A parameter whose value is an output that does not exist yet.
pub(super) struct Later {
    parameter: String,
    pub(super) because: String,
}

impl Call {
    /// A parameter without a label that no template of the call has.
    pub(super) fn check_used(&self) -> Result<(), Failure> {
        if self.params.iter().all(|param| param.label.is_some()) {
            return Ok(());
        }
        let mut names: Vec<String> = Vec::new();
        for stack in &self.stacks {
            match files(stack)?.template {
                Some(template) => names.extend(template.parameters().map(|(name, _)| name.to_owned())),
                // What a template elsewhere has is not known here.
                None => return Ok(()),
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for param in self.params.iter().filter(|param| param.label.is_none()) {
            if !names.contains(&param.key.as_str()) {
                let failure = Failure::usage(format!("give the parameter {}", param.key))
                    .because("no template of this call has such a parameter");
                return Err(match nearest(&param.key, &names) {
                    Some(near) => failure.help(format!("did you mean {near}?")),
                    None => failure.help(format!("there is {}", names.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// What the file gives, and over it what the command line does.
    pub(super) async fn values(
        &self,
        cx: &Cx,
        cfn: &Cfn,
        arg: &StackArg,
        files: &Files,
        ahead: &[&str],
    ) -> Result<Values, Failure> {
        let mut values = Values { given: files.parameters.given.clone(), later: Vec::new() };
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
            values.given.retain(|entry| entry.parameter != param.key);
            match self.value(cx, cfn, arg, param, files.template.as_ref(), ahead).await? {
                Ok(value) => values.given.push(Given {
                    parameter: param.key.clone(),
                    value: GivenValue::Text(value),
                    line: None,
                }),
                Err(because) => {
                    let declared = files
                        .template
                        .as_ref()
                        .is_none_or(|template| template.parameters().any(|(name, _)| name == param.key));
                    if declared {
                        values.later.push(Later { parameter: param.key.clone(), because });
                    } else {
                        // Whatever its value will be: the check says that there is no such parameter.
                        let value = GivenValue::Text(String::new());
                        values.given.push(Given { parameter: param.key.clone(), value, line: None });
                    }
                }
            }
        }
        Ok(values)
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

/// Gives the parameters that are not given the values that they had.
pub(super) fn as_before(
    arg: &StackArg,
    files: &Files,
    former: &Former,
    given: &mut Vec<Given>,
) -> Result<(), Failure> {
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

/// Every parameter that does not fit, in one message.
pub(super) fn check(
    arg: &StackArg,
    files: &Files,
    given: &[Given],
    later: &[Later],
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
        .filter(|problem| !later.iter().any(|later| later.parameter == problem.parameter))
        .partition(ParameterProblem::is_warning);
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
