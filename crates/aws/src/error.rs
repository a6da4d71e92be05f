//! What an SDK error means to the person who reads it.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kit::{Failure, innermost};

use crate::doubt;

/// Turns the error of one SDK call into a failure.
///
/// `attempt` names the attempt and the resource ("describe service web in cluster prod"); `permission` and `resource`
/// are the IAM action and the resource that it needs, for the help of a denied call.
///
/// Throttling, 5xx answers and broken connections are transient. A 4xx answer surely had no effect, unless the SDK had tried before and
/// got no answer that says so; after anything else a writing call is in doubt.
///
/// Source of the codes: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonErrors.html> and each service's own.
pub fn failure<E>(
    attempt: impl Into<String>,
    permission: &str,
    resource: &str,
    error: SdkError<E, HttpResponse>,
) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let failed = Failure::failed(attempt);
    match &error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let failed = service_failure(failed, permission, resource, context.err().meta(), status);
            if doubt::is_marked(context.raw()) { failed.untouched(false) } else { failed }
        }
        SdkError::TimeoutError(_) => failed.because("AWS did not answer in time").transient(true),
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            failed
                .because(format!("the answer (HTTP {status}) could not be read: {}", innermost(&error)))
                .transient(status >= 500 || status == 200)
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_)
            if find::<CredentialsError>(&error).is_some() =>
        {
            let said = said_of_role::<AssumeRoleError>(&error)
                .or_else(|| said_of_role::<AssumeRoleWithWebIdentityError>(&error));
            let failed = match said {
                Some((meta, status)) => {
                    let place = "the role, and in the role's trust policy,";
                    service_failure(failed, "sts:AssumeRole", place, meta, status)
                }
                None => failed.because(innermost(&error)).help(CREDENTIALS),
            };
            failed.untouched(true)
        }
        SdkError::DispatchFailure(_) => {
            let reason = innermost(&error);
            let help = if reason.contains("UnknownIssuer") || reason.contains("invalid peer certificate") {
                "the server's certificate is not signed by a known authority: set AWS_CA_BUNDLE to the right certificates"
            } else {
                "check the network, the region, and the endpoint if one is set (--endpoint-url, AWS_ENDPOINT_URL)"
            };
            failed.because(format!("AWS can't be reached: {reason}")).help(help).transient(true)
        }
        _ => failed.because(innermost(&error)).untouched(true),
    }
}

/// What STS said, with its status, where the credentials are those of a role and it did not give them.
fn said_of_role<'a, E>(error: &'a (dyn Error + 'static)) -> Option<(&'a ErrorMetadata, u16)>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let SdkError::ServiceError(context) = find::<SdkError<E, HttpResponse>>(error)? else { return None };
    Some((context.err().meta(), context.raw().status().as_u16()))
}

const CREDENTIALS: &str = "give credentials: aws-actions/configure-aws-credentials in a job, --profile or `aws sso login` at a terminal";

fn service_failure(
    failed: Failure,
    permission: &str,
    resource: &str,
    meta: &ErrorMetadata,
    status: u16,
) -> Failure {
    let code = meta.code().unwrap_or("");
    let message = meta.message().unwrap_or("");
    let text = match (code, message) {
        ("", "") => format!("HTTP {status} without an explanation"),
        ("", message) => format!("HTTP {status}: {message}"),
        (code, "") => format!("{code} (HTTP {status})"),
        (code, message) => format!("{code}: {message}"),
    };
    let failed = failed.because(text);
    match code {
        "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "UnauthorizedOperation" | "Forbidden" => failed
            .help(format!("allow `{permission}` on {resource} for this principal, or check that the resource is in this account"))
            .untouched(true),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "TokenRefreshRequired" => {
            failed.help(format!("the credentials have expired; {CREDENTIALS}")).untouched(true)
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" | "SignatureDoesNotMatch"
        | "IncompleteSignature" | "MissingAuthenticationToken" | "AuthFailure" => {
            failed.help(format!("AWS does not accept these credentials; {CREDENTIALS}")).untouched(true)
        }
        "Throttling" | "ThrottlingException" | "ThrottledException" | "RequestThrottled" | "TooManyRequestsException"
        | "RequestLimitExceeded" | "SlowDown" | "PriorRequestNotComplete" | "RequestThrottledException"
        | "BandwidthLimitExceeded" | "LimitExceededException"
            if code != "LimitExceededException" || status == 429 =>
        {
            failed.help("AWS is throttling this account; run the same command again in a minute").transient(true).untouched(true)
        }
        _ if status == 403 => failed
            .help(format!("allow `{permission}` on {resource} for this principal"))
            .untouched(true),
        _ if status == 429 => failed.transient(true).untouched(true),
        _ if status >= 500 => failed.help("AWS failed on its side; run the same command again").transient(true),
        "" if message.is_empty() && (400..500).contains(&status) => failed
            .help("check the credentials, and the endpoint if one is set (--endpoint-url, AWS_ENDPOINT_URL): what is not AWS may not have this call")
            .untouched(true),
        _ => failed.untouched((400..500).contains(&status)),
    }
}

/// The nearest layer of that type.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(layer) = next {
        if let Some(found) = layer.downcast_ref::<T>() {
            return Some(found);
        }
        next = layer.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use kit::Code;

    fn classify(code: &str, message: &str, status: u16) -> Failure {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        service_failure(
            Failure::failed("describe service web"),
            "ecs:DescribeServices",
            "arn:x",
            &meta,
            status,
        )
    }

    #[test]
    fn a_denied_call_names_the_missing_permission() {
        let denied = classify("AccessDeniedException", "User: x is not authorized", 400);
        assert_eq!(denied.code(), Code::Failed);
        assert!(!denied.is_transient());
        let text = format!("{denied:?}");
        assert!(text.contains("allow `ecs:DescribeServices` on arn:x"), "{text}");
    }

    #[test]
    fn throttling_and_5xx_are_transient_and_validation_is_not() {
        assert!(classify("ThrottlingException", "Rate exceeded", 400).is_transient());
        assert!(classify("SlowDown", "", 503).is_transient());
        assert!(classify("ServerException", "", 500).is_transient());
        assert!(!classify("ClientException", "no such thing", 400).is_transient());
        assert!(!classify("LimitExceededException", "quota", 400).is_transient());
    }

    #[test]
    fn expired_credentials_say_so() {
        let text = format!("{:?}", classify("ExpiredTokenException", "The security token is expired", 400));
        assert!(text.contains("have expired"), "{text}");
    }

    /// The words are those of <https://repost.aws/knowledge-center/iam-assume-role-error>.
    #[test]
    fn a_role_that_is_not_given_is_told_in_the_words_of_sts() {
        let said = "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: sts:AssumeRole on resource: \
                    arn:aws:iam::444455556666:role/reader";
        let meta = ErrorMetadata::builder().code("AccessDenied").message(said).build();
        let answer = HttpResponse::new(StatusCode::try_from(403).unwrap(), SdkBody::empty());
        let denied = SdkError::service_error(AssumeRoleError::generic(meta), answer);
        let lost = ConnectorError::other(CredentialsError::provider_error(denied).into(), None);
        let error: SdkError<GetCallerIdentityError, HttpResponse> = SdkError::dispatch_failure(lost);
        let failed = failure("ask AWS who this is", "sts:GetCallerIdentity", "*", error);
        let text = format!("{failed:?}");
        assert!(text.contains(&format!("AccessDenied: {said}")), "{text}");
        assert!(
            text.contains("allow `sts:AssumeRole` on the role, and in the role's trust policy"),
            "{text}"
        );
        assert!(!text.contains("configure-aws-credentials") && !failed.is_transient(), "{text}");
    }
}
