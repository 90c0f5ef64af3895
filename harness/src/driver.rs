//! Drivers turn a run's operations into actions on the Swarm; everything above them is the same.

pub mod backup;
pub mod stack;

pub use stack::DriverError;
