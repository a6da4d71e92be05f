//! Whole processes against test worlds: what a user of the multi-call executable sees.

mod actions;
mod dependencies;
mod deploy_service;
mod multi_call;
mod register_task_def;
mod rehearsal;
mod workflow;
mod world;
