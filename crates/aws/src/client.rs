//! The configuration that all clients share, and the identity behind it.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::app_name::AppName;
use kit::{Cx, Env, Failure};
use url::Url;

use crate::{doubt, failure, session};

/// The flags of every step that talks to AWS.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "AWS options")]
pub struct AwsArgs {
    /// Refuse to work on any other account than this one (twelve digits)
    #[arg(long, value_name = "ACCOUNT")]
    pub expect_account: Option<String>,

    /// The AWS region [default: `AWS_REGION` or the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// The profile of ~/.aws/config to use; SSO profiles work
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Send all AWS calls to this URL instead [default: `AWS_ENDPOINT_URL`]
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// A configured connection to one account and region.
#[derive(Clone, Debug)]
pub struct Aws {
    /// For `aws_sdk_X::Client::new(&aws.config)`.
    pub config: SdkConfig,
    /// The account that the credentials belong to, as STS says.
    pub account: String,
    /// The region that calls go to.
    pub region: String,
}

/// The step as CloudTrail shows it in `userAgent` (`app/cutover-deploy-service`), so that an audit sees which step made a call.
///
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>
fn app_name(step: &str) -> Result<AppName, Failure> {
    AppName::new(format!("cutover-{step}")).map_err(|error| Failure::failed("name the client").because(error))
}

impl Aws {
    /// Loads the standard configuration, refuses what would send calls to the wrong place, and asks STS who we are.
    ///
    /// Refused (exit 3): no region, an endpoint URL that is none (the SDK would ignore it and call the real AWS),
    /// another account than `--expect-account`, another account or region than the receipt's on `--undo`.
    ///
    /// Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>, which no policy can deny.
    pub async fn connect(cx: &Cx, args: &AwsArgs) -> Result<Self, Failure> {
        check_endpoints(args.endpoint_url.as_deref(), cx.env())?;
        if let Some(text) = session::warning(cx.env(), cx.now(), cx.remaining()) {
            cx.report().warn(&text);
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(doubt::marking(http_client(cx.env())?))
            .app_name(app_name(cx.step())?)
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(Duration::from_mins(1))
                    .build(),
            );
        loader = loader.region(regions(args));
        if let Some(profile) = &args.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &args.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let config = cx.or_cancelled(loader.load()).await?;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(Failure::refused("choose an AWS region")
                .because(
                    "none is given by --region, AWS_REGION or the profile, and a release must not guess one",
                )
                .help("add --region, or set AWS_REGION"));
        };
        let identity = cx
            .or_cancelled(aws_sdk_sts::Client::new(&config).get_caller_identity().send())
            .await?
            .map_err(|error| failure("ask AWS who we are", "sts:GetCallerIdentity", "*", error))?;
        let account = identity.account().unwrap_or_default().to_owned();
        if account.is_empty() {
            return Err(Failure::failed("ask AWS who we are").because("the answer names no account"));
        }
        let who = identity.arn().unwrap_or("unknown").to_owned();
        if let Some(expected) = &args.expect_account
            && *expected != account
        {
            return Err(Failure::refused(format!("work on account {expected}"))
                .because(format!("the credentials belong to account {account} ({who})"))
                .help("use the credentials of the other account, or correct --expect-account"));
        }
        if let Some(receipt) = cx.undo() {
            let same = |was: &Option<String>, is: &str| was.as_deref().is_none_or(|was| was == is);
            if !same(&receipt.account, &account) || !same(&receipt.region, &region) {
                let was = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
                return Err(Failure::refused("undo the receipt's run")
                    .because(format!(
                        "it worked on account {} in {}, and this is account {account} in {region}",
                        was(&receipt.account),
                        was(&receipt.region)
                    ))
                    .help("use the credentials and --region of that run"));
            }
        }
        cx.set_place(&account, &region);
        Ok(Self { config, account, region })
    }
}

/// Where the region comes from: not from the metadata of the EC2 instance that the step happens to run on, which the SDK's own chain
/// asks last. A self-hosted runner is not always in the region of what it releases.
///
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
fn regions(args: &AwsArgs) -> RegionProviderChain {
    let profile = ProfileFileRegionProvider::builder();
    let profile = match &args.profile {
        Some(name) => profile.profile_name(name),
        None => profile,
    };
    RegionProviderChain::first_try(args.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
}

/// A retry configuration for writing calls without a client token: sent once, so that a retry can look first whether
/// the earlier try took effect.
pub fn without_retry() -> RetryConfig {
    RetryConfig::disabled()
}

/// Every configured endpoint must be a URL: the SDK ignores one that is none and calls the real AWS.
fn check_endpoints(flag: Option<&str>, env: &Env) -> Result<(), Failure> {
    let ignored = env
        .get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let from_env = env.iter().filter(|(name, value)| {
        !ignored
            && !value.is_empty()
            && (*name == "AWS_ENDPOINT_URL" || name.starts_with("AWS_ENDPOINT_URL_"))
    });
    for (name, value) in flag.map(|value| ("--endpoint-url", value)).into_iter().chain(from_env) {
        let usable =
            Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            return Err(Failure::refused(format!("use the endpoint {value} of {name}"))
                .because("it is not an http:// or https:// URL")
                .help("correct it; ignoring it would send the calls to the real AWS"));
        }
    }
    Ok(())
}

/// rustls with aws-lc-rs. `AWS_CA_BUNDLE`, which the SDK for Rust does not read, replaces the system's roots.
fn http_client(env: &Env) -> Result<SharedHttpClient, Failure> {
    let trust = if let Some(path) = env.get("AWS_CA_BUNDLE") {
        let read = |error: std::io::Error| {
            Failure::refused(format!("read the certificates of AWS_CA_BUNDLE, {path}"))
                .because(error)
                .help("correct AWS_CA_BUNDLE or unset it to use the system's certificates")
        };
        TrustStore::empty().with_pem_certificate(std::fs::read(path).map_err(read)?)
    } else {
        // Where a machine has no certificates at all, http:// endpoints must still work; https:// then fails with
        // UnknownIssuer, which the error's help explains.
        let present = !rustls_native_certs::load_native_certs().certs.is_empty();
        TrustStore::empty().with_native_roots(present)
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| Failure::refused("set up TLS for AWS").because(error))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    #[test]
    fn an_endpoint_that_the_sdk_would_ignore_is_refused() {
        let bad = |name: &str, value: &str| check_endpoints(None, &[(name, value)].into_iter().collect());
        for value in ["127.0.0.1:4566", "localhost", "htp://x", "http://"] {
            let refused = bad("AWS_ENDPOINT_URL", value).unwrap_err();
            assert_eq!(refused.code(), Code::Refused, "{value}");
            assert!(refused.to_string().contains("AWS_ENDPOINT_URL"), "{refused}");
        }
        assert!(bad("AWS_ENDPOINT_URL_S3", "nowhere").is_err());
        assert!(bad("AWS_ENDPOINT_URL", "http://127.0.0.1:4566").is_ok());
        assert!(bad("AWS_ENDPOINT_URL", "").is_ok());
        assert!(check_endpoints(Some("x"), &Env::default()).is_err());
    }
}
