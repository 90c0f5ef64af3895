//! What a database server takes at its first start alone: its user, its database and their passwords.
//!
//! A server that finds its files asks for none of it. So an app that is upgraded goes on without such a variable, and a
//! run, which installs the version before and upgrades it, never sees that a new app of the head would be given a server
//! without its database, or none that starts.

use super::{FIRST_START, tells_of, variables_of};
use crate::compose::Project;
use crate::compose::model::Service;
use crate::database::{Kind, kind_of_image};
use crate::traefik::faults::Fault;

/// A setting, by the names that the images have for it; each may end with `_FILE`. The first ones say it, the others that
/// it is not needed.
struct Setting {
    names: &'static [&'static str],
    instead: &'static [&'static str],
    /// What the image takes without it, where it does.
    default: Default,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Default {
    None,
    Word(&'static str),
    /// What the first setting of the same kind is.
    AsFirst,
}

const POSTGRESQL: [Setting; 3] = [
    Setting {
        names: &["POSTGRES_USER", "POSTGRESQL_USERNAME", "POSTGRESQL_USER"],
        instead: &[],
        default: Default::Word("postgres"),
    },
    Setting {
        names: &["POSTGRES_DB", "POSTGRESQL_DATABASE"],
        instead: &[],
        default: Default::AsFirst,
    },
    Setting {
        names: &["POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD"],
        instead: &["POSTGRES_HOST_AUTH_METHOD", "ALLOW_EMPTY_PASSWORD"],
        default: Default::None,
    },
];

const MARIADB: [Setting; 4] = [
    Setting {
        names: &["MARIADB_DATABASE", "MYSQL_DATABASE"],
        instead: &[],
        default: Default::None,
    },
    Setting {
        names: &["MARIADB_USER", "MYSQL_USER"],
        instead: &[],
        default: Default::None,
    },
    Setting {
        names: &["MARIADB_PASSWORD", "MYSQL_PASSWORD"],
        instead: &["MARIADB_PASSWORD_HASH"],
        default: Default::None,
    },
    Setting {
        names: &["MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"],
        instead: &[
            "MARIADB_ROOT_PASSWORD_HASH",
            "MARIADB_RANDOM_ROOT_PASSWORD",
            "MYSQL_RANDOM_ROOT_PASSWORD",
            "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD",
            "MYSQL_ALLOW_EMPTY_PASSWORD",
            "ALLOW_EMPTY_PASSWORD",
        ],
        default: Default::None,
    },
];

const MONGODB: [Setting; 2] = [
    Setting {
        names: &["MONGO_INITDB_ROOT_USERNAME", "MONGODB_ROOT_USER"],
        instead: &[],
        default: Default::None,
    },
    Setting {
        names: &["MONGO_INITDB_ROOT_PASSWORD", "MONGODB_ROOT_PASSWORD"],
        instead: &["ALLOW_EMPTY_PASSWORD"],
        default: Default::None,
    },
];

fn settings_of(kind: Kind) -> &'static [Setting] {
    match kind {
        Kind::PostgreSql => &POSTGRESQL,
        Kind::MariaDb => &MARIADB,
        Kind::MongoDb => &MONGODB,
        Kind::Redis | Kind::Sqlite => &[],
    }
}

/// Returns whether a variable is one of those of a server of this image.
pub(super) fn is_setting(image: &str, variable: &str) -> bool {
    let name = variable.strip_suffix("_FILE").unwrap_or(variable);
    let settings = kind_of_image(image).map_or(&[][..], settings_of);
    let mut names = settings.iter().flat_map(|setting| setting.names);
    names.any(|one| *one == name)
}

/// Returns the variable of a service that says one of `names`, and its value.
fn said<'a>(service: &'a Service, names: &[&str]) -> Option<(&'a str, &'a str)> {
    let mut variables = service.environment.iter();
    variables.find_map(|(variable, value)| {
        let name = variable.strip_suffix("_FILE").unwrap_or(variable);
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        names.contains(&name).then_some((variable.as_str(), value))
    })
}

/// Returns the settings that a server had and that it has not now, where the image's own default is another one.
pub(super) fn lost(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    let kind = |service: &Service| service.image.as_deref().and_then(kind_of_image);
    let mut faults = Vec::new();
    for now in &head.services {
        let Some(then) = base.service(&now.name) else {
            continue;
        };
        let Some(kind) = kind(now).filter(|now| kind(then) == Some(*now)) else {
            continue;
        };
        let settings = settings_of(kind);
        for setting in settings {
            let Some((variable, value)) = said(then, setting.names) else {
                continue;
            };
            let first = settings.first();
            let default = match setting.default {
                Default::None => None,
                Default::Word(word) => Some(word),
                Default::AsFirst => {
                    first.and_then(|first| match (said(now, first.names), first.default) {
                        (Some((_, value)), _) => Some(value),
                        (None, Default::Word(word)) => Some(word),
                        (None, _) => None,
                    })
                }
            };
            if said(now, setting.names).is_some()
                || said(now, setting.instead).is_some()
                || default == Some(value)
                || tells_of(notes, variable)
            {
                continue;
            }
            faults.push(Fault {
                rule: FIRST_START,
                path: variables_of(now),
                message: format!(
                    "`{variable}` of service `{}` is gone, which the version before has: {kind} takes it at its first start alone, so an app that is upgraded goes on, and a new one lacks it. Put it back, or name `{variable}` in backticks in `release/next` if new apps need none",
                    now.name,
                ),
            });
        }
    }
    faults
}
