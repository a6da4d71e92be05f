//! Whether the ledger, read again, has what was applied.

use kit::Failure;

use crate::observe::SeenLedger;
use crate::plan::MigrationPlan;

pub(crate) fn verify(plan: &MigrationPlan, after: &SeenLedger, run: &str) -> Result<(), Failure> {
    let rows = match after {
        SeenLedger::Rows(rows) => rows.as_slice(),
        SeenLedger::Absent { .. } | SeenLedger::Other(_) => &[],
    };
    let missing: Vec<&str> = plan
        .files
        .iter()
        .filter(|item| {
            !rows
                .iter()
                .any(|row| row.version == item.version && row.checksum == item.checksum && row.run == run)
        })
        .map(|item| item.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::unverified(format!("find the applied migrations in the ledger {}", plan.ledger))
        .because(format!("it does not have {} as this run applied them", missing.join(", ")))
        .help("look at the ledger and at who else writes it; running again applies what it does not have"))
}
