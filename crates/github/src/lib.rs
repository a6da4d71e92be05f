//! octocrab configured from the environment, and GitHub's errors explained.
