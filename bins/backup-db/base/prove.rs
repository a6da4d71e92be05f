//! Proves a base backup by starting it: read back into a scratch folder, replayed until it is consistent, and asked what it is.

use kit::{Cx, Failure};
use s3::Bucket;

use super::archive::private;
use super::check::read_back;
use super::plan::Server;
use crate::catalogue::column;
use crate::place::Place;
use crate::readback::Stored;
use crate::scratch::Scratch;
use crate::tools::Runner;

/// The databases that must be there are those that take connections on the server.
pub(super) async fn started(
    cx: &Cx,
    store: &Bucket,
    (runner, place): (&Runner, &Place),
    archive: Stored<'_>,
    sent: &str,
    (server, database): (&Server, &str),
) -> Result<Result<String, String>, Failure> {
    let system = server.system_identifier.as_deref();
    let unpack = async |data: std::path::PathBuf| {
        private(&data).map_err(|error| {
            Failure::failed(format!("make the folder {}", data.display())).because(error).untouched(true)
        })?;
        Ok(Box::pin(read_back(cx, store, archive, Some(sent), system, Some(data))).await?.map(drop))
    };
    let scratch = match Scratch::of_files(cx, runner, place, (&server.role, database), unpack).await? {
        Ok(scratch) => scratch,
        Err(why) => return Ok(Err(why)),
    };
    let asked = asked(cx, &scratch, server).await;
    scratch.end().await?;
    asked
}

async fn asked(cx: &Cx, scratch: &Scratch, server: &Server) -> Result<Result<String, String>, Failure> {
    let session = scratch.session(cx).await?;
    let attempt = "ask the server that was started on the backup";
    let databases = column(
        &session,
        attempt,
        "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname",
    )
    .await?;
    let identity = session.identity.clone();
    session.close().await;
    let missing: Vec<&str> =
        server.databases.iter().filter(|name| !databases.contains(name)).map(String::as_str).collect();
    Ok(if identity.in_recovery {
        Err("the server that was started on it is still in recovery".to_owned())
    } else if identity.system_identifier.is_some() && identity.system_identifier != server.system_identifier {
        Err("the server that was started on it has another system identifier".to_owned())
    } else if !missing.is_empty() {
        Err(format!("the server that was started on it lacks the databases {}", missing.join(", ")))
    } else {
        Ok(format!("started, consistent, with the {} databases of the server", server.databases.len()))
    })
}
