//! The connection flags of a step.

use std::path::PathBuf;

use kit::{Env, Failure};

use crate::{SslMode, Target};

/// Which database, as every PostgreSQL client is told.
///
/// There is no flag for the password, and a URL that holds one is refused: arguments are seen in the process list and
/// in logs.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Database options")]
pub struct PgArgs {
    /// The database as postgresql://USER@HOST:PORT/DBNAME?sslmode=...; a password in it is refused
    ///
    /// The password comes from PGPASSWORD, a password file (PGPASSFILE, ~/.pgpass) or a service file. A flag beats the
    /// URL, the URL beats the service file, the service file beats the PG* variables.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// A section of the service file (PGSERVICEFILE, `~/.pg_service.conf`) [default: PGSERVICE]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// The server's name or address, or the folder of its Unix socket [default: PGHOST]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,

    /// The server's port [default: PGPORT or 5432]
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,

    /// The database [default: PGDATABASE]
    #[arg(long, value_name = "DBNAME")]
    pub dbname: Option<String>,

    /// The role to log in as [default: PGUSER]
    #[arg(long, value_name = "ROLE")]
    pub user: Option<String>,

    /// Encryption and verification, with libpq's meanings [default: PGSSLMODE, else verify-full, and prefer to this
    /// machine]
    #[arg(long, value_enum, value_name = "MODE")]
    pub sslmode: Option<SslMode>,

    /// The certificates that may sign the server's, as PEM [default: PGSSLROOTCERT, ~/.postgresql/root.crt, the system's]
    ///
    /// For RDS: <https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem>.
    #[arg(long, value_name = "FILE")]
    pub ssl_root_cert: Option<PathBuf>,
}

impl PgArgs {
    /// The one server, database and role that these flags and the environment mean.
    ///
    /// Reads the service file and the password file, and connects to nothing. A missing host, database or role, a
    /// password in the URL, several hosts, and settings that would be ignored are usage errors (exit 2).
    pub fn target(&self, env: &Env) -> Result<Target, Failure> {
        Target::resolve(self, env)
    }
}
