//! Versions in their spellings, as tables.

use crate::scheme::{Part, Pattern, Version, parse_spelling};

fn pattern(text: &str) -> Pattern {
    Pattern::scheme(text).unwrap()
}

fn read(scheme: &str, text: &str) -> Version {
    pattern(scheme).read(text).unwrap_or_else(|| panic!("{text} is not of {scheme}"))
}

const RALLY: &str = "v{major}.{minor}.{patch}[.{build}]";

#[test]
fn rallys_three_spellings_are_one_version() {
    // The runbook's own: tag, version.properties and image of one release; and the hotfix that served before it.
    let file = Pattern::parse("{major}.{minor}.{patch}.{build}-RELEASE").unwrap();
    let image = Pattern::parse("RALLY-V{major}_{minor}_{patch}_{build}-RELEASE").unwrap();
    for (tag, in_file, of_image) in [
        ("v2.1.0", "2.1.0.0-RELEASE", "RALLY-V2_1_0_0-RELEASE"),
        ("v2.0.1.11", "2.0.1.11-RELEASE", "RALLY-V2_0_1_11-RELEASE"),
    ] {
        let version = read(RALLY, tag);
        assert_eq!(file.write(&version).as_deref(), Some(in_file));
        assert_eq!(image.write(&version).as_deref(), Some(of_image));
        assert_eq!(file.read(in_file), Some(version.clone()));
        assert_eq!(image.read(of_image), Some(version));
    }
}

#[test]
fn what_a_spelling_has_no_place_for_is_not_lost_silently() {
    let three = Pattern::parse("{major}_{minor}_{patch}").unwrap();
    assert_eq!(three.write(&read(RALLY, "v2.0.1.11")), None);
    assert_eq!(three.write(&read("semver", "v2.0.1-rc.1")), None);
    assert_eq!(three.write(&read("semver", "v2.0.1")).as_deref(), Some("2_0_1"));
}

#[test]
fn only_what_is_written_exactly_so_is_of_the_scheme() {
    for (scheme, others) in [
        ("semver", &["2.1.0", "v2.1", "v02.1.0", "v2.1.0.0", "V2.1.0", "v2.1.0 ", "version2.1.0", "v"][..]),
        ("vN.M", &["v39", "v39.0.1", "39.0", "v39.x", "v39hotfix1"]),
        ("sprintN", &["sprint", "sprint12a", "sprint012", "Sprint12"]),
        (RALLY, &["v2.1.0.0", "v2.1", "v2.1.0."]),
    ] {
        for other in others {
            assert_eq!(pattern(scheme).read(other), None, "{other} as {scheme}");
        }
    }
}

#[test]
fn precedence_is_by_number_and_a_prerelease_is_below_its_release() {
    // The examples of https://semver.org/#spec-item-11.
    let order = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.9.0",
        "1.10.0",
    ];
    let read: Vec<Version> = order.iter().map(|text| read("{semver}", text)).collect();
    assert!(read.is_sorted());
}

#[test]
fn the_next_version_of_each_scheme() {
    for (scheme, now, part, next) in [
        ("semver", "v1.9.3", Part::Patch, "v1.9.4"),
        ("semver", "v1.9.3", Part::Minor, "v1.10.0"),
        ("semver", "v1.9.3", Part::Major, "v2.0.0"),
        ("semver", "v2.0.0-rc.1", Part::Patch, "v2.0.0"),
        ("semver", "v2.0.0-rc.1", Part::Major, "v2.0.0"),
        ("semver", "v2.1.0-rc.1", Part::Major, "v3.0.0"),
        ("semver", "v2.1.1-rc.1", Part::Minor, "v2.2.0"),
        ("semver", "v1.0.0+linux", Part::Patch, "v1.0.1"),
        ("vN.M", "v38.0", Part::Major, "v39.0"),
        ("vN.M", "v38.0", Part::Minor, "v38.1"),
        ("sprintN", "sprint12", Part::Major, "sprint13"),
        (RALLY, "v2.0.1.11", Part::Minor, "v2.1.0"),
        (RALLY, "v2.1.0", Part::Build, "v2.1.0.1"),
    ] {
        let scheme = pattern(scheme);
        let version = scheme.read(now).unwrap().next(part);
        assert_eq!(scheme.write(&version).as_deref(), Some(next), "{now} {part:?}");
    }
}

#[test]
fn the_bare_version_is_without_what_stands_around_it() {
    assert_eq!(pattern("semver").bare("v1.2.3-rc.1"), "1.2.3-rc.1");
    assert_eq!(pattern("sprintN").bare("sprint12"), "12");
    assert_eq!(pattern("R{major}_{minor}-RELEASE").bare("R2_1-RELEASE"), "2_1");
}

#[test]
fn a_pattern_that_could_be_read_in_two_ways_is_refused() {
    for wrong in [
        "v",
        "{major}{minor}",
        "{major}0",
        "{major}.{major}",
        "{semver}.{build}",
        "v{x}",
        "v{major",
        "[x]",
        "v{major}]",
        "[[{major}]]",
        "{minor}.{major}",
        "v{minor}",
        "V1.2",
    ] {
        assert!(Pattern::scheme(wrong).is_err(), "{wrong}");
    }
    assert!(parse_spelling("image").is_err() && parse_spelling("tag={major}").is_err());
}
