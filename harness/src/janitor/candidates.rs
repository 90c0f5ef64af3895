//! The run apps of a zone that there are signs of: objects of every kind, and env files.

use std::collections::BTreeSet;
use std::path::Path;

use crate::dirs::HostDirs;
use crate::name::{Domain, Zone};
use crate::swarm::object::Object;
use crate::swarm::{Engine, EngineError};

/// Finds every run app of `zone`: by objects of every kind, by their stack label, and by env files.
pub(super) async fn of_zone(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
    unreadable: &mut Vec<String>,
) -> Result<BTreeSet<Domain>, EngineError> {
    let mut found = BTreeSet::new();
    let objects = engine.all_objects().await?;
    found.extend(objects.iter().filter_map(|object| domain_of(object, zone)));
    let servers = host.abra.join("servers");
    match std::fs::read_dir(&servers) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => unreadable.push(format!("`{}`: {error}", servers.display())),
        Ok(entries) => {
            for entry in readable(entries, &servers, unreadable) {
                let path = entry.path();
                // What cannot be told from a directory is not taken for a file.
                let files = match std::fs::metadata(&path) {
                    Ok(meta) if !meta.is_dir() => continue,
                    Ok(_) => std::fs::read_dir(&path),
                    Err(error) => Err(error),
                };
                match files {
                    Err(error) => unreadable.push(format!("`{}`: {error}", path.display())),
                    Ok(files) => found.extend(
                        readable(files, &path, unreadable)
                            .iter()
                            .filter_map(|file| {
                                let name = file.file_name();
                                Domain::parse(name.to_str()?.strip_suffix(".env")?, zone).ok()
                            }),
                    ),
                }
            }
        }
    }
    Ok(found)
}

/// Returns the entries of a directory; one that cannot be read is noted, never skipped in silence.
pub(super) fn readable(
    entries: std::fs::ReadDir,
    dir: &Path,
    unreadable: &mut Vec<String>,
) -> Vec<std::fs::DirEntry> {
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => found.push(entry),
            Err(error) => unreadable.push(format!("an entry of `{}`: {error}", dir.display())),
        }
    }
    found
}

/// Returns the run app that an object is of: what its label says, and its name where it has none. A name alone
/// may be another zone's: `note-0a1b2c_ci_localhost_data` looks like an object of the zone `ci`.
fn domain_of(object: &Object, zone: &Zone) -> Option<Domain> {
    match &object.namespace {
        Some(stack) => domain_of_stack(stack, zone),
        None => domain_of_object(&object.name, zone),
    }
}

/// Returns the run app whose stack has this name. `_` stands for the zone's dots and cannot occur in it.
fn domain_of_stack(stack: &str, zone: &Zone) -> Option<Domain> {
    Domain::parse(&stack.replace('_', "."), zone).ok()
}

/// Returns the run app whose stack an object's name begins with.
fn domain_of_object(name: &str, zone: &Zone) -> Option<Domain> {
    let tail = format!("_{}_", zone.as_str().replace('.', "_"));
    let end = name.find(&tail)?;
    Domain::parse(&format!("{}.{zone}", &name[..end]), zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_of_a_zone_is_none_of_the_zone_that_its_name_begins_with() {
        let make = |namespace: Option<&str>| Object {
            kind: crate::swarm::object::Kind::Service,
            id: "1".to_owned(),
            name: "note-0a1b2c_ci_localhost_app".to_owned(),
            namespace: namespace.map(str::to_owned),
            labels: std::collections::BTreeMap::new(),
        };
        let labelled = make(Some("note-0a1b2c_ci_localhost"));
        let app = |zone: &str| domain_of(&labelled, &zone.parse().unwrap());
        assert_eq!(app("ci"), None);
        assert_eq!(
            app("ci.localhost").unwrap().as_str(),
            "note-0a1b2c.ci.localhost"
        );
        assert!(domain_of(&make(None), &"ci.localhost".parse().unwrap()).is_some());
    }

    #[test]
    fn candidates_are_run_apps_of_the_zone_and_nothing_else() {
        let zone: Zone = "ci.localhost".parse().unwrap();
        let found = domain_of_object("note-0a1b2c_ci_localhost_data", &zone).unwrap();
        assert_eq!(found.as_str(), "note-0a1b2c.ci.localhost");
        assert_eq!(
            domain_of_stack("note-0a1b2c_ci_localhost", &zone),
            Some(found)
        );
        for foreign in [
            "warm-notes_ci_localhost_data",
            "mynote-0a1b2c_ci_localhost_data",
            "note-0a1b2c_example_org_data",
            "note-0a1b2c_ci_localhost",
            "note_data",
        ] {
            assert_eq!(domain_of_object(foreign, &zone), None, "{foreign}");
        }
        assert_eq!(domain_of_stack("warm-notes_ci_localhost", &zone), None);
    }
}
