//! The NixOS modules, evaluated by Nix, and the units that come of them.
//!
//! There is no nixpkgs here: `tests/nix/lib.nix` has its rules as far as the modules use them, and
//! `tests/nix/eval.nix` writes units as NixOS does. The store is a directory of the test's.

use std::path::Path;

use harness::run::settings::TEARDOWN_BUDGET;
use serde_json::Value;

use crate::support::{command, repository};

const ALL: &str = r#"{
  services.recipe-ci = {
    enable = true;
    zone = "ci.example.org";
    home = "/home/op";
    settings.CCCI_FORGE_URL = "https://git.example.org";
    janitor.enable = true;
    droneRunner = {
      enable = true;
      server = "drone.example.org";
      environmentFile = "/run/secrets/drone-runner";
      capacity = 7;
    };
  };
}"#;

/// A store, gone at the end.
struct Nix(tempfile::TempDir);

impl Nix {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Evaluates one attribute of `tests/nix/eval.nix` for a host with `settings`, or returns the error.
    fn eval(&self, attribute: &str, settings: &str) -> Result<Value, String> {
        let at = |name: &str| self.0.path().join(name);
        let done = command("nix-instantiate")
            .args(["--eval", "--strict", "--json", "--read-write-mode"])
            .arg(repository().join("tests/nix/eval.nix"))
            .args(["-A", attribute, "--arg", "settings", settings])
            .env("NIX_STORE_DIR", at("store"))
            .env("NIX_STATE_DIR", at("state"))
            .env("NIX_LOG_DIR", at("log"))
            .env("NIX_CONF_DIR", at("conf"))
            .env("HOME", at("home"))
            .env_remove("NIX_PATH")
            .env_remove("NIX_REMOTE")
            .output()
            .expect("nix-instantiate is missing: apt-get install nix-bin (tests/run does)");
        if done.status.success() {
            Ok(serde_json::from_slice(&done.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }

    #[track_caller]
    fn host(&self, settings: &str) -> Value {
        self.eval("host", settings)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Returns the values of a key in a unit's text.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

/// Returns a variable of a unit.
#[track_caller]
fn variable<'a>(unit: &'a str, name: &str) -> &'a str {
    let assignments = values(unit, "Environment").into_iter();
    let mut found = assignments.filter_map(|text| {
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        text.strip_prefix(name)?.strip_prefix('=')
    });
    let value = found
        .next()
        .unwrap_or_else(|| panic!("no {name} in\n{unit}"));
    assert_eq!(found.next(), None, "{name} twice in\n{unit}");
    value
}

#[track_caller]
fn unit<'a>(host: &'a Value, name: &str) -> &'a str {
    host["units"][name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {:#}", host["units"]))
}

fn names(host: &Value) -> Vec<&str> {
    host["units"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn every_unit_has_the_same_tools_home_and_places() {
    let nix = Nix::new();
    let host = nix.host(ALL);
    assert_eq!(
        names(&host),
        [
            "drone-runner-exec.service",
            "recipe-ci-host.service",
            "recipe-ci-janitor.service",
            "recipe-ci-janitor.timer",
        ]
    );
    let tools: Vec<String> = host["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| format!("{}/bin", tool.as_str().unwrap()))
        .collect();
    // The ones that the predecessor had on one path and not on another, and the ones that a run needs.
    for tool in [
        "git-lfs",
        "openssl",
        "util-linux",
        "docker",
        "recipe-ci",
        "pytest",
    ] {
        assert!(
            tools
                .iter()
                .any(|dir| dir.ends_with(&format!("-{tool}/bin"))),
            "no {tool} in {tools:?}"
        );
    }
    for name in names(&host)
        .into_iter()
        .filter(|name| name.ends_with(".service"))
    {
        let unit = unit(&host, name);
        let path = variable(unit, "PATH");
        assert!(
            path.starts_with(&format!("{}:", tools.join(":"))),
            "{name}: {path}"
        );
        assert_eq!(
            path.split(':').filter(|dir| dir.ends_with("/bin")).count(),
            tools.len(),
            "{name}: {path}"
        );
        assert_eq!(variable(unit, "HOME"), "/home/op", "{name}");
        if name.starts_with("recipe-ci") {
            for (variable_name, value) in [
                ("CCCI_ZONE", "ci.example.org"),
                ("CCCI_APP_LOCK_DIR", "/run/lock"),
                ("CCCI_RUNS_DIR", "/var/lib/cc-ci-runs"),
                ("CCCI_STATE_DIR", "/var/lib/recipe-ci"),
                ("CCCI_WARM_DIR", "/var/lib/ci-warm"),
                ("ABRA_DIR", "/home/op/.abra"),
                ("CCCI_FORGE_URL", "https://git.example.org"),
            ] {
                assert_eq!(variable(unit, variable_name), value, "{name}");
            }
        }
    }
    // A shell sees the same locks; abra of the user who is logged in has its own directory.
    assert_eq!(host["variables"]["CCCI_ZONE"], "ci.example.org");
    assert_eq!(host["variables"]["CCCI_APP_LOCK_DIR"], "/run/lock");
    assert_eq!(host["variables"]["ABRA_DIR"], Value::Null);
    let tmpfiles: Vec<&str> = host["tmpfiles"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for dir in ["/run/lock", "/var/lib/cc-ci-runs", "/var/lib/recipe-ci"] {
        assert!(
            tmpfiles.contains(&&*format!("d {dir} 0755 root root -")),
            "{dir}: {tmpfiles:?}"
        );
    }
    assert!(
        tmpfiles.contains(&"d /var/lib/ci-warm 0700 root root -"),
        "{tmpfiles:?}"
    );
    // One option moves the directory for everybody.
    let moved = nix.host(&ALL.replace(
        "zone = \"ci.example.org\";",
        "zone = \"ci.example.org\"; warmDir = \"/srv/warm\";",
    ));
    for name in ["recipe-ci-host.service", "recipe-ci-janitor.service"] {
        assert_eq!(variable(unit(&moved, name), "CCCI_WARM_DIR"), "/srv/warm");
    }
    assert!(
        moved["tmpfiles"]
            .as_array()
            .unwrap()
            .contains(&"d /srv/warm 0700 root root -".into())
    );
}

#[test]
fn the_engine_can_be_a_swarm() {
    let nix = Nix::new();
    let host = nix.host(ALL);
    assert_eq!(host["docker"]["enable"], true);
    // The engine refuses a swarm with it, and NixOS turns it on.
    assert_eq!(host["docker"]["liveRestore"], false);
    assert_eq!(host["modules"][0], "ip_vs");
    assert_eq!(host["etc"]["timezone"], "UTC\n");
    let prepare = unit(&host, "recipe-ci-host.service");
    let exe = values(prepare, "ExecStart")[0];
    assert!(
        exe.ends_with("-recipe-ci/bin/recipe-ci doctor --fix"),
        "{exe}"
    );
    assert_eq!(values(prepare, "Requires"), ["docker.service"]);
    assert_eq!(values(prepare, "WantedBy"), ["multi-user.target"]);
    let off = ALL.replace(
        "enable = true;\n    zone",
        "enable = true;\n    prepare = false;\n    zone",
    );
    let host = nix.host(&off);
    assert!(!names(&host).contains(&"recipe-ci-host.service"));
    assert_eq!(
        values(unit(&host, "drone-runner-exec.service"), "After"),
        ["network-online.target docker.service"]
    );
    // Pruning everything every day is how a host comes to a registry's limit.
    assert_eq!(host["warnings"].as_array().unwrap().len(), 0);
    let prune = ALL.replacen(
        '{',
        "{ virtualisation.docker.autoPrune = { enable = true; flags = [ \"--all\" ]; };",
        1,
    );
    assert!(
        nix.host(&prune)["warnings"][0]
            .as_str()
            .unwrap()
            .contains("autoPrune")
    );
}

#[test]
fn drones_capacity_is_the_one_knob_and_a_stop_waits_for_teardown() {
    let nix = Nix::new();
    let host = nix.host(ALL);
    let runner = unit(&host, "drone-runner-exec.service");
    assert_eq!(variable(runner, "DRONE_RUNNER_CAPACITY"), "7");
    let default = nix.host(&ALL.replace("capacity = 7;", ""));
    assert_eq!(
        variable(
            unit(&default, "drone-runner-exec.service"),
            "DRONE_RUNNER_CAPACITY"
        ),
        "2"
    );
    for other in [
        "DRONE_RUNNER_MAX_PROCS",
        "TasksMax",
        "CPUQuota",
        "MemoryMax",
    ] {
        assert!(!runner.contains(other), "{other} caps, too:\n{runner}");
    }
    assert!(
        values(runner, "ExecStart")[0].ends_with("/bin/drone-runner-exec"),
        "{runner}"
    );
    assert_eq!(
        values(runner, "EnvironmentFile"),
        ["/run/secrets/drone-runner"]
    );
    assert_eq!(variable(runner, "DRONE_RPC_HOST"), "drone.example.org");
    assert_eq!(variable(runner, "DRONE_RPC_PROTO"), "https");
    assert!(!runner.contains("DRONE_RPC_SECRET"), "{runner}");

    // `mixed` kills teardown at once, `process` leaves it behind to an engine that stops next.
    assert_eq!(values(runner, "KillMode"), ["control-group"]);
    let limit: u64 = values(runner, "TimeoutStopSec")[0].parse().unwrap();
    let supervisor = 30;
    assert!(limit > TEARDOWN_BUDGET.as_secs() + supervisor, "{limit} s");
    assert_eq!(values(runner, "OOMPolicy"), ["continue"]);
    assert!(
        values(runner, "After")[0].contains("docker.service"),
        "{runner}"
    );
    assert_eq!(host["restart"]["drone-runner-exec"], false);

    // Steps get nothing of the runner's environment but what is in this file.
    let steps = harness::host_file::text(variable(runner, "DRONE_RUNNER_ENVFILE")).unwrap();
    assert_eq!(
        steps,
        "ABRA_DIR='/home/op/.abra'\nCCCI_APP_LOCK_DIR='/run/lock'\nCCCI_FORGE_URL='https://git.example.org'\n\
         CCCI_RUNS_DIR='/var/lib/cc-ci-runs'\nCCCI_STATE_DIR='/var/lib/recipe-ci'\n\
         CCCI_WARM_DIR='/var/lib/ci-warm'\nCCCI_ZONE='ci.example.org'\n"
    );
}

#[test]
fn the_janitor_sweeps_after_a_boot_and_then_again_and_again() {
    let nix = Nix::new();
    let host = nix.host(ALL);
    let service = unit(&host, "recipe-ci-janitor.service");
    assert!(
        values(service, "ExecStart")[0].ends_with("-recipe-ci/bin/recipe-ci janitor"),
        "{service}"
    );
    assert_eq!(values(service, "Type"), ["oneshot"]);
    let timer = unit(&host, "recipe-ci-janitor.timer");
    assert_eq!(values(timer, "OnBootSec"), ["1min"]);
    assert_eq!(values(timer, "OnUnitActiveSec"), ["10min"]);
    assert_eq!(values(timer, "WantedBy"), ["timers.target"]);
    let often = ALL.replace(
        "janitor.enable = true;",
        "janitor = { enable = true; every = \"90s\"; };",
    );
    assert_eq!(
        values(
            unit(&nix.host(&often), "recipe-ci-janitor.timer"),
            "OnUnitActiveSec"
        ),
        ["90s"]
    );
}

#[test]
fn what_is_not_enabled_is_not_there() {
    let nix = Nix::new();
    let off = nix.host("{ }");
    assert_eq!(names(&off), [""; 0]);
    assert_eq!(off["tools"].as_array().unwrap().len(), 0);
    assert_eq!(off["docker"]["enable"], false);
    // The parts need the whole.
    let parts = ALL.replace("enable = true;\n    zone", "enable = false;\n    zone");
    assert_eq!(names(&nix.host(&parts)), [""; 0]);
    let host = nix.host(&ALL.replace("janitor.enable = true;", ""));
    assert_eq!(
        names(&host),
        ["drone-runner-exec.service", "recipe-ci-host.service"]
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_name() {
    let nix = Nix::new();
    for (from, to, words) in [
        (
            "capacity = 7;",
            "capacity = \"7\";",
            ["droneRunner.capacity'", "positive integer"],
        ),
        (
            "capacity = 7;",
            "capacity = 0;",
            ["droneRunner.capacity'", "positive integer"],
        ),
        (
            "capacity = 7;",
            "capcity = 7;",
            ["droneRunner.capcity'", "does not exist"],
        ),
        (
            "\"/home/op\"",
            "\"~op\"",
            ["recipe-ci.home'", "absolute path"],
        ),
        (
            "janitor.enable = true;",
            "janitor.enable = true; janitor.every = \"often\";",
            ["janitor.every'", "matching"],
        ),
        (
            "server = \"drone.example.org\";",
            "",
            ["droneRunner.server'", "not defined"],
        ),
        (
            "\"https://git.example.org\"",
            "\"it's\"",
            ["a quote", "handed to Drone"],
        ),
        (
            "\"/run/secrets/drone-runner\"",
            "builtins.toFile \"secret\" \"x\"",
            ["in the store", "environmentFile"],
        ),
        (
            "zone = \"ci.example.org\";",
            "tools = [ ];",
            ["recipe-ci.tools'", "read-only"],
        ),
    ] {
        let settings = ALL.replace(from, to);
        assert_ne!(settings, ALL, "{from}");
        let error = nix.eval("host", &settings).expect_err(to);
        for word in words {
            assert!(
                error.contains(word),
                "no `{word}` in the error of `{to}`:\n{error}"
            );
        }
    }
}

/// Keys that systemd does not know are ignored there, in silence.
#[test]
fn systemd_knows_every_key_of_the_units() {
    let nix = Nix::new();
    let host = nix.host(ALL);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("docker.service"),
        "[Service]\nExecStart=/bin/true\n",
    )
    .unwrap();
    let verify = |change: &dyn Fn(&str) -> String| -> String {
        let mut analyze = command("systemd-analyze");
        analyze
            .args(["verify", "--man=no"])
            .env("LC_ALL", "C.UTF-8");
        for name in names(&host) {
            // The programs are in a store that is not here.
            let text: Vec<String> = unit(&host, name)
                .lines()
                .map(|line| match line.strip_prefix("ExecStart=") {
                    Some(_) => "ExecStart=/bin/true".to_owned(),
                    None => line.to_owned(),
                })
                .collect();
            let path = dir.path().join(name);
            std::fs::write(&path, change(&(text.join("\n") + "\n"))).unwrap();
            analyze.arg(path);
        }
        let done = analyze
            .output()
            .expect("systemd-analyze is missing: apt-get install systemd (tests/run does)");
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    assert_eq!(verify(&str::to_owned), "");
    let said = verify(&|text| text.replace("OOMPolicy=", "OOMPolicies="));
    assert!(said.contains("Unknown key"), "{said}");
}

#[test]
fn the_package_is_built_from_what_there_is() {
    let nix = Nix::new();
    let package = nix.eval("package", "{ }").unwrap();
    assert_eq!(package["pname"], "recipe-ci");
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    // They need a Swarm; cargo runs them elsewhere.
    assert_eq!(package["doCheck"], false);
    let files: Vec<&str> = package["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for file in files.iter().chain([&package["lock"].as_str().unwrap()]) {
        assert!(Path::new(file).exists(), "{file} does not exist");
    }
    // Whatever the crates' sources include, by macro or by build script, is in the package's source.
    for (source, included) in [
        ("runner/src/exit.rs", "docs"),
        ("harness/build.rs", "tests"),
    ] {
        let text = harness::host_file::text(repository().join(source)).unwrap();
        assert!(text.contains(&format!("../{included}/")), "{source}");
        assert!(
            files
                .iter()
                .any(|file| file.ends_with(&format!("/{included}"))),
            "{included} is not in {files:?}"
        );
    }
}

#[test]
fn the_flake_has_package_shell_and_modules() {
    let nix = Nix::new();
    let flake = nix.eval("flake", "{ }").unwrap();
    for system in ["x86_64-linux", "aarch64-linux"] {
        assert_eq!(flake["packages"][system]["default"], "recipe-ci");
    }
    let modules: Vec<&str> = flake["modules"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for name in ["harness", "drone-runner", "janitor"] {
        let file = repository().join(format!("nix/modules/{name}.nix"));
        // As a module of its own, and in the default one.
        assert_eq!(
            modules
                .iter()
                .filter(|module| Path::new(module) == file)
                .count(),
            2,
            "{modules:?}"
        );
    }
    assert!(
        flake["shell"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tool| tool == "rustup"),
        "{}",
        flake["shell"]
    );
    assert_eq!(flake["checks"], serde_json::json!(["host", "package"]));
}

/// The example of docs/operating.md, as a host's flake: its options exist and have the right types.
#[test]
fn the_example_of_the_documentation_is_a_host() {
    let nix = Nix::new();
    let page = harness::host_file::text(repository().join("docs/operating.md")).unwrap();
    let examples: Vec<&str> = page
        .split("```nix\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [example] = examples[..] else {
        panic!("{} examples", examples.len());
    };
    let file = nix.0.path().join("flake.nix");
    std::fs::write(&file, example).unwrap();
    let settings = format!(
        "let host = (import {}).outputs {{ nixpkgs.lib.nixosSystem = host: host; recipe-ci.nixosModules.default = null; }}; \
         in builtins.elemAt host.nixosConfigurations.ci-host.modules 2",
        file.display()
    );
    let host = nix.host(&settings);
    assert_eq!(names(&host).len(), 4, "{:#}", host["units"]);
    assert_eq!(
        variable(
            unit(&host, "drone-runner-exec.service"),
            "DRONE_RUNNER_CAPACITY"
        ),
        "2"
    );
}
