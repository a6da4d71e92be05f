//! From arguments to what will be asked: every mistake in them is found here, before any request. Pure.

use std::time::Duration;

use kit::{Action, Env, Failure, Note, Plan};
use postgres::Target;
use serde::Serialize;

use crate::args::{Act, HealthyArgs};
use crate::kinds::cluster;
use crate::kinds::database::{self, Wanted};
use crate::kinds::http::{self, Endpoint};
use crate::kinds::indexer;
use crate::kinds::log_line::Line;
use crate::kinds::record::Leads;
use crate::kinds::redis_empty::{self, Keys};
use crate::kinds::sealed;
use crate::kinds::service::Steady;
use crate::kinds::targets::Group;

/// What is asked, and when the answers are good enough.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) http: Vec<Endpoint>,
    pub(crate) redis_empty: Vec<Keys>,
    pub(crate) targets: Vec<Group>,
    pub(crate) ecs: Vec<Steady>,
    pub(crate) dns: Vec<Leads>,
    #[serde(skip)]
    pub(crate) postgres: Vec<(Target, Wanted)>,
    #[serde(skip)]
    pub(crate) postgres_same: Vec<Target>,
    pub(crate) vault: Vec<sealed::Server>,
    pub(crate) log: Vec<Line>,
    pub(crate) es: Vec<cluster::Named>,
    pub(crate) indexer: Vec<indexer::Named>,
    pub(crate) indexer_same: Vec<indexer::Place>,
    pub(crate) once: bool,
    pub(crate) successes: u32,
    #[serde(serialize_with = "seconds", rename = "interval-seconds")]
    pub(crate) interval: Duration,
    #[serde(serialize_with = "seconds", rename = "request-timeout-seconds")]
    pub(crate) request_timeout: Duration,
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// How long a job on GitHub's own runners may take: <https://docs.github.com/en/actions/reference/limits>.
const JOB: Duration = Duration::from_hours(6);

/// What is to be thought of where the wait may take `time`.
pub(crate) fn too_long(time: Duration, env: &Env) -> Option<String> {
    (env.in_github_job() && time >= JOB).then(|| {
        "a job on GitHub's runners is ended after 6 hours, in the middle of a longer --timeout: set it to less, 5h30m, and run the \
         failed job again, which goes on waiting"
            .to_owned()
    })
}

/// The request that the arguments ask for. Whatever can't work is a usage error.
pub(crate) fn request(args: &HealthyArgs, env: &Env) -> Result<Request, Failure> {
    if args.once && args.successes > 1 {
        return Err(Failure::usage("use --once together with --successes")
            .because("one look can't succeed several times in a row")
            .help("leave one of them out"));
    }
    if args.action != Act::Wait {
        replicas_alone(args)?;
    } else if args.replicas.is_some() {
        return Err(Failure::usage("use --replicas")
            .because("it belongs to --action set-replicas")
            .help("add --action set-replicas, or leave it out to look alone"));
    }
    let mut request = Request {
        http: http::endpoints(args, env)?,
        redis_empty: args
            .redis_empty
            .iter()
            .map(|text| redis_empty::parse(text, env))
            .collect::<Result<_, _>>()?,
        targets: args.targets.iter().chain(&args.classic_targets).cloned().collect(),
        ecs: args.ecs.clone(),
        dns: args.dns.clone(),
        postgres: args.postgres.iter().map(|text| database::parse(text, env)).collect::<Result<_, _>>()?,
        postgres_same: database::several(&args.postgres_same, env)?,
        vault: args.vault.iter().map(|text| sealed::parse(text)).collect::<Result<_, _>>()?,
        log: args.log.clone(),
        es: cluster::named(args, env)?,
        indexer: indexer::named(args, env)?,
        indexer_same: indexer::several(args, env)?,
        once: args.once,
        successes: args.successes,
        interval: args.interval,
        request_timeout: args.request_timeout,
        warnings: Vec::new(),
    };
    request.warnings = request.http.iter().flat_map(|endpoint| endpoint.warnings.clone()).collect();
    request.warnings.extend(request.redis_empty.iter().filter_map(Keys::warning));
    let indexers = request.indexer.iter().map(|named| &named.place).chain(&request.indexer_same);
    let in_clear: Vec<String> = indexers
        .filter_map(|place| place.warning.clone())
        .chain(request.es.iter().filter_map(|named| named.warning.clone()))
        .collect();
    request.warnings.extend(in_clear);
    request.warnings.sort();
    request.warnings.dedup();
    Ok(request)
}

/// What changes replicas is about one cluster and nothing else.
fn replicas_alone(args: &HealthyArgs) -> Result<(), Failure> {
    let (setting, verb) = match args.action {
        Act::SetReplicas => (true, "--action set-replicas"),
        Act::ForgetReplicas => (false, "--action forget-replicas"),
        Act::Wait | Act::RestoreReplicas => (false, "--action restore-replicas"),
    };
    let wrong =
        |why: &str, help: &str| Err(Failure::usage(format!("use {verb}")).because(why.to_owned()).help(help));
    let others = [
        &args.url,
        &args.redis_empty,
        &args.postgres,
        &args.postgres_same,
        &args.vault,
        &args.indexer,
        &args.indexer_same,
    ];
    let others = others.iter().any(|list| !list.is_empty())
        || !(args.targets.is_empty()
            && args.classic_targets.is_empty()
            && args.ecs.is_empty()
            && args.dns.is_empty()
            && args.log.is_empty());
    if args.es.len() != 1 {
        return wrong("it is about one cluster", "name it with one --es");
    }
    if others {
        return wrong("it looks at the cluster alone", "look at everything else in a call of its own");
    }
    if args.once {
        return wrong(
            "the cluster is not as wanted at once: its copies have to be made first",
            "leave --once out",
        );
    }
    match (setting, args.replicas) {
        (true, None) => wrong("nothing says how many", "add --replicas N, as in --replicas 2"),
        (false, Some(_)) => wrong("it is about what is saved", "leave --replicas out"),
        _ => Ok(()),
    }
}

impl Request {
    /// Whether anything in AWS is asked.
    pub(crate) fn asks_aws(&self) -> bool {
        !(self.targets.is_empty() && self.ecs.is_empty() && self.log.is_empty())
    }
}

/// The request with the names of what it asks, as the plan shows them.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    #[serde(flatten)]
    pub(crate) request: &'a Request,
    /// What is looked at, each as messages name it.
    pub(crate) probes: Vec<String>,
}

impl Plan for Shown<'_> {
    fn actions(&self) -> Vec<Action> {
        Vec::new()
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        // The same expectations go for each URL.
        if let Some(endpoint) = self.request.http.first() {
            notes.extend(
                endpoint.expect.lines().into_iter().map(|line| Note::Info(format!("wanted: {line}"))),
            );
            notes.extend(endpoint.min_tls_days.map(|days| {
                Note::Info(format!("wanted: a certificate that is valid for another {days} days"))
            }));
            notes.extend(
                endpoint
                    .headers
                    .iter()
                    .map(|(name, _)| Note::Info(format!("sent: {name} from the environment"))),
            );
        }
        for named in &self.request.es {
            let cluster = named.wanted.cluster.as_ref().map(|cluster| format!("the cluster {cluster}"));
            let nodes = named.wanted.nodes.map(|nodes| format!("{nodes} nodes"));
            let names = &named.wanted.names;
            let names = (!names.is_empty()).then(|| format!("the nodes {}", names.join(", ")));
            let wanted: Vec<String> = cluster.into_iter().chain(nodes).chain(names).collect();
            if !wanted.is_empty() {
                notes.push(Note::Info(format!("wanted of {}: {}", named.address, wanted.join("; "))));
            }
        }
        let lag = self.request.indexer.iter().find_map(|named| named.most_lag);
        notes.extend(lag.map(|lag| Note::Info(format!("wanted: a lag of {lag:?} at most"))));
        notes.extend(self.request.warnings.iter().cloned().map(Note::Warning));
        notes
    }

    fn unchanged(&self) -> String {
        let (names, request) = (&self.probes, self.request);
        let what = if names.len() == 1 { "the answer is as wanted" } else { "all are as wanted" };
        let when = match (request.once, request.successes) {
            (true, _) => "once".to_owned(),
            (false, 1) => format!("every {:?} until {what}", request.interval),
            (false, n) => format!("every {:?} until {what} {n} times in a row", request.interval),
        };
        format!("this step only looks at {} {when}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::args;
    use kit::Code;
    use probe::ConnectTo;

    fn shown(request: &Request) -> Shown<'_> {
        Shown { request, probes: Vec::new() }
    }

    fn plan(argv: &[&str], env: &[(&str, &str)]) -> Result<Request, Failure> {
        request(&args(argv).unwrap(), &env.iter().copied().collect())
    }

    #[test]
    fn a_url_that_cannot_work_is_a_usage_error() {
        for (url, why) in [
            ("rally.example.org", "relative URL without a base"),
            ("ftp://rally.example.org/", "ftp is no scheme"),
            ("localhost:8080/x", "localhost is no scheme"),
            ("http://", "empty host"),
            ("", "relative URL"),
            ("http://host:99999/", "invalid port number"),
            ("https:///version", "it names no host"),
            ("https:version", "it names no host"),
        ] {
            let failure = plan(&["--url", url], &[]).unwrap_err();
            assert_eq!(failure.code(), Code::Usage, "{url}");
            assert!(failure.chain()[0].contains(why), "{url}: {:?}", failure.chain());
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in
            ["https://bob:hunter22@rally.test/v", "https://bob@rally.test/v", "https://bob:hunter22@:x/"]
        {
            let failure = plan(&["--url", url], &[]).unwrap_err();
            assert_eq!(failure.code(), Code::Usage);
            let said = format!("{failure} {:?}", failure.chain());
            assert!(!said.contains("hunter22") && !said.contains("bob"), "{said}");
        }
    }

    #[test]
    fn places_to_connect_to() {
        for (text, host, port) in
            [("10.0.0.7:443", "10.0.0.7", 443), ("elb.test:80", "elb.test", 80), ("[::1]:8080", "::1", 8080)]
        {
            let place: ConnectTo = text.parse().unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port));
            assert_eq!(place.to_string(), text);
        }
        for bad in [
            "elb.test",
            "::1",
            "::1:80",
            "elb.test:0",
            "elb.test:65536",
            ":80",
            "http://elb.test:80",
            "a b:80",
        ] {
            assert!(bad.parse::<ConnectTo>().is_err(), "{bad}");
        }
        let failure = plan(&["--url", "https://10.0.0.7/", "--connect-to", "elb.test:443"], &[]).unwrap_err();
        assert_eq!(failure.code(), Code::Usage);
    }

    #[test]
    fn secrets_come_from_named_variables_and_are_never_shown() {
        let argv = ["--url", "https://rally.test/", "--bearer-env", "TOKEN", "--header-env", "X-Api-Key=KEY"];
        let request = plan(&argv, &[("TOKEN", "tok-31337\n"), ("KEY", "key-31337")]).unwrap();
        let sent: Vec<(&str, &str)> =
            request.http[0].headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(sent, [("authorization", "Bearer tok-31337"), ("x-api-key", "key-31337")]);
        let shown =
            serde_json::to_string(&request).unwrap() + &format!("{request:?} {:?}", shown(&request).notes());
        assert!(!shown.contains("31337"), "{shown}");
        for env in [&[("KEY", "k")][..], &[("TOKEN", ""), ("KEY", "k")], &[("TOKEN", "a\nb"), ("KEY", "k")]] {
            let failure = plan(&argv, env).unwrap_err();
            assert_eq!(failure.code(), Code::Usage);
            assert!(failure.to_string().contains("TOKEN"), "{failure}");
        }
    }

    #[test]
    fn what_deserves_a_second_thought_is_a_warning() {
        let warnings = |argv: &[&str], env: &[(&str, &str)]| -> Vec<String> {
            let notes = shown(&plan(argv, env).unwrap()).notes().into_iter();
            notes.filter_map(|note| if let Note::Warning(text) = note { Some(text) } else { None }).collect()
        };
        let bearer = ["--bearer-env", "T", "--url"];
        let with = |url: &'static str, more: &[&'static str]| [&bearer[..], &[url], more].concat();
        let token = [("T", "token-1")];
        assert_eq!(warnings(&with("https://rally.test/", &[]), &token), [""; 0]);
        assert_eq!(warnings(&with("http://127.0.0.1:1/", &[]), &token), [""; 0]);
        assert_eq!(warnings(&with("http://rally.test/", &["--connect-to", "[::1]:1"]), &token), [""; 0]);
        assert_eq!(
            warnings(&with("http://rally.test/", &[]), &token),
            ["the secret in authorization goes over the network in clear: --url is http://"]
        );
        assert_eq!(
            warnings(&["--url", "https://rally.test/"], &[("HTTPS_PROXY", "http://proxy.test:3128")]),
            ["HTTPS_PROXY is set and not used: the endpoint is asked directly"]
        );
    }

    #[test]
    fn each_place_is_asked_for_each_url() {
        let argv = [
            "--url",
            "http://a.test/",
            "--url",
            "http://b.test/",
            "--connect-to",
            "x.test:1",
            "--connect-to",
            "y.test:2",
        ];
        let names: Vec<String> = plan(&argv, &[]).unwrap().http.iter().map(Endpoint::name).collect();
        assert_eq!(
            names,
            [
                "http://a.test/ at x.test:1",
                "http://a.test/ at y.test:2",
                "http://b.test/ at x.test:1",
                "http://b.test/ at y.test:2"
            ]
        );
        for argv in [
            ["--url", "http://10.0.0.7/", "--each-address"],
            ["--url", "http://a.test/", "--min-tls-days=30"],
        ] {
            assert_eq!(plan(&argv, &[]).unwrap_err().code(), Code::Usage, "{argv:?}");
        }
    }

    #[test]
    fn a_wait_that_is_longer_than_a_job_is_a_warning_in_one() {
        let job: Env = [("GITHUB_ACTIONS", "true")].into_iter().collect();
        assert!(too_long(Duration::from_hours(12), &job).unwrap().contains("after 6 hours"));
        assert_eq!(too_long(Duration::from_mins(330), &job), None);
        assert_eq!(too_long(Duration::from_hours(12), &Env::default()), None);
    }

    #[test]
    fn one_look_cannot_succeed_three_times() {
        let failure = plan(&["--url", "http://rally.test/", "--once", "--successes", "3"], &[]).unwrap_err();
        assert_eq!(failure.code(), Code::Usage);
    }
}
