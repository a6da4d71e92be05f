//! The arguments, and which of them belong together.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use clap::builder::NonEmptyStringValueParser;
use dns::Server;
use kit::{Env, Failure};
use probe::StatusSet;
use url::Url;

use crate::listener::observe::Place;
use crate::live::StackPart;

/// The arguments of `maintenance-toggle`.
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Lead a public name to its maintenance page and back", long_about = include_str!("help.md"))]
#[command(group = clap::ArgGroup::new("entry").required(true))]
pub struct Args {
    /// What to do
    #[arg(long, value_enum, value_name = "VERB")]
    pub(crate) action: Act,

    /// The public name, as in api.example.org
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: String,

    /// The hosted zone that has the name's record, by its exact name or its ID
    #[arg(long, value_name = "ZONE", group = "entry", value_parser = zone)]
    pub(crate) zone: Option<String>,

    /// In place of a zone: the page as a rule of this listener of an application load balancer, by ARN or as NAME:PORT
    #[arg(long, value_name = "LISTENER", group = "entry", value_parser = crate::listener::observe::place)]
    pub(crate) listener: Option<Place>,

    /// The private zone of that name is meant
    #[arg(long)]
    pub(crate) private_zone: bool,

    /// The page is a CloudFront distribution: its ID, or `by-name` for the one that has the name among its aliases
    #[arg(long, value_name = "ID", group = "page", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to_distribution: Option<String>,

    /// The page is served by this load balancer (application or network), by its exact name or ARN
    #[arg(long, value_name = "NAME", group = "page", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to_load_balancer: Option<String>,

    /// The page is served under this name; the entry becomes a CNAME
    #[arg(long, value_name = "NAME", group = "page", value_parser = name)]
    pub(crate) to_name: Option<String>,

    /// With --listener: the page is this file, sent with 503; at most 1,024 characters
    #[arg(long, value_name = "FILE", group = "page", requires = "listener")]
    pub(crate) page_file: Option<PathBuf>,

    /// With --listener: the page is served by this target group, by its exact name or ARN
    #[arg(long, value_name = "NAME", group = "page", requires = "listener", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) to_target_group: Option<String>,

    /// on: TTL of the page's CNAME, as in 60s; the lower, the sooner `off` is seen
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = ttl)]
    pub(crate) ttl: Duration,

    /// on: for how long no other release may take the page over
    #[arg(long, value_name = "DURATION", default_value = "4h", value_parser = kit::parse_duration)]
    pub(crate) expires: Duration,

    /// Whose maintenance it is [default: in a GitHub job its workflow run; elsewhere `a terminal`]
    #[arg(long, value_name = "TEXT", value_parser = kit::parse_release)]
    pub(crate) release: Option<String>,

    /// off: delete the saved state and leave the record, or the other rules, as they are now
    #[arg(long)]
    pub(crate) leave_record: bool,

    /// off: where the service is now, if its load balancer was replaced meanwhile: a load balancer among the stack's
    /// resources, or an output with a DNS name
    #[arg(long, value_name = "STACK.PART", requires = "zone", conflicts_with = "leave_record")]
    pub(crate) live_from: Option<StackPart>,

    /// What is fetched to see the page or the service [default: `https://NAME/`]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Text that the maintenance page has and the service has not
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) page_contains: Option<String>,

    /// on: status codes that the page comes with
    #[arg(long, value_name = "CODES", default_value = "200-599")]
    pub(crate) page_status: StatusSet,

    /// off: text that the live service has
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) live_contains: Option<String>,

    /// off: status codes that the live service answers with
    #[arg(long, value_name = "CODES", default_value = "200-399")]
    pub(crate) live_status: StatusSet,

    /// Fetch nothing: the DNS answers are all that is checked
    #[arg(long)]
    pub(crate) no_fetch: bool,

    /// PEM file with the only certificates to trust when fetching
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Name server of the zone, as in 10.0.0.2:53; may be repeated [default: those that Route 53 names; none of a private zone]
    #[arg(long, value_name = "SERVER")]
    pub(crate) name_server: Vec<Server>,

    /// Resolver to ask; may be repeated [default: 1.1.1.1, 8.8.8.8 and 9.9.9.9; none of a private zone]
    #[arg(long, value_name = "SERVER")]
    pub(crate) resolver: Vec<Server>,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Lead the name to the maintenance page
    On,
    /// Lead it back to where it led
    Off,
    /// Say which it is, whose and since when
    Status,
}

/// What the arguments come to.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) args: Args,
    pub(crate) url: Url,
    pub(crate) holder: String,
}

impl Request {
    /// The same with another verb: an undo of `on` is judged as `off` is, and the other way round.
    pub(crate) fn acting(&self, action: Act) -> Self {
        Self { args: Args { action, ..self.args.clone() }, ..self.clone() }
    }
}

impl Args {
    /// What can't work is found here, before any call.
    pub(crate) fn check(self, env: &Env) -> Result<Request, Failure> {
        let by_name =
            self.to_distribution.is_some() || self.to_load_balancer.is_some() || self.to_name.is_some();
        if by_name && self.listener.is_some() {
            return Err(Failure::usage("use --listener")
                .because("a rule leads to no other name")
                .help("say what the page is with --page-file or --to-target-group"));
        }
        if self.live_from.is_some() && self.action != Act::Off {
            return Err(Failure::usage("use --live-from").because("it belongs to --action off"));
        }
        let has_page = by_name || self.page_file.is_some() || self.to_target_group.is_some();
        if self.action == Act::On {
            if !has_page {
                return Err(Failure::usage("switch the maintenance page on")
                    .because("it is not said where the page is")
                    .help(if self.listener.is_some() {
                        "add --page-file or --to-target-group"
                    } else {
                        "add --to-distribution, --to-load-balancer or --to-name"
                    }));
            }
            if self.page_contains.is_none() && !self.no_fetch {
                return Err(Failure::usage("switch the maintenance page on")
                    .because(
                        "nothing says what the page looks like, so it could not be told from the service",
                    )
                    .help(
                        "add --page-contains with some text of the page, or --no-fetch to go by DNS alone",
                    ));
            }
            if self.leave_record {
                return Err(Failure::usage("use --leave-record with --action on")
                    .because("it belongs to --action off"));
            }
        }
        let url = match &self.url {
            Some(url) => probe::endpoint("--url", url)?,
            None => probe::endpoint("--url", &format!("https://{}/", self.name))?,
        };
        if url.host_str() != Some(&self.name) && !self.no_fetch {
            return Err(Failure::usage(format!("use --url {url}"))
                .because(format!(
                    "its host is not {}, so it would show nothing of where that name leads",
                    self.name
                ))
                .help("leave it out, or write an address on that name"));
        }
        let holder = env.release(self.release.as_deref());
        Ok(Request { args: self, url, holder })
    }
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    let name = dns::normal(text);
    let label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // `_cutover.` goes before it.
    if name.len() > 244 || !name.contains('.') || !name.split('.').all(label) {
        return Err("write a whole host name, as in api.example.org".to_owned());
    }
    Ok(name)
}

fn zone(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("/hostedzone/").unwrap_or(text);
    let id = text.len() <= 32
        && text.starts_with('Z')
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if id {
        Ok(text.to_owned())
    } else {
        name(text).map_err(|_| "write the zone's name, as in example.org, or its ID".to_owned())
    }
}

/// Source: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html>
fn ttl(text: &str) -> Result<Duration, String> {
    let time = kit::parse_duration(text)?;
    if time.subsec_nanos() != 0 || time.is_zero() || time.as_secs() > u64::from(i32::MAX.unsigned_abs()) {
        return Err("it must be whole seconds, and at least one".to_owned());
    }
    Ok(time)
}
