//! The run apps of a zone that there are signs of: objects that bear an app's label and its name, env files, and
//! records of what was made.

use std::collections::BTreeSet;
use std::path::Path;

use engine::dirs::HostDirs;
use engine::made;
use engine::swarm::object::Object;
use engine::swarm::{Engine, EngineError};
use ground::error::chain;
use ground::name::{Domain, Zone};

/// What a look over the host found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The run apps of which there is something.
    pub(super) apps: BTreeSet<Domain>,
    /// Objects that bear the label of a run app and are not its own, in words.
    pub(super) foreign: BTreeSet<String>,
    /// What could not be read.
    pub(super) unreadable: Vec<String>,
}

/// Finds every run app of `zone`.
///
/// An object without a label of ours is no sign, whatever its name: anybody may call a volume so. Nor is one that bears
/// our label under another name: Docker's client relabels what a compose file names.
pub(super) async fn of_zone(
    engine: &Engine,
    host: &HostDirs,
    zone: &Zone,
) -> Result<Found, EngineError> {
    let mut found = Found::default();
    for object in engine.all_objects().await? {
        let Some(domain) = domain_of(&object, zone) else {
            continue;
        };
        if object.is_of(&domain.stack()) {
            found.apps.insert(domain);
            continue;
        }
        // An object with a name of its own is known by the record.
        match made::belongings(host, &domain) {
            Ok(app) if app.has(&object) => {
                found.apps.insert(domain);
            }
            Ok(_) => {
                found
                    .foreign
                    .insert(format!("{object} bears the label of {domain}"));
            }
            // It is a candidate by the file itself, and said below.
            Err(_) => {}
        }
    }
    let unreadable = &mut found.unreadable;
    let recorded = made::domains(host, zone, unreadable);
    for domain in &recorded {
        if let Err(error) = made::belongings(host, domain) {
            unreadable.push(chain(&error));
        }
    }
    found.apps.extend(recorded);
    found.apps.extend(of_env_files(host, zone, unreadable));
    Ok(found)
}

/// Returns the run apps of `zone` that have an env file on any server.
fn of_env_files(host: &HostDirs, zone: &Zone, unreadable: &mut Vec<String>) -> BTreeSet<Domain> {
    let mut found = BTreeSet::new();
    let servers = host.abra.join("servers");
    let entries = match ground::host_file::entries(&servers) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
        Err(error) => {
            unreadable.push(format!("`{}`: {error}", servers.display()));
            return found;
        }
    };
    for entry in readable(entries, &servers, unreadable) {
        let path = entry.path();
        // What cannot be told from a directory is not taken for a file.
        let files = match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_dir() => continue,
            Ok(_) => ground::host_file::entries(&path),
            Err(error) => Err(error),
        };
        match files {
            Err(error) => unreadable.push(format!("`{}`: {error}", path.display())),
            Ok(files) => {
                let files = readable(files, &path, unreadable);
                found.extend(files.iter().filter_map(|file| {
                    let name = file.file_name();
                    Domain::parse(name.to_str()?.strip_suffix(".env")?, zone).ok()
                }));
            }
        }
    }
    found
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

/// Returns the run app that an object's label names. `_` stands for the zone's dots and cannot occur in it.
fn domain_of(object: &Object, zone: &Zone) -> Option<Domain> {
    let stack = object.namespace.as_ref()?;
    Domain::parse(&stack.replace('_', "."), zone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_labelled_objects_of_run_apps_of_the_zone_and_nothing_else() {
        let of = |label: Option<&str>, name: &str, zone: &str| {
            let object = Object {
                kind: engine::swarm::object::Kind::Service,
                id: "1".to_owned(),
                name: name.to_owned(),
                namespace: label.map(str::to_owned),
                labels: std::collections::BTreeMap::new(),
            };
            let domain = domain_of(&object, &zone.parse().unwrap())?;
            Some((object.is_of(&domain.stack()), domain.to_string()))
        };
        let label = Some("note-0a1b2c_ci_localhost");
        let app = "note-0a1b2c.ci.localhost".to_owned();
        let name = "note-0a1b2c_ci_localhost_app";
        assert_eq!(of(label, name, "ci.localhost"), Some((true, app.clone())));
        // Bears the label, and is not ours.
        assert_eq!(of(label, "victim_db", "ci.localhost"), Some((false, app)));
        // Of a zone whose name begins alike, of a warm app, and of no app.
        assert_eq!(of(label, name, "ci"), None);
        assert_eq!(
            of(Some("warm-notes_ci_localhost"), name, "ci.localhost"),
            None
        );
        assert_eq!(of(Some("note"), name, "ci.localhost"), None);
        assert_eq!(of(None, name, "ci.localhost"), None);
    }
}
