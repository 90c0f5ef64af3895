//! Short and long syntaxes brought to one form, file by file, before files are merged.
//!
//! Docker merges what it has decoded, not the text, so the merge needs this form: `environment` and labels
//! as maps of strings, `ports`, `volumes`, `secrets` and `configs` as lists of maps, `networks` as a map.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::file::inside;
use super::yaml::join;
use super::{env_file, mounts, ports};

/// The sections of a compose file that Docker interpolates and that hold objects.
pub(crate) const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "secrets", "configs"];

/// Returns whether the value is what Docker takes for not set.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A value of the wrong form.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) reason: String,
}

pub(super) fn fault<T>(path: &str, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        path: path.to_owned(),
        reason: reason.into(),
    })
}

/// What the canonical form is made with.
pub(super) struct Canon<'a> {
    /// The variables of the run: docker fills in environment variables that are empty.
    pub(super) vars: &'a BTreeMap<String, String>,
    /// The directory that relative paths are meant from, relative to the recipe's root.
    pub(super) base: &'a str,
    /// Returns the text of a file of the recipe, or why there is none.
    pub(super) read: &'a dyn Fn(&str) -> Result<String, String>,
    /// Paths and messages of what is odd.
    pub(super) warnings: Vec<(String, String)>,
    /// Paths of what was an item of a list and is an entry of a mapping now, with the former.
    pub(super) moved: Vec<(String, String)>,
}

impl Canon<'_> {
    fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.warnings.push((path.to_owned(), message.into()));
    }

    /// Brings a file, whose form is checked, to the canonical form.
    pub(super) fn document(&mut self, document: &mut Value) -> Result<(), Fault> {
        for section in SECTIONS {
            let entries = document.get_mut(section).and_then(Value::as_object_mut);
            for (name, entry) in entries.into_iter().flatten() {
                let path = join(section, name);
                match entry {
                    Value::Object(service) if section == "services" => {
                        self.service(service, &path)?;
                    }
                    Value::Object(object) => object_names(object, &path)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn service(&mut self, service: &mut Map<String, Value>, path: &str) -> Result<(), Fault> {
        self.pairs(service, "labels", path)?;
        self.pairs(service, "sysctls", path)?;
        self.environment(service, path)?;
        for (key, each) in [
            ("ports", port as Each),
            ("volumes", volume),
            ("secrets", source),
            ("configs", source),
        ] {
            if let Some(list) = service.get_mut(key) {
                *list = long_list(list.take(), &join(path, key), each)?;
            }
        }
        for key in ["dns", "dns_search", "tmpfs"] {
            if let Some(list) = service.get_mut(key)
                && list.is_string()
            {
                *list = json!([list.take()]);
            }
        }
        if let Some(hosts) = service.get_mut("extra_hosts") {
            *hosts = extra_hosts(hosts.take(), &join(path, "extra_hosts"))?;
        }
        if let Some(networks) = service.get_mut("networks") {
            *networks = Value::Object(self.names(networks.take(), &join(path, "networks"))?);
        }
        if let Some(test) = service
            .get_mut("healthcheck")
            .and_then(|check| check.get_mut("test"))
            && let Some(command) = test.as_str()
        {
            *test = json!(["CMD-SHELL", command]);
        }
        match service.get_mut("deploy").and_then(Value::as_object_mut) {
            Some(deploy) => self.pairs(deploy, "labels", &join(path, "deploy")),
            None => Ok(()),
        }
    }

    /// Brings `env_file` and `environment` together, as docker does file by file: what `environment` names wins.
    fn environment(&mut self, service: &mut Map<String, Value>, path: &str) -> Result<(), Fault> {
        let mut map = Map::new();
        if let Some(files) = service.remove("env_file") {
            self.env_files(&files, &join(path, "env_file"), &mut map)?;
        }
        if let Some(environment) = service.remove("environment") {
            map.extend(self.mapping(environment, &join(path, "environment"), true)?);
        } else if map.is_empty() {
            return Ok(());
        }
        for (name, value) in &mut map {
            if value.as_str().is_none_or(str::is_empty)
                && let Some(set) = self.vars.get(name)
            {
                *value = set.clone().into();
            }
        }
        service.insert("environment".to_owned(), Value::Object(map));
        Ok(())
    }

    fn env_files(
        &self,
        files: &Value,
        path: &str,
        map: &mut Map<String, Value>,
    ) -> Result<(), Fault> {
        let files = match files {
            Value::Null => return Ok(()),
            Value::Array(files) => files.iter().collect(),
            one => vec![one],
        };
        for (index, file) in files.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let Some(file) = file.as_str() else {
                return fault(&place, "it is not the name of a file");
            };
            let read = inside(self.base, file).and_then(|file| (self.read)(&file));
            let text = read.or_else(|reason| fault(&place, format!("`{file}` {reason}")))?;
            let vars = env_file::parse(&text)
                .or_else(|reason| fault(&place, format!("`{file}` {reason}")))?;
            for (name, value) in vars {
                // A name without a value is looked up, and left out where that finds nothing.
                if let Some(value) = value.or_else(|| self.vars.get(&name).cloned()) {
                    map.insert(name, value.into());
                }
            }
        }
        Ok(())
    }

    /// Returns a list of names or a mapping as a mapping.
    fn names(&mut self, value: Value, path: &str) -> Result<Map<String, Value>, Fault> {
        match value {
            Value::Object(map) => Ok(map),
            Value::Array(items) => {
                let mut map = Map::new();
                for (index, item) in items.iter().enumerate() {
                    let at = format!("{path}[{index}]");
                    let name = scalar(item, &at)?;
                    self.moved.push((join(path, &name), at));
                    map.insert(name, Value::Null);
                }
                Ok(map)
            }
            _ => fault(path, "it is neither a list nor a mapping"),
        }
    }

    fn pairs(
        &mut self,
        parent: &mut Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Result<(), Fault> {
        if let Some(pairs) = parent.get_mut(key) {
            *pairs = Value::Object(self.mapping(pairs.take(), &join(path, key), false)?);
        }
        Ok(())
    }

    /// Returns a list of `key=value` or a mapping as a mapping; `null` values are kept, or made empty.
    fn mapping(
        &mut self,
        value: Value,
        path: &str,
        keep_null: bool,
    ) -> Result<Map<String, Value>, Fault> {
        let empty = || {
            if keep_null {
                Value::Null
            } else {
                Value::from("")
            }
        };
        match value {
            Value::Array(items) => {
                let mut map = Map::new();
                for (index, item) in items.iter().enumerate() {
                    let Some(text) = item.as_str() else {
                        return fault(&format!("{path}[{index}]"), "it is not a string");
                    };
                    let (key, value) = match text.split_once('=') {
                        Some((key, value)) => (key, value.into()),
                        None => (text, empty()),
                    };
                    self.moved
                        .push((join(path, key), format!("{path}[{index}]")));
                    map.insert(key.to_owned(), value);
                }
                Ok(map)
            }
            Value::Object(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let path = join(path, &key);
                    if key.contains('$') {
                        self.warn(&path, "docker does not interpolate keys; write the entry as `- \"key=value\"`");
                    }
                    let value = match value {
                        Value::Null => empty(),
                        value => scalar(&value, &path)?.into(),
                    };
                    map.insert(key, value);
                }
                Ok(map)
            }
            _ => fault(path, "it is neither a list nor a mapping"),
        }
    }
}

/// Refuses what Docker refuses of a volume, network, secret or config beyond its form.
fn object_names(object: &Map<String, Value>, path: &str) -> Result<(), Fault> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let external = object.get("external");
    let old_name = text(external.and_then(|external| external.get("name")));
    if !old_name.is_empty() && !text(object.get("name")).is_empty() {
        return fault(path, "it has two names, `name` and `external.name`");
    }
    let is_external = external.is_some_and(|external| external != &Value::Bool(false));
    if path.starts_with("volumes.") && is_external {
        let key = ["driver", "driver_opts", "labels"].into_iter().find(|key| {
            let value = object.get(*key);
            value.is_some_and(|value| !is_empty(value))
        });
        if let Some(key) = key {
            return fault(&join(path, key), "an external volume has none");
        }
    }
    let is_driven = !text(object.get("driver")).is_empty() && !text(object.get("file")).is_empty();
    if path.starts_with("secrets.") && !is_external && is_driven {
        return fault(path, "it has both a driver and a file");
    }
    Ok(())
}

/// Returns additional hosts as a list of `host:address`.
fn extra_hosts(value: Value, path: &str) -> Result<Value, Fault> {
    let mut hosts: Vec<(String, String)> = Vec::new();
    match value {
        Value::Object(entries) => {
            for (host, address) in entries {
                if !address.is_null() {
                    let address = scalar(&address, &join(path, &host))?;
                    hosts.push((host, address));
                }
            }
            hosts.sort();
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let text = scalar(item, &format!("{path}[{index}]"))?;
                // One without an address is passed over by Docker.
                let pair = text.split_once('=').or_else(|| text.split_once(':'));
                hosts.extend(pair.map(|(host, address)| (host.to_owned(), address.to_owned())));
            }
        }
        _ => return fault(path, "it is neither a list nor a mapping"),
    }
    let line = |(host, address): (String, String)| {
        let inner = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let inner = inner.filter(|inner| !inner.is_empty()).unwrap_or(&address);
        Value::from(format!("{host}:{inner}"))
    };
    Ok(hosts.into_iter().map(line).collect())
}

type Each = fn(Value, &str) -> Result<Vec<Value>, Fault>;

fn long_list(value: Value, path: &str, each: Each) -> Result<Value, Fault> {
    let Value::Array(items) = value else {
        return fault(path, "it is not a list");
    };
    let mut list = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        list.extend(each(item, &format!("{path}[{index}]"))?);
    }
    Ok(Value::Array(list))
}

fn port(item: Value, path: &str) -> Result<Vec<Value>, Fault> {
    if item.is_object() {
        return Ok(vec![item]);
    }
    let ports = ports::parse(&scalar(&item, path)?).or_else(|reason| fault(path, reason))?;
    let long = |(published, target): (Option<u16>, u16)| {
        let mut port = json!({"mode": "ingress", "target": target, "protocol": ports.protocol});
        if let Some(published) = published {
            port["published"] = published.into();
        }
        port
    };
    Ok(ports.pairs.into_iter().map(long).collect())
}

fn volume(item: Value, path: &str) -> Result<Vec<Value>, Fault> {
    if item.is_object() {
        return Ok(vec![item]);
    }
    let mount = mounts::parse(&scalar(&item, path)?).or_else(|reason| fault(path, reason))?;
    Ok(vec![mount])
}

fn source(item: Value, path: &str) -> Result<Vec<Value>, Fault> {
    if item.is_object() {
        return Ok(vec![item]);
    }
    Ok(vec![json!({ "source": scalar(&item, path)? })])
}

/// Returns a scalar as the text that docker makes of it.
pub(super) fn scalar(value: &Value, path: &str) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) if number.is_f64() => {
            Ok(go_float(number.as_f64().unwrap_or_default()))
        }
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => fault(path, "it is not a scalar"),
    }
}

/// The power of ten from which Go prints an exponent.
const EXPONENT_FROM: i32 = 6;

/// Returns the number as Go's `%v` prints it: `1.10` is `1.1`, and a large one has an exponent.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..EXPONENT_FROM).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_docker_prints_them() {
        // Captured from docker 28.2.2.
        for (value, expected) in [
            (1.0, "1"),
            (1.10, "1.1"),
            (1e3, "1000"),
            (1e30, "1e+30"),
            (0.00001, "1e-05"),
            (0.5, "0.5"),
            (123_456_789.5, "1.234567895e+08"),
        ] {
            assert_eq!(go_float(value), expected);
        }
    }
}
