//! What templates and parameters say, read offline: what a change set does not tell, and what would fail before one exists.
//!
//! [`Template::parse`] reads JSON or YAML; [`ParameterFile::parse`] a file of parameters, and [`check_parameters`] holds it
//! against the template. [`Template::resolve`] carries out what can be known without AWS; [`compare`] then says what an
//! update does that `DescribeChangeSet` leaves out. What can't be known stays in the value as the intrinsic function
//! that it is, and is never guessed.

mod check;
mod compare;
mod indexes;
mod json;
mod lossy;
mod malformed;
mod naming;
mod parameters;
mod policy;
mod protection;
mod resolve;
mod secret;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use check::{ParameterProblem, ProblemKind, check_parameters};
pub use compare::{Finding, FindingKind, compare};
pub use indexes::{GsiChange, gsi_change};
pub use lossy::{InPlaceRisk, in_place_risks};
pub use malformed::{Flaw, Format, Malformed};
pub use naming::{custom_name, same_custom_name};
pub use parameters::{Given, GivenValue, ParameterFile};
pub use policy::{Policies, Policy, PolicyAttribute};
pub use protection::{ProtectionOff, protections_off};
pub use resolve::{Presence, Pseudo, Resolved, Resource};
pub use secret::{SECRET_REPLACED, SECRET_STRING};
pub use value::is_unknown;

use malformed::Lines;

/// A template, its functions in their long form and its keys in their order.
#[derive(Clone, PartialEq)]
pub struct Template {
    sections: Map<String, Value>,
}

impl Template {
    /// Reads a template. A text that begins with `{` is held to JSON.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let format = Format::of(text);
        let value = match format {
            Format::Json => json::parse(text, &[])?,
            Format::Yaml => yaml::parse(text)?,
        };
        let lines = Lines::new(format, text, &[]);
        let Value::Object(sections) = value else {
            return Err(lines.malformed(1, 0, "a template is an object with a section Resources"));
        };
        // At least one resource must be declared.
        // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resources-section-structure.html
        let resources = sections.get("Resources").and_then(Value::as_object);
        if resources.is_none_or(Map::is_empty) {
            return Err(lines.malformed(1, 0, "there is no section Resources with a resource in it"));
        }
        Ok(Self { sections })
    }

    /// The whole of it.
    pub fn sections(&self) -> &Map<String, Value> {
        &self.sections
    }

    fn section(&self, name: &str) -> Option<&Map<String, Value>> {
        self.sections.get(name)?.as_object()
    }

    /// The declarations of its parameters, in their order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.section("Parameters")
            .into_iter()
            .flatten()
            .map(|(name, declaration)| (name.as_str(), declaration))
    }

    fn parameter(&self, name: &str) -> Option<&Value> {
        self.section("Parameters")?.get(name)
    }

    /// Whether a parameter's value is never shown (`NoEcho`).
    pub fn is_no_echo(&self, parameter: &str) -> bool {
        self.parameter(parameter).is_some_and(check::no_echo)
    }

    /// The parameters whose values are never shown.
    pub fn no_echo(&self) -> Vec<&str> {
        self.parameters()
            .filter(|(_, declaration)| check::no_echo(declaration))
            .map(|(name, _)| name)
            .collect()
    }

    /// The macros that CloudFormation would run over it: what they make is not seen here.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/transform-section-structure.html>
    pub fn transforms(&self) -> Vec<String> {
        let name = |value: &Value| match value {
            Value::String(name) => Some(name.clone()),
            other => other.get("Name").and_then(Value::as_str).map(str::to_owned),
        };
        match self.sections.get("Transform") {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().filter_map(name).collect(),
            Some(one) => name(one).into_iter().collect(),
        }
    }
}

impl std::fmt::Debug for Template {
    /// Without its text, which often holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template")
            .field("resources", &self.section("Resources").map(Map::len))
            .finish_non_exhaustive()
    }
}
