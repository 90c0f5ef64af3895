//! The badge: how far up the recipe got, in one small picture.

use askama::Template;
use serde_json::{Value, json};

use super::results::Results;
use super::sentence::{Blame, blame};
use ground::outcome::Verdict;

/// A badge as shields.io draws it, flat; what is left of the colour is always the same word.
#[derive(Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge<'a> {
    message: &'a str,
    colour: &'a str,
    width: usize,
}

impl Results {
    /// Returns the badge as a picture.
    #[must_use]
    pub fn badge_svg(&self) -> String {
        let (message, _, colour) = self.badge();
        let badge = Badge {
            message: &message,
            colour,
            // 11 px of a sans-serif: seven for a character are enough.
            width: message.len() * 7 + 10,
        };
        badge.render().unwrap_or_default()
    }

    /// Returns the badge as shields.io reads it from an address: <https://shields.io/badges/endpoint-badge>.
    #[must_use]
    pub fn badge_json(&self) -> Value {
        let (message, name, _) = self.badge();
        json!({"schemaVersion": 1, "label": "recipe-ci", "message": message, "color": name})
    }

    /// Returns the message, and its colour by name and value. What is the host's fault says nothing of the recipe: grey.
    fn badge(&self) -> (String, &'static str, &'static str) {
        let grey = ("lightgrey", "#9f9f9f");
        let (message, (name, value)) = match (blame(self.verdict), self.verdict) {
            (Blame::Nobody, _) => {
                let colour = match self.level {
                    5 => ("brightgreen", "#4c1"),
                    3 | 4 => ("green", "#97ca00"),
                    _ => ("yellowgreen", "#a4a61d"),
                };
                (format!("level {}", self.level), colour)
            }
            (Blame::Recipe, Verdict::Refused) => ("refused".to_owned(), ("orange", "#fe7d37")),
            (Blame::Recipe, _) => ("failed".to_owned(), ("red", "#e05d44")),
            (Blame::Host, _) => ("unknown".to_owned(), grey),
        };
        (message, name, value)
    }
}
