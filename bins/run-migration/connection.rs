//! The connection that migrations run through, which must be the server's own: behind a pooler that changes server processes
//! between transactions neither a lock nor a time-out holds.

use std::time::Duration;

use kit::{Cx, Failure};
use postgres::{Session, Target};

use crate::ledger::rows;

/// The refusal of a pooler.
pub(crate) fn pooled(attempt: &str) -> Failure {
    Failure::refused(attempt).help(
        "connect to the server itself: its own host and port (5432, where a PgBouncer has 6432), for RDS Proxy the endpoint of the instance or cluster",
    )
}

/// The settings of the session: start-up options beat what a role or the database has set, and RESET returns to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lock: Duration,
    pub(crate) statement: Duration,
}

impl Limits {
    fn options(self) -> [(&'static str, String); 3] {
        [
            ("lock_timeout", self.lock.as_millis().to_string()),
            ("statement_timeout", self.statement.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", "0".to_owned()),
        ]
    }

    pub(crate) fn on(self, target: &Target) -> Target {
        self.options().iter().fold(target.clone(), |target, (name, value)| target.with_option(name, value))
    }
}

/// Connects, and sees that the settings are in force.
pub(crate) async fn connect(cx: &Cx, target: &Target, limits: Limits) -> Result<Session, Failure> {
    let session = postgres::connect(cx, &limits.on(target)).await.map_err(|failure| {
        // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-connecting.html: "command-line options"
        let why = failure.chain().join(": ");
        if why.contains("startup parameter") || why.contains("command-line options") {
            pooled(&failure.to_string()).because(why)
        } else {
            failure
        }
    })?;
    let attempt = format!("use the connection to {}", target.server());
    let asked = "SELECT name, setting, pg_backend_pid() FROM pg_settings WHERE name IN \
                 ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout')";
    let answer = session.client.simple_query(asked).await;
    let answer = answer.map_err(|error| session.failure(&attempt, &error).untouched(true))?;
    for row in rows(&answer) {
        let [name, setting, pid] = row.as_slice() else { continue };
        if *pid != session.identity.backend_pid.to_string() {
            return Err(pooled(&attempt)
                .because("two statements of this connection were answered by two server processes"));
        }
        let wanted = limits.options().into_iter().find(|(option, _)| option == name);
        if wanted.as_ref().is_some_and(|(_, wanted)| wanted != setting) {
            return Err(pooled(&attempt).because(format!(
                "start-up options are not in force: {name} is {setting} ms and was asked to be {} ms, as behind a pooler that ignores them",
                wanted.map(|(_, wanted)| wanted).unwrap_or_default()
            )));
        }
    }
    Ok(session)
}
