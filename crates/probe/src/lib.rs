//! One look at an HTTP endpoint, and whether what it answers is what is wanted; and connections for other protocols.
//!
//! Shared by the step that waits for a service and the one that shows that a maintenance page is seen. The former also writes
//! settings of a search cluster, over the same client.

mod certificate;
mod connect;
mod expect;
#[cfg(test)]
mod foreign_tests;
mod json;
mod look;
mod place;

pub use connect::{Connection, connect};
pub use expect::{Answer, Expectations, HeaderIs, Healthy, Redirect, StatusSet, is_header_name};
pub use json::{CountIs, JsonIs};
pub use look::{Asked, NoAnswer, Probe, Write};
pub use place::{ConnectTo, endpoint, is_loopback, loopback};
pub use rustls::ClientConfig;
