//! What the spec of a service says of a database in its containers, before anybody is asked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Kind;

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// The kind that the image is of, by its name.
    pub image: Option<Kind>,
    /// Kinds whose servers the command starts.
    pub told: BTreeSet<Kind>,
    /// Where what outlives the container is mounted, volumes with a name and directories of the host, without a `/` at
    /// the end.
    pub mounts: Vec<String>,
    /// The password that Redis was given in its command.
    pub requirepass: Option<String>,
    /// Files that the command names, which may be settings.
    pub configs: Vec<String>,
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
const BESIDE: [&str; 13] = [
    "exporter",
    "admin",
    "backup",
    "express",
    "commander",
    "insight",
    "proxy",
    "bouncer",
    "client",
    "operator",
    "sentinel",
    "router",
    "dump",
];

/// Programs that are servers.
const SERVERS: [(&str, Kind); 8] = [
    ("postgres", Kind::PostgreSql),
    ("mariadbd", Kind::MariaDb),
    ("mysqld", Kind::MariaDb),
    ("mongod", Kind::MongoDb),
    ("ferretdb", Kind::MongoDb),
    ("redis-server", Kind::Redis),
    ("valkey-server", Kind::Redis),
    ("keydb-server", Kind::Redis),
];

/// Returns the kind of database that an image of this name is, as far as its name says.
#[must_use]
pub(super) fn image(name: &str) -> Option<Kind> {
    let name = name.split('@').next().unwrap_or(name).to_lowercase();
    let mut parts = name.rsplit('/');
    let last = parts.next()?.split(':').next()?;
    if BESIDE.iter().any(|word| last.contains(word)) {
        return None;
    }
    // The most special name wins: `percona-server-mongodb` is no MySQL.
    let named = IMAGES.iter().filter(|(word, _)| last.contains(word));
    named
        .max_by_key(|(word, _)| word.len())
        .map(|(_, kind)| *kind)
}

impl Hints {
    /// Reads the container part of a service's spec, as the engine has it.
    #[must_use]
    pub fn of(spec: &Value) -> Self {
        let texts = |key: &str| {
            let list = spec[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned)
        };
        let command: Vec<String> = texts("Command").chain(texts("Args")).collect();
        let words: Vec<&str> = command
            .iter()
            .flat_map(|part| part.split_whitespace())
            .map(|word| word.trim_matches(['"', '\'', ';']))
            .collect();
        let mut told = BTreeSet::new();
        for word in &words {
            let program = word.rsplit('/').next().unwrap_or(word);
            let of = SERVERS.iter().filter(|(name, _)| *name == program);
            told.extend(of.map(|(_, kind)| *kind));
        }
        let mounts = spec["Mounts"].as_array().into_iter().flatten();
        let named = |mount: &&Value| {
            mount["Source"]
                .as_str()
                .is_some_and(|name| !name.is_empty())
        };
        let mounts = mounts
            .filter(|mount| mount["Type"] != "tmpfs")
            .filter(named);
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1).map(|word| (*word).to_owned())
        };
        Self {
            image: spec["Image"].as_str().and_then(image),
            told,
            mounts: mounts
                .filter_map(|mount| mount["Target"].as_str())
                .map(|target| target.trim_end_matches('/').to_owned())
                .collect(),
            requirepass: after("--requirepass").filter(|word| !word.starts_with('$')),
            configs: words
                .iter()
                .filter(|word| word.starts_with('/') && word.ends_with(".conf"))
                .map(|word| (*word).to_owned())
                .collect(),
        }
    }

    /// Returns whether a database may run in the container. What has no mount and no word about a server keeps nothing;
    /// variables with credentials are no word, because clients have the same.
    #[must_use]
    pub fn may_have_a_database(&self) -> bool {
        self.image.is_some() || !self.told.is_empty() || !self.mounts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            ("redis:7-alpine@sha256:00ff", Some(Kind::Redis)),
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
            assert_eq!(image(name), kind, "{name}");
        }
    }

    #[test]
    fn a_spec_tells_of_mounts_of_servers_and_of_the_password_in_a_command() {
        let hints = Hints::of(&json!({
            "Image": "redis:7",
            "Command": ["sh", "-c", "exec redis-server /etc/redis/redis.conf --requirepass \"s3cret\""],
            "Env": ["TZ=UTC"],
            "Mounts": [{"Type": "volume", "Source": "x", "Target": "/data/"}, {"Type": "volume", "Target": "/anonymous"},
                       {"Type": "tmpfs", "Target": "/tmp"}],
        }));
        assert_eq!(hints.image, Some(Kind::Redis));
        assert_eq!(hints.told, BTreeSet::from([Kind::Redis]));
        assert_eq!(hints.mounts, ["/data"]);
        assert_eq!(hints.requirepass.as_deref(), Some("s3cret"));
        assert_eq!(hints.configs, ["/etc/redis/redis.conf"]);
        assert!(hints.may_have_a_database());

        let web =
            Hints::of(&json!({"Image": "nginx", "Env": ["POSTGRES_PASSWORD=x", "PGDATABASE=x"]}));
        assert_eq!(web, Hints::default());
        assert!(!web.may_have_a_database());
    }
}
