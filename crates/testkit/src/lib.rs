//! Test worlds: the front, emulators, an S3 double, an ECS stand-in, a GitHub world, throw-away PostgreSQL.

pub mod app;
mod debian;
pub mod dns;
pub mod ecs;
pub mod emulator;
pub mod foreign;
pub mod front;
pub mod github;
pub mod inputs;
pub mod keys;
pub mod moto;
pub mod nginx;
pub mod pgbouncer;
pub mod postgres;
pub mod redis;
pub mod s3;
pub mod scenario;
mod server;
pub mod sshd;
pub mod templates;
pub mod tls;
pub mod vault;
pub mod venv;

pub use server::same_port;
