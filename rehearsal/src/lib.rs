//! The world in which a whole release runs, and the driver that reads the production workflow.

pub mod driver;
pub mod rehearse;
pub mod workflow;
pub mod world;
