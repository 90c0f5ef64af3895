//! What a proposal may ask of this host: rules on the resolved project.
//!
//! The rules are data ([`rules::RULES`]). A key of the compose format that no table here knows is refused, so that a
//! newer Docker cannot bring in what was never judged. What a file of the operator's own overlay sets is not judged as
//! the proposal's. Only this module makes a [`Judged`], and only that is deployed.

mod ceilings;
mod image;
mod keys;
mod label;
mod mount;
mod object;
mod raw;
mod route;
pub mod rules;
mod service;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compose::Location;
use crate::compose::resolve::Resolved;
use crate::trust::{Grant, Level};
use ground::pins::Pins;
pub use image::{is_public_registry, not_public};
use rules::Rule;

/// How much of a value is shown, in characters.
const SHOWN: usize = 80;

/// How many refusals are said, and how many warnings; a file has room for tens of thousands.
const MOST: usize = 200;

/// For whom and for which app a project is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// How far the source is trusted.
    pub level: Level,
    /// The domain of the run's app.
    pub domain: String,
    /// Images that every source may use: prefixes of repositories, by the operator.
    pub images: Vec<String>,
    /// The newest compose schema that the Docker client knows.
    pub schema: String,
    /// What its images are deployed as; nothing before they are on the engine.
    pub pins: Pins,
}

/// What a rule has against a project, in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// The rule's id.
    pub rule: String,
    /// The file, as `COMPOSE_FILE` names it; null for what is in none.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u64>,
    /// The column, from 1.
    pub column: Option<u64>,
    /// The line itself, at most 300 characters of it; null where there is none.
    #[serde(default)]
    pub source: Option<String>,
    /// The keys that lead to the value.
    pub key: String,
    /// The value, shortened, without control characters.
    pub value: String,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What would allow it, as a line for the source's entry in `grants.yml`; null where nothing does.
    pub grant: Option<String>,
    /// Whether the proposal is refused for it.
    pub refused: bool,
}

impl Violation {
    /// Returns whether another is about the same value, wherever it stands.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.rule, &self.key, &self.value) == (&other.rule, &other.key, &other.value)
    }

    /// Returns `file:line:column`, or as much of it as there is.
    #[must_use]
    pub fn place(&self) -> String {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}"),
            (Some(file), Some(line), None) => format!("{file}:{line}"),
            (Some(file), _, _) => file.clone(),
            (None, _, _) => "recipe".to_owned(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: ", self.rule, self.place())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A project that may be deployed. Only [`judge`] makes one.
#[derive(Debug, Clone)]
pub struct Judged {
    resolved: Resolved,
    warnings: Vec<Violation>,
}

impl Judged {
    /// Returns the project as it is deployed.
    #[must_use]
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// Returns what is worth a word although it may be deployed.
    #[must_use]
    pub fn warnings(&self) -> &[Violation] {
        &self.warnings
    }
}

/// A project that must not be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is against it, and what is only worth a word.
    pub violations: Vec<Violation>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let refused = self.violations.iter().filter(|one| one.refused);
        let shown: Vec<String> = refused.map(ToString::to_string).collect();
        write!(
            f,
            "the policy of this host refuses it: {}",
            shown.join("; ")
        )
    }
}

impl std::error::Error for Refused {}

/// Judges `resolved`, the app `stack`, by `terms`, and fills in this host's ceilings and what its images are deployed as.
///
/// # Errors
/// [`Refused`] when a rule that refuses does not hold; for a path that a person typed only where the engine would not
/// take it.
pub fn judge(mut resolved: Resolved, stack: &str, terms: &Terms) -> Result<Judged, Refused> {
    let mut case = Case {
        resolved: &resolved,
        stack,
        terms,
        found: Vec::new(),
    };
    keys::check(&mut case);
    object::check(&mut case);
    service::check(&mut case);
    mount::check(&mut case);
    image::check(&mut case);
    label::check(&mut case);
    template::check(&mut case);
    ceilings::amounts::check(&mut case);
    let mut found = case.found;
    found.sort_by(|one, other| {
        let key = |found: &Violation| (found.file.clone(), found.line, found.key.clone());
        key(one).cmp(&key(other))
    });
    if found.iter().any(|found| found.refused) {
        return Err(Refused { violations: found });
    }
    if terms.level != Level::ByHand {
        ceilings::fill_in(&mut resolved, terms);
    }
    // Last, for what is named by its id would be refused as a recipe's own.
    image::pin(&mut resolved, &terms.pins);
    Ok(Judged {
        resolved,
        warnings: found,
    })
}

/// A project while it is judged.
struct Case<'a> {
    resolved: &'a Resolved,
    stack: &'a str,
    terms: &'a Terms,
    found: Vec<Violation>,
}

impl<'a> Case<'a> {
    /// Returns whether the operator granted it. What is done by hand is never granted: it is said, and runs.
    fn granted(&self, grant: impl FnOnce(&Grant) -> bool) -> bool {
        match &self.terms.level {
            Level::Granted(granted) => grant(granted),
            Level::Stranger | Level::ByHand => false,
        }
    }

    fn grant(&self) -> Option<&'a Grant> {
        match &self.terms.level {
            Level::Granted(granted) => Some(granted),
            Level::Stranger | Level::ByHand => None,
        }
    }

    fn section(&self, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        let section = self.resolved.document().get(name);
        section.and_then(Value::as_object).into_iter().flatten()
    }

    fn has(&self, section: &str, key: &str) -> bool {
        self.resolved
            .document()
            .get(section)
            .is_some_and(|all| all.get(key).is_some())
    }

    /// Returns whether a file of the operator's overlay sets the value at `path`.
    ///
    /// An item of a list is the operator's only where the whole list is: Docker appends lists, and the places of
    /// two files' items have the same paths.
    fn is_operators(&self, path: &str) -> bool {
        let Some(service) = path.strip_prefix("services.") else {
            return false;
        };
        // Whose keys could be read as others' paths is not exempt.
        let keys: Vec<&str> = service.split('.').collect();
        let name = keys.first().copied().unwrap_or_default();
        if !self.has("services", name) {
            return false;
        }
        let set = |path: &str| self.resolved.project.is_overlaid(path);
        if !set(path) {
            return false;
        }
        let Some((list, _)) = path.rsplit_once('[') else {
            return true;
        };
        let pointer = format!("/services/{}", list["services.".len()..].replace('.', "/"));
        let length = self.resolved.document().pointer(&pointer);
        let length = length.and_then(Value::as_array).map_or(0, Vec::len);
        length > 0 && (0..length).all(|index| set(&format!("{list}[{index}]")))
    }

    /// Notes that `rule` has something against the value at `path`, unless the operator set it.
    fn find(
        &mut self,
        rule: &'static Rule,
        path: &str,
        value: &Value,
        message: impl Into<String>,
        grant: Option<String>,
    ) {
        if self.is_operators(path) {
            return;
        }
        let refused = rule.refuses && self.terms.level != Level::ByHand;
        self.note(rule, path, value, message.into(), grant, refused);
    }

    /// Notes that no engine takes the value at `path`; that is refused at every level of trust.
    fn find_for_everybody(
        &mut self,
        rule: &'static Rule,
        path: &str,
        value: &Value,
        message: String,
    ) {
        self.note(rule, path, value, message, None, true);
    }

    fn note(
        &mut self,
        rule: &'static Rule,
        path: &str,
        value: &Value,
        message: String,
        grant: Option<String>,
        refused: bool,
    ) {
        // A refusal is never among what is left out for want of room.
        let same = self.found.iter().filter(|found| found.refused == refused);
        if same.count() >= MOST {
            return;
        }
        let place: Option<&Location> = self.resolved.project.location(path);
        self.found.push(Violation {
            rule: rule.id.to_owned(),
            file: place.map(|place| place.file.clone()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            source: None,
            key: printable(path),
            value: shown(value),
            message: printable(&message),
            grant: grant.map(|line| printable(&line)),
            refused,
        });
    }
}

/// Returns a refusal by the rule with this id, of the policy or of the lint, that is in no file yet.
pub fn refusal(rule: &str, key: &str, message: &str) -> Violation {
    Violation {
        rule: rule.to_owned(),
        file: None,
        line: None,
        column: None,
        source: None,
        key: printable(key),
        value: String::new(),
        message: printable(message),
        grant: None,
        refused: true,
    }
}

/// Returns a value in one short line without control characters.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    shortened(&text)
}

fn shortened(text: &str) -> String {
    let mut all = text.chars();
    let mut short: String = all.by_ref().take(SHOWN).collect();
    if all.next().is_some() {
        short.push('…');
    }
    printable(&short)
}

/// Escapes what a terminal would obey.
fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return text.to_owned();
    }
    let escape = |c: char| match hidden(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns a text as a scalar of YAML in a flow list, quoted where it has to be.
fn scalar(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !text.starts_with('-')
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
