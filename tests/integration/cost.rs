//! What a hostile proposal costs this host before it is refused: processor time, not time by the clock, which a busy
//! machine stretches.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::{TestEnv, git};

/// The most seconds of a core, of the program and all of its children, in a build without optimization.
const MOST: f64 = 1.0;

/// Commits these files as a recipe of its own.
fn recipe(env: &TestEnv, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = env.root.join("recipes").join(name);
    for (file, text) in files {
        env.write(&format!("recipes/{name}/{file}"), text);
    }
    git(&path, &["init", "-q", "-b", "main"]);
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-qm", "first"]);
    path
}

/// Runs a stranger's recipe, which is refused; returns what it cost in seconds, and what was said.
fn cost(env: &TestEnv, recipe: &Path) -> (f64, String) {
    let times = env.root.join("times");
    // The second line is of the children that were waited for: the program, and what it waited for.
    let script = format!("\"$@\"; code=$?; times >'{}'; exit $code", times.display());
    let mut command = env.program("sh");
    let path = recipe.to_str().unwrap();
    let program = crate::support::binary();
    command.args(["-c", &script, "sh", program, "run", "--src", path]);
    let done = env.follow(command).finish();
    done.expect(2);
    std::fs::remove_dir_all(env.root.join("runs")).unwrap();
    let text = harness::host_file::text(&times).unwrap();
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let children = text.lines().nth(1).unwrap();
    (children.split_whitespace().map(seconds).sum(), done.stderr)
}

fn app(lines: &str) -> String {
    format!("version: '3.8'\nservices:\n  app:\n    image: nginx:1.27\n{lines}\n")
}

/// `count` times what `each` makes of the number.
fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

#[test]
fn a_refusal_costs_less_than_a_second_of_a_core_whatever_the_proposal() {
    let env = TestEnv::new("unix:///nowhere/docker.sock");
    let sample = "TYPE=x\nDOMAIN=x\n";
    let bomb = many(40, |n| match n {
        0 => "x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        n => format!("x-{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(10)),
    });
    let variables = format!(
        "{sample}A0={}\n{}",
        "x".repeat(100),
        many(40, |n| format!(
            "A{}=\"{}\"\n",
            n + 1,
            format!("${{A{n}}}").repeat(10)
        ))
    );
    let long = format!("{sample}V={}\n", "x".repeat(60_000));
    let texts = app(&format!("    labels: {{l: '{}'}}", "$V".repeat(15_000)));
    let rule = format!("Host(`x`) {}", "|| (Host(`a`) ".repeat(30_000));
    let refused = "    privileged: true\n";
    // Twice: so many that the file is refused for it, and so many that it is just not.
    let volumes = |count| {
        let all = many(count, |n| format!("  v{n}: {{name: victim{n}}}\n"));
        format!("{}volumes:\n{all}", app(""))
    };
    let services = |count| {
        let all = many(count, |n| {
            format!("  s{n}: {{image: 'a:{n}', privileged: true}}\n")
        });
        format!("services:\n{all}")
    };
    let labels = many(4_900, |n| {
        format!("      traefik.http.routers.r{n}.rule: Host(`v{n}`)\n")
    });
    let mounts = many(9_900, |n| format!("      - /etc/{n}:/mnt/{n}\n"));
    let ports = many(9_900, |n| format!("      - \"{}:80\"\n", n + 1));
    let secrets = many(9_000, |n| {
        format!("SECRET_S{n}_VERSION=v1 # generate=false\n")
    });
    let exports = many(9_000, |n| {
        format!("export V{n}=$V{}\n", n.saturating_sub(1))
    });
    let templates = many(4_900, |n| {
        format!("      V{n}: '{{{{ printf \"%{n}d\" 1 }}}}'\n")
    });
    let files = format!("{sample}COMPOSE_FILE={}\n", "compose.yml:".repeat(5_000));
    let big = "x".repeat(4 << 20);
    let one = |compose: String| vec![("compose.yml", compose)];
    let with = |compose: &str, name, text| vec![("compose.yml", app(compose)), (name, text)];
    let cases: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("an alias bomb", one(format!("{bomb}{}", app("")))),
        (
            "deep brackets",
            one(format!("x: {}", "[".repeat(1_000_000))),
        ),
        (
            "deep lines",
            one(many(1400, |n| format!("{}a:\n", " ".repeat(n)))),
        ),
        ("variables without end", with("", ".env.sample", variables)),
        (
            "text without end",
            vec![("compose.yml", texts), (".env.sample", long)],
        ),
        ("20,000 volumes", one(volumes(20_000))),
        ("2,400 volumes", one(volumes(2_400))),
        (
            "2,400 volumes in many files",
            vec![
                ("compose.yml", volumes(600)),
                (
                    ".env.sample",
                    format!(
                        "{sample}COMPOSE_FILE={}compose.yml\n",
                        "compose.yml:".repeat(48)
                    ),
                ),
            ],
        ),
        ("10,000 services", one(services(10_000))),
        ("1,600 services", one(services(1_600))),
        (
            "many labels",
            one(app(&format!("    deploy:\n     labels:\n{labels}"))),
        ),
        (
            "a rule without end",
            one(app(&format!(
                "    labels: {{traefik.http.routers.x.rule: '{rule}'}}"
            ))),
        ),
        ("many mounts", one(app(&format!("    volumes:\n{mounts}")))),
        (
            "many ports",
            one(app(&format!("{refused}    ports:\n{ports}"))),
        ),
        (
            "a wide range of ports",
            one(app(&format!("{refused}    ports: ['1-65535:1-65535']"))),
        ),
        (
            "many templates",
            one(app(&format!("    environment:\n{templates}"))),
        ),
        (
            "many secrets",
            with(refused, ".env.sample", format!("{sample}{secrets}")),
        ),
        ("many variables", with(refused, "abra.sh", exports)),
        ("many files", with("", ".env.sample", files)),
        ("a large file", with("", "abra.sh", big.clone())),
        (
            "a large config",
            with("configs: {c: {file: big}}", "big", big),
        ),
        (
            "a long image",
            one(app("").replace("nginx:1.27", &"a/".repeat(200_000))),
        ),
        (
            "control characters",
            one(app(&format!("    \"{}\": 1", "\\x1b".repeat(100_000)))),
        ),
    ];
    let mut spent: Vec<String> = Vec::new();
    let mut slow = Vec::new();
    for (index, (what, files)) in cases.into_iter().enumerate() {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let path = recipe(&env, &format!("evil{index}"), &files);
        // As an upgrade: what is published, the head, and the head with the variables of what is published.
        git(&path, &["tag", "-a", "-m", "x", "0.1.0+1"]);
        git(&path, &["commit", "-q", "--allow-empty", "-m", "second"]);
        let (seconds, said) = cost(&env, &path);
        let verdict = said.lines().find(|line| line.contains("verdict"));
        spent.push(format!(
            "{seconds:5.2} s {what}:{}",
            verdict.unwrap_or_default()
        ));
        if seconds >= MOST {
            slow.push(format!("{what} costs {seconds} s of a core"));
        }
    }
    let path = recipe(&env, "endless", &[("compose.yml", &app(""))]);
    symlink("/dev/zero", path.join("abra.sh")).unwrap();
    git(&path, &["add", "-A"]);
    git(&path, &["commit", "-qm", "second"]);
    let (seconds, _) = cost(&env, &path);
    assert!(seconds < MOST, "{seconds}");
    let (slow_ones, all) = (slow.join("\n"), spent.join("\n"));
    assert!(slow.is_empty(), "{slow_ones}\nof\n{all}");
    env.assert_quiet();
}
