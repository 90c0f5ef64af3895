//! What a recipe needs of a host beyond Docker, and what an upgrade cannot change: read from what is deployed.

use serde_json::Value;

/// The network that is shared with the host's gateway; every host has it, or is given one.
const PROXY: &str = "proxy";

fn entries<'a>(
    document: &'a Value,
    section: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let entries = document.get(section).and_then(Value::as_object);
    entries.into_iter().flatten()
}

fn is_external(entry: &Value) -> bool {
    entry.get("external") == Some(&Value::Bool(true))
}

/// Returns what must be on the host before the deploy, a line for each.
pub(super) fn of_host(document: &Value) -> Vec<String> {
    let mut needs = Vec::new();
    for (section, what) in [("networks", "network"), ("volumes", "volume")] {
        for (key, entry) in entries(document, section) {
            if !is_external(entry) {
                continue;
            }
            let name = entry.get("name").and_then(Value::as_str).unwrap_or(key);
            if section == "networks" && name == PROXY {
                continue;
            }
            needs.push(format!("{what} `{name}`, which is external"));
        }
    }
    for (name, service) in entries(document, "services") {
        let constraints = service
            .pointer("/deploy/placement/constraints")
            .and_then(Value::as_array);
        for constraint in constraints.into_iter().flatten().filter_map(Value::as_str) {
            let of_node = ["node.labels.", "engine.labels.", "node.hostname", "node.id"];
            if of_node.iter().any(|word| constraint.contains(word)) {
                needs.push(format!("a node for service `{name}` with `{constraint}`"));
            }
        }
        let mounts = service.get("volumes").and_then(Value::as_array);
        for mount in mounts.into_iter().flatten() {
            let is_bind = mount.get("type").and_then(Value::as_str) == Some("bind");
            if let Some(source) = mount
                .get("source")
                .and_then(Value::as_str)
                .filter(|_| is_bind)
            {
                needs.push(format!(
                    "`{source}` on the node of service `{name}`, which is mounted from there"
                ));
            }
        }
    }
    needs
}

/// Returns which volumes the head describes otherwise than the base. A volume that is there is never changed, so an
/// operator's app goes on with what it had, and only a new one has what the head says.
pub(super) fn changed_volumes(base: &Value, head: &Value) -> Vec<String> {
    let described = |entry: &Value| {
        let key = |key: &str| entry.get(key).cloned().unwrap_or(Value::Null);
        let driver = match key("driver") {
            // The engine's own.
            Value::Null => Value::from("local"),
            driver => driver,
        };
        (driver, key("driver_opts"))
    };
    let mut changed = Vec::new();
    for (name, now) in entries(head, "volumes") {
        let Some((_, then)) = entries(base, "volumes").find(|(known, _)| *known == name) else {
            continue;
        };
        let (empty, now_options) = (Value::Object(serde_json::Map::new()), described(now));
        let then_options = described(then);
        let plain = |options: &Value| options.is_null() || *options == empty;
        let same = now_options.0 == then_options.0
            && (now_options.1 == then_options.1 || plain(&now_options.1) && plain(&then_options.1));
        if !same && !is_external(now) {
            changed.push(format!(
                "volume `{name}` has another driver or other options than in the base: a volume that is there keeps \
                 what it has, so an upgrade does not bring the change to any operator; give the volume a new name and \
                 say how data gets there"
            ));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_host_must_have_is_named() {
        let document = json!({
            "networks": {"proxy": {"external": true, "name": "proxy"}, "lan": {"external": true, "name": "lan_v2"}, "own": {"name": "s_own"}},
            "volumes": {"media": {"external": true}, "data": {"name": "s_data"}},
            "services": {"app": {
                "deploy": {"placement": {"constraints": ["node.role == manager", "node.labels.ssd == true"]}},
                "volumes": [{"type": "bind", "source": "/etc/ssl", "target": "/ssl"}, {"type": "volume", "source": "data", "target": "/d"}],
            }},
        });
        let needs = of_host(&document);
        assert_eq!(needs.len(), 4, "{needs:?}");
        for (need, words) in
            needs
                .iter()
                .zip(["`lan_v2`", "`media`", "node.labels.ssd", "`/etc/ssl`"])
        {
            assert!(need.contains(words), "{need} lacks {words}");
        }
    }

    #[test]
    fn a_volume_whose_options_change_is_named() {
        let of = |data: Value| json!({"volumes": {"data": data}});
        let plain = of(json!({"name": "s_data"}));
        let changed = |base: &Value, head: &Value| changed_volumes(base, head).len();
        assert_eq!(changed(&plain, &plain), 0);
        assert_eq!(
            changed(
                &plain,
                &of(json!({"name": "s_data", "driver": "local", "driver_opts": {}}))
            ),
            0
        );
        let tmpfs = of(json!({"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}));
        assert_eq!(changed(&plain, &tmpfs), 1);
        assert_eq!(changed(&tmpfs, &plain), 1);
        assert_eq!(changed(&plain, &of(json!({"driver": "nfs"}))), 1);
        assert_eq!(changed(&json!({}), &tmpfs), 0);
    }
}
