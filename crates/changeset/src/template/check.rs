//! Parameters held against their declarations, offline. Every rule is of the Parameters section's page:
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>

use std::fmt;

use fancy_regex::Regex;
use serde::Serialize;
use serde_json::Value;

use super::value::{as_bool, as_number, as_text};
use super::{Given, GivenValue, Template};

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ProblemKind {
    /// It has no default and is not given: "Each parameter must be assigned a value at runtime".
    Missing,
    /// The template does not declare it.
    Unknown { meant: Option<String> },
    /// The file still has the example's `<PLACEHOLDER>`.
    Placeholder,
    /// `UsePreviousValue`, and the deployed stack has no such parameter or does not exist.
    NoPreviousValue,
    /// Not one of `AllowedValues`; of a list each member must be one.
    NotAllowed,
    /// `AllowedPattern` does not match the whole value; of a list each member must match.
    PatternMismatch,
    /// `AllowedPattern` is a Java expression that can't be carried out here: a warning.
    PatternNotChecked,
    /// Fewer characters than `MinLength`, of a String.
    TooShort,
    /// More characters than `MaxLength`, of a String.
    TooLong,
    /// Not a number, or not a list of them.
    NotANumber,
    /// Less than `MinValue`, of a Number.
    TooSmall,
    /// More than `MaxValue`, of a Number.
    TooLarge,
    /// Not what an identifier of its type looks like.
    WrongShape,
}

/// One thing that is wrong with one parameter. Its text never has the value of a `NoEcho` parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ParameterProblem {
    pub parameter: String,
    #[serde(flatten)]
    pub kind: ProblemKind,
    /// In words, with the constraint and its `ConstraintDescription`.
    pub text: String,
    /// The line of the file of parameters.
    pub line: Option<usize>,
}

impl ParameterProblem {
    /// Whether it only says that something was not checked.
    pub fn is_warning(&self) -> bool {
        self.kind == ProblemKind::PatternNotChecked
    }
}

impl fmt::Display for ParameterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{} {}", self.parameter, self.text)
    }
}

/// Whether a declaration says `NoEcho`.
pub(super) fn no_echo(declaration: &Value) -> bool {
    declaration.get("NoEcho").is_some_and(|value| as_bool(value) != Some(false))
}

/// Everything that is wrong with the parameters of a stack, in the template's order, then what the template does not know.
/// `previous` are the names of the deployed stack's parameters, which keep their values when they are not given; none for a
/// stack that does not exist.
pub fn check_parameters(
    template: &Template,
    given: &[Given],
    previous: Option<&[&str]>,
) -> Vec<ParameterProblem> {
    let mut problems = Vec::new();
    for (name, declaration) in template.parameters() {
        let entry = given.iter().find(|entry| entry.parameter == name);
        let line = entry.and_then(|entry| entry.line);
        let kept = previous.is_some_and(|names| names.contains(&name));
        let check = Check { declaration, hidden: no_echo(declaration) };
        let found = match entry.map(|entry| &entry.value) {
            Some(GivenValue::Text(value)) => check.value(value, ""),
            Some(GivenValue::Previous) | None if kept => Vec::new(),
            Some(GivenValue::Previous) => {
                let why = match previous {
                    None => "asks for the previous value, and the stack does not exist yet",
                    Some(_) => "asks for the previous value, and the deployed stack has no such parameter",
                };
                vec![(ProblemKind::NoPreviousValue, why.to_owned())]
            }
            None => match declaration.get("Default").and_then(as_text) {
                Some(default) => check.value(&default, "its default "),
                None => vec![(ProblemKind::Missing, check.missing())],
            },
        };
        problems.extend(found.into_iter().map(|(kind, text)| ParameterProblem {
            parameter: name.to_owned(),
            kind,
            text,
            line,
        }));
    }
    let known: Vec<&str> = template.parameters().map(|(name, _)| name).collect();
    for entry in given.iter().filter(|entry| !known.contains(&entry.parameter.as_str())) {
        let meant = kit::nearest(&entry.parameter, &known).map(str::to_owned);
        let hint = meant.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        problems.push(ParameterProblem {
            parameter: entry.parameter.clone(),
            kind: ProblemKind::Unknown { meant },
            text: format!("is not a parameter of the template{hint}"),
            line: entry.line,
        });
    }
    problems
}

struct Check<'a> {
    declaration: &'a Value,
    hidden: bool,
}

type Found = Vec<(ProblemKind, String)>;

impl Check<'_> {
    fn attribute(&self, name: &str) -> Option<String> {
        as_text(self.declaration.get(name)?)
    }

    fn kind(&self) -> String {
        self.attribute("Type").unwrap_or_else(|| "String".to_owned())
    }

    fn missing(&self) -> String {
        let about = self.attribute("Description").map(|text| format!(" ({text})")).unwrap_or_default();
        format!("is not given and has no default: a value of type {}{about}", self.kind())
    }

    /// A value as a message may show it.
    fn shown(&self, value: &str) -> String {
        if self.hidden { "the value (not shown)".to_owned() } else { format!("`{}`", shortened(value)) }
    }

    /// What the template's author says of the constraint.
    fn described(&self, text: String) -> String {
        match self.attribute("ConstraintDescription") {
            Some(words) => format!("{text} ({words})"),
            None => text,
        }
    }

    fn value(&self, value: &str, whose: &str) -> Found {
        if placeholder(value) {
            let text = format!("still has a placeholder: {whose}{}", self.shown(value));
            return vec![(ProblemKind::Placeholder, text)];
        }
        let kind = self.kind();
        let members: Vec<&str> = match kind.as_str() {
            "CommaDelimitedList" => value.split(',').map(str::trim).collect(),
            kind if kind.starts_with("List<") => value.split(',').map(str::trim).collect(),
            _ => vec![value],
        };
        let mut found = Found::new();
        self.allowed(&members, whose, &mut found);
        self.pattern(&members, whose, &mut found);
        match kind.as_str() {
            "String" => self.length(value, whose, &mut found),
            "Number" | "List<Number>" => self.numbers(&members, kind == "Number", whose, &mut found),
            kind => {
                let member =
                    kind.strip_prefix("List<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(kind);
                for value in members.iter().filter(|value| !has_shape(member, value)) {
                    let text = format!("{whose}{} does not look like an {member}", self.shown(value));
                    found.push((ProblemKind::WrongShape, self.described(text)));
                }
            }
        }
        found
    }

    fn allowed(&self, members: &[&str], whose: &str, found: &mut Found) {
        let Some(list) = self.declaration.get("AllowedValues").and_then(Value::as_array) else { return };
        let allowed: Vec<String> = list.iter().filter_map(as_text).collect();
        for value in members.iter().filter(|value| !allowed.iter().any(|one| one == *value)) {
            let names: Vec<&str> = allowed.iter().map(String::as_str).collect();
            let hint = match kit::nearest(value, &names) {
                Some(near) if !self.hidden => format!("; did you mean {near}?"),
                _ => String::new(),
            };
            let text = format!("{whose}{} is not one of {}{hint}", self.shown(value), listed(&allowed));
            found.push((ProblemKind::NotAllowed, self.described(text)));
        }
    }

    /// A Java expression that must match the whole value.
    fn pattern(&self, members: &[&str], whose: &str, found: &mut Found) {
        let Some(pattern) = self.attribute("AllowedPattern") else { return };
        let unchecked = || {
            (
                ProblemKind::PatternNotChecked,
                format!("is not checked against AllowedPattern `{pattern}`, which can't be read here"),
            )
        };
        let Ok(expression) = Regex::new(&format!(r"\A(?:{pattern})\z")) else {
            found.push(unchecked());
            return;
        };
        for value in members {
            match expression.is_match(value) {
                Ok(true) => {}
                Ok(false) => {
                    let text =
                        format!("{whose}{} does not match AllowedPattern `{pattern}`", self.shown(value));
                    found.push((ProblemKind::PatternMismatch, self.described(text)));
                }
                Err(_) => found.push(unchecked()),
            }
        }
    }

    fn length(&self, value: &str, whose: &str, found: &mut Found) {
        let length = value.chars().count();
        let limit = |name: &str| self.attribute(name).and_then(|text| text.parse::<usize>().ok());
        let what = if whose.is_empty() { "its value " } else { whose };
        if let Some(least) = limit("MinLength").filter(|least| length < *least) {
            let text = format!("{what}has {length} characters; MinLength is {least}");
            found.push((ProblemKind::TooShort, self.described(text)));
        }
        if let Some(most) = limit("MaxLength").filter(|most| length > *most) {
            let text = format!("{what}has {length} characters; MaxLength is {most}");
            found.push((ProblemKind::TooLong, self.described(text)));
        }
    }

    fn numbers(&self, members: &[&str], bounded: bool, whose: &str, found: &mut Found) {
        let limit = |name: &str| self.declaration.get(name).and_then(as_number).filter(|_| bounded);
        for value in members {
            let Some(number) = number(value) else {
                let text = format!("{whose}{} is not a number", self.shown(value));
                found.push((ProblemKind::NotANumber, self.described(text)));
                continue;
            };
            if let Some(least) = limit("MinValue").filter(|least| number < *least) {
                let text = format!("{whose}{} is less than MinValue {least}", self.shown(value));
                found.push((ProblemKind::TooSmall, self.described(text)));
            }
            if let Some(most) = limit("MaxValue").filter(|most| number > *most) {
                let text = format!("{whose}{} is more than MaxValue {most}", self.shown(value));
                found.push((ProblemKind::TooLarge, self.described(text)));
            }
        }
    }
}

/// "An integer or float".
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    text.parse().ok().filter(|number: &f64| starts && number.is_finite())
}

/// What examples leave for people to fill in: the whole value in angle brackets, or a name in capitals within it.
fn placeholder(value: &str) -> bool {
    let trimmed = value.trim();
    if trimmed.len() > 2 && trimmed.starts_with('<') && trimmed.ends_with('>') && !trimmed.contains("</") {
        return true;
    }
    value.split('<').skip(1).filter_map(|rest| rest.split_once('>')).any(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.len() > 1
            && name.chars().all(|letter| {
                letter.is_ascii_uppercase() || letter.is_ascii_digit() || " _-/|.".contains(letter)
            })
    })
}

/// Whether an identifier has the form that the page's examples and
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html> show: a prefix, and 8 or 17 hexadecimal digits. Types
/// without a documented form, and those whose value is a name in Systems Manager, are not judged.
fn has_shape(kind: &str, value: &str) -> bool {
    let prefix = match kind {
        "AWS::EC2::Image::Id" => "ami-",
        "AWS::EC2::Instance::Id" => "i-",
        "AWS::EC2::SecurityGroup::Id" => "sg-",
        "AWS::EC2::Subnet::Id" => "subnet-",
        "AWS::EC2::Volume::Id" => "vol-",
        "AWS::EC2::VPC::Id" => "vpc-",
        _ => return true,
    };
    value.strip_prefix(prefix).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.chars().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn shortened(value: &str) -> String {
    let short: String = value.chars().take(80).collect();
    if short.len() < value.len() { format!("{short}…") } else { short }
}

/// The first twenty of them.
fn listed(values: &[String]) -> String {
    let shown: Vec<&str> = values.iter().take(20).map(String::as_str).collect();
    match values.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
