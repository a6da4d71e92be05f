//! CloudFormation change sets: what AWS says of one, what that does to data, and how it is shown.
//!
//! [`answer`] is AWS's word, read by [`live`] or from a file and put together by [`set`]; [`judge`] judges it, with the
//! [`hints`] that templates give; [`review`] is the result as plain data, which [`approve`] and [`compare`] speak of and
//! [`show`] shows.

pub mod answer;
pub mod approve;
pub mod compare;
pub mod fate;
#[cfg(test)]
mod foreign_tests;
pub mod hints;
pub mod judge;
pub mod kept;
pub mod live;
pub mod look;
pub mod prepare;
pub mod request;
pub mod review;
pub mod set;
pub mod show;
pub mod template;
#[cfg(test)]
mod testing;
pub mod types;
