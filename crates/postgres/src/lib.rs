//! PostgreSQL connections as libpq reads them, and the manifest a backup leaves.
