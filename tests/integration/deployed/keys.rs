//! Every key of the format with values of every kind: what Docker's client takes we take and deploy as it does, and what
//! it refuses we refuse.
//!
//! The keys are those of the client's own schema, which lies in its program, so that none is missing because we do not
//! know it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cases::Case;
use crate::deployed::{Bench, Client, judge_all, newest, read};

/// What the newest schema calls itself.
const SCHEMA: &str = "\"id\": \"config_schema_v3.13.json\"";

/// The version of files that have every key.
const VERSION: &str = "3.13";

/// How many of the values that are refused each key is tried with; under `real` it is every one.
const REFUSED: usize = if cfg!(feature = "real") {
    usize::MAX
} else {
    1
};

/// What is tried everywhere: of each kind one, and under `real` some more.
fn values() -> Vec<Value> {
    let mut values = vec![
        json!("a"),
        json!(7),
        json!(true),
        json!(null),
        json!(["a"]),
        json!({"a": "b"}),
        // The right values of mappings and lists whose keys are tried below.
        json!({}),
        json!([]),
    ];
    if cfg!(feature = "real") {
        values.extend([
            json!(0.5),
            json!([7]),
            json!({"a": 7}),
            json!({"a": true}),
            json!({"a": null}),
        ]);
    }
    values
}

/// Where values have a form of their own: the end of a path, and one that is right.
const FORMS: [(&str, &str); 23] = [
    ("restart", "always"),
    ("volumes.[].type", "tmpfs"),
    ("version", "3.13"),
    ("mode", "global"),
    ("endpoint_mode", "dnsrr"),
    ("delay", "5s"),
    ("monitor", "5s"),
    ("window", "5s"),
    ("interval", "5s"),
    ("timeout", "5s"),
    ("start_period", "5s"),
    ("start_interval", "5s"),
    ("stop_grace_period", "5s"),
    ("failure_action", "rollback"),
    ("order", "stop-first"),
    ("condition", "any"),
    ("cpus", "0.5"),
    ("memory", "50M"),
    ("constraints.[]", "node.role == manager"),
    ("external.name", "proxy"),
    ("env_file", "one.env"),
    ("env_file.[]", "one.env"),
    ("file", "./secret.txt"),
];

/// The same of values that are no texts.
const OBJECTS: [(&str, &str); 2] = [
    ("secrets.*", r#"{"file": "./secret.txt"}"#),
    ("configs.*", r#"{"file": "./conf.txt"}"#),
];

/// What goes with a key, in the place of what its mapping needs otherwise.
const WITH: [(&str, &str); 3] = [
    (
        "services.*.volumes.[].bind",
        r#"{"type": "bind", "source": "/x", "target": "/x"}"#,
    ),
    (
        "services.*.volumes.[].tmpfs",
        r#"{"type": "tmpfs", "target": "/x"}"#,
    ),
    ("secrets.*.driver", "{}"),
];

/// What a mapping needs beside the key that is tried.
const BESIDE: [(&str, &str); 9] = [
    ("services.*", r#"{"image": "a:1"}"#),
    ("services.*.ports.[]", r#"{"target": 80}"#),
    (
        "services.*.volumes.[]",
        r#"{"type": "volume", "target": "/x"}"#,
    ),
    ("services.*.secrets.[]", r#"{"source": "s"}"#),
    ("services.*.configs.[]", r#"{"source": "c"}"#),
    ("services.*.ulimits.*", r#"{"soft": 1, "hard": 1}"#),
    ("secrets.*", r#"{"file": "./secret.txt"}"#),
    ("configs.*", r#"{"file": "./conf.txt"}"#),
    (
        "services.*.deploy.placement.preferences.[]",
        r#"{"spread": "node.labels.x"}"#,
    ),
];

/// Keys of which no value of any kind is right, or none is wrong, with the reason.
const ONE_SIDED: [(&str, &str); 0] = [];

/// Returns the schema that lies in the client's program.
fn schema(client: &Client) -> Value {
    let program = harness::host_file::bytes(&client.program).unwrap();
    let at = |from: usize, words: &str| {
        program[from..]
            .windows(words.len())
            .position(|window| window == words.as_bytes())
            .map(|at| from + at)
    };
    let id = at(0, SCHEMA).expect("the client has its schema in its program");
    let start = program[..id]
        .iter()
        .rposition(|byte| *byte == b'{')
        .unwrap();
    let mut values = serde_json::Deserializer::from_slice(&program[start..]).into_iter();
    values.next().unwrap().unwrap()
}

/// Returns the paths of all keys of a schema, `*` for a name that is free and `[]` for an item of a list.
fn paths(schema: &Value) -> Vec<String> {
    fn walk(top: &Value, node: &Value, path: &str, found: &mut Vec<String>) {
        let mut node = node;
        while let Some(name) = node["$ref"].as_str() {
            node = top.pointer(name.trim_start_matches('#')).unwrap();
        }
        if !path.is_empty() && !found.iter().any(|known| known == path) {
            found.push(path.to_owned());
        }
        let below = |key: &str| match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        for branch in ["oneOf", "anyOf", "allOf"] {
            for node in node[branch].as_array().into_iter().flatten() {
                walk(top, node, path, found);
            }
        }
        for (key, node) in node["properties"].as_object().into_iter().flatten() {
            walk(top, node, &below(key), found);
        }
        let patterns = node["patternProperties"].as_object();
        for (_, node) in patterns
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "^x-")
        {
            walk(top, node, &below("*"), found);
        }
        for (key, name) in [("additionalProperties", "*"), ("items", "[]")] {
            if node[key].is_object() {
                walk(top, &node[key], &below(name), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(schema, schema, "", &mut found);
    found
}

/// Returns `value` at `path` below what it needs; `name` stands for the name that is free at the top.
fn placed(path: &str, name: &str, value: Value) -> Value {
    let keys: Vec<&str> = path.split('.').collect();
    let mut value = value;
    for (depth, key) in keys.iter().enumerate().rev() {
        value = match *key {
            "[]" => json!([value]),
            key => {
                let (above, whole) = (keys[..depth].join("."), keys[..=depth].join("."));
                let with = WITH.iter().find(|(path, _)| *path == whole);
                let beside = with.or_else(|| BESIDE.iter().find(|(path, _)| *path == above));
                let beside = beside.map_or("{}", |(_, text)| *text);
                let mut map: Map<String, Value> = serde_json::from_str(beside).unwrap();
                let key = match (key, depth) {
                    ("*", 1) => name,
                    ("*", _) => "one",
                    (key, _) => key,
                };
                map.insert(key.to_owned(), value);
                Value::Object(map)
            }
        };
    }
    value
}

/// Returns a file with everything that a value may name, and this.
fn file(tried: &Value) -> String {
    let mut file = json!({
        "version": VERSION,
        "services": {"app": {"image": "a:1"}},
        "networks": {"a": null, "one": null, "7": null, "true": null},
        "volumes": {"a": null},
        "secrets": {"s": {"file": "./secret.txt"}, "a": {"file": "./secret.txt"}},
        "configs": {"c": {"file": "./conf.txt"}, "a": {"file": "./conf.txt"}},
    });
    for (section, value) in tried.as_object().unwrap() {
        match (&mut file[section], value) {
            (Value::Object(all), Value::Object(more)) => all.extend(more.clone()),
            (slot, value) => *slot = value.clone(),
        }
    }
    file.to_string()
}

/// A value of a key, and what becomes of it.
struct Tried {
    path: String,
    value: Value,
}

impl Tried {
    fn case(&self) -> Case {
        let tried = placed(&self.path, "tried", self.value.clone());
        Case {
            name: format!("{}: {}", self.path, self.value),
            refused: None,
            files: vec![("compose.yml".to_owned(), file(&tried))],
        }
    }

    /// Returns whether it can stand beside others in one file.
    fn is_below_a_name(&self) -> bool {
        self.path.split('.').count() > 2
    }
}

fn all(client: &Client) -> Vec<Tried> {
    let mut all = Vec::new();
    for path in paths(&schema(client)) {
        let ends = |end: &str| path == end || path.ends_with(&format!(".{end}"));
        let forms = FORMS.iter().filter(|(end, _)| ends(end));
        let forms = forms.map(|(_, value)| Value::from(*value));
        let objects = OBJECTS.iter().filter(|(whole, _)| path == *whole);
        let objects = objects.map(|(_, text)| serde_json::from_str(text).unwrap());
        for value in values().into_iter().chain(forms).chain(objects) {
            let path = path.clone();
            all.push(Tried { path, value });
        }
    }
    all
}

#[test]
fn every_key_is_taken_with_the_values_that_docker_takes_and_refused_with_the_others() {
    let Some(newest) = &newest() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path().join("ours"));
    let files = ["compose.yml".to_owned()];
    let mut right: BTreeMap<String, Vec<Tried>> = BTreeMap::new();
    let mut wrong: BTreeMap<String, Vec<Tried>> = BTreeMap::new();
    let mut root = None;
    for tried in all(newest) {
        let case = tried.case();
        let root = &*root.get_or_insert_with(|| bench.recipe(&case));
        std::fs::write(root.join("compose.yml"), &case.files[0].1).unwrap();
        let taken = read(root, &files, newest).is_ok();
        let side = if taken { &mut right } else { &mut wrong };
        side.entry(tried.path.clone()).or_default().push(tried);
    }
    let one_sided: Vec<&String> = right
        .keys()
        .filter(|path| !wrong.contains_key(*path))
        .chain(wrong.keys().filter(|path| !right.contains_key(*path)))
        .filter(|path| !ONE_SIDED.iter().any(|(known, _)| known == path))
        .collect();
    assert!(
        one_sided.is_empty(),
        "no right or no wrong value: {one_sided:#?}"
    );

    // What we take goes into one file: Docker has to take all of it, and to make the same of it.
    let mut whole = json!({});
    let mut alone = Vec::new();
    for (number, tried) in right.values().flatten().enumerate() {
        if !tried.is_below_a_name() {
            alone.push(tried.case());
            continue;
        }
        let placed = placed(&tried.path, &format!("tried-{number}"), tried.value.clone());
        for (section, value) in placed.as_object().unwrap() {
            let Value::Object(more) = value else {
                unreachable!("{placed}")
            };
            let slot = whole
                .as_object_mut()
                .unwrap()
                .entry(section)
                .or_insert(json!({}));
            slot.as_object_mut().unwrap().extend(more.clone());
        }
    }
    alone.push(Case {
        name: "every right value".to_owned(),
        refused: Some(false),
        files: vec![("compose.yml".to_owned(), file(&whole))],
    });
    for values in wrong.values() {
        alone.extend(values.iter().take(REFUSED).map(Tried::case));
    }
    judge_all(newest, &alone);
}
