//! Which record sets lead a name to the page. Pure.

use kit::Failure;
use serde::Serialize;

use crate::record_set::{Alias, RecordSet, Routing, absolute, shown};

/// Where the page is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    /// As messages name it.
    pub(crate) what: String,
    pub(crate) dns: String,
    /// The hosted zone that an alias to it needs; none for a name that is not AWS's.
    pub(crate) alias_zone: Option<String>,
    /// Whether it has IPv6 addresses.
    pub(crate) ipv6: bool,
}

/// The sets that take the place of those that lead the name now: aliases where there are aliases or no CNAME may stand, else a
/// CNAME. Everything else of that name stays.
///
/// Source: <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-choosing-alias-non-alias.html>
pub(crate) fn page(
    name: &str,
    zone: &str,
    at_name: &[RecordSet],
    target: &Target,
    ttl: i64,
) -> Result<Vec<RecordSet>, Failure> {
    let attempt = || format!("lead {name} to {}", target.what);
    let others: Vec<&str> = at_name.iter().filter(|set| !set.leads()).map(|set| set.kind.as_str()).collect();
    let was_cname = at_name.iter().any(|set| set.kind == "CNAME");
    let apex = dns::normal(name) == dns::normal(zone);
    let cname_fits = !apex && others.is_empty();
    if dns::normal(&target.dns) == dns::normal(name) {
        return Err(Failure::refused(attempt())
            .because("that is the name itself")
            .help("name another place"));
    }
    let aliased = at_name.iter().any(|set| set.alias.is_some());
    if let Some(alias_zone) = &target.alias_zone
        && (aliased || !cname_fits)
        && !was_cname
    {
        let set = |kind: &str| RecordSet {
            name: absolute(name),
            kind: kind.to_owned(),
            ttl: None,
            values: Vec::new(),
            alias: Some(Alias {
                zone: alias_zone.clone(),
                name: absolute(&target.dns),
                evaluate_health: false,
            }),
            routing: Routing::default(),
        };
        let mut sets = vec![set("A")];
        if target.ipv6 {
            sets.push(set("AAAA"));
        }
        return Ok(sets);
    }
    if apex {
        return Err(Failure::refused(attempt())
            .because(format!("{name} is the zone's own name, where no CNAME may stand, and the page is not AWS's, so there is no alias to it"))
            .help("give the page a CloudFront distribution or a load balancer"));
    }
    if !others.is_empty() {
        return Err(Failure::refused(attempt())
            .because(format!(
                "{name} has records of the types {} too, and no CNAME may stand beside them ({} leads it now)",
                others.join(", "),
                shown(&at_name.iter().filter(|set| set.leads()).cloned().collect::<Vec<_>>())
            ))
            .help("give the page a CloudFront distribution or a load balancer, which an alias can lead to"));
    }
    Ok(vec![RecordSet::simple(name, "CNAME", ttl, absolute(&target.dns))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn elb() -> Target {
        Target {
            what: "the load balancer page".into(),
            dns: "page-1.elb.amazonaws.com".into(),
            alias_zone: Some("Z35SXDOTRQ7X7K".into()),
            ipv6: false,
        }
    }

    fn named() -> Target {
        Target { what: "page.test".into(), dns: "page.test".into(), alias_zone: None, ipv6: false }
    }

    fn alias() -> RecordSet {
        let mut set = RecordSet::simple("api.theboss.io", "A", 0, "");
        set.ttl = None;
        set.values.clear();
        set.alias =
            Some(Alias { zone: "Z1".into(), name: "live.elb.amazonaws.com.".into(), evaluate_health: true });
        set
    }

    fn of(at_name: &[RecordSet], target: &Target) -> Result<Vec<String>, Failure> {
        Ok(page("api.theboss.io", "theboss.io", at_name, target, 60)?
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    #[test]
    fn a_cname_stays_one_and_an_alias_too() {
        let cname = RecordSet::simple("api.theboss.io", "CNAME", 300, "live.test.");
        assert_eq!(
            of(std::slice::from_ref(&cname), &elb()).unwrap(),
            ["CNAME page-1.elb.amazonaws.com. (TTL 60)"]
        );
        assert_eq!(of(&[cname], &named()).unwrap(), ["CNAME page.test. (TTL 60)"]);
        assert_eq!(of(&[alias()], &elb()).unwrap(), ["A alias of page-1.elb.amazonaws.com"]);
        let both = Target { ipv6: true, ..elb() };
        assert_eq!(
            of(&[alias()], &both).unwrap(),
            ["A alias of page-1.elb.amazonaws.com", "AAAA alias of page-1.elb.amazonaws.com"]
        );
        // No alias leads to what is not AWS's.
        assert_eq!(of(&[alias()], &named()).unwrap(), ["CNAME page.test. (TTL 60)"]);
        let plain = RecordSet::simple("api.theboss.io", "A", 300, "192.0.2.7");
        assert_eq!(of(&[plain], &elb()).unwrap(), ["CNAME page-1.elb.amazonaws.com. (TTL 60)"]);
    }

    #[test]
    fn no_cname_stands_at_a_zone_s_own_name_nor_beside_other_records() {
        let text = RecordSet::simple("api.theboss.io", "TXT", 300, "\"v=spf1 -all\"");
        let refused = of(&[alias(), text.clone()], &named()).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(refused.chain()[0].contains("TXT"), "{:?}", refused.chain());
        assert_eq!(of(&[alias(), text], &elb()).unwrap(), ["A alias of page-1.elb.amazonaws.com"]);
        let apex = |target: &Target| page("theboss.io", "theboss.io.", &[alias()], target, 60);
        assert!(apex(&named()).unwrap_err().chain()[0].contains("own name"));
        assert_eq!(apex(&elb()).unwrap().len(), 1);
        let itself = Target { dns: "API.theboss.io.".into(), ..named() };
        assert!(of(&[alias()], &itself).unwrap_err().chain()[0].contains("the name itself"));
    }
}
