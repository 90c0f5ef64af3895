//! Variables that a service had and has not now.
//!
//! The text does not say whether a program needs one: many have a default, some are read by a new app alone, and a wrong
//! address shows only in the links that are made of it. So this is a warning, and nothing is red for it.

use std::collections::BTreeMap;

use super::{DROPPED, first_start, tells_of, variables_of};
use crate::compose::Project;
use crate::compose::query::MAIN_SERVICE;
use crate::traefik::faults::Fault;
use ground::name::image::is_same_repository;

/// Returns the services of the same software that had variables which they have not now, unless the release `notes` name
/// them in backticks. `vars` is the operator's env file, of which the service `app` is given all.
#[must_use]
pub fn dropped(
    base: &Project,
    head: &Project,
    vars: &BTreeMap<String, String>,
    notes: &str,
) -> Vec<Fault> {
    let mut faults = Vec::new();
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
            (!is_there).then(|| format!("`{name}`"))
        });
        let gone: Vec<String> = gone.collect();
        if gone.is_empty() {
            continue;
        }
        faults.push(Fault {
            rule: DROPPED,
            path: variables_of(now),
            message: format!(
                "service `{}` has no {} any more, which the version before gives it: a new app may need it though one that is upgraded goes on. Put it back, or name it in backticks in `release/next`",
                now.name,
                gone.join(", "),
            ),
        });
    }
    faults
}
