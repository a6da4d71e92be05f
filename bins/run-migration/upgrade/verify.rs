//! Whether the databases, read again, have what the plan was for: pure.

use kit::Failure;

use super::collation::State;
use super::observe::Seen;
use super::plan::Reindex;

pub(super) fn verify(plan: &Reindex, after: &[Seen]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for part in &plan.databases {
        let Some(seen) = after.iter().find(|seen| seen.oid == part.oid) else {
            wrong.push(format!("the database {} is gone", part.name));
            continue;
        };
        for item in &part.items {
            // Somebody may have dropped it meanwhile.
            let Some(index) = seen.indexes.iter().find(|index| index.name == item.name) else { continue };
            if !index.valid || !index.live {
                wrong.push(format!("{}: {} is not valid", part.name, item.name));
            } else if index.file == item.file {
                wrong.push(format!("{}: {} lies in the file that it had before", part.name, item.name));
            }
        }
        let left = seen.indexes.iter().filter(|index| index.leftover && index.permitted);
        wrong
            .extend(left.map(|index| format!("{}: {} is left of a broken-off build", part.name, index.name)));
        for refresh in &part.refreshes {
            let collation = seen.collations.get(&refresh.oid);
            if let Some(collation) = collation.filter(|collation| collation.state() == State::Changed) {
                wrong.push(format!(
                    "{}: the collation {} still is another version",
                    part.name,
                    collation.text()
                ));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::unverified("find the indexes rebuilt")
        .because(wrong.join("; "))
        .help("look at who else works on these indexes; running again rebuilds what is not as wanted"))
}
