//! Variables that a service had and has not now.
//!
//! The text does not say whether a program needs one: many have a default, and a wrong address shows only in the links that
//! are made of it. So most are a warning, and nothing is red for it. Those that make the first account are read by a new app
//! alone: it comes up and serves without them, and nobody can log in.

use std::collections::BTreeMap;

use super::{DROPPED, FIRST_START, first_start, tells_of, variables_of};
use crate::compose::Project;
use crate::compose::model::Service;
use crate::compose::query::MAIN_SERVICE;
use crate::traefik::faults::Fault;
use ground::name::image::is_same_repository;

/// Who the first account is for, as the names of variables say it.
const WHO: [&str; 4] = ["ADMIN", "ADMINISTRATOR", "SUPERUSER", "SUPERADMIN"];

/// What such a variable is about: a name such as `ADMIN_URL` makes no account.
const ACCOUNT: [&str; 8] = [
    "CREATE", "USER", "USERNAME", "NAME", "LOGIN", "PASSWORD", "PASS", "PWD",
];

/// Returns whether a variable is one of those that make the first account of a new app: `CREATE_ADMIN`,
/// `ADMIN_PASSWORD_FILE`, `KEYCLOAK_ADMIN`.
fn makes_account(variable: &str) -> bool {
    let name = variable.strip_suffix("_FILE").unwrap_or(variable);
    let words: Vec<&str> = name.split('_').collect();
    let has = |these: &[&str]| words.iter().any(|word| these.contains(word));
    let is_last = words.last().is_some_and(|last| WHO.contains(last));
    is_last || has(&WHO) && has(&ACCOUNT)
}

/// Returns the variables of a service that are gone, each in backticks.
type Gone<'a> = (&'a Service, Vec<&'a str>);

/// Returns the services of the same software with the variables that they had and have not now, unless the release `notes`
/// name them in backticks. `vars` is the env file, of which the service `app` is given all.
fn gone<'a>(
    base: &'a Project,
    head: &'a Project,
    vars: &BTreeMap<String, String>,
    notes: &str,
) -> Vec<Gone<'a>> {
    let mut all = Vec::new();
    for now in &head.services {
        let Some(then) = base.service(&now.name) else {
            continue;
        };
        let (Some(image), Some(image_then)) = (&now.image, &then.image) else {
            continue;
        };
        if !is_same_repository(image, image_then) {
            continue;
        }
        // One that has the value is the same by another name.
        let is_renamed = |value: &str| {
            let mut others = now.environment.iter();
            others.any(|(name, other)| {
                other.as_deref() == Some(value) && !then.environment.contains_key(name)
            })
        };
        let is_given = |name: &str| {
            now.name == MAIN_SERVICE && vars.get(name).is_some_and(|it| !it.is_empty())
        };
        let gone = then.environment.iter().filter_map(|(name, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            let is_there = now.environment.contains_key(name)
                || is_given(name)
                || is_renamed(value)
                || first_start::is_setting(image, name)
                || tells_of(notes, name);
            (!is_there).then_some(name.as_str())
        });
        all.push((now, gone.collect()));
    }
    all
}

/// Returns the variables that services had and have not now, but those of [`first_account`]. `vars` is the operator's env
/// file.
#[must_use]
pub fn dropped(
    base: &Project,
    head: &Project,
    vars: &BTreeMap<String, String>,
    notes: &str,
) -> Vec<Fault> {
    let gone = gone(base, head, vars, notes).into_iter();
    let fault = |(service, mut names): Gone<'_>| {
        names.retain(|name| !makes_account(name));
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| Fault {
            rule: DROPPED,
            path: variables_of(service),
            message: format!(
                "service `{}` has no {} any more, which the version before gives it: a new app may need it though one that is upgraded goes on. Put it back, or name it in backticks in `release/next`",
                service.name,
                names.join(", "),
            ),
        })
    };
    gone.filter_map(fault).collect()
}

/// Returns the variables that make the first account of a new app and that services have no more. `vars` is the env file of
/// a new app.
#[must_use]
pub fn first_account(
    base: &Project,
    head: &Project,
    vars: &BTreeMap<String, String>,
    notes: &str,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (service, names) in gone(base, head, vars, notes) {
        // The other form of a name says the same.
        let is_there = |name: &str| {
            let other = match name.strip_suffix("_FILE") {
                Some(plain) => plain.to_owned(),
                None => format!("{name}_FILE"),
            };
            service.environment.contains_key(&other)
        };
        let names = names.into_iter();
        for name in names.filter(|name| makes_account(name) && !is_there(name)) {
            faults.push(Fault {
                rule: FIRST_START,
                path: variables_of(service),
                message: format!(
                    "`{name}` of service `{}` is gone, which the version before has: by its name it makes the first account, so an app that is upgraded goes on, and to a new one nobody may be able to log in. Put it back, or name `{name}` in backticks in `release/next` if new apps need none",
                    service.name,
                ),
            });
        }
    }
    faults
}
