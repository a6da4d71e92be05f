//! Which types of resources hold something: the table of docs/stateful-types.md, with the caller's changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::review::Tier;

/// The page is the table: what is documented is what is judged by.
const PAGE: &str = include_str!("../../../docs/stateful-types.md");

/// What one type holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    pub tier: Tier,
    /// In a few words: "items", "a database".
    pub what: String,
}

/// The types that hold something, and those of which nobody here can know.
#[derive(Clone, Debug)]
pub struct Types {
    listed: BTreeMap<String, Holds>,
    /// That hold nothing, as the caller says.
    stateless: BTreeSet<String>,
}

/// Why nobody here can know what a type holds, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// A custom resource, whose provider may do anything when it is told to delete.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-delete.html>
    Custom,
    /// A type of the registry that is not AWS's own: somebody else's, or the account's.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/registry.html>
    Foreign,
}

impl Types {
    /// The project's own table.
    pub fn own() -> Self {
        Self { listed: PAGE.lines().filter_map(row).collect(), stateless: BTreeSet::new() }
    }

    /// Counts a type as one that holds data.
    pub fn add(&mut self, resource_type: &str) {
        let holds = Holds { tier: Tier::Data, what: "data, as --stateful says".to_owned() };
        self.listed.insert(resource_type.to_owned(), holds);
    }

    /// Counts a type as one that holds nothing. False when it did so already.
    pub fn remove(&mut self, resource_type: &str) -> bool {
        let held = self.of(resource_type).is_some() || self.unknown(resource_type).is_some();
        self.listed.remove(resource_type);
        self.stateless.insert(resource_type.to_owned());
        held
    }

    /// Whether it can't be known what goes with a resource of the type.
    pub fn unknown(&self, resource_type: &str) -> Option<Unknown> {
        if resource_type.is_empty() || self.stateless.contains(resource_type) {
            return None;
        }
        if resource_type.starts_with("Custom::") || resource_type == "AWS::CloudFormation::CustomResource" {
            return Some(Unknown::Custom);
        }
        let foreign = !resource_type.starts_with("AWS::") && !self.listed.contains_key(resource_type);
        foreign.then_some(Unknown::Foreign)
    }

    /// What a type holds; none for one that is not listed.
    pub fn of(&self, resource_type: &str) -> Option<&Holds> {
        self.listed.get(resource_type)
    }

    /// The listed types, for "did you mean".
    pub fn names(&self) -> Vec<&str> {
        self.listed.keys().map(String::as_str).collect()
    }
}

fn row(line: &str) -> Option<(String, Holds)> {
    let mut cells = line.strip_prefix("| `")?.split(" | ");
    let name = cells.next()?.strip_suffix('`')?;
    let tier = match cells.next()? {
        "data" => Tier::Data,
        "identity" => Tier::Identity,
        "container" => Tier::Container,
        _ => return None,
    };
    Some((name.to_owned(), Holds { tier, what: cells.next()?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_page_is_read() {
        let types = Types::own();
        let rows = PAGE.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(types.listed.len(), rows, "a row is malformed or stands twice");
        assert!(rows > 100);
        for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
            assert_eq!(line.matches(" | ").count(), 3, "{line}");
        }
    }

    #[test]
    fn what_the_runbooks_name_is_judged_as_they_say() {
        let types = Types::own();
        for data in [
            "AWS::DynamoDB::Table",
            "AWS::RDS::DBInstance",
            "AWS::ElastiCache::ReplicationGroup",
            "AWS::S3::Bucket",
        ] {
            assert_eq!(types.of(data).map(|holds| holds.tier), Some(Tier::Data), "{data}");
        }
        assert_eq!(
            types.of("AWS::AutoScaling::AutoScalingGroup"),
            None,
            "its deletion is a matter of routine"
        );
        assert_eq!(types.of("AWS::AutoScaling::LaunchConfiguration"), None, "a new AMI is no alarm");
        assert_eq!(types.of("AWS::EC2::Instance").map(|holds| holds.tier), Some(Tier::Identity));
    }

    #[test]
    fn the_caller_adds_and_removes() {
        let mut types = Types::own();
        types.add("Corp::Db::Store");
        assert_eq!(types.of("Corp::Db::Store").map(|holds| holds.tier), Some(Tier::Data));
        assert!(types.remove("AWS::Logs::LogGroup"));
        assert!(!types.remove("AWS::Logs::LogGroup"));
        assert_eq!(types.of("AWS::Logs::LogGroup"), None);
    }

    #[test]
    fn what_is_not_of_aws_is_not_known() {
        let mut types = Types::own();
        assert_eq!(types.unknown("MongoDB::Atlas::Cluster"), Some(Unknown::Foreign));
        assert_eq!(types.unknown("Custom::Bucket"), Some(Unknown::Custom));
        assert_eq!(types.unknown("AWS::CloudFormation::CustomResource"), Some(Unknown::Custom));
        assert_eq!(types.unknown("AWS::IAM::Policy"), None);
        for said in ["MongoDB::Atlas::Cluster", "Custom::Bucket"] {
            assert!(types.remove(said), "{said}");
            assert!(!types.remove(said), "{said}");
            assert_eq!(types.unknown(said), None);
        }
    }
}
