//! `recipe-ci holder`: what a run starts to hold its app.

use super::infra;
use crate::exit::Exit;

/// Holds the app that the run at standard input hands over.
pub(crate) async fn holder() -> Exit {
    match harness::hold::holder::hold().await {
        Ok(()) => Exit::Passed,
        Err(error) => infra(&std::io::Error::other(error), &[]),
    }
}
