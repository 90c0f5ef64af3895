//! What is deployed is what was judged: the client gets one file and nothing else, and the engine is read back.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::engine::{SwarmEnv, id_of};
use crate::quick::Scene;
use crate::support::command;

/// Puts a `docker` before the real one that does `script` with the compose file `$file` before it deploys.
pub(crate) fn client(env: &mut SwarmEnv, script: &str) {
    let script = format!(
        "for argument; do case $argument in */compose-*.json) file=$argument\n{script}\n;; esac; done"
    );
    client_with(env, &script);
}

/// Puts a `docker` before the real one that does `script` before it does what it was called for.
fn client_with(env: &mut SwarmEnv, script: &str) {
    let real = command("sh")
        .args(["-c", "command -v docker"])
        .output()
        .unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let program = env.write(
        "client/docker",
        &format!("#!/bin/sh\n{script}\nexec {} \"$@\"\n", real.trim()),
    );
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    env.prepend_path(program.parent().unwrap());
}

#[test]
fn a_client_that_deploys_something_else_makes_the_run_red() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install");
    let all: String = SMUGGLED
        .iter()
        .map(|(from, to, _)| replace(from, to))
        .collect();
    client(&mut env, &format!("{SMUGGLE}\n{all}"));
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(1);
    let results = env.results();
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    let words = SMUGGLED.map(|(_, _, says)| says);
    for word in ["is not what was planned", "`SMUGGLED`"]
        .iter()
        .chain(&words)
    {
        assert!(reason.contains(word), "no `{word}` in {reason}");
    }
    env.assert_nothing_left();
}

/// What else is put in the place of what stands in the file that is deployed, and what is said of it.
const SMUGGLED: [(&str, &str, &str); 4] = [
    (
        r#""image":"#,
        r#""user":"1234","image":"#,
        "has ContainerSpec.User `1234` where nothing was planned",
    ),
    (
        r#""httpd","-f""#,
        r#""httpd","-v","-f""#,
        r#"has ContainerSpec.Args `["httpd","-v","-f","#,
    ),
    (
        r#""deploy":{"#,
        r#""deploy":{"resources":{"limits":{"memory":"64m"}},"#,
        "has Resources.Limits.MemoryBytes `67108864` where nothing was planned",
    ),
    (
        r#""networks":{"proxy":null}"#,
        r#""networks":{"proxy":{"aliases":["smuggled"]}}"#,
        r#"has Networks `{"Aliases":["app","smuggled"]"#,
    ),
];

/// Returns the line that puts `to` in the place of the first `from` in the compose file.
fn replace(from: &str, to: &str) -> String {
    let escape = |text: &str| text.replace('[', "\\[");
    format!("/bin/sed -i 's|{}|{to}|' \"$file\"\n", escape(from))
}

/// What puts a variable into the file that is deployed.
const SMUGGLE: &str =
    "/bin/sed -i 's/\"environment\":{/\"environment\":{\"SMUGGLED\":\"in\",/' \"$file\"";

/// The same for the base of a run, for the head beside it, for its upgrade, and for what abra deploys.
#[test]
fn a_base_a_fresh_head_an_upgrade_and_an_app_of_abra_that_are_something_else_are_red() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install,upgrade");
    let domain = format!("note-0a1b2c.{}", env.zone);
    let stack = domain.replace('.', "_");
    env.set("CCCI_APP_DOMAIN", domain);
    let count = env.root.join("count").display().to_string();
    // The base and the fresh head are deployed at once, so the stack tells which it is, and of one the count.
    let only = |is: &str, number: usize| {
        format!(
            "for deployed; do :; done; if [ $deployed {is} {stack} ]; then echo >>{count}; \
             if [ \"$(/usr/bin/wc -l <{count})\" = {number} ]; then {SMUGGLE}; fi; fi"
        )
    };
    let extra = "version: '3.8'\nservices: {app: {labels: {SMUGGLED: in}}}\n";
    let extra = env.write("extra.yml", extra).display().to_string();
    for (way, red) in [
        ("base", "install"),
        ("fresh", "install"),
        ("upgrade", "upgrade"),
        ("abra", "install"),
    ] {
        drop(std::fs::remove_file(&count));
        match way {
            "base" => client(&mut env, &only("=", 1)),
            "fresh" => client(&mut env, &only("!=", 1)),
            "upgrade" => client(&mut env, &only("=", 2)),
            _ => {
                client_with(
                    &mut env,
                    &format!(
                        "case \" $* \" in *' --help '*) ;; *' stack deploy '*) set -- \"$@\" -c {extra};; esac"
                    ),
                );
                env.with_abra("", "");
            }
        }
        let mut args = vec!["run".into(), recipe.clone().into_os_string()];
        args.extend(["--run-id", way].map(std::ffi::OsString::from));
        let done = env.run(args);
        done.expect(1);
        let results = crate::support::read_results(&env.root.join("runs").join(way));
        let tiers = results["tiers"].as_array().unwrap();
        let failed = tiers.iter().find(|tier| tier["status"] == "fail");
        let failed = failed.unwrap_or_else(|| panic!("{way}: {results:#}"));
        assert_eq!(failed["name"], red, "{way}: {results:#}");
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            reason.contains("is not what was planned") && reason.contains("SMUGGLED"),
            "{way}: {reason}"
        );
    }
    env.assert_nothing_left();
}

/// The same for the canonical of a quick run, which gets its data back.
#[track_caller]
pub(crate) fn assert_red_over_a_canonical(scene: &mut Scene) {
    client(&mut scene.env, SMUGGLE);
    let (done, results) = scene.run("smuggled", &["--quick"]);
    client_with(&mut scene.env, ":");
    done.expect(1);
    assert_eq!(results["quick"], true, "{results:#}");
    let install = &results["tiers"][0];
    let reason = install["reason"].as_str().unwrap_or_default();
    assert!(
        install["status"] == "fail" && reason.contains("is not what was planned"),
        "{results:#}"
    );
    scene.assert_at_rest("idle");
}

#[test]
fn the_client_gets_the_printed_project_as_its_only_file_and_no_variable_of_the_host() {
    let mut env = SwarmEnv::new();
    let recipe = env.recipe("notes");
    env.set("STAGES", "install");
    env.set("HTTP_PROXY", "http://operator:canary@127.0.0.1:9");
    // The names are of variables that steer the client, and the app is to get them.
    env.edit(
        &recipe.join("compose.yml"),
        "    environment:\n",
        "    environment:\n      - DOCKER_HOST\n      - OTEL_SERVICE_NAME\n      - HOME\n      - HTTP_PROXY\n",
    );
    let sample = recipe.join(".env.sample");
    let text = harness::host_file::text(&sample).unwrap();
    let more = "DOCKER_HOST=tcp://app\nOTEL_SERVICE_NAME=notes\nHOME=/srv/app\n";
    std::fs::write(&sample, format!("{text}{more}")).unwrap();
    let seen = env.root.join("seen");
    std::fs::create_dir(&seen).unwrap();
    let dir = seen.display();
    client(
        &mut env,
        &format!(
            "/usr/bin/env > {dir}/env; /bin/cp \"$file\" {dir}/compose.json; /usr/bin/printf '%s\\n' \"$@\" > {dir}/arguments"
        ),
    );
    let planned = env.run(["run".as_ref(), recipe.as_os_str(), "--dry-run".as_ref()]);
    planned.expect(0);
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    let done = env.run(["run".as_ref(), recipe.as_os_str()]);
    done.expect(0);
    let read = |name: &str| harness::host_file::text(seen.join(name)).unwrap();

    let variables = read("env");
    let mut names: Vec<&str> = variables
        .lines()
        .filter_map(|line| line.split('=').next())
        // What the shell of this stand-in sets.
        .filter(|name| !["PWD", "_", "SHLVL", "OLDPWD", "RECIPE_CI_RUN"].contains(name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [""; 0], "{variables}");
    let arguments = read("arguments");
    assert_eq!(
        arguments.matches("--compose-file").count(),
        1,
        "{arguments}"
    );

    let mut deployed: Value = serde_json::from_str(&read("compose.json")).unwrap();
    let app = deployed["services"]["app"]["environment"].clone();
    assert_eq!(app["DOCKER_HOST"], "tcp://app");
    assert_eq!(app["OTEL_SERVICE_NAME"], "notes");
    assert_eq!(app["HOME"], "/srv/app");
    assert_eq!(app["HTTP_PROXY"], Value::Null);
    // The files of configs lie in the run's directory, which the plan does not know.
    let mut shown = planned["project"].clone();
    // A plan asks no engine for what the image's name stands for there.
    let id = id_of("recipe-ci/notes:2");
    assert_eq!(shown["services"]["app"]["image"], "recipe-ci/notes:2");
    shown["services"]["app"]["image"] = id.into();
    for document in [&mut deployed, &mut shown] {
        for config in document["configs"].as_object_mut().unwrap().values_mut() {
            config["file"] = Value::Null;
        }
        unescape(document);
    }
    assert_eq!(deployed, shown);
    env.assert_nothing_left();
}

/// Docker makes one `$` of two.
fn unescape(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("$$", "$"),
        Value::Array(items) => items.iter_mut().for_each(unescape),
        Value::Object(entries) => entries.values_mut().for_each(unescape),
        _ => {}
    }
}
