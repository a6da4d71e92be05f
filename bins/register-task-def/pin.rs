//! Judgement of images: which reference the new revision names, or why an image can't be used.

use kit::{Failure, Note};
use serde_json::Value;

use crate::document::image_of;
use crate::image::{ImageRef, WantedImage, parse_image};
use crate::observe::{Base, SeenImage};

/// The reference that the new revision names: by digest wherever the registry told it.
pub(crate) fn pin(
    may_be_absent: bool,
    wanted: &WantedImage,
    seen: &SeenImage,
    document: &Value,
    of: &str,
    notes: &mut Vec<Note>,
) -> Result<String, Failure> {
    let WantedImage { image, asked, container } = wanted;
    match seen {
        SeenImage::Found { digest, platforms } => {
            if let Some(given) = &image.digest
                && given != digest
            {
                return Err(Failure::refused(format!("use {image}"))
                    .because(format!("in ECR its tag is {digest}"))
                    .help("somebody pushed the tag again, or the digest is of another build: give the one that was tested"));
            }
            notes.extend(check_platform(document, of, &image.to_string(), platforms)?);
            Ok(format!("{}@{digest}", image.name))
        }
        SeenImage::NotAsked => {
            if image.digest.is_none() && *asked {
                return Err(Failure::refused(format!("use {image}"))
                    .because("it is not in ECR, so its tag can't be checked and pinned")
                    .help("give it by digest: NAME@sha256:..."));
            }
            let unpinned = if image.digest.is_none() { ", and its tag is not pinned" } else { "" };
            notes.push(Note::Warning(format!(
                "{image} of container {container} is not in ECR: nobody checked that it exists{unpinned}"
            )));
            Ok(match &image.digest {
                Some(digest) if *asked => format!("{}@{digest}", image.name),
                _ => image.to_string(),
            })
        }
        SeenImage::Absent | SeenImage::NoRepository => {
            let why = if *seen == SeenImage::Absent {
                "the repository has no such image"
            } else {
                "there is no such repository in that registry and region"
            };
            if !may_be_absent {
                return Err(Failure::refused(format!("use {image}"))
                    .because(why)
                    .help("build and push it first, or correct the reference"));
            }
            notes.push(Note::Warning(format!(
                "{image}: {why} yet; it will be pinned by digest once it is built"
            )));
            Ok(image.to_string())
        }
    }
}

/// Says why a revision that names the same image by its tag is not the same: what its tasks run is what the tag was when
/// they were deployed, and the tag can be moved again.
pub(crate) fn tag_of_base(base: &Base, wanted: &WantedImage, reference: &str, notes: &mut Vec<Note>) {
    let Some(Ok(ImageRef { name, tag, digest: None, .. })) =
        image_of(&base.document, &wanted.container).map(parse_image)
    else {
        return;
    };
    if base.definition.is_some() && name == wanted.image.name && tag == wanted.image.tag {
        notes.push(Note::Info(format!(
            "{} names {} by its tag, which is {reference} now and may have been another image when it was deployed: the new revision is pinned",
            base.name, wanted.container
        )));
    }
}

/// The image that comes out must be the one that was tested.
pub(crate) fn expect(container: &str, digest: &str, image: &str, may_be_absent: bool) -> Result<(), Failure> {
    match image.split_once('@') {
        Some((_, is)) if is == digest => Ok(()),
        None if may_be_absent => Ok(()),
        other => Err(Failure::refused(format!("use {image} for container {container}"))
            .because(match other {
                Some((_, is)) => format!("its digest is {is}, and {digest} was expected"),
                None => format!("it has no digest, and {digest} was expected"),
            })
            .help(format!(
                "build and test it again, or name the tested image with --image {container}=NAME@{digest}"
            ))),
    }
}

/// A manifest list must hold the definition's platform: a container of another one dies with "exec format error". What the
/// definition leaves open is `X86_64` and Linux on Fargate; elsewhere it is what the instances are, which is only noted.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html>
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html>
fn check_platform(
    document: &Value,
    of: &str,
    image: &str,
    platforms: &[String],
) -> Result<Option<Note>, Failure> {
    if platforms.is_empty() {
        return Ok(None);
    }
    let platform = &document["runtimePlatform"];
    let fargate = document["requiresCompatibilities"]
        .as_array()
        .is_some_and(|list| list.iter().any(|item| item == "FARGATE"));
    let os = match platform["operatingSystemFamily"].as_str() {
        Some(family) if family.starts_with("WINDOWS") => Some("windows"),
        Some(_) => Some("linux"),
        None => fargate.then_some("linux"),
    };
    let architecture = match platform["cpuArchitecture"].as_str() {
        Some("ARM64") => Some("arm64"),
        Some(_) => Some("amd64"),
        None => fargate.then_some("amd64"),
    };
    let fits = |platform: &String| {
        let (has, with) = platform.split_once('/').unwrap_or((platform, ""));
        os.is_none_or(|os| os == has) && architecture.is_none_or(|architecture| architecture == with)
    };
    let is_for = platforms.join(", ");
    if !platforms.iter().any(fits) {
        let wanted = [os, architecture].into_iter().flatten().collect::<Vec<_>>().join("/");
        return Err(Failure::refused(format!("use {image}"))
            .because(format!("{of} runs on {wanted}, and the image is for {is_for}"))
            .help("build the image for that platform, or change runtimePlatform of the task definition"));
    }
    let usual = platforms.iter().any(|platform| platform == "linux/amd64");
    Ok((!usual && (os.is_none() || architecture.is_none())).then(|| {
        Note::Info(format!(
            "{image} is for {is_for}, and {of} does not say in runtimePlatform on what it runs: its tasks start only on instances of that kind"
        ))
    }))
}
