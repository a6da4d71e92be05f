//! The arguments.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use dns::Server;
use probe::{ConnectTo, CountIs, HeaderIs, JsonIs, StatusSet};

use crate::kinds::KINDS;
use crate::kinds::http::HeaderFromEnv;
use crate::kinds::log_line::{self, Line, Since};
use crate::kinds::record::{self, Leads};
use crate::kinds::service::{self, Steady};
use crate::kinds::targets::{self, Group};

/// Wait until everything that is asked is as wanted, or check once that it is
#[derive(Args, Debug)]
#[command(about, long_about = include_str!("help.md"))]
#[command(group = ArgGroup::new("probe").required(true).multiple(true))]
#[command(group = ArgGroup::new("site").multiple(true))]
pub(crate) struct HealthyArgs {
    /// Look and wait; or first set or restore how many copies the indexes of --es have, or forget what they had
    #[arg(long, value_enum, value_name = "VERB", default_value = "wait")]
    pub(crate) action: Act,

    /// An HTTP endpoint: http:// or https://, without a user name or password; may be repeated
    #[arg(long, value_name = "URL", groups = ["probe", "site"])]
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

    /// Time in which each probe of a kind must have been as expected once, where --timeout is too long for it: url=5m, es=2h; may
    /// be repeated
    #[arg(long, value_name = "KIND=DURATION", conflicts_with = "once", value_parser = within)]
    pub(crate) within: Vec<(&'static str, Duration)>,

    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive)]
    pub(crate) interval: Duration,

    /// Time for one look; half of it for the connection
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive)]
    pub(crate) request_timeout: Duration,

    /// Least number of days for which the server's certificate must go on to be valid
    #[arg(long, value_name = "DAYS", requires = "url")]
    pub(crate) min_tls_days: Option<u32>,

    /// Open connections here instead of where the URL's host name leads; Host header and TLS name stay the URL's; may be repeated
    #[arg(long, value_name = "HOST:PORT", requires = "url")]
    pub(crate) connect_to: Vec<ConnectTo>,

    /// Ask every address that the host name (or that of --connect-to) has, and all must answer as expected
    #[arg(long)]
    pub(crate) each_address: bool,

    /// Send `Authorization: Bearer` with the value of this environment variable to --url and --indexer
    #[arg(long, value_name = "VARIABLE", requires = "site")]
    pub(crate) bearer_env: Option<String>,

    /// Send a header with the value of an environment variable to --url and --indexer, as in x-api-key=API_KEY; may be repeated
    #[arg(long, value_name = "HEADER=VARIABLE", requires = "site")]
    pub(crate) header_env: Vec<HeaderFromEnv>,

    /// Follow redirects, at most ten
    #[arg(long)]
    pub(crate) follow_redirects: bool,

    /// PEM file with the only certificates to trust
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// A Redis server and the keys that are to be gone, as in `rediss://HOST:6379/0=WRITE-CUBOID*`; may be repeated
    #[arg(long, value_name = "URL=PATTERN", group = "probe")]
    pub(crate) redis_empty: Vec<String>,

    /// All registered targets of a target group (name or ARN) are healthy, N of them at least; may be repeated
    #[arg(long, value_name = "NAME[=N]", group = "probe", value_parser = targets::parse_group)]
    pub(crate) targets: Vec<Group>,

    /// All instances of a classic load balancer are in service, N of them at least; may be repeated
    #[arg(long, value_name = "NAME[=N]", group = "probe", value_parser = targets::parse_classic)]
    pub(crate) classic_targets: Vec<Group>,

    /// An ECS service is steady, and runs this revision if one is named; may be repeated
    #[arg(long, value_name = "CLUSTER/SERVICE[=FAMILY:N]", group = "probe", value_parser = service::parse)]
    pub(crate) ecs: Vec<Steady>,

    /// A name leads to this name or these addresses, as in api.example.org=d111.cloudfront.net; may be repeated
    #[arg(long, value_name = "NAME=VALUE", group = "probe", value_parser = record::parse)]
    pub(crate) dns: Vec<Leads>,

    /// Name server of the zone to ask for --dns, as in ns-1.awsdns-01.org; may be repeated
    #[arg(long, value_name = "SERVER", requires = "dns")]
    pub(crate) name_server: Vec<Server>,

    /// Resolver to ask for --dns; may be repeated [default: 1.1.1.1, 8.8.8.8 and 9.9.9.9, unless a --name-server is given]
    #[arg(long, value_name = "SERVER", requires = "dns")]
    pub(crate) resolver: Vec<Server>,

    /// A PostgreSQL server is primary, standby, or accepting connections as either; may be repeated
    #[arg(long, value_name = "URL=STATE", group = "probe")]
    pub(crate) postgres: Vec<String>,

    /// PostgreSQL servers that have written or replayed up to the same position: give it twice or more
    #[arg(long, value_name = "URL", group = "probe")]
    pub(crate) postgres_same: Vec<String>,

    /// A Vault server is unsealed and active, or standby, or either (unsealed); may be repeated
    #[arg(long, value_name = "URL[=STATE]", group = "probe")]
    pub(crate) vault: Vec<String>,

    /// A line with this text has come into a CloudWatch log group; may be repeated
    #[arg(long, value_name = "GROUP[:STREAM]=TEXT", group = "probe", value_parser = log_line::parse)]
    pub(crate) log: Vec<Line>,

    /// Since when --log counts: a time as in 2026-11-22T02:00:00Z, or so long before now [default: the start]
    #[arg(long, value_name = "TIME", requires = "log")]
    pub(crate) log_since: Option<Since>,

    /// An Elasticsearch or OpenSearch cluster is green, or yellow, or settled (green, and no shard on the move); may be repeated
    #[arg(long, value_name = "URL[=STATE]", group = "probe")]
    pub(crate) es: Vec<String>,

    /// Name of the cluster of --es: another one is not looked at, and not changed
    #[arg(long, value_name = "NAME", requires = "es", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) es_cluster: Option<String>,

    /// How many nodes the cluster of --es has, no fewer and no more
    #[arg(long, value_name = "N", requires = "es", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) es_nodes: Option<u64>,

    /// Name of a node of --es; all nodes have to be named, and no others may be there; may be repeated
    #[arg(long, value_name = "NAME", requires = "es", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) es_node: Vec<String>,

    /// Send a header with the value of an environment variable to --es, as in `authorization=ES_AUTH`; may be repeated
    #[arg(long, value_name = "HEADER=VARIABLE", requires = "es")]
    pub(crate) es_header_env: Vec<HeaderFromEnv>,

    /// set-replicas: how many copies of each shard there are to be beside the first
    #[arg(long, value_name = "N", requires = "es", allow_negative_numbers = true)]
    pub(crate) replicas: Option<u32>,

    /// set-replicas: an index, by its exact name; may be repeated [default: all open ones but hidden ones, the cluster's own, and those that count their copies themselves]
    #[arg(long, value_name = "NAME", requires = "replicas", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) es_index: Vec<String>,

    /// ENCODE's indexer is idle, or indexed (idle, and its first indexing done), or idle on a standby or a primary; may be repeated
    #[arg(long, value_name = "URL[=STATE]", groups = ["probe", "site"])]
    pub(crate) indexer: Vec<String>,

    /// The most that the last indexing of --indexer may have lagged behind
    #[arg(long, value_name = "DURATION", requires = "indexer", value_parser = kit::parse_duration)]
    pub(crate) indexer_max_lag: Option<Duration>,

    /// ENCODE's indexers that wait in recovery at the same snapshot: give it twice or more
    #[arg(long, value_name = "URL", groups = ["probe", "site"])]
    pub(crate) indexer_same: Vec<String>,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Look, and change nothing
    Wait,
    /// Save how many copies the indexes have, set --replicas, and wait for the cluster
    SetReplicas,
    /// Put back how many copies they had, and wait for the cluster
    RestoreReplicas,
    /// Drop what is saved and leave the indexes as they are
    ForgetReplicas,
}

fn within(text: &str) -> Result<(&'static str, Duration), String> {
    let wrong = || format!("write KIND=DURATION, as in url=5m; the kinds are {}", KINDS.join(", "));
    let (kind, time) = text.split_once('=').ok_or_else(wrong)?;
    let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(wrong)?;
    Ok((kind, positive(time)?))
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = kit::parse_duration(text)?;
    if time.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(time) }
}
