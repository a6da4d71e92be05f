use kit::Code;

use super::*;
use crate::scheme::parse_spelling;

const TAG: &str = "v2.1.0";

/// The content after the change, or why not.
fn changed(flag: &str, content: &[u8]) -> Result<Vec<u8>, (Code, String)> {
    let scheme = Pattern::scheme("v{major}.{minor}.{patch}[.{build}]").unwrap();
    let version = scheme.read(TAG).unwrap();
    let spellings = [parse_spelling("file={major}.{minor}.{patch}.{build}-RELEASE").unwrap()];
    let writing = Writing { scheme: &scheme, spellings: &spellings, version: &version };
    change(&parse(flag).unwrap(), content, writing)
        .map(|changed| changed.content)
        .map_err(|failure| (failure.code(), format!("{failure}: {}", failure.chain().join("; "))))
}

/// That the old version alone is replaced: `@` stands for it in `content`.
fn replaces(flag: &str, content: &str, old: &str, new: &str) {
    let before = content.replace('@', old);
    let after = changed(flag, before.as_bytes()).unwrap_or_else(|why| panic!("{flag}: {why:?}"));
    assert_eq!(String::from_utf8(after).unwrap(), content.replace('@', new), "{flag}");
}

fn refuses(flag: &str, content: &str, says: &str) {
    let (code, why) = changed(flag, content.as_bytes()).unwrap_err();
    assert_eq!(code, Code::Refused, "{why}");
    assert!(why.contains(says), "{says:?} is not in: {why}");
}

#[test]
fn properties() {
    // Rally's own file and the release before.
    let flag = "src/main/resources/version.properties=properties:version={file}";
    for content in [
        "version=@\n",
        "# version=1\r\nversion = @\r\nbuild=7\r\n",
        "other.version=1\nversion: @",
        "versions=1\nversion @ \n",
        "text=a \\\n  version=1\nversion=@\n",
        "#c\\\nversion=@\n",
    ] {
        replaces(flag, content, "2.0.1.11-RELEASE", "2.1.0.0-RELEASE");
    }
    refuses(flag, "versions=1\n", "does not have the key version");
    refuses(flag, "version=1\nversion=2\n", "2 times");
    refuses(flag, "version=2.0 \\\n .1\n", "goes on in the next line");
    refuses(flag, "version=2.2.0.0-RELEASE\n", "newer than 2.1.0.0-RELEASE");
    refuses("v.properties=properties:version", "version=2.0.1.11-RELEASE\n", "not written as");
    refuses(flag, "version=dev\n", "not written as");
    // Latin-1, as Java writes it.
    let latin = [b"name=Caf\xe9\nversion=".to_vec(), b"2.0.0.0-RELEASE\n".to_vec()].concat();
    let after = changed(flag, &latin).unwrap();
    assert_eq!(after, [b"name=Caf\xe9\nversion=".to_vec(), b"2.1.0.0-RELEASE\n".to_vec()].concat());
}

#[test]
fn toml() {
    let flag = "Cargo.toml=toml:package.version";
    for content in [
        "[package]\nname = \"rally\"\nversion = \"@\" # keep\n",
        "[dependencies]\nversion = \"9\"\n[ package ]\r\nversion='@'\r\n",
        "package.version = \"@\"\n",
        "package = { name = \"rally\", version = \"@\" }\n",
        "[a]\ntext = \"\"\"\n[package]\nversion = \"1\"\n\"\"\"\nlist = [\n  \"x\", # ]\n  { version = \"3\" },\n]\ndate = 2026-11-22T10:00:00Z\n[package]\n\"version\" = \"@\"",
    ] {
        replaces(flag, content, "2.0.9", "2.1.0");
    }
    let lock = "version = 4\n[[package]]\nname = \"other\"\nversion = \"2.0.9\"\n\n[[package]]\nname = \"rally\"\nversion = \"@\"\ndependencies = [\n \"other\",\n]\n";
    replaces("Cargo.lock=toml:package[name=rally].version", lock, "2.0.9", "2.1.0");
    refuses("Cargo.lock=toml:package.version", &lock.replace('@', "2.0.9"), "2 times");
    refuses("Cargo.lock=toml:package[name=ralley].version", lock, "does not have the key");
    refuses(flag, "[package]\nversion.workspace = true\n", "does not have the key package.version");
    refuses(flag, "[package]\nversion = \"1\n", "not TOML: a string has no end in line 2");
    refuses(flag, "[package\nversion = \"1\"\n", "header has no end");
}

#[test]
fn json() {
    let flag = "package.json=json:version";
    for content in [
        "{\n  \"name\": \"rally\",\n  \"version\": \"@\",\n  \"a\": {\"version\": \"1\"}\n}\n",
        "{\"x\":[1,{\"version\":\"2\"},\"\\\"version\\\":\"],\"version\" : \"@\"}",
    ] {
        replaces(flag, content, "2.0.9", "2.1.0");
    }
    let lock =
        "{\"version\":\"1\",\"packages\":{\"\":{\"version\":\"@\"},\"node_modules/a\":{\"version\":\"3\"}}}";
    replaces("package-lock.json=json:/packages//version", lock, "2.0.9", "2.1.0");
    replaces(
        "a.json=json:list.1.version",
        "{\"list\":[{\"version\":\"1\"},{\"version\":\"@\"}]}",
        "1.0.0",
        "2.1.0",
    );
    refuses(flag, "{\"version\": 2}", "does not have the key version");
    refuses(flag, "{\"version\": \"1\"", "not JSON");
    refuses(flag, "{\"version\": \"1.0.0\", \"version\": \"1.0.0\"}", "2 times");
}

#[test]
fn yaml() {
    let flag = "chart/Chart.yaml=yaml:appVersion={tag}";
    for content in [
        "apiVersion: v2 # é\nversion: 0.3.0\nappVersion: @   # served\n",
        "appVersion: \"@\"\r\nother: x\r\n",
        "dependencies:\n- name: a\n  appVersion: 9\nappVersion: '@'",
    ] {
        replaces(flag, content, "v2.0.9", "v2.1.0");
    }
    let nested = "image:\n  repository: rally\n  tag: @\nlist:\n  - {tag: a}\n  - {tag: b}\n";
    replaces("v.yaml=yaml:image.tag", nested, "2.0.9", "2.1.0");
    replaces("v.yaml=yaml:list.1.tag", "list:\n  - {tag: a}\n  - {tag: @}\n", "2.0.9", "2.1.0");
    refuses(flag, "appVersion: |\n  v1\n", "plain or quoted");
    refuses(flag, "a: [\n", "not YAML");
    refuses(flag, "appVersion: 1\n---\nappVersion: 2\n", "2 times");
}

#[test]
fn text() {
    replaces(
        "README.md=text:rally:{version}",
        "pull rally:@, not rally:x or rallye:1.0.0\n",
        "2.0.1.11",
        "2.1.0",
    );
    replaces("VERSION=text:{version}", "@\n", "2.0.9", "2.1.0");
    replaces(
        "a.txt=text:<version>{file}</version>",
        "<version>@</version>",
        "2.0.9.0-RELEASE",
        "2.1.0.0-RELEASE",
    );
    refuses("README.md=text:rally:{version}", "rally:2.0.0 and rally:2.0.1", "2 times");
    refuses("README.md=text:rally:{version}", "rally:latest", "does not have `rally:`");
    assert_eq!(changed("a=text:x{nothing}", b"x1").unwrap_err().0, Code::Usage);
}

#[test]
fn a_flag_says_path_format_and_key() {
    for wrong in [
        "a",
        "a=toml",
        "a=ini:x",
        "=toml:x",
        "/a=toml:x",
        "a/../b=toml:x",
        "a=toml:",
        "a=text:plain",
        "a=text:{a}{b}",
        "a=toml:x={y z}",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
