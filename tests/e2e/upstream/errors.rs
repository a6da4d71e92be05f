//! What a user can get wrong, and what is said of it; nothing is changed by any of it.

use super::*;

async fn refused(world: &World, args: &[String], code: i32, texts: &[&str]) {
    let before: Vec<_> = world.proxies.iter().map(Proxy::mark).collect();
    world.cutover(args, &[]).await.expect(code).says(texts).says(&["nothing was changed"]);
    assert_eq!(world.proxies.iter().map(Proxy::mark).collect::<Vec<_>>(), before);
    assert!(world.proxies.iter().all(|proxy| proxy.files().is_empty()));
}

fn other_swap(world: &World, swap: &str) -> Vec<String> {
    let rest = world.args().into_iter().filter(|arg| !arg.starts_with("--swap"));
    rest.chain([format!("--swap={swap}")]).collect()
}

#[tokio::test]
async fn upstreams_and_servers_that_are_not_there_once() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let (old, new) = (world.old.server(), world.new.server());
    let there = "its upstreams: test, production";
    refused(
        &world,
        &other_swap(&world, &format!("prod={old}..{new}")),
        3,
        &["stanford: ", "backup: ", "it has no upstream prod", there],
    )
    .await;
    refused(
        &world,
        &other_swap(&world, &format!("production=v31..{new}")),
        3,
        &["has neither v31 nor", &format!("its servers: {old}")],
    )
    .await;
    let twice = &world.proxies[1];
    fs::write(
        &twice.nginx.config,
        twice.text().replace("keepalive 30;", &format!("server {old}; keepalive 30;")),
    )
    .unwrap();
    refused(&world, &world.args(), 3, &["backup: ", "can't be told; its servers"]).await;
}

#[tokio::test]
async fn an_nginx_that_is_not_sound_is_not_touched() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let (near, far) = (&world.proxies[0], &world.proxies[1]);
    let sound = far.text();
    fs::write(&far.nginx.config, sound.replace("worker_processes", "worker_process")).unwrap();
    refused(
        &world,
        &world.args(),
        3,
        &["backup: `nginx -t` fails there before any change", "unknown directive \"worker_process\""],
    )
    .await;
    fs::write(&far.nginx.config, sound.replace("keepalive 30;", "keepalive 30; }")).unwrap();
    refused(&world, &world.args(), 3, &["can't be read: unexpected }"]).await;
    fs::write(&far.nginx.config, &sound).unwrap();

    let place = |args: &[String], value: String| -> Vec<String> {
        args.iter()
            .map(|arg| if arg.starts_with("--proxy=stanford=") { value.clone() } else { arg.clone() })
            .collect()
    };
    // A part that nginx does not load.
    let stray = near
        .machine
        .write("nginx/stray.conf", &format!("upstream production {{ server {}; }}", world.old.server()))
        .unwrap();
    let args = place(&world.args(), format!("--proxy=stanford={}", stray.display()));
    let main =
        format!("--nginx=stanford={} -c {}", near.nginx.program.display(), near.nginx.config.display());
    let args: Vec<String> =
        args.into_iter().filter(|arg| !arg.starts_with("--nginx=stanford")).chain([main.clone()]).collect();
    refused(&world, &args, 3, &["stanford: nginx does not load"]).await;
    // A copy of the configuration with which nothing runs.
    let copy = near.machine.write("nginx/copy.conf", &near.text()).unwrap();
    let copied = place(&world.args(), format!("--proxy=stanford={}", copy.display()));
    refused(
        &world,
        &copied,
        3,
        &["stanford: the nginx that runs there was started with", "copy.conf, which would be tested"],
    )
    .await;
    // A main configuration that includes what has the upstream.
    let part = near.machine.write("nginx/part.conf", "upstream elsewhere { server 127.0.0.1:9; }\n").unwrap();
    let text = near.text();
    fs::write(
        &near.nginx.config,
        text.replace(
            "keepalive 30;\n    }\n",
            &format!("keepalive 30;\n    }}\n    include {};\n", part.display()),
        ),
    )
    .unwrap();
    refused(
        &world,
        &other_swap(&world, "elsewhere=127.0.0.1:9..127.0.0.1:10"),
        3,
        &["part.conf, which nginx loads too, seems to have it"],
    )
    .await;
    // That file can be named itself.
    let mut args: Vec<String> = world
        .args()
        .into_iter()
        .filter(|arg| {
            !arg.contains("backup")
                && !arg.starts_with("--swap")
                && !arg.starts_with("--nginx")
                && !arg.contains("expect")
        })
        .collect();
    args = place(&args, format!("--proxy=stanford={}", part.display()));
    args.extend([main, "--swap=elsewhere=127.0.0.1:9..127.0.0.1:10".to_owned()]);
    world.cutover(&args, &[]).await.expect(0);
    assert_eq!(fs::read_to_string(&part).unwrap(), "upstream elsewhere { server 127.0.0.1:10; }\n");
}

#[tokio::test]
async fn an_nginx_that_does_not_run_or_is_not_there() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let args: Vec<String> =
        world.args().into_iter().filter(|arg| !arg.starts_with("--nginx=backup")).collect();
    let absent = [args, vec!["--nginx=backup=/opt/no/nginx".to_owned()]].concat();
    refused(&world, &absent, 3, &["backup: `/opt/no/nginx` can't be run there", "say with --nginx"]).await;
    let pid = [world.args(), vec!["--pid-file=backup=/no/such.pid".to_owned()]].concat();
    refused(&world, &pid, 3, &["backup: nginx does not run there: there is no /no/such.pid"]).await;
    let mute = [world.args(), vec!["--connect-to=127.0.0.1:9".to_owned()]].concat();
    let mute: Vec<String> = mute.into_iter().filter(|arg| !arg.starts_with("--connect-to=backup")).collect();
    refused(
        &world,
        &mute,
        3,
        &["ask through every proxy before anything is changed", "connection refused by 127.0.0.1:9"],
    )
    .await;
}

#[tokio::test]
async fn files_that_can_t_be_read_or_replaced() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let (near, far) = (&world.proxies[0], &world.proxies[1]);
    let args: Vec<String> = world.args().iter().map(|arg| arg.replace("nginx.conf", "none.conf")).collect();
    refused(&world, &args, 1, &["none.conf on stanford", "there is no such file"]).await;
    fs::hard_link(&near.nginx.config, near.beside("other-name.conf")).unwrap();
    refused(&world, &world.args(), 3, &["stanford: ", "has 2 names (hard links)"]).await;
    fs::remove_file(near.beside("other-name.conf")).unwrap();
    let folder = far.nginx.config.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
    refused(&world, &world.args(), 3, &["backup: the folder", "can't be written to by this user", "--sudo"])
        .await;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&far.nginx.config, fs::Permissions::from_mode(0o000)).unwrap();
    refused(&world, &world.args(), 1, &["nginx.conf on backup", "mode 0", "add --sudo"]).await;
    fs::set_permissions(&far.nginx.config, fs::Permissions::from_mode(0o644)).unwrap();
}

#[tokio::test]
async fn machines_that_can_t_be_reached() {
    let Some(world) = World::start(&[true]).await else { return };
    let ssh = world.proxies[0].ssh.as_ref().unwrap();
    let rest = |without: &str, add: String| -> Vec<String> {
        world.args().into_iter().filter(|arg| !arg.starts_with(without)).chain([add]).collect()
    };
    let nobody = world.dir.path().join("nobody");
    fs::write(&nobody, "").unwrap();
    let unknown = rest(
        "--ssh-option=UserKnownHostsFile",
        format!("--ssh-option=UserKnownHostsFile={}", nobody.display()),
    );
    refused(
        &world,
        &unknown,
        1,
        &["run a script on stanford by ssh", "Host key verification failed", "known_hosts"],
    )
    .await;
    assert_eq!(fs::read_to_string(&nobody).unwrap(), "");
    let keyless =
        rest("--ssh-option=IdentityFile", format!("--ssh-option=IdentityFile={}", nobody.display()));
    refused(&world, &keyless, 1, &["Permission denied", "--ssh-option IdentityFile=FILE"]).await;
    let path = world.proxies[0].nginx.config.display().to_string();
    let no_host = rest("--proxy", format!("--proxy=stanford=ssh://no-such-host.invalid{path}"));
    refused(&world, &no_host, 1, &["no-such-host.invalid", "correct the host in --proxy"]).await;
    let deaf = rest("--proxy", format!("--proxy=stanford=ssh://{}@127.0.0.1:9{path}", ssh.user));
    refused(&world, &deaf, 1, &["Connection refused", "trying again", "see that the host is up"]).await;
    let odd = rest("--none", "--ssh-option=NoSuchOption=yes".to_owned());
    refused(&world, &odd, 1, &["correct --ssh-option"]).await;
}

#[tokio::test]
async fn arguments_that_can_t_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--swap=a=b..c", "--no-fetch"], &["--proxy"]),
        (&["--proxy=/x", "--swap=a=b", "--no-fetch"], &["write UPSTREAM=OLD..NEW"]),
        (&["--proxy=/x", "--swap=a=b..c"], &["nothing says what the new server answers", "--no-fetch"]),
        (&["--proxy=nginx.conf", "--swap=a=b..c", "--no-fetch"], &["write [NAME=]/PATH"]),
        (&["--proxy=/x", "--proxy=/y", "--swap=a=b..c", "--no-fetch"], &["have the same name"]),
        (&["--proxy=a=/x", "--proxy=b=/x", "--swap=a=b..c", "--no-fetch"], &["are the same file"]),
        (
            &["--proxy=/x", "--swap=a=b..c", "--swap=a=b..d", "--no-fetch"],
            &["the same server of the upstream a"],
        ),
        (
            &["--proxy=/x", "--swap=a=b..c", "--no-fetch", "--reload-command=service nginx restart"],
            &["cuts off every connection"],
        ),
        (&["--proxy=/x", "--swap=a=b..c", "--url=http://127.0.0.1/"], &["it has an address", "--connect-to"]),
    ];
    for (args, texts) in cases {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
        command.arg("swap-upstream").args(args);
        run(command).await.expect(2).says(texts);
    }
    let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
    command.args(["swap-upstream", "--proxy=ssh://u:hunter2@h/x", "--swap=a=b..c", "--no-fetch"]);
    let ran = run(command).await.expect(2).says(&["a password is seen in process lists"]);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

/// Users would be led to it before anybody sees that it is down.
#[tokio::test]
async fn a_server_that_is_down_is_noticed_from_the_proxies_beforehand() {
    let Some(world) = World::start(&[false, true]).await else { return };
    let dead = other_swap(&world, &format!("production={}..127.0.0.1:9", world.old.server()));
    refused(
        &world,
        &dead,
        3,
        &["stanford: 127.0.0.1:9: Connection refused", "backup: 127.0.0.1:9: Connection refused"],
    )
    .await;
    // One that is up and says something else is warned of: a proxy may ask it under another path.
    let other = [world.args(), vec!["--expect-json=/version=v99".to_owned()]].concat();
    let dry = world.cutover(&other, &["--dry-run"]).await.expect(0);
    for name in ["stanford", "backup"] {
        assert!(
            dry.stderr.contains(&format!(
                "{name}: {} itself is not as wanted: /version is \"v37\"",
                world.new.server()
            )),
            "{}",
            dry.stderr
        );
    }
}
