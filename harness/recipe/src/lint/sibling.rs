//! Names by which services look each other up.

use super::finding::{Checked, Hit};
use super::view::View;
use crate::compose::model::Service;

/// Words in the name of a variable whose value is a host.
const HOSTS: [&str; 6] = ["HOST", "SERVER", "ADDR", "ENDPOINT", "URL", "URI"];

/// Finds services on the gateway's network that look a sibling up by a name that other apps' services have there.
pub(super) fn names(view: &View) -> Checked {
    let mut hits: Vec<Hit> = Vec::new();
    for member in &view.services {
        let Some(project) = view.deploys.get(member.deploy) else {
            continue;
        };
        let service = &member.service;
        if !project.is_on_proxy(service) {
            continue;
        }
        let siblings = project.services.iter().map(|one| one.name.as_str());
        let siblings: Vec<&str> = siblings.filter(|name| *name != service.name).collect();
        for (variable, sibling) in looked_up(service, &siblings) {
            let message = format!(
                "`{variable}` of service `{}` names the host `{sibling}`, and the service is on `proxy`, where another app's `{sibling}` answers as well: write `${{STACK_NAME}}_{sibling}`",
                service.name
            );
            let path = format!("services.{}.environment.{variable}", service.name);
            hits.push(view.hit(&path, message));
        }
    }
    Ok(hits)
}

/// Returns the variables of a service that hold the plain name of a sibling as a host, each with the name.
fn looked_up<'a>(service: &'a Service, siblings: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let values = service.environment.iter();
    let values = values.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    values
        .filter_map(|(name, value)| {
            let names_a_host = HOSTS
                .iter()
                .any(|word| name.to_ascii_uppercase().contains(word));
            let is_host = |sibling: &&&str| is_host(value, sibling, names_a_host);
            siblings
                .iter()
                .find(is_host)
                .map(|sibling| (name, *sibling))
        })
        .collect()
}

/// Returns whether a value holds `name` where an address has its host: alone, where the variable says that it is a host,
/// before a port, or behind `//` or `@`.
fn is_host(value: &str, name: &str, names_a_host: bool) -> bool {
    let parts = value.split([',', ' ', ';']);
    parts.map(str::trim).any(|part| {
        let (address, marked) = match part.split_once("://") {
            Some((_, rest)) => (rest, true),
            None => (part, false),
        };
        let authority = address.split(['/', '?']).next().unwrap_or_default();
        let (host, marked) = match authority.rsplit_once('@') {
            Some((_, host)) => (host, true),
            None => (authority, marked),
        };
        let (host, port) = host.split_once(':').unwrap_or((host, ""));
        let has_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        host == name && (marked || has_port || (names_a_host && authority == address))
    })
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn a_host_is_told_from_a_word_that_is_the_same() {
        for (value, names_a_host, expected) in [
            ("db", true, true),
            ("db", false, false),
            ("db:5432", false, true),
            ("db:x", false, false),
            ("postgres://u:p@db/app", false, true),
            ("redis://db:6379/0", false, true),
            ("http://other/db", true, false),
            ("mydb", true, false),
            ("a-stack_db", true, false),
            ("db.example.org", true, false),
            ("one, db:1", false, true),
            ("https://db.example.org:443/", true, false),
        ] {
            assert_eq!(is_host(value, "db", names_a_host), expected, "{value}");
        }
    }
}
