//! Which secrets a recipe needs, and values for those that can be made up.
//!
//! Only external secrets are planned: docker itself creates the ones that have a `file`. How to make a value
//! is written behind the version of a secret in the environment file:
//! `SECRET_DB_PASSWORD_VERSION=v1 # length=32 charset=hex`.
//!
//! | modifier | meaning |
//! |---|---|
//! | `length=N` | a password of `N` characters; without it, one of 40 |
//! | `charset=…` | `default` and `alnum`: letters and digits; `hex`: `0-9a-f`; `special` and `safespecial`: punctuation, the latter without `$`. A comma list takes the characters of all |
//! | `generate=false` | the value cannot be made up, somebody has to supply it |
//!
//! abra makes a phrase of words where no length is given. No recipe can tell the difference, and a word list
//! would be the only other reason to have one, so it is 40 letters and digits here.

use std::collections::BTreeMap;

use rand::{CryptoRng, RngExt};

use super::compose::Project;
use super::compose::model::Secret;
use super::env::EnvFile;

/// The length of a value whose length the recipe leaves open: 238 bits, safe in any shell or URL.
const DEFAULT_LENGTH: usize = 40;

/// Longest value that is made up; a larger number is a slip.
const MAX_LENGTH: usize = 4096;

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX: &str = "0123456789abcdef";
const SPECIAL: &str = "!@#$%^&*_-+=";
const SAFE_SPECIAL: &str = "!@#%^&*_-+=";

/// Why the secrets cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variables have no `STACK_NAME`, so no secret can be told to be the stack's.
    #[error("`STACK_NAME` is not set")]
    NoStackName,
    /// A secret whose version is not set: its name would end with `_`.
    #[error("secret `{secret}` has no version: `{variable}` is not set")]
    NoVersion {
        /// The key of the secret.
        secret: String,
        /// The variable that should hold the version.
        variable: String,
    },
    /// A modifier that is not known.
    #[error(
        "{file}:{line}: unknown modifier `{modifier}` of `{variable}`; known are `length`, `charset` and `generate`"
    )]
    Modifier {
        /// The environment file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The variable with the comment.
        variable: String,
        /// The modifier.
        modifier: String,
    },
    /// A modifier with a value that it cannot have.
    #[error("{file}:{line}: `{modifier}={value}` of `{variable}` is not usable; {expected}")]
    Value {
        /// The environment file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The variable with the comment.
        variable: String,
        /// The modifier.
        modifier: String,
        /// Its value, which is no secret.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// A secret that has to exist before the deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSpec {
    /// The key below `secrets` in the compose files.
    pub key: String,
    /// The name without stack and version, such as `db_password`.
    pub name: String,
    /// The name of the engine's secret.
    pub full_name: String,
    /// The version, such as `v1`; `None` when the name has no variable for one.
    pub version: Option<String>,
    /// The variable that holds the version.
    pub version_variable: Option<String>,
    /// Where its value comes from.
    pub source: SecretSource,
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It is made up.
    Generated {
        /// How many characters.
        length: usize,
        /// The characters to choose from, each once.
        alphabet: String,
    },
    /// Somebody has to supply it (`generate=false`).
    Supplied,
}

/// Returns the external secrets of `project` that belong to the stack of `vars`, in the order of the files.
///
/// # Errors
/// [`SecretError`] when a version is missing or a modifier in `env` cannot be understood.
pub fn plan(
    project: &Project,
    env: &EnvFile,
    vars: &BTreeMap<String, String>,
) -> Result<Vec<SecretSpec>, SecretError> {
    let stack = vars
        .get("STACK_NAME")
        .filter(|stack| !stack.is_empty())
        .ok_or(SecretError::NoStackName)?;
    let prefix = format!("{stack}_");
    let mut specs = Vec::new();
    for secret in project.secrets.iter().filter(|secret| secret.external) {
        let full_name = secret.full_name(stack);
        if let Some(rest) = full_name.strip_prefix(&prefix) {
            specs.push(spec(secret, rest, &full_name, (env, vars))?);
        }
    }
    Ok(specs)
}

fn spec(
    secret: &Secret,
    rest: &str,
    full_name: &str,
    (env, vars): (&EnvFile, &BTreeMap<String, String>),
) -> Result<SecretSpec, SecretError> {
    let variable = secret.version_variable.as_deref();
    let (name, version) = match variable {
        None => (rest, None),
        Some(variable) => match rest.rsplit_once('_') {
            Some((_, "")) => {
                let (secret, variable) = (secret.key.clone(), variable.to_owned());
                return Err(SecretError::NoVersion { secret, variable });
            }
            // A version may hold `_` itself; where it comes from a default only its last part is known.
            last => match vars
                .get(variable)
                .and_then(|version| Some((rest.strip_suffix(version)?, version)))
            {
                Some((name, version)) if !version.is_empty() => (
                    name.strip_suffix('_').unwrap_or(name),
                    Some(version.as_str()),
                ),
                _ => last.map_or((rest, None), |(name, version)| (name, Some(version))),
            },
        },
    };
    let source = match variable {
        Some(variable) => source(env, variable)?,
        None => SecretSource::Generated {
            length: DEFAULT_LENGTH,
            alphabet: ALNUM.to_owned(),
        },
    };
    Ok(SecretSpec {
        key: secret.key.clone(),
        name: name.to_owned(),
        full_name: full_name.to_owned(),
        version: version.map(str::to_owned),
        version_variable: variable.map(str::to_owned),
        source,
    })
}

/// Returns what the comment behind `variable` asks for. Words without `=` are prose, and passed over.
fn source(env: &EnvFile, variable: &str) -> Result<SecretSource, SecretError> {
    let comment = env.trailing_comment(variable).unwrap_or_default();
    let (file, line) = (env.name(), env.line_of(variable).unwrap_or_default());
    let (mut length, mut alphabet, mut supplied) = (DEFAULT_LENGTH, ALNUM.to_owned(), false);
    for (modifier, value) in comment
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
    {
        let refuse = |expected| SecretError::Value {
            file: file.to_owned(),
            line,
            variable: variable.to_owned(),
            modifier: modifier.to_owned(),
            value: value.to_owned(),
            expected,
        };
        match modifier {
            "length" => {
                length = value
                    .parse()
                    .ok()
                    .filter(|length| (1..=MAX_LENGTH).contains(length))
                    .ok_or_else(|| refuse("it must be a number from 1 to 4096"))?;
            }
            "charset" => {
                alphabet = charset(value).ok_or_else(|| {
                    refuse("known are `default`, `alnum`, `hex`, `special`, `safespecial`, and comma lists of them")
                })?;
            }
            "generate" => {
                supplied = match value {
                    "false" => true,
                    "true" => false,
                    _ => return Err(refuse("it must be `true` or `false`")),
                };
            }
            word if word.chars().all(|c| c.is_ascii_alphabetic() || c == '_') => {
                return Err(SecretError::Modifier {
                    file: file.to_owned(),
                    line,
                    variable: variable.to_owned(),
                    modifier: word.to_owned(),
                });
            }
            // An address or a formula in prose.
            _ => {}
        }
    }
    Ok(if supplied {
        SecretSource::Supplied
    } else {
        SecretSource::Generated { length, alphabet }
    })
}

fn charset(list: &str) -> Option<String> {
    let mut alphabet = String::new();
    for name in list.split(',') {
        let characters = match name.trim() {
            "default" | "alnum" => ALNUM,
            "hex" => HEX,
            "special" => SPECIAL,
            "safespecial" => SAFE_SPECIAL,
            _ => return None,
        };
        // Each character once, so that none is likelier than another.
        for c in characters.chars() {
            if !alphabet.contains(c) {
                alphabet.push(c);
            }
        }
    }
    Some(alphabet)
}

/// Returns a value for the secret; `None` when somebody has to supply it.
pub fn generate(spec: &SecretSpec, rng: &mut impl CryptoRng) -> Option<String> {
    let SecretSource::Generated { length, alphabet } = &spec.source else {
        return None;
    };
    let alphabet: Vec<char> = alphabet.chars().collect();
    Some(
        (0..*length)
            .map(|_| alphabet[rng.random_range(0..alphabet.len())])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = r#"
version: "3.8"
services: {app: {image: a}}
secrets:
  db_password: {external: true, name: "${STACK_NAME}_db_password_${SECRET_DB_PASSWORD_VERSION}"}
  key: {external: true, name: "${STACK_NAME}_key_${SECRET_KEY_VERSION}"}
  token: {external: true, name: "${STACK_NAME}_token_${SECRET_TOKEN_VERSION:-v7}"}
  fixed: {external: true, name: "${STACK_NAME}_fixed"}
  foreign: {external: true, name: "other_thing_v1"}
  own: {file: ./x}
"#;

    fn plan_with(env: &str) -> Result<Vec<SecretSpec>, SecretError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yml"), COMPOSE).unwrap();
        let env = EnvFile::parse(env, "note.env").unwrap();
        let base = [("STACK_NAME".to_owned(), "note_ci".to_owned())].into();
        let mut vars = env.resolve(&base).unwrap();
        vars.extend(base);
        let project = Project::load(dir.path(), &["compose.yml".to_owned()], &vars).unwrap();
        plan(&project, &env, &vars)
    }

    const KEY: &str = "SECRET_KEY_VERSION=v_2\n";

    #[test]
    fn the_secrets_of_the_stack_are_planned() {
        let specs = plan_with(&format!(
            "SECRET_DB_PASSWORD_VERSION=v1 # length=16 charset=hex\n{KEY}"
        ))
        .unwrap();
        let seen: Vec<_> = specs
            .iter()
            .map(|s| (s.name.as_str(), s.full_name.as_str(), s.version.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                ("db_password", "note_ci_db_password_v1", Some("v1")),
                ("key", "note_ci_key_v_2", Some("v_2")),
                ("token", "note_ci_token_v7", Some("v7")),
                ("fixed", "note_ci_fixed", None),
            ]
        );
        assert_eq!(
            specs[0].source,
            SecretSource::Generated {
                length: 16,
                alphabet: HEX.to_owned()
            }
        );
        assert_eq!(
            specs[0].version_variable.as_deref(),
            Some("SECRET_DB_PASSWORD_VERSION")
        );
    }

    #[test]
    fn modifiers_count_behind_any_variable_that_the_name_of_a_secret_has() {
        let dir = tempfile::tempdir().unwrap();
        let text = "services: {app: {image: a}}\nsecrets:\n  pw: {external: true, name: \"${STACK_NAME}_pw_${SECRET_PW}\"}\n";
        std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        let env = EnvFile::parse("SECRET_PW=v1 # generate=false\n", ".env.sample").unwrap();
        let base = BTreeMap::from([("STACK_NAME".to_owned(), "note_ci".to_owned())]);
        let mut vars = env.resolve(&base).unwrap();
        vars.extend(base);
        let project = Project::load(dir.path(), &["compose.yml".to_owned()], &vars).unwrap();
        let specs = plan(&project, &env, &vars).unwrap();
        assert_eq!(specs[0].source, SecretSource::Supplied);
        assert_eq!(
            (specs[0].name.as_str(), specs[0].version.as_deref()),
            ("pw", Some("v1"))
        );
    }

    #[test]
    fn values_follow_their_modifiers() {
        let mut rng = rand::rng();
        for (comment, length, alphabet) in [
            ("", DEFAULT_LENGTH, ALNUM),
            ("# length=128", 128, ALNUM),
            (
                "# the key, see https://example.org/?a=b",
                DEFAULT_LENGTH,
                ALNUM,
            ),
            ("# charset=safespecial length=12", 12, SAFE_SPECIAL),
            ("# charset=special", DEFAULT_LENGTH, SPECIAL),
            ("# length=64 charset=hex generate=true", 64, HEX),
            ("# length=64 charset=alnum", 64, ALNUM),
        ] {
            let specs =
                plan_with(&format!("SECRET_DB_PASSWORD_VERSION=v1 {comment}\n{KEY}")).unwrap();
            let value = generate(&specs[0], &mut rng).unwrap();
            assert_eq!(value.len(), length, "{comment}");
            assert!(
                value.chars().all(|c| alphabet.contains(c)),
                "{comment}: {value}"
            );
            assert_ne!(generate(&specs[0], &mut rng).unwrap(), value);
        }
    }

    #[test]
    fn lists_of_charsets_hold_each_character_once() {
        assert_eq!(
            charset("default,special").unwrap().len(),
            ALNUM.len() + SPECIAL.len()
        );
        assert_eq!(charset("hex,alnum").unwrap().len(), ALNUM.len());
        assert_eq!(charset("default,klingon"), None);
    }

    #[test]
    fn a_secret_that_is_not_generated_has_no_value() {
        let specs = plan_with(&format!(
            "SECRET_DB_PASSWORD_VERSION=v1 # generate=false\n{KEY}"
        ))
        .unwrap();
        assert_eq!(specs[0].source, SecretSource::Supplied);
        assert_eq!(generate(&specs[0], &mut rand::rng()), None);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_line() {
        for (comment, expected) in [
            (
                "lenght=3",
                "note.env:2: unknown modifier `lenght` of `SECRET_DB_PASSWORD_VERSION`",
            ),
            ("charset=klingon", "note.env:2: `charset=klingon`"),
            ("length=0", "note.env:2: `length=0`"),
            ("length=many", "note.env:2: `length=many`"),
            ("generate=maybe", "note.env:2: `generate=maybe`"),
        ] {
            let env = format!("{KEY}SECRET_DB_PASSWORD_VERSION=v1 # {comment}\n");
            let error = plan_with(&env).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = plan_with(KEY).unwrap_err().to_string();
        assert_eq!(
            error,
            "secret `db_password` has no version: `SECRET_DB_PASSWORD_VERSION` is not set"
        );
    }
}
