//! A recipe as its repository describes it: compose files, environment, versions, secrets, backup labels.

pub mod backup;
pub mod compose;
pub mod database;
pub mod env;
pub mod interpolate;
pub mod reach;
pub mod release;
pub mod sample;
pub mod secret;
pub mod traefik;
pub mod version;
