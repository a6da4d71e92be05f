//! The operations of the services that name theirs by method and path alone.

/// The operation, where it is one that is known here.
///
/// Sources: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_Operations.html>,
/// <https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_Operations.html>
pub(super) fn operation(service: &str, method: &str, path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (_version, parts) = parts.split_first()?;
    Some(match (service, method, parts) {
        ("route53", "GET", ["hostedzone"]) => "ListHostedZones",
        ("route53", "POST", ["hostedzone"]) => "CreateHostedZone",
        ("route53", "GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("route53", "GET", ["hostedzone", _]) => "GetHostedZone",
        ("route53", "GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("route53", "POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("route53", "GET", ["change", _]) => "GetChange",
        ("cloudfront", "GET", ["distribution"]) => "ListDistributions",
        ("cloudfront", "POST", ["distribution"]) => "CreateDistribution",
        _ => return None,
    })
}
