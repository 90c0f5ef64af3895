//! Short and long syntaxes brought to one form, file by file, before files are merged.
//!
//! Docker merges what it has decoded, not the text, so the merge needs this form: `environment` and labels
//! as maps of strings, `ports`, `volumes`, `secrets` and `configs` as lists of maps, `networks` as a map.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::load::inside;
use super::yaml::join;
use super::{env_file, ports};

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

    /// Brings an interpolated file to the canonical form.
    pub(super) fn document(&mut self, document: &mut Value) -> Result<(), Fault> {
        let Value::Object(top) = document else {
            return fault("", "the file is not a mapping");
        };
        for section in ["services", "volumes", "networks", "secrets", "configs"] {
            match top.get_mut(section) {
                None => {}
                Some(Value::Null) => {
                    top.remove(section);
                }
                Some(Value::Object(entries)) => {
                    for (name, entry) in entries.iter_mut() {
                        let path = join(section, name);
                        match entry {
                            Value::Object(service) if section == "services" => {
                                self.service(service, &path)?;
                            }
                            Value::Object(_) => {}
                            Value::Null if section != "services" => {}
                            _ => return fault(&path, "it is not a mapping"),
                        }
                    }
                }
                Some(_) => return fault(section, "it is not a mapping"),
            }
        }
        Ok(())
    }

    fn service(&mut self, service: &mut Map<String, Value>, path: &str) -> Result<(), Fault> {
        self.labels(service, path)?;
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
        if let Some(networks) = service.get_mut("networks") {
            *networks = Value::Object(self.names(networks.take(), &join(path, "networks"))?);
        }
        if let Some(depends_on) = service.get_mut("depends_on") {
            let path = join(path, "depends_on");
            if depends_on.is_object() {
                self.warn(
                    &path,
                    "it must be a list: `docker stack deploy` refuses a mapping",
                );
            }
            let names = self.names(depends_on.take(), &path)?;
            *depends_on = names.into_iter().map(|(name, _)| name).collect();
        }
        match service.get_mut("healthcheck") {
            None | Some(Value::Null) => {}
            Some(Value::Object(check)) => {
                if let Some(test) = check.get_mut("test")
                    && let Some(command) = test.as_str()
                {
                    *test = json!(["CMD-SHELL", command]);
                }
            }
            Some(_) => return fault(&join(path, "healthcheck"), "it is not a mapping"),
        }
        match service.get_mut("deploy") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Object(deploy)) => self.labels(deploy, &join(path, "deploy")),
            Some(_) => fault(&join(path, "deploy"), "it is not a mapping"),
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

    fn labels(&mut self, parent: &mut Map<String, Value>, path: &str) -> Result<(), Fault> {
        if let Some(labels) = parent.get_mut("labels") {
            *labels = Value::Object(self.mapping(labels.take(), &join(path, "labels"), false)?);
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
            Value::Null => Ok(Map::new()),
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
                    if value.is_boolean() {
                        self.warn(&path, "it must be a string, number or null: `docker stack deploy` refuses a boolean");
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

    /// Returns a list of names or a mapping as a mapping.
    fn names(&mut self, value: Value, path: &str) -> Result<Map<String, Value>, Fault> {
        match value {
            Value::Null => Ok(Map::new()),
            Value::Object(map) => Ok(map),
            Value::Array(items) => {
                let mut map = Map::new();
                for (index, item) in items.iter().enumerate() {
                    map.insert(scalar(item, &format!("{path}[{index}]"))?, Value::Null);
                }
                Ok(map)
            }
            _ => fault(path, "it is neither a list nor a mapping"),
        }
    }
}

type Each = fn(Value, &str) -> Result<Vec<Value>, Fault>;

fn long_list(value: Value, path: &str, each: Each) -> Result<Value, Fault> {
    match value {
        Value::Null => Ok(json!([])),
        Value::Array(items) => {
            let mut list = Vec::new();
            for (index, item) in items.into_iter().enumerate() {
                list.extend(each(item, &format!("{path}[{index}]"))?);
            }
            Ok(Value::Array(list))
        }
        _ => fault(path, "it is not a list"),
    }
}

fn port(item: Value, path: &str) -> Result<Vec<Value>, Fault> {
    if item.is_object() {
        return Ok(vec![item]);
    }
    let text = scalar(&item, path)?;
    let spec = ports::split(&text);
    let pairs = ports::expand(&spec).or_else(|reason| fault(path, reason))?;
    let long = |(published, target): (Option<u16>, u16)| {
        let mut port = json!({"mode": "ingress", "target": target, "protocol": spec.protocol});
        if let Some(published) = published {
            port["published"] = published.into();
        }
        port
    };
    Ok(pairs.into_iter().map(long).collect())
}

fn volume(item: Value, path: &str) -> Result<Vec<Value>, Fault> {
    if item.is_object() {
        return Ok(vec![item]);
    }
    let text = scalar(&item, path)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return fault(path, format!("`{text}` is not a mount")),
    };
    if target.is_empty() || source == Some("") {
        return fault(path, format!("`{text}` has an empty part"));
    }
    if source.is_some_and(|source| source.len() == 1 && source.starts_with(char::is_alphabetic)) {
        return fault(
            path,
            "docker takes a volume name of one letter for a Windows drive",
        );
    }
    let bind = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let mut mount = json!({"type": if bind { "bind" } else { "volume" }, "target": target});
    if let Some(source) = source {
        mount["source"] = source.into();
    }
    for option in options.split(',') {
        match option {
            "ro" => mount["read_only"] = true.into(),
            "nocopy" => mount["volume"] = json!({"nocopy": true}),
            // Docker takes them for a bind mount's propagation, whatever is mounted.
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                mount["bind"] = json!({"propagation": option});
            }
            _ => {}
        }
    }
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
