//! Judges a restored database against what the manifest says of the one that was backed up: pure.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Manifest;

/// What a restored database must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) rows: BTreeMap<String, u64>,
    pub(crate) estimated: BTreeSet<String>,
    pub(crate) objects: BTreeMap<String, u64>,
}

impl Expected {
    pub(crate) fn by(manifest: &Manifest) -> Self {
        Self {
            rows: manifest.rows.clone().unwrap_or_default(),
            estimated: manifest.rows_estimated.iter().flat_map(BTreeMap::keys).cloned().collect(),
            objects: manifest.objects.clone().unwrap_or_default(),
        }
    }
}

/// What a restored database is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: BTreeMap<String, u64>,
    /// Why a table could not be counted.
    pub(crate) unknown: BTreeMap<String, String>,
    /// Every table.
    pub(crate) tables: BTreeSet<String>,
    /// The parent of all, for each partition.
    pub(crate) roots: BTreeMap<String, String>,
    pub(crate) objects: BTreeMap<String, u64>,
}

/// How many differences are told one by one.
const TOLD: usize = 10;

/// What was compared, for a person; or how it differs.
///
/// The partitions of one parent are compared as one: a restore may put a row into another partition than it came from, as
/// where a hash is of an enum
/// (<https://www.postgresql.org/docs/current/app-pgdump.html>, `--load-via-partition-root`).
pub(crate) fn compare(expected: &Expected, found: &Found) -> Result<String, String> {
    let mut differ = Vec::new();
    for name in expected.rows.keys().chain(&expected.estimated) {
        if !found.tables.contains(name) {
            differ.push(format!("the table {name} is missing"));
        } else if let Some(why) = found.unknown.get(name).filter(|_| expected.rows.contains_key(name)) {
            differ.push(format!("{name} can't be counted: {why}"));
        }
    }
    // Where one of the partitions was not counted, rows of it may be in the others by now.
    let partly: BTreeSet<&String> = found
        .roots
        .iter()
        .filter(|(leaf, _)| !expected.rows.contains_key(*leaf))
        .map(|(_, root)| root)
        .collect();
    let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (name, rows) in &expected.rows {
        let Some(now) = found.rows.get(name) else { continue };
        if found.roots.get(name).is_some_and(|root| partly.contains(root)) {
            continue;
        }
        let (before, after) = groups.entry(found.roots.get(name).unwrap_or(name)).or_default();
        *before += rows;
        *after += now;
    }
    differ.extend(
        groups
            .iter()
            .filter(|(_, (before, after))| before != after)
            .map(|(name, (before, after))| format!("{name} had {before} rows and has {after}")),
    );
    let kinds: BTreeSet<&String> = expected.objects.keys().chain(found.objects.keys()).collect();
    if !expected.objects.is_empty() {
        for kind in kinds {
            let count = |of: &BTreeMap<String, u64>| of.get(kind).copied().unwrap_or(0);
            let (before, after) = (count(&expected.objects), count(&found.objects));
            if before != after {
                differ.push(format!("there were {before} {}, and there are {after}", kind.replace('-', " ")));
            }
        }
    }
    if differ.is_empty() {
        let rows: u64 = expected.rows.values().sum();
        let mut said = format!("{rows} rows in {} tables counted again", expected.rows.len());
        if !expected.estimated.is_empty() {
            said.push_str(&format!(", {} tables above --count-limit not counted", expected.estimated.len()));
        }
        if !expected.objects.is_empty() {
            said.push_str(", the number of objects of each kind compared");
        }
        return Ok(said);
    }
    let more = differ.len().saturating_sub(TOLD);
    differ.truncate(TOLD);
    if more > 0 {
        differ.push(format!("and {more} more differences"));
    }
    Err(differ.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn expected() -> Expected {
        Expected {
            rows: counts(&[("public.a", 7), ("public.p_1", 3), ("public.p_2", 4)]),
            estimated: ["public.big".to_owned()].into(),
            objects: counts(&[("tables", 4), ("views", 1)]),
        }
    }

    fn found() -> Found {
        let expected = expected();
        Found {
            tables: expected.rows.keys().cloned().chain(expected.estimated).collect(),
            rows: expected.rows,
            unknown: BTreeMap::new(),
            roots: [("public.p_1".into(), "public.p".into()), ("public.p_2".into(), "public.p".into())]
                .into(),
            objects: expected.objects,
        }
    }

    #[test]
    fn equal_databases_are_equal_and_the_count_is_told() {
        let said = compare(&expected(), &found()).unwrap();
        assert!(said.contains("14 rows in 3 tables") && said.contains("1 tables above"), "{said}");
    }

    #[test]
    fn rows_may_change_their_partition_but_not_their_number() {
        let mut moved = found();
        moved.rows = counts(&[("public.a", 7), ("public.p_1", 0), ("public.p_2", 7)]);
        assert!(compare(&expected(), &moved).is_ok());
        moved.rows = counts(&[("public.a", 7), ("public.p_1", 0), ("public.p_2", 6)]);
        assert_eq!(compare(&expected(), &moved).unwrap_err(), "public.p had 7 rows and has 6");
    }

    #[test]
    fn rows_that_moved_from_a_partition_that_was_not_counted_are_no_difference() {
        let mut expected = expected();
        expected.rows.remove("public.p_1");
        expected.estimated.insert("public.p_1".into());
        let mut moved = found();
        moved.rows = counts(&[("public.a", 7), ("public.p_2", 6)]);
        assert!(compare(&expected, &moved).is_ok());
        moved.rows = counts(&[("public.a", 6), ("public.p_2", 6)]);
        assert_eq!(compare(&expected, &moved).unwrap_err(), "public.a had 7 rows and has 6");
    }

    #[test]
    fn every_way_to_differ_is_told() {
        let mut other = found();
        other.tables.remove("public.big");
        other.tables.remove("public.p_1");
        other.rows.remove("public.p_1");
        other.unknown.insert("public.a".into(), "permission denied".into());
        other.rows.remove("public.a");
        other.objects = counts(&[("tables", 4)]);
        let said = compare(&expected(), &other).unwrap_err();
        for part in [
            "public.big is missing",
            "public.p_1 is missing",
            "public.a can't be counted: permission denied",
            "there were 1 views, and there are 0",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn many_differences_are_cut_short_with_their_number() {
        let rows: BTreeMap<String, u64> = (0..30).map(|n| (format!("t{n:02}"), 1)).collect();
        let expected = Expected { rows, ..Expected::default() };
        let said = compare(&expected, &Found::default()).unwrap_err();
        assert!(said.ends_with("and 20 more differences"), "{said}");
    }
}
