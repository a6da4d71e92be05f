//! The files that the caller names.

use kit::Failure;

use crate::request::StackArg;
use crate::template::{ParameterFile, Template};

/// The files of one stack.
#[derive(Clone, Debug)]
pub struct Files {
    /// None where the template lies in S3, or the stack's own is to stay.
    pub template: Option<Template>,
    pub body: Option<String>,
    pub parameters: ParameterFile,
}

/// Reads the template and the parameters of a stack.
///
/// # Errors
/// A file can't be read or is malformed (exit 2), with the line.
pub fn files(arg: &StackArg) -> Result<Files, Failure> {
    let mut read = Files { template: None, body: None, parameters: ParameterFile::default() };
    if let Some(file) = arg.template.as_deref().filter(|template| !is_url(template)) {
        let text = read_file("template", file)?;
        let template = Template::parse(&text).map_err(|error| {
            Failure::usage(format!("read the template {file}")).because(error).help("correct the file")
        })?;
        read.template = Some(template);
        read.body = Some(text);
    }
    if let Some(file) = &arg.parameters {
        let text = read_file("parameters", file)?;
        let no_echo = read.template.as_ref().map(Template::no_echo).unwrap_or_default();
        read.parameters = ParameterFile::parse(&text, &no_echo).map_err(|error| {
            Failure::usage(format!("read the parameters {file}")).because(error).help("correct the file")
        })?;
    }
    Ok(read)
}

/// Whether a template is named by a URL, and read by CloudFormation itself.
pub fn is_url(template: &str) -> bool {
    template.starts_with("s3://") || template.starts_with("https://")
}

fn read_file(what: &str, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("read the {what} {file}")).because(error).help("name a file that is there")
    })
}
