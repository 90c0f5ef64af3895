//! Where databases keep their files, as far as a recipe's own files say.

use super::{Kind, hint};
use crate::recipe::compose::Project;
use crate::recipe::compose::model::{MountKind, Service};

/// A database whose files are on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivesIn {
    /// The service that it runs in.
    pub service: String,
    /// What it is.
    pub kind: Kind,
    /// The directory with its files below the volume's root; empty for all of it.
    pub below: String,
}

/// Where images keep the files of each kind when no variable says otherwise.
const DIRECTORIES: [(Kind, &[&str]); 4] = [
    (
        Kind::PostgreSql,
        &[
            "/var/lib/postgresql/data",
            "/bitnami/postgresql",
            "/home/postgres/pgdata",
        ],
    ),
    (
        Kind::MariaDb,
        &[
            "/var/lib/mysql",
            "/bitnami/mariadb",
            "/bitnami/mysql",
            "/config/databases",
        ],
    ),
    (Kind::MongoDb, &["/data/db", "/bitnami/mongodb"]),
    (
        Kind::Redis,
        &["/data", "/bitnami/redis/data", "/bitnami/valkey/data"],
    ),
];

/// Returns the database whose files `volume` (its key in the compose files) holds, by the image of the service that
/// mounts it. Of an image with a name of its own only its processes tell; the tiers ask those.
#[must_use]
pub fn lives_in(project: &Project, volume: &str) -> Option<LivesIn> {
    project.services.iter().find_map(|service| {
        let kind = hint::image(service.image.as_deref()?)?;
        let mounts = service.volumes.iter().filter(|mount| {
            mount.kind == MountKind::Volume && mount.source.as_deref() == Some(volume)
        });
        let places = places(service, kind);
        let below = |target: &str| places.iter().find_map(|place| below(place, target));
        let below = mounts.into_iter().find_map(|mount| below(&mount.target))?;
        Some(LivesIn {
            service: service.name.clone(),
            kind,
            below,
        })
    })
}

/// Returns where the files of a database may be in the containers of `service`, the likeliest first.
fn places(service: &Service, kind: Kind) -> Vec<String> {
    let named = match kind {
        Kind::PostgreSql => service.environment.get("PGDATA"),
        _ => None,
    };
    if let Some(Some(named)) = named {
        return vec![named.clone()];
    }
    if kind == Kind::PostgreSql && newest_layout(service.image.as_deref().unwrap_or_default()) {
        return vec!["/var/lib/postgresql".to_owned()];
    }
    let known = DIRECTORIES.iter().find(|(of, _)| *of == kind);
    let places = known.map_or(&[][..], |(_, places)| places);
    places.iter().map(|place| (*place).to_owned()).collect()
}

/// Returns whether an image is of PostgreSQL 18 or newer, whose volume is one directory further up.
fn newest_layout(image: &str) -> bool {
    let tag = image
        .split('@')
        .next()
        .and_then(|name| name.rsplit_once(':'));
    let major = tag.map(|(_, tag)| tag.trim_start_matches("pg").chars());
    let major: Option<String> = major.map(|tag| tag.take_while(char::is_ascii_digit).collect());
    let major = major.and_then(|major| major.parse::<u32>().ok());
    // Years are tags of other schemes.
    major.is_some_and(|major| (18..1000).contains(&major))
}

/// Returns the part of `directory` that is below the root of a volume that is mounted at `target`, if any of it is there.
#[must_use]
pub fn below(directory: &str, target: &str) -> Option<String> {
    let (directory, target) = (
        std::path::Path::new(directory),
        std::path::Path::new(target),
    );
    if target.starts_with(directory) {
        return Some(String::new());
    }
    let rest = directory.strip_prefix(target).ok()?;
    Some(rest.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn project(services: &str) -> Project {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("services:\n{services}\nvolumes: {{kept: }}\n");
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        Project::load(dir.path(), &files, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_volume_is_a_databases_where_its_image_keeps_its_files() {
        for (service, found) in [
            (
                "{image: 'postgres:15', volumes: ['kept:/var/lib/postgresql/data']}",
                Some(""),
            ),
            (
                "{image: 'postgres:18', volumes: ['kept:/var/lib/postgresql']}",
                Some(""),
            ),
            (
                "{image: 'postgres:15', environment: {PGDATA: /data/pg}, volumes: ['kept:/data']}",
                Some("pg"),
            ),
            (
                "{image: 'mariadb:11', volumes: ['kept:/var/lib/mysql']}",
                Some(""),
            ),
            (
                "{image: 'linuxserver/mariadb', volumes: ['kept:/config']}",
                Some("databases"),
            ),
            ("{image: 'redis:7', volumes: ['kept:/data']}", Some("")),
            ("{image: 'mongo:6', volumes: ['kept:/data/db']}", Some("")),
            // Where the image does not look, and of another image.
            (
                "{image: 'mariadb:11', volumes: ['kept:/var/lib/mysqldata']}",
                None,
            ),
            ("{image: 'mariadb:11', volumes: ['kept:/backups']}", None),
            ("{image: nginx, volumes: ['kept:/var/lib/mysql']}", None),
        ] {
            let project = project(&format!("  db: {service}"));
            let below = lives_in(&project, "kept").map(|found| found.below);
            assert_eq!(below.as_deref(), found, "{service}");
            assert_eq!(lives_in(&project, "other"), None);
        }
    }
}
