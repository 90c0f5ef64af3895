//! What tests may know about the app: written for `recipe-ci app`, read by it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Bench, TierError};
use engine::http::{Gateway, Way};
use engine::swarm::{Engine, EngineError};
use ground::host_file;
use ground::name::{Domain, NameError, Zone};

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

/// Why there is no way to an app.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// The recipe says no port.
    #[error("the recipe tells its gateway no port")]
    NoPort,
    /// Nothing of the service runs.
    #[error("service `{0}` has no running container")]
    NotRunning(String),
    /// What runs cannot be reached from this host.
    #[error("service `{0}` has no address on docker_gwbridge")]
    NoAddress(String),
    /// Its domain is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The engine does not say.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl AppState {
    /// Returns the app's domain.
    ///
    /// # Errors
    /// [`NameError`] when it is none of an app.
    pub fn app(&self) -> Result<Domain, NameError> {
        let zone = self.domain.split_once('.').map(|(_, zone)| zone);
        let zone: Zone = zone.unwrap_or_default().parse()?;
        Domain::of_app(&self.domain, &zone)
    }

    /// Returns the way to the app as it runs now.
    ///
    /// # Errors
    /// [`WayError`].
    pub async fn way(&self, engine: &Engine) -> Result<Way, WayError> {
        if let Some(gateway) = &self.gateway {
            return Ok(Way::Gateway(gateway.clone()));
        }
        let (service, port) = self.web.clone().ok_or(WayError::NoPort)?;
        let state = engine.stack_state(&self.app()?.stack()).await?;
        let Some(container) = state.container_of(&service) else {
            return Err(WayError::NotRunning(service));
        };
        let address = engine.address_of(container).await?;
        let address = address.ok_or(WayError::NoAddress(service))?;
        let tls = self.tls;
        Ok(Way::Direct { address, port, tls })
    }

    /// Returns what a browser of this host asks for the app's front page, where there is a way to it.
    pub async fn url(&self, engine: &Engine) -> Option<String> {
        let scheme = |tls| if tls { "https" } else { "http" };
        Some(match self.way(engine).await.ok()? {
            Way::Direct { address, port, tls } => {
                let address = std::net::SocketAddr::new(address, port);
                format!("{}://{address}/", scheme(tls))
            }
            Way::Gateway(gateway) => {
                let usual = if gateway.tls { 443 } else { 80 };
                let port = match gateway.address.port() {
                    port if port == usual => String::new(),
                    port => format!(":{port}"),
                };
                format!("{}://{}{port}/", scheme(gateway.tls), self.domain)
            }
        })
    }

    /// Reads the state that the running run wrote.
    ///
    /// # Errors
    /// What the system says, or that it is not such a file.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        serde_json::from_slice(&host_file::bytes(path)?).map_err(std::io::Error::from)
    }
}
