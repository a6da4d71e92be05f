//! What is replaced, what is refused, and that nothing else is touched.

use crate::edit::{Edited, Swap, Unfit, contradiction, edit, revert};
use crate::token::Malformed;

fn swaps(texts: &[&str]) -> Vec<Swap> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn one(text: &str, swap: &str) -> Result<Edited, Unfit> {
    edit(text.as_bytes(), &swaps(&[swap]))
}

fn text(text: &str, swap: &str) -> String {
    String::from_utf8(one(text, swap).unwrap().text).unwrap()
}

/// ENCODE's proxy, commit 901611860 of its repository: two servers of two upstreams, and nothing else.
#[test]
fn the_edit_that_was_made_by_hand_comes_out_byte_for_byte() {
    let Some(inputs) = testkit::inputs::recorded("ENCODE's proxy") else { return };
    let history = inputs.join("ENCODE-DCC+encoded/proxy-history");
    let read = |name: &str| std::fs::read(history.join(name)).unwrap();
    let (before, after) = (read("901611860.parent.conf"), read("901611860.conf"));
    let swaps = swaps(&[
        "production=v31.production.encodedcc.org..v37.production.encodedcc.org",
        "test=v31-test.instance.encodedcc.org..v37-test.instance.encodedcc.org",
    ]);
    let edited = edit(&before, &swaps).unwrap();
    assert!(edited.text == after);
    assert_eq!(edited.replaced.len(), 2);
    assert!(revert(&edited.text, &edited.replaced).unwrap() == before);
    // A second run has nothing to replace.
    assert!(edit(&after, &swaps).unwrap() == Edited { text: after, replaced: Vec::new() });
}

#[test]
fn every_recorded_configuration_is_read_and_only_the_server_changes() {
    let Some(inputs) = testkit::inputs::recorded("ENCODE's proxies") else { return };
    let folder = inputs.join("ENCODE-DCC+encoded");
    let history = std::fs::read_dir(folder.join("proxy-history")).unwrap().map(|file| file.unwrap().path());
    let mut read = 0;
    for path in history.chain([folder.join("encode-proxy-nginx.conf")]) {
        let before = std::fs::read(&path).unwrap();
        let lines = String::from_utf8(before.clone()).unwrap();
        let server = lines.lines().find(|line| line.contains(".production.encodedcc.org")).unwrap();
        let server = server.trim().trim_start_matches("server ").trim_end_matches(';');
        let swap = swaps(&[&format!("production={server}..v99.production.encodedcc.org:8080")]);
        let edited = edit(&before, &swap).unwrap();
        let wanted = lines.replace(server, "v99.production.encodedcc.org:8080");
        assert!(edited.text == wanted.as_bytes(), "{}", path.display());
        read += 1;
    }
    assert_eq!(read, 5);
}

const PROXY: &str = "http { upstream a { server old:80 weight=5; server other; server spare backup; } }";

#[test]
fn the_address_alone_is_replaced() {
    assert_eq!(text(PROXY, "a=old:80..new"), PROXY.replace("old:80", "new"));
    assert_eq!(text(PROXY, "a=spare..unix:/run/app.sock"), PROXY.replace("spare", "unix:/run/app.sock"));
    assert_eq!(text(PROXY, "a=other..[2001:db8::7]:8080"), PROXY.replace("other", "[2001:db8::7]:8080"));
}

/// `@` is the server that is meant.
#[test]
fn a_server_is_found_by_grammar() {
    for template in [
        // Comments that look like what is meant, before, within and behind it.
        "# upstream a { server old; }\nhttp{upstream a{#server old;\nserver @;# server old;\n}}#upstream a {",
        // Quotes and escapes; `\a` is another name.
        "http { upstream 'a' { server \"@\" weight=1; } }",
        "http { upstream \\a { server old; } upstream a { server @; } }",
        "http { log_format x 'upstream a { server old; }' \"it's; }\"; upstream a { server @; } }",
        // One line, tabs, other ends of lines, no last one.
        "http\t{\tupstream\ta\t{\r\n\tserver\t@\t;\r\n}\r\n}\r\n",
        "upstream a{server @;}",
        "upstream a\n{\n  server\n    @\n  ;\n}",
        "stream { upstream a { server @; } }",
        // Variables with braces, and words with them inside.
        "http { map $x $y { default ${x}; \"~^{2}$\" 1; } upstream a { server @; } }",
        "http { server { location ~ \"^/a{2}$\" { return 200 \"}${x}\"; } } } upstream a { server @; }",
        "http { server { if ($http_x = \"a\") { return 405; } } upstream a { server @; } }",
        // Another upstream's server of that name.
        "http { upstream b { server old; } upstream a { server older; server @; } }",
        // Lua has strings and comments of its own.
        "http { content_by_lua_block { local s = \"}\" -- }\n --[[ } ]] local t = [=[ } ]] ]=] f({}) } upstream a { server @; } }",
        "http { include conf.d/*.conf; upstream a { keepalive 30; server @; } }",
    ] {
        let wanted = template.replace('@', "new.test:81");
        assert_eq!(text(&template.replace('@', "old"), "a=old..new.test:81"), wanted);
    }
}

/// Each byte but the server's own is what it was, and going back gives the first text again: over every text that comes of
/// these by putting one more byte in anywhere.
#[test]
fn whatever_is_around_it_stays() {
    let seeds = [
        PROXY,
        "user www;\r\nhttp {\r\n  upstream a { # old\r\n    server old:80; }\r\n}",
        "events {} http { upstream 'a' { server \"old:80\" max_fails=3; keepalive 30; } map $h $b { ~\"^}\\\"{\" ${x}; } }\n",
    ];
    let (mut made, mut refused) = (0, 0);
    for seed in seeds {
        for at in 0..=seed.len() {
            for byte in [b' ', b'\n', b'\r', b';', b'{', b'}', b'"', b'\'', b'\\', b'#', b'$', b'x', 0, 0xff]
            {
                let mut before = seed.as_bytes().to_vec();
                before.insert(at, byte);
                let Ok(edited) = edit(&before, &swaps(&["a=old:80..new.test"])) else {
                    refused += 1;
                    continue;
                };
                let [replaced] = edited.replaced.as_slice() else { panic!("{:?}", edited.replaced) };
                made += 1;
                let (head, tail) = edited.text.split_at(replaced.at);
                let tail = tail.strip_prefix(b"new.test").unwrap();
                assert_eq!(head, &before[..head.len()]);
                assert_eq!(&before[head.len()..head.len() + replaced.old.len()], replaced.old.as_bytes());
                assert_eq!(tail, &before[head.len() + replaced.old.len()..]);
                assert_eq!(revert(&edited.text, &edited.replaced).unwrap(), before);
                // What came out is so already.
                assert_eq!(edit(&edited.text, &swaps(&["a=old:80..new.test"])).unwrap().replaced, []);
            }
        }
    }
    assert!(made > 1000 && refused > 500, "{made} {refused}");
}

#[test]
fn what_is_not_there_once_is_refused() {
    let why = |before: &str, swap: &str| one(before, swap).unwrap_err().to_string();
    assert_eq!(why(PROXY, "b=old..new"), "it has no upstream b; its upstreams: a");
    assert_eq!(
        why(PROXY, "a=older..new"),
        "the upstream a has neither older nor new; its servers: old:80, other, spare"
    );
    assert_eq!(
        why("upstream a { server o; server o; }", "a=o..n"),
        "which server of the upstream a is meant can't be told; its servers: o, o"
    );
    assert_eq!(
        why("upstream a { server o; server n; }", "a=o..n"),
        "which server of the upstream a is meant can't be told; its servers: o, n"
    );
    assert_eq!(
        why("http { upstream a { server o; } }\nstream {\nupstream a { server o; } }", "a=o..n"),
        "it has several upstreams a, in the lines 1, 3"
    );
    assert_eq!(
        why("server {\nlocation / { proxy_pass http://o/x; } }", "a=o..n"),
        "it has no upstream a; its upstreams: none; in line 2, proxy_pass leads to o directly"
    );
    // A prefix is another server.
    assert!(why("upstream a { server old:8080; }", "a=old:80..new").contains("has neither old:80"));
}

#[test]
fn what_nginx_could_not_read_is_told_with_its_line() {
    let wrong = |text: &str| match one(text, "a=o..n").unwrap_err() {
        Unfit::Malformed(Malformed { line, why }) => (line, why),
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong("a;\n}"), (2, "unexpected }".to_owned()));
    assert_eq!(wrong("http {\n a b\n}"), (3, "unexpected }".to_owned()));
    assert_eq!(wrong("http {\n a;"), (1, "the block http is not closed".to_owned()));
    assert_eq!(wrong("a 'b\n;"), (1, "' is not closed".to_owned()));
    assert_eq!(wrong("\n;"), (2, "unexpected ;".to_owned()));
    assert_eq!(wrong("a \"b\"c;"), (1, "unexpected 'c' after a quote".to_owned()));
    assert_eq!(wrong("a b"), (1, "the file ends where a ; or { should be".to_owned()));
    assert_eq!(wrong("x_by_lua_block { \"}"), (1, "a block of Lua is not closed".to_owned()));
}

#[test]
fn a_swap_names_an_upstream_and_two_servers() {
    let swap: Swap = "a=v31:80..v37:8080".parse().unwrap();
    assert_eq!((swap.old.as_str(), swap.new.as_str()), ("v31:80", "v37:8080"));
    let swap: Swap = "a=[::1]:80..unix:/run/a.sock".parse().unwrap();
    assert_eq!((swap.old.as_str(), swap.new.as_str()), ("[::1]:80", "unix:/run/a.sock"));
    for wrong in [
        "",
        "a",
        "a=b",
        "a=b..",
        "=b..c",
        "a=b..b",
        "a=b..c;",
        "a=b..c d",
        "a=b..c:0",
        "a=b..c:65536",
        "a=b..c:x",
        "a=b..c:",
        "a=b..-c",
        "a=b..[::1",
        "a=b..[x]:80",
        "a=b..$c",
        "a{=b..c",
        "a=b..c\nd",
        "a=b..unix:run",
        "a=b...c",
        "a=b..http://c",
    ] {
        assert!(wrong.parse::<Swap>().is_err(), "{wrong}");
    }
}

#[test]
fn swaps_of_one_server_contradict_each_other() {
    for (texts, wrong) in [
        (["a=x..y", "b=x..y"], false),
        (["a=x..y", "a=v..w"], false),
        (["a=x..y", "a=x..y"], true),
        (["a=x..y", "a=x..z"], true),
        (["a=x..y", "a=z..y"], true),
        (["a=x..y", "a=y..x"], true),
    ] {
        assert_eq!(contradiction(&swaps(&texts)).is_some(), wrong, "{texts:?}");
    }
}

#[test]
fn what_was_changed_since_is_not_put_back() {
    let edited = one(PROXY, "a=old:80..new").unwrap();
    let mut other = edited.text.clone();
    let at = edited.replaced[0].at;
    other[at] = b'N';
    assert_eq!(revert(&other, &edited.replaced), None);
    assert_eq!(revert(b"", &edited.replaced), None);
}
