//! What the spec of a service says of a database in its containers, before anybody is asked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Kind;
use recipe::database;

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
            image: spec["Image"].as_str().and_then(database::kind_of_image),
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

    /// Returns the same with what the image's name says, where the spec names it by its id.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            image: self.image.or_else(|| database::kind_of_image(name)),
            ..self
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
