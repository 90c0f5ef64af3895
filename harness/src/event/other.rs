//! The apps of a run beside the one under test, as reports know them.

use std::fmt;

use ground::outcome::Stage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What another app of a run is there for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherKind {
    /// The install of the head, in a run that upgrades a base. What comes of it is the run's own install.
    #[default]
    Fresh,
    /// The upgrade from one more base.
    Base,
    /// A new app of the head with other variables.
    Variant,
}

/// Another app of a run, by its name in reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtherApp {
    /// What it is there for.
    pub kind: OtherKind,
    /// Its name: of a base the version, of a variant its own; empty of the fresh install.
    pub name: String,
}

impl OtherApp {
    /// Returns the fresh install of the head.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            kind: OtherKind::Fresh,
            name: String::new(),
        }
    }

    /// Returns the app that is upgraded from `version`.
    #[must_use]
    pub fn base(version: &str) -> Self {
        Self {
            kind: OtherKind::Base,
            name: version.to_owned(),
        }
    }

    /// Returns the app of a variant.
    #[must_use]
    pub fn variant(name: &str) -> Self {
        Self {
            kind: OtherKind::Variant,
            name: name.to_owned(),
        }
    }

    /// Returns what a tier of it is called: `upgrade from 1.2.0+3.4`.
    #[must_use]
    pub fn tier(&self, stage: Stage) -> String {
        format!("{stage} {self}")
    }

    /// Returns what its directories are called: another name for each app.
    #[must_use]
    pub fn dir_name(&self) -> String {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-_".contains(byte);
        let text = self.to_string().replace(' ', "-");
        let bytes = text.bytes();
        let letters = bytes.map(|byte| match is_plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        });
        letters.collect()
    }

    /// Returns whether what comes of it has a row of its own, and is no part of what comes of the app under test.
    #[must_use]
    pub fn has_row(&self) -> bool {
        self.kind != OtherKind::Fresh
    }
}

impl fmt::Display for OtherApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OtherKind::Fresh => f.pad("fresh"),
            OtherKind::Base => f.pad(&format!("from {}", self.name)),
            OtherKind::Variant => f.pad(&format!("variant {}", self.name)),
        }
    }
}

/// Another app of a run, as it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedOther {
    /// Which.
    #[serde(flatten)]
    pub app: OtherApp,
    /// Its domain.
    pub domain: String,
    /// `parallel`: at the same time as the app under test; `serial`: before it, under the same domain.
    pub how: String,
    /// Why it is `serial`.
    pub why: Option<String>,
}

impl fmt::Display for PlannedOther {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            app,
            domain,
            how,
            why,
        } = self;
        match app.kind {
            // What it is beside.
            OtherKind::Fresh => write!(f, "install of the head as {domain}, {how} to the base")?,
            OtherKind::Base => write!(f, "upgrade {app} as {domain}, {how}")?,
            OtherKind::Variant => write!(f, "{app} as {domain}, {how}")?,
        }
        why.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tag may have a slash.
    #[test]
    fn no_name_of_an_app_leads_out_of_the_directory_that_is_called_so() {
        let name = |version: &str| OtherApp::base(version).dir_name();
        assert_eq!(name("1.2.0+3.4"), "from-1.2.0+3.4");
        assert_eq!(name("1.2.0+a/b"), "from-1.2.0+a%2fb");
        assert_ne!(name("1.2.0+a%2fb"), name("1.2.0+a/b"));
    }
}
