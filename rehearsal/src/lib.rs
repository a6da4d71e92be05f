//! The world in which a whole release runs, and the driver that reads the production workflow.

pub mod driver;
pub mod workflow;
