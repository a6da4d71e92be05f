//! YAML as CloudFormation reads it: version 1.1's scalars, without dates, and the short forms of the intrinsic functions.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-formats.html>

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::malformed::{Format, Lines, Malformed};

/// Nodes that aliases may make: a few lines of them could otherwise fill the memory.
const ALIAS_BUDGET: usize = 100_000;

/// Brackets in brackets that are followed.
const DEPTH: usize = 128;

/// A piece of a document, with the place where it stands.
#[derive(Clone)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    tag: Option<String>,
    pub(super) data: Data,
}

#[derive(Clone)]
pub(super) enum Data {
    /// The text as it is written; `plain` without quotes, which may be a number.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// Reads the one document of a text; none where it is empty.
pub(super) fn read(text: &str, lines: &Lines<'_>) -> Result<Option<Node>, Malformed> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), lines, anchors: BTreeMap::new(), budget: ALIAS_BUDGET };
    let mut document = None;
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => {
                let (line, column) = place(span);
                if document.is_some() {
                    return Err(lines.malformed(line, column, "a second document begins here"));
                }
                document = Some(reader.node(event, span, 0)?);
            }
        }
    }
    Ok(document)
}

/// Reads a template: short forms become long ones.
pub(super) fn parse(text: &str) -> Result<Value, Malformed> {
    let lines = Lines::new(Format::Yaml, text, &[]);
    match read(text, &lines)? {
        None => Ok(Value::Null),
        Some(node) => node.value(&lines),
    }
}

fn place(span: Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    lines: &'a Lines<'a>,
    anchors: BTreeMap<usize, Node>,
    budget: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Malformed> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let marker = error.marker();
                Err(self.lines.malformed(marker.line(), marker.col() + 1, plain_words(error.info())))
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Malformed> {
        let (line, column) = place(span);
        if depth > DEPTH {
            return Err(self.lines.malformed(line, column, "brackets are nested too deep"));
        }
        let (anchor, tag, data) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                (anchor, tag, Data::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                while let Some((event, span)) = self.next()? {
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (anchor, tag, Data::Sequence(items))
            }
            Event::MappingStart(anchor, tag) => {
                let mut entries = Vec::new();
                while let Some((event, span)) = self.next()? {
                    if matches!(event, Event::MappingEnd) {
                        break;
                    }
                    let key = self.node(event, span, depth + 1)?;
                    let Some((event, span)) = self.next()? else { break };
                    entries.push((key, self.node(event, span, depth + 1)?));
                }
                (anchor, tag, Data::Mapping(entries))
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.lines.malformed(line, column, "the alias names no anchor above it"));
                };
                let size = node.size();
                if size > self.budget {
                    return Err(self.lines.malformed(
                        line,
                        column,
                        "the aliases make too much of too little",
                    ));
                }
                self.budget -= size;
                return Ok(node.clone());
            }
            _ => return Err(self.lines.malformed(line, column, "a value is missing")),
        };
        let node = Node { line, column, tag: tag.map(|tag| name_of(&tag)), data };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

/// `!Ref` as `!Ref`, `!!str` as `!!str`.
fn name_of(tag: &Tag) -> String {
    let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
    format!("{handle}{}", tag.suffix)
}

/// What the reader says, for somebody who does not know its words.
fn plain_words(info: &str) -> String {
    if info.contains("tab") || info.contains("Tab") {
        return format!("YAML is not indented with tabs ({info})");
    }
    if info.contains("did not find expected")
        || info.contains("simple key")
        || info.contains("mapping values")
    {
        return format!("the indentation or a `:` is wrong here or on the line before ({info})");
    }
    info.to_owned()
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Scalar { .. } => 0,
            Data::Sequence(items) => items.iter().map(Self::size).sum(),
            Data::Mapping(entries) => entries.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing, or `null` without quotes.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if self.tag.is_none() && is_null(text))
    }

    /// The JSON value that the template means.
    pub(super) fn value(&self, lines: &Lines<'_>) -> Result<Value, Malformed> {
        let tag = self.tag.as_deref();
        let value = match &self.data {
            Data::Scalar { text, plain } => match tag {
                None if *plain => plain_scalar(text),
                Some("!!bool" | "!!int" | "!!float" | "!!null") => plain_scalar(text),
                _ => Value::String(text.clone()),
            },
            Data::Sequence(items) => {
                Value::Array(items.iter().map(|item| item.value(lines)).collect::<Result<_, _>>()?)
            }
            Data::Mapping(entries) => Value::Object(object(entries, lines)?),
        };
        match tag {
            None | Some("!" | "!!str" | "!!bool" | "!!int" | "!!float" | "!!null" | "!!map" | "!!seq") => {
                Ok(value)
            }
            Some(tag) if tag.starts_with("!!") => Err(lines.malformed(
                self.line,
                self.column,
                format!("CloudFormation does not read the tag `{tag}`"),
            )),
            Some(tag) => Ok(long_form(tag.trim_start_matches('!'), value)),
        }
    }
}

/// A mapping with its merges (`<<`) carried out; what stands in it itself wins.
fn object(entries: &[(Node, Node)], lines: &Lines<'_>) -> Result<Map<String, Value>, Malformed> {
    let mut map = Map::new();
    let mut merged = Vec::new();
    for (key, value) in entries {
        let Some(name) = key.text() else {
            return Err(lines.malformed(key.line, key.column, "a key must be a text"));
        };
        if name == "<<" && matches!(key.data, Data::Scalar { plain: true, .. }) {
            match value.value(lines)? {
                Value::Array(items) => merged.extend(items),
                other => merged.push(other),
            }
            continue;
        }
        if map.insert(name.to_owned(), value.value(lines)?).is_some() {
            let why = format!("the key `{name}` stands twice in one mapping");
            return Err(lines.malformed(key.line, key.column, why));
        }
    }
    for (key, value) in merged.iter().filter_map(Value::as_object).flatten() {
        if !map.contains_key(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    Ok(map)
}

/// The long form of a short tag. `!Ref` and `!Condition` are the two without `Fn::`.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>
fn long_form(name: &str, value: Value) -> Value {
    let (key, value) = match (name, value) {
        ("Ref" | "Condition", value) => (name.to_owned(), value),
        ("GetAtt", Value::String(text)) => {
            // An attribute may have dots of its own (`Nested.Outputs.Name`); a logical id has none.
            let value = match text.split_once('.') {
                Some((resource, attribute)) => Value::from(vec![resource, attribute]),
                None => Value::String(text),
            };
            ("Fn::GetAtt".to_owned(), value)
        }
        (name, value) => (format!("Fn::{name}"), value),
    };
    Value::Object(Map::from_iter([(key, value)]))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// An unquoted scalar. `yes`, `no`, `on` and `off` are booleans to CloudFormation, as in YAML 1.1
/// (<https://github.com/aws/aws-cli/pull/5257>). A number that would not be written again as it stands (`1.10`,
/// `012345678901`) stays a text, and so does a date: `AWSTemplateFormatVersion` is one.
fn plain_scalar(text: &str) -> Value {
    if is_null(text) {
        return Value::Null;
    }
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>()
        && text == number.to_string()
    {
        return Value::from(number);
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        && let Ok(number) = text.parse::<f64>()
        && serde_json::Number::from_f64(number).is_some_and(|number| number.to_string() == text)
    {
        return Value::from(number);
    }
    Value::String(text.to_owned())
}
