//! CloudFormation change sets.
