//! A run app on this host: its stack and its env files, and how to make both disappear.
//!
//! Only `run`, `janitor` and `warm` call this, and only with the domain's lock in hand.

use std::path::PathBuf;

use crate::dirs::HostDirs;
use crate::lock::DomainLock;
use crate::made;
use crate::name::Domain;
use crate::swarm::object::{Belongings, Kind};
use crate::swarm::teardown::{Maker, Removal, remove_all_but, remove_stack};
use crate::swarm::{Engine, EngineError};
use crate::wait::Deadline;

/// Removes everything of the app that `lock` owns and lists every kind again.
///
/// Order-independent and idempotent; an app of which only half was ever made is removed the same way.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked; env files have been removed even then.
pub async fn remove(
    engine: &Engine,
    host: &HostDirs,
    lock: &DomainLock,
    maker: Maker,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let domain = lock.domain();
    let mut complaints = Vec::new();
    for file in env_files(host, domain).map_err(|error| unreadable(host, error))? {
        if let Err(error) = std::fs::remove_file(&file) {
            complaints.push(format!("failed to remove `{}`: {error}", file.display()));
        }
    }
    let (app, garbled) = match made::belongings(host, domain) {
        Ok(app) => (app, None),
        // What label and name prove is removed all the same; the rest is named.
        Err(error) => (Belongings::of(domain.stack()), Some(error)),
    };
    let mut removal = remove_stack(engine, &app, maker, deadline).await?;
    removal.complaints.extend(complaints);
    let left = env_files(host, domain).map_err(|error| unreadable(host, error))?;
    removal.residual.add(
        "env_files",
        left.iter().map(|path| path.display().to_string()).collect(),
    );
    if let Some(error) = garbled {
        let path = error.path.display().to_string();
        removal.residual.add("records", vec![path]);
        removal.complaints.push(format!(
            "{}; what it names is not known: look for it, then remove the file",
            crate::error::chain(&error)
        ));
    } else if removal.residual.is_empty() {
        // Last, so that who is killed in the middle of this leaves what the next one needs.
        made::forget(host, lock)?;
    }
    Ok(removal)
}

/// Undeploys the app that `lock` owns: what runs goes, with networks and configs; volumes, secrets and the
/// env file stay. Secrets stay because nobody can read their values back, and databases hold them in volumes.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked, or what was made for the app is not known.
pub async fn undeploy(
    engine: &Engine,
    host: &HostDirs,
    lock: &DomainLock,
    maker: Maker,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let kept = [Kind::Volume, Kind::Secret];
    let app = made::belongings(host, lock.domain())?;
    remove_all_but(engine, &app, &kept, maker, deadline).await
}

/// Returns whether anything of `domain` exists on this host; a record of what was made for it is something, too.
///
/// # Errors
/// [`EngineError`] when that cannot be found out.
pub async fn exists(
    engine: &Engine,
    host: &HostDirs,
    domain: &Domain,
) -> Result<bool, EngineError> {
    let files = env_files(host, domain).map_err(|error| unreadable(host, error))?;
    if !files.is_empty() || made::exists(host, domain)? {
        return Ok(true);
    }
    let app = Belongings::of(domain.stack());
    Ok(!engine.objects_of(&app).await?.is_empty())
}

fn unreadable(host: &HostDirs, source: std::io::Error) -> EngineError {
    EngineError::Local {
        what: format!("list `{}`", host.abra.join("servers").display()),
        source,
    }
}

/// Returns the env files of `domain` on every server of this host.
fn env_files(host: &HostDirs, domain: &Domain) -> std::io::Result<Vec<PathBuf>> {
    let servers = host.abra.join("servers");
    let entries = match std::fs::read_dir(&servers) {
        Ok(entries) => entries,
        // A host that never had an app has no servers.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let file = entry?.path().join(format!("{domain}.env"));
        match file.symlink_metadata() {
            Ok(_) => found.push(file),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
