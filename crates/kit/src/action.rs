//! The GitHub action of a step, generated from its command so that the two can't disagree.
//!
//! Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Arg;

use crate::{Image, Step};

/// What the actions run in: nothing before a release, which builds from the `Dockerfile`; in a release, its two images by their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(Option<Released>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Released {
    steps: String,
    clients: String,
}

impl Images {
    /// Those of a release.
    ///
    /// # Errors
    ///
    /// An image that is not named as `REGISTRY/NAME@sha256:DIGEST`: whoever pins an action by its commit would not pin what it runs.
    pub fn released(steps: &str, clients: &str) -> Result<Self, String> {
        for image in [steps, clients] {
            let pinned = image.split_once("@sha256:").is_some_and(|(name, digest)| {
                name.contains('/')
                    && !name.contains(char::is_whitespace)
                    && digest.len() == 64
                    && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            });
            if !pinned {
                return Err(format!("{image:?} is no image pinned as REGISTRY/NAME@sha256:DIGEST"));
            }
        }
        Ok(Self(Some(Released { steps: steps.to_owned(), clients: clients.to_owned() })))
    }

    /// The value of `runs.image`; `up` leads from the action's folder to the root.
    fn of(&self, image: Image, up: &str) -> String {
        match (&self.0, image) {
            (None, _) => format!("{up}Dockerfile"),
            (Some(released), Image::Steps) => format!("docker://{}", released.steps),
            (Some(released), Image::Clients) => format!("docker://{}", released.clients),
        }
    }
}

const GENERATED: &str = "# Generated from the steps' arguments by `make generate`; a test compares.\n";

/// A YAML scalar in single quotes, on one line.
fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("'{}'", line.replace('\'', "''"))
}

fn description(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = help.trim_end_matches('.').to_owned();
    if matches!(arg.get_action(), clap::ArgAction::Append) {
        text.push_str("; one a line");
    }
    let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    if let Some(default) = default {
        let _ = write!(text, " [default: {default}]");
    }
    text
}

/// The arguments that a step takes as inputs, by name.
fn inputs(step: &'static Step) -> BTreeMap<String, (String, bool)> {
    let command = step.full_command(None);
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set());
    arguments
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), (description(arg), arg.is_required_set()))))
        .filter(|(name, _)| name != "help" && name != "version")
        .collect()
}

/// `actions/STEP/action.yml`.
pub fn action_yml(step: &'static Step, images: &Images) -> String {
    let about = step.full_command(None).get_about().map(ToString::to_string).unwrap_or_default();
    let mut out = String::from(GENERATED);
    let _ =
        write!(out, "name: {}\ndescription: {}\n", quoted(&format!("cutover {}", step.name)), quoted(&about));
    out.push_str("inputs:\n");
    for (name, (description, required)) in inputs(step) {
        // The runner does not enforce `required`; the step does, since an input that is not set arrives empty.
        let _ =
            write!(out, "  {name}:\n    description: {}\n    required: {required}\n", quoted(&description));
    }
    out.push_str("outputs:\n");
    for (name, description) in step.all_outputs() {
        let _ = write!(out, "  {name}:\n    description: {}\n", quoted(description));
    }
    // Without an entrypoint here, a caller could set another one by `with: entrypoint:`.
    let _ = write!(
        out,
        "runs:\n  using: docker\n  image: {}\n  entrypoint: /usr/local/bin/{}\n",
        images.of(step.image, "../../"),
        step.name
    );
    out
}

/// The root `action.yml`: one action whose input `step` names the step, with the inputs of all.
pub fn dispatcher_yml(steps: &[&'static Step], images: &Images) -> String {
    let mut all: BTreeMap<String, Vec<(&str, String)>> = BTreeMap::new();
    // What each step says of an output, the same words once.
    let mut outputs: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for step in steps {
        for (name, (description, _)) in inputs(step) {
            all.entry(name).or_default().push((step.name, description));
        }
        for (name, description) in step.all_outputs() {
            outputs.entry(name).or_default().entry(description).or_default().push(step.name);
        }
    }
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    let mut out = String::from(GENERATED);
    let _ = write!(
        out,
        "name: 'cutover'\ndescription: 'One step of an AWS release: {}'\ninputs:\n  step:\n    description: {}\n    required: true\n",
        names.join(", "),
        quoted(&format!("The step to run: one of {}", names.join(", ")))
    );
    for (name, uses) in all {
        let everywhere = uses.len() == steps.len();
        let said = uses.first().map(|(_, description)| description.clone()).unwrap_or_default();
        let text = if everywhere {
            said
        } else {
            let steps: Vec<&str> = uses.iter().map(|(step, _)| *step).collect();
            format!("{said} ({})", steps.join(", "))
        };
        let _ = write!(out, "  {name}:\n    description: {}\n    required: false\n", quoted(&text));
    }
    out.push_str("outputs:\n");
    for (name, said) in outputs {
        let everywhere = said.values().flatten().count() == steps.len() && said.len() == 1;
        let one = |(text, of): (&&str, &Vec<&str>)| {
            if everywhere { (*text).to_owned() } else { format!("{text} ({})", of.join(", ")) }
        };
        let text = said.iter().map(one).collect::<Vec<_>>().join("; ");
        let _ = write!(out, "  {name}:\n    description: {}\n", quoted(&text));
    }
    // Any step may be asked for, so it is the image that has what any of them starts.
    let _ = write!(
        out,
        "runs:\n  using: docker\n  image: {}\n  entrypoint: /usr/local/bin/cutover\n  args:\n    - ${{{{ inputs.step }}}}\n",
        images.of(Image::Clients, "")
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_release_pins_its_images() {
        let steps = format!("ghcr.io/example/cutover@sha256:{DIGEST}");
        let clients = format!("ghcr.io/example/cutover-clients@sha256:{DIGEST}");
        let images = Images::released(&steps, &clients).unwrap();
        assert_eq!(images.of(Image::Steps, "../../"), format!("docker://{steps}"));
        assert_eq!(images.of(Image::Clients, ""), format!("docker://{clients}"));
        assert_eq!(Images::default().of(Image::Clients, "../../"), "../../Dockerfile");
    }

    #[test]
    fn an_image_by_tag_is_refused() {
        let good = format!("ghcr.io/example/cutover@sha256:{DIGEST}");
        for bad in [
            "",
            "ghcr.io/example/cutover",
            "ghcr.io/example/cutover:v1",
            "ghcr.io/example/cutover@sha256:0123",
            &format!("ghcr.io/example/cutover@sha256:{}", DIGEST.to_uppercase()),
            &format!("cutover@sha256:{DIGEST}"),
            &format!("ghcr.io/example/cutover\nentrypoint: x@sha256:{DIGEST}"),
        ] {
            assert!(Images::released(bad, &good).is_err(), "{bad}");
            assert!(Images::released(&good, bad).is_err(), "{bad}");
        }
    }
}
