//! Sees through each proxy what users will see.

use std::time::Duration;

use kit::{Code, Cx, Failure, Poll, Secret, Wait};
use probe::{Asked, Probe};
use tokio::time::Instant;

use crate::args::{Fetch, Request};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);

const EVERY: Duration = Duration::from_millis(500);

const NO_HEADERS: &[(String, Secret)] = &[];

/// One answer through a proxy.
enum Seen {
    AsWanted(String),
    /// An answer, and why it is not as wanted.
    Else(String),
    /// No answer at all.
    Silent(String),
}

async fn look(cx: &Cx, request: &Request, fetch: &Fetch) -> Result<Seen, Failure> {
    let asked = Asked {
        url: &fetch.url,
        connect_to: Some(&fetch.place),
        headers: NO_HEADERS,
        follow_redirects: false,
        timeout: LIMIT,
        user_agent: concat!("cutover-swap-upstream/", env!("CARGO_PKG_VERSION")),
    };
    let probe = Probe::new(asked, request.ca_file.as_deref(), cx.env())?;
    Ok(match cx.or_cancelled(probe.look(LIMIT)).await? {
        Ok(answer) => match request.expect.judge(&answer) {
            Ok(healthy) => Seen::AsWanted(healthy.seen),
            Err(why) => Seen::Else(why),
        },
        Err(none) => Seen::Silent(none.reason),
    })
}

/// Looks before anything is changed: what can't be asked now could not be seen afterwards, and an answer that is as wanted
/// already can't tell the new server from the old.
pub(crate) async fn before(cx: &Cx, request: &Request) -> Result<Vec<String>, Failure> {
    let (mut silent, mut warnings) = (Vec::new(), Vec::new());
    for fetch in &request.fetches {
        let Fetch { proxy, url, place } = fetch;
        match look(cx, request, fetch).await? {
            Seen::Silent(why) => silent.push(format!("{proxy}: {url} at {place}: {why}")),
            Seen::Else(_) => {}
            Seen::AsWanted(seen) => warnings.push(format!(
                "{proxy}: {url} is as wanted already ({seen}), so it can't tell the new server from the old: see --expect-json and its like"
            )),
        }
    }
    if silent.is_empty() {
        return Ok(warnings);
    }
    Err(Failure::refused("ask through every proxy before anything is changed")
        .because(silent.join("\n"))
        .help("say with --connect-to where a proxy listens, as it is reached from here; or use --no-fetch"))
}

/// Waits until every address is answered as wanted through every proxy.
pub(crate) async fn all(cx: &Cx, request: &Request) -> Result<(), Failure> {
    let deadline = Instant::now() + request.settle;
    for fetch in &request.fetches {
        let Fetch { proxy, url, .. } = fetch;
        let what = format!("{url} to be as wanted through {proxy}");
        let mut last = String::new();
        let wait = Wait { what: &what, every: EVERY, deadline: Some(deadline) };
        let waited = cx.wait(wait, async || {
            Ok(match look(cx, request, fetch).await? {
                Seen::AsWanted(seen) => Poll::Ready(seen),
                Seen::Else(why) | Seen::Silent(why) => {
                    last.clone_from(&why);
                    Poll::Pending(why)
                }
            })
        });
        match waited.await {
            Ok(seen) => cx.report().say(&format!("{proxy}: {url}: {seen}")),
            Err(failure) if failure.code() == Code::Deadline => {
                return Err(Failure::unverified(format!("see {url} as wanted through {proxy}"))
                    .because(last)
                    .help("ask the new server itself; --settle is how long it may take"));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
