//! The lock under which a ledger is written.

use std::time::Duration;

use kit::{Cx, Failure, Poll, Wait};
use postgres::Session;

use super::{Ledger, cells};

/// Takes the ledger's lock for the session, waiting for whoever holds it until the step's deadline.
///
/// It is a session lock (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>): the server frees it
/// when the connection ends, however it ends. It is asked for again and again, never waited for inside the server: a
/// `CREATE INDEX CONCURRENTLY` of the holder would wait for the waiting statement's snapshot, and the two for each other.
pub(crate) async fn lock(cx: &Cx, session: &Session, ledger: &Ledger) -> Result<(), Failure> {
    let key = ledger.lock_key(&session.identity.database);
    let (high, low) = (key.cast_unsigned() >> 32, key.cast_unsigned() & u64::from(u32::MAX));
    let attempt = format!("take the lock of {ledger}");
    let what = format!("the lock of {ledger}");
    let ask = format!("SELECT pg_try_advisory_lock({key}), pg_backend_pid()");
    // https://www.postgresql.org/docs/current/view-pg-locks.html: the halves of a bigint key, and objsubid 1.
    let who = format!(
        "SELECT format('server process %s (%s as %s from %s, connected since %s)', a.pid, coalesce(nullif(a.application_name, ''), \
         'unnamed'), a.usename, coalesce(host(a.client_addr), 'the server itself'), a.backend_start::timestamptz(0)) \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {high} \
         AND l.objid = {low} AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let pid = session.identity.backend_pid.to_string();
    cx.wait(Wait::until(&what, Duration::from_secs(1)), async || {
        let failed = |error| {
            let failure = session.failure(&attempt, &error).untouched(true);
            // A lost connection does not come back by asking again.
            if session.is_closed() { failure.transient(false) } else { failure }
        };
        let taken = cells(&session.client.simple_query(&ask).await.map_err(failed)?);
        if taken.get(1) != Some(&pid) {
            return Err(crate::connection::pooled(&attempt)
                .because("two statements of this connection were answered by two server processes"));
        }
        if taken.first().map(String::as_str) == Some("t") {
            return Ok(Poll::Ready(()));
        }
        let holder = cells(&session.client.simple_query(&who).await.map_err(failed)?);
        Ok(Poll::Pending(match holder.first() {
            Some(holder) => format!("held by {holder}"),
            None => "held by another session".to_owned(),
        }))
    })
    .await
}
