//! The decision: what to register, or why not to.

use ecs::short;
use kit::{Action, Failure, Note, Plan};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::canonical::canonical;
use crate::difference::{difference, masked};
use crate::document::{containers, image_of, set_image, unknown_fields};
use crate::image::{ExpectedDigest, WantedImage};
use crate::observe::{Definition, Observed, SeenImage};
use crate::pin::{expect, pin, tag_of_base};
use crate::preflight::{Checked, counted};

/// What is asked for, beside the edits that the document has already.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) images: &'a [WantedImage],
    pub(crate) expected: &'a [ExpectedDigest],
    pub(crate) always: bool,
    pub(crate) allow_absent_image: bool,
    pub(crate) allow_missing: &'a [String],
}

/// What was found out for the edited document.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What the registries say, in the order of the wanted images.
    pub(crate) images: Vec<SeenImage>,
    /// None when `--preflight=false`.
    pub(crate) checks: Option<Vec<Checked>>,
    /// What the edits had to say.
    pub(crate) notes: Vec<Note>,
}

/// What will be registered.
#[derive(Debug, Serialize)]
pub(crate) struct Register {
    /// The revision that already is as wanted; none when a new one is registered.
    pub(crate) present: Option<String>,
    /// The document to register; none when a revision already is as wanted. Printed is [`Self::request`].
    #[serde(skip)]
    pub(crate) register: Option<Value>,
    /// The request of `RegisterTaskDefinition`, values that look like secrets masked.
    request: Option<Value>,
    /// Container and image, for those that were pinned.
    pub(crate) images: Vec<(String, String)>,
    pub(crate) family: String,
    difference: String,
    preflight: Vec<Checked>,
    notes: Vec<Note>,
}

impl Register {
    pub(crate) fn images_json(&self) -> String {
        let map: Map<String, Value> =
            self.images.iter().map(|(name, image)| (name.clone(), json!(image))).collect();
        Value::Object(map).to_string()
    }

    pub(crate) fn digests_json(&self) -> String {
        let digests = self.images.iter().filter_map(|(name, image)| Some((name, image.split_once('@')?.1)));
        let map: Map<String, Value> = digests.map(|(name, digest)| (name.clone(), json!(digest))).collect();
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
        let with = if images.is_empty() { String::new() } else { format!(" with {}", images.join(", ")) };
        vec![
            Action::new(
                crate::apply::REGISTER,
                format!("register a new revision of {}{with}", self.family),
                "deregister that revision",
            )
            .detail(self.difference.clone()),
        ]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} is exactly this already", short(self.present.as_deref().unwrap_or_default()))
    }
}

/// `document` is the base with all edits but those of images.
pub(crate) fn plan(
    request: &Request<'_>,
    mut document: Value,
    observed: &Observed,
    found: Found,
) -> Result<Register, Failure> {
    let Observed { base, running, newest } = observed;
    let Found { images, checks, mut notes } = found;
    let mut pinned = Vec::new();
    for (wanted, seen) in request.images.iter().zip(&images) {
        let reference = pin(request.allow_absent_image, wanted, seen, &document, &base.name, &mut notes)?;
        set_image(&mut document, &wanted.container, &reference);
        if reference.contains('@') {
            if image_of(&base.document, &wanted.container) == Some(reference.as_str()) && wanted.asked {
                notes.push(Note::Info(format!("{} has this image already", wanted.container)));
            }
            tag_of_base(base, wanted, &reference, &mut notes);
        }
        if wanted.asked || reference.contains('@') {
            pinned.push((wanted.container.clone(), reference));
        }
    }
    for ExpectedDigest { container, digest } in request.expected {
        expect(
            container,
            digest,
            image_of(&document, container).unwrap_or_default(),
            request.allow_absent_image,
        )?;
    }
    for (place, field, _) in unknown_fields(&document) {
        notes.push(Note::Info(format!(
            "{place} has the field {field}, which this version does not know: it is carried over as it is"
        )));
    }
    let preflight = checks.unwrap_or_else(|| {
        notes.push(Note::Warning("the preflight checks were left out".to_owned()));
        Vec::new()
    });
    judge(&preflight, request.allow_missing, &document, &mut notes)?;

    // A revision that is not active can't be deployed.
    let same = |definition: &&Definition| {
        definition.status == "ACTIVE" && canonical(&definition.document) == canonical(&document)
    };
    if let (Some(running), Some(newest)) = (running, newest)
        && running.arn != newest.arn
        && !same(&newest)
    {
        let from = if base.definition.as_ref().is_some_and(|base| base.arn == running.arn) {
            ": this starts from what runs"
        } else {
            ""
        };
        notes.push(Note::Warning(format!(
            "the service runs {}, and the newest revision is {}{from}",
            short(&running.arn),
            short(&newest.arn)
        )));
    }
    let candidates = [running.as_ref(), newest.as_ref(), base.definition.as_ref()];
    let present = candidates.into_iter().flatten().find(same).filter(|_| !request.always);
    let before = running.as_ref().or(base.definition.as_ref()).or(newest.as_ref());
    let register = present.is_none().then(|| document.clone());
    Ok(Register {
        present: present.map(|definition| definition.arn.clone()),
        request: register.as_ref().map(masked),
        difference: difference(before.map_or(&Value::Null, |before| &before.document), &document),
        register,
        images: pinned,
        family: document["family"].as_str().unwrap_or_default().to_owned(),
        preflight,
        notes,
    })
}

/// Adds the table of checks to the notes, and refuses with all that is missing at once.
fn judge(
    checks: &[Checked],
    allowed: &[String],
    document: &Value,
    notes: &mut Vec<Note>,
) -> Result<(), Failure> {
    let unused: Vec<&String> =
        allowed.iter().filter(|name| !checks.iter().any(|check| check.name == **name)).collect();
    if !unused.is_empty() && !checks.is_empty() {
        notes.push(Note::Info(format!("--allow-missing {unused:?} names nothing that was checked")));
    }
    if !checks.is_empty() {
        notes.push(Note::Info(format!("preflight: {}", counted(checks))));
    }
    let mut refused = Vec::new();
    for check in checks {
        notes.push(Note::Info(check.line()));
        if check.fails() {
            if allowed.contains(&check.name) {
                notes.push(Note::Warning(format!("{}; allowed by --allow-missing", check.complaint())));
            } else {
                refused.push(check.complaint());
            }
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let family = document["family"].as_str().unwrap_or_default();
    let containers = containers(document).len();
    Err(Failure::refused(format!(
        "register a revision of {family} ({}) that could not start",
        kit::counted(containers, "container")
    ))
    .because(refused.join("\n"))
    .help("create or correct what is named; for what will be created before the deployment, add --allow-missing with its name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{parse_container_image, parse_image};
    use crate::observe::Base;
    use crate::preflight::Verdict;
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

    fn wanted(reference: &str) -> Vec<WantedImage> {
        let parsed = parse_container_image(&format!("rally-prod-webapp={reference}")).unwrap();
        vec![WantedImage { container: parsed.container, image: parsed.image, asked: true }]
    }

    fn seen() -> SeenImage {
        SeenImage::Found { digest: DIGEST.into(), platforms: vec![] }
    }

    /// A service that runs the base, which is the newest revision.
    fn observed(of: Definition) -> Observed {
        let base = Base {
            name: short(&of.arn).to_owned(),
            document: of.document.clone(),
            definition: Some(of.clone()),
        };
        Observed { base, running: Some(of.clone()), newest: Some(of) }
    }

    fn old() -> Observed {
        observed(definition(7, &format!("{REPOSITORY}:RALLY-V2_0_1_11-RELEASE")))
    }

    fn planned(images: &[WantedImage], seen: SeenImage, observed: &Observed) -> Result<Register, Failure> {
        let request = Request { images, ..Request::default() };
        let found = Found { images: vec![seen], checks: Some(Vec::new()), notes: Vec::new() };
        plan(&request, observed.base.document.clone(), observed, found)
    }

    #[test]
    fn the_image_is_pinned_and_nothing_else_changes() {
        let world = old();
        let plan = planned(&wanted(&format!("{REPOSITORY}:RALLY-V2_1_0_0-RELEASE")), seen(), &world).unwrap();
        let mut expected = world.base.document.clone();
        expected["containerDefinitions"][0]["image"] = json!(format!("{REPOSITORY}@{DIGEST}"));
        assert_eq!(plan.register, Some(expected));
        assert_eq!(plan.actions().len(), 1);
        assert!(plan.notes().is_empty(), "{:?}", plan.notes());
        assert_eq!(plan.digests_json(), format!("{{\"rally-prod-webapp\":\"{DIGEST}\"}}"));
    }

    #[test]
    fn what_runs_or_is_newest_already_is_not_registered_again() {
        let image = format!("{REPOSITORY}@{DIGEST}");
        let mut world = old();
        world.newest = Some(definition(8, &image));
        let asked = wanted(&format!("{REPOSITORY}:V2"));
        let after_crash = planned(&asked, seen(), &world).unwrap();
        assert_eq!(after_crash.register, None);
        assert!(after_crash.present.unwrap().ends_with(":8"));
        let world = observed(definition(8, &image));
        let again = planned(&asked, seen(), &world).unwrap();
        assert!(again.actions().is_empty() && again.present.unwrap().ends_with(":8"));
        let request = Request { images: &asked, always: true, ..Request::default() };
        let found = Found { images: vec![seen()], ..Found::default() };
        let always = plan(&request, world.base.document.clone(), &world, found).unwrap();
        assert!(always.register.is_some());
    }

    #[test]
    fn a_revision_that_is_not_active_cannot_be_deployed_and_is_made_again() {
        let mut gone = definition(8, &format!("{REPOSITORY}@{DIGEST}"));
        gone.status = "INACTIVE".into();
        let world = Observed { newest: None, ..observed(gone) };
        let plan = planned(&wanted(&format!("{REPOSITORY}:V2")), seen(), &world).unwrap();
        assert!(plan.register.is_some());
    }

    #[test]
    fn a_tag_is_not_the_image_that_it_was() {
        // The base names the very tag that is asked for: what runs is what the tag was at its deployment.
        let world = observed(definition(7, &format!("{REPOSITORY}:latest")));
        let plan = planned(&wanted(&format!("{REPOSITORY}:latest")), seen(), &world).unwrap();
        assert!(plan.register.is_some());
        assert!(format!("{:?}", plan.notes()).contains("may have been another image when it was deployed"));
    }

    #[test]
    fn somebodys_half_done_edit_is_not_the_base_and_is_told_of() {
        let mut world = old();
        world.newest = Some(definition(9, "half-done"));
        let plan = planned(&wanted(&format!("{REPOSITORY}:V2")), seen(), &world).unwrap();
        assert!(!plan.register.clone().unwrap().to_string().contains("half-done"));
        let notes = format!("{:?}", plan.notes());
        assert!(notes.contains("rally-prod:7") && notes.contains("rally-prod:9"), "{notes}");
    }

    #[test]
    fn refusals_say_what_is_there() {
        let refuse = |reference: &str, seen: SeenImage| {
            let failure = planned(&wanted(reference), seen, &old()).unwrap_err();
            assert_eq!(failure.code(), Code::Refused, "{failure}");
            failure.chain().join("; ")
        };
        let tag = format!("{REPOSITORY}:V2");
        assert_eq!(refuse(&tag, SeenImage::Absent), "the repository has no such image");
        let other = format!("{REPOSITORY}:V2@sha256:{}", "ff".repeat(32));
        assert_eq!(refuse(&other, seen()), format!("in ECR its tag is {DIGEST}"));
        assert!(refuse("nginx:1", SeenImage::NotAsked).contains("not in ECR"));
    }

    #[test]
    fn an_image_for_another_platform_is_refused_where_the_platform_is_known() {
        let with = |fields: Value, platforms: &[&str]| {
            let mut base = definition(7, &format!("{REPOSITORY}:V1"));
            base.document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let platforms = platforms.iter().map(|platform| (*platform).to_owned()).collect();
            let seen = SeenImage::Found { digest: DIGEST.into(), platforms };
            match planned(&wanted(&format!("{REPOSITORY}:V2")), seen, &observed(base)) {
                Ok(plan) => plan.notes().iter().map(|note| format!("{note:?}")).collect::<String>(),
                Err(failure) => {
                    assert_eq!(failure.code(), Code::Refused);
                    format!("refused: {}", failure.chain().join("; "))
                }
            }
        };
        let runtime = |text: &str| json!({"runtimePlatform": {"cpuArchitecture": text}});
        let fargate = json!({"requiresCompatibilities": ["FARGATE"]});
        let ec2 = json!({"requiresCompatibilities": ["EC2"]});
        let (arm, both) = (&["linux/arm64"][..], &["linux/amd64", "linux/arm64"][..]);
        let windows = json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}});
        for (fields, platforms, said) in [
            (&fargate, arm, "refused: rally-prod:7 runs on linux/amd64, and the image is for linux/arm64"),
            (
                &runtime("X86_64"),
                arm,
                "refused: rally-prod:7 runs on amd64, and the image is for linux/arm64",
            ),
            (&runtime("ARM64"), &["linux/amd64"], "refused: rally-prod:7 runs on arm64, and"),
            (&windows, &["linux/amd64"], "refused: rally-prod:7 runs on windows, and"),
            (&ec2, arm, "is for linux/arm64, and rally-prod:7 does not say in runtimePlatform"),
            (&json!({}), arm, "its tasks start only on instances of that kind"),
        ] {
            let noted = with(fields.clone(), platforms);
            assert!(noted.contains(said), "{fields} {platforms:?}: {noted}");
        }
        for (fields, platforms) in [
            (&fargate, both),
            (&ec2, both),
            (&ec2, &["linux/amd64"][..]),
            (&runtime("ARM64"), arm),
            (&runtime("ARM64"), both),
            (&windows, &["windows/amd64"]),
        ] {
            assert!(!with(fields.clone(), platforms).contains("refused"), "{fields} {platforms:?}");
        }
        assert_eq!(with(ec2, both), "");
    }

    #[test]
    fn another_digest_than_the_tested_one_is_refused() {
        let asked = wanted(&format!("{REPOSITORY}:V2"));
        let with = |digest: &str| {
            let expected = [ExpectedDigest { container: "rally-prod-webapp".into(), digest: digest.into() }];
            let request = Request { images: &asked, expected: &expected, ..Request::default() };
            let found = Found { images: vec![seen()], ..Found::default() };
            plan(&request, old().base.document, &old(), found)
        };
        assert!(with(DIGEST).is_ok());
        let other = format!("sha256:{}", "ff".repeat(32));
        let refused = with(&other).unwrap_err();
        assert_eq!(refused.chain(), [format!("its digest is {DIGEST}, and {other} was expected")]);
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once_and_can_be_allowed() {
        let checks = [
            Checked::new("task role", "t", Verdict::Ok("trusts".into())),
            Checked::new("log group", "g", Verdict::Missing("there is no such log group".into())),
            Checked::new("secret", "s", Verdict::Missing("there is no such secret".into())),
            Checked::new("parameter", "p", Verdict::Skipped("no permission: allow ssm:GetParameters".into())),
        ];
        let with = |allowed: &[String]| {
            let request = Request { allow_missing: allowed, always: true, ..Request::default() };
            let found = Found { checks: Some(checks.to_vec()), ..Found::default() };
            plan(&request, old().base.document, &old(), found)
        };
        let refused = with(&[]).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert_eq!(
            refused.chain(),
            ["log group g: there is no such log group\nsecret s: there is no such secret"]
        );
        let allowed = with(&["g".to_owned(), "s".to_owned()]).unwrap();
        let notes = format!("{:?}", allowed.notes());
        assert!(notes.contains("preflight: 1 OK, 2 MISSING, 1 SKIPPED"), "{notes}");
        assert!(notes.contains("SKIPPED parameter p: no permission: allow ssm:GetParameters"), "{notes}");
    }

    #[test]
    fn a_first_revision_of_a_file_shows_all_of_it_masked() {
        let document = json!({"family": "new", "containerDefinitions": [{"name": "a", "image": "nginx", "environment": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]});
        let base = Base { name: "new.json".into(), definition: None, document: document.clone() };
        let world = Observed { base, running: None, newest: None };
        let image = WantedImage { container: "a".into(), image: parse_image("nginx").unwrap(), asked: false };
        let plan = planned(&[image], SeenImage::NotAsked, &world).unwrap();
        assert_eq!(plan.register, Some(document));
        assert!(plan.images.is_empty());
        let shown = serde_json::to_string(&plan).unwrap();
        assert!(shown.contains("\"value\":\"***\"") && !shown.contains("hunter2"), "{shown}");
        assert!(format!("{:?}", plan.notes()).contains("its tag is not pinned"));
    }

    #[test]
    fn a_plan_can_be_shown_before_the_image_is_built() {
        let asked = wanted(&format!("{REPOSITORY}:V2"));
        let request = Request { images: &asked, allow_absent_image: true, ..Request::default() };
        let found = Found { images: vec![SeenImage::Absent], ..Found::default() };
        let plan = plan(&request, old().base.document, &old(), found).unwrap();
        assert_eq!(plan.images[0].1, format!("{REPOSITORY}:V2"));
        assert!(matches!(plan.notes()[0], Note::Warning(_)));
    }
}
