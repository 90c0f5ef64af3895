//! Volumes that an upgrade mounts where their program does not look.
//!
//! A mount that moves is right where the program moves with it: an image that keeps its data there, a variable, a config
//! that says the new place. Where nothing is new but the mount, or the new image has only the old directory, the program
//! goes on at the old place, which is empty.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Bench;
use engine::swarm::EngineError;
use recipe::compose::Project;
use recipe::compose::model::{MountKind, Service};

/// Directories that most images have, so that one of them says nothing of what a program looks at.
const COMMON: [&str; 13] = [
    "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var", "/var/lib",
    "/var/log", "/var/www",
];

/// A mount of which nothing tells the program.
#[derive(Debug, PartialEq, Eq)]
struct Strayed<'a> {
    service: &'a str,
    image: &'a str,
    /// Whether the image is another one than before.
    moved: bool,
    volume: &'a str,
    was: &'a str,
    is: &'a str,
}

impl Strayed<'_> {
    /// Returns whether the program goes on where the volume was, when its image has a directory there, or where the
    /// volume is. A new image may make a directory that it does not have.
    fn is_left(&self, at_old: bool, at_new: bool) -> bool {
        !at_new && (!self.moved || (at_old && !COMMON.contains(&self.was)))
    }
}

impl Bench {
    /// Returns which volumes of `base` the release `head` mounts where their program does not look. One whose image has
    /// a directory at the new place may look there, and may have done so before.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn strayed(
        &self,
        base: &Project,
        head: &Project,
    ) -> Result<Vec<String>, EngineError> {
        let mut found = Vec::new();
        for one in strayed(base, head) {
            let image = self.pins().pinned(one.image);
            let stack = self.lock.domain().stack();
            let own = head.volumes.iter().filter(|volume| !volume.external);
            let mut own = own.filter(|volume| volume.key == one.volume);
            let (Some(volume), true) = (own.next(), self.engine().has_image(image).await?) else {
                continue;
            };
            // A container of the image that never starts, and goes with the stack: nothing is mounted at either place.
            let name = volume.full_name(stack.as_str());
            let fresh = self.engine().hold_volume(&stack, &name, image).await?.id;
            let at_old = self.engine().is_directory(&fresh, one.was).await?;
            let at_new = self.engine().is_directory(&fresh, one.is).await?;
            if !one.is_left(at_old, at_new) {
                continue;
            }
            let Strayed {
                service,
                image,
                moved,
                volume,
                was,
                is,
            } = one;
            let which = match moved {
                true => format!("has `{was}` and no such directory"),
                false => "is the same and has no such directory".to_owned(),
            };
            found.push(format!(
                "service `{service}` has volume `{volume}` at `{is}` now, and had it at `{was}`: its image `{image}` \
                 {which}, and no variable, command or config that is new says it, so it goes on with what the image \
                 has at `{was}`"
            ));
        }
        Ok(found)
    }
}

fn strayed<'a>(base: &'a Project, head: &'a Project) -> Vec<Strayed<'a>> {
    let mut found = Vec::new();
    for now in &head.services {
        let (Some(then), Some(image)) = (base.service(&now.name), now.image.as_deref()) else {
            continue;
        };
        let volumes: BTreeSet<&str> = mounts(then).map(|(volume, _)| volume).collect();
        for volume in volumes {
            let places = |of: &'a Service| -> BTreeSet<&'a str> {
                let mounts = mounts(of).filter(|(name, _)| *name == volume);
                mounts.map(|(_, place)| place).collect()
            };
            let (was, is) = (places(then), places(now));
            let (Some(old), Some(new)) = (was.first(), is.first()) else {
                continue;
            };
            // Something else is there now, or above it: what is kept there was thought of.
            let is_held = now
                .volumes
                .iter()
                .any(|mount| Path::new(old).starts_with(&mount.target));
            if was.is_disjoint(&is) && !is_held && !is_told(base, head, &now.name, new) {
                found.push(Strayed {
                    service: &now.name,
                    image,
                    moved: then.image != now.image,
                    volume,
                    was: old,
                    is: new,
                });
            }
        }
    }
    found
}

fn mounts(service: &Service) -> impl Iterator<Item = (&str, &str)> {
    service.volumes.iter().filter_map(|mount| {
        let is_volume = mount.kind == MountKind::Volume;
        let source = mount.source.as_deref().filter(|_| is_volume)?;
        Some((source, mount.target.as_str()))
    })
}

/// Returns whether something that is new in the text of a service leads to `place`: a path to it, above it or below
/// it, or its last name, which may be relative.
fn is_told(base: &Project, head: &Project, service: &str, place: &str) -> bool {
    let (then, place) = (words(base, service), Path::new(place));
    words(head, service).difference(&then).any(|word| {
        let word = Path::new(word.trim_end_matches('/'));
        word.parent().is_some() && (place.starts_with(word) || word.starts_with(place))
            || word.file_name() == place.file_name()
    })
}

/// Returns everything that may be a path in what a service tells its program.
fn words(project: &Project, service: &str) -> BTreeSet<String> {
    let mut texts = Vec::new();
    if let Some(Value::Object(fields)) = project.raw_service(service) {
        let told = fields.iter().filter(|(key, _)| {
            !["deploy", "image", "labels", "networks", "volumes"].contains(&key.as_str())
        });
        told.for_each(|(_, value)| texts.push(value.to_string()));
    }
    let uses = project.service(service);
    for config in uses.into_iter().flat_map(|service| &service.configs) {
        if let Some(content) = project.content(&format!("configs.{config}")) {
            texts.push(String::from_utf8_lossy(content).into_owned());
        }
    }
    let is_path = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    let words = texts.iter().flat_map(|text| text.split(|c| !is_path(c)));
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const RECIPE: &str = "services:\n  app:\n    image: nginx:1.22\n    environment: {ROOT: /usr/share/html}\n    \
        volumes: ['content:/usr/share/html', 'other:/other']\n    configs: [conf]\n\
        volumes: {content: , other: }\nconfigs: {conf: {file: ./conf, name: conf_v1}}\n";

    fn project(changes: &[(&str, &str)], conf: &str) -> Project {
        let text = changes.iter().fold(RECIPE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "no `{from}`");
            text.replace(from, to)
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        std::fs::write(dir.path().join("conf"), conf).unwrap();
        let files = ["compose.yml".to_owned()];
        let mut project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
        project.read_contents(dir.path()).unwrap();
        project
    }

    #[test]
    fn a_mount_strays_where_nothing_but_the_mount_is_new() {
        const MOVE: (&str, &str) = ("'content:/usr/share/html'", "'content:/srv/html-moved'");
        const CONF: &str = "root /usr/share/html;\n";
        let base = project(&[], CONF);
        for (changes, conf) in [
            (&[MOVE][..], CONF),
            // What is new says nothing of the place.
            (&[MOVE], "root /usr/share/html;\nlog /usr/share/log;\n"),
            (
                &[
                    MOVE,
                    ("ROOT: /usr/share/html", "ROOT: /usr/share/html, X: /"),
                ],
                CONF,
            ),
        ] {
            let head = project(changes, conf);
            let expected = Strayed {
                service: "app",
                image: "nginx:1.22",
                moved: false,
                volume: "content",
                was: "/usr/share/html",
                is: "/srv/html-moved",
            };
            assert_eq!(strayed(&base, &head), [expected], "{changes:?} {conf}");
        }
        for (changes, conf) in [
            (&[][..], CONF),
            (
                &[MOVE, ("ROOT: /usr/share/html", "ROOT: /srv/html-moved/")],
                CONF,
            ),
            (&[MOVE, ("ROOT: /usr/share/html", "ROOT: /srv")], CONF),
            (&[MOVE, ("ROOT: /usr/share/html", "ROOT: html-moved")], CONF),
            (&[MOVE], "root /srv/html-moved;\n"),
            (&[MOVE], "root /srv/html-moved/public;\n"),
            // It is mounted there as well, and another volume is there.
            (
                &[(
                    "'other:/other'",
                    "'other:/other', 'content:/srv/html-moved'",
                )],
                CONF,
            ),
            (
                &[MOVE, ("'other:/other'", "'other:/other', '/x:/usr/share'")],
                CONF,
            ),
        ] {
            let head = project(changes, conf);
            assert_eq!(strayed(&base, &head), [], "{changes:?} {conf}");
        }
    }
    #[test]
    fn a_new_image_without_the_new_directory_goes_on_at_the_old_one_that_it_has() {
        const MOVE: (&str, &str) = ("'content:/usr/share/html'", "'content:/srv/html-moved'");
        let base = project(&[], "");
        let head = project(&[MOVE, ("nginx:1.22", "nginx:1.23")], "");
        let found = strayed(&base, &head);
        let [one] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(one.moved);
        assert!(one.is_left(true, false));
        // It has another home, or makes one; or has both.
        assert!(!one.is_left(false, false));
        assert!(!one.is_left(true, true));
        let common = Strayed {
            was: "/srv",
            ..*one
        };
        assert!(!common.is_left(true, false));
        let same = Strayed {
            moved: false,
            ..*one
        };
        assert!(same.is_left(false, false) && !same.is_left(true, true));
    }
}
