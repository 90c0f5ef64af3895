//! A variant of a recipe: an app of it with other variables.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::variable::{Scalar, bad_variable};
use ground::outcome::Stage;

/// How many variants a recipe may have: each is an app.
pub const MOST: usize = 16;

/// An app of the recipe with other variables, for example with one more compose file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Variant {
    /// Variables of the app's env file, laid over those of `env`. `${DOMAIN}`, `${STACK_NAME}` and `${RECIPE}` are filled in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub env: BTreeMap<String, String>,
    /// The stages that are run on it, besides the install: `backup`, `restore` with it, `custom`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Tier>>")]
    pub stages: Option<Vec<Stage>>,
}

/// A stage that a variant may have.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum Tier {
    Install,
    Backup,
    Restore,
    Custom,
}

impl Variant {
    /// Returns the stages of its app, in the order of a run.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        let asked = self.stages.as_deref().unwrap_or_default();
        let runs = |stage: &Stage| *stage == Stage::Install || asked.contains(stage);
        Stage::ALL.into_iter().filter(runs).collect()
    }

    /// Lays `over` over it: its values win, of `env` one variable at a time.
    pub(super) fn lay_over(&mut self, over: Self) {
        let Self { env, stages } = over;
        self.env.extend(env);
        if stages.is_some() {
            self.stages = stages;
        }
    }
}

/// Returns what cannot be meant, with the keys that lead to it.
pub(super) fn faults(variants: &BTreeMap<String, Variant>) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut wrong = |path: String, reason: &str| faults.push((path, reason.to_owned()));
    if variants.len() > MOST {
        let reason = format!("give at most {MOST}, and these are {}", variants.len());
        wrong("variants".to_owned(), &reason);
    }
    for (name, variant) in variants {
        let at = format!("variants.{name}");
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(is_plain) {
            wrong(
                at.clone(),
                "a variant's name is up to 32 lower-case letters, digits and dashes",
            );
        }
        if ["all", "none"].contains(&name.as_str()) {
            wrong(at.clone(), "`--variants` has another meaning for this name");
        }
        if variant.env.is_empty() {
            wrong(
                at.clone(),
                "give `env`: without other variables it is the app that is tested anyway",
            );
        }
        for variable in variant.env.keys() {
            if let Some(reason) = bad_variable(variable) {
                wrong(format!("{at}.env.{variable}"), &reason);
            }
        }
        let asked = variant.stages.as_deref().unwrap_or_default();
        if asked.contains(&Stage::Upgrade) {
            wrong(
                format!("{at}.stages"),
                "a variant is a new app of the version under test: it has no upgrade",
            );
        }
        if asked.contains(&Stage::Restore) && !asked.contains(&Stage::Backup) {
            wrong(
                format!("{at}.stages"),
                "`restore` needs `backup`: a run restores what it saved itself",
            );
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::Declared;
    use crate::declared::read::parse;

    fn error(text: &str) -> String {
        let text = format!("variants: {text}\n");
        parse(&text, "recipe-ci.yml", None).unwrap_err().to_string()
    }

    #[test]
    fn a_variant_is_a_name_with_variables_and_the_stages_of_a_new_app() {
        for (text, says) in [
            ("{smtp: {}}", "give `env`"),
            ("{SMTP: {env: {A: b}}}", "lower-case letters"),
            ("{all: {env: {A: b}}}", "another meaning"),
            (
                "{smtp: {env: {DOMAIN: b}}}",
                "recipe-ci sets this variable itself",
            ),
            (
                "{smtp: {env: {A: b}, stages: [upgrade]}}",
                "it has no upgrade",
            ),
            ("{smtp: {env: {A: b}, stages: [restore]}}", "needs `backup`"),
            ("{smtp: {evn: {A: b}}}", "there is no key `evn`"),
        ] {
            let said = error(text);
            assert!(said.contains(says), "{text}: {said}");
        }
        let many: Vec<String> = (0..=MOST)
            .map(|n| format!("v{n}: {{env: {{A: b}}}}"))
            .collect();
        assert!(error(&format!("{{{}}}", many.join(", "))).contains("at most 16"));
    }

    #[test]
    fn the_operators_value_of_a_variant_wins_one_variable_at_a_time() {
        let mut declared = Declared::default();
        for text in [
            "variants: {smtp: {env: {A: '1', B: '${DOMAIN}'}, stages: [custom]}}\n",
            "variants: {smtp: {env: {A: '2'}}, s3: {env: {C: '3'}, stages: [backup, restore]}}\n",
        ] {
            declared
                .lay_over(parse(text, "recipe-ci.yml", None).unwrap())
                .unwrap();
        }
        let domain = ground::name::Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let env = declared.variant_env("smtp", &"notes".parse().unwrap(), &domain);
        assert_eq!(
            (env["A"].as_str(), env["B"].as_str()),
            ("2", "note-0a1b2c.z")
        );
        let stages = |name: &str| declared.variants()[name].stages();
        assert_eq!(stages("smtp"), [Stage::Install, Stage::Custom]);
        assert_eq!(
            stages("s3"),
            [Stage::Install, Stage::Backup, Stage::Restore]
        );
    }
}
