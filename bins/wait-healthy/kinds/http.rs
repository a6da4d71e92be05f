//! An HTTP endpoint that answers as expected.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use kit::{Env, Failure, Secret};
use probe::{Answer, Asked, ConnectTo, Expectations, is_header_name};
use serde::Serialize;
use serde_json::{Map, Value};
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
    let mut headers = Vec::new();
    if let Some(variable) = &args.bearer_env {
        headers.push(("authorization".to_owned(), secret(env, "--bearer-env", variable, "Bearer ")?));
    }
    for HeaderFromEnv { header, variable } in &args.header_env {
        headers.push((header.clone(), secret(env, "--header-env", variable, "")?));
    }
    args.url.iter().map(|url| endpoint(args, env, url, &headers)).collect()
}

fn endpoint(
    args: &HealthyArgs,
    env: &Env,
    url: &str,
    headers: &[(String, Secret)],
) -> Result<Endpoint, Failure> {
    let url = probe::endpoint("--url", url)?;
    if let (Some(place), Some(Host::Ipv4(_) | Host::Ipv6(_))) = (&args.connect_to, url.host()) {
        return Err(Failure::usage(format!("use --connect-to {place}"))
            .because(format!("{url} has an address, so there is no name to keep for the Host header and TLS"))
            .help("write the service's public name in --url, or the address of --connect-to itself"));
    }
    let mut warnings = Vec::new();
    let nearby = args
        .connect_to
        .as_ref()
        .map_or_else(|| probe::is_loopback(&url), |place| probe::loopback(&place.host));
    if !headers.is_empty() && url.scheme() == "http" && !nearby {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        warnings.push(format!(
            "the secret in {} goes over the network in clear: --url is http://",
            names.join(", ")
        ));
    }
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set: Vec<&str> = proxies.into_iter().filter(|name| env.get(name).is_some()).collect();
    if !set.is_empty() && !nearby {
        warnings.push(format!("{} is set and not used: the endpoint is asked directly", set.join(", ")));
    }
    Ok(Endpoint {
        url,
        connect_to: args.connect_to.clone(),
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

/// A probe of one endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    endpoint: Endpoint,
    probe: probe::Probe,
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
        Ok(Self { endpoint, probe, answer: None, values: Map::new(), counts: Map::new() })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.name()
    }

    pub(crate) async fn look(&mut self, limit: Duration) -> Look {
        let looked = self.probe.look(limit).await;
        let mut look = match &looked {
            Ok(answer) => {
                let redirected = answer.redirect.as_ref().is_some_and(|redirect| redirect.held.is_empty());
                match self.endpoint.expect.judge(answer) {
                    Ok(healthy) => {
                        (self.values, self.counts) = (healthy.values, healthy.counts);
                        Look::healthy(healthy.seen)
                    }
                    Err(reason) if redirected => Look::not_yet(reason)
                        .help("check the address, or follow redirects with --follow-redirects"),
                    Err(reason) => Look::not_yet(reason),
                }
            }
            Err(none) => Look { help: none.help.map(str::to_owned), ..Look::not_yet(none.reason.clone()) },
        };
        self.answer = looked.ok();
        if let Some(answer) = &self.answer {
            look.details.insert("status".to_owned(), answer.status.into());
            look.details.insert("final-url".to_owned(), answer.url.clone().into());
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
