//! Following a log while its task runs, and to its end.

use std::collections::HashMap;
use std::time::Duration;

use aws::Aws;
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::get_log_events::GetLogEventsOutput;
use tokio::time::Instant;

use crate::logs::{From, LogSource, PageError};

/// What is written in the last minute may be stored in another order than it was written in: a page's token is past lines
/// that come late.
const UNSETTLED_MILLIS: i64 = 60_000;

/// Time between two looks while a log is drained.
const LOOK: Duration = Duration::from_secs(1);

/// A log that is followed from its first line.
///
/// Each line is handed over once. Dropping a future of this type loses no line: what a page held is handed over before
/// the next one is asked for.
#[derive(Debug)]
pub struct Tail {
    client: Client,
    source: LogSource,
    /// Where the next page begins.
    token: Option<String>,
    /// The lines of the last minute, by which late ones are told from those that were handed over.
    recent: Vec<Event>,
    newest: i64,
    lines: usize,
    there: bool,
    /// Why it can't be followed any further.
    broken: Option<String>,
}

/// `CloudWatch` Logs gives an event of a stream no id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Event {
    timestamp: i64,
    ingested: i64,
    message: String,
}

impl Tail {
    /// Follows that log; nothing is asked before the first [`Self::tick`].
    pub fn new(aws: &Aws, source: LogSource) -> Self {
        Self {
            client: source.client(aws),
            source,
            token: None,
            recent: Vec::new(),
            newest: 0,
            lines: 0,
            there: false,
            broken: None,
        }
    }

    /// The log that is followed.
    pub fn source(&self) -> &LogSource {
        &self.source
    }

    /// How many lines were handed over.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Why not all of the log was read, once it should have been; none while all is well.
    pub fn trouble(&self) -> Option<String> {
        match (&self.broken, self.there) {
            (Some(why), _) => Some(why.clone()),
            (None, false) => Some(PageError::NotThere.why(&self.source)),
            (None, true) => None,
        }
    }

    /// Reads every page that there is by now and returns how many lines it handed over. A stream that does not exist yet is
    /// an empty one; a call that AWS throttles is made again at the next tick.
    ///
    /// The end is where the token repeats; an empty page alone is not the end
    /// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>).
    pub async fn tick(&mut self, say: &mut impl FnMut(&str)) -> usize {
        let before = self.lines;
        while self.broken.is_none() {
            let page = match self.source.page(&self.client, self.token.as_deref(), From::Head).await {
                Ok(page) => page,
                Err(PageError::NotThere) => break,
                Err(PageError::Failed(failure)) if failure.is_transient() => break,
                Err(error) => {
                    self.broken = Some(error.why(&self.source));
                    break;
                }
            };
            self.there = true;
            self.take(&page, say);
            let next = page.next_forward_token().map(str::to_owned);
            if next.is_none() || next == self.token {
                break;
            }
            self.token = next;
        }
        self.lines - before
    }

    /// Goes on until nothing was written for `quiet`, and no longer than `at_most`: the agent sends what a container wrote
    /// some seconds later, also after ECS shows the task as stopped. Then looks once more for lines that came late.
    pub async fn drain(&mut self, quiet: Duration, at_most: Duration, say: &mut impl FnMut(&str)) {
        let began = Instant::now();
        let mut last = began;
        loop {
            if self.tick(say).await > 0 {
                last = Instant::now();
            }
            if self.broken.is_some() || last.elapsed() >= quiet || began.elapsed() >= at_most {
                break;
            }
            tokio::time::sleep(LOOK.min(quiet)).await;
        }
        self.late(say).await;
    }

    /// Hands over what was stored behind the position of the token.
    async fn late(&mut self, say: &mut impl FnMut(&str)) {
        if !self.there || self.broken.is_some() {
            return;
        }
        let from = From::Since(self.newest.saturating_sub(UNSETTLED_MILLIS));
        let mut handed: HashMap<Event, usize> = HashMap::new();
        for event in self.recent.drain(..) {
            *handed.entry(event).or_default() += 1;
        }
        let mut token: Option<String> = None;
        // What this can't read, the ticks have read.
        while let Ok(page) = self.source.page(&self.client, token.as_deref(), from).await {
            for event in events(&page) {
                match handed.get_mut(&event) {
                    Some(times) if *times > 0 => *times -= 1,
                    _ => {
                        say(&event.message);
                        self.lines += 1;
                    }
                }
            }
            let next = page.next_forward_token().map(str::to_owned);
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
    }

    fn take(&mut self, page: &GetLogEventsOutput, say: &mut impl FnMut(&str)) {
        for event in events(page) {
            say(&event.message);
            self.lines += 1;
            self.newest = self.newest.max(event.timestamp);
            self.recent.push(event);
        }
        let settled = self.newest.saturating_sub(UNSETTLED_MILLIS);
        self.recent.retain(|event| event.timestamp >= settled);
    }
}

fn events(page: &GetLogEventsOutput) -> impl Iterator<Item = Event> + '_ {
    page.events().iter().map(|event| Event {
        timestamp: event.timestamp().unwrap_or_default(),
        ingested: event.ingestion_time().unwrap_or_default(),
        message: event.message().unwrap_or_default().to_owned(),
    })
}
