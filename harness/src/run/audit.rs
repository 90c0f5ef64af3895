//! What was there before a run made anything, what its apps name, and what is left at its end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::error::RunError;
use engine::dirs::HostDirs;
use engine::lock::DomainLock;
use engine::made::{self, Made};
use engine::swarm::object::{Belongings, Kind, Object};
use engine::swarm::{Engine, EngineError};
use engine::wait::{Deadline, retry_while};
use ground::name::StackName;
use ground::outcome::Residual;
use recipe::compose::Project;
use recipe::compose::model::MountKind;
use recipe::compose::shared::{Own, gateway_network};
use recipe::release::Release;
use recipe::trust::Level;

/// How long Swarm may take to remove what a container of its own leaves, such as its anonymous volumes.
const AFTERGLOW: Duration = Duration::from_secs(3);

/// An object that a release names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    kind: Kind,
    name: String,
    /// Whether it is to exist already; nobody makes it but Swarm, of a volume.
    external: bool,
}

/// Returns every object that a deploy of `project` makes or refers to, by its full name. What the operator grants by its
/// name exists already.
fn names_of(project: &Project, stack: &StackName, level: &Level) -> BTreeSet<Named> {
    let text = stack.as_str();
    let mut names = BTreeSet::new();
    let lent = |kind: Kind, name: &String| match level {
        Level::Granted(grant) => match kind {
            Kind::Network => grant.foreign.networks.contains(name),
            Kind::Volume => grant.foreign.volumes.contains(name),
            Kind::Secret => grant.foreign.secrets.contains(name),
            Kind::Config => grant.foreign.configs.contains(name),
            _ => false,
        },
        Level::Stranger | Level::ByHand => false,
    };
    let mut add = |kind, name, external| {
        let external = external || lent(kind, &name);
        names.insert(Named {
            kind,
            name,
            external,
        });
    };
    for service in &project.services {
        add(Kind::Service, service.full_name(text), false);
        if service.networks.is_empty() {
            add(Kind::Network, format!("{text}_default"), false);
        }
    }
    // Docker makes every secret and config of the files, but only the networks and volumes that a service uses.
    for secret in &project.secrets {
        let name = secret.full_name(text);
        // The recipe calls these external, and the driver makes them.
        let external = secret.external && !stack.owns(&name);
        add(Kind::Secret, name, external);
    }
    for config in &project.configs {
        add(Kind::Config, config.full_name(text), config.external);
    }
    for network in project.used_networks() {
        add(Kind::Network, network.full_name(text), network.external);
    }
    for volume in &project.volumes {
        let mounts = project.services.iter().flat_map(|service| &service.volumes);
        let mut volumes = mounts.filter(|mount| mount.kind == MountKind::Volume);
        if volumes.any(|mount| mount.source.as_ref() == Some(&volume.key)) {
            add(Kind::Volume, volume.full_name(text), volume.external);
        }
    }
    // What the harness adds to a project, or puts in the place of the network that recipes share with the gateway.
    for name in [Own::of(text).network, gateway_network(text)] {
        add(Kind::Network, name, false);
    }
    names
}

/// Returns what two apps would both make, or both write to, each with the stack that it is: nobody could tell whose it is.
pub(super) fn in_common(
    one: (&Project, &StackName),
    other: (&Project, &StackName),
) -> Option<String> {
    let names = |(project, stack)| names_of(project, stack, &Level::ByHand);
    let theirs = names(other);
    let is_theirs = |named: &&Named| {
        let same = |other: &&Named| other.kind == named.kind && other.name == named.name;
        let found = theirs.iter().find(same);
        // A network, a secret and a config that are there already are for any number of apps.
        found.is_some_and(|found| named.kind == Kind::Volume || !(named.external && found.external))
    };
    let mine = names(one);
    let named = mine.iter().find(is_theirs)?;
    Some(format!("`{}` among their {}", named.name, named.kind))
}

/// What was there before a run made anything, and what its apps name.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    before: BTreeSet<(Kind, String)>,
    named: BTreeSet<(Kind, String)>,
    apps: Vec<Belongings>,
}

impl Audit {
    /// Lists the engine, once, before the run makes anything.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) async fn begin(engine: &Engine) -> Result<(Self, Vec<Object>), EngineError> {
        let objects = engine.all_objects().await?;
        let keys = objects
            .iter()
            .map(|object| (object.kind, object.id.clone()));
        let audit = Self {
            before: keys.collect(),
            ..Self::default()
        };
        Ok((audit, objects))
    }

    /// Notes the names of `releases`, which the app of `lock` will be one after the other, and writes down what could
    /// not be told to be the app's. `there` is what the engine has now.
    ///
    /// # Errors
    /// [`RunError::Usage`] when one of them names what is there and not the app's: Docker would change it.
    pub(super) fn claim(
        &mut self,
        host: &HostDirs,
        lock: &DomainLock,
        (releases, level): (&[&Release], &Level),
        there: &[Object],
    ) -> Result<(), RunError> {
        let stack = lock.domain().stack();
        let app = made::belongings(host, lock.domain()).map_err(RunError::infra)?;
        let all = releases.iter();
        let all = all.map(|release| names_of(&release.project, &stack, level));
        let names: BTreeSet<Named> = all.flatten().collect();
        if let Some(object) = foreign_names(there, &names, &app).first() {
            return Err(refused(object, &stack));
        }
        let mut record = Made::open(host, lock).map_err(RunError::infra)?;
        for named in &names {
            let is_there = |object: &Object| object.kind == named.kind && object.name == named.name;
            let known = if named.external {
                // Swarm makes a volume that is missing, without a label.
                named.kind != Kind::Volume
            } else {
                stack.owns(&named.name)
            };
            if !known && !there.iter().any(is_there) {
                let intended = record.intend(named.kind, &named.name);
                intended.map_err(RunError::infra)?;
            }
        }
        let keys = names.into_iter().map(|named| (named.kind, named.name));
        self.named.extend(keys);
        self.apps.retain(|known| known.stack() != &stack);
        self.apps.push(app);
        Ok(())
    }

    /// Notes what the containers of the run's apps have mounted, while they are there.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) async fn note_mounts(&mut self, engine: &Engine) -> Result<(), EngineError> {
        for app in &self.apps {
            let volumes = engine.mounted_volumes(app).await?;
            let keys = volumes.into_iter().map(|name| (Kind::Volume, name));
            self.named.extend(keys);
        }
        Ok(())
    }

    /// Returns what is there now, was not at the beginning, and is the run's doing: what its apps name, and what
    /// bears their name or label. What Swarm still removes is waited for. What `known` says of is left out.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) async fn leaks(
        &self,
        engine: &Engine,
        known: &Residual,
    ) -> Result<Vec<Object>, EngineError> {
        let is_known = |object: &Object| {
            let names = known.left.get(object.kind.plural());
            names.is_some_and(|names| names.contains(&object.name))
        };
        let look = async || {
            let mut leaks = engine.all_objects().await?;
            leaks.retain(|object| self.is_leak(object) && !is_known(object));
            Ok::<Vec<Object>, EngineError>(leaks)
        };
        retry_while(
            Deadline::after(AFTERGLOW),
            Duration::from_millis(100),
            |leaks| leaks.as_ref().is_ok_and(|leaks| !leaks.is_empty()),
            look,
        )
        .await
    }

    fn is_leak(&self, object: &Object) -> bool {
        let of = |app: &Belongings| {
            let stack = app.stack();
            object.bears_label_of(stack) || (object.namespace.is_none() && stack.owns(&object.name))
        };
        !self.was_there(object)
            && (self.named.contains(&(object.kind, object.name.clone()))
                || self.apps.iter().any(of))
    }

    /// Returns whether `object` was there before the run made anything.
    pub(super) fn was_there(&self, object: &Object) -> bool {
        self.before.contains(&(object.kind, object.id.clone()))
    }
}

/// Returns what is there, is named, and is not the app's. External names are meant to be there.
fn foreign_names<'a>(
    there: &'a [Object],
    names: &BTreeSet<Named>,
    app: &Belongings,
) -> Vec<&'a Object> {
    let is_named = |object: &Object| {
        names.contains(&Named {
            kind: object.kind,
            name: object.name.clone(),
            external: false,
        })
    };
    let foreign = there.iter().filter(|object| !app.has(object));
    foreign.filter(|object| is_named(object)).collect()
}

fn refused(object: &Object, stack: &StackName) -> RunError {
    let owner = match &object.namespace {
        Some(namespace) => format!("of stack `{namespace}`"),
        None => "of no stack".to_owned(),
    };
    let hint = if stack.owns(&object.name) {
        format!("nothing of {stack} was running: look whose it is, and remove it by hand")
    } else {
        "leave `name:` out of the recipe, or let it begin with `${STACK_NAME}_`".to_owned()
    };
    RunError::Usage {
        error: format!(
            "{object} {owner} exists already, and this run did not make it: the recipe names it as its own, and a deploy would take it over"
        )
        .into(),
        hints: vec![hint],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use ground::name::Domain;
    use recipe::trust::grant::{Foreign, Grant};

    /// What a recipe calls as somebody else's is called is refused where it is there; what the operator lends by that
    /// name is not made, so it is neither refused nor written down as made.
    #[test]
    fn what_is_granted_by_its_name_is_not_the_apps_to_make() {
        let dir = tempfile::tempdir().unwrap();
        let text = "services: {app: {image: a, volumes: ['vol:/v'], networks: [n], secrets: [s], configs: [c]}}\n\
            volumes: {vol: {name: theirs}}\nnetworks: {n: {name: theirs}}\n\
            secrets: {s: {file: ./x, name: theirs}}\nconfigs: {c: {file: ./x, name: theirs}}\n";
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let files = ["compose.yml".to_owned()];
        let project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let stack = domain.stack();
        let app = Belongings::of(domain.stack());
        let kinds = [Kind::Volume, Kind::Network, Kind::Secret, Kind::Config];
        let there = kinds.map(|kind| Object {
            kind,
            id: "1".to_owned(),
            name: "theirs".to_owned(),
            namespace: Some("somebody".to_owned()),
            labels: BTreeMap::new(),
        });
        let made = |level: &Level| {
            let names = names_of(&project, &stack, level);
            let refused = foreign_names(&there, &names, &app).len();
            let made = names
                .iter()
                .filter(|one| one.name == "theirs" && !one.external);
            (refused, made.count())
        };
        assert_eq!(made(&Level::Stranger), (4, 4));
        assert_eq!(made(&Level::ByHand), (4, 4));
        let lent = || vec!["theirs".to_owned()];
        let foreign = Foreign {
            networks: lent(),
            volumes: lent(),
            secrets: lent(),
            configs: lent(),
        };
        let granted = |foreign: Foreign| {
            Level::Granted(Box::new(Grant {
                foreign,
                ..Grant::default()
            }))
        };
        assert_eq!(made(&granted(foreign.clone())), (0, 0));
        // Of each kind by itself.
        let secrets = Vec::new();
        assert_eq!(made(&granted(Foreign { secrets, ..foreign })), (1, 1));
    }
}
