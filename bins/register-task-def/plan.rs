//! The decision: what to register, or why not to.

use ecs::{ServiceRef, short};
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::document::{canonical, containers, difference, image_of, set_image};
use crate::image::ContainerImage;
use crate::observe::{Definition, Observed, SeenImage};

/// What will be registered.
#[derive(Debug, Serialize)]
pub(crate) struct Register {
    /// The revision that already is as wanted; with `register`, the one that the new revision follows.
    pub(crate) arn: String,
    /// The document to register; none when a revision already is as wanted. It is not serialized: its difference is.
    #[serde(skip)]
    pub(crate) register: Option<Value>,
    pub(crate) images: Vec<(String, String)>,
    family: String,
    difference: String,
    notes: Vec<Note>,
}

impl Register {
    pub(crate) fn images_json(&self) -> String {
        let map: Map<String, Value> =
            self.images.iter().map(|(name, image)| (name.clone(), json!(image))).collect();
        Value::Object(map).to_string()
    }
}

impl Plan for Register {
    fn actions(&self) -> Vec<Action> {
        if self.register.is_none() {
            return Vec::new();
        }
        let images: Vec<String> =
            self.images.iter().map(|(name, image)| format!("{name} = {image}")).collect();
        vec![
            Action::new(
                crate::apply::REGISTER,
                format!("register a new revision of {} with {}", self.family, images.join(", ")),
                "deregister that revision",
            )
            .detail(self.difference.clone()),
        ]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} already has these images and is otherwise what the service runs", short(&self.arn))
    }
}

pub(crate) fn plan(
    wanted: &[ContainerImage],
    observed: &Observed,
    allow_absent_image: bool,
) -> Result<Register, Failure> {
    let Observed { running, newest, images } = observed;
    let mut document = running.document.clone();
    let mut notes = Vec::new();
    let mut pinned = Vec::new();
    for (n, (wanted, seen)) in wanted.iter().zip(images).enumerate() {
        let ContainerImage { container, image } = wanted;
        if let Some(earlier) = pinned.iter().position(|(name, _): &(String, String)| name == container) {
            return Err(Failure::usage(format!("set the image of container {container} twice"))
                .because(format!("--image names it at places {} and {}", earlier + 1, n + 1)));
        }
        let names = containers(&document);
        match names.iter().filter(|name| *name == container).count() {
            1 => {}
            0 => {
                return Err(Failure::refused(format!("set the image of container {container}"))
                    .because(format!("{} has the containers {}", short(&running.arn), names.join(", ")))
                    .help("name one of them, exactly"));
            }
            n => {
                return Err(Failure::refused(format!("set the image of container {container}"))
                    .because(format!("{} has {n} containers of that name", short(&running.arn))));
            }
        }
        let reference = match seen {
            SeenImage::Found { digest, platforms } => {
                if let Some(given) = &image.digest
                    && given != digest
                {
                    return Err(Failure::refused(format!("use {image}"))
                        .because(format!("in ECR its tag is {digest}"))
                        .help("somebody pushed the tag again, or the digest is of another build: give the one that was tested"));
                }
                check_platform(running, &image.to_string(), platforms)?;
                format!("{}@{digest}", image.name)
            }
            SeenImage::NotAsked => {
                let Some(digest) = &image.digest else {
                    return Err(Failure::refused(format!("use {image}"))
                        .because("it is not in ECR, so its tag can't be checked and pinned")
                        .help("give it by digest: NAME@sha256:..."));
                };
                notes.push(Note::Warning(format!("{image} is not in ECR: nobody checked that it exists")));
                format!("{}@{digest}", image.name)
            }
            SeenImage::Absent | SeenImage::NoRepository => {
                let why = if *seen == SeenImage::Absent {
                    "the repository has no such image"
                } else {
                    "there is no such repository in that registry and region"
                };
                if !allow_absent_image {
                    return Err(Failure::refused(format!("use {image}"))
                        .because(why)
                        .help("build and push it first, or correct the reference"));
                }
                notes.push(Note::Warning(format!(
                    "{image}: {why} yet; it will be pinned by digest once it is built"
                )));
                image.to_string()
            }
        };
        set_image(&mut document, container, &reference);
        pinned.push((container.clone(), reference));
    }
    let same = |definition: &Definition| canonical(&definition.document) == canonical(&document);
    if running.arn != newest.arn && !same(newest) {
        notes.push(Note::Warning(format!(
            "the service runs {}, and the newest revision is {}: this starts from what runs",
            short(&running.arn),
            short(&newest.arn)
        )));
    }
    for (container, image) in &pinned {
        if image_of(&running.document, container) == Some(image) {
            notes.push(Note::Info(format!("{container} has this image already")));
        }
    }
    let present = [running, newest].into_iter().find(|definition| same(definition));
    Ok(Register {
        arn: present.unwrap_or(newest).arn.clone(),
        difference: difference(&running.document, &document),
        register: present.is_none().then_some(document),
        images: pinned,
        family: running.family.clone(),
        notes,
    })
}

/// A manifest list must hold the definition's platform; a container of another one dies with "exec format error".
fn check_platform(running: &Definition, image: &str, platforms: &[String]) -> Result<(), Failure> {
    if platforms.is_empty() {
        return Ok(());
    }
    let platform = &running.document["runtimePlatform"];
    let os = match platform["operatingSystemFamily"].as_str() {
        Some(family) if family.starts_with("WINDOWS") => "windows",
        _ => "linux",
    };
    let architecture = if platform["cpuArchitecture"] == "ARM64" { "arm64" } else { "amd64" };
    let wanted = format!("{os}/{architecture}");
    if platforms.contains(&wanted) {
        return Ok(());
    }
    Err(Failure::refused(format!("use {image}"))
        .because(format!(
            "{} runs on {wanted}, and the image is for {}",
            short(&running.arn),
            platforms.join(", ")
        ))
        .help("build the image for that platform, or change runtimePlatform of the task definition"))
}

/// What `--undo` does.
#[derive(Debug, Serialize)]
pub(crate) struct Deregister {
    arns: Vec<String>,
}

impl Plan for Deregister {
    fn actions(&self) -> Vec<Action> {
        let deregister = |arn: &String| {
            Action::irreversible(
                crate::apply::deregister_id(arn),
                format!("deregister {}", short(arn)),
                "an inactive revision can't be activated; register-task-def makes the same one again",
            )
        };
        self.arns.iter().map(deregister).collect()
    }

    fn unchanged(&self) -> String {
        "no revision of that run is active".to_owned()
    }
}

pub(crate) fn undo(
    registered: &[Definition],
    running: &str,
    service: &ServiceRef,
) -> Result<Deregister, Failure> {
    if let Some(used) = registered.iter().find(|definition| definition.arn == running) {
        return Err(Failure::refused(format!("deregister {}", short(&used.arn)))
            .because(format!("{service} runs it"))
            .help("undo deploy-service first"));
    }
    Ok(Deregister { arns: registered.iter().map(|definition| definition.arn.clone()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::parse_container_image;
    use kit::Code;

    const DIGEST: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";
    const REPOSITORY: &str = "676917001797.dkr.ecr.us-east-1.amazonaws.com/rally-prod";

    fn definition(revision: i64, image: &str) -> Definition {
        Definition {
            arn: format!("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:{revision}"),
            family: "rally-prod".into(),
            revision,
            status: "ACTIVE".into(),
            document: json!({"family": "rally-prod", "containerDefinitions": [
                {"name": "rally-prod-webapp", "image": image}, {"name": "nginx", "image": "nginx@sha256:1"}]}),
        }
    }

    fn wanted(reference: &str) -> Vec<ContainerImage> {
        vec![parse_container_image(&format!("rally-prod-webapp={reference}")).unwrap()]
    }

    fn found() -> SeenImage {
        SeenImage::Found { digest: DIGEST.into(), platforms: vec![] }
    }

    fn observed(seen: SeenImage) -> Observed {
        let old = definition(7, &format!("{REPOSITORY}:RALLY-V2_0_1_11-RELEASE"));
        Observed { running: old.clone(), newest: old, images: vec![seen] }
    }

    #[test]
    fn the_image_is_pinned_and_nothing_else_changes() {
        let seen = observed(found());
        let plan = plan(&wanted(&format!("{REPOSITORY}:RALLY-V2_1_0_0-RELEASE")), &seen, false).unwrap();
        let mut expected = seen.running.document.clone();
        expected["containerDefinitions"][0]["image"] = json!(format!("{REPOSITORY}@{DIGEST}"));
        assert_eq!(plan.register, Some(expected));
        assert_eq!(plan.actions().len(), 1);
        assert!(plan.notes().is_empty());
    }

    #[test]
    fn what_runs_or_is_newest_already_is_not_registered_again() {
        let image = format!("{REPOSITORY}@{DIGEST}");
        let mut seen = observed(found());
        seen.newest = definition(8, &image);
        let after_crash = plan(&wanted(&format!("{REPOSITORY}:V2")), &seen, false).unwrap();
        assert_eq!(after_crash.register, None);
        assert!(after_crash.arn.ends_with(":8"));
        seen.running = definition(8, &image);
        let again = plan(&wanted(&format!("{REPOSITORY}:V2")), &seen, false).unwrap();
        assert!(again.actions().is_empty() && again.arn.ends_with(":8"));
    }

    #[test]
    fn somebodys_half_done_edit_is_not_the_base_and_is_told_of() {
        let mut seen = observed(found());
        seen.newest = definition(9, "half-done");
        let plan = plan(&wanted(&format!("{REPOSITORY}:V2")), &seen, false).unwrap();
        assert!(!plan.register.clone().unwrap().to_string().contains("half-done"));
        let notes = format!("{:?}", plan.notes());
        assert!(notes.contains("rally-prod:7") && notes.contains("rally-prod:9"), "{notes}");
    }

    #[test]
    fn refusals_say_what_is_there() {
        let refuse = |container: &str, reference: &str, seen: SeenImage| {
            let wanted = vec![parse_container_image(&format!("{container}={reference}")).unwrap()];
            let failure = plan(&wanted, &observed(seen), false).unwrap_err();
            assert_eq!(failure.code(), Code::Refused, "{failure}");
            failure.chain().join("; ")
        };
        let tag = format!("{REPOSITORY}:V2");
        assert_eq!(
            refuse("webapp", &tag, found()),
            "rally-prod:7 has the containers rally-prod-webapp, nginx"
        );
        assert_eq!(refuse("rally-prod-webapp", &tag, SeenImage::Absent), "the repository has no such image");
        let other = format!("{REPOSITORY}:V2@sha256:{}", "ff".repeat(32));
        assert_eq!(refuse("rally-prod-webapp", &other, found()), format!("in ECR its tag is {DIGEST}"));
        assert!(refuse("rally-prod-webapp", "nginx:1", SeenImage::NotAsked).contains("not in ECR"));
        let arm = SeenImage::Found { digest: DIGEST.into(), platforms: vec!["linux/arm64".into()] };
        assert!(
            refuse("rally-prod-webapp", &tag, arm)
                .contains("runs on linux/amd64, and the image is for linux/arm64")
        );
    }

    #[test]
    fn a_plan_can_be_shown_before_the_image_is_built() {
        let plan = plan(&wanted(&format!("{REPOSITORY}:V2")), &observed(SeenImage::Absent), true).unwrap();
        assert_eq!(plan.images[0].1, format!("{REPOSITORY}:V2"));
        assert!(matches!(plan.notes()[0], Note::Warning(_)));
    }

    #[test]
    fn undo_leaves_a_revision_that_the_service_runs() {
        let service = ServiceRef { cluster: "c".into(), service: "s".into() };
        let new = definition(8, "x");
        assert_eq!(undo(std::slice::from_ref(&new), &new.arn, &service).unwrap_err().code(), Code::Refused);
        let plan = undo(std::slice::from_ref(&new), &definition(7, "y").arn, &service).unwrap();
        assert_eq!(plan.actions()[0].does, "deregister rally-prod:8");
    }
}
