//! Killed between any two commands, and run again.

use super::*;
use crate::world::scrubbed;

/// Programs that stand before `sh` and `ssh`: they count, and where they are told to, kill the step that called them.
pub(crate) struct Switchman {
    pub(crate) folder: PathBuf,
}

impl Switchman {
    pub(crate) fn new(world: &World) -> Self {
        let folder = world.dir.path().join("front");
        fs::create_dir_all(&folder).unwrap();
        for name in ["sh", "ssh"] {
            let path = folder.join(name);
            let script = format!(
                "#!/bin/sh\ncd {folder}\nuntil mkdir busy 2>/dev/null; do :; done\nn=$(($(cat count) + 1))\necho $n >count\nrmdir busy\nread -r when <when\n[ \"$when\" != \"before $n\" ] || {{ : >struck; kill -9 $PPID; exit 1; }}\n[ \"$when\" != \"edit $n\" ] || . ./edit\nPATH=/usr/bin:/bin:$PATH {name} \"$@\"\ncode=$?\n[ \"$when\" != \"after $n\" ] || {{ : >struck; kill -9 $PPID; }}\nexit $code\n",
                folder = folder.display()
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// From the next command on, counted from 1, the switchman does what `when` says.
    pub(crate) fn told(&self, when: &str) {
        let _ = fs::remove_file(self.folder.join("struck"));
        fs::write(self.folder.join("count"), "0").unwrap();
        fs::write(self.folder.join("when"), format!("{when}\n")).unwrap();
    }

    /// How many commands there were since.
    pub(crate) fn count(&self) -> usize {
        fs::read_to_string(self.folder.join("count")).unwrap().trim().parse().unwrap()
    }

    /// Programs are looked for with the switchman first.
    pub(crate) fn before(&self, command: &mut tokio::process::Command) {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.folder.display()));
    }

    /// Runs the step; the switchman does what `when` says. Returns the number of commands with the run.
    async fn run(&self, world: &World, args: &[String], when: &str) -> (Ran, u32) {
        self.told(when);
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), world.dir.path());
        self.before(&mut command);
        command.arg("swap-upstream").args(args);
        let ran = run(command).await;
        (ran, u32::try_from(self.count()).unwrap())
    }
}

/// Everything as it was at first, so that the next switch begins as the first did.
async fn reset(world: &World, before: &[String]) {
    for (proxy, before) in world.proxies.iter().zip(before) {
        for name in proxy.files() {
            fs::remove_file(proxy.beside(&name)).unwrap();
        }
        fs::write(&proxy.nginx.config, before).unwrap();
        let old = workers(proxy.nginx.pid());
        proxy.nginx.reload();
        // The old ones end: there is no connection that they would have to finish.
        while workers(proxy.nginx.pid()).iter().any(|pid| old.contains(pid)) {
            proxy.version().await;
        }
    }
    assert_eq!(world.versions().await, ["v31", "v31"]);
}

/// After a command is before the next one: what the killed run had noted of it is gone with the run.
async fn killed_anywhere(far: &[bool], every: usize) {
    let Some(world) = World::start(far).await else { return };
    let switchman = Switchman::new(&world);
    let before = world.texts();
    let wanted: Vec<String> = before.iter().map(|text| world.swapped(text)).collect();
    let (ran, commands) = switchman.run(&world, &world.args(), "never").await;
    ran.expect(0);
    assert!(commands > 15, "{commands}");
    for point in (1..=commands).step_by(every) {
        reset(&world, &before).await;
        let (ran, made) = switchman.run(&world, &world.args(), &format!("after {point}")).await;
        // How often the workers are looked at varies from run to run.
        if ran.code == 0 && made < point {
            continue;
        }
        assert_eq!(ran.code, -1, "killed after {point}: {ran:?}");
        // No receipt of it is needed: what is there tells the rest.
        let again = world.cutover(&world.args(), &[]).await;
        assert_eq!(again.code, 0, "killed after {point}: {again:?}");
        assert_eq!(world.texts(), wanted, "killed after {point}");
        assert_eq!(world.versions().await, ["v37", "v37"], "killed after {point}");
        for proxy in &world.proxies {
            assert_eq!(proxy.files(), [".nginx.conf.cutover-before"], "killed after {point}");
        }
        let marks: Vec<_> = world.proxies.iter().map(Proxy::mark).collect();
        world.cutover(&world.args(), &[]).await.expect(0);
        assert_eq!(world.proxies.iter().map(Proxy::mark).collect::<Vec<_>>(), marks, "killed after {point}");
    }
}

#[tokio::test]
async fn killed_between_any_two_commands_and_run_again_it_ends_right() {
    killed_anywhere(&[false, false], 1).await;
}

#[tokio::test]
async fn killed_over_ssh_and_run_again_it_ends_right() {
    killed_anywhere(&[true, true], 6).await;
}

/// A release that is killed between the two proxies, and whose next run fails: the first proxy, which that next run never
/// edited, goes back too.
#[tokio::test]
async fn what_a_killed_run_began_is_put_back_with_the_rest() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let switchman = Switchman::new(&world);
    let before = world.texts();
    let mut point = 0;
    // The first instant at which one file is new and the other is not.
    loop {
        point += 1;
        let (ran, _) = switchman.run(&world, &world.args(), &format!("after {point}")).await;
        assert_eq!(ran.code, -1);
        if world.texts()[0] != before[0] {
            break;
        }
    }
    assert_eq!(world.texts()[1], before[1]);
    let mut args = world.args();
    args.extend(["--url=http://www.encode.test/fixed", "--settle=1s"].map(str::to_owned));
    world
        .cutover(&args, &[])
        .await
        .expect(5)
        .says(&["as the run that did not end has edited it", "on stanford has its former bytes again"]);
    assert_eq!(world.texts(), before);
    assert_eq!(world.versions().await, ["v31", "v31"]);
    assert_eq!(world.proxies[0].files(), [".nginx.conf.cutover-before"]);
}

/// A lock that outlived a run that ended well, since the machine could not be reached at the very end (the last command), or not
/// to be told that all is well (the last but two): a later run that fails puts neither back, or both.
#[tokio::test]
async fn what_ended_well_is_not_put_back_on_one_alone() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let switchman = Switchman::new(&world);
    fs::write(switchman.folder.join("edit"), "exit 1\n").unwrap();
    let before = world.texts();
    let wanted: Vec<String> = before.iter().map(|text| world.swapped(text)).collect();
    for from_last in [0, 2] {
        let locked = || {
            let lock = |proxy: &&Proxy| proxy.beside(".nginx.conf.cutover-lock").exists();
            world.proxies.iter().filter(lock).count()
        };
        let meant = 1 + usize::from(from_last > 0);
        // How often the workers are looked at varies from run to run, and with it which command is the last but two.
        let mut tries = 0;
        let ran = loop {
            tries += 1;
            let (_, commands) = switchman.run(&world, &world.args(), "never").await;
            reset(&world, &before).await;
            let when = format!("edit {}", commands - from_last);
            let (ran, _) = switchman.run(&world, &world.args(), &when).await;
            if tries == 10 || (ran.stderr.contains("is still there") && locked() == meant) {
                break ran;
            }
            reset(&world, &before).await;
        };
        ran.expect(0).says(&["is still there", "this release may go on in its place"]);
        assert_eq!(locked(), meant);
        let mut args = world.args();
        args.extend(["--url=http://www.encode.test/fixed", "--settle=1s"].map(str::to_owned));
        let failed = world.cutover(&args, &[]).await.expect(5);
        let failed =
            failed.says(&["ended well, and its lock is still there", "with the file as it was found"]);
        if from_last == 0 {
            failed.says(&["nothing was done there: production="]);
        }
        assert_eq!(world.texts(), wanted);
        assert_eq!(world.versions().await, ["v37", "v37"]);
        world.cutover(&world.args(), &[]).await.expect(0);
        assert!(world.proxies.iter().all(|proxy| proxy.files() == [".nginx.conf.cutover-before"]));
        reset(&world, &before).await;
    }
}

/// Another release may not go on where one is at work, until its time is over.
#[tokio::test]
async fn the_lock_of_a_killed_run_keeps_other_releases_out_until_it_is_over() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let switchman = Switchman::new(&world);
    let before = world.texts();
    // Three looks, a lock and an edit for each of the two.
    switchman.run(&world, &world.args(), "after 10").await;
    let locks: Vec<PathBuf> =
        world.proxies.iter().map(|proxy| proxy.beside(".nginx.conf.cutover-lock")).collect();
    assert!(locks.iter().all(|lock| lock.exists()));
    assert_ne!(world.texts(), before);
    let other = ["--release=v38"];
    let texts = world.texts();
    world
        .cutover(&world.args(), &other)
        .await
        .expect(3)
        .says(&["backup: the release \"v37\" is editing it, or did not end", "nothing was changed"]);
    assert_eq!(world.texts(), texts);
    for lock in &locks {
        let text = fs::read_to_string(lock).unwrap();
        let expires = text.lines().find(|line| line.starts_with("expires: ")).unwrap().to_owned();
        fs::write(lock, text.replace(&expires, "expires: 1")).unwrap();
    }
    // What a script that is cut off leaves goes with the lock.
    fs::write(world.proxies[0].beside(".nginx.conf.cutover-new-x1Y2z3"), "half").unwrap();
    world.cutover(&world.args(), &other).await.expect(0).says(&["its lock is taken over"]);
    assert_eq!(world.proxies[0].files(), [".nginx.conf.cutover-before"]);
    assert!(locks.iter().all(|lock| !lock.exists()));
    assert_eq!(world.texts(), texts);
    assert_eq!(world.versions().await, ["v37", "v37"]);
}

/// Somebody edits the file between the look and the write: his bytes stay, and the other proxy's file goes back.
#[tokio::test]
async fn a_change_by_somebody_else_in_between_is_not_overwritten() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let switchman = Switchman::new(&world);
    let before = world.texts();
    let second = &world.proxies[1].nginx.config;
    fs::write(switchman.folder.join("edit"), format!("echo '# by hand' >>{}\n", second.display())).unwrap();
    // Three looks and one lock for each of the two, then the first one's file; the tenth command writes the second one's.
    let (ran, _) = switchman.run(&world, &world.args(), "edit 10").await;
    ran.expect(7).says(&[
        "edit ",
        "somebody has changed it meanwhile",
        "on stanford has its former bytes again",
    ]);
    assert_eq!(world.texts(), [before[0].clone(), format!("{}# by hand\n", before[1])]);
    assert_eq!(world.versions().await, ["v31", "v31"]);
    assert!(!world.proxies[1].beside(".nginx.conf.cutover-lock").exists());
}

#[tokio::test]
async fn who_locks_the_second_at_the_same_moment_leaves_neither_locked_by_this_run() {
    let Some(world) = World::start(&[false, false]).await else { return };
    let switchman = Switchman::new(&world);
    let before = world.texts();
    let locks: Vec<PathBuf> =
        world.proxies.iter().map(|proxy| proxy.beside(".nginx.conf.cutover-lock")).collect();
    let others =
        "cutover-lock/1\\nrelease: v38\\nrun: other\\nbefore: b\\nafter: a\\nexpires: 99999999999\\n";
    let write = format!(
        "for lock in {} {}; do [ -e $lock ] || printf '{others}' >$lock; done\n",
        locks[0].display(),
        locks[1].display()
    );
    fs::write(switchman.folder.join("edit"), write).unwrap();
    // Three looks for each of the two; the eighth command locks the second.
    let args = [world.args(), vec!["--receipt=r.json".to_owned()]].concat();
    let (ran, _) = switchman.run(&world, &args, "edit 8").await;
    let ran = ran
        .expect(3)
        .says(&["somebody was faster: the release \"v38\" is editing it", "nothing was changed"]);
    assert!(!ran.stderr.contains("in doubt"), "{}", ran.stderr);
    assert_eq!(world.texts(), before);
    let left: Vec<String> = locks.iter().filter_map(|lock| fs::read_to_string(lock).ok()).collect();
    assert!(matches!(left.as_slice(), [lock] if lock.contains("run: other")), "{left:?}");
}
