//! Which nodes of the swarm take tasks. Runs work where this one alone does.
//!
//! On another node volumes, containers and addresses are out of this engine's reach, and a run that another host
//! makes holds its lock there: a sweep here would take it for dead.

use bollard::models::{Node, NodeSpecAvailabilityEnum};
use bollard::query_parameters::ListNodesOptions;

use super::{Engine, EngineError};

impl Engine {
    /// Makes sure that tasks run on this node and on no other. An engine in no swarm runs none.
    ///
    /// One more request, and on a swarm of one node no second.
    ///
    /// # Errors
    /// [`EngineError::NotAlone`] when another node takes tasks, or would if it were up.
    pub async fn is_alone(&self) -> Result<(), EngineError> {
        let info = self.docker.info().await;
        let info = info.map_err(|error| self.failed("ask the engine about its swarm", error))?;
        let swarm = info.swarm.unwrap_or_default();
        if swarm.nodes.is_none_or(|nodes| nodes <= 1) {
            return Ok(());
        }
        let nodes = self.docker.list_nodes(None::<ListNodesOptions>).await;
        let nodes = nodes.map_err(|error| self.failed("list the nodes of the swarm", error))?;
        let own = swarm.node_id.unwrap_or_default();
        let others: Vec<String> = nodes
            .iter()
            .filter(|node| node.id.as_ref() != Some(&own) && takes_tasks(node))
            .map(shown)
            .collect();
        match others.is_empty() {
            true => Ok(()),
            false => Err(EngineError::NotAlone { others }),
        }
    }
}

/// Returns whether Swarm gives a node tasks, now or as soon as it is up: `ReadyFilter` in swarmkit's
/// `manager/scheduler/filter.go` asks for `READY` and `ACTIVE`. What is down may come back in the middle of a run;
/// what is drained or paused gets no task of a new app.
fn takes_tasks(node: &Node) -> bool {
    let availability = node.spec.as_ref().and_then(|spec| spec.availability);
    !matches!(
        availability,
        Some(NodeSpecAvailabilityEnum::DRAIN | NodeSpecAvailabilityEnum::PAUSE)
    )
}

/// Returns what messages call a node: its host's name and whether it is up.
fn shown(node: &Node) -> String {
    let host = node.description.as_ref();
    let host = host.and_then(|description| description.hostname.as_deref());
    let name = host.or(node.id.as_deref()).unwrap_or("without a name");
    let state = node.status.as_ref().and_then(|status| status.state);
    match state {
        Some(state) => format!("`{name}` ({state})"),
        None => format!("`{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::engine;
    use super::*;

    fn node(id: &str, availability: &str, state: &str) -> Value {
        json!({
            "ID": id, "Spec": {"Role": "manager", "Availability": availability},
            "Description": {"Hostname": format!("host-{id}")}, "Status": {"State": state},
        })
    }

    /// What a swarm of these nodes, of which this engine is `a`, says to the question.
    async fn asked(nodes: Vec<Value>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let info = json!({
            "Swarm": {"NodeID": "a", "LocalNodeState": "active", "ControlAvailable": true, "Nodes": nodes.len()},
        });
        let engine = engine(dir.path(), move |request| {
            if request.contains("/info") {
                return (200, info.to_string());
            }
            assert!(request.contains("/nodes"), "{request}");
            assert!(nodes.len() > 1, "a swarm of one is not listed");
            (200, json!(nodes).to_string())
        });
        match engine.is_alone().await {
            Ok(()) => String::new(),
            Err(EngineError::NotAlone { others }) => others.join(", "),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_a_node_that_gets_no_task_is_no_other_node() {
        let own = || node("a", "active", "ready");
        for (others, said) in [
            (vec![], ""),
            (vec![node("b", "active", "ready")], "`host-b` (ready)"),
            // It takes tasks the moment that it is back.
            (vec![node("b", "active", "down")], "`host-b` (down)"),
            (vec![node("b", "active", "unknown")], "`host-b` (unknown)"),
            (
                vec![node("b", "drain", "ready"), node("c", "drain", "down")],
                "",
            ),
            (vec![node("b", "pause", "ready")], ""),
            (
                vec![node("b", "drain", "ready"), node("c", "active", "ready")],
                "`host-c` (ready)",
            ),
        ] {
            let nodes = [vec![own()], others.clone()].concat();
            assert_eq!(asked(nodes).await, said, "{others:?}");
        }
        // This node's own availability is another matter: Swarm says that it takes no task.
        assert_eq!(
            asked(vec![
                node("a", "drain", "ready"),
                node("b", "drain", "ready")
            ])
            .await,
            ""
        );
    }
}
