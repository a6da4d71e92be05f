#![doc = include_str!("help.md")]

mod args;
mod kinds;
mod plan;
mod replicas;
mod watch;

use std::time::Duration;

use aws::Aws;
use kit::{Code, Cx, ExitCode, Failure, Go, Image, Outcome, Output, Permission, Step};
use postgres::Target;
use serde_json::Value;

use crate::args::{Act, HealthyArgs};
use crate::kinds::Probe;
use crate::kinds::cluster::Cluster;
use crate::kinds::database::{Database, SamePlace, Wanted};
use crate::kinds::http::Http;
use crate::kinds::indexer::{Indexer, SameSnapshot};
use crate::kinds::log_line::{Line, LogLine, Since};
use crate::kinds::record::{Answered, Leads};
use crate::kinds::redis_empty::RedisEmpty;
use crate::kinds::sealed::Unsealed;
use crate::kinds::service::{Steady, SteadyService};
use crate::kinds::targets::{Group, Targets};
use crate::plan::{Request, Shown};
use crate::watch::{Pace, Watch};

/// The step.
pub const STEP: Step = Step {
    name: "wait-healthy",
    command: kit::command::<HealthyArgs>,
    outputs: &[
        Output {
            name: "status",
            description: "the last answer's HTTP status code; absent when there was no answer, or several --url",
        },
        Output { name: "attempts", description: "how often everything was looked at" },
        Output { name: "waited", description: "how long that took, in seconds" },
        Output {
            name: "final-url",
            description: "where the last answer came from, after redirects; absent with several --url",
        },
        Output {
            name: "values",
            description: "JSON object of each --expect-json pointer to the value seen there; absent with several --url",
        },
        Output {
            name: "count",
            description: "how many members the place of --expect-count has; absent when there are several of them",
        },
        Output {
            name: "counts",
            description: "JSON object of each --expect-count pointer to the number of members seen there; absent with several --url",
        },
        Output {
            name: "indexes",
            description: "with --action set-replicas, restore-replicas and --undo: how many indexes were changed",
        },
    ],
    permissions: &[
        Permission {
            action: "elasticloadbalancing:DescribeTargetHealth",
            resource: "*",
            when: "with --targets",
        },
        Permission {
            action: "elasticloadbalancing:DescribeTargetGroups",
            resource: "*",
            when: "with --targets and a name",
        },
        Permission {
            action: "elasticloadbalancing:DescribeInstanceHealth",
            resource: "*",
            when: "with --classic-targets",
        },
        Permission {
            action: "ecs:DescribeServices",
            resource: "arn:aws:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE",
            when: "with --ecs",
        },
        Permission {
            action: "logs:FilterLogEvents",
            resource: "arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:*",
            when: "with --log",
        },
    ],
    exit_codes: &[
        ExitCode { code: Code::Done, meaning: "everything is as wanted" },
        ExitCode { code: Code::Failed, meaning: "with --once: something is not as wanted" },
        ExitCode {
            code: Code::Refused,
            meaning: "what no waiting mends; with replicas: too few nodes, another run's saved values, or a foreign change",
        },
        ExitCode { code: Code::Unverified, meaning: "replicas were set, and not read back so" },
        ExitCode {
            code: Code::Deadline,
            meaning: "something was not as wanted before the deadline; running again goes on waiting",
        },
        ExitCode {
            code: Code::Waiting,
            meaning: "somebody changed an index or the saved values at the same moment",
        },
    ],
    image: Image::Steps,
    timeout: Duration::from_mins(10),
    run: |matches, cx| kit::bind(matches, cx, run),
};

async fn run(args: HealthyArgs, cx: Cx) -> Result<Outcome, Failure> {
    if cx.undo().is_some() && args.action == Act::Wait {
        return Ok(Outcome::unchanged("nothing to take back: this step changes nothing"));
    }
    let mut request = plan::request(&args, cx.env())?;
    if !request.once {
        let time = cx.remaining();
        // What is left is a little less than what was asked for.
        request.warnings.extend(plan::too_long(time + Duration::from_mins(1), cx.env()));
    }
    let probes = probes(&args, &request, &cx).await?;
    let unasked = args.within.iter().find(|(kind, _)| !probes.iter().any(|probe| probe.kind() == *kind));
    if let Some((kind, _)) = unasked {
        return Err(
            Failure::usage("use --within").because(format!("there is no --{kind} whose time it could be"))
        );
    }
    let mut replicas_set = None;
    if let ([Probe::Cluster(cluster)], true) = (probes.as_slice(), args.action != Act::Wait) {
        let wish = replicas::Wish {
            act: args.action,
            replicas: args.replicas,
            named: args.es_index.clone(),
            cluster: args.es_cluster.clone(),
        };
        match replicas::change(&cx, cluster.client(), wish, request.request_timeout, &request.warnings)
            .await?
        {
            replicas::Then::Stop(outcome) => return Ok(outcome),
            replicas::Then::Wait { changed, headline } => replicas_set = Some((changed, headline)),
        }
    } else {
        let shown = Shown { request: &request, probes: probes.iter().map(Probe::name).collect() };
        if let Go::Stop(outcome) = cx.show(&shown)? {
            return Ok(outcome);
        }
    }
    let mut watch = Watch::new(&cx, probes, pace(&request, &cx), &args.within);
    let result = watch.until_healthy().await;
    report(&cx, &watch);
    result?;
    let looks =
        if watch.attempts == 1 { "the first look".to_owned() } else { format!("{} looks", watch.attempts) };
    let headline = match watch.probes.as_slice() {
        [watched] => {
            format!("{} {}: {} (after {looks})", watch.what(), watched.probe.wanted().1, watched.line())
        }
        _ => format!("{} are as wanted (after {looks})", watch.what()),
    };
    Ok(match replicas_set {
        None => Outcome::unchanged(headline),
        Some((changed, set)) => Outcome { changed, headline: format!("{set}; {headline}") },
    })
}

async fn probes(args: &HealthyArgs, request: &Request, cx: &Cx) -> Result<Vec<Probe>, Failure> {
    let (ca_file, env) = (args.ca_file.as_deref(), cx.env());
    let mut probes = Vec::new();
    for endpoint in &request.http {
        probes.push(Probe::Http(Box::new(Http::new(endpoint.clone(), ca_file, env)?)));
    }
    for keys in &request.redis_empty {
        probes.push(Probe::RedisEmpty(RedisEmpty::new(keys.clone(), ca_file, env)?));
    }
    for server in &request.vault {
        let limit = request.request_timeout;
        probes.push(Probe::Vault(Unsealed::new(server.clone(), limit, ca_file, env)?));
    }
    let dns = |leads: &Leads| Answered::new(leads.clone(), &args.name_server, &args.resolver);
    probes.extend(request.dns.iter().map(|leads| Probe::Dns(dns(leads))));
    let database = |(target, wanted): &(Target, Wanted)| Database::new(target.clone(), *wanted);
    probes.extend(request.postgres.iter().map(|server| Probe::Postgres(database(server))));
    if !request.postgres_same.is_empty() {
        probes.push(Probe::PostgresSame(SamePlace(request.postgres_same.clone())));
    }
    let limit = request.request_timeout;
    for named in &request.es {
        probes.push(Probe::Cluster(Box::new(Cluster::new(named.clone(), limit, ca_file, env)?)));
    }
    for named in &request.indexer {
        probes.push(Probe::Indexer(Box::new(Indexer::new(named.clone(), limit, ca_file, env)?)));
    }
    if !request.indexer_same.is_empty() {
        let same = SameSnapshot::new(&request.indexer_same, request.once, limit, ca_file, env)?;
        probes.push(Probe::IndexerSame(same));
    }
    if request.asks_aws() {
        let since = args.log_since.unwrap_or(Since::Ago(Duration::ZERO)).at(cx.now());
        let aws = Aws::connect(cx, &args.aws).await?;
        let targets = |group: &Group| Probe::Targets(Targets::new(group.clone(), aws.clone()));
        probes.extend(request.targets.iter().map(targets));
        let service = |steady: &Steady| Probe::Service(SteadyService::new(steady.clone(), aws.clone()));
        probes.extend(request.ecs.iter().map(service));
        let log = |line: &Line| Probe::Log(LogLine::new(line.clone(), since, aws.clone()));
        probes.extend(request.log.iter().map(log));
    }
    Ok(probes)
}

fn pace(request: &Request, cx: &Cx) -> Pace {
    Pace {
        once: request.once,
        successes: request.successes,
        interval: request.interval,
        limit: request.request_timeout,
        deadline: cx.deadline(),
    }
}

fn report(cx: &Cx, watch: &Watch<'_>) {
    cx.report().summarize(&watch.markdown());
    let text = if watch.probes.len() == 1 { String::new() } else { watch.table() };
    cx.report().result(text, "probes", watch.document());
    cx.output("attempts", watch.attempts.to_string());
    cx.output("waited", watch.started.elapsed().as_secs().to_string());
    let mut endpoints = watch.probes.iter().filter_map(|watched| match &watched.probe {
        Probe::Http(http) => Some((http, watched.last.as_ref().is_some_and(Result::is_ok))),
        _ => None,
    });
    let (Some((http, healthy)), None) = (endpoints.next(), endpoints.next()) else { return };
    if let Some(answer) = &http.answer {
        cx.output("status", answer.status.to_string());
        cx.output("final-url", &answer.url);
    }
    if healthy {
        cx.output("values", Value::Object(http.values.clone()).to_string());
        if let [count] = http.counts.values().collect::<Vec<_>>()[..] {
            cx.output("count", count.to_string());
        }
        cx.output("counts", Value::Object(http.counts.clone()).to_string());
    }
}

#[cfg(test)]
mod tests;
