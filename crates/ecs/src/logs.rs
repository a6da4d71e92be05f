//! What a container wrote, as far as `CloudWatch` Logs has it.
//!
//! A log explains an outcome and never decides one: whatever goes wrong here is said and does not end a step.

use aws::{Aws, failure};
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::get_log_events::{GetLogEventsError, GetLogEventsOutput};
use aws_sdk_ecs::types::{ContainerDefinition, LogDriver};
use kit::{Cx, Failure};

/// Where one container of one task writes its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The log group.
    pub group: String,
    /// The stream in it: `PREFIX/CONTAINER/TASK-ID`.
    pub stream: String,
    /// The region of the group, which need not be the task's.
    pub region: String,
}

/// How many empty pages are read before the newest lines are given up: an empty page is not the end.
const EMPTY_PAGES: usize = 10;

impl LogSource {
    /// The stream of a container of the task with that id, or why it has none that could be named.
    ///
    /// `region` is the task's, for a definition that names none.
    /// Source: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html>
    pub fn of(container: &ContainerDefinition, task_id: &str, region: &str) -> Result<Self, String> {
        let name = container.name().unwrap_or_default();
        let Some(log) = container.log_configuration() else {
            return Err(format!("container {name} has no log configuration"));
        };
        if *log.log_driver() != LogDriver::Awslogs {
            let more = match log.log_driver() {
                LogDriver::Awsfirelens => ": its log router decides where they go",
                _ => "",
            };
            return Err(format!(
                "container {name} logs through {}, not to CloudWatch{more}",
                log.log_driver()
            ));
        }
        let option = |name: &str| {
            log.options().and_then(|options| options.get(name)).filter(|value| !value.is_empty())
        };
        let Some(group) = option("awslogs-group") else {
            return Err(format!(
                "container {name} logs through awslogs, and its definition names no awslogs-group"
            ));
        };
        let Some(prefix) = option("awslogs-stream-prefix") else {
            return Err(format!(
                "container {name} has no awslogs-stream-prefix, so its stream in {group} has the id that Docker gave it"
            ));
        };
        Ok(Self {
            group: group.clone(),
            stream: format!("{prefix}/{name}/{task_id}"),
            region: option("awslogs-region").map_or_else(|| region.to_owned(), Clone::clone),
        })
    }

    /// A client for the region of the group.
    pub fn client(&self, aws: &Aws) -> Client {
        let config = aws_sdk_cloudwatchlogs::config::Builder::from(&aws.config)
            .region(aws_sdk_cloudwatchlogs::config::Region::new(self.region.clone()));
        Client::from_conf(config.build())
    }

    /// The command that shows the whole log at a terminal.
    pub fn command(&self) -> String {
        format!(
            "aws logs get-log-events --region {} --log-group-name {} --log-stream-name {} --start-from-head",
            self.region, self.group, self.stream
        )
    }

    /// One page: from a token, or the first or last one.
    pub(crate) async fn page(
        &self,
        client: &Client,
        token: Option<&str>,
        from: From,
    ) -> Result<GetLogEventsOutput, PageError> {
        let call = client
            .get_log_events()
            .log_group_name(&self.group)
            .log_stream_name(&self.stream)
            .set_next_token(token.map(str::to_owned));
        let call = match from {
            From::Head => call.start_from_head(true),
            From::Since(millis) => call.start_from_head(true).start_time(millis),
            From::Newest(lines) => call.start_from_head(false).limit(lines),
        };
        call.send().await.map_err(|error| {
            if error.as_service_error().is_some_and(GetLogEventsError::is_resource_not_found_exception) {
                return PageError::NotThere;
            }
            let resource = format!("arn:aws:logs:{}:*:log-group:{}:log-stream:*", self.region, self.group);
            PageError::Failed(failure(format!("read the log {self}"), "logs:GetLogEvents", &resource, error))
        })
    }
}

impl std::fmt::Display for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stream {} of log group {} in {}", self.stream, self.group, self.region)
    }
}

/// Where a page begins that has no token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Head,
    /// Milliseconds since the epoch, inclusive.
    Since(i64),
    /// At most so many of the newest lines.
    Newest(i32),
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum PageError {
    /// The group or the stream does not exist, or not yet.
    NotThere,
    Failed(Failure),
}

impl PageError {
    /// Why the log can't be read, as one line.
    pub(crate) fn why(&self, source: &LogSource) -> String {
        match self {
            Self::NotThere => format!("there is no {source}: the container wrote nothing, or never started"),
            Self::Failed(failure) => {
                let reason = failure.chain().join(": ");
                let denied =
                    if reason.contains("AccessDenied") { " (allow logs:GetLogEvents on it)" } else { "" };
                format!("could not {failure}: {reason}{denied}")
            }
        }
    }
}

/// The newest lines of a log, oldest first, or why there are none to show.
///
/// Neither a log that is missing nor a call that is denied is a failure. Each line is as the container wrote it: print it
/// with [`kit::Report::foreign`], or clean it with [`clean`] where it becomes part of a message.
/// Source: <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>
pub async fn last_lines(
    cx: &Cx,
    client: &Client,
    source: &LogSource,
    lines: u16,
) -> Result<Vec<String>, String> {
    let wanted = usize::from(lines);
    let mut found: Vec<String> = Vec::new();
    let mut token: Option<String> = None;
    let mut empty = 0;
    while found.len() < wanted && empty < EMPTY_PAGES {
        let asked = source.page(client, token.as_deref(), From::Newest(i32::from(lines)));
        let Ok(page) = cx.or_cancelled(asked).await else {
            return Err(format!("the run was cancelled before {source} was read"));
        };
        let page = match page {
            Ok(page) => page,
            // What an earlier page gave is worth more than why there is no other.
            Err(_) if !found.is_empty() => break,
            Err(error) => return Err(error.why(source)),
        };
        empty = if page.events().is_empty() { empty + 1 } else { 0 };
        let mut newer = std::mem::take(&mut found);
        found = page.events().iter().filter_map(|event| event.message()).map(str::to_owned).collect();
        found.append(&mut newer);
        let next = page.next_backward_token().map(str::to_owned);
        // The end of the stream is where a token repeats.
        if next.is_none() || next == token {
            break;
        }
        token = next;
    }
    if found.is_empty() {
        return Err(format!("{source} is empty"));
    }
    Ok(found.split_off(found.len().saturating_sub(wanted)))
}

/// A log line as part of a message: without control characters, which could move a terminal's cursor or begin a workflow
/// command, and not longer than a reader wants.
pub fn clean(line: &str) -> String {
    const LONGEST: usize = 300;
    let mut out: String = line
        .trim_end()
        .chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .take(LONGEST)
        .collect();
    if line.trim_end().chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_ecs::types::LogConfiguration;

    use super::*;

    fn container(driver: Option<LogDriver>, options: &[(&str, &str)]) -> ContainerDefinition {
        let options: HashMap<String, String> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let log = driver.map(|driver| {
            LogConfiguration::builder().log_driver(driver).set_options(Some(options)).build().unwrap()
        });
        ContainerDefinition::builder().name("migrate").set_log_configuration(log).build()
    }

    #[test]
    fn a_stream_is_named_by_prefix_container_and_task() {
        // "prefix-name/container-name/ecs-task-id": the page that LogSource::of names.
        let options = [("awslogs-group", "/rally/prod"), ("awslogs-stream-prefix", "ecs")];
        let source =
            LogSource::of(&container(Some(LogDriver::Awslogs), &options), "0123abcd", "us-east-1").unwrap();
        assert_eq!(source.stream, "ecs/migrate/0123abcd");
        assert_eq!((source.group.as_str(), source.region.as_str()), ("/rally/prod", "us-east-1"));
        let elsewhere = [options[0], options[1], ("awslogs-region", "eu-west-1")];
        let source =
            LogSource::of(&container(Some(LogDriver::Awslogs), &elsewhere), "0123abcd", "us-east-1").unwrap();
        assert_eq!(source.region, "eu-west-1");
    }

    #[test]
    fn a_log_that_is_not_in_cloudwatch_says_where_it_is() {
        let why = |driver, options: &[(&str, &str)]| {
            LogSource::of(&container(driver, options), "0123abcd", "us-east-1").unwrap_err()
        };
        assert!(why(None, &[]).contains("no log configuration"));
        assert!(why(Some(LogDriver::Awsfirelens), &[]).contains("log router"));
        assert!(why(Some(LogDriver::Awslogs), &[("awslogs-group", "g")]).contains("awslogs-stream-prefix"));
    }

    #[test]
    fn a_line_in_a_message_can_neither_move_a_cursor_nor_give_a_command() {
        assert_eq!(clean("\u{1b}[2Jgone\r\n"), "\u{fffd}[2Jgone");
        assert_eq!(clean("a\n::error::b"), "a\u{fffd}::error::b");
        assert_eq!(clean(&"x".repeat(400)).chars().count(), 301);
    }
}
