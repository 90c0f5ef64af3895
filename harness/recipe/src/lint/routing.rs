//! Rules about Traefik's labels.

use super::finding::{Checked, Hit};
use super::view::View;
use crate::compose::Project;
use crate::traefik::faults::faults;

/// Returns where the rule `id` does not hold.
///
/// What an optional file adds may be meant to go with another one: of names and of the domain only the deploy of a new
/// app is asked.
pub(super) fn of(view: &View, id: &str) -> Checked {
    const OF_THE_WHOLE: [&str; 3] = ["T006", "T007", "T009"];
    if !matches!(view.sample, Ok(Some(_))) {
        return Err("without .env.sample the variables are not known, see R008".to_owned());
    }
    let domain = view.vars.get("DOMAIN").map(String::as_str);
    let mut hits: Vec<Hit> = Vec::new();
    let mut add = |project: &Project| {
        for fault in faults(project, &view.stack, domain) {
            if fault.rule != id {
                continue;
            }
            // The same service is part of several deploys.
            if hits.iter().any(|hit| hit.message == fault.message) {
                continue;
            }
            hits.push(match project.location(&fault.path) {
                Some(place) => super::view::at(place, fault.message),
                None => view.hit(&fault.path, fault.message),
            });
        }
    };
    let (default, optional) = match view.has_default {
        true => view.deploys.split_at(1),
        false => view.deploys.split_at(0),
    };
    default.iter().for_each(&mut add);
    if OF_THE_WHOLE.contains(&id) {
        if default.is_empty() {
            view.default_deploy()?;
        }
    } else {
        optional.iter().for_each(&mut add);
    }
    Ok(hits)
}
