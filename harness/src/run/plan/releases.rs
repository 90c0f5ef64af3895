//! What a plan says of its releases.

use std::collections::BTreeMap;

use super::Plan;
use crate::driver::stack::Stamp;
use crate::run::base::{Base, BaseKind};
use crate::run::settings::Settings;

impl Plan {
    /// Returns whether there is a base and its labels ask for a backup.
    #[must_use]
    pub fn base_is_backed_up(&self) -> bool {
        self.base.as_ref().is_some_and(Base::is_backed_up)
    }

    /// Returns the stamp of the base.
    #[must_use]
    pub fn base_stamp(&self, settings: &Settings) -> Option<Stamp> {
        let base = self.base.as_ref()?;
        Some(Stamp {
            recipe: settings.recipe.clone(),
            version: base.label.clone(),
            chaos: base.kind == BaseKind::Ref,
        })
    }

    /// Returns the stamp of the head.
    #[must_use]
    pub fn head_stamp(&self, settings: &Settings) -> Stamp {
        Stamp {
            recipe: settings.recipe.clone(),
            version: self.head_version.clone(),
            chaos: true,
        }
    }

    /// Returns the images that the head's services have in a new app.
    #[must_use]
    pub fn head_images(&self) -> BTreeMap<String, String> {
        let services = self.head.project.services.iter();
        services
            .filter_map(|service| Some((service.name.clone(), service.image.clone()?)))
            .collect()
    }

    /// Returns every image that the run needs.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let mut images = self.head.project.images();
        if let Some(base) = &self.base {
            images.extend(base.release.project.images());
            if let Ok(upgraded) = &base.upgraded {
                images.extend(upgraded.project.images());
            }
        }
        images.sort();
        images.dedup();
        images
    }

    /// Returns the head's version as reports show it: `+U` stands for uncommitted changes.
    #[must_use]
    pub fn shown_version(&self) -> Option<String> {
        let version = self.head_version.clone()?;
        Some(if self.head.dirty {
            format!("{version}+U")
        } else {
            version
        })
    }
}
