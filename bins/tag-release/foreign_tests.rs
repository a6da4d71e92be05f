//! Laws of versions, and that no tag, message, object or file brings the reader down.

use std::cmp::Ordering;

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::commits;
use crate::files::{self, Writing};
use crate::others;
use crate::scheme::{Part, Pattern, Version, parse_spelling};
use crate::sign::object;

fn scheme(text: &str) -> Pattern {
    Pattern::scheme(text).unwrap()
}

const RALLY: &str = "v{major}.{minor}.{patch}[.{build}]";

/// Versions as semver writes them, close enough to each other to be compared often.
fn semver() -> impl Strategy<Value = Version> {
    let pre = prop_oneof![
        3 => Just(String::new()),
        2 => "-(alpha|beta|rc)(\\.(0|[1-9][0-9]?|x|y-z)){0,2}",
        1 => "-(0|[1-9][0-9]{0,2})",
    ];
    (0..3_u8, 0..3_u8, 0..3_u8, pre, prop_oneof![3 => Just(""), 1 => Just("+b1"), 1 => Just("+b.2")])
        .prop_map(|(major, minor, patch, pre, build)| {
            scheme("semver").read(&format!("v{major}.{minor}.{patch}{pre}{build}")).expect("a version")
        })
}

/// <https://semver.org/#spec-item-11>, word by word, on texts.
fn precedence(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.trim_start_matches('v').split('+').next().unwrap().to_owned();
        let (core, pre) = text
            .split_once('-')
            .map_or((text.clone(), None), |(core, pre)| (core.to_owned(), Some(pre.to_owned())));
        let core: Vec<u64> = core.split('.').map(|number| number.parse().unwrap()).collect();
        (core, pre)
    };
    let ((core, pre), (other_core, other_pre)) = (parts(one), parts(other));
    core.cmp(&other_core).then_with(|| match (pre, other_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(pre), Some(other)) => {
            let (pre, other): (Vec<&str>, Vec<&str>) = (pre.split('.').collect(), other.split('.').collect());
            for (one, other) in pre.iter().zip(&other) {
                let order = match (one.parse::<u64>(), other.parse::<u64>()) {
                    (Ok(one), Ok(other)) => one.cmp(&other),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => one.cmp(other),
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
            pre.len().cmp(&other.len())
        }
    })
}

fn text(version: &Version) -> String {
    scheme("semver").write(version).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn versions_are_in_semvers_order(a in semver(), b in semver(), c in semver()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        let specified = precedence(&text(&a), &text(&b));
        if specified != Ordering::Equal {
            prop_assert_eq!(a.cmp(&b), specified, "{} and {}", text(&a), text(&b));
        }
    }

    #[test]
    fn what_is_written_is_read_again(version in semver()) {
        prop_assert_eq!(scheme("semver").read(&text(&version)), Some(version));
    }

    #[test]
    fn what_is_counted_up_is_higher_and_a_release(version in semver(), part in 0..3_usize) {
        let part = [Part::Major, Part::Minor, Part::Patch][part];
        let next = version.next(part);
        prop_assert!(next > version && !next.is_prerelease());
        prop_assert_eq!(scheme("semver").read(&text(&next)), Some(next));
    }

    #[test]
    fn four_numbers_are_read_as_they_are_written(numbers in any::<[u32; 4]>()) {
        let [major, minor, patch, build] = numbers;
        let tail = if build == 0 { String::new() } else { format!(".{build}") };
        let tag = format!("v{major}.{minor}.{patch}{tail}");
        let version = scheme(RALLY).read(&tag).unwrap();
        let parts = [Part::Major, Part::Minor, Part::Patch, Part::Build].map(|part| version.number(part));
        prop_assert_eq!(parts, numbers.map(u64::from));
        prop_assert_eq!(scheme(RALLY).write(&version), Some(tag));
    }

    #[test]
    fn a_tag_is_of_the_scheme_or_not(tag in mistaken(seeds("versions")), other in anything()) {
        for pattern in ["semver", "vN.M", "sprintN", RALLY].map(scheme) {
            for tag in [&tag, &other] {
                if let Some(version) = pattern.read(tag) {
                    prop_assert_eq!(pattern.write(&version), Some(tag.clone()));
                    let _ = [Part::Major, Part::Build].map(|part| version.next(part));
                }
                let _ = (pattern.starts(tag), pattern.bare(tag));
            }
        }
    }

    #[test]
    fn a_pattern_is_read_or_refused(text in mistaken(vec![RALLY.to_owned(), "image=RALLY-V{major}_{minor}-R".to_owned(), "{semver}".to_owned()])) {
        for pattern in [Pattern::parse(&text), Pattern::scheme(&text), parse_spelling(&text).map(|spelling| spelling.pattern)].into_iter().flatten() {
            let version = Version::default().next(Part::Minor);
            if let Some(written) = pattern.write(&version).filter(|text| text.len() < 256) {
                prop_assert_eq!(pattern.read(&written), Some(version));
            }
        }
        let _ = (files::parse(&text), others::parse(&text), others::parse_submodule(&text));
    }

    #[test]
    fn a_message_is_read(text in mistaken(seeds("commits"))) {
        let read = commits::read(&text);
        prop_assert!(read.subject.len() <= text.len());
        prop_assert!(!read.subject.contains('\n'));
    }

    #[test]
    fn a_tag_object_is_read_or_refused(text in mistaken(seeds("git-tags"))) {
        if let Some(object) = object::parse(&text) {
            prop_assert!(text.contains(&object.message));
        }
        let _ = object::checked(true, &text, false);
    }

    #[test]
    fn of_a_version_file_the_version_alone_changes(content in mistaken(seeds("version-files")), flag in proptest::sample::select(FLAGS)) {
        keeps_the_rest(flag, content.as_bytes());
    }
}

const FLAGS: &[&str] = &[
    "f=properties:version",
    "f=toml:package.version",
    "f=toml:package[name=rally].version",
    "f=json:version",
    "f=json:packages..version",
    "f=yaml:version",
    "f=yaml:image.tag={tag}",
    "f=text:rally:{version}",
];

/// If there is a place, the new version stands in it and every other byte is where it was.
fn keeps_the_rest(flag: &str, content: &[u8]) {
    let scheme = scheme("semver");
    let version = scheme.read("v7.0.0").unwrap();
    let writing = Writing { scheme: &scheme, spellings: &[], version: &version };
    let Ok(file) = files::parse(flag) else { return };
    let Ok(changed) = files::change(&file, content, writing) else { return };
    let at = content.iter().zip(&changed.content).take_while(|(one, other)| one == other).count();
    let tail = content
        .iter()
        .rev()
        .zip(changed.content.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    assert_eq!(changed.content.len() + changed.before.len(), content.len() + changed.after.len(), "{flag}");
    // What differs lies within the version that was there.
    assert!(at + tail + changed.before.len() >= content.len().min(changed.content.len()), "{flag}");
    assert!(String::from_utf8_lossy(&changed.content).contains(&changed.after));
    let again = files::change(&file, &changed.content, writing).unwrap();
    assert!(again.content == changed.content, "{flag}");
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let kinds = ["versions", "commits", "git-tags", "version-files"];
    let mut texts: Vec<Vec<u8>> = kinds.iter().flat_map(|kind| corpus(kind)).map(|(_, text)| text).collect();
    texts.extend(hostile());
    texts.extend(recorded("versions", 20_000).into_iter().map(|(_, text)| text));
    for bytes in &texts {
        for flag in FLAGS {
            keeps_the_rest(flag, bytes);
        }
        let text = String::from_utf8_lossy(bytes);
        let _ = (commits::read(&text), object::parse(&text), object::checked(true, &text, true));
        for line in text.lines().take(50) {
            let _ = ["semver", "vN.M", "sprintN", RALLY].map(|name| scheme(name).read(line));
            let _ = (Pattern::parse(line), files::parse(line), others::parse(line));
        }
    }
    for tag in seeds("versions").iter().flat_map(|text| text.lines()) {
        assert!(
            scheme("semver").read(tag).is_none_or(|version| version.next(Part::Major) > version),
            "{tag}"
        );
    }
}

/// The largest number has no next one; and who looks at a tag of any length does not look for ever.
#[test]
fn a_version_that_cannot_be_counted_on_is_none() {
    assert_eq!(scheme("vN.M").read("v18446744073709551615.0"), None);
    assert_eq!(scheme("semver").read("v1.0.18446744073709551615"), None);
    assert!(scheme("vN.M").read("v18446744073709551614.0").is_some());
    assert_eq!(scheme("semver").read(&format!("v1.0.0-{}", "a.".repeat(50_000))), None);
}
