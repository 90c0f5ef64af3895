//! A gateway in a container: it joins a network of the run and serves the app, and is where it was before when the run
//! has ended, whatever ended it. What is on the host's shared network and what is of the run never answer each other.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::kill_both;
use crate::engine::{SwarmEnv, docker, objects_of};
use crate::support::{command, copy, git, read_results};
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(120);

/// A reverse proxy that finds an app by its domain, for one connection.
const SERVE: &str = r#"host=; head=
while IFS= read -r line; do
    line=${line%"$(printf '\r')"}
    [ -n "$line" ] || break
    case $line in
        [Hh]ost:*) host=${line#*: }; host=${host%%:*} ;;
        [Cc]onnection:*) continue ;;
    esac
    head="$head$line\r\n"
done
printf '%bConnection: close\r\n\r\n' "$head" | nc "$(echo "$host" | tr . _)_app" 8080 2>/dev/null ||
    printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\nConnection: close\r\n\r\nnot found\n'"#;

/// A service on the host's shared network, with the name that others find it by there.
fn service(name: &str, alias: &str, more: &[&str]) {
    let network = format!("name=proxy,alias={alias}");
    let head = [
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--init",
        "--name",
        name,
        "--endpoint-mode",
        "dnsrr",
        "--network",
        &network,
    ];
    docker(&[&head, more].concat());
    wait_until(LONG, "the service runs", || container_of(name));
}

/// Returns the running container of a service.
fn container_of(service: &str) -> Option<String> {
    let label = format!("label=com.docker.swarm.service.name={service}");
    let found = docker(&["ps", "-q", "--no-trunc", "--filter", &label]);
    found.lines().next().map(str::to_owned)
}

/// Returns the networks that a container is in.
fn networks_of(container: &str) -> BTreeSet<String> {
    let format = "{{range $name, $leg := .NetworkSettings.Networks}}{{println $name}}{{end}}";
    let names = docker(&["inspect", "--format", format, container]);
    names.lines().map(str::to_owned).collect()
}

/// Returns the addresses in what `nslookup` printed.
fn addresses(printed: &str) -> BTreeSet<String> {
    let answer = printed.split("Name:").skip(1);
    let lines = answer.flat_map(str::lines);
    lines
        .filter_map(|line| line.strip_prefix("Address: "))
        .map(|address| address.trim().to_owned())
        .collect()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Returns a stranger's recipe with a database on a network of its own, whose app asks for `aliases` on `proxy`.
fn recipe(env: &SwarmEnv, name: &str, aliases: &[&str]) -> PathBuf {
    let recipe = env.recipe(name);
    let compose = recipe.join("compose.yml");
    env.edit(
        &compose,
        "      - proxy\n",
        &format!("      proxy: {{aliases: {aliases:?}}}\n      inner:\n"),
    );
    let db = "services:\n  db:\n    image: recipe-ci/notes:1\n    command: [sleep, '1000']\n    init: true\n    \
              networks: [inner]\n    healthcheck: {test: ['CMD', 'test', '-d', '/'], interval: 1s}\n";
    env.edit(&compose, "services:\n", db);
    env.edit(
        &compose,
        "networks:\n  proxy:\n",
        "networks:\n  inner:\n  proxy:\n",
    );
    git(&recipe, &["commit", "-q", "-a", "-m", "feat: a database"]);
    recipe
}

#[test]
fn the_gateway_serves_a_strangers_app_and_nothing_of_it_answers_to_somebody_else() {
    let mut env = SwarmEnv::new();
    let name = |what: &str| format!("{what}_{}", env.zone.replace('.', "_"));
    let (gateway, db, app) = (name("gateway"), name("victim_db"), name("victim_app"));
    let absent = name("absent");
    let port = free_port();
    let publish = format!("mode=host,published={port},target=80");
    let serve = ["nc", "-ll", "-p", "80", "-e", "sh", "-c", SERVE];
    let image = ["recipe-ci/notes:1"];
    service(
        &gateway,
        "gateway",
        &[&["--publish", &publish], &image[..], &serve].concat(),
    );
    service(&db, "db", &[&image[..], &["sleep", "1000"]].concat());
    service(&app, "app", &[&image[..], &["sleep", "1000"]].concat());
    let ids = || [&db, &app].map(|name| container_of(name).unwrap());
    let victims = ids();
    let before = networks_of(&container_of(&gateway).unwrap());

    env.set("CCCI_GATEWAY", format!("http://127.0.0.1:{port}"));
    env.set("STAGES", "install,upgrade,custom");
    // The operator updates the gateway in the middle of the run.
    let update = format!("#!/bin/sh\nexec docker service update --detach --force {gateway}\n");
    env.overlay("notes", "test_install.sh", &update);
    let root = env.root.display().to_string();
    let look = r#"#!/bin/sh
set -eu
cd ROOT
stack=$(echo "$CCCI_APP_DOMAIN" | tr . _)
of() { docker ps -q --filter label=com.docker.swarm.service.name="$1"; }
recipe-ci app http /cgi-bin/notes >served
for name in db ${stack}_db app ${stack}_app VICTIM OTHER gateway ABSENT; do
    recipe-ci app exec -- nslookup $name >"app-$name" || :
    docker exec "$(of VICTIM)" nslookup $name >"victim-$name" || :
    docker exec "$(of GATEWAY)" nslookup $name >"gateway-$name" || :
done
docker inspect "$(of GATEWAY)" >gateway-inspected
echo "$stack" >stack
"#;
    let look = look
        .replace("ROOT", &root)
        .replace("OTHER", &app)
        .replace("ABSENT", &absent)
        .replace("VICTIM", &db)
        .replace("GATEWAY", &gateway);
    env.overlay("notes", "custom/test_look.sh", &look);
    // The names of what is on the gateway's network: a service, and the gateway itself.
    let taken = [db.as_str(), "gateway"];
    // And of one that is down now.
    let recipe = recipe(&env, "notes", &[&taken[..], &[&absent]].concat());
    let compose = recipe.join("compose.yml");
    let own = harness::host_file::text(&compose).unwrap();
    // Nor are requests for another domain led to it.
    let host = "Host(`cloud.example.org`) || Host(`${DOMAIN}`";
    env.edit(&compose, "Host(`${DOMAIN}`", host);
    git(
        &recipe,
        &["commit", "-q", "-a", "-m", "feat: more visitors"],
    );
    let args = ["run", "--src", recipe.to_str().unwrap()];
    env.run(args).refused(&["P028", "cloud.example.org"]);
    assert_eq!(networks_of(&container_of(&gateway).unwrap()), before);
    std::fs::write(&compose, own).unwrap();
    git(
        &recipe,
        &["commit", "-q", "-a", "-m", "fix: no visitors of others"],
    );
    let done = env.run([&args[..], &["--run-id", "served"]].concat());
    done.expect(0);
    let results = read_results(&env.root.join("runs/served"));
    for rung in ["install", "upgrade", "custom"] {
        assert_eq!(results["rungs"][rung], "pass", "{results:#}");
    }
    let text = |file: &str| harness::host_file::text(env.root.join(file)).unwrap();
    let stack = text("stack").trim().to_owned();
    let seen = |who: &str, name: &str| addresses(&text(&format!("{who}-{name}")));
    let (own_db, own_app) = (format!("{stack}_db"), format!("{stack}_app"));
    // The app finds its own, and of the host's apps nothing.
    assert_eq!(seen("app", "db").len(), 1, "{}", text("app-db"));
    assert_eq!(seen("app", "db"), seen("app", &own_db));
    assert_eq!(seen("app", "app"), seen("app", &own_app));
    assert!(seen("app", &app).is_empty() && !seen("victim", &app).is_empty());
    // The others find theirs, and nothing of the run. Other tests have apps there, too.
    let ours = seen("gateway", &own_app);
    assert_eq!(ours.len(), 1, "{}", text(&format!("gateway-{own_app}")));
    for (name, of) in [("db", &db), ("app", &app)] {
        let format = "{{.NetworkSettings.Networks.proxy.IPAddress}}";
        let address = docker(&["inspect", "--format", format, &container_of(of).unwrap()]);
        for who in ["victim", "gateway"] {
            let found = seen(who, name);
            assert!(found.contains(&address), "{who} {name}: {found:?}");
            assert!(found.is_disjoint(&ours), "{who} {name}: {found:?}");
            assert!(found.is_disjoint(&seen("app", name)), "{who} {name}");
        }
    }
    // What the app is called on `proxy` it is called in the run alone.
    for name in taken {
        assert_eq!(
            seen("app", name).len(),
            1,
            "{}",
            text(&format!("app-{name}"))
        );
        let theirs = seen("victim", name);
        assert!(!theirs.is_empty(), "{}", text(&format!("victim-{name}")));
        assert_eq!(seen("gateway", name), theirs, "{name}");
        assert!(theirs.is_disjoint(&ours), "{name}: {theirs:?}");
        assert!(theirs.is_disjoint(&seen("app", name)), "{name}: {theirs:?}");
    }
    assert_eq!(seen("app", &absent).len(), 1, "{absent}");
    assert!(seen("victim", &absent).is_empty() && seen("gateway", &absent).is_empty());
    assert!(seen("victim", &own_db).is_empty() && seen("victim", &own_app).is_empty());
    assert!(seen("gateway", &own_db).is_empty());
    let joined = format!("{stack}_recipe-ci-gateway");
    assert!(text("gateway-inspected").contains(&joined));
    let deviations = results["deviations"].to_string();
    assert!(
        deviations.contains("on a network with the gateway"),
        "{deviations}"
    );

    assert_eq!(networks_of(&container_of(&gateway).unwrap()), before);
    assert_eq!(ids(), victims);
    docker(&["service", "rm", &gateway, &db, &app]);
    wait_until(LONG, "the services are gone", || {
        objects_of(&env.zone).is_empty().then_some(())
    });
    env.assert_nothing_left();
}

/// A gateway in a plain container.
pub(crate) struct Gateway {
    name: String,
    port: u16,
    /// The networks that it is in without a run.
    before: BTreeSet<String>,
}

impl Gateway {
    /// Starts one that runs go through.
    pub(crate) fn start(env: &mut SwarmEnv) -> Self {
        let (zone, port) = (env.zone.replace('.', "_"), free_port());
        let name = format!("gateway_{zone}");
        Self::container(&name, &format!("127.0.0.1:{port}:80"));
        env.set("CCCI_GATEWAY", format!("http://127.0.0.1:{port}"));
        env.set("CCCI_GATEWAY_SERVICE", &name);
        let before = networks_of(&name);
        Self { name, port, before }
    }

    fn container(name: &str, publish: &str) {
        let head = ["run", "--detach", "--init", "--name", name];
        let more = ["--network", "proxy", "--publish", publish];
        let serve = ["nc", "-ll", "-p", "80", "-e", "sh", "-c", SERVE];
        docker(&[&head[..], &more, &["recipe-ci/notes:1"], &serve].concat());
    }

    /// Returns the networks that it is in for a run.
    fn joined(&self) -> BTreeSet<String> {
        let during = networks_of(&self.name);
        during.difference(&self.before).cloned().collect()
    }

    /// Returns what a name leads to, for it.
    fn finds(&self, name: &str) -> BTreeSet<String> {
        let look = format!("nslookup -type=a {name} || :");
        addresses(&docker(&["exec", &self.name, "sh", "-c", &look]))
    }

    /// Asserts that a run went through it and that it has left; runs go directly again.
    #[track_caller]
    pub(crate) fn end(self, env: &mut SwarmEnv, results: &serde_json::Value) {
        let deviations = results["deviations"].to_string();
        let said = "on a network with the gateway";
        assert!(deviations.contains(said), "{deviations}");
        assert_eq!(self.joined(), BTreeSet::new());
        env.set("CCCI_GATEWAY", "");
        env.set("CCCI_GATEWAY_SERVICE", "");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut remove = command("docker");
        remove.args(["rm", "--force", "--volumes", &self.name]);
        drop(remove.output());
    }
}

/// The run has a broken base, whose networks stay for the app that it needs, and its name comes after `proxy`: in which
/// order a container finds names on its networks must not matter.
#[test]
fn a_gateway_leaves_the_network_of_a_run_that_was_killed() {
    let mut env = SwarmEnv::new();
    let zone = env.zone.replace('.', "_");
    let notes = env.recipe("notes");
    copy(&notes, env.root.join("forge/coop-cloud/notes.git"));
    let recipe = copy(&notes, env.root.join("recipes/wiki"));
    // The engine makes networks, secrets and configs of the base, and takes no task of less than 4 MiB.
    git(&recipe, &["checkout", "-q", "0.2.0+1.1.0"]);
    let small = "    deploy:\n      resources: {limits: {memory: 1m}}\n";
    env.edit(&recipe.join("compose.yml"), "    deploy:\n", small);
    git(&recipe, &["commit", "-q", "-a", "-m", "feat: save memory"]);
    git(&recipe, &["tag", "-f", "-a", "-m", "it", "0.2.0+1.1.0"]);
    git(&recipe, &["checkout", "-q", "main"]);
    env.overlay("wiki", "recipe-ci.yml", "dependencies: [notes]\n");
    let forge = format!("file://{}/forge", env.root.display());
    env.set("CCCI_FORGE_URL", forge);
    let gateway = Gateway::start(&mut env);
    let victim = format!("victim_{zone}");
    let head = ["run", "--detach", "--init", "--name", &victim];
    let more = ["--network", "proxy", "--network-alias", "app"];
    let idle = ["recipe-ci/notes:1", "sleep", "1000"];
    docker(&[&head[..], &more, &idle].concat());

    env.set("STAGES", "install,upgrade,custom");
    let reached = env.hold("wiki", "custom/test_hold.sh");
    let args = ["run", "--src", recipe.to_str().unwrap()];
    let run = env.start(args);
    wait_until(LONG, "the app serves", || reached.exists().then_some(()));
    let joined = gateway.joined();
    let of = |start: &str| {
        let mut stacks = joined
            .iter()
            .filter_map(|name| name.strip_suffix("_recipe-ci-gateway"));
        let found = stacks.find(|stack| stack.starts_with(start));
        found.unwrap_or_else(|| panic!("{joined:?}")).to_owned()
    };
    let stacks = [of("wiki-"), of("note-")];
    assert_eq!(joined.len(), stacks.len(), "{joined:?}");
    let format = "{{.NetworkSettings.Networks.proxy.IPAddress}}";
    let theirs = docker(&["inspect", "--format", format, &victim]);
    let found = gateway.finds("app");
    assert!(found.contains(theirs.trim()), "{found:?} without {theirs}");
    for stack in &stacks {
        let ours = gateway.finds(&format!("{stack}_app"));
        assert_eq!(ours.len(), 1, "{stack}");
        assert!(found.is_disjoint(&ours), "{found:?} has {ours:?}");
    }
    kill_both(run);
    assert_eq!(gateway.joined(), joined, "it is dead");
    env.run(["janitor"]).expect(0);
    let results = env.results();
    let warnings = results["warnings"].to_string();
    assert!(warnings.contains("base-broken"), "{results:#}");
    gateway_is_free(&gateway, &env, &victim);

    // With a second one at the same port it is not clear which is meant.
    let other = format!("other_{zone}");
    Gateway::container(&other, &format!("127.0.0.2:{}:80", gateway.port));
    env.set("CCCI_GATEWAY_SERVICE", "");
    let done = env.run(args);
    docker(&["rm", "--force", "--volumes", &other]);
    done.expect(2);
    for word in [&gateway.name, &other, "--gateway-service"] {
        assert!(done.stderr.contains(word), "no {word} in {}", done.stderr);
    }
    drop(gateway);
    env.assert_nothing_left();
}

/// Asserts that nothing of any run is left beside the gateway and somebody else's app, which goes then.
#[track_caller]
fn gateway_is_free(gateway: &Gateway, env: &SwarmEnv, victim: &str) {
    assert_eq!(gateway.joined(), BTreeSet::new());
    docker(&["rm", "--force", "--volumes", victim]);
    let mut left = objects_of(&env.zone);
    left.retain(|object| !object.ends_with(&gateway.name));
    assert_eq!(left, [""; 0]);
}
