//! Secrets that the operator supplies, and which sources get them.

use crate::run::RunError;
use crate::run::base::Base;
use crate::run::settings::Settings;
use recipe::policy::{self, Violation};
use recipe::release::Release;
use recipe::secret::{self, SecretSource, SecretSpec};
use recipe::trust::Trust;
use recipe::trust::grant::secret_key;

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
#[derive(Debug)]
pub(in crate::run) struct Lacking {
    /// What is lacking.
    pub(in crate::run) error: String,
    /// What to do about it.
    pub(in crate::run) hint: String,
    grant: Option<String>,
    line: Option<usize>,
    secret: String,
}

/// Secrets that the source is not granted.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|one| one.error.as_str()).collect::<Vec<_>>().join("; "))]
pub(in crate::run) struct Withheld(Vec<Lacking>);

impl Withheld {
    /// Returns each as what the policy is against.
    pub(in crate::run) fn violations(&self) -> Vec<Violation> {
        let of = |one: &Lacking| Violation {
            file: Some(".env.sample".to_owned()),
            line: one.line.and_then(|line| line.try_into().ok()),
            grant: one.grant.clone(),
            ..policy::refusal(policy::rules::SUPPLIED.id, &one.secret, &one.error)
        };
        self.0.iter().map(of).collect()
    }
}

/// Returns the secrets of `release` that have to be supplied and that its source does not get.
fn lacking(
    settings: &Settings,
    trust: &Trust,
    release: &Release,
) -> Result<Vec<Lacking>, RunError> {
    let mut all = Vec::new();
    for spec in planned_secrets(release)? {
        if spec.source != SecretSource::Supplied {
            continue;
        }
        let key = secret_key(&spec.name);
        let (what, hint, grant) = if !trust.may_have_secret(&key) {
            // Whether it was supplied is not for a stranger to know.
            let grant = format!("secrets: [{key}]");
            let hint = trust.how_to_grant(Some(release.commit), &[&grant]);
            ("this source is not granted it", hint, Some(grant))
        } else if settings.supplied_secrets.contains_key(&key) {
            continue;
        } else {
            let hint = format!("set CCCI_SECRET_{} to its value", key.to_uppercase());
            ("nothing supplied it", hint, None)
        };
        let variable = spec.version_variable.as_deref();
        all.push(Lacking {
            error: format!(
                "secret `{}` is `generate=false` in .env.sample, and {what}",
                spec.name
            ),
            hint,
            grant,
            line: variable.and_then(|name| release.env.line_of(name)),
            secret: format!("secrets.{}", spec.key),
        });
    }
    Ok(all)
}

/// Refuses a head that needs secrets which its source does not get.
///
/// # Errors
/// [`RunError::Usage`] with the lines that would grant them.
pub(super) fn check(settings: &Settings, trust: &Trust, head: &Release) -> Result<(), RunError> {
    let all = lacking(settings, trust, head)?;
    let (withheld, mut absent): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.grant.is_some());
    if !withheld.is_empty() {
        let grants: Vec<&str> = withheld
            .iter()
            .filter_map(|one| one.grant.as_deref())
            .collect();
        let hints = vec![trust.how_to_grant(Some(head.commit), &grants)];
        let error = Withheld(withheld).into();
        return Err(RunError::Usage { error, hints });
    }
    match absent.pop() {
        None => Ok(()),
        // The operator forgot it; the recipe is not to blame.
        Some(Lacking { error, hint, .. }) => Err(RunError::Usage {
            error: error.into(),
            hints: vec![hint],
        }),
    }
}

/// Returns the first secret that the base, or the head with the base's env file, needs and that its source does not get.
pub(in crate::run) fn withheld_from_base(
    settings: &Settings,
    trust: &Trust,
    base: &Base,
) -> Option<Lacking> {
    let releases = [Some(&base.release), base.upgraded.as_ref().ok()];
    releases.into_iter().flatten().find_map(|release| {
        // What cannot be planned is said elsewhere.
        let all = lacking(settings, trust, release).ok()?;
        all.into_iter().next()
    })
}
