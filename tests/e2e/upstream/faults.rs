//! One proxy fails: all are put back.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::*;

/// Both proxies are as they were, and nothing but the kept copies is left.
async fn put_back(world: &World, before: &[String]) {
    assert_eq!(world.texts(), before);
    assert_eq!(world.versions().await, vec!["v31"; before.len()]);
    for proxy in &world.proxies {
        assert!(proxy.files().iter().all(|name| name == ".nginx.conf.cutover-before"), "{:?}", proxy.files());
    }
}

/// A command that is nginx but for what it does when it is called with `flag`.
fn instead(world: &World, proxy: &Proxy, flag: &str, does: &str) -> String {
    let path = proxy.machine.path().join("bin/nginx-faulty");
    let script = format!(
        "#!/bin/sh\ngrep -q {} {} && [ \"$1\" = {flag} ] && {{ {does}; }}\nexec {} \"$@\"\n",
        world.new.server(),
        proxy.nginx.config.display(),
        proxy.nginx.program.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}={}", proxy.name, path.display())
}

/// The arguments with another value where `--FLAG=NAME=` begins.
fn with(args: &[String], flag: &str, name: &str, value: &str) -> Vec<String> {
    let begins = format!("{flag}={name}=");
    let rest = args.iter().filter(|arg| !arg.starts_with(&begins)).cloned();
    rest.chain([format!("{flag}={value}")]).collect()
}

#[tokio::test]
async fn a_configuration_that_nginx_refuses_is_put_back_unloaded() {
    for far in [[false, true], [true, true]] {
        let Some(world) = World::start(&far).await else { return };
        let before = world.texts();
        let workers: Vec<_> = world.proxies.iter().map(|proxy| workers(proxy.nginx.pid())).collect();
        let faulty = instead(
            &world,
            &world.proxies[1],
            "-t",
            "echo 'nginx: [emerg] host not found in upstream' >&2; exit 1",
        );
        let args = with(&world.args(), "--nginx", "backup", &faulty);
        world.cutover(&args, &["--receipt=r.json"]).await.expect(1).says(&[
            "test the configuration on backup",
            "host not found in upstream",
            "on stanford has its former bytes again; nginx was not reloaded",
            "on backup has its former bytes again; nginx was not reloaded",
            "nothing was changed",
        ]);
        put_back(&world, &before).await;
        // The workers are those that were there: nobody was cut off.
        let now: Vec<_> = world.proxies.iter().map(|proxy| super::workers(proxy.nginx.pid())).collect();
        assert_eq!(now, workers);
        // There is nothing to take back.
        let undo = world.cutover(&[], &["--undo=r.json"]).await.expect(0);
        assert!(undo.stdout.contains("nothing to take back"), "{}", undo.stdout);
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_as_nginx_tells_it() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let before = world.texts();
    let mut args = world.args();
    args.retain(|arg| !arg.starts_with("--swap"));
    args.push(format!("--swap=production={}..unix:/run/no/such/socket", world.old.server()));
    // nginx takes a socket that is not there; the answer of nobody shows.
    world.cutover(&args, &[]).await.expect(5).says(&["502 Bad Gateway", "putting all back"]);
    put_back(&world, &before).await;
    args.retain(|arg| !arg.starts_with("--swap"));
    args.push(format!("--swap=production={}..no-such-host.invalid", world.old.server()));
    // Asked beforehand, it is refused; else `nginx -t` says so once it is written, and it is put back.
    world.cutover(&args, &[]).await.expect(3).says(&["stanford: no-such-host.invalid: "]);
    args.retain(|arg| !arg.starts_with("--url") && !arg.starts_with("--expect"));
    let said = ["host not found in upstream \"no-such-host.invalid\""];
    world.cutover(&args, &["--no-fetch"]).await.expect(1).says(&said);
    put_back(&world, &before).await;
}

#[tokio::test]
async fn a_reload_that_fails_on_one_is_taken_back_on_all() {
    for far in [[false, true], [true, true]] {
        let Some(world) = World::start(&far).await else { return };
        let before = world.texts();
        let faulty = instead(&world, &world.proxies[1], "-s", "echo 'no reload today' >&2; exit 1");
        let args = with(&world.args(), "--nginx", "backup", &faulty);
        world.cutover(&args, &[]).await.expect(5).says(&[
            "reload nginx on backup",
            "no reload today",
            "on stanford has its former bytes again, and nginx was reloaded with them",
            "on backup has its former bytes again, and nginx was reloaded with them",
        ]);
        put_back(&world, &before).await;
    }
}

#[tokio::test]
async fn a_reload_that_does_nothing_is_noticed() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let before = world.texts();
    let faulty = instead(&world, &world.proxies[1], "-s", "exit 0");
    let mut args = with(&world.args(), "--nginx", "backup", &faulty);
    args.push("--settle=1s".to_owned());
    world.cutover(&args, &[]).await.expect(5).says(&[
        "see nginx on backup run the configuration that was reloaded",
        "2 workers with the former configuration go on",
        "its error log says why it did not take it",
    ]);
    put_back(&world, &before).await;
}

#[tokio::test]
async fn an_old_answer_through_one_proxy_puts_all_back() {
    for far in [[false, true], [true, true]] {
        let Some(world) = World::start(&far).await else { return };
        let before = world.texts();
        let mut args = world.args();
        args.extend(["--url=http://www.encode.test/fixed", "--settle=1s"].map(str::to_owned));
        world.cutover(&args, &["--receipt=r.json"]).await.expect(5).says(&[
            "see http://www.encode.test/fixed as wanted through stanford",
            "/version is \"v31\", want \"v37\"",
            "on backup has its former bytes again, and nginx was reloaded with them",
        ]);
        put_back(&world, &before).await;
    }
}

#[tokio::test]
async fn a_cancelled_release_puts_all_back() {
    for far in [[false, false], [false, true]] {
        let Some(world) = World::start(&far).await else { return };
        let before = world.texts();
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), world.dir.path());
        command.arg("swap-upstream").args(world.args());
        command
            .args(["--expect-json=/version=v99", "--settle=60s"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut story = BufReader::new(child.stderr.take().unwrap()).lines();
        // Both are switched, and the answer that is waited for will not come.
        while !story
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("to be as wanted through stanford: /version is")
        {}
        assert_eq!(world.versions().await, ["v37", "v37"]);
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        let mut rest = String::new();
        while let Some(line) = story.next_line().await.unwrap() {
            rest.push_str(&format!("{line}\n"));
        }
        assert_eq!(child.wait().await.unwrap().code(), Some(130), "{rest}");
        assert!(rest.contains("on backup has its former bytes again, and nginx was reloaded"), "{rest}");
        assert_eq!(world.texts(), before);
        // The way back is not waited for: the new workers are there within a moment.
        while world.versions().await != ["v31", "v31"] {}
    }
}

#[tokio::test]
async fn what_can_t_be_put_back_is_said() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let (first, second) = (&world.proxies[0], &world.proxies[1]);
    let before = world.texts();
    // While the second one's configuration is tested, somebody edits the first one's file.
    let faulty = instead(
        &world,
        second,
        "-t",
        &format!(
            "echo '# by hand' >> {}; echo 'nginx: [emerg] no' >&2; exit 1",
            first.nginx.config.display()
        ),
    );
    let args = with(&world.args(), "--nginx", "backup", &faulty);
    world.cutover(&args, &["--receipt=r.json"]).await.expect(4).says(&[
        "on stanford is NOT as it was",
        "somebody has changed it meanwhile",
        "on backup has its former bytes again",
    ]);
    assert_eq!(first.text(), format!("{}# by hand\n", world.swapped(&before[0])));
    assert_eq!(second.text(), before[1]);
    // Once that is taken out again, the same command goes on and ends.
    fs::write(&first.nginx.config, world.swapped(&before[0])).unwrap();
    world.cutover(&world.args(), &[]).await.expect(0);
    assert_eq!(world.versions().await, ["v37", "v37"]);
}
