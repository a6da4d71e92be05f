//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use probe::{ConnectTo, CountIs, HeaderIs, JsonIs, StatusSet};

use crate::kinds::http::HeaderFromEnv;

/// Wait until everything that is asked is as wanted, or check once that it is
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
#[command(group = ArgGroup::new("probe").required(true).multiple(true))]
pub(crate) struct HealthyArgs {
    /// An HTTP endpoint: http:// or https://, without a user name or password; may be repeated
    #[arg(long, value_name = "URL", group = "probe")]
    pub(crate) url: Vec<String>,

    /// Status codes to expect: single ones and ranges, separated by commas
    #[arg(long, value_name = "CODES", default_value = "200-299")]
    pub(crate) expect_status: StatusSet,

    /// Text that the body contains; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) expect_body: Vec<String>,

    /// Value at a place of the body's JSON, as in /version=2.1.0; may be repeated
    #[arg(long, value_name = "POINTER=VALUE", requires = "url")]
    pub(crate) expect_json: Vec<JsonIs>,

    /// Least number of members of an array or object of the body's JSON, as in /jobs=12; may be repeated
    #[arg(long, value_name = "POINTER=N", requires = "url")]
    pub(crate) expect_count: Vec<CountIs>,

    /// Header that the answer has, as in 'x-version: 2.1.0'; may be repeated
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    pub(crate) expect_header: Vec<HeaderIs>,

    /// Text that the body must not contain, such as a maintenance page's; may be repeated
    #[arg(long, value_name = "TEXT", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reject_body: Vec<String>,

    /// Look once and fail at once when something is not as expected
    #[arg(long)]
    pub(crate) once: bool,

    /// How often in a row each must be as expected: 3 or more behind a load balancer
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) successes: u32,

    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    pub(crate) interval: Duration,

    /// Time for one look; half of it for the connection
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive)]
    pub(crate) request_timeout: Duration,

    /// Open connections here instead of where the URL's host name leads; Host header and TLS name stay the URL's
    #[arg(long, value_name = "HOST:PORT", requires = "url")]
    pub(crate) connect_to: Option<ConnectTo>,

    /// Send `Authorization: Bearer` with the value of this environment variable
    #[arg(long, value_name = "VARIABLE", requires = "url")]
    pub(crate) bearer_env: Option<String>,

    /// Send a header with the value of an environment variable, as in x-api-key=API_KEY; may be repeated
    #[arg(long, value_name = "HEADER=VARIABLE", requires = "url")]
    pub(crate) header_env: Vec<HeaderFromEnv>,

    /// Follow redirects, at most ten
    #[arg(long)]
    pub(crate) follow_redirects: bool,

    /// PEM file with the only certificates to trust
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// A Redis server and the keys that are to be gone, as in rediss://HOST:6379/0=WRITE-CUBOID*; may be repeated
    #[arg(long, value_name = "URL=PATTERN", group = "probe")]
    pub(crate) redis_empty: Vec<String>,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = kit::parse_duration(text)?;
    if time.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(time) }
}
