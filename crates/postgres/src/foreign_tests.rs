//! URLs, service files and password files that somebody typed: read or refused, and no password in what is said.

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use crate::manifest::Manifest;
use crate::sources::{find_password, parse_service, parse_url};

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let kinds = ["database-urls", "service-files", "manifests"];
    let mut texts: Vec<Vec<u8>> = kinds.iter().flat_map(|kind| corpus(kind)).map(|(_, text)| text).collect();
    texts.extend(hostile());
    for bytes in &texts {
        let text = String::from_utf8_lossy(bytes);
        let _ = (
            parse_url(&text),
            parse_service(&text, "mydb"),
            find_password(&text, "localhost", "5432", "d", "app"),
        );
        if let Ok(manifest) = Manifest::parse(bytes) {
            assert_eq!(Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
            let _ = manifest.uri();
        }
    }
}

fn whole_manifest() -> serde_json::Value {
    let mut all = seeds("manifests").into_iter().filter(|text| Manifest::parse(text.as_bytes()).is_ok());
    serde_json::from_str(&all.next().unwrap()).unwrap()
}

/// RFC 3986's userinfo: all but unreserved characters encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_url_says_what_was_put_into_it(
        user in "[^\0]{1,9}", password in "[^\0]{1,9}", host in "[a-z0-9.-]{1,9}", port in 1..u16::MAX, dbname in "[^\0]{1,9}",
    ) {
        let url = format!("postgresql://{}:{}@{host}:{port}/{}", encoded(&user), encoded(&password), encoded(&dbname));
        let params = parse_url(&url).unwrap();
        for (key, value) in [("user", &user), ("password", &password), ("host", &host), ("dbname", &dbname)] {
            prop_assert_eq!(params.get(key), Some(value));
        }
        prop_assert_eq!(params.get("port"), Some(&port.to_string()));
    }

    /// A password with characters that should have been encoded becomes no other part of the URL, and no part of a message.
    #[test]
    fn no_password_is_shown_for_a_host(between in "[@/?#:&=%;\\[\\] ]{1,3}", host in "[a-z]{1,9}") {
        let url = format!("postgres://app:sekret{between}sekret@{host}/rally?sslmode=require");
        match parse_url(&url) {
            Err(why) => prop_assert!(!why.contains("sekret"), "{}", why),
            Ok(params) => {
                let others = params.iter().filter(|(key, value)| *key != "password" && format!("{key}{value}").contains("sekret"));
                prop_assert_eq!(others.count(), 0, "{:?}", params);
            }
        }
    }

    #[test]
    fn a_url_with_mistakes_is_read_or_refused(url in mistaken(seeds("database-urls"))) {
        if let Ok(params) = parse_url(&url) {
            prop_assert!(params.values().all(|value| !value.is_empty()));
        }
    }

    #[test]
    fn files_with_mistakes_are_read_or_refused(text in mistaken(seeds("service-files"))) {
        let _ = (parse_service(&text, "mydb"), parse_service(&text, "next"));
        let _ = find_password(&text, "localhost", "5432", "d", "app");
    }

    /// A field of a password file is written with its colons and backslashes escaped, and found again.
    /// <https://www.postgresql.org/docs/current/libpq-pgpass.html>
    #[test]
    fn a_password_is_found_as_it_was_written(fields in proptest::collection::vec("[a-z:\\\\ ]{1,8}", 5)) {
        prop_assume!(fields[..4].iter().all(|field| field != "*") && !fields[0].starts_with('#'));
        let line: Vec<String> = fields.iter().map(|field| field.replace('\\', "\\\\").replace(':', "\\:")).collect();
        let file = format!("# first\nother:1:*:x:y\n{}\n", line.join(":"));
        let found = find_password(&file, &fields[0], &fields[1], &fields[2], &fields[3]);
        prop_assert_eq!(found.as_ref(), Some(&fields[4]));
    }

    /// Of a manifest that was cut off, or that another version wrote, a guard must not believe a part.
    #[test]
    fn a_manifest_is_believed_whole_or_not_at_all(at in any::<proptest::sample::Index>(), schema in "cutover-backup/([2-9]|1[0-9])", value in anything()) {
        let whole = whole_manifest();
        let text = whole.to_string();
        let today = Manifest::parse(text.as_bytes()).unwrap();
        prop_assert!(Manifest::parse(&text.as_bytes()[..at.index(text.len())]).is_err());
        let mut later = whole;
        later["of_tomorrow"] = serde_json::json!([value]);
        prop_assert_eq!(Manifest::parse(later.to_string().as_bytes()), Ok(today));
        later["schema"] = schema.clone().into();
        let why = Manifest::parse(later.to_string().as_bytes()).unwrap_err();
        prop_assert!(why.contains(&schema), "{}", why);
    }

    #[test]
    fn numbers_and_times_of_a_manifest_are_taken_or_refused(
        field in proptest::sample::select(vec!["bytes", "parts", "started", "ended", "rung"]),
        value in proptest::sample::select(vec!["-1", "1.5", "18446744073709551616", "\"1\"", "null", "[]", "\"2026-11-21\"", "\"2026-13-01T00:00:00Z\"", "\"restored and more\""]),
    ) {
        let mut manifest = whole_manifest();
        manifest[field] = serde_json::from_str(value).unwrap();
        prop_assert!(Manifest::parse(manifest.to_string().as_bytes()).is_err());
    }

    #[test]
    fn a_manifest_with_mistakes_is_read_or_refused(text in mistaken(seeds("manifests"))) {
        if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
            prop_assert_eq!(Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
        }
    }
}
