//! The stages, a file for each kind of world.

mod alerts;
mod backup;
mod copy;
mod deploy;
mod dispatch;
mod maintenance;
mod migrate;
mod register;
mod search;
mod stacks;
mod tag;
mod upstream;

use super::Case;

/// Every step in every situation that is proven.
pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(alerts::CASES);
    all.extend(backup::CASES);
    all.extend(copy::CASES);
    all.extend(deploy::CASES);
    all.extend(dispatch::CASES);
    all.extend(maintenance::CASES);
    all.extend(migrate::CASES);
    all.extend(register::CASES);
    all.extend(search::CASES);
    all.extend(stacks::CASES);
    all.extend(tag::CASES);
    all.extend(upstream::CASES);
    all
}
