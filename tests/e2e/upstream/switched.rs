//! What a release does: switched on all proxies, seen, run again, taken back.

use super::*;

async fn there_and_back(far: &[bool]) {
    let Some(world) = World::start(far).await else { return };
    let before = world.texts();
    for proxy in &world.proxies {
        fs::set_permissions(&proxy.nginx.config, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let owner = |proxy: &Proxy| {
        let file = fs::metadata(&proxy.nginx.config).unwrap();
        (file.uid(), file.gid(), mode(&proxy.nginx.config))
    };
    let owners: Vec<_> = world.proxies.iter().map(owner).collect();
    assert_eq!(world.versions().await, ["v31", "v31"]);

    // A dry run shows what would be done and leaves nothing behind.
    let marks: Vec<_> = world.proxies.iter().map(Proxy::mark).collect();
    let dry = world.cutover(&world.args(), &["--dry-run"]).await.expect(0);
    let dry = dry.says(&[
        &format!("-        server {} max_fails=3;", world.old.server()),
        &format!("+        server {} max_fails=3;", world.new.server()),
        "reload nginx on stanford, once `nginx -t` is content on all",
    ]);
    assert!(dry.stdout.contains("dry run: 5 changes would be made"), "{}", dry.stdout);
    assert_eq!(world.proxies.iter().map(Proxy::mark).collect::<Vec<_>>(), marks);
    assert!(world.proxies.iter().all(|proxy| proxy.files().is_empty()));

    let done = world.cutover(&world.args(), &["--receipt=r.json", "--format=json"]).await.expect(0).json();
    assert_eq!(done["headline"], format!("production leads to {} on stanford, backup", world.new.server()));
    assert_eq!(done["outputs"]["servers"], format!("production={}", world.new.server()));
    assert_eq!((&done["outputs"]["edited"], &done["outputs"]["reloaded"]), (&"2".into(), &"2".into()));
    let wanted: Vec<String> = before.iter().map(|text| world.swapped(text)).collect();
    assert_eq!(world.texts(), wanted);
    assert_eq!(world.versions().await, ["v37", "v37"]);
    assert_eq!(world.proxies.iter().map(owner).collect::<Vec<_>>(), owners);
    for (proxy, before) in world.proxies.iter().zip(&before) {
        // No lock and no temporary file stays; the former file does, under a name that no `include *` takes.
        assert_eq!(proxy.files(), [".nginx.conf.cutover-before"]);
        assert_eq!(fs::read_to_string(proxy.beside(".nginx.conf.cutover-before")).unwrap(), *before);
    }

    // The second run writes nothing, and sees the new server all the same.
    let marks: Vec<_> = world.proxies.iter().map(Proxy::mark).collect();
    let again = world.cutover(&world.args(), &[]).await.expect(0).says(&[
        "nothing to do",
        "stanford: the file is as wanted, and nginx has read it",
        "/version is \"v37\"",
    ]);
    assert!(again.stdout.contains("changed=false"), "{}", again.stdout);
    assert_eq!(world.proxies.iter().map(Proxy::mark).collect::<Vec<_>>(), marks);

    world.cutover(&[], &["--undo=r.json"]).await.expect(0);
    assert_eq!(world.texts(), before);
    assert_eq!(world.versions().await, ["v31", "v31"]);
    assert_eq!(world.proxies.iter().map(owner).collect::<Vec<_>>(), owners);
    let none = world.cutover(&[], &["--undo=r.json"]).await.expect(0);
    assert!(none.stdout.contains("nothing to take back"), "{}", none.stdout);
}

#[tokio::test]
async fn one_here_and_one_far_away_there_and_back() {
    there_and_back(&[false, true]).await;
}

#[tokio::test]
async fn two_far_away_there_and_back() {
    there_and_back(&[true, true]).await;
}

#[tokio::test]
async fn production_and_test_are_swapped_in_one_run_by_a_link() {
    let Some(world) = World::start(&[false]).await else { return };
    let proxy = &world.proxies[0];
    let link = world.dir.path().join("nginx.conf");
    std::os::unix::fs::symlink(&proxy.nginx.config, &link).unwrap();
    let before = proxy.text();
    let mut args = world.args();
    args[0] = format!("--proxy=stanford={}", link.display());
    args.extend([world.swap("test"), "--url=http://www.encode.test/test".to_owned()]);
    world
        .cutover(&args, &[])
        .await
        .expect(0)
        .says(&["is a link to", "http://www.encode.test/test: HTTP 200 OK"]);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let line = |server: &str| format!("upstream test {{ server {server}; }}");
    assert_eq!(
        proxy.text(),
        world.swapped(&before).replace(&line(&world.old.server()), &line(&world.new.server()))
    );
}

/// A person edits one file by hand and forgets to reload: the step sees that nginx has not read it.
#[tokio::test]
async fn a_file_that_nginx_has_not_read_is_loaded() {
    let Some(world) = World::start(&[false]).await else { return };
    let proxy = &world.proxies[0];
    let wanted = world.swapped(&proxy.text());
    // Ages are told apart by seconds: of an edit right after the start, nobody could tell.
    let older = "a worker of nginx is older than it";
    let seen = async || world.cutover(&world.args(), &["--dry-run"]).await.expect(0).stderr.contains(older);
    let mut clear = 0;
    while clear < 6 {
        fs::write(&proxy.nginx.config, &wanted).unwrap();
        clear += i32::from(seen().await);
    }
    assert_eq!(proxy.version().await, "v31");
    let ran = world.cutover(&world.args(), &[]).await.expect(0).says(&[older]);
    assert!(ran.stdout.contains("edited=0\nreceipt=") && ran.stdout.contains("reloaded=1"), "{}", ran.stdout);
    assert_eq!(proxy.version().await, "v37");
}

/// A release that is undone where somebody has been at work meanwhile takes nothing back, on no proxy.
#[tokio::test]
async fn a_file_that_was_changed_since_is_not_put_back() {
    let Some(world) = World::start(&[false, false]).await else { return };
    world.cutover(&world.args(), &["--receipt=r.json"]).await.expect(0);
    let second = &world.proxies[1];
    fs::write(&second.nginx.config, format!("{}# by hand\n", second.text())).unwrap();
    let texts = world.texts();
    world.cutover(&[], &["--undo=r.json"]).await.expect(3).says(&[
        "backup: ",
        "is not as that run left it",
        "nothing was changed",
    ]);
    assert_eq!(world.texts(), texts);
    assert_eq!(world.versions().await, ["v37", "v37"]);
}
