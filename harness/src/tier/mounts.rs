//! Where the containers of an app really keep their data, asked of the engine: what a recipe mounts is not always what
//! its image looks at.

mod beside;
mod strayed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Bench;
use crate::event::Event;
use engine::swarm::EngineError;
use engine::swarm::mounts::{Container, Mounted, What};
use engine::swarm::service::StackState;
use ground::finding::Finding;
use recipe::backup::BackupPlan;
use recipe::backup::database::{Server, is_dumped};
use recipe::compose::Project;

/// A running container of each service that has one, by the service's name.
pub type Seen = BTreeMap<String, Container>;

impl Bench {
    /// Looks into a container of each service.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn mounts_of(&self, state: &StackState) -> Result<Seen, EngineError> {
        let mut seen = Seen::new();
        for name in state.services.keys() {
            let Some(id) = state.container_of(name) else {
                continue;
            };
            if let Some(mut container) = self.engine().look_into(id).await? {
                container.image = self.pins().name_of(&container.image).to_owned();
                seen.insert(name.clone(), container);
            }
        }
        Ok(seen)
    }

    /// Says where containers keep data that no later container sees. It changes no verdict.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn say_what_is_anonymous(&self, state: &StackState) -> Result<(), EngineError> {
        for found in anonymous(&self.mounts_of(state).await?) {
            self.events.emit(&Event::Found(Box::new(found)));
        }
        Ok(())
    }
}

fn is_named(mounted: Option<&Mounted>) -> Option<&str> {
    match mounted.map(|mounted| &mounted.what) {
        Some(What::Named(name)) => Some(name),
        _ => None,
    }
}

fn is_anonymous(mounted: Option<&Mounted>) -> bool {
    mounted.is_some_and(|mounted| mounted.what == What::Anonymous)
}

fn server(container: &Container) -> Option<Server> {
    let targets = container.mounts.iter().map(|mount| mount.place.as_str());
    Server::of(&container.image, container.pgdata.as_deref(), targets)
}

/// Returns what data `head` lost sight of: it was on a volume with a name in `base`, and is on one now that each new
/// container gets empty.
#[must_use]
pub fn forsaken(base: &Seen, head: &Seen, stack: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (service, now) in head {
        let Some(then) = base.get(service) else {
            continue;
        };
        let mut places: BTreeMap<&str, &str> = BTreeMap::new();
        for mount in &now.mounts {
            // Where the base had it on a volume, or on the parent of one.
            if mount.what == What::Anonymous
                && let Some(volume) = is_named(then.holder(&mount.place))
            {
                places.insert(&mount.place, volume);
            }
        }
        for mount in &then.mounts {
            // Where it was mounted, there is now what a parent of that has.
            if let What::Named(volume) = &mount.what
                && let Some(parent) = now.holder(&mount.place)
                && parent.what == What::Anonymous
            {
                places.insert(&parent.place, volume);
            }
        }
        if let (Some(old), Some(new)) = (server(then), server(now)) {
            // A directory of the server's own that lies beside the volume: that of postgres:18 with its old mount.
            let was = old
                .places
                .iter()
                .find_map(|place| is_named(then.holder(place)));
            let is_kept = new
                .places
                .iter()
                .any(|place| is_named(now.holder(place)).is_some());
            let place = new.places.iter().find_map(|place| {
                now.holder(place)
                    .filter(|mount| mount.what == What::Anonymous)
            });
            if let (Some(volume), Some(mount), false) = (was, place, is_kept) {
                places.insert(&mount.place, volume);
            }
        }
        for (place, volume) in places {
            let volume = short(volume, stack);
            found.push(format!(
                "service `{service}` keeps `{place}` on an anonymous volume now, which each new container gets empty; \
                 before the upgrade that data was on volume `{volume}`: mount `{volume}` where image `{}` keeps its \
                 data, {}",
                now.image,
                listed(now)
            ));
        }
    }
    found
}

/// Returns which volumes are mounted elsewhere in the head, which is right where the image moved, too.
#[must_use]
pub fn moved(base: &Seen, head: &Seen, stack: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, now) in head {
        let Some(then) = base.get(service) else {
            continue;
        };
        let places = |container: &Container, volume: &str| -> BTreeSet<String> {
            let mounts = container.mounts.iter();
            mounts
                .filter(|mount| matches!(&mount.what, What::Named(name) if name == volume))
                .map(|mount| mount.place.clone())
                .collect()
        };
        let mut moves = BTreeSet::new();
        for mount in &then.mounts {
            let What::Named(volume) = &mount.what else {
                continue;
            };
            let (was, is) = (places(then, volume), places(now, volume));
            if !is.is_empty() && was != is {
                moves.insert(format!(
                    "volume `{}` is mounted at {}, and was at {} before the upgrade",
                    short(volume, stack),
                    quoted(&is),
                    quoted(&was)
                ));
            }
        }
        if !moves.is_empty() {
            found.push(Finding {
                id: "F021".to_owned(),
                service: Some(service.clone()),
                message: Vec::from_iter(moves).join("; "),
                fix: format!(
                    "check that image `{}` looks for the old data there",
                    now.image
                ),
            });
        }
    }
    found
}

/// Returns what is on anonymous volumes.
#[must_use]
pub fn anonymous(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, container) in seen {
        let mounts = container.mounts.iter();
        let places: BTreeSet<String> = mounts
            .filter(|mount| mount.what == What::Anonymous)
            .map(|mount| mount.place.clone())
            .collect();
        if places.is_empty() {
            continue;
        }
        found.push(Finding {
            id: "F020".to_owned(),
            service: Some(service.clone()),
            message: format!(
                "{} of image `{}` is on an anonymous volume, which is empty in each new container and in no backup",
                quoted(&places),
                container.image
            ),
            fix: "mount a named volume there, or a tmpfs where nothing needs to be kept".to_owned(),
        });
    }
    found
}

fn quoted(places: &BTreeSet<String>) -> String {
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    format!("`{}`", places.join("`, `"))
}

/// What a backup by the labels does not have, though the services that it is for keep it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsaved {
    /// Databases: their loss is sure.
    pub databases: Vec<String>,
    /// What an image calls its data; whether it matters is not known.
    pub doubtful: Vec<String>,
}

/// Returns what `plan` cannot save because it is on no volume of the stack.
#[must_use]
pub fn unsaved(seen: &Seen, project: &Project, plan: &BackupPlan) -> Unsaved {
    let mut unsaved = Unsaved::default();
    let keeps = |container: &Container| {
        let server = server(container).filter(|server| !server.is_whole())?;
        let places = server.places.iter();
        let named = places
            .clone()
            .any(|place| is_named(container.holder(place)).is_some());
        let lost = places
            .clone()
            .find(|place| is_anonymous(container.holder(place)));
        Some((server.kind, named, lost.cloned()))
    };
    for (service, container) in seen {
        if project.service(service).is_none() {
            continue;
        }
        if let Some((kind, false, Some(place))) = keeps(container) {
            // A program of the same image beside the server, such as one that makes dumps, keeps nothing itself.
            let beside = seen.iter().any(|(name, other)| {
                name != service && matches!(keeps(other), Some((also, true, _)) if also == kind)
            });
            if !beside && !is_dumped(plan, service) {
                unsaved.databases.push(format!(
                    "the {kind} of service `{service}` keeps its files in `{place}`, on an anonymous volume: no \
                     backup has them, and each new container begins without; mount a volume there"
                ));
            }
            continue;
        }
        let saves = |mount: &Mounted| {
            matches!(&mount.what, What::Named(name) if plan.volumes.iter().any(|saved| {
                let mounts = saved.mounts.iter();
                let here = mounts.filter(|at| at.service == *service);
                name.ends_with(&saved.volume)
                    && here.into_iter().any(|at| at.target == mount.place)
            }))
        };
        let takes_part = plan.services.iter().any(|hooks| hooks.service == *service);
        // A part of what the image keeps may be all that is data: `wp-content` of WordPress, whose image makes the rest anew.
        let on_volume = |place: &String| {
            let part = |mount: &Mounted| saves(mount) && Path::new(&mount.place).starts_with(place);
            is_named(container.holder(place)).is_some() || container.mounts.iter().any(part)
        };
        if takes_part
            && container.mounts.iter().any(saves)
            && !container.declared.is_empty()
            && !container.declared.iter().any(on_volume)
            && container
                .declared
                .iter()
                .any(|place| is_anonymous(container.holder(place)))
        {
            unsaved.doubtful.push(format!(
                "service `{service}` has backup labels and a volume, and its image `{}` keeps its data elsewhere: {}; \
                 that is on an anonymous volume and in no backup",
                container.image,
                listed(container)
            ));
        }
    }
    unsaved
}

/// Returns where the image of a container declares volumes, in words.
fn listed(container: &Container) -> String {
    if container.declared.is_empty() {
        return "which its documentation says".to_owned();
    }
    quoted(&container.declared)
}

/// Returns the compose name of a volume.
fn short<'a>(volume: &'a str, stack: &str) -> &'a str {
    let rest = volume
        .strip_prefix(stack)
        .and_then(|rest| rest.strip_prefix('_'));
    rest.unwrap_or(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container of `image`, with volumes by place; one without a name is anonymous and declared by the image.
    fn container(image: &str, mounts: &[(&str, &str)]) -> Container {
        let mounted = |(place, name): &(&str, &str)| Mounted {
            place: (*place).to_owned(),
            what: match *name {
                "" => What::Anonymous,
                name => What::Named(format!("s_{name}")),
            },
            writable: true,
        };
        let declared = mounts.iter().filter(|(_, name)| name.is_empty());
        Container {
            image: image.to_owned(),
            declared: declared.map(|(place, _)| (*place).to_owned()).collect(),
            mounts: mounts.iter().map(mounted).collect(),
            ..Container::default()
        }
    }

    fn seen(container: Container) -> Seen {
        Seen::from([("db".to_owned(), container)])
    }

    #[test]
    fn data_that_was_on_a_named_volume_and_is_on_an_anonymous_one_is_forsaken() {
        let data = "/var/lib/postgresql/data";
        let pg = |image: &str, pgdata: Option<&str>, mounts: &[(&str, &str)]| Container {
            pgdata: pgdata.map(str::to_owned),
            ..container(image, mounts)
        };
        let base = || pg("postgres:17", Some(data), &[(data, "db")]);
        for (base, head, red) in [
            // Nothing moved.
            (base(), base(), false),
            // The mount moved away from the image's VOLUME.
            (
                container("mariadb:11", &[("/var/lib/mysql", "db")]),
                container(
                    "mariadb:11",
                    &[("/var/lib/mysqldata", "db"), ("/var/lib/mysql", "")],
                ),
                true,
            ),
            // postgres:18 keeps its data in a directory above the old mount.
            (
                base(),
                pg(
                    "postgres:18",
                    Some("/var/lib/postgresql/18/docker"),
                    &[(data, "db"), ("/var/lib/postgresql", "")],
                ),
                true,
            ),
            (
                base(),
                pg(
                    "postgres:18",
                    Some("/var/lib/postgresql/18/docker"),
                    &[("/var/lib/postgresql", "db")],
                ),
                false,
            ),
            // The same with the directory kept on the volume by PGDATA.
            (
                base(),
                pg(
                    "postgres:18",
                    Some("/var/lib/postgresql/data"),
                    &[(data, "db"), ("/var/lib/postgresql", "")],
                ),
                false,
            ),
            // No database: the image's VOLUME, and one on the parent of it.
            (
                container("app:1", &[("/data", "db")]),
                container("app:2", &[("/data", "")]),
                true,
            ),
            (
                container("app:1", &[("/data", "db")]),
                container("app:2", &[("/data", "db"), ("/data/files", "")]),
                true,
            ),
            (
                container("app:1", &[("/data/files", "db")]),
                container("app:2", &[("/data", "")]),
                true,
            ),
            // It was anonymous before.
            (
                container("app:1", &[("/data", "")]),
                container("app:2", &[("/data", "")]),
                false,
            ),
            // A new place of the image's.
            (
                container("app:1", &[("/data", "db")]),
                container("app:2", &[("/data", "db"), ("/cache", "")]),
                false,
            ),
            // mongo's second volume.
            (
                container("mongo:7", &[("/data/db", "db"), ("/data/configdb", "")]),
                container("mongo:8", &[("/data/db", "db"), ("/data/configdb", "")]),
                false,
            ),
        ] {
            let words = format!("{base:?}\n{head:?}");
            let found = forsaken(&seen(base), &seen(head), "s");
            assert_eq!(!found.is_empty(), red, "{words}: {found:?}");
            assert!(
                found.iter().all(|said| said.contains("volume `db`")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_mount_that_moved_and_an_anonymous_volume_are_said() {
        let base = seen(container("app:1", &[("/data", "db")]));
        let head = seen(container("app:2", &[("/srv", "db"), ("/tmp/x", "")]));
        let said = moved(&base, &head, "s");
        assert_eq!(said.len(), 1);
        assert!(
            said[0].message.contains("`db` is mounted at `/srv`"),
            "{said:?}"
        );
        assert!(moved(&base, &base, "s").is_empty());
        let said = anonymous(&head);
        assert!(
            said.len() == 1 && said[0].message.contains("`/tmp/x`"),
            "{said:?}"
        );
    }

    #[test]
    fn a_database_on_an_anonymous_volume_is_in_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let load = |labels: &str| {
            let text = format!(
                "services:\n  app:\n    image: a\n    deploy: {{labels: {{backupbot.backup: 'true'}}}}\n  \
                 db:\n    image: x\n    volumes: ['db:/elsewhere']\n    deploy: {{labels: {labels}}}\nvolumes: {{db: }}\n"
            );
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
            let files = ["compose.yml".to_owned()];
            let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
            let plan = BackupPlan::from_project(&project);
            (project, plan)
        };
        let judge = |labels: &str, container: Container| {
            let (project, plan) = load(labels);
            let unsaved = unsaved(&seen(container), &project, &plan);
            (unsaved.databases.len(), unsaved.doubtful.len())
        };
        let astray = || {
            container(
                "mariadb:11",
                &[("/elsewhere", "db"), ("/var/lib/mysql", "")],
            )
        };
        assert_eq!(judge("{}", astray()), (1, 0));
        assert_eq!(
            judge("{backupbot.backup.pre-hook: mysqldump}", astray()),
            (0, 0)
        );
        let right = container("mariadb:11", &[("/var/lib/mysql", "db")]);
        assert_eq!(judge("{}", right), (0, 0));
        // No database: the recipe has a volume, and the image looks elsewhere.
        let app = || container("app:1", &[("/elsewhere", "db"), ("/data", "")]);
        let labelled = "{backupbot.backup.volumes.db.path: x}";
        assert_eq!(judge(labelled, app()), (0, 1));
        assert_eq!(judge("{}", app()), (0, 0));
        let mut half = app();
        half.declared.insert("/elsewhere".to_owned());
        assert_eq!(judge(labelled, half), (0, 0));
        // A volume in a part of the place, as `wp-content` of WordPress.
        let part = container("app:1", &[("/elsewhere", "db"), ("/", "")]);
        assert_eq!(judge(labelled, part), (0, 0));
    }

    #[test]
    fn a_program_of_the_same_image_beside_the_server_keeps_nothing() {
        let (project, plan) = {
            let dir = tempfile::tempdir().unwrap();
            let text = "services:\n  db: {image: a, deploy: {labels: {backupbot.backup: 'true'}}}\n  cron: {image: a}\n";
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
            let files = ["compose.yml".to_owned()];
            let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
            let plan = BackupPlan::from_project(&project);
            (project, plan)
        };
        let mut both = seen(container("mariadb:11", &[("/var/lib/mysql", "db")]));
        let cron = container("mariadb:11", &[("/var/lib/mysql", "")]);
        both.insert("cron".to_owned(), cron);
        assert_eq!(unsaved(&both, &project, &plan), Unsaved::default());
    }
}
