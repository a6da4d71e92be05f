//! Approvals: one resource and what may become of it, by name. There is none for everything.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::fate::Need;
use crate::review::Row;

/// `STACK/LogicalId:WORD[,WORD]`, with the logical ids of nested stacks in between: `infra/S3Res/Bucket:remove-retain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// `STACK/LogicalId`.
    pub name: String,
    pub needs: BTreeSet<Need>,
}

impl FromStr for Approval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write it as STACK/LogicalId:ACTION, such as api/TileTable:replace-retain";
        let (name, words) = text.rsplit_once(':').ok_or_else(|| form.to_owned())?;
        if !name.contains('/') || name.split('/').any(str::is_empty) {
            return Err(form.to_owned());
        }
        let needs = words.split(',').map(|word| word.trim().parse()).collect::<Result<_, String>>()?;
        Ok(Self { name: name.trim().to_owned(), needs })
    }
}

/// Marks what is approved, and says of each approval that approved nothing why.
pub fn approve(rows: &mut [Row], approvals: &[Approval]) -> Vec<String> {
    let mut idle = Vec::new();
    for approval in approvals {
        let mut found: Vec<&mut Row> = rows.iter_mut().filter(|row| row.name() == approval.name).collect();
        if found.is_empty() {
            idle.push(match nearest(rows, &approval.name) {
                Some(near) => {
                    format!("--allow {}: no change has that name; did you mean {near}?", approval.name)
                }
                None => format!("--allow {}: it does not change", approval.name),
            });
            continue;
        }
        let mut used = false;
        for row in &mut found {
            for need in &row.needs {
                if approval.needs.iter().any(|approved| need.is_covered_by(approved)) {
                    row.approved.insert(need.clone());
                    used = true;
                }
            }
        }
        if !used {
            let wanted: Vec<&str> = found.iter().flat_map(|row| &row.needs).map(Need::word).collect();
            let given: Vec<&str> = approval.needs.iter().map(Need::word).collect();
            idle.push(if wanted.is_empty() {
                format!("--allow {}:{}: it needs no approval", approval.name, given.join(","))
            } else {
                format!(
                    "--allow {}:{}: that is not what is done to it: {}",
                    approval.name,
                    given.join(","),
                    wanted.join(",")
                )
            });
        }
    }
    idle
}

fn nearest(rows: &[Row], name: &str) -> Option<String> {
    let names: Vec<String> = rows.iter().filter(|row| !row.needs.is_empty()).map(Row::name).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    kit::nearest(name, &known).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::row;

    fn approved(row: Row, allow: &str) -> (Row, Vec<String>) {
        let mut rows = [row];
        let idle = approve(&mut rows, &[allow.parse().unwrap()]);
        let [row] = rows;
        (row, idle)
    }

    #[test]
    fn it_is_by_resource_and_by_what_is_done() {
        let (row1, idle) = approved(row("api/Tiles", &["replace-retain"]), "api/Tiles:replace-retain");
        assert!(!row1.blocks() && idle.is_empty());
        let (row2, idle) = approved(row("api/Tiles", &["replace-delete"]), "api/Tiles:replace-retain");
        assert!(row2.blocks());
        assert_eq!(
            idle,
            ["--allow api/Tiles:replace-retain: that is not what is done to it: replace-delete"]
        );
        let (row3, _) =
            approved(row("api/Tiles", &["replace-delete", "will-fail"]), "api/Tiles:replace-delete");
        assert_eq!(row3.allow_argument(), "--allow api/Tiles:will-fail", "each need by its word");
        let (row4, idle) = approved(
            row("api/Tiles", &["replace-delete", "will-fail"]),
            "api/Tiles:will-fail,replace-delete",
        );
        assert!(!row4.blocks() && idle.is_empty());
    }

    #[test]
    fn one_that_approves_nothing_is_told() {
        let (_, idle) = approved(row("api/Tiles", &["replace-delete"]), "api/Tile:replace-delete");
        assert_eq!(idle, ["--allow api/Tile: no change has that name; did you mean api/Tiles?"]);
        let (_, idle) = approved(row("api/Tiles", &[]), "api/Tiles:replace-delete");
        assert_eq!(idle, ["--allow api/Tiles:replace-delete: it needs no approval"]);
    }

    #[test]
    fn it_names_a_resource_and_a_known_word() {
        for wrong in [
            "api/Tiles",
            "Tiles:replace-delete",
            "api/:replace-delete",
            "/T:replace-delete",
            "api/Tiles:force",
            "api/Tiles:",
        ] {
            assert!(wrong.parse::<Approval>().is_err(), "{wrong}");
        }
        let nested: Approval = "infra/S3Res/Bucket:remove-delete,weaken-guard".parse().unwrap();
        assert_eq!(nested.name, "infra/S3Res/Bucket");
        assert_eq!(nested.needs.len(), 2);
    }
}
