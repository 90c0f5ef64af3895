//! What tests may know about the app: written for `recipe-ci app`, read by it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Bench, TierError};
use engine::http::Gateway;
use ground::host_file;

/// The app as its tests see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppState {
    /// The app's domain.
    pub domain: String,
    /// Its stack.
    pub stack: String,
    /// The engine that it runs on.
    pub docker_host: String,
    /// The service that serves it, with its port.
    pub web: Option<(String, u16)>,
    /// Whether it is asked in TLS.
    #[serde(default)]
    pub tls: bool,
    /// The main service.
    pub main_service: Option<String>,
    /// The gateway to reach it through.
    pub gateway: Option<Gateway>,
    /// Its env file.
    pub env_file: PathBuf,
}

impl Bench {
    /// Writes what the app is at this moment into the run's state file.
    ///
    /// # Errors
    /// [`TierError::State`].
    pub fn note_state(&self) -> Result<(), TierError> {
        let domain = self.lock.domain();
        let state = AppState {
            domain: domain.to_string(),
            stack: domain.stack().to_string(),
            docker_host: self.engine().host().to_owned(),
            tls: self.web().is_some_and(|web| web.tls),
            web: self.web().map(|web| (web.service, web.port)),
            main_service: self
                .current
                .project
                .main_service()
                .map(|service| service.name.clone()),
            gateway: self.gateway.clone(),
            env_file: {
                let site = self.driver.site();
                site.host.env_file(&site.server, domain)
            },
        };
        let path = self.dirs().state_file("op-state");
        let text = serde_json::to_vec_pretty(&state).expect("strings and numbers are valid JSON");
        std::fs::write(&path, text).map_err(|source| TierError::State { path, source })
    }
}

impl AppState {
    /// Reads the state that the running run wrote.
    ///
    /// # Errors
    /// What the system says, or that it is not such a file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        serde_json::from_slice(&host_file::bytes(path)?).map_err(std::io::Error::from)
    }
}
