//! Whether the ledger, read again, has what was applied, and no more what was taken back.

use kit::Failure;

use crate::files::Way;
use crate::ledger::Ledger;
use crate::observe::{Row, SeenLedger};
use crate::plan::{Item, MigrationPlan};

pub(crate) fn verify(
    plan: &MigrationPlan,
    ledger: &Ledger,
    after: &SeenLedger,
    run: &str,
) -> Result<(), Failure> {
    let rows = match after {
        SeenLedger::Rows { rows, .. } => rows.as_slice(),
        SeenLedger::Absent { .. } | SeenLedger::Other(_) => &[],
    };
    // sqlx's ledger has no place for the run.
    let ours = |row: &Row| row.run == run || matches!(ledger, Ledger::Sqlx { .. });
    let as_wanted = |item: &&Item| match plan.way {
        Way::Up => rows.iter().any(|row| {
            row.version == item.version && row.checksum == item.checksum && row.success && ours(row)
        }),
        Way::Down => !rows.iter().any(|row| row.version == item.version),
    };
    let missing: Vec<&str> =
        plan.files.iter().filter(|item| !as_wanted(item)).map(|item| item.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = match plan.way {
        Way::Up => "does not have them as this run applied them",
        Way::Down => "still has their versions",
    };
    Err(Failure::unverified(format!("find what was done in the ledger {}", plan.ledger))
        .because(format!("{}: the ledger {what}", missing.join(", ")))
        .help("look at the ledger and at who else writes it; running again does what it does not have"))
}
