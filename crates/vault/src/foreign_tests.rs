//! Vault's answers, and those of what stands before it: read as they are or refused, and no secret in what is said of them.
//!
//! The answers of the corpus have the shapes of <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>,
//! <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v1>, <https://developer.hashicorp.com/vault/api-docs/system/health>
//! and <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, seeds};

use super::*;

const KIND: &str = "vault-answers";
/// What stands for a secret in the corpus.
const SECRET: &str = "s3kr3t-of-the-corpus";

fn text(name: &str) -> String {
    let found = corpus(KIND).into_iter().find(|(path, _)| path.ends_with(name));
    String::from_utf8(found.unwrap().1).unwrap()
}

/// Reads it as each of the answers; what is refused is not repeated.
fn read_all(status: StatusCode, body: &[u8]) {
    fn told<T: fmt::Debug>(answer: Result<Answer<T>, Failure>) -> Option<Answer<T>> {
        answer
            .map_err(|failure| {
                let said = format!("{failure:?} {failure}");
                // What Vault says of an error is shown; that is no place for a secret.
                assert!(!said.contains(SECRET) || said.contains("Vault answered"), "{said}");
            })
            .ok()
    }
    told::<Health>(judge("look", status, body));
    if let Some(Answer::Found(Data { data })) = told::<Data<Box<RawValue>>>(judge("look", status, body)) {
        told(object("look".to_owned(), data).map(Answer::Found));
    }
    told::<Data<Versioned>>(judge("look", status, body));
}

/// What a reader of version 2 makes of an answer: the secret, or that there is none.
fn secret(status: StatusCode, body: &[u8]) -> Result<Option<String>, Failure> {
    match judge::<Data<Versioned>>("read", status, body)? {
        Answer::Found(Data { data: Versioned { data: Some(data), .. } }) => {
            object("read".to_owned(), data).map(|data| Some(data.get().to_owned()))
        }
        Answer::Found(_) | Answer::Absent => Ok(None),
        Answer::Denied => Err(Failure::failed("read")),
    }
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    let mut all: Vec<Vec<u8>> = corpus(KIND).into_iter().map(|(_, text)| text).collect();
    all.extend(hostile());
    for body in &all {
        for status in [200, 204, 301, 400, 403, 404, 405, 412, 429, 473, 500, 503] {
            read_all(StatusCode::from_u16(status).unwrap(), body);
        }
    }
}

/// An export counts it as deleted, and leaves it out.
#[test]
fn a_secret_is_deleted_where_vault_says_so_and_nowhere_else() {
    let gone = |status, name: &str| matches!(secret(status, text(name).as_bytes()), Ok(None));
    assert!(gone(StatusCode::NOT_FOUND, "/nothing.json") && gone(StatusCode::NOT_FOUND, "/deleted-v2.json"));
    assert!(gone(StatusCode::OK, "/deleted-v2.json"));
    for (path, body) in corpus(KIND) {
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY]
        {
            let documented =
                ["/nothing.json", "/denied.json", "/deleted-v2.json"].iter().any(|name| path.ends_with(name))
                    || (status == StatusCode::NOT_FOUND
                        && serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["data"].is_object()));
            assert!(documented || !matches!(secret(status, &body), Ok(None)), "{path} with {status}");
        }
    }
    for body in [
        "",
        "<html>404 Not Found</html>",
        "404 page not found",
        "{}",
        "[]",
        "null",
        "{\"message\":\"no route\"}",
    ] {
        let failure = secret(StatusCode::NOT_FOUND, body.as_bytes()).unwrap_err();
        assert!(failure.chain()[0].contains("not the JSON"), "{body}: {failure:?}");
        let failure = judge::<Data<Versioned>>("read", StatusCode::FORBIDDEN, body.as_bytes()).unwrap_err();
        assert!(failure.chain()[0].contains("403 Forbidden"), "{body}: {failure:?}");
    }
}

#[test]
fn an_answer_that_is_cut_off_is_none() {
    for (name, whole) in
        [("/data-v2.json", text("/data-v2.json")), ("/deleted-v2.json", text("/deleted-v2.json"))]
    {
        for end in 0..whole.trim_end().len() {
            let failure = secret(StatusCode::OK, &whole.as_bytes()[..end]).unwrap_err();
            assert!(!format!("{failure:?}").contains("s3kr3t"), "{name} to {end}");
            assert!(secret(StatusCode::NOT_FOUND, &whole.as_bytes()[..end]).is_err(), "{name} to {end}");
        }
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let keys = |name: &str| -> Vec<String> {
        let Ok(Answer::Found(answer)) = judge::<Value>("list", StatusCode::OK, text(name).as_bytes()) else {
            panic!("{name}")
        };
        serde_json::from_value(answer["data"]["keys"].clone()).unwrap()
    };
    assert_eq!(named("list x/".to_owned(), keys("/list.json")).unwrap(), keys("/list.json"));
    for key in keys("/list-of-odd-names.json") {
        let failure = named("list x/".to_owned(), vec!["fine".to_owned(), key.clone()]).unwrap_err();
        assert!(failure.chain()[0].contains(&format!("{key:?}")), "{failure:?}");
    }
}

/// The text of a secret as somebody may write it: odd numbers, escapes and blanks are kept.
fn written() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        anything().prop_map(|text| Value::from(text).to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        select(vec![
            "\"\\u00e9\\/\"",
            "null",
            "true",
            "[ 1, 2 ]",
            "{ }",
            "{\"a\" : [ ]}",
            "\"\\ud834\\udd1e\""
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(("[a-z]{1,5}", select(vec![" ", "", "\t", "\n"]), value), 0..5).prop_map(
        |fields| {
            let fields: Vec<String> = fields
                .iter()
                .enumerate()
                .map(|(n, (name, blank, value))| format!("\"{name}{n}\"{blank}:{blank}{value}"))
                .collect();
            format!("{{{}}}", fields.join(" , "))
        },
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_answer_with_mistakes_is_read_or_refused(body in mistaken(seeds(KIND)), status in select(vec![200, 403, 404, 500])) {
        read_all(StatusCode::from_u16(status).unwrap(), body.as_bytes());
    }

    /// What Vault wrote comes through byte for byte: a digit that a float drops would be another secret.
    #[test]
    fn a_secret_is_read_as_it_was_written(written in written(), version in any::<u64>(), blank in select(vec!["", " ", "\r\n  "])) {
        let body = format!(
            "{{\"request_id\":\"x\",\"data\":{blank}{{\"metadata\":{{\"version\":{version},\"tomorrow\":[1]}},\"data\":{blank}{written}{blank}}}{blank}}}"
        );
        prop_assert_eq!(secret(StatusCode::OK, body.as_bytes()).unwrap(), Some(written.clone()));
        let body = format!("{{\"data\":{blank}{written}{blank},\"warnings\":[\"tomorrow\"]}}");
        let Answer::Found(answer) = judge::<Data<Box<RawValue>>>("read", StatusCode::OK, body.as_bytes()).unwrap() else { panic!() };
        let read = object("read".to_owned(), answer.data).unwrap();
        prop_assert_eq!(read.get(), &written);
    }

    /// A secret has names and values.
    #[test]
    fn what_is_no_object_is_no_secret(value in prop_oneof![anything().prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(json!([{"a": 1}]))]) {
        let body = json!({"data": {"data": value, "metadata": {"version": 1}}}).to_string();
        prop_assert!(secret(StatusCode::OK, body.as_bytes()).is_err());
        let failure = object("read".to_owned(), RawValue::from_string(value.to_string()).unwrap()).unwrap_err();
        let (value, said) = (value.to_string(), format!("{failure:?}"));
        prop_assert!(value.len() < 8 || !said.contains(&value), "{}", said);
    }

    #[test]
    fn numbers_out_of_range_are_refused(version in select(vec!["-1", "18446744073709551616", "1.5", "\"1\"", "null", "1e3"])) {
        let body = format!("{{\"data\":{{\"data\":{{}},\"metadata\":{{\"version\":{version}}}}}}}");
        prop_assert!(secret(StatusCode::OK, body.as_bytes()).is_err());
    }

    /// Every name that is taken is asked for by a URL that leads to it: below its folder, and nothing of it is a query.
    #[test]
    fn a_name_is_asked_for_as_it_is_listed(folders in proptest::collection::vec(anything(), 0..3), name in prop_oneof![anything(), "[.%2eE/]{1,6}"]) {
        let mut parts = folders.clone();
        parts.push(name.clone());
        let keys: Vec<String> = parts.iter().map(|part| format!("{part}/")).chain([name]).collect();
        if named("list".to_owned(), keys).is_err() {
            return Ok(());
        }
        let url = Url::parse(&format!("https://vault.test/v1/{}", encoded(&format!("secret/data/{}", parts.join("/"))))).unwrap();
        let asked: Vec<String> = url
            .path_segments()
            .unwrap()
            .skip(3)
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned())
            .collect();
        prop_assert_eq!(asked, parts);
        prop_assert!(url.query().is_none() && url.fragment().is_none());
    }

    /// Sealed or not is what the answer says, and an answer without it is no health.
    #[test]
    fn a_health_that_lacks_a_word_is_none(which in select(vec!["initialized", "sealed", "standby"]), value in prop_oneof![anything().prop_map(Value::from), Just(json!(0)), Just(json!("false")), Just(Value::Null)]) {
        let mut body: Value = serde_json::from_str(&text("/health.json")).unwrap();
        body[which] = value;
        prop_assert!(judge::<Health>("ask", StatusCode::OK, body.to_string().as_bytes()).is_err());
        body.as_object_mut().unwrap().remove(which);
        prop_assert!(judge::<Health>("ask", StatusCode::OK, body.to_string().as_bytes()).is_err());
    }
}
