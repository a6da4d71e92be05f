//! How a review is shown: to a person at a terminal, in the summary of a job, in a comment on a pull request, as a graph.
//! Pure. What needs an approval comes first and is never left out in favour of what needs none.

mod graph;
mod markdown;
#[cfg(test)]
mod page_tests;
mod terminal;
#[cfg(test)]
mod tests;
mod words;

pub use graph::graph;
pub use markdown::{COMMENT_LIMIT, CommentOptions, comment, marker, summary};
pub use terminal::{Style, terminal};
pub use words::{allow, becomes, console_url, headline, plan_line};
