//! The templates that people really have.
