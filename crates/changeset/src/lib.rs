//! CloudFormation change sets: what AWS says of one, what that does to data, and how it is shown.
//!
//! [`answer`] is AWS's word; [`review`] is the judgement of it as plain data.

pub mod answer;
pub mod approve;
pub mod compare;
pub mod fate;
pub mod hints;
pub mod judge;
pub mod live;
pub mod look;
pub mod prepare;
pub mod redact;
pub mod request;
pub mod review;
pub mod set;
pub mod show;
pub mod template;
#[cfg(test)]
mod testing;
pub mod types;
