//! Whole processes against test worlds: what a user of the multi-call executable sees.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod actions;
mod alerts;
mod backup;
mod bad_input;
mod copy_objects;
mod data;
mod dependencies;
mod deploy_scenarios;
mod deploy_service;
mod documented;
mod examples;
mod healthy;
mod kill_random;
mod large;
mod linters;
mod maintenance;
mod migrate;
mod multi_call;
mod packaging;
mod permissions;
mod proof;
mod rds_snapshot;
mod recorded_change_sets;
mod register_inputs;
mod register_task_def;
mod rehearsal;
mod rehearsal_stacks;
mod release_report;
mod run_task;
mod s3_double;
mod stacks;
mod tag_release;
mod tag_signing;
mod transcripts;
mod upstream;
mod vault_export;
mod workflow;
mod world;
