//! `previous/`: repairs of a published version that cannot be deployed as it is, for the base alone.
//!
//! It carries the version that it was written for. For any other base it is stale, and is not applied: what
//! repaired one version may break the next.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::environment::{FILE_NAME, rendered, services_of};
use super::{OverlayError, shown, text};
use crate::suite::{Layer, Origin};
use recipe::compose::COPY_PREFIX;
use recipe::compose::Project;

/// The name of the directory.
pub const DIR_NAME: &str = "previous";

/// The name of the file that says which version is repaired.
pub const MARKER: &str = "VERSION";

/// A repair of one published version.
#[derive(Debug, Clone)]
pub struct Repair {
    /// Whose.
    pub origin: Origin,
    /// The version that it repairs.
    pub version: String,
    services: Map<String, Value>,
}

impl Repair {
    /// Reads the directory [`DIR_NAME`] of `layer`.
    ///
    /// # Errors
    /// [`OverlayError`] when the marker or the compose file is missing or cannot be used.
    pub fn read(layer: Layer<'_>) -> Result<Self, OverlayError> {
        let origin = layer.origin();
        let read = |name: &str| {
            let name = format!("{DIR_NAME}/{name}");
            let shown = shown(layer, &name);
            match text(layer, &name)? {
                Some(text) => Ok((text, shown)),
                None => Err(OverlayError::Read {
                    path: PathBuf::from(shown),
                    source: std::io::ErrorKind::NotFound.into(),
                }),
            }
        };
        let (marker, place) = read(MARKER)?;
        let version = marker.trim().to_owned();
        if version.is_empty() || version.contains(char::is_whitespace) {
            return Err(OverlayError::Compose {
                place: format!("{place}:1:1"),
                path: MARKER.to_owned(),
                reason: "it must hold the one version that is repaired, such as `1.2.0+4.5`"
                    .to_owned(),
            });
        }
        let (compose, place) = read(FILE_NAME)?;
        let (services, _) = services_of(&compose, &place)?;
        Ok(Self {
            origin,
            version,
            services,
        })
    }

    /// Returns why it does not apply to `base`, or `None` when it does.
    #[must_use]
    pub fn stale(&self, base: Option<&str>) -> Option<String> {
        let what = match base {
            Some(base) if base == self.version => return None,
            Some(base) => format!("the base is {base}"),
            None => "there is no base".to_owned(),
        };
        Some(format!(
            "stale: {}'s {DIR_NAME}/ repairs {} and {what}; it was not applied",
            self.origin.name(),
            self.version
        ))
    }

    /// Returns the compose file for the base.
    #[must_use]
    pub fn render(&self, project: &Project) -> Value {
        rendered(self.services.clone(), project)
    }

    /// Returns the name of its copy in a work tree.
    #[must_use]
    pub fn copy_name(&self) -> String {
        format!("{COPY_PREFIX}previous-{}.yml", self.origin.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_for_one_version() {
        let dir = tempfile::tempdir().unwrap();
        let previous = dir.path().join(DIR_NAME);
        std::fs::create_dir(&previous).unwrap();
        let put = |name: &str, text: &str| std::fs::write(previous.join(name), text).unwrap();
        let layer = Layer::Dir(Origin::Overlay, dir.path());
        let read = || Repair::read(layer).map_err(|e| e.to_string());
        put(FILE_NAME, "services: {app: {image: 'a:1'}}\n");
        assert!(read().unwrap_err().contains("previous/VERSION"));
        put(MARKER, "\n");
        assert!(read().unwrap_err().contains("one version"));
        put(MARKER, "1.0.0+2\n");
        let repair = read().unwrap();
        assert_eq!(repair.stale(Some("1.0.0+2")), None);
        let stale = repair.stale(Some("1.1.0+2")).unwrap();
        assert!(
            stale.contains("repairs 1.0.0+2") && stale.contains("1.1.0+2"),
            "{stale}"
        );
        assert!(repair.stale(None).is_some());
    }
}
