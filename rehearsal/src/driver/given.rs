//! What the person who starts the run gives to it: inputs, contexts, endpoints.

use serde_json::{Value, json};

use super::{Options, Trouble, Values};
use crate::workflow::offer::GITHUB;
use crate::workflow::{Workflow, text};

/// `github`, `inputs`, `vars` and `secrets`; or why nothing can start.
pub(crate) fn contexts(workflow: &Workflow, options: &Options) -> Result<Value, Trouble> {
    let given = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<Values>();
    let (secrets, env) = (given(&options.secrets), given(&options.env));
    loopback(&env)?;
    let mut github = pairs(GITHUB).collect::<Values>();
    github.insert("workflow".into(), text(&workflow.doc.value["name"]));
    github.extend(secrets.get("GITHUB_TOKEN").map(|token| ("token".into(), token.clone())));
    github.extend(env.get("GITHUB_API_URL").map(|url| ("api_url".into(), url.clone())));
    if let Some((name, _)) = options.github.iter().find(|(name, _)| !github.contains_key(name)) {
        return Err(format!("--github {name}: the context has no such member").into());
    }
    github.extend(given(&options.github));
    let inputs = workflow.inputs(&options.inputs)?;
    let mut contexts = json!({ "github": github, "vars": given(&options.vars), "secrets": secrets });
    contexts["github"]["event"] = json!({ "inputs": inputs });
    contexts["inputs"] = Value::Object(inputs);
    Ok(contexts)
}

/// No variable that names an endpoint may lead off this machine.
pub(crate) fn loopback(env: &Values) -> Result<(), Trouble> {
    for (name, value) in env {
        let endpoint = name.starts_with("AWS_ENDPOINT_URL")
            || ["GITHUB_API_URL", "INPUT_ENDPOINT-URL"].contains(&name.as_str());
        let here = url::Url::parse(value).is_ok_and(|url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            host => host == Some(url::Host::Domain("localhost")),
        });
        if endpoint && !value.is_empty() && !here {
            let why = "is not on loopback: a rehearsal never leaves this machine";
            return Err(format!("{name}={value} {why}").into());
        }
    }
    Ok(())
}

/// `a=1 b=2`
pub(crate) fn pairs(list: &str) -> impl Iterator<Item = (String, String)> {
    list.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()))
}
