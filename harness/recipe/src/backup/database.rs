//! Which volumes hold the files of a running database server, and which of them are saved as they lie there.
//!
//! Known by the image's name, the path in the container and `PGDATA`; what is seeded and compared inside a database is
//! another module's.

use std::path::Path;

use super::{BackupPaths, BackupPlan, ServiceHooks};
use crate::compose::Project;
use crate::compose::model::{MountKind, Service};
use crate::database::{Kind, is_beside, kind_of_image};

/// Where a server keeps its files, and whether such a path alone tells the server.
///
/// These are servers whose files belong together: they may not start from a copy that was made while they ran
/// for sure, but Redis, which replaces its one file at once.
const PLACES: [(Kind, &[(&str, bool)]); 4] = [
    (
        Kind::PostgreSql,
        &[
            ("/var/lib/postgresql/data", true),
            ("/var/lib/postgresql", true),
            ("/bitnami/postgresql", true),
            ("/home/postgres/pgdata", true),
        ],
    ),
    (
        Kind::MariaDb,
        &[
            ("/var/lib/mysql", true),
            ("/bitnami/mariadb", true),
            ("/bitnami/mysql", true),
            // linuxserver.io's; other programs may have it, too.
            ("/config/databases", false),
        ],
    ),
    (
        Kind::MongoDb,
        // Other programs have a `/data/db`, too.
        &[("/data/db", false), ("/bitnami/mongodb", true)],
    ),
    (
        Kind::Redis,
        // Many programs have a `/data`.
        &[
            ("/data", false),
            ("/bitnami/redis/data", true),
            ("/bitnami/valkey/data", true),
        ],
    ),
];

/// What a container's environment and image say of a database server in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which.
    pub kind: Kind,
    /// Where its files may be: each the root of them.
    pub places: Vec<String>,
}

impl Server {
    /// Returns the server of a container of `image` with `pgdata` in its environment that has something mounted at
    /// `targets`; `None` when it is no database server that is known.
    #[must_use]
    pub fn of<'a>(
        image: &str,
        pgdata: Option<&str>,
        targets: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        if is_beside(image) {
            return None;
        }
        let targets: Vec<&str> = targets.into_iter().collect();
        let by_image = kind_of_image(image);
        let by_place = |places: &[(&str, bool)]| {
            places.iter().any(|(place, enough)| {
                *enough && targets.iter().any(|target| is_below(target, place))
            })
        };
        let (kind, places) = PLACES
            .iter()
            .find(|(kind, _)| by_image == Some(*kind))
            .or_else(|| PLACES.iter().find(|(_, places)| by_place(places)))?;
        let own = pgdata.filter(|_| *kind == Kind::PostgreSql);
        let places = match own {
            Some(place) => vec![place.to_owned()],
            None => places
                .iter()
                .map(|(place, _)| (*place).to_owned())
                .collect(),
        };
        Some(Self {
            kind: *kind,
            places,
        })
    }

    /// Returns the server of a service as the compose files have it.
    #[must_use]
    pub fn of_service(service: &Service) -> Option<Self> {
        let pgdata = service.environment.get("PGDATA").and_then(Option::as_deref);
        let targets = service.volumes.iter().map(|mount| mount.target.as_str());
        Self::of(
            service.image.as_deref().unwrap_or_default(),
            pgdata,
            targets,
        )
    }

    /// Returns whether its files may be copied while it runs: what is there is whole at every moment. It may be old, and
    /// mostly it is a cache, so no backup needs it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.kind == Kind::Redis
    }

    /// Returns whether `path`, all that is below it, holds files of the server; `mount` is what is mounted there.
    fn is_in(&self, path: &str, mount: &str) -> bool {
        self.places
            .iter()
            .any(|place| is_below(place, path) || (path == mount && is_below(mount, place)))
    }

    /// Returns the compose names of the volumes of `service` that hold files of the server and that it may write to,
    /// each with the path where it is mounted.
    pub fn volumes<'a>(&self, service: &'a Service) -> Vec<(&'a str, &'a str)> {
        let mounts = service.volumes.iter();
        mounts
            .filter(|mount| mount.kind == MountKind::Volume && !mount.read_only)
            .filter_map(|mount| {
                let target = plain(&mount.target);
                let source = mount.source.as_deref()?;
                self.is_in(target, target).then_some((source, target))
            })
            .collect()
    }
}

/// Files of a running database server that a backup takes as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "volume `{volume}` has the files of the {kind} of service `{service}` (`{path}`), and they are copied while it \
     writes them: such a copy may be torn, and a restore changes them beneath a running server; dump the database in \
     `backupbot.backup.pre-hook` of `{service}`, load it in its `backupbot.restore.post-hook`, and save only the dump \
     (`backupbot.backup.volumes.{volume}.path`)"
)]
pub struct LiveCopy {
    /// The volume.
    pub volume: String,
    /// The service of the server.
    pub service: String,
    /// Which server it is.
    pub kind: Kind,
    /// Where its files are, in its container.
    pub path: String,
}

/// Returns where `plan` saves the files of a running database server and nothing else of it: no hook before it makes
/// a dump, or has the server hold still.
#[must_use]
pub fn live_copies(project: &Project, plan: &BackupPlan) -> Vec<LiveCopy> {
    let mut copies = live_files(project, plan);
    copies.retain(|copy| !is_dumped(plan, &copy.service));
    copies
}

/// Returns where `plan` saves the files of a running database server though a hook before it says that it makes a dump.
#[must_use]
pub fn files_beside_a_dump(project: &Project, plan: &BackupPlan) -> Vec<LiveCopy> {
    let says_so = |hooks: &ServiceHooks| hooks.backup_pre.as_deref().is_some_and(makes_a_dump);
    match plan.services.iter().any(says_so) {
        true => live_files(project, plan),
        false => Vec::new(),
    }
}

fn live_files(project: &Project, plan: &BackupPlan) -> Vec<LiveCopy> {
    let mut found = Vec::new();
    for volume in &plan.volumes {
        for mount in volume.mounts.iter().filter(|mount| !mount.read_only) {
            let service = project.service(&mount.service);
            let Some((service, server)) =
                service.and_then(|service| Some((service, Server::of_service(service)?)))
            else {
                continue;
            };
            if server.is_whole() {
                continue;
            }
            let target = plain(&mount.target);
            let saved: Vec<String> = match &volume.paths {
                BackupPaths::Whole => vec![target.to_owned()],
                BackupPaths::Named(paths) => {
                    let full = |path: &String| format!("{target}/{}", path.trim_matches('/'));
                    paths.iter().map(full).collect()
                }
            };
            let Some(path) = saved.iter().find(|path| server.is_in(path, target)) else {
                continue;
            };
            found.push(LiveCopy {
                volume: volume.volume.clone(),
                service: service.name.clone(),
                kind: server.kind,
                path: path.clone(),
            });
        }
    }
    found
}

/// Returns whether a command before the backup may dump the database of `service`.
#[must_use]
pub fn is_dumped(plan: &BackupPlan, service: &str) -> bool {
    plan.services.iter().any(|hooks| prepares(hooks, service))
}

/// Returns whether a hook may dump the database of `service`: one of its own, or another's that says so.
fn prepares(hooks: &ServiceHooks, service: &str) -> bool {
    let Some(command) = &hooks.backup_pre else {
        return false;
    };
    hooks.service == service || makes_a_dump(command)
}

/// Returns whether a command looks as if it wrote a dump.
#[must_use]
pub fn makes_a_dump(command: &str) -> bool {
    const WORDS: [&str; 5] = ["dump", "backup", "bgsave", "redis-cli save", "export"];
    let command = command.to_ascii_lowercase();
    WORDS.iter().any(|word| command.contains(word))
}

fn plain(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

fn is_below(path: &str, root: &str) -> bool {
    Path::new(path).starts_with(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn copies(services: &str) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("services:\n{services}volumes: {{data: , db: , dumps: }}\n");
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
        let plan = BackupPlan::from_project(&project);
        let found = live_copies(&project, &plan).into_iter();
        found.map(|copy| (copy.volume, copy.path)).collect()
    }

    /// A stack with the switch on `app` and `db` as given.
    fn with_db(db: &str) -> Vec<(String, String)> {
        copies(&format!(
            "  app:\n    image: a\n    volumes: ['data:/data']\n    deploy: {{labels: {{backupbot.backup: 'true'}}}}\n  db: {db}\n"
        ))
    }

    #[test]
    fn the_files_of_a_running_database_are_told_from_a_dump_beside_them() {
        let pg = "db:/var/lib/postgresql/data";
        for (live, db) in [
            (Some("/var/lib/mysql"), "{image: 'mariadb:11', volumes: ['db:/var/lib/mysql/']}".to_owned()),
            (Some("/var/lib/postgresql/data"), format!("{{image: 'docker.io/postgis/postgis:15', volumes: ['{pg}']}}")),
            // An image of another name, where only that server keeps its files.
            (Some("/var/lib/postgresql/data"), format!("{{image: 'example/ledger:15', volumes: ['{pg}']}}")),
            (Some("/var/lib/postgresql"), "{image: 'postgres:18', volumes: ['db:/var/lib/postgresql']}".to_owned()),
            (Some("/data/db"), "{image: 'mongo:7', volumes: ['db:/data/db']}".to_owned()),
            (None, "{image: 'example/app:7', volumes: ['db:/data/db']}".to_owned()),
            (None, "{image: 'redis:7', volumes: ['db:/data']}".to_owned()),
            (None, "{image: 'prom/mysqld-exporter:1', volumes: ['db:/var/lib/mysql']}".to_owned()),
            (None, format!("{{image: 'postgres:15', volumes: ['{pg}:ro']}}")),
            // A volume beside the files.
            (None, "{image: 'postgres:15', volumes: ['dumps:/backups']}".to_owned()),
            (None, format!("{{image: 'postgres:15', volumes: ['{pg}'], deploy: {{labels: {{backupbot.backup.volumes.db: 'false'}}}}}}")),
            (None, format!("{{image: 'postgres:15', volumes: ['{pg}'], deploy: {{labels: {{backupbot.backup.volumes.db.path: backup.sql}}}}}}")),
            (Some("/x/pgdata"), "{image: 'postgres:15', environment: {PGDATA: /x/pgdata}, volumes: ['db:/x'], deploy: {labels: {backupbot.backup.volumes.db.path: pgdata}}}".to_owned()),
            // A hook of its own dumps, or makes it hold still; the restore has to prove it.
            (None, format!("{{image: 'postgres:15', volumes: ['{pg}'], deploy: {{labels: {{backupbot.backup.pre-hook: pg_dumpall}}}}}}")),
            (Some("/var/lib/postgresql/data"), format!("{{image: 'postgres:15', volumes: ['{pg}'], deploy: {{labels: {{backupbot.restore.post-hook: load}}}}}}")),
        ] {
            let found = with_db(&db);
            let path = found.first().map(|(_, path)| path.as_str());
            assert_eq!(path, live, "{db}");
        }
    }

    #[test]
    fn a_dump_made_by_another_service_counts_and_any_other_hook_of_it_does_not() {
        let app = |hook: &str| {
            copies(&format!(
                "  app:\n    image: a\n    volumes: ['data:/data']\n    deploy: {{labels: {{backupbot.backup: 'true', backupbot.backup.pre-hook: '{hook}'}}}}\n  \
                 db: {{image: 'mariadb:11', volumes: ['db:/var/lib/mysql']}}\n"
            ))
            .len()
        };
        assert_eq!(app("mysqldump -h db > /data/dump.sql"), 0);
        assert_eq!(app("occ maintenance:mode --on"), 1);
    }
}
