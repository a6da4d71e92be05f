//! The client, and how its calls are tried again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use kit::{Code, Cx, Env, Failure, Secret};
use octocrab::service::middleware::auth_header::AuthHeaderLayer;
use octocrab::service::middleware::base_uri::BaseUriLayer;
use octocrab::service::middleware::extra_headers::ExtraHeadersLayer;
use octocrab::{AuthState, Error as ApiError, Octocrab, OctocrabBuilder, Page};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::{Host, Url};

use crate::error::{Effect, effect, failure, is_forbidden, patience, status, worth_trying_again};
use crate::tls::http_client;

/// The flags of every step that talks to GitHub.
///
/// The token is no flag: it comes from the input `token`, `GH_TOKEN` or `GITHUB_TOKEN`, the first that is set.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "GitHub options")]
pub struct GithubArgs {
    /// The repository [default: `GITHUB_REPOSITORY`]
    #[arg(long, value_name = "OWNER/NAME")]
    pub repository: Option<Repository>,

    /// Send all calls to this URL [default: `GITHUB_API_URL`, or GitHub's own]
    ///
    /// A GitHub Enterprise Server's ends in /api/v3.
    #[arg(long, value_name = "URL")]
    pub github_api_url: Option<String>,
}

/// `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
}

impl FromStr for Repository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usable = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match text.split_once('/') {
            Some((owner, name)) if usable(owner) && usable(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err("write it as OWNER/NAME, without a host or .git".to_owned()),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A connection to one repository.
#[derive(Clone, Debug)]
pub struct Github {
    /// For calls that this crate has no word for. Nothing is tried again in it.
    pub octocrab: Octocrab,
    repository: Repository,
    base: String,
    /// Of an app: the workflow's own `GITHUB_TOKEN` is one of these.
    of_app: bool,
}

/// One call, and how it is told of.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is attempted on what, as in [`failure`].
    pub attempt: &'a str,
    /// What the token needs: `contents: write`.
    pub permission: &'a str,
    /// Relative to the repository: `/git/ref/tags/v1`; empty for the repository itself.
    pub path: &'a str,
}

const DEFAULT_URL: &str = "https://api.github.com";

/// <https://docs.github.com/en/rest/about-the-rest-api/api-versions>
const API_VERSION: &str = "2022-11-28";

/// The whole of one call.
const CALL_TIME: Duration = Duration::from_mins(1);

/// How often a call is made before its failure counts.
const TRIES: u32 = 4;

/// The pause before the second try; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// Before each look whether a write without an answer took effect: lists and references may be read as they were before it
/// (<https://github.com/cli/cli/issues/6599>, <https://github.com/PyGithub/PyGithub/issues/2759>).
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1)];

/// GitHub may ask for a longer pause than this; then the person is told instead.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

impl Github {
    /// Configures the client; no call is made yet.
    ///
    /// A usage error: no token, no repository. Refused: an API URL that is none, or one that would send the token in
    /// clear text over a network.
    pub fn new(cx: &Cx, args: &GithubArgs) -> Result<Self, Failure> {
        let repository = match (&args.repository, cx.env().get("GITHUB_REPOSITORY")) {
            (Some(repository), _) => repository.clone(),
            (None, Some(text)) => text.parse().map_err(|error: String| {
                Failure::usage(format!("use the repository {text} of GITHUB_REPOSITORY")).because(error)
            })?,
            (None, None) => {
                return Err(Failure::usage("choose a repository")
                    .because("none is given by --repository or GITHUB_REPOSITORY")
                    .help("add --repository OWNER/NAME"));
            }
        };
        let base = base_url(args.github_api_url.as_deref(), cx.env())?;
        let token = token(cx.env())?;
        let octocrab = octocrab(cx.env(), &base, &token)?;
        // https://github.blog/engineering/behind-githubs-new-authentication-token-formats/
        let of_app = token.expose().starts_with("ghs_");
        Ok(Self { octocrab, repository, base, of_app })
    }

    /// The same connection to another repository.
    #[must_use]
    pub fn at(&self, repository: Repository) -> Self {
        Self { repository, ..self.clone() }
    }

    /// Whether the token may be a workflow's own `GITHUB_TOKEN`: what it does starts no workflows.
    ///
    /// Source: <https://docs.github.com/en/actions/concepts/security/github_token#when-github_token-triggers-workflow-runs>
    pub fn may_be_workflow_token(&self, env: &Env) -> bool {
        self.of_app && env.in_github_job()
    }

    /// The repository that all calls go to.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The address of the REST API, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The path of the REST API on its server: `/api/v3` on GitHub Enterprise Server, else none.
    pub(crate) fn base_path(&self) -> Result<String, Failure> {
        let base: Uri = self.base.parse().map_err(|error: http::uri::InvalidUri| {
            Failure::refused(format!("use {}", self.base)).because(error)
        })?;
        Ok(base.path().trim_end_matches('/').to_owned())
    }

    /// A client for addresses that are not beneath that path, which octocrab would put in front of each.
    pub(crate) fn rooted(&self, cx: &Cx) -> Result<Octocrab, Failure> {
        let path = self.base_path()?;
        match self.base.strip_suffix(path.as_str()).filter(|_| !path.is_empty()) {
            Some(server) => octocrab(cx.env(), server, &token(cx.env())?),
            None => Ok(self.octocrab.clone()),
        }
    }

    fn route(&self, path: &str) -> String {
        format!("/repos/{}{path}", self.repository)
    }

    /// Reads one thing, again after a transient error.
    pub async fn get<T: DeserializeOwned>(&self, cx: &Cx, call: Call<'_>) -> Result<T, Failure> {
        self.reading(cx, call, async || self.octocrab.get(self.route(call.path), None::<&()>).await)
            .await?
            .map_err(|error| failure(call.attempt, call.permission, error))
    }

    /// Reads one thing; absent (404) is `None`. Only sound where the token is known to see the repository.
    pub async fn find<T: DeserializeOwned>(&self, cx: &Cx, call: Call<'_>) -> Result<Option<T>, Failure> {
        match self
            .reading(cx, call, async || self.octocrab.get(self.route(call.path), None::<&()>).await)
            .await?
        {
            Ok(found) => Ok(Some(found)),
            Err(error) if status(&error) == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(failure(call.attempt, call.permission, error)),
        }
    }

    /// Reads a whole list, through every page.
    pub async fn list<T: DeserializeOwned>(&self, cx: &Cx, call: Call<'_>) -> Result<Vec<T>, Failure> {
        let failed = |error| failure(call.attempt, call.permission, error);
        let mut page: Page<T> = self
            .reading(cx, call, async || {
                self.octocrab.get(self.route(call.path), Some(&[("per_page", "100")])).await
            })
            .await?
            .map_err(failed)?;
        let mut all = page.take_items();
        while page.next.is_some() {
            let next = page.next.take();
            let found = self
                .reading(cx, call, async || self.octocrab.get_page(&next).await)
                .await?
                .map_err(failed)?;
            let Some(found) = found else { break };
            page = found;
            all.extend(page.take_items());
        }
        Ok(all)
    }

    /// Reads a whole list that stands in a field of its answers, as in `{"total_count": 2, "check_runs": [...]}`, through
    /// every page. `None` when the token may not see it.
    pub async fn list_in<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        call: Call<'_>,
        field: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Vec<T>>, Failure> {
        const SIZE: usize = 100;
        let mut all = Vec::new();
        for number in 1.. {
            let (size, number) = (SIZE.to_string(), number.to_string());
            let paged = [query, &[("per_page", &*size), ("page", &*number)]].concat();
            let read = async || self.octocrab.get(self.route(call.path), Some(&paged)).await;
            let mut page: Value = match self.reading(cx, call, read).await? {
                Ok(page) => page,
                Err(error) if is_forbidden(&error) => return Ok(None),
                Err(error) => return Err(failure(call.attempt, call.permission, error)),
            };
            let unreadable = |why: String| {
                Failure::failed(call.attempt).because(format!("GitHub's answer could not be read: {why}"))
            };
            let items = page
                .get_mut(field)
                .map(Value::take)
                .ok_or_else(|| unreadable(format!("it has no {field}")))?;
            let items: Vec<T> =
                serde_json::from_value(items).map_err(|error| unreadable(error.to_string()))?;
            let last = items.len() < SIZE;
            all.extend(items);
            if last {
                break;
            }
        }
        Ok(Some(all))
    }

    /// Makes a reading call until it succeeds or its error will not pass by itself.
    pub(crate) async fn reading<T>(
        &self,
        cx: &Cx,
        call: Call<'_>,
        mut read: impl AsyncFnMut() -> Result<T, ApiError>,
    ) -> Result<Result<T, ApiError>, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match cx.or_cancelled(in_time(call, read())).await?? {
                Ok(value) => return Ok(Ok(value)),
                Err(error) => error,
            };
            let Some(pause) = pause(tried, &error).filter(|_| tried < TRIES && worth_trying_again(&error))
            else {
                return Ok(Err(error));
            };
            cx.or_cancelled(cx.pause(pause)).await?;
        }
    }

    /// Makes a writing call. After a failure that leaves its effect in doubt `look` says whether it took effect, asked some times
    /// over, and only if not it is made again.
    ///
    /// The failure at the end is in doubt too unless no try was.
    pub async fn write<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        method: Method,
        call: Call<'_>,
        body: &Value,
        look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        self.write_until(cx, method, call, body, &LOOKS, look).await
    }

    /// Writes one of git's objects. After a failure that leaves it in doubt it is simply written again: what no reference leads to
    /// nobody sees.
    pub async fn write_object<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        call: Call<'_>,
        body: &Value,
    ) -> Result<T, Failure> {
        self.write_until(cx, Method::Post, call, body, &[], async || Ok(None)).await
    }

    async fn write_until<T: DeserializeOwned>(
        &self,
        cx: &Cx,
        method: Method,
        call: Call<'_>,
        body: &Value,
        looks: &[Duration],
        mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut tried = 0;
        let mut doubt = false;
        loop {
            tried += 1;
            // Not `or_cancelled`: a call under way is seen to its end, so that its effect is known.
            let sent = in_time(call, self.send::<T>(method, call.path, body)).await;
            let (failed, effect, pause) = match sent {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => {
                    let (effect, pause) = (effect(&error), pause(tried, &error));
                    (failure(call.attempt, call.permission, error), effect, pause)
                }
                Err(late) => (late, Effect::Doubt, Some(PAUSE)),
            };
            doubt |= effect == Effect::Doubt;
            let failed = if doubt { failed.untouched(false) } else { failed };
            let Some(pause) = pause.filter(|_| effect != Effect::None) else { return Err(failed) };
            cx.or_cancelled(cx.pause(pause)).await?;
            for again in looks.iter().filter(|_| doubt) {
                cx.or_cancelled(cx.pause(*again)).await?;
                match look().await {
                    Ok(Some(there)) => return Ok(there),
                    Ok(None) => {}
                    // That looking failed, perhaps without effect, says nothing of the write.
                    Err(looked) if looked.code() == Code::Failed => {
                        return Err(
                            failed.state(format!("whether it took effect is unknown: could not {looked}"))
                        );
                    }
                    Err(decided) => return Err(decided),
                }
            }
            if tried >= TRIES {
                return Err(failed);
            }
        }
    }

    /// Makes a writing call that must not be made twice and can't be looked up at once: it is sent again only when it surely
    /// did not reach GitHub.
    pub async fn post_once(&self, cx: &Cx, call: Call<'_>, body: &Value) -> Result<Once, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            let sent = async {
                let answer = self.octocrab._post(self.route(call.path), Some(body)).await?;
                let answer = octocrab::map_github_error(answer).await?;
                self.octocrab.body_to_string(answer).await
            };
            // Not `or_cancelled`: a call under way is seen to its end, so that its effect is known.
            let error = match in_time(call, sent).await {
                Ok(Ok(text)) => return Ok(Once::Done(serde_json::from_str(&text).ok())),
                Ok(Err(error)) => error,
                Err(late) => return Ok(Once::Doubt(late.untouched(false))),
            };
            let (effect, pause) = (effect(&error), pause(tried, &error));
            let failed = failure(call.attempt, call.permission, error);
            match (effect, pause) {
                (Effect::NotYet, Some(pause)) if tried < TRIES => cx.or_cancelled(cx.pause(pause)).await?,
                (Effect::NotYet | Effect::None, _) => return Ok(Once::Refused(failed.untouched(true))),
                (Effect::Doubt, _) => return Ok(Once::Doubt(failed.untouched(false))),
            }
        }
    }

    async fn send<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<R, ApiError> {
        let route = self.route(path);
        match method {
            Method::Post => self.octocrab.post(route, Some(body)).await,
            Method::Patch => self.octocrab.patch(route, Some(body)).await,
        }
    }

    /// Deletes one thing; one that is not there (any more) is as good.
    pub async fn delete(&self, cx: &Cx, call: Call<'_>) -> Result<(), Failure> {
        let mut tried = 0;
        let mut doubt = false;
        loop {
            tried += 1;
            let sent = async {
                let response = self.octocrab._delete(self.route(call.path), None::<&()>).await?;
                octocrab::map_github_error(response).await.map(drop)
            };
            let (failed, effect, pause) = match in_time(call, sent).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if status(&error) == Some(StatusCode::NOT_FOUND) => return Ok(()),
                // What DELETE /git/refs answers for a ref that is gone.
                Ok(Err(ApiError::GitHub { source, .. })) if source.message == "Reference does not exist" => {
                    return Ok(());
                }
                Ok(Err(error)) => {
                    let (effect, pause) = (effect(&error), pause(tried, &error));
                    (failure(call.attempt, call.permission, error), effect, pause)
                }
                Err(late) => (late, Effect::Doubt, Some(PAUSE)),
            };
            doubt |= effect == Effect::Doubt;
            let failed = if doubt { failed.untouched(false) } else { failed };
            let Some(pause) = pause.filter(|_| effect != Effect::None && tried < TRIES) else {
                return Err(failed);
            };
            cx.or_cancelled(cx.pause(pause)).await?;
        }
    }
}

/// What became of a call that is made once.
#[derive(Debug)]
pub enum Once {
    /// It took effect; the answer, if it has a body.
    Done(Option<Value>),
    /// It surely had no effect.
    Refused(Failure),
    /// It may have had one.
    Doubt(Failure),
}

/// The method of a writing call.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// Creates.
    Post,
    /// Changes.
    Patch,
}

async fn in_time<T>(call: Call<'_>, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(CALL_TIME, future).await.map_err(|_| {
        Failure::failed(call.attempt)
            .because(format!("GitHub did not answer within {} seconds", CALL_TIME.as_secs()))
            .transient(true)
    })
}

/// The pause before the next try; `None` when GitHub asks for more patience than is good.
fn pause(tried: u32, error: &ApiError) -> Option<Duration> {
    let asked = patience(error).map_or(Duration::ZERO, Duration::from_secs);
    let pause = asked.max(PAUSE * 2_u32.pow(tried.saturating_sub(1)));
    (pause <= LONGEST_PAUSE).then_some(pause)
}

pub(crate) fn token(env: &Env) -> Result<Secret, Failure> {
    let token = ["INPUT_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"]
        .into_iter()
        .find_map(|name| env.get(name))
        .map(str::trim)
        .filter(|token| !token.is_empty());
    token.map(Secret::new).ok_or_else(|| {
        Failure::usage("find a token for GitHub")
            .because("neither GITHUB_TOKEN nor GH_TOKEN is set")
            .help("in a workflow: `env: GITHUB_TOKEN: ${{ github.token }}`; at a terminal: `export GITHUB_TOKEN=$(gh auth token)`")
    })
}

/// The base of all URLs, without a slash at its end (`https://ghes.example.com/api/v3`).
fn base_url(flag: Option<&str>, env: &Env) -> Result<String, Failure> {
    let (name, text) = match (flag, env.get("GITHUB_API_URL")) {
        (Some(flag), _) => ("--github-api-url", flag),
        (None, Some(text)) => ("GITHUB_API_URL", text),
        (None, None) => return Ok(DEFAULT_URL.to_owned()),
    };
    let refused = || Failure::refused(format!("use the address {text} of {name}"));
    let url =
        Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) =
        url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty())
    else {
        return Err(refused()
            .because("it is not a plain http:// or https:// URL")
            .help("write it as https://api.github.com or https://HOST/api/v3"));
    };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "http" && !loopback {
        return Err(refused()
            .because("over http:// the token would be readable on the network")
            .help("use https://"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Where files are uploaded: `https://uploads.github.com` for `https://api.github.com`, and so for any other host that begins
/// with `api.`; elsewhere the same host.
pub(crate) fn upload_address(base: &Uri) -> Uri {
    let host = base.host().and_then(|host| host.strip_prefix("api."));
    host.and_then(|host| format!("https://uploads.{host}").parse().ok()).unwrap_or_else(|| base.clone())
}

pub(crate) fn octocrab(env: &Env, base: &str, token: &Secret) -> Result<Octocrab, Failure> {
    let unusable = |what: &str| Failure::refused(format!("use {what}"));
    let uri: Uri = base.parse().map_err(|error: http::uri::InvalidUri| unusable(base).because(error))?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        unusable("the token for GitHub")
            .because("it contains characters that no token has")
            .help("copy it again")
    })?;
    authorization.set_sensitive(true);
    let agent = HeaderValue::from_str(&format!("cutover/{}", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unusable("the user agent").because(error))?;
    let headers = vec![
        (http::header::USER_AGENT, agent),
        (http::header::ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static(API_VERSION)),
    ];
    // Not `Octocrab::builder()`: its client needs root certificates even for http://, and follows redirects.
    let built = OctocrabBuilder::new_empty()
        .with_service(http_client(env)?)
        .with_layer(&ExtraHeadersLayer::new(std::sync::Arc::new(headers)))
        .with_layer(&BaseUriLayer::new(uri.clone()))
        .with_layer(&AuthHeaderLayer::new(Some(authorization), uri.clone(), upload_address(&uri)))
        .with_auth(AuthState::None)
        .build();
    match built {
        Ok(octocrab) => Ok(octocrab),
        Err(never) => match never {},
    }
}
