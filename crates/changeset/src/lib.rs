//! CloudFormation change sets: what AWS says of one, what that does to data, and how it is shown.
//!
//! [`answer`] is AWS's word; [`review`] is the judgement of it as plain data.

pub mod answer;
pub mod approve;
pub mod compare;
pub mod fate;
pub mod judge;
pub mod redact;
pub mod review;
pub mod set;
pub mod show;
#[cfg(test)]
mod testing;
pub mod types;
