//! Expressions: contexts are replaced by their values, and the library evaluates the constant that is left.

use std::collections::BTreeMap;
use std::ops::Range;

use github_actions_expressions::call::{Call, Function};
use github_actions_expressions::literal::Literal;
use github_actions_expressions::op::{BinExpr, BinOp};
use github_actions_expressions::{Evaluation, Expr, SpannedExpr};
use serde_json::Value;

use super::{entries, text};

/// An `env`, a `with`, the outputs of a step.
pub(crate) type Values = BTreeMap<String, String>;

/// What `success()` and its siblings answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Status {
    pub(crate) success: bool,
    pub(crate) failure: bool,
    pub(crate) cancelled: bool,
}

/// A context, as its path (`needs`, `plan`, `outputs`, `tag`), or a status function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reference {
    Context(Vec<String>),
    Status(Function),
}

/// The expressions in a text: the range of each with its braces, and what stands between them.
pub(crate) fn split(text: &str) -> Result<Vec<(Range<usize>, &str)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("${{").map(|i| at + i) {
        let mut quoted = false;
        let end = text[start..].char_indices().map(|(i, c)| (start + i, c)).find(|&(i, c)| {
            quoted ^= c == '\'';
            !quoted && text[i..].starts_with("}}")
        });
        let Some((end, _)) = end else { return Err(format!("`{}` is not closed", &text[start..])) };
        found.push((start..end + 2, text[start + 3..end].trim()));
        at = end + 2;
    }
    Ok(found)
}

/// The expression of an `if`, which may do without its braces.
pub(crate) fn bare(text: &str) -> Result<&str, String> {
    match split(text)?.as_slice() {
        [] if text.trim().is_empty() => Ok("success()"),
        [] => Ok(text.trim()),
        [(range, inner)] if *range == (0..text.trim_end().len()) => Ok(inner),
        _ => Err(format!("`{text}` mixes text and `${{{{ }}}}`: as a condition it is always true")),
    }
}

/// Everything an expression refers to.
pub(crate) fn references(source: &str) -> Result<Vec<Reference>, String> {
    let expr = parse(source)?;
    let mut found = Vec::new();
    walk(&expr, &mut found)?;
    Ok(found.into_iter().map(|(_, reference)| reference).collect())
}

/// How deep an expression goes and how many operators it has, at the most: GitHub's own limit of the depth is 50
/// (`ExpressionConstants` of its runner), the library's reader has none, and descends into operators too.
const DEEPEST: usize = 50;
const OPERATORS: usize = 200;

/// Whether an expression goes beyond that, in brackets, behind signs of negation or in a row of operators.
fn is_deep(source: &str) -> bool {
    let (mut open, mut negated, mut operators, mut quoted) = (0_usize, 0, 0, false);
    source.chars().any(|c| {
        quoted ^= c == '\'';
        if quoted {
            return false;
        }
        match c {
            '(' | '[' => open += 1,
            ')' | ']' => open = open.saturating_sub(1),
            '&' | '|' | '=' | '<' | '>' | '.' => operators += 1,
            _ => {}
        }
        negated = if c == '!' {
            negated + 1
        } else if c.is_whitespace() {
            negated
        } else {
            0
        };
        open + negated > DEEPEST || operators > 2 * OPERATORS
    })
}

fn parse(source: &str) -> Result<SpannedExpr<'_>, String> {
    if is_deep(source) {
        let shown: String = source.chars().take(40).collect();
        return Err(format!(
            "`{shown}...` has more in it than is rehearsed: {DEEPEST} levels, {OPERATORS} operators"
        ));
    }
    Expr::parse(source).map_err(|e| format!("`{source}`: {e}"))
}

fn walk(expr: &SpannedExpr<'_>, found: &mut Vec<(Range<usize>, Reference)>) -> Result<(), String> {
    let range = expr.origin.span.as_range();
    match &expr.inner {
        Expr::Call(Call { func: Function::HashFiles, .. }) => {
            return Err("hashFiles() is not rehearsed".into());
        }
        Expr::Call(Call {
            func: func @ (Function::Success | Function::Failure | Function::Cancelled | Function::Always),
            ..
        }) => found.push((range, Reference::Status(*func))),
        Expr::Call(Call { args, .. }) => args.iter().try_for_each(|arg| walk(arg, found))?,
        Expr::BinExpr(BinExpr { lhs, rhs, .. }) => [lhs, rhs].into_iter().try_for_each(|e| walk(e, found))?,
        Expr::UnExpr { expr, .. } => walk(expr, found)?,
        Expr::Context(context) => {
            let part = |part: &SpannedExpr<'_>| match &part.inner {
                Expr::Identifier(name) => Some(name.as_str().to_owned()),
                Expr::Star => Some("*".to_owned()),
                Expr::Index(index) => match &index.inner {
                    Expr::Literal(Literal::String(name)) => Some(name.to_string()),
                    Expr::Star => Some("*".to_owned()),
                    _ => None,
                },
                _ => None,
            };
            let path = context.parts.iter().map(part).collect::<Option<Vec<_>>>();
            let path = path.ok_or_else(|| format!("`{}` computes what it looks up", expr.origin.raw))?;
            found.push((range, Reference::Context(path)));
        }
        _ => {}
    }
    Ok(())
}

/// Evaluates one expression; `contexts` is an object with a member per context.
pub(crate) fn evaluate(source: &str, contexts: &Value, status: Status) -> Result<Evaluation, String> {
    let parsed = parse(source)?;
    let mut found = Vec::new();
    walk(&parsed, &mut found)?;
    let mut constant = source.to_owned();
    for (range, reference) in found.into_iter().rev() {
        constant.replace_range(
            range,
            &match reference {
                Reference::Context(path) => literal(&look_up(contexts, &path)),
                Reference::Status(Function::Success) => status.success.to_string(),
                Reference::Status(Function::Failure) => status.failure.to_string(),
                Reference::Status(Function::Cancelled) => status.cancelled.to_string(),
                Reference::Status(_) => "true".to_owned(),
            },
        );
    }
    fold(&parse(&constant)?).ok_or_else(|| format!("`{source}` can't be evaluated"))
}

/// As the library's own constant evaluation, but `&&` and `||` leave the side alone that GitHub does not look at.
fn fold(expr: &SpannedExpr<'_>) -> Option<Evaluation> {
    match &expr.inner {
        Expr::BinExpr(BinExpr { lhs, op: op @ (BinOp::And | BinOp::Or), rhs }) => {
            let left = fold(lhs)?;
            if left.as_boolean() == (*op == BinOp::Or) { Some(left) } else { fold(rhs) }
        }
        _ => expr.consteval(),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Array(_) | Value::Object(_) => {
            format!("fromJSON('{}')", value.to_string().replace('\'', "''"))
        }
        scalar => scalar.to_string(),
    }
}

/// Names are compared without case, but for environment variables on Linux.
fn look_up(value: &Value, path: &[String]) -> Value {
    fn descend(value: &Value, path: &[String], exact: bool) -> Value {
        let Some((name, rest)) = path.split_first() else { return value.clone() };
        let Value::Object(members) = value else { return Value::Null };
        if name == "*" {
            return members.values().map(|member| descend(member, rest, exact)).collect();
        }
        let found =
            members.iter().find(|(k, _)| if exact { *k == name } else { k.eq_ignore_ascii_case(name) });
        found.map_or(Value::Null, |(key, member)| descend(member, rest, key == "env"))
    }
    descend(value, path, false)
}

/// A scalar of the workflow as text, its expressions evaluated.
pub(crate) fn render(text: &str, contexts: &Value) -> Result<String, String> {
    let mut rendered = text.to_owned();
    for (range, source) in split(text)?.into_iter().rev() {
        let value = evaluate(source, contexts, Status::default())?;
        rendered.replace_range(range, &value.sema().to_string());
    }
    Ok(rendered)
}

pub(crate) fn rendered(value: &Value, contexts: &Value) -> Result<String, String> {
    render(&text(value), contexts)
}

pub(crate) fn all_rendered(map: &Value, contexts: &Value) -> Result<Values, String> {
    entries(map).map(|(key, value)| Ok((key.clone(), rendered(value, contexts)?))).collect()
}

/// An `if`: without a status function of its own it is preceded by `success() &&`.
pub(crate) fn condition(text: &str, contexts: &Value, status: Status) -> Result<bool, String> {
    let source = bare(text)?;
    let implicit = !references(source)?.iter().any(|r| matches!(r, Reference::Status(_)));
    Ok((!implicit || status.success) && evaluate(source, contexts, status)?.as_boolean())
}
