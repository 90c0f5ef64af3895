//! Raw sockets, which no container has unless the operator says so.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::service::capability;
use crate::compose::resolve::Resolved;
use crate::trust::Level;

/// The capability with which a process writes frames of its own. All containers of a host that reach anything share the
/// bridge `docker_gwbridge`, which keeps their packets apart and not their ARP: with two lines of it one took the place
/// of a neighbour and got the requests that were his, passwords included.
pub(super) const RAW: &str = "NET_RAW";

/// Returns the services that may have [`RAW`], because the operator says so: in a grant or in the overlay.
pub(super) fn with(resolved: &Resolved, level: &Level) -> BTreeSet<String> {
    let gives = |name: &str| matches!(name, RAW | "ALL");
    let granted = match level {
        Level::Granted(grant) => grant.capabilities.iter().any(|name| gives(name)),
        Level::Stranger | Level::ByHand => false,
    };
    let is_added = |name: &str, service: &Value| {
        let added = service.get("cap_add").and_then(Value::as_array);
        let mut added = added.into_iter().flatten().enumerate();
        added.any(|(index, item)| {
            gives(&capability(item.as_str().unwrap_or_default()))
                && (resolved.project).is_overlaid(&format!("services.{name}.cap_add[{index}]"))
        })
    };
    let services = resolved
        .document()
        .get("services")
        .and_then(Value::as_object);
    let services = services.into_iter().flatten();
    let services = services.filter(|(name, service)| granted || is_added(name, service));
    services.map(|(name, _)| name.clone()).collect()
}

/// Takes [`RAW`] from a service; returns whether it had it.
pub(super) fn take(service: &mut Value) -> bool {
    let Some(map) = service.as_object_mut() else {
        return false;
    };
    let dropped = map.entry("cap_drop").or_insert_with(|| json!([]));
    if dropped.is_null() {
        *dropped = json!([]);
    }
    let Some(dropped) = dropped.as_array_mut() else {
        return false;
    };
    let is_gone = |item: &Value| {
        let name = item.as_str().map(capability);
        matches!(name.as_deref(), Some(RAW | "ALL"))
    };
    if dropped.iter().any(is_gone) {
        return false;
    }
    dropped.push(RAW.into());
    true
}
