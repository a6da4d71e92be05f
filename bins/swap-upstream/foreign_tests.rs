//! Whatever the file has in it: it is read to its end or refused, and an edit changes the server and nothing else.

use proptest::prelude::*;
use testkit::foreign::{anything, config, corpus, hostile, mistaken, recorded, seeds};

use crate::edit::{Swap, edit, revert, servers};
use crate::place::Proxy;
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
