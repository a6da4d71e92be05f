//! Files of parameters, in the three forms that people have: the AWS CLI's list
//! (<https://docs.aws.amazon.com/cli/latest/reference/cloudformation/create-change-set.html>), an object of names and values, and
//! that of `CodePipeline`, `{"Parameters": .., "Tags": ..}`
//! (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/continuous-delivery-codepipeline-cfn-artifacts.html>).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::malformed::{Flaw, Format, Lines, Malformed};
use super::{json, yaml};

/// What is given for a parameter.
#[derive(Clone, PartialEq, Eq)]
pub enum GivenValue {
    Text(String),
    /// What the deployed stack has (`UsePreviousValue`).
    Previous,
}

impl fmt::Debug for GivenValue {
    /// Without the value: which ones are secret only the template knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(..)",
            Self::Previous => "Previous",
        })
    }
}

/// A parameter that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub parameter: String,
    pub value: GivenValue,
    /// The line of the file that names it, from 1.
    pub line: Option<usize>,
}

/// A file of parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterFile {
    /// In the order of the file; no name twice.
    pub given: Vec<Given>,
    /// Tags of the stack, in the form of `CodePipeline`.
    pub tags: Vec<(String, String)>,
    /// What the file does not say quite as AWS wants it, and what was made of it.
    pub notes: Vec<String>,
}

impl ParameterFile {
    /// Reads a file. A text that begins with `{` or `[` is held to JSON, and all that is wrong with it is told. The line is
    /// shown with what is wrong unless its value may be a secret: `no_echo` are names of parameters whose values are
    /// ([`super::Template::no_echo`]), beside those that sound like it.
    pub fn parse(text: &str, no_echo: &[&str]) -> Result<Self, Malformed> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let format = Format::of(text);
        let lines = Lines::new(format, text, no_echo);
        let entry = match format {
            Format::Json => {
                let value = json::parse(text, no_echo)?;
                // JSON is YAML too, and that reader knows the lines.
                let places = yaml::read(text, &lines).ok().flatten();
                Entry::of_json(&value, places.as_ref())
            }
            Format::Yaml => match yaml::read(text, &lines)? {
                None => return Ok(Self::default()),
                Some(node) => Entry::of_yaml(&node),
            },
        };
        let mut reading = Reading { lines: &lines, file: Self::default(), flaws: Vec::new() };
        reading.document(&entry);
        if reading.flaws.is_empty() {
            return Ok(reading.file);
        }
        reading.flaws.sort_by_key(|flaw| flaw.line);
        Err(Malformed { format, flaws: reading.flaws })
    }

    /// The values that the stack will have: those given, and of `previous` (what the deployed stack has) those that are not.
    pub fn values(&self, previous: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut values = previous.clone();
        for given in &self.given {
            if let GivenValue::Text(text) = &given.value {
                values.insert(given.parameter.clone(), text.clone());
            }
        }
        values
    }
}

/// Either format, with the line where there is one.
struct Entry {
    line: usize,
    data: Data,
}

enum Data {
    Text(String),
    /// A number or a boolean of JSON, as text, and whether that text is surely what was written.
    Bare(String, bool),
    Null,
    List(Vec<Entry>),
    Object(Vec<(String, Entry)>),
}

impl Entry {
    fn of_json(value: &Value, place: Option<&yaml::Node>) -> Self {
        let line = place.map_or(0, |place| place.line);
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(yes) => Data::Bare(yes.to_string(), true),
            Value::Number(number) => Data::Bare(number.to_string(), !number.is_f64()),
            Value::String(text) => Data::Text(text.clone()),
            Value::Array(items) => {
                let places = match place.map(|place| &place.data) {
                    Some(yaml::Data::Sequence(places)) => places.as_slice(),
                    _ => &[],
                };
                Data::List(
                    items.iter().enumerate().map(|(at, item)| Self::of_json(item, places.get(at))).collect(),
                )
            }
            Value::Object(map) => {
                let places = match place.map(|place| &place.data) {
                    Some(yaml::Data::Mapping(places)) => places.as_slice(),
                    _ => &[],
                };
                let entry = |(at, (key, value)): (usize, (&String, &Value))| {
                    (key.clone(), Self::of_json(value, places.get(at).map(|(_, place)| place)))
                };
                Data::Object(map.iter().enumerate().map(entry).collect())
            }
        };
        Self { line, data }
    }

    /// What stands unquoted in YAML is a text as it is written: `0123` and `yes` are meant so.
    fn of_yaml(node: &yaml::Node) -> Self {
        let data = match &node.data {
            yaml::Data::Scalar { .. } if node.is_null() => Data::Null,
            yaml::Data::Scalar { text, .. } => Data::Text(text.clone()),
            yaml::Data::Sequence(items) => Data::List(items.iter().map(Self::of_yaml).collect()),
            yaml::Data::Mapping(entries) => Data::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), Self::of_yaml(value)))
                    .collect(),
            ),
        };
        Self { line: node.line, data }
    }

    fn get(&self, name: &str) -> Option<&Self> {
        match &self.data {
            Data::Object(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, entry)| entry),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Reading<'a> {
    lines: &'a Lines<'a>,
    file: ParameterFile,
    flaws: Vec<Flaw>,
}

impl Reading<'_> {
    fn flaw(&mut self, entry: &Entry, why: impl Into<String>) {
        self.flaws.push(self.lines.flaw(entry.line, 0, why));
    }

    fn document(&mut self, entry: &Entry) {
        match &entry.data {
            Data::List(items) => {
                for item in items {
                    self.item(item);
                }
            }
            Data::Object(entries)
                if matches!(entry.get("Parameters").map(|it| &it.data), Some(Data::Object(_))) =>
            {
                for (section, content) in entries {
                    let Data::Object(pairs) = &content.data else {
                        self.flaw(content, format!("{section} must be an object of names and texts"));
                        continue;
                    };
                    match section.as_str() {
                        "Parameters" => self.pairs(pairs),
                        "Tags" => self.tags(pairs),
                        "StackPolicy" => {
                            self.file.notes.push("the file's StackPolicy is not used here".to_owned());
                        }
                        other => {
                            self.flaw(content, format!("beside Parameters and Tags there is no {other}"));
                        }
                    }
                }
            }
            Data::Object(entries) => self.pairs(entries),
            Data::Null => {}
            _ => self.flaw(entry, "parameters are a list of ParameterKey and ParameterValue, or an object"),
        }
    }

    fn pairs(&mut self, pairs: &[(String, Entry)]) {
        for (name, entry) in pairs {
            if let Some(text) = self.value(name, entry) {
                self.give(name, GivenValue::Text(text), entry);
            }
        }
    }

    fn tags(&mut self, pairs: &[(String, Entry)]) {
        for (name, entry) in pairs {
            if let Some(text) = self.value(name, entry) {
                self.file.tags.push((name.clone(), text));
            }
        }
    }

    /// One of the AWS CLI's list.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Parameter.html>
    fn item(&mut self, item: &Entry) {
        const KNOWN: [&str; 4] = ["ParameterKey", "ParameterValue", "UsePreviousValue", "ResolvedValue"];
        let Data::Object(entries) = &item.data else {
            return self.flaw(item, "each element of the list must be an object with a ParameterKey");
        };
        for (name, entry) in entries.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
            let meant = kit::nearest(name, &KNOWN).map(|near| format!(": {near}?")).unwrap_or_default();
            self.flaw(entry, format!("there is no {name}{meant}"));
        }
        let Some(name) = item.get("ParameterKey").and_then(Entry::text) else {
            return self.flaw(item, "the ParameterKey is missing, or no text");
        };
        let key = item.get("ParameterKey").unwrap_or(item);
        let previous = match item.get("UsePreviousValue").map(|entry| &entry.data) {
            None => false,
            Some(Data::Bare(word, _) | Data::Text(word)) if word == "true" || word == "false" => {
                word == "true"
            }
            Some(_) => {
                return self.flaw(item, format!("UsePreviousValue of {name} must be true or false"));
            }
        };
        match (item.get("ParameterValue"), previous) {
            (Some(_), true) => self.flaw(key, format!("{name} has both a value and UsePreviousValue")),
            (None, true) => self.give(name, GivenValue::Previous, key),
            (None, false) => self.flaw(key, format!("{name} has neither a value nor UsePreviousValue")),
            (Some(entry), false) => {
                if let Some(text) = self.value(name, entry) {
                    self.give(name, GivenValue::Text(text), key);
                }
            }
        }
    }

    fn give(&mut self, name: &str, value: GivenValue, entry: &Entry) {
        if self.file.given.iter().any(|other| other.parameter == name) {
            return self.flaw(entry, format!("{name} is given twice"));
        }
        let line = (entry.line > 0).then_some(entry.line);
        self.file.given.push(Given { parameter: name.to_owned(), value, line });
    }

    /// CloudFormation takes texts only, and the AWS CLI refuses everything else ("Invalid type for parameter
    /// `Parameters[0].ParameterValue`"). A boolean or a whole number means one text, so it is taken and said; of other
    /// numbers the writing is lost (1.10 is 1.1), and a list has none.
    fn value(&mut self, name: &str, entry: &Entry) -> Option<String> {
        match &entry.data {
            Data::Text(text) => Some(text.clone()),
            Data::Bare(text, true) => {
                self.file.notes.push(format!(
                    "{name} stands without quotes and is taken as text; the AWS CLI would refuse it"
                ));
                Some(text.clone())
            }
            Data::Bare(_, false) => {
                self.flaw(entry, format!("the value of {name} must be a text: put the number in quotes"));
                None
            }
            Data::Null => {
                self.flaw(entry, format!("{name} has no value; an empty one is \"\""));
                None
            }
            Data::List(_) => {
                self.flaw(
                    entry,
                    format!("the value of {name} must be one text, its members separated by commas"),
                );
                None
            }
            Data::Object(_) => {
                self.flaw(entry, format!("the value of {name} must be a text"));
                None
            }
        }
    }
}
