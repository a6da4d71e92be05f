//! Rows for the tests of this crate.

use std::collections::BTreeSet;

use crate::fate::{Fate, Need};
use crate::review::{Row, Verdict};

/// A row of a table under this name, with these needs; its fate is the first of them that is one.
pub(crate) fn row(name: &str, needs: &[&str]) -> Row {
    let (stack, logical_id) = name.rsplit_once('/').unwrap();
    let needs: BTreeSet<Need> = needs.iter().map(|word| word.parse().unwrap()).collect();
    let fate = needs.iter().find_map(|need| match need {
        Need::Fate(fate) => Some(fate.clone()),
        _ => None,
    });
    Row {
        stack: stack.to_owned(),
        logical_id: logical_id.to_owned(),
        physical_id: Some("tiles-1".to_owned()),
        resource_type: "AWS::DynamoDB::Table".to_owned(),
        fate: fate.unwrap_or(Fate::Modify),
        tier: Some(crate::review::Tier::Data),
        verdict: if needs.is_empty() { Verdict::Safe } else { Verdict::Loss },
        needs,
        approved: BTreeSet::new(),
        risks: BTreeSet::new(),
        reasons: Vec::new(),
        properties: Vec::new(),
    }
}
