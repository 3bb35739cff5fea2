//! Lookups of objects; a problem when there is none.

use std::sync::Arc;

use ringway_model::{App, AppId, Desired, Domain, Hostname};

use crate::problem::{Kind, Problem};

pub(crate) fn app_of<'a>(desired: &'a Desired, id: &AppId) -> Result<&'a Arc<App>, Problem> {
    desired
        .app(id.as_str())
        .ok_or_else(|| Problem::new(Kind::UnknownApp, format!("app {id} is not registered")))
}

pub(crate) fn domain_of<'a>(desired: &'a Desired, name: &Hostname) -> Result<&'a Arc<Domain>, Problem> {
    desired
        .domain(name.as_str())
        .ok_or_else(|| Problem::new(Kind::UnknownDomain, format!("domain {name} is not registered")))
}
