//! Whether what a DNS server answers is what the record sets say. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use dns::{Data, Kind, Record};

use crate::record_set::RecordSet;

/// The type to ask for: a CNAME is asked for by itself, since a zone's own server does not follow it out of its zones.
pub(crate) fn kind(sets: &[RecordSet]) -> Kind {
    let has = |kind: &str| sets.iter().any(|set| set.kind == kind);
    if has("CNAME") {
        Kind::Cname
    } else if has("A") || !has("AAAA") {
        Kind::A
    } else {
        Kind::Aaaa
    }
}

/// The names whose addresses the sets lead to.
pub(crate) fn leads_to(sets: &[RecordSet]) -> Vec<String> {
    let mut names: Vec<String> = sets
        .iter()
        .flat_map(|set| match &set.alias {
            Some(alias) => vec![dns::normal(&alias.name)],
            None if set.kind == "CNAME" => set.values.iter().map(|value| dns::normal(value)).collect(),
            None => Vec::new(),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The addresses that stand in the sets themselves.
pub(crate) fn plain(sets: &[RecordSet]) -> BTreeSet<IpAddr> {
    sets.iter()
        .filter(|set| set.kind != "CNAME")
        .flat_map(|set| &set.values)
        .filter_map(|value| value.parse().ok())
        .collect()
}

/// Whether the answer is that of one of the sets; `addresses` are those of what they lead to. Else what it is instead.
pub(crate) fn fits(
    name: &str,
    sets: &[RecordSet],
    answer: &[Record],
    addresses: &BTreeSet<IpAddr>,
) -> Result<(), String> {
    let cname = answer.iter().find_map(|record| match &record.data {
        Data::Cname(to) if record.name == dns::normal(name) => Some((to, record.ttl)),
        _ => None,
    });
    if kind(sets) == Kind::Cname {
        let wanted = leads_to(sets);
        return match cname {
            Some((to, _)) if wanted.contains(to) => Ok(()),
            Some((to, ttl)) => Err(format!("CNAME {to}, for another {ttl} s at most")),
            None => Err(shown(answer)),
        };
    }
    if let Some((to, ttl)) = cname {
        return Err(format!("CNAME {to}, for another {ttl} s at most"));
    }
    let wanted: BTreeSet<IpAddr> = plain(sets).union(addresses).copied().collect();
    let found: Vec<IpAddr> = answer
        .iter()
        .filter_map(|record| if let Data::Address(address) = record.data { Some(address) } else { None })
        .collect();
    // A load balancer has more addresses than one answer holds.
    if found.iter().any(|address| wanted.contains(address)) { Ok(()) } else { Err(shown(answer)) }
}

fn shown(answer: &[Record]) -> String {
    if answer.is_empty() {
        return "no such record".to_owned();
    }
    let each = answer.iter().map(|record| match &record.data {
        Data::Address(address) => address.to_string(),
        Data::Cname(name) => format!("CNAME {name}"),
        Data::Text(_) => "a text".to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_set::Alias;

    const NAME: &str = "api.theboss.io";

    fn record(name: &str, data: Data) -> Record {
        Record { name: name.into(), ttl: 290, data }
    }

    fn address(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    #[test]
    fn a_cname_must_be_the_very_one() {
        let sets = [RecordSet::simple(NAME, "CNAME", 60, "Page.test.")];
        assert_eq!(kind(&sets), Kind::Cname);
        let none = BTreeSet::new();
        let chain =
            [record(NAME, Data::Cname("page.test".into())), record("page.test", address("192.0.2.1"))];
        assert_eq!(fits(NAME, &sets, &chain, &none), Ok(()));
        let old = [
            record(NAME, Data::Cname("live.test".into())),
            record("live.test", Data::Cname("page.test".into())),
        ];
        assert_eq!(fits(NAME, &sets, &old, &none), Err("CNAME live.test, for another 290 s at most".into()));
        assert_eq!(fits(NAME, &sets, &[record(NAME, address("192.0.2.1"))], &none), Err("192.0.2.1".into()));
        assert_eq!(fits(NAME, &sets, &[], &none), Err("no such record".into()));
    }

    #[test]
    fn an_alias_answers_with_addresses_of_what_it_leads_to() {
        let mut set = RecordSet::simple(NAME, "A", 60, "");
        set.values.clear();
        set.alias = Some(Alias { zone: "Z1".into(), name: "ELB.test.".into(), evaluate_health: false });
        let sets = [set];
        assert_eq!((kind(&sets), leads_to(&sets)), (Kind::A, vec!["elb.test".to_owned()]));
        let of = BTreeSet::from(["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]);
        assert_eq!(fits(NAME, &sets, &[record(NAME, address("192.0.2.2"))], &of), Ok(()));
        assert_eq!(fits(NAME, &sets, &[record(NAME, address("192.0.2.9"))], &of), Err("192.0.2.9".into()));
        // Without knowing where it leads, nothing fits.
        assert!(fits(NAME, &sets, &[record(NAME, address("192.0.2.2"))], &BTreeSet::new()).is_err());
        let cname = [record(NAME, Data::Cname("page.test".into()))];
        assert!(fits(NAME, &sets, &cname, &of).is_err());
    }

    #[test]
    fn of_several_sets_any_may_answer() {
        let set = |value: &str| RecordSet::simple(NAME, "A", 60, value);
        let sets = [set("192.0.2.1"), set("192.0.2.2")];
        assert_eq!(fits(NAME, &sets, &[record(NAME, address("192.0.2.2"))], &BTreeSet::new()), Ok(()));
        assert_eq!(kind(&[RecordSet::simple(NAME, "AAAA", 60, "2001:db8::1")]), Kind::Aaaa);
    }
}
