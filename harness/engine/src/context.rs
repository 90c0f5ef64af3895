//! Docker's contexts: which engine the client of a user speaks to where `DOCKER_HOST` does not say it.
//!
//! As `docker/cli` has them: the name is that of `DOCKER_CONTEXT`, else `currentContext` of `config.json`
//! (`cli/command/cli.go`, `resolveContextName`), its address is in `contexts/meta/<sha256 of the name>/meta.json`
//! (`cli/context/store/metadatastore.go`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use ground::host_file;

/// The context that is no context: the client's own default.
const DEFAULT: &str = "default";

/// What the address of an engine of this host begins with.
const UNIX: &str = "unix://";

/// Why a context cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file of Docker's client cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of Docker's client is not as expected.
    #[error("`{}` is none that Docker's client writes", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such context.
    #[error("there is no docker context `{name}`")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// It is an engine elsewhere.
    #[error(
        "docker's context `{name}` is the engine at `{host}`, and recipe-ci works with an engine of this host only"
    )]
    Elsewhere {
        /// Its name.
        name: String,
        /// Its address.
        host: String,
    },
}

#[derive(Deserialize)]
struct Config {
    #[serde(default, rename = "currentContext")]
    current: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize, Default)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, rename = "Host")]
    host: String,
}

/// Returns the address of the engine that a context stands for; `None` where it is the client's default. `named` is
/// `DOCKER_CONTEXT`, `dir` the directory of Docker's client (`DOCKER_CONFIG`).
///
/// # Errors
/// [`ContextError`].
pub fn address(named: Option<&str>, dir: &Path) -> Result<Option<String>, ContextError> {
    let current = match named {
        Some(name) => name.to_owned(),
        None => match read::<Config>(&dir.join("config.json"))? {
            Some(config) => config.current,
            None => return Ok(None),
        },
    };
    if current.is_empty() || current == DEFAULT {
        return Ok(None);
    }
    let id = hex::encode(Sha256::digest(&current));
    let meta: Option<Meta> = read(&dir.join("contexts/meta").join(id).join("meta.json"))?;
    let Some(host) = meta
        .and_then(|meta| meta.endpoints.docker)
        .map(|at| at.host)
    else {
        return Err(ContextError::Unknown { name: current });
    };
    if !host.starts_with(UNIX) {
        return Err(ContextError::Elsewhere {
            name: current,
            host,
        });
    }
    Ok(Some(host))
}

/// Reads a file of Docker's client, if there is one.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, ContextError> {
    let text = match host_file::bytes(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ContextError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| ContextError::Parse {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, name: &str, host: &str) {
        let id = hex::encode(Sha256::digest(name));
        let at = dir.join("contexts/meta").join(id);
        std::fs::create_dir_all(&at).unwrap();
        // As `docker context create` of 20.10 and 28 writes it.
        let text = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        std::fs::write(at.join("meta.json"), text).unwrap();
    }

    #[test]
    fn a_context_is_followed_or_refused_and_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(address(None, dir).unwrap(), None);
        put(dir, "rootless", "unix:///run/user/7/docker.sock");
        put(dir, "prod", "ssh://root@example.org");
        let rootless = Some("unix:///run/user/7/docker.sock".to_owned());
        assert_eq!(address(Some("rootless"), dir).unwrap(), rootless);
        assert_eq!(address(Some("default"), dir).unwrap(), None);
        let config = dir.join("config.json");
        std::fs::write(&config, r#"{"auths":{},"currentContext":"prod"}"#).unwrap();
        let refused = address(None, dir).unwrap_err().to_string();
        assert!(refused.contains("ssh://root@example.org"), "{refused}");
        assert_eq!(address(Some("rootless"), dir).unwrap(), rootless);
        assert!(matches!(
            address(Some("gone"), dir),
            Err(ContextError::Unknown { .. })
        ));
        std::fs::write(&config, r#"{"auths":{}}"#).unwrap();
        assert_eq!(address(None, dir).unwrap(), None);
        std::fs::write(&config, "{").unwrap();
        assert!(matches!(
            address(None, dir),
            Err(ContextError::Parse { .. })
        ));
    }
}
