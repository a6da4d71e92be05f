//! From arguments to what will be asked: every mistake in them is found here, before any request. Pure.

use std::str::FromStr;
use std::time::Duration;

use kit::{Action, Env, Failure, Note, Plan, Secret};
use serde::Serialize;
use url::{Host, Url};

use probe::{Asked, ConnectTo, Expectations, is_header_name};

use crate::HealthyArgs;

/// What is asked, and when its answer is good enough.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    #[serde(serialize_with = "as_text")]
    pub(crate) url: Url,
    pub(crate) connect_to: Option<ConnectTo>,
    pub(crate) follow_redirects: bool,
    /// Headers whose values come from the environment.
    #[serde(serialize_with = "names")]
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) expect: Expectations,
    pub(crate) once: bool,
    pub(crate) successes: u32,
    #[serde(serialize_with = "seconds", rename = "interval-seconds")]
    pub(crate) interval: Duration,
    #[serde(serialize_with = "seconds", rename = "request-timeout-seconds")]
    pub(crate) request_timeout: Duration,
    #[serde(skip)]
    warnings: Vec<String>,
}

fn as_text<S: serde::Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str())
}

fn names<S: serde::Serializer>(headers: &[(String, Secret)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, _)| name))
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

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

/// The request that the arguments ask for. Whatever can't work is a usage error.
pub(crate) fn request(args: &HealthyArgs, env: &Env) -> Result<Request, Failure> {
    let url = probe::endpoint("--url", &args.url)?;
    if args.once && args.successes > 1 {
        return Err(Failure::usage("use --once together with --successes")
            .because("one look can't succeed several times in a row")
            .help("leave one of them out"));
    }
    if let (Some(place), Some(Host::Ipv4(_) | Host::Ipv6(_))) = (&args.connect_to, url.host()) {
        return Err(Failure::usage(format!("use --connect-to {place}"))
            .because(format!("{url} has an address, so there is no name to keep for the Host header and TLS"))
            .help("write the service's public name in --url, or the address of --connect-to itself"));
    }
    let mut headers = Vec::new();
    if let Some(variable) = &args.bearer_env {
        headers.push(("authorization".to_owned(), secret(env, "--bearer-env", variable, "Bearer ")?));
    }
    for HeaderFromEnv { header, variable } in &args.header_env {
        headers.push((header.clone(), secret(env, "--header-env", variable, "")?));
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
    Ok(Request {
        url,
        connect_to: args.connect_to.clone(),
        follow_redirects: args.follow_redirects,
        headers,
        expect: Expectations {
            status: args.expect_status.clone(),
            header: args.expect_header.clone(),
            body: args.expect_body.clone(),
            reject_body: args.reject_body.clone(),
            json: args.expect_json.clone(),
            count: args.expect_count.clone(),
        },
        once: args.once,
        successes: args.successes,
        interval: args.interval,
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

impl Request {
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
    pub(crate) fn endpoint(&self) -> String {
        match &self.connect_to {
            Some(place) => format!("{} at {place}", self.url),
            None => self.url.to_string(),
        }
    }
}

impl Plan for Request {
    fn actions(&self) -> Vec<Action> {
        Vec::new()
    }

    fn notes(&self) -> Vec<Note> {
        let wanted = self.expect.lines().into_iter().map(|line| Note::Info(format!("wanted: {line}")));
        let sent =
            self.headers.iter().map(|(name, _)| Note::Info(format!("sent: {name} from the environment")));
        let warnings = self.warnings.iter().cloned().map(Note::Warning);
        wanted.chain(sent).chain(warnings).collect()
    }

    fn unchanged(&self) -> String {
        let when = match (self.once, self.successes) {
            (true, _) => "once".to_owned(),
            (false, 1) => format!("every {:?} until the answer is as wanted", self.interval),
            (false, n) => {
                format!("every {:?} until the answer is as wanted {n} times in a row", self.interval)
            }
        };
        format!("this step only asks GET {} {when}", self.endpoint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::args;
    use kit::Code;

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
            request.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(sent, [("authorization", "Bearer tok-31337"), ("x-api-key", "key-31337")]);
        let shown = serde_json::to_string(&request).unwrap() + &format!("{request:?} {:?}", request.notes());
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
            let notes = plan(argv, env).unwrap().notes().into_iter();
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
    fn one_look_cannot_succeed_three_times() {
        let failure = plan(&["--url", "http://rally.test/", "--once", "--successes", "3"], &[]).unwrap_err();
        assert_eq!(failure.code(), Code::Usage);
    }
}
