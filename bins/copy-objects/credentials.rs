//! The other credentials of `--through`, with which the source is read.

use aws::Aws;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use kit::{Cx, Failure};

use crate::args::Args;

/// Those of `--source-profile`, those of `--source-role-arn`, which is assumed with the former, or the run's own.
///
/// A profile's credentials are taken from the profile: the environment's, which come first elsewhere, are the destination's.
pub(crate) async fn of_source(cx: &Cx, aws: &Aws, args: &Args) -> Result<Aws, Failure> {
    let mut source = aws.clone();
    if args.source_profile.is_none() && args.source_role_arn.is_none() {
        return Ok(source);
    }
    if let Some(profile) = &args.source_profile {
        let mut config = ProviderConfig::without_region().with_region(source.config.region().cloned());
        if let Some(client) = source.config.http_client() {
            config = config.with_http_client(client);
        }
        let provider =
            ProfileFileCredentialsProvider::builder().configure(&config).profile_name(profile).build();
        source.config =
            source.config.to_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
    }
    if let Some(role) = &args.source_role_arn {
        let provider = AssumeRoleProvider::builder(role)
            .session_name("cutover-copy-objects")
            .configure(&source.config)
            .build();
        let provider = cx.or_cancelled(provider).await?;
        source.config =
            source.config.to_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build();
    }
    let identity = cx
        .or_cancelled(aws_sdk_sts::Client::new(&source.config).get_caller_identity().send())
        .await?
        .map_err(|error| {
            let attempt = match (&args.source_role_arn, &args.source_profile) {
                (Some(role), _) => format!("read the source as {role} (--source-role-arn)"),
                (None, profile) => format!(
                    "read the source with the profile {} (--source-profile)",
                    profile.as_deref().unwrap_or_default()
                ),
            };
            aws::failure(attempt, "sts:GetCallerIdentity", "*", error)
        })?;
    identity.account().unwrap_or_default().clone_into(&mut source.account);
    cx.report().say(&format!("the source is read as {}", identity.arn().unwrap_or("unknown")));
    Ok(source)
}
