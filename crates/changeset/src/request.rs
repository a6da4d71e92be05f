//! What the caller asks for: stacks, and values of their parameters.

use std::fmt;
use std::str::FromStr;

/// A stack: `[LABEL:]NAME[=TEMPLATE[,PARAMETERS]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackArg {
    /// What approvals and outputs call it; its name when no label is given.
    pub label: String,
    /// Its name in AWS.
    pub stack: String,
    /// A file, an `s3://` or an `https://` URL.
    pub template: Option<String>,
    /// A file.
    pub parameters: Option<String>,
}

impl FromStr for StackArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, files) = match text.split_once('=') {
            Some((names, files)) => (names, Some(files)),
            None => (text, None),
        };
        let (label, stack) = names.split_once(':').unwrap_or((names, names));
        check_name("label", label)?;
        check_name("stack's name", stack)?;
        let (template, parameters) = match files.map(|files| files.split_once(',').unwrap_or((files, ""))) {
            None => (None, None),
            Some(("", _)) => {
                return Err(
                    "after = comes the template; write it as [LABEL:]NAME=TEMPLATE[,PARAMETERS]".to_owned()
                );
            }
            Some((template, "")) => (Some(template), None),
            Some((template, parameters)) => (Some(template), Some(parameters)),
        };
        Ok(Self {
            label: label.to_owned(),
            stack: stack.to_owned(),
            template: template.map(str::to_owned),
            parameters: parameters.map(str::to_owned),
        })
    }
}

impl fmt::Display for StackArg {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label != self.stack {
            write!(f, "{}:", self.label)?;
        }
        f.write_str(&self.stack)?;
        if let Some(template) = &self.template {
            write!(f, "={template}")?;
        }
        match &self.parameters {
            Some(parameters) => write!(f, ",{parameters}"),
            None => Ok(()),
        }
    }
}

/// A stack's name: letters, digits and hyphens, a letter first, at most 128.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-using-console-create-stack-parameters.html>
fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fits {
        return Ok(());
    }
    Err(format!(
        "the {what} `{name}` is not made of letters, digits and hyphens with a letter first, 128 at most"
    ))
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamValue {
    /// This very text. A leading `@@` stands for one `@`.
    Text(String),
    /// `@STACK.OUTPUT`: an output of a stack, by its label, or its name when it is not one of this call's.
    Output { stack: String, output: String },
    /// `@env:NAME`: what the environment holds, for what must not be seen on a command line.
    Environment(String),
}

/// A parameter's value: `[LABEL.]KEY=VALUE`. Without a label it is for every stack of the call that has such a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamArg {
    pub label: Option<String>,
    pub key: String,
    pub value: ParamValue,
}

impl fmt::Display for ParamArg {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "{label}.")?;
        }
        write!(f, "{}=", self.key)?;
        match &self.value {
            ParamValue::Text(text) if text.starts_with('@') => write!(f, "@{text}"),
            ParamValue::Text(text) => f.write_str(text),
            ParamValue::Output { stack, output } => write!(f, "@{stack}.{output}"),
            ParamValue::Environment(name) => write!(f, "@env:{name}"),
        }
    }
}

impl FromStr for ParamArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write it as [LABEL.]KEY=VALUE, KEY=@STACK.OUTPUT or KEY=@env:NAME";
        let (name, value) = text.split_once('=').ok_or(form)?;
        let (label, key) = match name.rsplit_once('.') {
            Some((label, key)) => (Some(label.to_owned()), key),
            None => (None, name),
        };
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!(
                "`{key}` is not the name of a parameter, which has letters and digits only; {form}"
            ));
        }
        if let Some(label) = &label {
            check_name("label", label)?;
        }
        let value = match value.strip_prefix('@') {
            None => ParamValue::Text(value.to_owned()),
            Some(escaped) if escaped.starts_with('@') => ParamValue::Text(escaped.to_owned()),
            Some(source) => match (source.strip_prefix("env:"), source.split_once('.')) {
                (Some(name), _) if !name.is_empty() => ParamValue::Environment(name.to_owned()),
                (None, Some((stack, output))) if !output.is_empty() => {
                    check_name("stack's name", stack)?;
                    ParamValue::Output { stack: stack.to_owned(), output: output.to_owned() }
                }
                _ => {
                    return Err(format!(
                        "`@{source}` names neither an output nor a variable; {form}; a value that begins with @ is written with @@"
                    ));
                }
            },
        };
        Ok(Self { label, key: key.to_owned(), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_name_perhaps_a_label_and_files() {
        let stack: StackArg = "core:CoreProductionBoss=out/core.template,out/core.arguments".parse().unwrap();
        assert_eq!((stack.label.as_str(), stack.stack.as_str()), ("core", "CoreProductionBoss"));
        assert_eq!(stack.template.as_deref(), Some("out/core.template"));
        assert_eq!(stack.parameters.as_deref(), Some("out/core.arguments"));
        assert_eq!(stack.to_string(), "core:CoreProductionBoss=out/core.template,out/core.arguments");
        let stack: StackArg = "infra=https://b.s3.amazonaws.com/t.json".parse().unwrap();
        assert_eq!((stack.label.as_str(), stack.stack.as_str()), ("infra", "infra"));
        assert_eq!(stack.parameters, None);
        let stack: StackArg = "old-ec2".parse().unwrap();
        assert_eq!((stack.template, stack.stack.as_str()), (None, "old-ec2"));
        for wrong in ["", "=t", "a b=t", "core:=t", "1st=t", "core=", "core=,p"] {
            assert!(wrong.parse::<StackArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_parameter_has_a_value_an_output_or_a_variable() {
        let of = |text: &str| text.parse::<ParamArg>();
        let output =
            |stack: &str, output: &str| ParamValue::Output { stack: stack.into(), output: output.into() };
        assert_eq!(
            of("SecurityGroupIds=@infra.JenkinsAppSg").unwrap().value,
            output("infra", "JenkinsAppSg")
        );
        assert_eq!(of("ec2.Ports=80,443=x").unwrap().value, ParamValue::Text("80,443=x".into()));
        assert_eq!(of("ec2.Ports=80").unwrap().label.as_deref(), Some("ec2"));
        assert_eq!(of("Empty=").unwrap().value, ParamValue::Text(String::new()));
        assert_eq!(
            of("DbPassword=@env:DB_PASSWORD").unwrap().value,
            ParamValue::Environment("DB_PASSWORD".into())
        );
        assert_eq!(of("Handle=@@team").unwrap().value, ParamValue::Text("@team".into()));
        for text in ["ec2.Ports=80,443=x", "Empty=", "Handle=@@team", "A=@infra.Sg", "B=@env:DB_PASSWORD"] {
            assert_eq!(of(text).unwrap().to_string(), text);
        }
        for wrong in ["Key", "=x", "a-b=x", "K=@infra", "K=@env:", "K=@infra.", "1 2.K=x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
