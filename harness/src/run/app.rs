//! An app of a run: its lock, and how often it was deployed.

use std::cell::Cell;
use std::rc::Rc;

use super::error::RunError;
use super::step::Role;
use engine::lock::DomainLock;

/// An app of a run, whose lock is held.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) role: Role,
    pub(super) lock: Rc<DomainLock>,
    /// How often the run meant to deploy it.
    pub(super) meant: u32,
    /// How often Docker was told to, by each of those who deploy it.
    pub(super) told: Vec<Rc<Cell<u32>>>,
}

impl App {
    /// Returns one that nothing is deployed of yet.
    pub(super) fn new(role: Role, lock: Rc<DomainLock>) -> Self {
        Self {
            role,
            lock,
            meant: 0,
            told: Vec::new(),
        }
    }

    /// Returns whether it is one beside the app under test.
    pub(super) fn is_beside(&self) -> bool {
        matches!(self.role, Role::Fresh | Role::Other)
    }

    /// Holds the deploys that Docker was told of against those that the run meant.
    ///
    /// # Errors
    /// [`RunError::Infra`] where there were more.
    pub(super) fn check_deploys(&self) -> Result<(), RunError> {
        let told: u32 = self.told.iter().map(|told| told.get()).sum();
        let meant = self.meant;
        if told <= meant {
            return Ok(());
        }
        let domain = self.lock.domain();
        Err(RunError::Infra {
            error: format!("{domain} was deployed {told} times where {meant} were meant: what was tested is not sure").into(),
            hints: vec!["this is a fault of recipe-ci: report it with the run directory".to_owned()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::dirs::HostDirs;
    use ground::name::Domain;

    #[test]
    fn a_deploy_too_many_is_the_harness_fault() {
        let root = tempfile::tempdir().unwrap();
        let host = HostDirs::with_locks(root.path());
        let domain = Domain::parse("note-0a1b2c.z", &"z".parse().unwrap()).unwrap();
        let lock = DomainLock::of_test(&host, &domain);
        let mut app = App::new(Role::New, Rc::new(lock));
        app.meant = 2;
        let told = Rc::new(Cell::new(1));
        app.told = vec![Rc::clone(&told), Rc::new(Cell::new(1))];
        assert!(app.check_deploys().is_ok());
        // An upgrade that stopped before its deploy.
        told.set(0);
        assert!(app.check_deploys().is_ok());
        told.set(2);
        match app.check_deploys() {
            Err(RunError::Infra { error, .. }) => {
                let said = error.to_string();
                assert!(
                    said.starts_with("note-0a1b2c.z was deployed 3 times"),
                    "{said}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
