//! The keys of `recipe-ci.yml`. The doc comments are the schema's descriptions.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::variable::Scalar;
use super::variant::Variant;
use crate::database::Kind;

/// Settings and checks for one recipe, in its `tests/` or in the operator's overlay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "recipe-ci.yml")]
pub struct DeclaredFile {
    /// The recipe that this file is for. A file that is found for another recipe is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// What counts as serving.
    #[serde(skip_serializing_if = "is_default")]
    pub health: Health,
    /// How long things may take.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// Variables of the app's env file, set before the first deploy. `${DOMAIN}`, `${STACK_NAME}` and `${RECIPE}` are filled in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub env: BTreeMap<String, String>,
    /// Variables that are set only for the upgrade to the version under test.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub upgrade_env: BTreeMap<String, String>,
    /// What has to answer, besides the health path, before the app counts as up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<Probe>,
    /// Requests that a new app gets once, before anything is written into it: what its installer wants. Cookies are kept between them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_run: Vec<Request>,
    /// How the recipe is backed up.
    #[serde(skip_serializing_if = "is_default")]
    pub backup: Backup,
    /// Databases that recipe-ci does not find by itself, or that are not to be asked: one, or a list.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_more_data"
    )]
    #[schemars(with = "OneOrMoreData")]
    pub data: Vec<Data>,
    /// Recipes that are deployed before this one, for its tests and hooks: each a name, or a name with settings.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "names_or_dependencies"
    )]
    #[schemars(with = "Vec<NameOrDependency>")]
    pub dependencies: Vec<Dependency>,
    /// Keep the app of a green run as the recipe's warm canonical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical: Option<bool>,
    /// Rungs that do not apply to this recipe, each with the reason.
    #[serde(skip_serializing_if = "is_default")]
    pub expected_na: ExpectedNa,
    /// The published version that the upgrade starts from, instead of the newest one that is not newer than the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// HTTP checks of the version under test, after its install, its upgrade and its restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Variants of the recipe, by name: each is an app of its own in a run, with other variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: BTreeMap<String, Variant>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What counts as serving.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Why the app answers no request: nothing is asked then, and every service running and healthy is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<String>,
    /// The service that is asked. Default: the one whose Traefik label has the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The port of its container. Default: that of the Traefik label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How it is asked; of `tcp` the port has to accept connections. Default: as the Traefik label says, else `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host that is asked for: `${DOMAIN}`, the app's domain, or a name below it. Default: `${DOMAIN}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([A-Za-z0-9-]+\.)*\$\{DOMAIN\}$"))]
    pub host: Option<String>,
    /// The path that is asked. Default: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub path: Option<String>,
    /// The statuses that count. Default: 200 to 299, 301, 302, 303, 307, 308. 404 is what a gateway without a route says, and is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub statuses: Option<Vec<u16>>,
    /// Services with a router at whose ports nothing listens until somebody has set them up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<Vec<String>>,
}

impl Health {
    /// Returns what a stranger's recipe may say of itself, and the rest. Where it is asked is its own matter; that it
    /// is not, or that an error will do, is not.
    #[must_use]
    pub fn of_a_stranger(self) -> (Self, Self) {
        let modest = |status: &u16| matches!(status, 200..=399 | 401 | 403);
        let Self {
            none,
            service,
            port,
            scheme,
            host,
            path,
            statuses,
            silent,
        } = self;
        let (tcp, scheme) = match scheme {
            Some(Scheme::Tcp) => (scheme, None),
            other => (None, other),
        };
        let (statuses, loose) = match statuses {
            Some(all) if !all.iter().all(modest) => (None, Some(all)),
            other => (other, None),
        };
        let taken = Self {
            none: None,
            service,
            port,
            scheme,
            host,
            path,
            statuses,
            silent: None,
        };
        let left = Self {
            none,
            scheme: tcp,
            statuses: loose,
            silent,
            ..Self::default()
        };
        (taken, left)
    }
}

/// How an app is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scheme {
    /// In HTTP.
    Http,
    /// In HTTP over TLS, with any certificate.
    Https,
    /// With a connection that is closed again.
    Tcp,
}

/// How long things may take, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until every service is up and healthy. Default: the recipe's timeout label, else 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub deploy: Option<u64>,
    /// Until a converged app serves and is ready. Default: what is left of the deploy's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub http: Option<u64>,
}

/// Something that has to answer. Exactly one of `http` and `tcp`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// A path that has to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub http: Option<String>,
    /// A TCP port in the service's container that has to accept a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tcp: Option<u16>,
    /// The service. Default: of `http` the one with the web port, of `tcp` the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The port for `http`. Default: the web port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The statuses that count for `http`. Default: 200 to 299, 301, 302, 303, 307, 308. 404 is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub statuses: Option<Vec<u16>>,
    /// How often in a row it has to succeed, half a second apart. Default: 1 for `http`, 3 for `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub stable: Option<u32>,
}

/// A request to a new app. In `path` and in every value of `form` and `json`, `${DOMAIN}`, `${STACK_NAME}` and `${RECIPE}` are filled in, and `${secret:NAME}` with the value of the app's secret of this name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The method. Default: POST with `form` or `json`, else GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Z]+$"))]
    pub method: Option<String>,
    /// The path, with its query.
    #[schemars(regex(pattern = "^/"))]
    pub path: String,
    /// Fields of a form, sent as `application/x-www-form-urlencoded`. This or `json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub form: BTreeMap<String, String>,
    /// A body, sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// The statuses that count. Default: 200, 201, 202, 204. A redirect that is not among them is followed on the app's own host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    pub statuses: Option<Vec<u16>>,
    /// A text that the body must contain, or a list of them.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    #[schemars(with = "OneOrMany")]
    pub contains: Vec<String>,
}

/// How the recipe is backed up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Whether the recipe can be backed up. Default: its backup labels say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capable: Option<bool>,
    /// A check that a backup has to pass; when it does not, the whole backup is made again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// A check of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// A command for `/bin/sh -c` in the service's container that ends with 0 when the backup is good. It must change nothing.
    #[schemars(length(min = 1))]
    pub command: String,
    /// The service. Default: the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How many backups may be made until one is good. Default: 3, which is also the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3))]
    pub attempts: Option<u32>,
}

/// A database of the app, or why it has none. `service` and `kind`, or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The service in whose container its server runs, or that has its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub service: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its name, of SQLite its path in the container. Default: as the image's variables say, else the one with most tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub database: Option<String>,
    /// The user that it is asked as. Default: as the image's variables say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub user: Option<String>,
    /// Why no database is asked: of this service, or of none where no service is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub none: Option<String>,
}

/// Rungs that do not apply, each with the reason. Install and lint always apply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedNa {
    /// Why there is nothing to upgrade from. The base is not deployed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<String>,
    /// Why there is nothing to back up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_restore: Option<String>,
    /// Why there are no tests of the recipe's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<String>,
}

/// A recipe that is deployed before this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The recipe's name.
    #[schemars(length(min = 1))]
    pub recipe: String,
    /// Whether the run is red when it does not come up. Default: false; what needs it is unverified either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

/// An HTTP check: everything that is named must hold. Redirects are not followed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The path that is asked.
    #[schemars(regex(pattern = "^/"))]
    pub path: String,
    /// The status that it must have. Default: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// The page's title, all of it; white space is taken together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A text that the body must contain, or a list of them.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    #[schemars(with = "OneOrMany")]
    pub contains: Vec<String>,
    /// Headers that the answer must have, each with a text that its value must contain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub header: BTreeMap<String, String>,
    /// JSON pointers (RFC 6901) into the body, each with the value that must be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// Every script, style sheet and image of the page that the app itself serves must answer with a status below 400.
    #[serde(default, skip_serializing_if = "is_default")]
    pub assets: bool,
}

/// For the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// For the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrMoreData {
    One(Data),
    More(Vec<Data>),
}

/// A recipe's name, or a name with settings.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum NameOrDependency {
    Name(String),
    Dependency(Dependency),
}

fn names_or_dependencies<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Dependency>, D::Error> {
    /// One of the list. Not `untagged`: that forgets the place of a wrong key.
    struct Either(Dependency);
    impl<'de> Deserialize<'de> for Either {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Form;
            impl<'de> Visitor<'de> for Form {
                type Value = Either;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a recipe's name, or a mapping with `recipe`")
                }

                fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Either, E> {
                    Ok(Either(Dependency {
                        recipe: name.to_owned(),
                        required: None,
                    }))
                }

                fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Either, A::Error> {
                    Dependency::deserialize(MapAccessDeserializer::new(map)).map(Either)
                }
            }
            deserializer.deserialize_any(Form)
        }
    }
    let list = Vec::<Either>::deserialize(deserializer)?;
    Ok(list.into_iter().map(|Either(one)| one).collect())
}

fn one_or_more_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Data>, D::Error> {
    /// Not `untagged`: that forgets the place of a wrong key.
    struct Form;
    impl<'de> Visitor<'de> for Form {
        type Value = Vec<Data>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping with `service` and `kind` or with `none`, or a list of those")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Data::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = access.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Form)
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = access.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Texts)
}

/// Returns the JSON schema of the file, as it is published in `docs/recipe-ci.schema.json`.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(DeclaredFile);
    let mut text =
        serde_json::to_string_pretty(&schema).expect("a schema of texts and numbers is valid JSON");
    text.push('\n');
    text
}

/// Returns the same as a value, in another order.
pub(super) fn schema_value() -> serde_json::Value {
    schemars::schema_for!(DeclaredFile).to_value()
}
