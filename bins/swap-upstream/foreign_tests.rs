//! Whatever the file has in it: it is read to its end or refused, and an edit changes the server and nothing else.

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::edit::{Swap, edit, revert, servers};
use crate::lock::{Found, Lock};
use crate::place::Proxy;
use crate::script::Answer;
use crate::tree;

const SWAP: &str = "app=old.example.org:8080..new.example.org:8080";

fn swaps() -> Vec<Swap> {
    vec![SWAP.parse().unwrap()]
}

/// That an edit can be taken back byte for byte, and that a second one finds nothing to do.
fn holds(text: &[u8]) {
    let swaps = swaps();
    let _ = servers(text, &swaps);
    let Ok(edited) = edit(text, &swaps) else { return };
    assert!(revert(&edited.text, &edited.replaced).as_deref() == Some(text));
    let (old, new) = (swaps[0].old.len(), swaps[0].new.len());
    let written: usize = edited.replaced.iter().map(|one| one.old.len()).sum();
    assert_eq!(edited.text.len() + written, text.len() + edited.replaced.len() * new);
    assert!(
        edited.replaced.iter().all(|one| one.old.len() >= old),
        "an escape makes it longer, never shorter"
    );
    let again = edit(&edited.text, &swaps).unwrap();
    assert!(again.text == edited.text && again.replaced.is_empty());
}

#[test]
fn every_text_of_the_corpus_is_read_or_refused() {
    for (name, text) in corpus("nginx") {
        holds(&text);
        if name.contains("valid") {
            assert_eq!(edit(&text, &swaps()).unwrap().replaced.len(), 1, "{name}");
        }
    }
    for text in &hostile() {
        holds(text);
    }
    for (_, text) in &recorded("nginx's configuration", 100_000) {
        holds(text);
    }
}

#[test]
fn blocks_in_each_other_come_to_an_end() {
    for depth in [150, 100_000] {
        let text = format!("{}{}", "a {".repeat(depth), "}".repeat(depth));
        assert_eq!(tree::read(text.as_bytes()).is_ok(), depth == 150);
    }
}

/// What may stand around an upstream in a file.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("worker_processes auto;"),
        Just("# upstream app { server old.example.org:8080; }"),
        Just("log_format main '$remote_addr \"$request\" {';"),
        Just("map $host $name { default \"}\"; ~^(?<n>.+)$ ${n}; }"),
        Just("upstream other { server old.example.org:8080; }"),
        Just("\tlocation ~ \\.php$ { return 200 'a;b\\'{'; }\r"),
        Just("content_by_lua_block { local s = \"}\" -- }\n }"),
        Just("add_header X \"caf\u{e9}\\\"\";"),
        Just(""),
    ];
    proptest::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_file_with_mistakes_is_read_or_refused(text in mistaken(seeds("nginx"))) {
        holds(text.as_bytes());
    }

    #[test]
    fn a_lock_is_read_as_it_was_written(
        release in "[A-Za-z0-9 ._:/+-]{1,30}", run in "[0-9a-f-]{1,36}", before in "[0-9a-f]{64}", after in "[0-9a-f]{64}", expires in any::<i64>(),
    ) {
        let lock = Lock { release, run, before, after, expires, done: false };
        let text = format!("{}expires: {expires}\n", lock.lines());
        prop_assert_eq!(Lock::read(&text), Some(lock.clone()));
        // Lines of tomorrow change nothing.
        let later = text.replacen("run: ", "of-tomorrow: x\nrun: ", 1);
        prop_assert_eq!(Lock::read(&later), Some(lock));
    }

    /// Whoever holds it: a part of it, or one with a line twice, is nobody's, and is over for nobody.
    #[test]
    fn a_lock_that_is_cut_off_is_not_over(expires in 1_000_000_000..9_999_999_999_i64, at in any::<proptest::sample::Index>(), twice in 1..6_usize) {
        let lock = Lock { release: "v37".into(), run: "r".into(), before: "b".into(), after: "a".into(), expires, done: false };
        let text = format!("{}expires: {expires}\n", lock.lines());
        let part = &text[..at.index(text.len())];
        let line = text.lines().nth(twice).map(|line| format!("{line}\n")).unwrap_or_default();
        for broken in [part.to_owned(), text.replacen(&line, &format!("{line}{line}"), usize::from(!line.is_empty()))] {
            let found = Found::of(&broken, "s".into(), i64::MAX);
            prop_assert!(broken == text || !found.may_take("v37") && !found.may_take("v38"), "{}", broken);
        }
    }

    /// What a login prints around it, and what it holds, is no part of an answer that is not whole.
    #[test]
    fn an_answer_of_a_proxy_is_read_whole_or_not_at_all(
        before in anything(), after in anything(), keys in proptest::collection::vec(("[a-z]{1,8}", "[A-Za-z0-9+/=]{0,12}"), 0..5), at in any::<proptest::sample::Index>(),
    ) {
        let lines: String = keys.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        let inner = format!("begin m4rk\n{lines}end m4rk\n");
        let answer = Answer::read(&format!("{before}{inner}{after}"), "m4rk").unwrap();
        for (key, value) in &keys {
            prop_assert!(answer.all(key).contains(value));
        }
        prop_assert_eq!(Answer::read(&format!("{before}{}", &inner[..at.index(inner.len())]), "m4rk"), None);
        let _ = (answer.outcome(), answer.why(), answer.number("now"), answer.texts("file"));
    }

    #[test]
    fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        holds(&text);
    }

    #[test]
    fn the_server_alone_is_replaced(
        before in lines(), after in lines(), quote in prop_oneof![Just(""), Just("'"), Just("\"")],
        others in prop_oneof![Just(""), Just(" weight=5 max_fails=3"), Just(" backup")],
    ) {
        let file = |server: &str| format!(
            "{before}\nupstream app {{ keepalive 8;\n  server {quote}{server}{quote}{others}; server spare; }}\n{after}"
        );
        let edited = edit(file("old.example.org:8080").as_bytes(), &swaps()).unwrap();
        prop_assert_eq!(String::from_utf8(edited.text).unwrap(), file("new.example.org:8080"));
    }

    #[test]
    fn a_flag_is_read_or_refused(text in anything()) {
        if let Ok(swap) = text.parse::<Swap>() {
            prop_assert_eq!(swap.to_string().parse::<Swap>().unwrap(), swap);
        }
        if let Ok(proxy) = text.parse::<Proxy>() {
            prop_assert!(!proxy.path.chars().any(char::is_control) && proxy.path.starts_with('/'));
        }
    }

    /// What a name of a server that is taken may hold: nothing that nginx or a shell would read.
    #[test]
    fn no_server_breaks_out_of_its_word(text in mistaken(vec![SWAP.to_owned()])) {
        if let Ok(swap) = text.parse::<Swap>() {
            let plain = |server: &str| server.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":./_[]-".contains(&byte));
            prop_assert!(plain(&swap.old) && plain(&swap.new), "{}", swap);
        }
    }
}
