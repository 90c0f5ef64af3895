//! What everything else stands on: names, files of repositories and of this host, git, and the words of a verdict.
//!
//! Nothing here knows Docker, starts a process or waits.

pub mod error;
pub mod excerpt;
pub mod finding;
pub mod git;
pub mod host_file;
pub mod label;
pub mod name;
pub mod nearest;
pub mod outcome;
pub mod pins;
pub mod signal_thread;
pub mod source_tree;
pub mod tls;
