//! Credentials that end before the step may. Pure.
//!
//! The SDK renews what it has asked for itself (SSO, a web identity, a profile's role). What it can't renew is a session that somebody else
//! has put into the environment, as `aws-actions/configure-aws-credentials` does; that says in its outputs at most when it ends, so that
//! botocore's variable for it is read:
//! <https://docs.aws.amazon.com/cli/latest/reference/configure/export-credentials.html>.

use std::time::Duration;

use kit::Env;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a role's session lasts in a job unless `role-duration-seconds` says otherwise:
/// <https://github.com/aws-actions/configure-aws-credentials#session-naming-and-policies>.
const USUAL: Duration = Duration::from_hours(1);

/// What to warn of when the step may go on for `remaining` from `now` on.
pub(crate) fn warning(env: &Env, now: OffsetDateTime, remaining: Duration) -> Option<String> {
    let given = |name: &str| env.get(name).filter(|value| !value.is_empty());
    given("AWS_ACCESS_KEY_ID").and(given("AWS_SESSION_TOKEN"))?;
    let may = format!("this step may take {} (--timeout)", minutes(remaining));
    let end = given("AWS_CREDENTIAL_EXPIRATION").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    match end {
        Some(end) if end <= now => Some(format!("the credentials have ended at {}", kit::clock(end))),
        Some(end) => {
            let left = (end - now).unsigned_abs();
            (left < remaining).then(|| {
                format!(
                    "the credentials end at {}, in {}, and {may}: ask for a longer session, or set a shorter --timeout",
                    kit::clock(end),
                    minutes(left)
                )
            })
        }
        None => (env.in_github_job() && remaining > USUAL).then(|| {
            format!(
                "{may}, and a job's AWS session lasts an hour unless role-duration-seconds says more; AWS_CREDENTIAL_EXPIRATION would tell"
            )
        }),
    }
}

fn minutes(time: Duration) -> String {
    match time.as_secs().div_ceil(60) {
        1 => "a minute".to_owned(),
        minutes if minutes >= 120 && minutes.is_multiple_of(60) => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    const SESSION: (&str, &str) = ("AWS_SESSION_TOKEN", "token");
    const JOB: (&str, &str) = ("GITHUB_ACTIONS", "true");

    fn warned(env: &[(&str, &str)], minutes: u64) -> Option<String> {
        let now = OffsetDateTime::parse("2026-11-22T08:00:00Z", &Rfc3339).unwrap();
        warning(&env.iter().copied().collect::<Env>(), now, Duration::from_mins(minutes))
    }

    #[test]
    fn a_session_that_ends_first_is_told() {
        let end = ("AWS_CREDENTIAL_EXPIRATION", "2026-11-22T08:42:00+00:00");
        let said = warned(&[KEY, SESSION, end], 120).unwrap();
        assert!(said.contains("2026-11-22 08:42:00 UTC") && said.contains("in 42 minutes"), "{said}");
        assert!(said.contains("2 hours"), "{said}");
        assert_eq!(warned(&[KEY, SESSION, end], 41), None);
        assert!(warned(&[KEY, SESSION, ("AWS_CREDENTIAL_EXPIRATION", "2026-11-22T07:59:59Z")], 1).is_some());
    }

    #[test]
    fn of_a_job_without_an_end_the_usual_hour_is_taken() {
        assert!(warned(&[KEY, SESSION, JOB], 61).unwrap().contains("61 minutes"));
        assert_eq!(warned(&[KEY, SESSION, JOB], 60), None);
        let malformed = ("AWS_CREDENTIAL_EXPIRATION", "soon");
        assert!(warned(&[KEY, SESSION, JOB, malformed], 61).is_some());
        assert_eq!(warned(&[KEY, SESSION], 600), None);
    }

    #[test]
    fn what_the_sdk_renews_or_never_ends_is_no_matter() {
        let end = ("AWS_CREDENTIAL_EXPIRATION", "2026-11-22T08:01:00Z");
        assert_eq!(warned(&[JOB, end], 600), None);
        assert_eq!(warned(&[KEY, ("AWS_SESSION_TOKEN", ""), JOB, end], 600), None);
    }
}
