//! PostgreSQL connections as libpq reads them, and the manifest a backup leaves.
//!
//! ```text
//! args.pg: postgres::PgArgs                       #[command(flatten)]
//! let target = args.pg.target(cx.env())?;         flags, URL, service file, PG* variables, password file -> one server
//! let session = postgres::connect(&cx, &target).await?;
//! session.identity.database                       what the server says it is
//! session.client.simple_query(..).await.map_err(|error| session.failure("count the rows of x", &error))?;
//! target.child_env().apply(&mut command);         the same connection for pg_dump: nothing of it in its arguments
//! ```
//!
//! Where this differs from libpq it is stricter, and says so: host, database and user have no defaults (a release must
//! not guess where it writes), one server at a time, and off this machine the default of `sslmode` is `verify-full`.

mod args;
#[cfg(test)]
mod foreign_tests;
pub mod manifest;
mod session;
mod sources;
mod target;
mod tls;

pub use args::PgArgs;
pub use manifest::{Locale, Manifest, Rung};
pub use session::{Canceller, Identity, Notice, ServerVersion, Session, connect, connect_once, failure};
pub use target::{ChannelBinding, ChildEnv, SslMode, Target};
pub use tokio_postgres;
