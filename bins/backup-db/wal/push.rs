//! Runs the tool.

use std::process::Stdio;
use std::time::Duration;

use kit::{Cx, Failure, Secret};
use postgres::Target;
use tokio::process::Command;
use tokio::time::{Instant, interval_at};

use super::plan::{PushPlan, Tool, World};
use super::sentinel::BACKUP_ID;
use crate::child::Running;
use crate::key::Destination;

/// Variables whose values must not be in any output, whatever the tool says.
const SECRET: [&str; 9] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
    "WALG_LIBSODIUM_KEY",
    "WALG_PGP_KEY",
    "WALG_PGP_KEY_PASSPHRASE",
    "WALG_GPG_KEY_PASSPHRASE",
    "WALE_SWIFT_PASSWORD",
];

/// How often it is said that the tool is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Runs it to its end, with the environment of this process, the prefix and the connection. An exit with 0 proves nothing.
pub(super) async fn push(
    cx: &Cx,
    tool: Tool,
    world: &World,
    plan: &PushPlan,
    target: &Target,
    to: &Destination,
) -> Result<(), Failure> {
    let attempt = format!("run {} {}", world.program.display(), plan.arguments.join(" "));
    for name in SECRET {
        // From here on no output of the process shows it.
        let _ = cx.env().get(name).map(Secret::new);
    }
    let mut command = Command::new(&world.program);
    command.env_clear().envs(cx.env().iter()).args(&plan.arguments);
    target.child_env().apply(&mut command);
    let prefix = format!("s3://{}/{}", to.bucket, to.prefix);
    for name in tool.prefix_variables() {
        command.env(name, prefix.trim_end_matches('/'));
    }
    if let Some(id) = &plan.tells_id {
        command.env("WALG_SENTINEL_USER_DATA", serde_json::json!({ BACKUP_ID: id }).to_string());
    }
    // Standard output is for the result of this step; both tools tell their story on the other.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Running::start(cx, command, &attempt)?;
    let begun = Instant::now();
    let mut beats = interval_at(begun + HEARTBEAT, HEARTBEAT);
    let ended = {
        let mut ended = std::pin::pin!(cx.in_time(&attempt, child.succeeded(&attempt)));
        loop {
            tokio::select! {
                ended = &mut ended => break ended,
                _ = beats.tick() => {
                    let minutes = begun.elapsed().as_secs() / 60;
                    cx.report().say(&format!("{} is running since {minutes} min", tool.word()));
                }
            }
        }
    };
    let state = format!(
        "what it uploaded stays and is no backup without a sentinel; `{} delete` puts it away",
        tool.word()
    );
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(failure.state(state)),
        Err(stopped) => {
            child.stop().await;
            Err(stopped.state(state))
        }
    }
}
