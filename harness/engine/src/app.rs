//! A run app on this host: its stack and its env files, and how to make both disappear.
//!
//! Only `run`, `janitor` and `warm` call this, and only with the domain's lock in hand.

use std::path::PathBuf;
use std::time::Duration;

use crate::dirs::HostDirs;
use crate::lock::DomainLock;
use crate::made::{self, Made};
use crate::swarm::object::{Belongings, Kind, Object};
use crate::swarm::teardown::{DeployerState, IN_FLIGHT, Removal, remove_all_but};
use crate::swarm::{Engine, EngineError};
use crate::wait::{Deadline, pause, retry_while};
use ground::name::Domain;

/// How long the engine may refuse to let the gateway leave a network before that is given up.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);

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
    maker: DeployerState,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    remove_but(engine, host, lock, None, maker, deadline).await
}

/// Removes everything of the app but the network of the name `kept`, which other apps of the run are on.
///
/// # Errors
/// As [`remove`].
pub async fn remove_but(
    engine: &Engine,
    host: &HostDirs,
    lock: &DomainLock,
    kept: Option<&str>,
    maker: DeployerState,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let domain = lock.domain();
    let mut complaints = Vec::new();
    let not_left = leave(engine, host, lock, maker, deadline).await;
    remove_env_files(host, domain, &mut complaints)?;
    let (app, garbled) = match made::belongings(host, domain) {
        Ok(app) => (app, None),
        // What label and name prove is removed all the same; the rest is named.
        Err(error) => (Belongings::of(domain.stack()), Some(error)),
    };
    let is_kept = |object: &Object| {
        object.kind == Kind::Network && kept.is_some_and(|kept| kept == object.name)
    };
    let mut removal = remove_all_but(engine, &app, is_kept, maker, deadline).await?;
    removal.complaints.extend(complaints);
    not_left.add_to(&mut removal);
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
            ground::error::chain(&error)
        ));
    } else if removal.residual.is_empty() {
        // Last, so that who is killed in the middle of this leaves what the next one needs.
        match kept {
            None => made::forget(host, lock)?,
            Some(_) => Made::open(host, lock)?.forget_made()?,
        }
    }
    Ok(removal)
}

/// Removes what the app has beside its engine, which is gone with everything in it; returns the files that would not go.
///
/// # Errors
/// [`EngineError::Local`] when it cannot be found out what there is.
pub fn remove_files(host: &HostDirs, lock: &DomainLock) -> Result<Vec<String>, EngineError> {
    let mut complaints = Vec::new();
    remove_env_files(host, lock.domain(), &mut complaints)?;
    Ok(complaints)
}

fn remove_env_files(
    host: &HostDirs,
    domain: &Domain,
    complaints: &mut Vec<String>,
) -> Result<(), EngineError> {
    for file in env_files(host, domain).map_err(|error| unreadable(host, error))? {
        if let Err(error) = std::fs::remove_file(&file) {
            complaints.push(format!("failed to remove `{}`: {error}", file.display()));
        }
    }
    Ok(())
}

/// Undeploys the app that `lock` owns: what runs goes, with networks and configs; volumes, secrets and the
/// env file stay. Secrets stay because their values cannot be read back, and databases hold them in volumes.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked, or what was made for the app is not known.
pub async fn undeploy(
    engine: &Engine,
    host: &HostDirs,
    lock: &DomainLock,
    maker: DeployerState,
    deadline: Deadline,
) -> Result<Removal, EngineError> {
    let kept = |object: &Object| matches!(object.kind, Kind::Volume | Kind::Secret);
    let app = made::belongings(host, lock.domain())?;
    let not_left = leave(engine, host, lock, maker, deadline).await;
    let mut removal = remove_all_but(engine, &app, kept, maker, deadline).await?;
    not_left.add_to(&mut removal);
    Ok(removal)
}

/// What would not leave the networks of an app.
#[derive(Debug, Default)]
struct NotLeft {
    joined: Vec<String>,
    complaints: Vec<String>,
}

impl NotLeft {
    fn note(&mut self, join: &made::Join, error: &EngineError) {
        let what = format!("container {} in network `{}`", join.container, join.network);
        if !self.joined.contains(&what) {
            self.joined.push(what);
        }
        self.complaints.push(ground::error::chain(error));
    }

    fn add_to(self, removal: &mut Removal) {
        removal.residual.add("joined", self.joined);
        removal.complaints.extend(self.complaints);
    }
}

/// Has the gateway's containers leave the networks of the app that they were joined to, and no other container and no
/// other network. It comes before everything: a network that the app's last task has left and the gateway has not
/// stays on this engine for ever.
async fn leave(
    engine: &Engine,
    host: &HostDirs,
    lock: &DomainLock,
    maker: DeployerState,
    deadline: Deadline,
) -> NotLeft {
    let mut not_left = NotLeft::default();
    // One that cannot be read is reported where more is asked of it.
    let Ok(mut record) = Made::open(host, lock) else {
        return not_left;
    };
    let joined = record.joined();
    if joined.is_empty() {
        return not_left;
    }
    let limit = Deadline::after(LEAVE_LIMIT.min(deadline.left()));
    for join in &joined {
        let left = retry_while(limit, Duration::from_millis(200), Result::is_err, || {
            engine.leave(&join.container, &join.network)
        });
        if let Err(error) = left.await {
            not_left.note(join, &error);
        }
    }
    // A request of a process that was killed may have come in between.
    if maker == DeployerState::CutOff {
        pause(IN_FLIGHT.min(deadline.left())).await;
        for join in &joined {
            if let Err(error) = engine.leave(&join.container, &join.network).await {
                not_left.note(join, &error);
            }
        }
    }
    if not_left.joined.is_empty() {
        for join in &joined {
            if let Err(error) = record.left(join) {
                not_left.complaints.push(ground::error::chain(&error));
            }
        }
    }
    not_left
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
    let entries = match ground::host_file::entries(&servers) {
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
