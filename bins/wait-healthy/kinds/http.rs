//! An HTTP endpoint that answers as expected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use futures::future::join_all;
use kit::{Env, Failure, Secret};
use probe::{Answer, Asked, ConnectTo, Expectations, NoAnswer, is_header_name};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use url::{Host, Url};

use super::Look;
use crate::args::HealthyArgs;

/// A header whose value an environment variable holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderFromEnv {
    header: String,
    variable: String,
}

impl FromStr for HeaderFromEnv {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((header, variable)) if is_header_name(header) && !variable.is_empty() => {
                Ok(Self { header: header.to_ascii_lowercase(), variable: variable.to_owned() })
            }
            _ => Err("write HEADER=VARIABLE, as in x-api-key=API_KEY".to_owned()),
        }
    }
}

/// What is asked, and when its answer is good enough.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Endpoint {
    #[serde(serialize_with = "as_text")]
    pub(crate) url: Url,
    pub(crate) connect_to: Option<ConnectTo>,
    pub(crate) each_address: bool,
    pub(crate) min_tls_days: Option<u32>,
    pub(crate) follow_redirects: bool,
    /// Headers whose values come from the environment.
    #[serde(serialize_with = "names")]
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) expect: Expectations,
    #[serde(skip)]
    pub(crate) request_timeout: Duration,
    #[serde(skip)]
    pub(crate) warnings: Vec<String>,
}

fn as_text<S: serde::Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str())
}

fn names<S: serde::Serializer>(headers: &[(String, Secret)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, _)| name))
}

/// The endpoints that the arguments name.
///
/// # Errors
/// Whatever can't work is a usage error.
pub(crate) fn endpoints(args: &HealthyArgs, env: &Env) -> Result<Vec<Endpoint>, Failure> {
    let headers = site_headers(args, env)?;
    let mut endpoints = Vec::new();
    for url in &args.url {
        if args.connect_to.is_empty() {
            endpoints.push(endpoint(args, env, url, None, &headers)?);
        }
        for place in &args.connect_to {
            endpoints.push(endpoint(args, env, url, Some(place), &headers)?);
        }
    }
    Ok(endpoints)
}

/// The headers with secrets that go to what is a part of the site: each --url and --indexer.
///
/// # Errors
/// A variable that is not set: exit 2.
pub(crate) fn site_headers(args: &HealthyArgs, env: &Env) -> Result<Vec<(String, Secret)>, Failure> {
    let mut headers = Vec::new();
    if let Some(variable) = &args.bearer_env {
        headers.push(("authorization".to_owned(), secret(env, "--bearer-env", variable, "Bearer ")?));
    }
    headers.extend(from_env("--header-env", &args.header_env, env)?);
    Ok(headers)
}

/// Headers with the values of environment variables.
///
/// # Errors
/// A variable that is not set: exit 2.
pub(crate) fn from_env(
    flag: &str,
    headers: &[HeaderFromEnv],
    env: &Env,
) -> Result<Vec<(String, Secret)>, Failure> {
    let read = |HeaderFromEnv { header, variable }: &HeaderFromEnv| {
        Ok((header.clone(), secret(env, flag, variable, "")?))
    };
    headers.iter().map(read).collect()
}

/// What is to be thought of where secrets go over the network in clear.
pub(crate) fn in_clear(
    flag: &str,
    url: &Url,
    connect_to: Option<&ConnectTo>,
    headers: &[(String, Secret)],
) -> Option<String> {
    let nearby = connect_to.map_or_else(|| probe::is_loopback(url), |place| probe::loopback(&place.host));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty() && url.scheme() == "http" && !nearby).then(|| {
        format!("the secret in {} goes over the network in clear: {flag} is http://", names.join(", "))
    })
}

fn endpoint(
    args: &HealthyArgs,
    env: &Env,
    url: &str,
    connect_to: Option<&ConnectTo>,
    headers: &[(String, Secret)],
) -> Result<Endpoint, Failure> {
    let url = probe::endpoint("--url", url)?;
    if let (Some(place), Some(Host::Ipv4(_) | Host::Ipv6(_))) = (connect_to, url.host()) {
        return Err(Failure::usage(format!("use --connect-to {place}"))
            .because(format!("{url} has an address, so there is no name to keep for the Host header and TLS"))
            .help("write the service's public name in --url, or the address of --connect-to itself"));
    }
    let mut warnings = Vec::new();
    if args.each_address && matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_))) {
        return Err(Failure::usage("use --each-address")
            .because(format!("{url} has one address, and no name that could have several"))
            .help("write the name in --url"));
    }
    if args.min_tls_days.is_some() && url.scheme() != "https" {
        return Err(Failure::usage("use --min-tls-days")
            .because(format!("{url} has no certificate: it is http://"))
            .help("leave it out, or write https://"));
    }
    let nearby = connect_to.map_or_else(|| probe::is_loopback(&url), |place| probe::loopback(&place.host));
    warnings.extend(in_clear("--url", &url, connect_to, headers));
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set: Vec<&str> = proxies.into_iter().filter(|name| env.get(name).is_some()).collect();
    if !set.is_empty() && !nearby {
        warnings.push(format!("{} is set and not used: the endpoint is asked directly", set.join(", ")));
    }
    Ok(Endpoint {
        url,
        connect_to: connect_to.cloned(),
        each_address: args.each_address,
        min_tls_days: args.min_tls_days,
        follow_redirects: args.follow_redirects,
        headers: headers.to_vec(),
        expect: Expectations {
            status: args.expect_status.clone(),
            header: args.expect_header.clone(),
            body: args.expect_body.clone(),
            reject_body: args.reject_body.clone(),
            json: args.expect_json.clone(),
            count: args.expect_count.clone(),
        },
        request_timeout: args.request_timeout,
        warnings,
    })
}

fn secret(env: &Env, flag: &str, variable: &str, prefix: &str) -> Result<Secret, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("read the environment variable {variable} of {flag}"))
            .because(why.to_owned())
            .help("the flag takes a variable's name, never the secret itself; in a workflow, set it with env: from secrets")
    };
    let value = env.get(variable).ok_or_else(|| wrong("it is not set, or empty"))?.trim();
    let value = Secret::new(value);
    if value.expose().chars().any(char::is_control) {
        return Err(wrong(
            "its value has a line break or another control character, which no header can have",
        ));
    }
    Ok(if prefix.is_empty() { value } else { Secret::new(format!("{prefix}{}", value.expose())) })
}

impl Endpoint {
    /// What is sent, and where to.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            url: &self.url,
            connect_to: self.connect_to.as_ref(),
            headers: &self.headers,
            follow_redirects: self.follow_redirects,
            timeout: self.request_timeout,
            user_agent: concat!("cutover-wait-healthy/", env!("CARGO_PKG_VERSION")),
        }
    }

    /// The endpoint as messages name it.
    pub(crate) fn name(&self) -> String {
        match &self.connect_to {
            Some(place) => format!("{} at {place}", self.url),
            None => self.url.to_string(),
        }
    }
}

/// Why the certificate does not go on for long enough, if so.
fn expires(ends: Option<OffsetDateTime>, now: OffsetDateTime, least: u32) -> Option<String> {
    let Some(ends) = ends else { return Some("its certificate could not be read".to_owned()) };
    let left = (ends - now).whole_days();
    (left < i64::from(least))
        .then(|| format!("its certificate ends on {}, in {left} days, want {least} at least", ends.date()))
}

/// A probe of one endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    endpoint: Endpoint,
    ca_file: Option<PathBuf>,
    env: Env,
    probe: probe::Probe,
    /// One for each address that the name had, with --each-address.
    addresses: BTreeMap<SocketAddr, probe::Probe>,
    /// The last answer, whether as expected or not; none when the last look got none.
    pub(crate) answer: Option<Answer>,
    /// What the last answer that was as expected showed.
    pub(crate) values: Map<String, Value>,
    pub(crate) counts: Map<String, Value>,
}

impl Http {
    /// Asks nothing yet. Certificates that can't be read are an error.
    pub(crate) fn new(endpoint: Endpoint, ca_file: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        let probe = probe::Probe::new(endpoint.asked(), ca_file, env)?;
        Ok(Self {
            endpoint,
            ca_file: ca_file.map(Path::to_owned),
            env: env.clone(),
            probe,
            addresses: BTreeMap::new(),
            answer: None,
            values: Map::new(),
            counts: Map::new(),
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.name()
    }

    pub(crate) async fn look(&mut self, now: OffsetDateTime, limit: Duration) -> Result<Look, Failure> {
        if self.endpoint.each_address {
            return self.look_at_each(now, limit).await;
        }
        let looked = self.probe.look(limit).await;
        Ok(self.take(looked, now))
    }

    /// Looks at every address that the name has now: a name may lead to several places, and a client is sent to any of them.
    async fn look_at_each(&mut self, now: OffsetDateTime, limit: Duration) -> Result<Look, Failure> {
        let (host, port) = match &self.endpoint.connect_to {
            Some(place) => (place.host.clone(), place.port),
            None => (
                self.endpoint.url.host_str().unwrap_or_default().to_owned(),
                self.endpoint.url.port_or_known_default().unwrap_or_default(),
            ),
        };
        let found = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => found.collect::<BTreeSet<_>>(),
            Err(error) => {
                let why = kit::one_line(&error.to_string());
                return Ok(Look::not_yet(format!("name {host} does not resolve: {why}")));
            }
        };
        self.addresses.retain(|address, _| found.contains(address));
        for address in &found {
            if !self.addresses.contains_key(address) {
                let place = ConnectTo { host: address.ip().to_string(), port };
                let asked = Asked { connect_to: Some(&place), ..self.endpoint.asked() };
                let probe = probe::Probe::new(asked, self.ca_file.as_deref(), &self.env)?;
                self.addresses.insert(*address, probe);
            }
        }
        let looks = self.addresses.iter().map(async |(address, probe)| (*address, probe.look(limit).await));
        let looked = join_all(looks).await;
        let (all, mut unmet, mut good) = (looked.len(), Vec::new(), None);
        for (address, looked) in looked {
            let look = self.take(looked, now);
            match &look.verdict {
                Ok(_) => good = Some(look),
                Err(reason) => unmet.push(format!("{}: {reason}", address.ip())),
            }
        }
        Ok(match good {
            Some(look) if unmet.is_empty() => {
                let seen = look.verdict.as_deref().unwrap_or_default();
                Look { verdict: Ok(format!("{seen}, at each of {all} addresses")), ..look }
            }
            None if all == 0 => Look::not_yet(format!("name {host} has no address")),
            _ => Look::not_yet(format!(
                "{} of {all} addresses are as wanted; {}",
                all - unmet.len(),
                unmet.join("; ")
            )),
        })
    }

    /// Takes an answer in.
    fn take(&mut self, looked: Result<Answer, NoAnswer>, now: OffsetDateTime) -> Look {
        let mut look = match &looked {
            Ok(answer) => {
                let redirected = answer.redirect.as_ref().is_some_and(|redirect| redirect.held.is_empty());
                let least = self.endpoint.min_tls_days;
                let expires = least.and_then(|least| expires(answer.certificate_ends, now, least));
                match (self.endpoint.expect.judge(answer), expires) {
                    (Ok(healthy), None) => {
                        (self.values, self.counts) = (healthy.values, healthy.counts);
                        Look::healthy(healthy.seen)
                    }
                    (Ok(_), Some(expires)) => Look::not_yet(expires),
                    (Err(reason), _) if redirected => Look::not_yet(reason)
                        .help("check the address, or follow redirects with --follow-redirects"),
                    (Err(reason), None) => Look::not_yet(reason),
                    (Err(reason), Some(expires)) => Look::not_yet(format!("{reason}; {expires}")),
                }
            }
            Err(none) => Look { help: none.help.map(str::to_owned), ..Look::not_yet(none.reason.clone()) },
        };
        self.answer = looked.ok();
        if let Some(answer) = &self.answer {
            look.details.insert("status".to_owned(), answer.status.into());
            look.details.insert("final-url".to_owned(), answer.url.clone().into());
            if let Some(ends) = answer.certificate_ends {
                look.details.insert("certificate-ends".to_owned(), ends.date().to_string().into());
            }
            match look.verdict {
                Ok(_) => {
                    look.details.insert("values".to_owned(), self.values.clone().into());
                    look.details.insert("counts".to_owned(), self.counts.clone().into());
                }
                Err(_) => look.excerpt = answer.excerpt(),
            }
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_must_go_on_for_so_many_days() {
        let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let now = at(1_795_262_400);
        let days = |days: i64| Some(at(1_795_262_400 + days * 86_400 + 3600));
        assert_eq!(expires(days(30), now, 30), None);
        assert_eq!(
            expires(days(29), now, 30).as_deref(),
            Some("its certificate ends on 2026-12-20, in 29 days, want 30 at least")
        );
        assert!(expires(None, now, 0).is_some());
    }
}
