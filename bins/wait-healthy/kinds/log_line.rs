//! A line with a text has come into a CloudWatch log group.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>

use std::time::Duration;

use aws::{Aws, failure};
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsError;
use kit::{Cx, Failure};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, timeout};

use super::Look;

/// Which text, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) group: String,
    pub(crate) stream: Option<String>,
    pub(crate) text: String,
}

/// For clap's `value_parser`: `GROUP[:STREAM]=TEXT`.
pub(crate) fn parse(text: &str) -> Result<Line, String> {
    let wrong = || "write GROUP=TEXT or GROUP:STREAM=TEXT, as in /boss/endpoint=i-0abc".to_owned();
    // Neither name can have an equals sign before the text: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    let (place, text) = text.split_once('=').ok_or_else(wrong)?;
    let (group, stream) = match place.split_once(':') {
        None => (place, None),
        Some((group, stream)) => (group, Some(stream.to_owned())),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    let empty = stream.as_ref().is_some_and(String::is_empty);
    if group.is_empty() || !group.chars().all(named) || empty || text.trim().is_empty() {
        return Err(wrong());
    }
    Ok(Line { group: group.to_owned(), stream, text: text.to_owned() })
}

/// For clap's `value_parser`: a time, or a duration before the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Time(OffsetDateTime),
    Ago(Duration),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::Time(time));
        }
        kit::parse_duration(text).map(Self::Ago).map_err(|_| {
            "write a time as in 2026-11-22T02:00:00Z, or a duration before now as in 15m".to_owned()
        })
    }
}

impl Since {
    /// The time that is meant when it is `now`, in whole seconds.
    pub(crate) fn at(self, now: OffsetDateTime) -> OffsetDateTime {
        let time = match self {
            Self::Time(time) => time,
            Self::Ago(ago) => now - ago,
        };
        time.replace_nanosecond(0).unwrap_or(time)
    }
}

impl Line {
    pub(crate) fn name(&self) -> String {
        let stream = self.stream.as_ref().map_or_else(String::new, |stream| format!(":{stream}"));
        format!("a line with {:?} in {}{stream}", self.text, self.group)
    }

    /// The text as a term of CloudWatch's own filter, which finds it as it is written.
    ///
    /// Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>
    fn pattern(&self) -> String {
        format!("\"{}\"", self.text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// A probe for one line.
#[derive(Debug)]
pub(crate) struct LogLine {
    line: Line,
    since: OffsetDateTime,
    aws: Aws,
    client: Client,
    /// What was found: a line that has come stays.
    found: Option<String>,
}

impl LogLine {
    pub(crate) fn new(line: Line, since: OffsetDateTime, aws: Aws) -> Self {
        let client = Client::new(&aws.config);
        Self { line, since, aws, client, found: None }
    }

    pub(crate) fn name(&self) -> String {
        self.line.name()
    }

    /// Since when a line counts.
    pub(crate) fn since(&self) -> String {
        self.since.format(&Rfc3339).unwrap_or_default()
    }

    pub(crate) async fn look(&mut self, cx: &Cx, limit: Duration) -> Result<Look, Failure> {
        if let Some(found) = &self.found {
            return Ok(Look::healthy(found.clone()));
        }
        let since = self.since();
        let mut token: Option<String> = None;
        loop {
            let sent = self
                .client
                .filter_log_events()
                .log_group_name(&self.line.group)
                .set_log_stream_names(self.line.stream.clone().map(|stream| vec![stream]))
                .start_time(self.since.unix_timestamp() * 1000)
                .filter_pattern(self.line.pattern())
                .set_next_token(token.take())
                .send();
            let Ok(answer) = timeout(limit, sent).await else {
                return Ok(Look::not_yet(format!("timed out after {limit:?}: no answer")));
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(FilterLogEventsError::is_resource_not_found_exception) =>
                {
                    // What writes a log makes it with its first line.
                    return Ok(Look::not_yet(format!(
                        "there is no such log group or stream in account {} in {}",
                        self.aws.account, self.aws.region
                    ))
                    .help("check the name and --region: aws logs describe-log-groups"));
                }
                Err(error) => {
                    let arn = format!(
                        "arn:aws:logs:{}:{}:log-group:{}:*",
                        self.aws.region, self.aws.account, self.line.group
                    );
                    let attempt = format!("look for {}", self.name());
                    return Err(failure(attempt, "logs:FilterLogEvents", &arn, error));
                }
            };
            // Not the line itself: what else is in it is not ours to show.
            let hit = answer
                .events()
                .iter()
                .find(|event| event.message().is_some_and(|message| message.contains(&self.line.text)));
            if let Some(event) = hit {
                let at = event.timestamp().and_then(|at| OffsetDateTime::from_unix_timestamp(at / 1000).ok());
                let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
                let stream = kit::one_line(event.log_stream_name().unwrap_or("?"));
                let found = format!("it came at {at} in the stream {stream}");
                self.found = Some(found.clone());
                return Ok(Look::healthy(found));
            }
            // Pages may be empty and still have one after them.
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(Look::not_yet(format!("none since {since}")));
            }
            if Instant::now() > cx.deadline() {
                return Ok(Look::not_yet(format!("none in the part that was read since {since}"))
                    .help("narrow it down: a later --log-since, or one stream (GROUP:STREAM=TEXT)"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_and_what() {
        let line = parse("/boss/endpoint:i-0/x=user=bob \"x\"").unwrap();
        assert_eq!((line.group.as_str(), line.stream.as_deref()), ("/boss/endpoint", Some("i-0/x")));
        assert_eq!(line.pattern(), r#""user=bob \"x\"""#);
        for bad in ["/boss", "=x", "/boss=", "/boss= ", "/boss:=x", "a b=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn since_a_time_or_so_long_ago() {
        let now = OffsetDateTime::from_unix_timestamp(1_795_262_400).unwrap();
        let at = |text: &str| text.parse::<Since>().unwrap().at(now).unix_timestamp();
        assert_eq!(at("15m"), 1_795_262_400 - 900);
        assert_eq!(at("2026-11-21T12:00:00Z"), 1_795_262_400);
        assert!("yesterday".parse::<Since>().is_err());
    }
}
