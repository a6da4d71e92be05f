//! Amazon Resource Names (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).

use std::fmt;
use std::str::FromStr;

/// An ARN, by its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// The service's namespace, as in `ecs`.
    pub service: String,
    /// Empty for global services.
    pub region: String,
    /// The account's twelve digits; empty where the service has none.
    pub account: String,
    /// All that follows, colons and slashes included.
    pub resource: String,
}

impl FromStr for Arn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().map(str::to_owned);
        match (next(), next(), next(), next(), next(), next()) {
            (Some(arn), Some(partition), Some(service), Some(region), Some(account), Some(resource))
                if arn == "arn" && !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
            {
                Ok(Self { partition, service, region, account, resource })
            }
            _ => Err(format!("{text} is not an ARN (arn:partition:service:region:account:resource)")),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, service, region, account, resource } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_keeps_the_colons_of_its_resource() {
        let text = "arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:42";
        let arn: Arn = text.parse().unwrap();
        assert_eq!(
            (arn.account.as_str(), arn.resource.as_str()),
            ("676917001797", "task-definition/rally-prod:42")
        );
        assert_eq!(arn.to_string(), text);
        assert!("rally-prod:42".parse::<Arn>().is_err());
        assert!("arn:aws:ecs:us-east-1:676917001797:".parse::<Arn>().is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn an_arn_is_written_as_it_was_read(text in "(arn)?:?[a-z-]{0,6}(:[a-z0-9/ é:-]{0,9}){0,7}") {
            if let Ok(arn) = text.parse::<Arn>() {
                proptest::prop_assert_eq!(arn.to_string(), text);
            }
        }
    }
}
