mod comparing;
mod indexes;
mod parameters;
mod reading;
mod recorded;
mod resolving;

use std::collections::BTreeMap;

use super::*;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn resolved(text: &str) -> Resolved {
    template(text).resolve(&BTreeMap::new(), &Pseudo::default())
}
