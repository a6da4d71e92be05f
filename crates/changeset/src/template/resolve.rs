//! A template with everything carried out that is known without AWS: parameters, pseudo parameters, mappings, conditions and
//! the functions over them. What is left is left as it stands.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::naming::custom_name;
use super::policy::Policies;
use super::value::{as_text, function, has_unknown, is_masked, same};
use super::{Template, check};

/// What CloudFormation itself knows of a stack. What is none stays unknown.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/pseudo-parameter-reference.html>
#[derive(Clone, Debug, Default)]
pub struct Pseudo {
    pub account: Option<String>,
    pub region: Option<String>,
    pub stack_name: Option<String>,
    /// The ARN.
    pub stack_id: Option<String>,
}

impl Pseudo {
    fn get(&self, name: &str) -> Option<String> {
        // Partitions other than these three are left unknown.
        let region = self.region.as_deref().filter(|region| !region.contains("iso"));
        let china = region.is_some_and(|region| region.starts_with("cn-"));
        match name {
            "AWS::AccountId" => self.account.clone(),
            "AWS::Region" => self.region.clone(),
            "AWS::StackName" => self.stack_name.clone(),
            "AWS::StackId" => self.stack_id.clone(),
            "AWS::Partition" => region.map(|region| match region {
                _ if china => "aws-cn".to_owned(),
                region if region.starts_with("us-gov-") => "aws-us-gov".to_owned(),
                _ => "aws".to_owned(),
            }),
            "AWS::URLSuffix" => {
                region.map(|_| if china { "amazonaws.com.cn" } else { "amazonaws.com" }.to_owned())
            }
            _ => None,
        }
    }
}

/// Whether a resource is in the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has no condition, or one that holds.
    Certain,
    /// Its condition can't be known.
    Unknown,
}

/// A resource of a resolved template.
#[derive(Clone, PartialEq)]
pub struct Resource {
    pub logical_id: String,
    /// `AWS::DynamoDB::Table`.
    pub resource_type: String,
    pub presence: Presence,
    /// An object; what is unknown in it is the function that it is.
    pub properties: Value,
    /// What becomes of it when it goes or is replaced, defaults included.
    pub policies: Policies,
}

/// A template as far as it is known.
#[derive(Clone, Default, PartialEq)]
pub struct Resolved {
    /// Those whose condition does not hold are absent.
    pub resources: Vec<Resource>,
    /// `Fn::ForEach` over resources: its name and its arguments. Which resources it makes is not known here.
    pub loops: Vec<(String, Value)>,
    /// Macros that CloudFormation would run: what they make is not seen here.
    pub transforms: Vec<String>,
}

impl Resource {
    /// The name that the template itself gives it, as far as that is known: what it is called in AWS.
    pub fn custom_name(&self) -> Option<(&'static str, String)> {
        let property = custom_name(&self.resource_type, &self.properties)?;
        Some((property, as_text(self.properties.get(property)?)?))
    }
}

impl Resolved {
    /// The resource of a name.
    pub fn resource(&self, logical_id: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.logical_id == logical_id)
    }

    /// What becomes of a resource when it goes or is replaced; none where there is no such resource.
    pub fn policies(&self, logical_id: &str) -> Option<&Policies> {
        self.resource(logical_id).map(|resource| &resource.policies)
    }
}

impl Template {
    /// Carries out what can be known. `parameters` are the values of the stack's parameters; one that is not among them has
    /// its default. A value of a `NoEcho` parameter decides conditions, and stands nowhere in what is returned.
    pub fn resolve(&self, parameters: &BTreeMap<String, String>, pseudo: &Pseudo) -> Resolved {
        let resolver = Resolver { template: self, parameters, pseudo, conditions: RefCell::default() };
        let mut resolved = Resolved { transforms: self.transforms(), ..Resolved::default() };
        for (logical_id, declaration) in self.section("Resources").into_iter().flatten() {
            if logical_id.starts_with("Fn::") {
                resolved.loops.push((logical_id.clone(), declaration.clone()));
                continue;
            }
            let presence = match declaration.get("Condition").and_then(Value::as_str) {
                None => Presence::Certain,
                Some(condition) => match resolver.condition(condition) {
                    Some(true) => Presence::Certain,
                    Some(false) => continue,
                    None => Presence::Unknown,
                },
            };
            let resource_type =
                declaration.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
            let properties = declaration
                .get("Properties")
                .and_then(|properties| resolver.value(properties, Show::Public))
                .unwrap_or_else(|| Value::Object(Map::new()));
            let attribute =
                |name: &str| declaration.get(name).and_then(|value| resolver.value(value, Show::Public));
            let policies = Policies::of(
                &resource_type,
                &properties,
                attribute("DeletionPolicy").as_ref(),
                attribute("UpdateReplacePolicy").as_ref(),
            );
            resolved.resources.push(Resource {
                logical_id: logical_id.clone(),
                resource_type,
                presence,
                properties,
                policies,
            });
        }
        resolved
    }
}

/// Which parameters may be put in their place.
#[derive(Clone, Copy, PartialEq)]
enum Show {
    /// Only those that may be shown.
    Public,
    /// All: the result is a condition's truth, and is seen by nobody.
    All,
}

struct Resolver<'a> {
    template: &'a Template,
    parameters: &'a BTreeMap<String, String>,
    pseudo: &'a Pseudo,
    /// What is found out; a condition that is being found out is in it as unknown, which ends a circle.
    conditions: RefCell<BTreeMap<String, Option<bool>>>,
}

impl Resolver<'_> {
    /// None where the value is `AWS::NoValue`: the property is not there.
    fn value(&self, value: &Value, show: Show) -> Option<Value> {
        let Some((name, argument)) = function(value) else {
            return Some(match value {
                Value::Array(items) => {
                    Value::Array(items.iter().filter_map(|item| self.value(item, show)).collect())
                }
                Value::Object(map) => Value::Object(
                    map.iter()
                        .filter_map(|(key, value)| Some((key.clone(), self.value(value, show)?)))
                        .collect(),
                ),
                scalar => scalar.clone(),
            });
        };
        if name == "Ref" {
            let name = argument.as_str().unwrap_or_default();
            if name == "AWS::NoValue" {
                return None;
            }
            return Some(self.reference(name, show).unwrap_or_else(|| value.clone()));
        }
        if name == "Fn::If" {
            return self.choice(argument, show);
        }
        if name == "Fn::Sub" {
            return Some(self.substitution(argument, show));
        }
        let argument = self.value(argument, show)?;
        let known = match name {
            "Fn::FindInMap" => self.mapping(&argument),
            "Fn::Join" => join(&argument),
            "Fn::Select" => select(&argument),
            "Fn::Split" => split(&argument),
            _ => None,
        };
        Some(known.unwrap_or_else(|| Value::Object(Map::from_iter([(name.to_owned(), argument)]))))
    }

    /// What `Ref` gives for a parameter or a pseudo parameter.
    fn reference(&self, name: &str, show: Show) -> Option<Value> {
        if let Some(known) = self.pseudo.get(name) {
            return Some(Value::String(known));
        }
        let declaration = self.template.parameter(name)?;
        if show == Show::Public && check::no_echo(declaration) {
            return None;
        }
        let kind = declaration.get("Type").and_then(Value::as_str).unwrap_or("String");
        // The value is the name of a parameter in Systems Manager; what stands there is fetched when the stack is updated.
        // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
        if kind.starts_with("AWS::SSM::Parameter::Value") {
            return None;
        }
        let text = match self.parameters.get(name) {
            Some(text) => text.clone(),
            None => as_text(declaration.get("Default")?)?,
        };
        if is_masked(&text) {
            return None;
        }
        if kind == "CommaDelimitedList" || kind.starts_with("List<") {
            return Some(Value::Array(text.split(',').map(|item| Value::from(item.trim())).collect()));
        }
        Some(Value::String(text))
    }

    fn choice(&self, argument: &Value, show: Show) -> Option<Value> {
        let Some([condition, yes, no]) = argument.as_array().map(Vec::as_slice) else {
            return Some(Value::Object(Map::from_iter([("Fn::If".to_owned(), argument.clone())])));
        };
        match condition.as_str().and_then(|name| self.condition(name)) {
            Some(true) => self.value(yes, show),
            Some(false) => self.value(no, show),
            None => {
                let no_value = || serde_json::json!({ "Ref": "AWS::NoValue" });
                let (yes, no) = (self.value(yes, show), self.value(no, show));
                if yes == no {
                    return yes;
                }
                let branches =
                    vec![condition.clone(), yes.unwrap_or_else(no_value), no.unwrap_or_else(no_value)];
                Some(Value::Object(Map::from_iter([("Fn::If".to_owned(), Value::Array(branches))])))
            }
        }
    }

    fn condition(&self, name: &str) -> Option<bool> {
        if let Some(known) = self.conditions.borrow().get(name) {
            return *known;
        }
        self.conditions.borrow_mut().insert(name.to_owned(), None);
        let truth =
            self.template.section("Conditions").and_then(|all| all.get(name)).and_then(|it| self.truth(it));
        self.conditions.borrow_mut().insert(name.to_owned(), truth);
        truth
    }

    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-conditions.html>
    fn truth(&self, expression: &Value) -> Option<bool> {
        let map = expression.as_object().filter(|map| map.len() == 1)?;
        let (name, argument) = map.iter().next()?;
        if name == "Condition" {
            return self.condition(argument.as_str()?);
        }
        let arguments = argument.as_array()?;
        match name.as_str() {
            "Fn::Equals" => {
                let [one, other] = arguments.as_slice() else { return None };
                let (one, other) = (self.value(one, Show::All)?, self.value(other, Show::All)?);
                (!has_unknown(&one) && !has_unknown(&other)).then(|| same(&one, &other))
            }
            "Fn::And" => all(arguments.iter().map(|it| self.truth(it)), false),
            "Fn::Or" => all(arguments.iter().map(|it| self.truth(it)), true),
            "Fn::Not" => arguments.first().and_then(|it| self.truth(it)).map(|truth| !truth),
            _ => None,
        }
    }

    /// `[map, first key, second key]`, and a default with the transform `AWS::LanguageExtensions`.
    fn mapping(&self, argument: &Value) -> Option<Value> {
        let arguments = argument.as_array()?;
        let keys: Vec<String> = arguments.iter().take(3).map(as_text).collect::<Option<_>>()?;
        let [map, first, second] = keys.as_slice() else { return None };
        let found = self.template.section("Mappings")?.get(map)?.get(first).and_then(|row| row.get(second));
        found.or_else(|| arguments.get(3)?.get("DefaultValue")).cloned()
    }

    /// A text with `${Name}` in it: what is left is the text as it stands.
    fn substitution(&self, argument: &Value, show: Show) -> Value {
        let left = || Value::Object(Map::from_iter([("Fn::Sub".to_owned(), argument.clone())]));
        let (text, names) = match argument {
            Value::String(text) => (text.as_str(), None),
            Value::Array(items) => match items.as_slice() {
                [Value::String(text), Value::Object(names)] => (text.as_str(), Some(names)),
                _ => return left(),
            },
            _ => return left(),
        };
        let lookup = |name: &str| -> Option<String> {
            let value = match names.and_then(|names| names.get(name)) {
                Some(value) => self.value(value, show),
                None => self.reference(name, show),
            };
            value.as_ref().and_then(as_text)
        };
        filled(text, lookup).map_or_else(left, Value::String)
    }
}

/// `${Name}` filled in, `${!Name}` as `${Name}`; none where one of them is not known.
fn filled(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        match name.strip_prefix('!') {
            Some(literal) => out.push_str(&format!("${{{literal}}}")),
            None => out.push_str(&lookup(name.trim())?),
        }
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

/// Whether one of them is `decisive`; unknown where none is and one is not known.
fn all(truths: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let truths: Vec<Option<bool>> = truths.collect();
    if truths.contains(&Some(decisive)) {
        return Some(decisive);
    }
    (!truths.contains(&None)).then_some(!decisive)
}

fn join(argument: &Value) -> Option<Value> {
    let [delimiter, Value::Array(items)] = argument.as_array()?.as_slice() else { return None };
    let items: Vec<String> = items.iter().map(as_text).collect::<Option<_>>()?;
    Some(Value::String(items.join(delimiter.as_str()?)))
}

fn select(argument: &Value) -> Option<Value> {
    let [index, Value::Array(items)] = argument.as_array()?.as_slice() else { return None };
    items.get(as_text(index)?.parse::<usize>().ok()?).cloned()
}

fn split(argument: &Value) -> Option<Value> {
    let [delimiter, text] = argument.as_array()?.as_slice() else { return None };
    let text = as_text(text)?;
    Some(Value::Array(text.split(delimiter.as_str()?).map(Value::from).collect()))
}
