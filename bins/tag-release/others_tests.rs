//! Several repositories in one release, as BossDB's: its libraries get the sprint's tag, and boss-manage points to them.

use crate::tests::{REPO, World};
use futures::future::join_all;
use kit::Code;
use serde_json::json;
use testkit::github::Fault;

const SPDB: &str = "acme/spdb";
const NDIO: &str = "acme/ndio";

struct Boss {
    world: World,
    spdb: String,
    ndio: String,
}

impl Boss {
    /// Two libraries with a tested commit each, and a repository with both as submodules at what they were before.
    async fn new() -> Self {
        let mut world = World::untested().await;
        let mut heads = Vec::new();
        for name in [SPDB, NDIO] {
            world.github.repository(name, "main");
            let before = world.github.commit(name, "main", "Before");
            let path = format!("lib/{}", &name[5..]);
            world.github.commit_submodule(REPO, "main", "Add it", &path, &before);
            let head = world.github.commit(name, "main", "Next");
            world.github.check_run(name, &head, &json!({}));
            heads.push(head);
        }
        world.sha = world.github.commit_files(REPO, "main", "Manage", &[("README.md", "Boss")]);
        world.github.check_run(REPO, &world.sha, &json!({}));
        Self { world, spdb: heads.remove(0), ndio: heads.remove(0) }
    }

    fn flags(&self) -> Vec<String> {
        let Self { spdb, ndio, .. } = self;
        [
            format!("--with={SPDB}@{spdb}"),
            format!("--with={NDIO}@{ndio}"),
            format!("--submodule=lib/spdb={SPDB}"),
            format!("--submodule=lib/ndio={NDIO}"),
            "--no-release".to_owned(),
        ]
        .into()
    }

    async fn run(&self) -> crate::tests::Ran {
        let flags = self.flags();
        self.world.run(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    fn tag(&self, repository: &str) -> Option<String> {
        let refs = self.world.github.refs(repository);
        refs.into_iter().find(|(name, _)| name == "refs/tags/v2.1.0").map(|(_, sha)| sha)
    }

    fn assert_released(&self) {
        assert_eq!((self.tag(SPDB).as_ref(), self.tag(NDIO).as_ref()), (Some(&self.spdb), Some(&self.ndio)));
        let tagged = self.tag(REPO).expect("a tag");
        let (_, parents, paths) = self.world.github.commit_of(REPO, &tagged).unwrap();
        assert_eq!((parents, paths.len()), (vec![self.world.sha.clone()], 2));
        let at = |path: &str| self.world.github.file(REPO, "main", path);
        assert_eq!((at("lib/spdb").as_ref(), at("lib/ndio").as_ref()), (Some(&self.spdb), Some(&self.ndio)));
    }
}

#[tokio::test]
async fn all_get_the_tag_and_the_submodules_point_to_it() {
    let boss = Boss::new().await;
    let ran = boss.run().await;
    let receipt = ran.receipt.unwrap();
    assert!(ran.result.unwrap().changed);
    boss.assert_released();
    boss.world.github.forget_calls();
    assert!(!boss.run().await.result.unwrap().changed);
    assert_eq!(boss.world.github.writes(), []);
    boss.world.undo(&receipt).await.result.unwrap();
    for repository in [REPO, SPDB, NDIO] {
        assert_eq!(boss.tag(repository), None, "{repository}");
    }
    assert_ne!(boss.world.github.file(REPO, "main", "lib/spdb").as_ref(), Some(&boss.spdb));
    assert!(!boss.world.undo(&receipt).await.result.unwrap().changed);
}

#[tokio::test]
async fn one_shut_gate_stops_all_before_the_first_write() {
    let boss = Boss::new().await;
    boss.world.github.check_run(NDIO, &boss.ndio, &json!({"name": "lint", "conclusion": "failure"}));
    let (code, told) = boss.run().await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(NDIO) && told.contains("lint (failure"), "{told}");
    assert_eq!(boss.world.github.writes(), []);
    // A tag on another commit, in the last of them.
    let boss = Boss::new().await;
    let other = boss.world.github.commit(NDIO, "main", "Other");
    boss.world.github.set_ref(NDIO, "refs/tags/v2.1.0", &other);
    let (code, told) = boss.run().await.refused();
    assert_eq!(code, Code::Refused);
    assert!(told.contains(&other), "{told}");
    assert_eq!(boss.world.github.writes(), []);
}

#[tokio::test]
async fn a_run_that_is_cut_off_between_them_is_continued_or_taken_back() {
    let paths = [
        "/acme/spdb/git/refs",
        "/acme/ndio/git/tags",
        "/acme/ndio/git/refs",
        "/acme/rally/git/trees",
        "/acme/rally/git/tags",
    ];
    let runs = paths.map(async |path| {
        let boss = Boss::new().await;
        boss.world.github.fault(Fault::reset("POST", path));
        let ran = boss.run().await;
        ran.result.unwrap_err();
        boss.world.github.clear_faults();
        boss.run().await.result.unwrap();
        boss.assert_released();

        let boss = Boss::new().await;
        boss.world.github.fault(Fault::reset("POST", path));
        let receipt = boss.run().await.receipt.unwrap();
        boss.world.github.clear_faults();
        boss.world.undo(&receipt).await.result.unwrap();
        for repository in [REPO, SPDB, NDIO] {
            assert_eq!(boss.tag(repository), None, "{repository} after {path}");
        }
    });
    // They wait more than they do.
    join_all(runs).await;
}

#[tokio::test]
async fn what_is_given_wrong_is_said_before_anything() {
    let boss = Boss::new().await;
    let with = format!("--with={SPDB}@{}", boss.spdb);
    let none = format!("--submodule=lib/none={SPDB}");
    let readme = format!("--submodule=README.md={SPDB}");
    let twice = format!("--with={REPO}@{}", boss.world.sha);
    let unknown = format!("--submodule=lib/ndio={NDIO}");
    for (flags, code, says) in [
        (vec![&*with, &*none], Code::Refused, "has no such path"),
        (vec![&*with, &*readme], Code::Refused, "it is no submodule"),
        (vec![&*twice], Code::Usage, "given twice"),
        (vec![&*with, &*unknown], Code::Usage, "--with does not name that repository"),
    ] {
        let (ended, told) = boss.world.run(&flags).await.refused();
        assert_eq!(ended, code, "{told}");
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(boss.world.github.writes(), []);
    assert!(super::others::parse("acme/spdb@main").is_err());
    assert!(super::others::parse_submodule("../x=acme/spdb").is_err());
}
