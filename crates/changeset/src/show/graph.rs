//! The changed resources and what causes them, as a Mermaid flowchart.
//! <https://mermaid.js.org/syntax/flowchart.html>

use std::collections::{BTreeMap, BTreeSet};

use kit::mermaid_label;

use super::words::{ByName, Class, becomes, by_name, causing_resource, property_name};
use crate::review::{Cause, Review, Row};

/// Mermaid draws no more text than 50,000 characters; bytes are counted, which are never fewer.
/// <https://mermaid.js.org/config/schema-docs/config-properties-maxtextsize.html>
const TEXT: usize = 49_000;

/// Mermaid's own limit is 500; far fewer can't be read any more.
/// <https://mermaid.js.org/config/schema-docs/config-properties-maxedges.html>
const EDGES: usize = 300;

/// A Mermaid flowchart of what changes and what causes it, without the fence; none when nothing in it would be worth a
/// look. What does not fit is left out, the safe first, and a node of its own says how many there are.
pub fn graph(review: &Review) -> Option<String> {
    let rows = by_name(review);
    let whole = draw(review, &rows, |row| Class::of(row) != Class::Safe || has_cause(row));
    if whole.fits() {
        return whole.text(0);
    }
    for mildest in [Class::Notice, Class::Approved] {
        let part = draw(review, &rows, |row| Class::of(row) <= mildest);
        if part.fits() {
            return part.text(whole.own() - part.own());
        }
    }
    let blockers = review.blockers();
    let mut number = blockers.len();
    loop {
        number /= 2;
        if number == 0 {
            return None;
        }
        let kept: BTreeSet<(&str, &str)> =
            blockers.iter().take(number).map(|row| (row.stack.as_str(), row.logical_id.as_str())).collect();
        let part = draw(review, &rows, |row| kept.contains(&(row.stack.as_str(), row.logical_id.as_str())));
        if part.fits() {
            return part.text(whole.own().saturating_sub(part.own()));
        }
    }
}

/// Whether something beside the template makes the change.
fn has_cause(row: &Row) -> bool {
    causes(row).any(|(_, cause)| !matches!(cause, Cause::Template | Cause::Automatic))
}

fn causes(row: &Row) -> impl Iterator<Item = (&str, &Cause)> {
    row.properties
        .iter()
        .flat_map(|property| property.causes.iter().map(|cause| (property_name(property), cause)))
}

/// What a node stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node<'a> {
    /// A resource by stack and logical id.
    Resource(&'a str, &'a str),
    Parameter(&'a str, &'a str),
    Other(&'a str, &'a str),
}

impl<'a> Node<'a> {
    fn stack(&self) -> &'a str {
        match self {
            Self::Resource(stack, _) | Self::Parameter(stack, _) | Self::Other(stack, _) => stack,
        }
    }
}

#[derive(Default)]
struct Graph<'a> {
    /// In the order in which they were met; a node's number is its place.
    nodes: Vec<(Node<'a>, Option<&'a Row>)>,
    numbers: BTreeMap<Node<'a>, usize>,
    /// What the arrow says, by where it begins and ends.
    edges: BTreeMap<(usize, usize), BTreeSet<&'a str>>,
}

fn draw<'a>(review: &'a Review, rows: &ByName<'a>, keep: impl Fn(&Row) -> bool) -> Graph<'a> {
    let mut graph = Graph::default();
    let mut open: Vec<&Row> = review.rows().filter(|row| keep(row)).collect();
    open.reverse();
    let mut done = BTreeSet::new();
    while let Some(row) = open.pop() {
        let own = Node::Resource(&row.stack, &row.logical_id);
        if !done.insert(own.clone()) {
            continue;
        }
        let to = graph.node(own, Some(row));
        for (property, cause) in causes(row) {
            let stack = row.stack.as_str();
            let from = match (cause, causing_resource(cause)) {
                (_, Some(name)) => {
                    let found = rows.get(&(stack, name)).copied();
                    // What makes a change is shown with it, back to where it began.
                    open.extend(found);
                    graph.node(Node::Resource(stack, name), found)
                }
                (Cause::Parameter(name), _) => graph.node(Node::Parameter(stack, name), None),
                (Cause::Other(text), _) => graph.node(Node::Other(stack, text), None),
                _ => continue,
            };
            graph.edges.entry((from, to)).or_default().insert(property);
        }
    }
    graph
}

impl<'a> Graph<'a> {
    fn node(&mut self, node: Node<'a>, row: Option<&'a Row>) -> usize {
        let next = self.nodes.len();
        *self.numbers.entry(node.clone()).or_insert_with(|| {
            self.nodes.push((node, row));
            next
        })
    }

    /// How many rows it shows.
    fn own(&self) -> usize {
        self.nodes.iter().filter(|(_, row)| row.is_some()).count()
    }

    fn fits(&self) -> bool {
        self.edges.len() <= EDGES && self.text(self.nodes.len()).is_none_or(|text| text.len() <= TEXT)
    }

    fn text(&self, left_out: usize) -> Option<String> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut out = String::from("flowchart LR\n");
        let mut stacks = Subgraph::default();
        for (number, (node, _)) in self.nodes.iter().enumerate() {
            stacks.add(node.stack().split('/'), number);
        }
        stacks.write(self, &mut out, 1, &mut 0);
        if left_out > 0 {
            out.push_str(&format!(
                "  more[\"and {}\"]\n",
                mermaid_label(&kit::counted(left_out, "more change"))
            ));
        }
        for ((from, to), properties) in &self.edges {
            out.push_str(&format!("  n{from} -->|\"{}\"| n{to}\n", mermaid_label(&named(properties))));
        }
        for (class, style) in CLASSES {
            let members: Vec<String> = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, (node, row))| class_of(node, *row) == class)
                .map(|(number, _)| format!("n{number}"))
                .collect();
            if !members.is_empty() {
                out.push_str(&format!("  classDef {class} {style}\n  class {} {class}\n", members.join(",")));
            }
        }
        Some(out)
    }

    fn write_node(&self, number: usize, out: &mut String) {
        let Some((node, row)) = self.nodes.get(number) else { return };
        let text = match (node, row) {
            (Node::Resource(_, name), Some(row)) => {
                let verdict = match Class::of(row) {
                    Class::Waits => format!("{}, WAITS FOR APPROVAL", row.verdict.title()),
                    Class::Approved => format!("{}, approved", row.verdict.title()),
                    Class::Notice | Class::Safe => row.verdict.title().to_owned(),
                };
                let lines = [*name, row.resource_type.as_str(), becomes(&row.fate), &verdict];
                format!("[\"{}\"]", lines.map(mermaid_label).join("<br/>"))
            }
            (Node::Resource(_, name), None) => format!("[\"{}\"]", mermaid_label(name)),
            (Node::Parameter(_, name), _) => format!("[/\"parameter {}\"/]", mermaid_label(name)),
            (Node::Other(_, text), _) => format!("([\"{}\"])", mermaid_label(text)),
        };
        out.push_str(&format!("n{number}{text}\n"));
    }
}

/// A few of the properties on an arrow.
fn named(properties: &BTreeSet<&str>) -> String {
    let few: Vec<&str> = properties.iter().take(3).copied().collect();
    let more = properties.len() - few.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", few.join(", "))
}

/// Colours are never alone in saying it: the label has the verdict.
const CLASSES: [(&str, &str); 6] = [
    ("waits", "fill:#b60205,color:#ffffff,stroke:#000000,stroke-width:3px"),
    ("approved", "fill:#fbca04,color:#000000,stroke:#000000,stroke-width:2px"),
    ("notice", "fill:#fef2c0,color:#000000,stroke:#8a6d00"),
    ("safe", "fill:#e6f4ea,color:#000000,stroke:#1a7f37"),
    ("cause", "fill:#ddf4ff,color:#000000,stroke:#0969da"),
    ("unchanged", "fill:#f6f8fa,color:#000000,stroke:#57606a,stroke-dasharray:4"),
];

fn class_of(node: &Node<'_>, row: Option<&Row>) -> &'static str {
    match (node, row) {
        (Node::Resource(..), Some(row)) => match Class::of(row) {
            Class::Waits => "waits",
            Class::Approved => "approved",
            Class::Notice => "notice",
            Class::Safe => "safe",
        },
        (Node::Resource(..), None) => "unchanged",
        _ => "cause",
    }
}

/// The stacks, those nested in one inside it.
#[derive(Default)]
struct Subgraph<'a> {
    nodes: Vec<usize>,
    inner: Vec<(&'a str, Subgraph<'a>)>,
}

impl<'a> Subgraph<'a> {
    fn add(&mut self, mut path: impl Iterator<Item = &'a str>, node: usize) {
        let Some(name) = path.next() else { return self.nodes.push(node) };
        let known = self.inner.iter().position(|(inner, _)| *inner == name);
        let place = known.unwrap_or(self.inner.len());
        if known.is_none() {
            self.inner.push((name, Subgraph::default()));
        }
        if let Some((_, inner)) = self.inner.get_mut(place) {
            inner.add(path, node);
        }
    }

    fn write(&self, graph: &Graph<'_>, out: &mut String, depth: usize, number: &mut usize) {
        let indent = "  ".repeat(depth);
        for node in &self.nodes {
            out.push_str(&indent);
            graph.write_node(*node, out);
        }
        for (name, inner) in &self.inner {
            out.push_str(&format!("{indent}subgraph s{number}[\"stack {}\"]\n", mermaid_label(name)));
            *number += 1;
            inner.write(graph, out, depth + 1, number);
            out.push_str(&format!("{indent}end\n"));
        }
    }
}
