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
    [
        &alerts::CASES[..],
        &backup::CASES,
        &copy::CASES,
        &deploy::CASES,
        &dispatch::CASES,
        &maintenance::CASES,
        &migrate::CASES,
        &register::CASES,
        &search::CASES,
        &stacks::CASES,
        &tag::CASES,
        &upstream::CASES,
    ]
    .concat()
}
