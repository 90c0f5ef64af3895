//! What Docker's client checks when it makes services of the merged files: after its schema, and after it has made
//! networks, secrets and configs. `docker stack config` does not come so far.
//!
//! The facts are those of `cli/compose/convert` of docker/cli 28. What it says of images is the policy's (P002), and what
//! must be on the engine the plan's.

use std::collections::HashSet;

use serde_json::Value;

use super::canon::{Fault, fault};
use super::yaml::join;
use super::{ComposeError, Project, restart};

/// What each type of mount may be told, beside the common keys.
const MOUNTS: [(&str, &[&str]); 7] = [
    ("volume", &["volume"]),
    ("", &["volume"]),
    ("bind", &["bind"]),
    ("tmpfs", &["tmpfs"]),
    ("npipe", &["bind"]),
    ("cluster", &[]),
    ("image", &[]),
];

/// The digits behind the point of a number of CPUs: Docker counts billionths.
const DIGITS: usize = 9;

impl Project {
    /// Checks what Docker checks at the deploy, of which it may have made a part by then.
    ///
    /// # Errors
    /// [`ComposeError::Invalid`] for the first value that Docker refuses, at its place.
    pub(super) fn check_conversion(&self) -> Result<(), ComposeError> {
        let entries = |section: &'static str| {
            let all = self.document.get(section).and_then(Value::as_object);
            let all = all.into_iter().flatten();
            all.map(move |(name, value)| (join(section, name), value))
        };
        let services = entries("services").map(|(path, value)| service(value, &path));
        let secrets = entries("secrets").map(|(path, value)| content(value, &path, true));
        let configs = entries("configs").map(|(path, value)| content(value, &path, false));
        let mut checked = services.chain(secrets).chain(configs);
        checked
            .try_for_each(|result| result)
            .map_err(|fault| self.invalid(fault))
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(|value| !value.is_null())
}

/// A secret or config that the client makes: of a file, or of nothing that a driver has.
fn content(object: &Value, path: &str, may_have_driver: bool) -> Result<(), Fault> {
    let is_external = object
        .get("external")
        .is_some_and(|external| external != &Value::Bool(false));
    let has_driver = may_have_driver && !text(object, "driver").is_empty();
    if is_external || has_driver || !text(object, "file").is_empty() {
        return Ok(());
    }
    fault(path, "it has no `file`, and is not `external`")
}

fn service(service: &Value, path: &str) -> Result<(), Fault> {
    let check = service.get("healthcheck").unwrap_or(&Value::Null);
    let has_test = check
        .get("test")
        .and_then(Value::as_array)
        .is_some_and(|test| !test.is_empty());
    if check.get("disable") == Some(&Value::Bool(true)) && has_test {
        let reason = "it has a `test` and `disable: true`; leave one of them out";
        return fault(&join(path, "healthcheck"), reason);
    }
    let deploy = service.get("deploy").unwrap_or(&Value::Null);
    let at_deploy = join(path, "deploy");
    let mode = text(deploy, "mode");
    if mode.starts_with("global") && is_set(deploy, "replicas") {
        let reason = format!(
            "a service of the mode `{mode}` has a task on every node, and no number of replicas"
        );
        return fault(&join(&at_deploy, "replicas"), reason);
    }
    for part in ["limits", "reservations"] {
        let keys = format!("/resources/{part}/cpus");
        let cpus = deploy
            .pointer(&keys)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Err(reason) = number_of_cpus(cpus) {
            return fault(&join(&at_deploy, &format!("resources.{part}.cpus")), reason);
        }
    }
    if !is_set(deploy, "restart_policy") {
        restart::policy(text(service, "restart"))
            .or_else(|reason| fault(&join(path, "restart"), reason))?;
    }
    let spec = service.get("credential_spec").unwrap_or(&Value::Null);
    let given = ["config", "file", "registry"]
        .into_iter()
        .filter(|key| !text(spec, key).is_empty());
    if given.count() > 1 {
        let reason = "it has more than one of `config`, `file` and `registry`";
        return fault(&join(path, "credential_spec"), reason);
    }
    let mounts = service.get("volumes").and_then(Value::as_array);
    for (index, one) in mounts.into_iter().flatten().enumerate() {
        mount(one, &format!("{}[{index}]", join(path, "volumes")))?;
    }
    let mut targets = HashSet::new();
    for section in ["secrets", "configs"] {
        let items = service.get(section).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{}[{index}]", join(path, section));
            if item
                .get("mode")
                .and_then(Value::as_f64)
                .is_some_and(|mode| mode < 0.0)
            {
                return fault(&join(&path, "mode"), "it is negative");
            }
            let target = [text(item, "target"), text(item, "source")];
            let target = target
                .into_iter()
                .find(|name| !name.is_empty())
                .unwrap_or_default();
            if section == "secrets" && !targets.insert(target) {
                return fault(&path, format!("another secret is at `{target}` already"));
            }
        }
    }
    Ok(())
}

fn number_of_cpus(text: &str) -> Result<(), String> {
    // Go reads fractions and powers, too.
    let is_number = text
        .chars()
        .all(|c| c.is_ascii_digit() || ".+-/eE".contains(c))
        && text.contains(|c: char| c.is_ascii_digit());
    if !text.is_empty() && !is_number {
        return Err(format!("`{text}` is not a number of CPUs, such as `0.5`"));
    }
    let behind = text.split_once('.').map_or("", |(_, digits)| digits);
    if behind.trim_end_matches('0').len() > DIGITS && !text.contains(['e', 'E', '/']) {
        return Err(format!(
            "`{text}` is too precise: Docker counts billionths of a CPU"
        ));
    }
    Ok(())
}

fn mount(mount: &Value, path: &str) -> Result<(), Fault> {
    let (kind, source) = (text(mount, "type"), text(mount, "source"));
    let Some((_, allowed)) = MOUNTS.iter().find(|(known, _)| *known == kind) else {
        let known = MOUNTS
            .map(|(known, _)| known)
            .into_iter()
            .filter(|known| !known.is_empty());
        let known = known.collect::<Vec<_>>().join("`, `");
        return fault(
            &join(path, "type"),
            format!("`{kind}` is not one of `{known}`"),
        );
    };
    for options in ["volume", "bind", "tmpfs"] {
        if is_set(mount, options) && !allowed.contains(&options) {
            let reason = format!("options of `{options}` do not go with the type `{kind}`");
            return fault(&join(path, options), reason);
        }
    }
    match kind {
        "tmpfs" if !source.is_empty() => fault(&join(path, "source"), "memory has no source"),
        "bind" | "npipe" | "cluster" if source.is_empty() => {
            fault(path, format!("a mount of the type `{kind}` has a `source`"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(value: &Value) -> String {
        match service(value, "services.app") {
            Ok(()) => "taken".to_owned(),
            Err(fault) => format!("{}: {}", fault.path, fault.reason),
        }
    }

    #[test]
    fn what_docker_refuses_at_the_deploy_is_refused_with_its_place() {
        for (value, said) in [
            (
                json!({"healthcheck": {"disable": true, "test": ["CMD", "x"]}}),
                "services.app.healthcheck: it has a `test`",
            ),
            (json!({"healthcheck": {"disable": true}}), "taken"),
            (
                json!({"deploy": {"mode": "global", "replicas": 1}}),
                "services.app.deploy.replicas: a service of the mode",
            ),
            (
                json!({"deploy": {"mode": "replicated-job", "replicas": 1}}),
                "taken",
            ),
            (
                json!({"deploy": {"resources": {"limits": {"cpus": "lots"}}}}),
                "services.app.deploy.resources.limits.cpus: `lots` is not a number",
            ),
            (
                json!({"deploy": {"resources": {"reservations": {"cpus": "0.0000000001"}}}}),
                "services.app.deploy.resources.reservations.cpus: `0.0000000001` is too precise",
            ),
            (
                json!({"deploy": {"resources": {"limits": {"cpus": "1/2"}}}}),
                "taken",
            ),
            (
                json!({"restart": "banana"}),
                "services.app.restart: `banana` is not one of",
            ),
            (
                json!({"restart": "on-failure:x"}),
                "services.app.restart: the number of attempts in `on-failure:x` is no number",
            ),
            (
                json!({"restart": "on-failure:-1"}),
                "services.app.restart: the number of attempts in `on-failure:-1` is negative",
            ),
            (
                json!({"restart": "always:3"}),
                "services.app.restart: the number of attempts in `always:3` goes with `on-failure` alone",
            ),
            (json!({"restart": "on-failure:3"}), "taken"),
            (json!({"restart": "no:3"}), "taken"),
            (
                json!({"restart": "banana", "deploy": {"restart_policy": {}}}),
                "taken",
            ),
            (
                json!({"credential_spec": {"file": "x", "registry": "y"}}),
                "services.app.credential_spec: it has more than one",
            ),
            (
                json!({"secrets": [{"source": "a"}, {"source": "b", "target": "a"}]}),
                "services.app.secrets[1]: another secret is at `a`",
            ),
            (
                json!({"volumes": [{"type": "disk"}]}),
                "services.app.volumes[0].type: `disk` is not one of",
            ),
            (
                json!({"volumes": [{"type": "bind"}]}),
                "services.app.volumes[0]: a mount of the type `bind`",
            ),
            (
                json!({"volumes": [{"type": "tmpfs", "source": "x"}]}),
                "services.app.volumes[0].source: memory",
            ),
            (
                json!({"volumes": [{"type": "volume", "bind": {}}]}),
                "services.app.volumes[0].bind: options of `bind` do not go with the type `volume`",
            ),
            (
                json!({"volumes": [{"type": "volume", "source": "x", "volume": {"nocopy": true}}]}),
                "taken",
            ),
        ] {
            let found = refusal(&value);
            assert!(found.starts_with(said), "{value}: {found}");
        }
    }

    #[test]
    fn a_secret_or_config_needs_a_file_unless_it_is_there_or_a_drivers() {
        let is = |value: &Value, driver| content(value, "x", driver).is_ok();
        assert!(!is(&json!({"file": ""}), true));
        assert!(!is(&json!({"name": "x"}), false));
        assert!(is(&json!({"external": true}), false));
        assert!(is(&json!({"external": {"name": "x"}}), true));
        assert!(is(&json!({"driver": "vault"}), true));
        assert!(is(&json!({"file": "./x"}), false));
    }
}
