//! Conditions that the emulator cannot evaluate. ministack 1.5.33 answers 500 to `Fn::Split` in a condition and takes an
//! `Fn::Join` in one for a value that equals nothing; CloudFormation has both.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-conditions.html>

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Puts constants in place of what is joined or split in conditions; gives the names of the conditions that changed.
pub(super) fn conditions(template: &mut Value, given: &BTreeMap<String, String>) -> Vec<String> {
    let mut values = BTreeMap::new();
    for (name, parameter) in template["Parameters"].as_object().into_iter().flatten() {
        let value = given.get(name).cloned().or_else(|| scalar(&parameter["Default"]));
        let kind = parameter["Type"].as_str().unwrap_or_default();
        let is_list = kind == "CommaDelimitedList" || kind.contains("List<");
        if let Some(value) = value {
            values.insert(name.clone(), if is_list { split(&value, ",") } else { json!(value) });
        }
    }
    let mut folded = Vec::new();
    let conditions = template.get_mut("Conditions").and_then(Value::as_object_mut);
    for (name, condition) in conditions.into_iter().flatten() {
        let before = condition.clone();
        fold(condition, &values);
        if *condition != before {
            folded.push(name.clone());
        }
    }
    folded
}

fn fold(value: &mut Value, parameters: &BTreeMap<String, Value>) {
    if needs_folding(value)
        && let Some(constant) = evaluate(value, parameters).filter(Value::is_string)
    {
        *value = constant;
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| fold(item, parameters)),
        Value::Object(object) => object.values_mut().for_each(|item| fold(item, parameters)),
        _ => {}
    }
}

/// A string made with `Fn::Join`, or an element of what `Fn::Split` made.
fn needs_folding(value: &Value) -> bool {
    value.get("Fn::Join").is_some() || value.pointer("/Fn::Select/1/Fn::Split").is_some()
}

fn evaluate(value: &Value, parameters: &BTreeMap<String, Value>) -> Option<Value> {
    if let Some(name) = value.get("Ref") {
        return parameters.get(name.as_str()?).cloned();
    }
    if let Some([separator, text]) = arguments(value, "Fn::Split") {
        return Some(split(evaluate(text, parameters)?.as_str()?, separator.as_str()?));
    }
    if let Some([index, items]) = arguments(value, "Fn::Select") {
        let index: usize = scalar(index)?.parse().ok()?;
        return evaluate(items, parameters)?.get(index).cloned();
    }
    if let Some([separator, items]) = arguments(value, "Fn::Join") {
        let items = evaluate(items, parameters)?;
        let parts: Option<Vec<String>> = items.as_array()?.iter().map(scalar).collect();
        return Some(json!(parts?.join(separator.as_str()?)));
    }
    match value {
        Value::Array(items) => items.iter().map(|item| evaluate(item, parameters)).collect(),
        Value::Object(_) => None,
        constant => Some(constant.clone()),
    }
}

fn arguments<'a>(value: &'a Value, function: &str) -> Option<&'a [Value; 2]> {
    value.get(function)?.as_array()?.as_slice().try_into().ok()
}

fn split(text: &str, separator: &str) -> Value {
    text.split(separator).map(Value::from).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
