//! The app's secrets, as abra makes them.

use super::AbraDriver;
use crate::abra::AbraError;
use crate::driver::DriverError;
use engine::lock::DomainLock;
use engine::made::Made;
use engine::swarm::object::Kind;
use recipe::release::Release;
use recipe::secret::{self, SecretSource, SecretSpec};

impl AbraDriver {
    /// Has abra make the secrets that are missing; values that must be supplied go in through a file.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn make_secrets(
        &self,
        lock: &DomainLock,
        release: &Release,
        have: &[SecretSpec],
    ) -> Result<Vec<SecretSpec>, DriverError> {
        self.prepare(lock, release).await?;
        let domain = lock.domain().as_str();
        let wanted = secret::plan(&release.project, &release.env, &release.vars)?;
        let missing: Vec<&SecretSpec> = wanted
            .iter()
            .filter(|spec| !have.iter().any(|old| old.full_name == spec.full_name))
            .collect();
        // abra gives secrets no label: only a record tells whose they are. One that is there already is
        // somebody else's, and abra refuses to make it.
        let there = self.site.engine.names_of(Kind::Secret).await?;
        let mut made = Made::open(&self.site.host, lock)?;
        for spec in missing
            .iter()
            .filter(|spec| !there.contains(&spec.full_name))
        {
            made.intend(Kind::Secret, &spec.full_name)?;
        }
        let mut generated = Vec::new();
        for spec in missing {
            match &spec.source {
                SecretSource::Generated { .. } => generated.push(spec),
                SecretSource::Supplied => self.insert(lock, spec).await?,
            }
        }
        let mut made = Vec::new();
        if have.is_empty() && !generated.is_empty() {
            made = self
                .abra
                .secret_generate(domain, None)
                .await
                .map_err(|error| self.refused(error))?;
        } else {
            // `--all` would stumble over those that the app has.
            for spec in &generated {
                let version = spec.version.as_deref().unwrap_or("v1");
                let one = Some((spec.name.as_str(), version));
                let one = self.abra.secret_generate(domain, one).await;
                made.extend(one.map_err(|error| self.refused(error))?);
            }
        }
        for secret in &made {
            let spec = generated
                .iter()
                .find(|spec| names_match(&secret.name, spec));
            match spec {
                Some(spec) => self.site.note_value(&spec.name, &secret.value),
                None => self.site.redactor.add(&secret.value),
            }
        }
        for spec in &generated {
            if !made.iter().any(|made| names_match(&made.name, spec)) {
                return Err(DriverError::Abra(AbraError::Hollow {
                    call: "app secret generate",
                    what: format!(
                        "it said no value of secret `{}`, so it cannot be kept out of the report",
                        spec.name
                    ),
                }));
            }
        }
        Ok(wanted)
    }

    async fn insert(&self, lock: &DomainLock, spec: &SecretSpec) -> Result<(), DriverError> {
        use std::io::Write as _;
        let Some(value) = self.site.supplied.get(&spec.name.replace('-', "_")) else {
            return Err(DriverError::NotSupplied {
                secret: spec.name.clone(),
            });
        };
        self.site.note_value(&spec.name, value);
        let failed = |source| DriverError::Write {
            path: self.site.dirs.state.clone(),
            source,
        };
        // Only its owner may read a temporary file, and it is gone when this returns.
        let mut file = tempfile::NamedTempFile::new_in(&self.site.dirs.state).map_err(failed)?;
        file.write_all(value.as_bytes()).map_err(failed)?;
        let version = spec.version.as_deref().unwrap_or("v1");
        let domain = lock.domain().as_str();
        self.abra
            .secret_insert(domain, &spec.name, version, file.path())
            .await
            .map_err(|error| self.refused(error))
    }
}

fn names_match(name: &str, spec: &SecretSpec) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let name = plain(name);
    name == plain(&spec.name) || name == plain(&spec.full_name)
}
