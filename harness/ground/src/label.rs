//! Labels that `docker stack deploy` gives: `cli/compose/convert/` of docker/cli.

/// The label by which every object of a stack names its stack.
pub const NAMESPACE: &str = "com.docker.stack.namespace";

/// The label of a service that keeps the image as the compose file writes it: `convert/service.go`.
pub const IMAGE: &str = "com.docker.stack.image";
