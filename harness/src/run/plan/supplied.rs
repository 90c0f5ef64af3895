//! Secrets that the operator supplies, and which sources get them.

use super::Base;
use crate::recipe::release::Release;
use crate::recipe::secret::{self, SecretSource, SecretSpec};
use crate::run::RunError;
use crate::run::settings::Settings;
use crate::trust::Trust;
use crate::trust::grant::secret_key;

fn planned_secrets(head: &Release) -> Result<Vec<SecretSpec>, RunError> {
    secret::plan(&head.project, &head.env, &head.vars).map_err(|error| {
        let hint = if head.root.join(".env.sample").exists() {
            "correct the secret's line in .env.sample: `SECRET_<NAME>_VERSION=v1 # length=32`"
        } else {
            "put a .env.sample into the root of the recipe, with `SECRET_<NAME>_VERSION=v1 # length=32` for every secret"
        };
        RunError::Usage {
            error: error.into(),
            hints: vec![hint.to_owned()],
        }
    })
}

/// A secret that may not be generated and that the run cannot have.
struct Withheld {
    error: String,
    hint: String,
}

/// Returns the first secret of `release` that has to be supplied and that its source does not get.
fn withheld(
    settings: &Settings,
    trust: &Trust,
    release: &Release,
) -> Result<Option<Withheld>, RunError> {
    for spec in planned_secrets(release)? {
        if spec.source != SecretSource::Supplied {
            continue;
        }
        let key = secret_key(&spec.name);
        let (what, hint) = if !trust.may_have_secret(&key) {
            // Whether it was supplied is not for a stranger to know.
            let grant = format!("secrets: [{key}]");
            let hint = trust.how_to_grant(Some(&release.commit), &[&grant]);
            ("this source is not granted it", hint)
        } else if settings.supplied_secrets.contains_key(&key) {
            continue;
        } else {
            let hint = format!("set CCCI_SECRET_{} to its value", key.to_uppercase());
            ("nothing supplied it", hint)
        };
        let error = format!(
            "secret `{}` is `generate=false` in .env.sample, and {what}",
            spec.name
        );
        return Ok(Some(Withheld { error, hint }));
    }
    Ok(None)
}

/// Refuses a head that needs a secret which its source does not get.
///
/// # Errors
/// [`RunError::Usage`] with the lines that would grant it.
pub(super) fn check(settings: &Settings, trust: &Trust, head: &Release) -> Result<(), RunError> {
    match withheld(settings, trust, head)? {
        None => Ok(()),
        Some(Withheld { error, hint }) => Err(RunError::Usage {
            error: error.into(),
            hints: vec![hint],
        }),
    }
}

/// Returns why the base, or the head with the base's env file, would need a secret that its source does not get.
pub(super) fn withheld_from_base(
    settings: &Settings,
    trust: &Trust,
    base: &Base,
) -> Option<String> {
    let releases = [Some(&base.release), base.upgraded.as_ref().ok()];
    releases.into_iter().flatten().find_map(|release| {
        // What cannot be planned is said elsewhere.
        let withheld = withheld(settings, trust, release).ok().flatten()?;
        Some(format!("{}: {}", base.in_words(), withheld.error))
    })
}
