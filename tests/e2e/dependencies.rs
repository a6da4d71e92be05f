//! What the workspace is made of: one TLS stack, one HTTP stack, and no step that can reach more than it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Never in the build, whatever the platform it is built for, and why.
const BANNED: [(&str, fn(&str) -> bool, &str); 6] = [
    ("openssl", any, "TLS is rustls with aws-lc-rs"),
    ("openssl-sys", any, "TLS is rustls with aws-lc-rs"),
    ("native-tls", any, "TLS is rustls with aws-lc-rs"),
    ("ring", any, "a second provider beside aws-lc-rs: rustls could not choose one by itself"),
    // The types of http 0.2 alone come with aws-sdk-cloudwatch, which asks for their conversion; nothing speaks with them.
    ("hyper", old, "the legacy HTTP stack"),
    ("h2", h2_old, "the legacy HTTP stack"),
];

/// What `aws-config` brings by itself: identity, and the two services behind a laptop's SSO profile.
const SIGN_IN: [&str; 3] = ["aws-sdk-sso", "aws-sdk-ssooidc", "aws-sdk-sts"];

fn any(_: &str) -> bool {
    true
}

fn old(version: &str) -> bool {
    version.starts_with("0.")
}

fn h2_old(version: &str) -> bool {
    version.starts_with("0.3.")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Metadata {
    // The lock file as it is, and nothing from outside the machine.
    let offline = ["--locked", "--offline"].map(str::to_owned).to_vec();
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options([offline, platform()].concat())
        .exec()
        .expect("cargo metadata")
}

/// Only what is built for this machine: the lock file also lists what no build takes.
fn platform() -> Vec<String> {
    let version = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo -vV").stdout;
    let version = String::from_utf8(version).expect("UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("the host's platform");
    vec!["--filter-platform".to_owned(), host.to_owned()]
}

/// Name and version of each package, one a line, as `cargo tree` prints them: exactly what is built, with features
/// resolved, where `cargo metadata` also lists optional dependencies that nobody enables.
fn tree(args: &[&str]) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}"])
        .args(args)
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    };
    let packages: BTreeSet<_> = lines.lines().filter_map(package).collect();
    assert!(!packages.is_empty(), "cargo tree {args:?} names no package");
    packages
}

/// The packages of the folder `bins`, by the folder's name.
fn steps(metadata: &Metadata) -> BTreeMap<String, &Package> {
    let package_in = |folder: &Path| {
        let manifest = folder.join("Cargo.toml");
        metadata.workspace_packages().into_iter().find(|package| package.manifest_path == manifest)
    };
    std::fs::read_dir(root().join("bins"))
        .expect("the folder bins")
        .map(|entry| entry.expect("an entry of bins").path())
        .filter(|path| path.is_dir())
        .map(|folder| {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let package = package_in(&folder)
                .unwrap_or_else(|| panic!("bins/{name} has no Cargo.toml that the workspace knows"));
            (name, package)
        })
        .collect()
}

#[test]
fn nothing_banned_is_built() {
    let built = tree(&["--workspace", "--edges", "normal,build,dev"]);
    let found: Vec<String> = built
        .iter()
        .flat_map(|(name, version)| {
            BANNED.iter().filter(move |(banned, is_banned, _)| banned == name && is_banned(version)).map(
                move |(_, _, why)| {
                    format!("{name} {version}: {why}; cargo tree --workspace -i {name}@{version}")
                },
            )
        })
        .collect();
    assert!(found.is_empty(), "banned, and in the build:\n{}", found.join("\n"));
}

#[test]
fn there_is_one_tls_stack() {
    let built = tree(&["--workspace", "--edges", "normal,build,dev"]);
    for name in ["rustls", "rustls-webpki", "tokio-rustls", "hyper-rustls", "aws-lc-rs"] {
        let versions: Vec<&str> =
            built.iter().filter(|(built, _)| built == name).map(|(_, version)| version.as_str()).collect();
        assert_eq!(versions.len(), 1, "{name} is built in the versions {versions:?}");
    }
}

#[test]
fn a_step_reaches_no_aws_service_that_its_manifest_does_not_list() {
    for (name, package) in steps(&metadata()) {
        let listed: BTreeSet<&str> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.as_str())
            .filter(|name| name.starts_with("aws-sdk-"))
            .collect();
        let closure = tree(&["--package", &name, "--edges", "normal"]);
        let reached: BTreeSet<&str> = closure
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("aws-sdk-"))
            .collect();
        let without_sign_in: BTreeSet<&str> =
            reached.iter().copied().filter(|sdk| listed.contains(sdk) || !SIGN_IN.contains(sdk)).collect();
        assert_eq!(without_sign_in, listed, "{name} reaches what bins/{name}/Cargo.toml does not list");
        let has_config = closure.iter().any(|(name, _)| name == "aws-config");
        assert!(has_config || reached.is_empty(), "{name} reaches {reached:?} without aws-config");
    }
}

#[test]
fn no_step_knows_another() {
    let metadata = metadata();
    let steps = steps(&metadata);
    for (name, package) in &steps {
        let known: Vec<&str> = package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.as_str())
            .filter(|dependency| steps.contains_key(*dependency))
            .collect();
        assert!(known.is_empty(), "{name} depends on the steps {known:?}");
    }
}

#[test]
fn each_folder_of_bins_is_a_package_and_an_executable_of_its_name() {
    let metadata = metadata();
    let steps = steps(&metadata);
    assert!(!steps.is_empty());
    for (folder, package) in steps {
        assert_eq!(package.name.as_str(), folder, "the package in bins/{folder}");
        let executables: Vec<&str> = package
            .targets
            .iter()
            .filter(|target| target.is_bin())
            .map(|target| target.name.as_str())
            .collect();
        assert_eq!(executables, [folder.as_str()], "the executables of bins/{folder}");
    }
}

#[test]
fn a_plain_cargo_test_runs_the_tests_of_every_member() {
    let metadata = metadata();
    let all: BTreeSet<&PackageId> = metadata.workspace_members.iter().collect();
    let default: BTreeSet<&PackageId> = metadata.workspace_default_members.iter().collect();
    assert_eq!(default, all, "default-members leaves members out");
}
