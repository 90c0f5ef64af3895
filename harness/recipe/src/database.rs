//! Databases as recipes have them: the kinds that are known, and by which names of images.

use std::fmt;

use ground::name::image::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of database.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Kind {
    /// PostgreSQL, with whatever extensions.
    PostgreSql,
    /// MariaDB, MySQL and Percona's.
    MariaDb,
    /// MongoDB and what speaks its protocol.
    MongoDb,
    /// Redis, Valkey and KeyDB.
    Redis,
    /// A file of SQLite's, on a volume.
    Sqlite,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::PostgreSql,
        Self::MariaDb,
        Self::MongoDb,
        Self::Redis,
        Self::Sqlite,
    ];

    /// Returns what the script calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PostgreSql => "postgresql",
            Self::MariaDb => "mariadb",
            Self::MongoDb => "mongodb",
            Self::Redis => "redis",
            Self::Sqlite => "sqlite",
        }
    }

    /// Returns the kind that the script calls so.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PostgreSql => "PostgreSQL",
            Self::MariaDb => "MariaDB",
            Self::MongoDb => "MongoDB",
            Self::Redis => "Redis",
            Self::Sqlite => "SQLite",
        })
    }
}

/// What images of each kind are called, by the last part of their names.
const IMAGES: [(&str, Kind); 17] = [
    ("postgres", Kind::PostgreSql),
    ("pgautoupgrade", Kind::PostgreSql),
    ("postgis", Kind::PostgreSql),
    ("timescale", Kind::PostgreSql),
    ("pgvector", Kind::PostgreSql),
    ("pgvecto-rs", Kind::PostgreSql),
    ("vchord", Kind::PostgreSql),
    ("spilo", Kind::PostgreSql),
    ("mariadb", Kind::MariaDb),
    ("mysql", Kind::MariaDb),
    ("percona", Kind::MariaDb),
    ("mongo", Kind::MongoDb),
    ("ferretdb", Kind::MongoDb),
    ("redis", Kind::Redis),
    ("valkey", Kind::Redis),
    ("keydb", Kind::Redis),
    ("percona-server-mongodb", Kind::MongoDb),
];

/// Parts of names of images that only have to do with a database.
const BESIDE: [&str; 15] = [
    "exporter",
    "admin",
    "backup",
    "express",
    "commander",
    "insight",
    "proxy",
    "bouncer",
    "cli",
    "client",
    "operator",
    "sentinel",
    "router",
    "tools",
    "dump",
];

/// Returns the kind of database that an image of this name is, as far as its name says.
#[must_use]
pub fn kind_of_image(image: &str) -> Option<Kind> {
    if is_beside(image) {
        return None;
    }
    let image = Reference::parse(image).ok()?;
    let last = image.last_part();
    // The most special name wins: `percona-server-mongodb` is no MySQL.
    let named = IMAGES.iter().filter(|(word, _)| last.contains(word));
    named
        .max_by_key(|(word, _)| word.len())
        .map(|(_, kind)| *kind)
}

/// Returns whether an image is of a program that only has to do with a database.
#[must_use]
pub fn is_beside(image: &str) -> bool {
    let is_one = |image: Reference<'_>| BESIDE.iter().any(|word| image.last_part().contains(word));
    Reference::parse(image).is_ok_and(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_name_wherever_it_comes_from() {
        let cases = [
            ("postgres:15-alpine", Some(Kind::PostgreSql)),
            ("docker.io/library/postgres:13.7", Some(Kind::PostgreSql)),
            (
                "pgautoupgrade/pgautoupgrade:16-alpine",
                Some(Kind::PostgreSql),
            ),
            ("postgis/postgis:15-3.3", Some(Kind::PostgreSql)),
            ("timescale/timescaledb-ha:pg14", Some(Kind::PostgreSql)),
            ("pgvector/pgvector:pg16", Some(Kind::PostgreSql)),
            (
                "ghcr.io/immich-app/postgres:14-vectorchord0.3",
                Some(Kind::PostgreSql),
            ),
            ("tensorchord/pgvecto-rs:pg14-v0.2.0", Some(Kind::PostgreSql)),
            ("bitnami/postgresql:14", Some(Kind::PostgreSql)),
            ("mariadb:10.11", Some(Kind::MariaDb)),
            ("linuxserver/mariadb", Some(Kind::MariaDb)),
            ("lscr.io/linuxserver/mariadb:latest", Some(Kind::MariaDb)),
            ("mysql:8.0", Some(Kind::MariaDb)),
            ("percona/percona-server:8.0", Some(Kind::MariaDb)),
            ("percona/percona-server-mongodb:6", Some(Kind::MongoDb)),
            ("mongo:4.4", Some(Kind::MongoDb)),
            ("bitnami/mongodb:5.0", Some(Kind::MongoDb)),
            ("ghcr.io/ferretdb/ferretdb:1.24", Some(Kind::MongoDb)),
            (
                "redis:7-alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                Some(Kind::Redis),
            ),
            ("valkey/valkey:8", Some(Kind::Redis)),
            ("bitnami/redis:7", Some(Kind::Redis)),
            ("redis/redis-stack-server:latest", Some(Kind::Redis)),
            ("eqalpha/keydb", Some(Kind::Redis)),
            // Only about a database.
            ("prometheuscommunity/postgres-exporter", None),
            ("oliver006/redis_exporter", None),
            ("phpmyadmin:5", None),
            ("dpage/pgadmin4", None),
            ("mongo-express", None),
            ("rediscommander/redis-commander", None),
            ("offen/docker-volume-backup", None),
            ("edoburu/pgbouncer", None),
            ("nginx", None),
            ("postgres.example.org/app:1", None),
            ("localhost:5000/nextcloud", None),
        ];
        for (name, kind) in cases {
            assert_eq!(kind_of_image(name), kind, "{name}");
        }
    }
}
