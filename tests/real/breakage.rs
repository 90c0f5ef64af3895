//! Breaks a recipe in every way that its text allows: mechanically, with no knowledge of what it is for.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::engine::docker;

/// A recipe with one thing broken.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// What is broken, such as `drop label`.
    pub(super) kind: &'static str,
    /// Where, such as `app traefik.enable`.
    pub(super) place: String,
    /// The file to write, below the recipe.
    file: String,
    text: String,
}

impl Mutant {
    /// Returns its name, which the list of those that pass goes by.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind, self.place)
    }

    /// Writes it into a work tree, uncommitted.
    pub(super) fn apply(&self, recipe: &Path) {
        std::fs::write(recipe.join(&self.file), &self.text).unwrap();
    }
}

/// Returns every mutant of a recipe's head, in the order of its files.
pub(super) fn mutants(recipe: &Path) -> Vec<Mutant> {
    let mut found = Vec::new();
    let mut files: Vec<String> = harness::host_file::entries(recipe)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("compose") && name.ends_with(".yml"))
        .collect();
    files.sort_unstable();
    let docs: Vec<Value> = files
        .iter()
        .map(|file| parsed(&read(recipe, file)))
        .collect();
    for (file, doc) in files.iter().zip(&docs) {
        // What the others are held against: written anew, and nothing else.
        found.push(Mutant {
            kind: "write anew",
            place: file.clone(),
            file: file.clone(),
            text: serde_json::to_string_pretty(doc).unwrap(),
        });
        let mut breaks = Breaks {
            file,
            doc,
            found: &mut found,
        };
        for (service, image) in images_of(doc, &docs) {
            breaks.service(&service, image.as_deref());
        }
        breaks.top();
        let versions = read(recipe, "abra.sh");
        for (config, variable) in configs_of(doc) {
            let start = format!("export {variable}=v");
            let line = versions.lines().find(|line| line.starts_with(&start));
            let number: u32 = line.unwrap()[start.len()..].parse().unwrap();
            found.push(if number == 1 {
                Mutant {
                    kind: "change unbumped config",
                    text: read(recipe, &config) + "\n# changed\n",
                    place: config.clone(),
                    file: config,
                }
            } else {
                Mutant {
                    kind: "take back version",
                    place: variable.clone(),
                    file: "abra.sh".to_owned(),
                    text: versions.replace(line.unwrap(), &format!("{start}{}", number - 1)),
                }
            });
        }
    }
    for (file, kind) in [(".env.sample", "drop sample"), ("abra.sh", "drop version")] {
        let text = read(recipe, file);
        for line in text.lines() {
            let name = line
                .strip_prefix("export ")
                .unwrap_or(line)
                .split('=')
                .next()
                .unwrap_or_default();
            if line.starts_with('#') || !line.contains('=') || name.contains(' ') {
                continue;
            }
            let kept: String = text
                .lines()
                .filter(|other| *other != line)
                .flat_map(|line| [line, "\n"])
                .collect();
            found.push(Mutant {
                kind,
                place: name.to_owned(),
                file: file.to_owned(),
                text: kept,
            });
        }
    }
    // Two files may have the same of one service.
    let mut names = HashSet::new();
    for mutant in &mut found {
        if !names.insert(mutant.name()) {
            mutant.place = format!("{} in {}", mutant.place, mutant.file);
        }
    }
    found
}

fn parsed(text: &str) -> Value {
    // As Docker reads it: `yes` is text, and 0440 is octal.
    let options = serde_yaml::options! { strict_booleans: true, legacy_octal_numbers: true };
    serde_yaml::from_str_with_options(text, options).unwrap()
}

fn read(recipe: &Path, file: &str) -> String {
    harness::host_file::text(recipe.join(file)).unwrap()
}

/// Returns the services of one file with their images, which another file may name.
fn images_of(doc: &Value, all: &[Value]) -> Vec<(String, Option<String>)> {
    let services = doc["services"].as_object().unwrap();
    let image = |name: &str| {
        all.iter()
            .find_map(|doc| doc["services"][name]["image"].as_str().map(str::to_owned))
    };
    services
        .keys()
        .map(|name| (name.clone(), image(name)))
        .collect()
}

/// Returns the files of configs, each with the variable that its name ends with.
fn configs_of(doc: &Value) -> Vec<(String, String)> {
    let configs = doc["configs"].as_object().into_iter().flatten();
    configs
        .filter_map(|(_, config)| {
            let path = config["file"].as_str()?.trim_start_matches("./");
            let variable = config["name"].as_str()?.rsplit_once("${")?.1;
            Some((path.to_owned(), variable.trim_end_matches('}').to_owned()))
        })
        .collect()
}

/// One compose file, and what breaks it.
struct Breaks<'a> {
    file: &'a str,
    doc: &'a Value,
    found: &'a mut Vec<Mutant>,
}

/// What a service takes from a list or a mapping, each of which can be missing.
const TAKEN: [&str; 6] = [
    "environment",
    "secrets",
    "configs",
    "volumes",
    "networks",
    "ports",
];

/// Keys and how a hasty hand writes them.
const TYPOS: [(&str, &str); 4] = [
    ("environment", "enviroment"),
    ("volumes", "volume"),
    ("networks", "network"),
    ("healthcheck", "health_check"),
];

impl Breaks<'_> {
    fn push(&mut self, kind: &'static str, place: String, change: impl FnOnce(&mut Value)) {
        let mut doc = self.doc.clone();
        change(&mut doc);
        assert_ne!(&doc, self.doc, "{kind} {place} changes nothing");
        // JSON is YAML, and quotes every text.
        let text = serde_json::to_string_pretty(&doc).unwrap();
        self.found.push(Mutant {
            kind,
            place,
            file: self.file.to_owned(),
            text,
        });
    }

    /// Breaks one service.
    fn service(&mut self, name: &str, image: Option<&str>) {
        let service = &self.doc["services"][name].clone();
        for key in TAKEN {
            let count = service[key]
                .as_array()
                .map(Vec::len)
                .or(service[key].as_object().map(Map::len));
            for index in 0..count.unwrap_or(0) {
                let place = format!("{name} {key} {}", label_of(&service[key], index));
                self.push("drop", place, |doc| {
                    remove_at(&mut doc["services"][name][key], index);
                });
            }
        }
        for (index, mount) in service["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let Some((source, target)) = mount.as_str().and_then(|text| text.split_once(':'))
            else {
                continue;
            };
            let moved = format!("{source}:{target}-moved");
            self.push("move mount", format!("{name} {source}"), |doc| {
                doc["services"][name]["volumes"][index] = moved.into();
            });
        }
        for (key, wrong) in TYPOS {
            if service.get(key).is_some() {
                self.push("misspell", format!("{name} {key}"), |doc| {
                    let service = doc["services"][name].as_object_mut().unwrap();
                    let value = service.remove(key).unwrap();
                    service.insert(wrong.into(), value);
                });
            }
        }
        if service.get("healthcheck").is_some() {
            self.push("drop", format!("{name} healthcheck"), |doc| {
                doc["services"][name]
                    .as_object_mut()
                    .unwrap()
                    .remove("healthcheck");
            });
            self.push("fail healthcheck", name.to_owned(), |doc| {
                doc["services"][name]["healthcheck"]["test"] = words(["CMD", "false"]);
            });
        }
        for key in ["entrypoint", "command"] {
            if service.get(key).is_some() {
                self.push("drop", format!("{name} {key}"), |doc| {
                    doc["services"][name].as_object_mut().unwrap().remove(key);
                });
                self.push("misspell program", format!("{name} {key}"), |doc| {
                    doc["services"][name][key] = words(["/no-such-program"]);
                });
            }
        }
        if let Some(image) = service["image"].as_str() {
            let wrong = format!("{image}-nope");
            self.push("wrong tag", name.to_owned(), |doc| {
                doc["services"][name]["image"] = wrong.into();
            });
        }
        if let Some(image) = image {
            for (kind, code) in [("end after 3 s with 0", 0), ("end after 3 s with 1", 1)] {
                let line = ending(service, image, code);
                self.push(kind, name.to_owned(), |doc| {
                    let service = doc["services"][name].as_object_mut().unwrap();
                    service.remove("command");
                    service.insert("entrypoint".into(), line);
                });
            }
        }
        self.push("no replica", name.to_owned(), |doc| {
            deep(&mut doc["services"][name], &["deploy"])["replicas"] = 0.into();
        });
        if service["deploy"]["update_config"]["order"].as_str() != Some("start-first") {
            self.push("start first", name.to_owned(), |doc| {
                deep(&mut doc["services"][name], &["deploy", "update_config"])["order"] =
                    "start-first".into();
            });
        }
        self.labels(name, &service["deploy"]["labels"]);
    }

    /// Breaks the labels of one service.
    fn labels(&mut self, name: &str, labels: &Value) {
        let pairs = pairs_of(labels);
        for (index, (key, value)) in pairs.iter().enumerate() {
            let short = key.replace("${STACK_NAME}", "S");
            let place = format!("{name} {short}");
            let mut set = |kind, value: String| {
                self.push(kind, place.clone(), |doc| {
                    set_label(
                        &mut doc["services"][name]["deploy"]["labels"],
                        index,
                        key,
                        &value,
                    );
                });
            };
            match key.as_str() {
                key if key.ends_with("-hook") => set("empty hook", "true".to_owned()),
                key if key.ends_with(".server.port") => set("wrong port", "8".to_owned() + value),
                key if key.ends_with(".path") && key.starts_with("backupbot") => {
                    set("wrong path", format!("{value}.old"));
                }
                key if key.ends_with(".rule") => {
                    set("break rule", value.trim_end_matches(')').to_owned());
                    set(
                        "rule of another domain",
                        "Host(`somebody.example.org`)".to_owned(),
                    );
                }
                _ => {}
            }
            self.push("drop label", place, |doc| {
                remove_at(&mut doc["services"][name]["deploy"]["labels"], index);
            });
        }
        let at = |end: &str| pairs.iter().position(|(key, _)| key.ends_with(end));
        if let (Some(backup), Some(restore)) = (at("backup.pre-hook"), at("restore.post-hook")) {
            self.push("swap hooks", name.to_owned(), |doc| {
                let labels = &mut doc["services"][name]["deploy"]["labels"];
                set_label(labels, backup, &pairs[backup].0, &pairs[restore].1);
                set_label(labels, restore, &pairs[restore].0, &pairs[backup].1);
            });
        }
    }

    /// Breaks what is declared at the top.
    fn top(&mut self) {
        for key in ["networks", "volumes", "secrets", "configs"] {
            let names: Vec<String> = self.doc[key]
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .cloned()
                .collect();
            for name in names {
                self.push("undeclare", format!("{key} {name}"), |doc| {
                    doc[key].as_object_mut().unwrap().remove(&name);
                });
                if key == "volumes" {
                    self.push("rename volume", name.clone(), |doc| {
                        rename_volume(doc, &name);
                    });
                }
            }
        }
    }
}

fn words<const N: usize>(list: [&str; N]) -> Value {
    list.iter()
        .map(|word| Value::from(*word))
        .collect::<Vec<_>>()
        .into()
}

/// Returns the mapping at `path`, made where there is none.
fn deep<'a>(mut value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    for key in path {
        if value.get(key).is_none() {
            value[*key] = Map::new().into();
        }
        value = &mut value[*key];
    }
    value
}

/// Returns what an item is called: the key, the name or the source.
fn label_of(list: &Value, index: usize) -> String {
    let item = match list {
        Value::Object(map) => return map.keys().nth(index).unwrap().clone(),
        list => &list[index],
    };
    let named = || {
        ["source", "published"]
            .iter()
            .find_map(|key| item.get(*key))
    };
    let text = match item {
        Value::String(text) => text.clone(),
        _ => {
            let protocol = item["protocol"].as_str().unwrap_or_default();
            let name = named().unwrap();
            let name = name
                .as_str()
                .map_or_else(|| name.to_string(), str::to_owned);
            format!("{name}{protocol}")
        }
    };
    text.split(['=', ':']).next().unwrap().to_owned()
}

/// Removes one item of a list or a mapping.
fn remove_at(list: &mut Value, index: usize) {
    match list {
        Value::Array(items) => drop(items.remove(index)),
        Value::Object(map) => {
            let key = map.keys().nth(index).unwrap().clone();
            map.remove(&key);
        }
        other => panic!("neither a list nor a mapping: {other:?}"),
    }
}

/// Returns labels as keys and values, in either form.
fn pairs_of(labels: &Value) -> Vec<(String, String)> {
    match labels {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().unwrap().split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

fn set_label(labels: &mut Value, index: usize, key: &str, value: &str) {
    match labels {
        Value::Object(map) => drop(map.insert(key.into(), value.into())),
        list => list[index] = format!("{key}={value}").into(),
    }
}

/// Renames a volume where it is declared and mounted, so that the new version begins with an empty one.
fn rename_volume(doc: &mut Value, name: &str) {
    let renamed = format!("{name}_renamed");
    let volumes = doc["volumes"].as_object_mut().unwrap();
    let value = volumes.remove(name).unwrap();
    volumes.insert(renamed.as_str().into(), value);
    for (_, service) in doc["services"].as_object_mut().unwrap() {
        for mount in service
            .get_mut("volumes")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let target = mount.as_str().and_then(|text| {
                text.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(str::to_owned)
            });
            if let Some(target) = target {
                *mount = format!("{renamed}:{target}").into();
            }
        }
    }
}

/// Returns an entry point that starts what the service starts, and ends by itself after 3 s.
fn ending(service: &Value, image: &str, code: i32) -> Value {
    let of_image = |key: &str| -> Vec<String> {
        let format = format!("{{{{json .Config.{key}}}}}");
        let text = docker(&["image", "inspect", "--format", &format, image]);
        let words: Option<Vec<String>> = serde_json::from_str(&text).unwrap();
        words
            .unwrap_or_default()
            .iter()
            .map(|word| word.replace('$', "$$"))
            .collect()
    };
    let of_service = |key: &str| -> Option<Vec<String>> {
        match &service[key] {
            Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
            Value::Array(list) => Some(
                list.iter()
                    .map(|word| word.as_str().unwrap().to_owned())
                    .collect(),
            ),
            _ => None,
        }
    };
    let (entrypoint, command) = (of_service("entrypoint"), of_service("command"));
    // As Docker does: a new entry point drops the image's command.
    let command = command.unwrap_or_else(|| {
        if entrypoint.is_some() {
            Vec::new()
        } else {
            of_image("Cmd")
        }
    });
    let entrypoint = entrypoint.unwrap_or_else(|| of_image("Entrypoint"));
    let line = format!("\"$$@\" & sleep 3; exit {code}");
    let head = ["sh".to_owned(), "-c".to_owned(), line, "sh".to_owned()];
    let all = head.into_iter().chain(entrypoint).chain(command);
    all.map(Value::from).collect::<Vec<_>>().into()
}
