//! The projects that are deployed twice, read from the text files beside this one.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};

const SERVICE: &str = include_str!("service.txt");
const MERGED: &str = include_str!("merged.txt");
const WHOLE: &str = include_str!("whole.txt");

/// What services may refer to.
const OBJECTS: &str = "\
networks: {one: , two: {name: net-two}, ext_net: {external: true}, hostnet: {external: true, name: host}}
volumes: {data: , named: {name: my-data}, ext_vol: {external: true}}
";

/// And in files that know them.
const SECRETS: &str = "\
secrets: {s: {file: ./secret.txt}, t: {file: secret.txt, name: t_v1}, ext_secret: {external: true}}
configs: {c: {file: conf.txt}, templated: {file: conf.txt, template_driver: golang}, ext_config: {external: true}}
";

/// What files that come later say of them, by section.
const AGAIN: [&[&str]; 4] = [
    &[
        "volumes: {data: {name: other}}",
        "volumes: {data: {labels: [a=b]}, named: }",
        "volumes: {ext_vol: {driver: x, driver_opts: {a: 1}}}",
        "volumes: {data: {external: true}}",
    ],
    &[
        "networks: {one: {name: n1, attachable: true}}",
        "networks: {one: {}, two: {internal: true, driver_opts: {a: b}}}",
        "networks: {default: {labels: {x: 1}}}",
        "networks: {one: {external: {name: proxy}}, ext_net: }",
    ],
    &[
        "secrets: {s: {file: conf.txt}}",
        "secrets: {s: {external: true, name: ext_secret}, t: {file: secret.txt}}",
        "secrets: {s: {driver: vault, labels: [a]}}",
    ],
    &[
        "configs: {c: {file: secret.txt, labels: {x: 1}}}",
        "configs: {templated: {external: true, name: ext_config}}",
    ],
];

/// The version of a file that says nothing of it.
const USUAL: &str = "3.8";

/// The files that projects name.
pub(super) const FILES: [(&str, &[u8]); 14] = [
    ("end.env", b"A=1\nB=2\r"),
    ("long.env", &[b'x'; 65_536]),
    ("secret.txt", b"se\ncret\n"),
    ("conf.txt", b"{{ env \"X\" }} $HOME ${TAG} $$\n"),
    ("empty.txt", b""),
    ("dollar$.txt", b"$"),
    ("one.env", b"# comment\n\n  A=one\nFROM_ONE=1\nQUOTED=\"x y\" # kept\nNAMED_ONLY\nDOMAIN\nHOME\nEMPTY_ONE=\nTAG=\nD=$A ${TAG}\n"),
    ("two.env", b"A=two\nNAMED_ONLY\nDOMAIN=two\nTRAILING=x  \nexport=1\nB=a=b\n\tTAB=\tx\n"),
    ("bom.env", b"\xef\xbb\xbfA=bom\nB=2\n"),
    ("crlf.env", b"A=1\r\nB=\r\nC\r\n"),
    ("space.env", b"A B=1\n"),
    ("noname.env", b"=1\n"),
    ("binary.env", b"A=\xff\xfe\n"),
    ("sub/three.env", b"A=three\nFROM_THREE=$$3\n"),
];

/// A project.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    /// Whether Docker refuses it, as far as the case says.
    pub(super) refused: Option<bool>,
    /// The compose files and their text, in the order in which they are merged.
    pub(super) files: Vec<(String, String)>,
}

/// A case as it is written: its name, what is behind `|` in the name's line, and its text.
struct Written<'a> {
    name: &'a str,
    refused: bool,
    version: &'a str,
    text: String,
}

fn written(text: &str) -> impl Iterator<Item = Written<'_>> {
    text.split("\n=== ").skip(1).map(|case| {
        let (head, text) = case.split_once('\n').unwrap_or((case, ""));
        let (name, version) = head.split_once(" | ").unwrap_or((head, USUAL));
        Written {
            name: name.trim_start_matches("! "),
            refused: name.starts_with("! "),
            version,
            text: format!("{text}\n"),
        }
    })
}

/// Returns a file with one service that has these keys, beside the one that others name.
fn around(version: &str, service: &str, image: bool) -> String {
    let mut text = format!("version: \"{version}\"\nservices:\n  app:\n");
    if image && !service.contains("\nimage:") && !service.starts_with("image:") {
        text += "    image: a:1\n";
    }
    for line in service.lines() {
        text += &format!("    {line}\n");
    }
    text
}

/// Returns the projects that are written by hand.
pub(super) fn by_hand() -> Vec<Case> {
    let service = written(SERVICE).map(|case| Case {
        name: format!("service: {}", case.name),
        refused: Some(case.refused),
        files: vec![(
            "compose.yml".to_owned(),
            around(case.version, &case.text, true) + OBJECTS + SECRETS,
        )],
    });
    let merged = written(MERGED).map(|case| {
        let (base, over) = case.text.split_once("--- over\n").expect("two files");
        // A service without any key would be nothing.
        let over = around(case.version, &format!("{over}x-over: 1\n"), false);
        Case {
            name: format!("merged: {}", case.name),
            refused: Some(case.refused),
            files: vec![
                (
                    "compose.yml".to_owned(),
                    around(case.version, base, true) + OBJECTS + SECRETS,
                ),
                ("compose.two.yml".to_owned(), over),
            ],
        }
    });
    let whole = written(WHOLE).map(|case| Case {
        name: format!("whole: {}", case.name),
        refused: Some(case.refused),
        files: case.text.split("--- ").fold(
            Vec::new(),
            |mut files: Vec<(String, String)>, part| {
                // A document's own `--- ` has no file's name behind it.
                match part.split_once('\n') {
                    Some((name, text)) if name.ends_with(".yml") => {
                        files.push((name.to_owned(), text.to_owned()));
                    }
                    _ => {
                        if let Some((_, text)) = files.last_mut() {
                            *text += "--- ";
                            *text += part;
                        }
                    }
                }
                files
            },
        ),
    });
    service.chain(merged).chain(whole).collect()
}

/// Returns a project of one to three files and one to three services, whose keys are picked from those that are written
/// by hand, apart from the cases in `without`; now and then one is among them that Docker refuses.
pub(super) fn by_chance(seed: u64, without: &[&str]) -> Case {
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let pieces: Vec<Written<'_>> = written(SERVICE)
        .filter(|piece| piece.version == USUAL && !piece.text.trim().is_empty())
        .filter(|piece| !without.contains(&&*format!("service: {}", piece.name)))
        .collect();
    let (refused, taken): (Vec<_>, Vec<_>) = pieces.iter().partition(|piece| piece.refused);
    let services = rng.random_range(1..=3);
    let mut files = Vec::new();
    for number in 0..rng.random_range(1..=3) {
        let mut text = format!("version: \"{USUAL}\"\nservices:\n");
        for service in 0..services {
            if number > 0 && rng.random_bool(0.3) {
                continue;
            }
            text += &format!("  s{service}:\n    x-file: {number}\n");
            let mut keys: Vec<&str> = Vec::new();
            for _ in 0..rng.random_range(0..8) {
                let from = if rng.random_bool(0.01) {
                    &refused
                } else {
                    &taken
                };
                let piece = from[rng.random_range(0..from.len())];
                let own = top_keys(&piece.text);
                if own.iter().any(|key| keys.contains(key)) {
                    continue;
                }
                keys.extend(own);
                for line in piece.text.lines() {
                    text += &format!("    {line}\n");
                }
            }
            if number == 0 && !keys.contains(&"image") {
                text += "    image: a:1\n";
            }
        }
        if text.ends_with("services:\n") {
            text += "  {}\n";
        }
        let name = if number == 0 {
            text += OBJECTS;
            text += SECRETS;
            "compose.yml".to_owned()
        } else {
            for section in AGAIN {
                if rng.random_bool(0.2) {
                    text += section[rng.random_range(0..section.len())];
                    text += "\n";
                }
            }
            format!("compose.{number}.yml")
        };
        files.push((name, text));
    }
    Case {
        name: format!("by chance: {seed}"),
        refused: None,
        files,
    }
}

/// Returns the keys of a piece of a service.
fn top_keys(text: &str) -> Vec<&str> {
    let keys = text
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    keys.filter_map(|line| line.split(':').next()).collect()
}

/// Returns the recipe's variables.
pub(super) fn variables() -> BTreeMap<String, String> {
    [
        ("STACK_NAME", "x-00aa11_ci"),
        ("DOMAIN", "x.example.org"),
        ("LETS_ENCRYPT_ENV", ""),
        ("TAG", "1.2"),
        ("DOCKER_TAG", "1.27.0"),
        ("N", "3"),
        ("ONE", "1"),
        ("RATIO", "0.25"),
        ("PORT", "8080"),
        ("MODE", "288"),
        ("YES", "yes"),
        ("NO", "off"),
        ("EMPTY", ""),
        ("ENVFILE", "one"),
        ("CONF", "conf"),
        ("PROXY", "proxy"),
        ("SECRET", "secret"),
        ("VOLUME", "data"),
        ("COMMAND", "echo 'a $b' c"),
        ("C_VERSION", "v2"),
        ("SMTP_HOST", "mail"),
        ("DOCKER_HOST", "tcp://recipe:1"),
        ("OTEL_SERVICE_NAME", "recipe"),
        ("HOME", "/recipe/home"),
        ("HTTP_PROXY", "http://recipe:3128"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
