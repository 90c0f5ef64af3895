//! The keys of `grants.yml`. The doc comments are the schema's descriptions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::size;

/// What the operator grants to whom. What no file grants, a source does not get.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "grants.yml")]
pub struct GrantsFile {
    /// Forges that may be asked besides the public one and CCCI_FORGE_URL, as URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forges: Vec<String>,
    /// What each source may do beyond a stranger, by `<forge host>[:port]/<owner>/<repository>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Grant>,
}

/// What one source may do beyond a stranger. It holds for the tips of `branches` and for `commits`, and for nothing else of the source but its `releases`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Branches of the source that only its maintainers can push to. At least one of `branches` and `commits` is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Commits that a maintainer looked at, with all 40 digits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[0-9a-f]{40}$")))]
    pub commits: Vec<String>,
    /// Tags too, whose commit is in the history of one of `branches`.
    #[serde(skip_serializing_if = "is_default")]
    pub releases: bool,
    /// Names of recipes that the source may be tested as, besides the repository's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Run its tests and hooks on this host, as the user that runs recipe-ci.
    #[serde(skip_serializing_if = "is_default")]
    pub run_code: bool,
    /// Send the forge's token when it is fetched.
    #[serde(skip_serializing_if = "is_default")]
    pub token: bool,
    /// Supplied secrets that it gets: `smtp_password` for CCCI_SECRET_SMTP_PASSWORD.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Paths of this host that it may mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Bind>,
    /// Ports of this host that it may publish: `8080` or `53/udp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[0-9]{1,5}(/(tcp|udp|sctp))?$")))]
    pub ports: Vec<String>,
    /// Objects of the engine that are not the run's and that it may use.
    #[serde(skip_serializing_if = "is_default")]
    pub foreign: Foreign,
    /// Registries and repositories whose images it may use: `registry.example.org`, `registry.example.org/team`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Capabilities that it may add, without `CAP_`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Compose keys that a stranger may not use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// Options and drivers of volumes: true for all, or the keys of the volumes that may have them.
    #[serde(skip_serializing_if = "is_default")]
    pub volume_options: VolumeOptions,
    /// Namespaces of labels that it may have beside those of the catalogue: `caddy` for `caddy` and `caddy.reverse_proxy`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Traefik routers that reach beyond the run's own domain.
    #[serde(skip_serializing_if = "is_default")]
    pub routers: Routers,
    /// Evaluate `template_driver: golang` in its secrets and configs.
    #[serde(skip_serializing_if = "is_default")]
    pub template_driver: bool,
    /// The driver that it may be deployed with besides the embedded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<GrantedDriver>,
    /// What it may use of this host, where the defaults are too little.
    #[serde(skip_serializing_if = "is_default")]
    pub ceilings: Ceilings,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A path of this host that may be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The path, exactly.
    #[schemars(regex(pattern = "^/"))]
    pub path: PathBuf,
    /// Whether it may be written. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: bool,
}

/// Objects of the engine by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Foreign {
    /// Networks that it may join.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Volumes that it may mount. The harness never seeds, wipes or restores them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Secrets that it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Configs that it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<String>,
}

/// A compose key that a stranger may not use.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// `sysctls` of a service.
    Sysctls,
    /// `ulimits` of a service.
    Ulimits,
    /// `logging` of a service.
    Logging,
    /// `isolation` of a service.
    Isolation,
    /// `credential_spec` of a service.
    CredentialSpec,
    /// `driver` of a network, other than `overlay`.
    NetworkDriver,
    /// `driver_opts`, `ipam`, `attachable` and the like of a network.
    NetworkOptions,
    /// `extra_hosts` of a service.
    ExtraHosts,
    /// `dns`, `dns_search` and `dns_opt` of a service.
    Dns,
    /// `placement` of a service.
    Placement,
    /// `generic_resources` of a service.
    GenericResources,
}

impl Key {
    /// Returns its name in `grants.yml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sysctls => "sysctls",
            Self::Ulimits => "ulimits",
            Self::Logging => "logging",
            Self::Isolation => "isolation",
            Self::CredentialSpec => "credential_spec",
            Self::NetworkDriver => "network_driver",
            Self::NetworkOptions => "network_options",
            Self::ExtraHosts => "extra_hosts",
            Self::Dns => "dns",
            Self::Placement => "placement",
            Self::GenericResources => "generic_resources",
        }
    }
}

/// Which volumes may have options and drivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum VolumeOptions {
    /// All of them, or none.
    All(bool),
    /// Those with these keys in the compose file.
    Listed(Vec<String>),
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self::All(false)
    }
}

impl VolumeOptions {
    /// Returns whether the volume with this key may have options.
    #[must_use]
    pub fn allow(&self, key: &str) -> bool {
        match self {
            Self::All(all) => *all,
            Self::Listed(keys) => keys.iter().any(|listed| listed == key),
        }
    }
}

/// Traefik routers that reach beyond the run's own domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Routers {
    /// Host names that its rules may name, each exactly; `*.example.org` is all that is below `example.org`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Entry points of the gateway whose TCP connections or UDP packets its routers may take as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoints: Vec<String>,
    /// Names of routers, services and middlewares without the stack's prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Whether its routers may set a priority.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: bool,
}

/// A driver that a stranger is not deployed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrantedDriver {
    /// abra, which reads the recipe on its own.
    Abra,
}

/// What a source may use of this host. What is absent has the harness's own ceiling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// Replicas of one service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub replicas: Option<u64>,
    /// Services of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub services: Option<u64>,
    /// Tasks of the app, all services together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100000))]
    pub tasks: Option<u64>,
    /// Memory of one task, as Docker writes it: `2g`, `512m`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bytes",
        serialize_with = "size::shown"
    )]
    #[schemars(with = "Option<Quantity>")]
    pub memory: Option<u64>,
    /// CPUs of one task, as Docker writes them: `1.5`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "nano_cpus",
        serialize_with = "size::shown_cpus"
    )]
    #[schemars(with = "Option<Quantity>")]
    pub cpus: Option<u64>,
    /// Processes of one task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4194304))]
    pub pids: Option<u64>,
    /// The size of one task's log, as Docker writes it: `50m`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bytes",
        serialize_with = "size::shown"
    )]
    #[schemars(with = "Option<Quantity>")]
    pub log_size: Option<u64>,
}

/// A number, or a text with a unit; for the schema and for reading.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Quantity {
    Number(f64),
    Text(String),
}

impl Quantity {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Quantity::deserialize(deserializer)?.text();
    size::bytes(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

fn nano_cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Quantity::deserialize(deserializer)?.text();
    size::nano_cpus(&text)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

impl Grant {
    /// Returns whether the source may publish `port` of this host, `protocol` as Docker writes it.
    #[must_use]
    pub fn allows_port(&self, port: u16, protocol: &str) -> bool {
        self.ports.iter().any(|text| {
            let (number, kind) = text.split_once('/').unwrap_or((text, "tcp"));
            number.parse() == Ok(port) && kind == protocol
        })
    }

    /// Returns whether the source may mount `path` of this host.
    #[must_use]
    pub fn allows_bind(&self, path: &std::path::Path, write: bool) -> bool {
        let mut binds = self.binds.iter();
        binds.any(|bind| bind.path == path && (bind.write || !write))
    }

    /// Returns whether the source gets the supplied secret of this name.
    #[must_use]
    pub fn allows_secret(&self, name: &str) -> bool {
        let name = secret_key(name);
        self.secrets.iter().any(|listed| secret_key(listed) == name)
    }

    /// Returns whether the source may use this compose key.
    #[must_use]
    pub fn allows_key(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }
}

impl Grant {
    /// Returns what it allows beyond a stranger, a phrase for each thing.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let flags = [
            (self.run_code, "run its tests and hooks on this host"),
            (self.token, "be fetched with the forge's token"),
            (self.routers.priority, "set the priority of routers"),
            (
                self.template_driver,
                "have secrets and configs evaluated as templates",
            ),
            (self.driver.is_some(), "be deployed by abra"),
            (
                self.volume_options == VolumeOptions::All(true),
                "set options of every volume",
            ),
        ];
        words.extend(
            flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, text)| (*text).to_owned()),
        );
        let listed: &[String] = match &self.volume_options {
            VolumeOptions::Listed(keys) => keys,
            VolumeOptions::All(_) => &[],
        };
        let keys: Vec<String> = self.keys.iter().map(|key| key.name().to_owned()).collect();
        let foreign = &self.foreign;
        for (what, names) in [
            ("be tested as", &self.aliases[..]),
            ("have the supplied secrets", &self.secrets),
            ("publish the ports", &self.ports),
            ("join the networks", &foreign.networks),
            ("mount the volumes", &foreign.volumes),
            ("read the secrets", &foreign.secrets),
            ("read the configs", &foreign.configs),
            ("use images of", &self.images),
            ("add the capabilities", &self.capabilities),
            ("use the keys", &keys),
            ("set options of the volumes", listed),
            ("route the hosts", &self.routers.hosts),
            ("name routers", &self.routers.names),
            ("take the entry points", &self.routers.entrypoints),
            ("have the labels", &self.labels),
        ] {
            if !names.is_empty() {
                words.push(format!("{what} {}", names.join(", ")));
            }
        }
        words.extend(self.binds.iter().map(|bind| {
            let how = if bind.write { "to write" } else { "to read" };
            format!("mount {} {how}", bind.path.display())
        }));
        let ceilings = &self.ceilings;
        let counts = [
            ("replicas of a service", ceilings.replicas),
            ("services", ceilings.services),
            ("tasks", ceilings.tasks),
            ("processes a task", ceilings.pids),
        ];
        words.extend(
            counts
                .into_iter()
                .filter_map(|(what, most)| Some(format!("have up to {} {what}", most?))),
        );
        words.extend(
            ceilings
                .memory
                .map(|most| format!("use {} of memory a task", size::in_words(most))),
        );
        words.extend(
            ceilings
                .cpus
                .map(|most| format!("use {} CPUs a task", size::cpus_in_words(most))),
        );
        words.extend(
            ceilings
                .log_size
                .map(|most| format!("log {} a task", size::in_words(most))),
        );
        words
    }
}

/// Returns the name of a supplied secret as its variable has it, in lower case.
#[must_use]
pub fn secret_key(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Returns the JSON schema of the file, as it is published in `docs/grants.schema.json`.
#[must_use]
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(GrantsFile))
        .expect("a schema of texts and numbers is valid JSON");
    text.push('\n');
    text
}

pub(super) fn schema_value() -> serde_json::Value {
    schemars::schema_for!(GrantsFile).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_binds_and_secrets_are_exact() {
        let grant = Grant {
            ports: vec!["8080".to_owned(), "53/udp".to_owned()],
            binds: vec![Bind {
                path: "/srv/a".into(),
                write: false,
            }],
            secrets: vec!["SMTP-password".to_owned()],
            ..Grant::default()
        };
        assert!(grant.allows_port(8080, "tcp") && grant.allows_port(53, "udp"));
        assert!(!grant.allows_port(53, "tcp") && !grant.allows_port(8080, "udp"));
        assert!(grant.allows_bind("/srv/a".as_ref(), false));
        assert!(!grant.allows_bind("/srv/a".as_ref(), true));
        assert!(!grant.allows_bind("/srv".as_ref(), false));
        assert!(grant.allows_secret("smtp_password") && !grant.allows_secret("smtp"));
    }
}
