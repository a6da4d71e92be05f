#![doc = include_str!("help.md")]

mod plan;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use kit::{Code, Cx, ExitCode, Failure, Go, Outcome, Output, Poll, Step, Wait};
use serde_json::Value;
use tokio::time::Instant;

use probe::{Answer, ConnectTo, CountIs, HeaderIs, Healthy, JsonIs, Probe, StatusSet};

use crate::plan::{HeaderFromEnv, Request};

/// The step.
pub const STEP: Step = Step {
    name: "wait-healthy",
    command: kit::command::<HealthyArgs>,
    outputs: &[
        Output {
            name: "status",
            description: "the last answer's HTTP status code; absent when there was no answer",
        },
        Output { name: "attempts", description: "how often the endpoint was asked" },
        Output { name: "waited", description: "how long that took, in seconds" },
        Output { name: "final-url", description: "where the last answer came from, after redirects" },
        Output {
            name: "values",
            description: "JSON object of each --expect-json pointer to the value seen there",
        },
        Output {
            name: "count",
            description: "how many members the place of --expect-count has; absent when there are several of them",
        },
        Output {
            name: "counts",
            description: "JSON object of each --expect-count pointer to the number of members seen there",
        },
    ],
    permissions: &[],
    exit_codes: &[
        ExitCode { code: Code::Done, meaning: "the endpoint answers as expected" },
        ExitCode { code: Code::Failed, meaning: "with --once: the endpoint does not answer as expected" },
        ExitCode {
            code: Code::Deadline,
            meaning: "the endpoint did not answer as expected before the deadline",
        },
    ],
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

/// Wait until an HTTP endpoint answers as expected, or check once that it does
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
pub struct HealthyArgs {
    /// The endpoint to ask: http:// or https://, without a user name or password
    #[arg(long, value_name = "URL")]
    url: String,

    /// Status codes to expect: single ones and ranges, separated by commas
    #[arg(long, value_name = "CODES", default_value = "200-299")]
    expect_status: StatusSet,

    /// Text that the body contains; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    expect_body: Vec<String>,

    /// Value at a place of the body's JSON, as in /version=2.1.0; may be repeated
    #[arg(long, value_name = "POINTER=VALUE")]
    expect_json: Vec<JsonIs>,

    /// Least number of members of an array or object of the body's JSON, as in /jobs=12; may be repeated
    #[arg(long, value_name = "POINTER=N")]
    expect_count: Vec<CountIs>,

    /// Header that the answer has, as in 'x-version: 2.1.0'; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    expect_header: Vec<HeaderIs>,

    /// Text that the body must not contain, such as a maintenance page's; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reject_body: Vec<String>,

    /// Look once and fail at once when the answer is not as expected
    #[arg(long)]
    once: bool,

    /// How often in a row the answer must be as expected: 3 or more behind a load balancer
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    successes: u32,

    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    interval: Duration,

    /// Time for one look; half of it for the connection
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive)]
    request_timeout: Duration,

    /// Open connections here instead of where the URL's host name leads; Host header and TLS name stay the URL's
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<ConnectTo>,

    /// Send `Authorization: Bearer` with the value of this environment variable
    #[arg(long, value_name = "VARIABLE")]
    bearer_env: Option<String>,

    /// Send a header with the value of an environment variable, as in x-api-key=API_KEY; may be repeated
    #[arg(long, value_name = "HEADER=VARIABLE")]
    header_env: Vec<HeaderFromEnv>,

    /// Follow redirects, at most ten
    #[arg(long)]
    follow_redirects: bool,

    /// PEM file with the only certificates to trust
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = kit::parse_duration(text)?;
    if time.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(time) }
}

async fn run(args: HealthyArgs, cx: Cx) -> Result<Outcome, Failure> {
    if cx.undo().is_some() {
        return Ok(Outcome::unchanged("nothing to take back: this step changes nothing"));
    }
    let request = plan::request(&args, cx.env())?;
    let probe = Probe::new(request.asked(), args.ca_file.as_deref(), cx.env())?;
    if let Go::Stop(outcome) = cx.show(&request)? {
        return Ok(outcome);
    }
    let mut watch = Watch::new(&cx, &request, &probe, cx.deadline());
    let result = watch.until_healthy().await;
    cx.report().summarize(&watch.markdown());
    cx.output("attempts", watch.attempts.to_string());
    cx.output("waited", watch.started.elapsed().as_secs().to_string());
    if let Some(answer) = &watch.answer {
        cx.output("status", answer.status.to_string());
        cx.output("final-url", &answer.url);
    }
    let healthy = result?;
    cx.output("values", Value::Object(healthy.values).to_string());
    if let [count] = healthy.counts.values().collect::<Vec<_>>()[..] {
        cx.output("count", count.to_string());
    }
    cx.output("counts", Value::Object(healthy.counts).to_string());
    let looks =
        if watch.attempts == 1 { "the first look".to_owned() } else { format!("{} looks", watch.attempts) };
    Ok(Outcome::unchanged(format!("{} is healthy: {} (after {looks})", request.endpoint(), healthy.seen)))
}

/// How many changes of what was seen the job summary shows.
const SHOWN_CHANGES: usize = 50;

/// The looks of one run.
struct Watch<'a> {
    cx: &'a Cx,
    request: &'a Request,
    probe: &'a Probe,
    deadline: Instant,
    started: Instant,
    attempts: u64,
    in_a_row: u32,
    /// The last answer, whether as expected or not; none when the last look got none.
    answer: Option<Answer>,
    /// What may help against the last reason.
    help: Option<&'static str>,
    /// What was seen, each time that it changed, with the time since the start.
    seen: Vec<(Duration, String)>,
}

impl<'a> Watch<'a> {
    fn new(cx: &'a Cx, request: &'a Request, probe: &'a Probe, deadline: Instant) -> Self {
        Self {
            cx,
            request,
            probe,
            deadline,
            started: Instant::now(),
            attempts: 0,
            in_a_row: 0,
            answer: None,
            help: None,
            seen: Vec::new(),
        }
    }

    async fn until_healthy(&mut self) -> Result<Healthy, Failure> {
        let endpoint = self.request.endpoint();
        let result = if self.request.once {
            let cx = self.cx;
            match cx.or_cancelled(self.look()).await? {
                Ok(healthy) => Ok(healthy),
                Err(reason) => Err(Failure::failed(format!("check {endpoint}")).because(reason)),
            }
        } else {
            let what = format!("{endpoint} to be healthy");
            let wait = Wait { what: &what, every: self.request.interval, deadline: Some(self.deadline) };
            self.cx
                .wait(wait, async || {
                    Ok(match self.look().await {
                        Ok(healthy) if self.in_a_row >= self.request.successes => Poll::Ready(healthy),
                        Ok(healthy) => Poll::Pending(format!(
                            "as wanted {} of {} times in a row ({})",
                            self.in_a_row, self.request.successes, healthy.seen
                        )),
                        Err(reason) => Poll::Pending(reason),
                    })
                })
                .await
        };
        result.map_err(|failure| match self.help {
            Some(help) => failure.help(help),
            None => failure,
        })
    }

    /// Looks once. What is not as wanted comes back as its reason, in one line.
    async fn look(&mut self) -> Result<Healthy, String> {
        self.attempts += 1;
        // Not cut by the deadline: that would put "timed out" in the place of what the endpoint really lacks.
        let looked = self.probe.look(self.request.request_timeout).await;
        let (verdict, help) = match &looked {
            Ok(answer) => {
                let redirected = answer.redirect.as_ref().is_some_and(|redirect| redirect.held.is_empty());
                let help = "check the address, or follow redirects with --follow-redirects";
                (self.request.expect.judge(answer), redirected.then_some(help))
            }
            Err(none) => (Err(none.reason.clone()), none.help),
        };
        self.answer = looked.ok();
        let line = match &verdict {
            Ok(healthy) => healthy.seen.clone(),
            Err(reason) => reason.clone(),
        };
        let changed = self.seen.last().is_none_or(|(_, last)| *last != line);
        if changed {
            self.seen.push((self.started.elapsed(), line));
        }
        if verdict.is_ok() {
            self.in_a_row += 1;
            self.help = None;
        } else {
            self.in_a_row = 0;
            self.help = help;
            if changed && let Some(excerpt) = self.answer.as_ref().and_then(Answer::excerpt) {
                self.cx.report().say("the answer's body begins:");
                self.cx.report().foreign(&excerpt);
            }
        }
        verdict
    }

    /// What was seen, as an indented block: no text from outside can end one.
    fn markdown(&self) -> String {
        let mut out = format!("\nAsked {} times. What was seen:\n\n", self.attempts);
        let left_out = self.seen.len().saturating_sub(SHOWN_CHANGES);
        if left_out > 0 {
            out.push_str(&format!("    ({left_out} earlier changes are left out)\n"));
        }
        for (since, line) in &self.seen[left_out..] {
            out.push_str(&format!(
                "    after {:.1}s: {}\n",
                since.as_secs_f64(),
                line.replace(['\n', '\r'], " ")
            ));
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests;
