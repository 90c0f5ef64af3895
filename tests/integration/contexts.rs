//! Docker's contexts: followed where they lead to an engine of this host, else refused before anything is done.

use crate::support::{TestEnv, command};

/// Returns an environment whose Docker client has the context `name` at `host`, and no `DOCKER_HOST`.
fn env_with(name: &str, host: &str) -> TestEnv {
    let mut env = TestEnv::new("");
    let script = format!("printf %s '{name}' | sha256sum | cut -c1-64");
    let id = command("sh").args(["-c", &script]).output().unwrap();
    let id = String::from_utf8(id.stdout).unwrap();
    env.write(
        &format!("docker/contexts/meta/{}/meta.json", id.trim()),
        &format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}"}}}}}}"#
        ),
    );
    let config = env.root.join("docker").display().to_string();
    env.set("DOCKER_CONFIG", config);
    env
}

#[test]
fn a_context_that_leads_elsewhere_is_refused_by_whatever_asks_an_engine() {
    let mut env = env_with("prod", "ssh://root@example.org");
    let recipe = env.recipe("notes");
    env.set("DOCKER_CONTEXT", "prod");
    let words = ["ssh://root@example.org", "docker context use default"];
    env.run(["run".as_ref(), recipe.as_os_str()])
        .refused(&words);
    for args in [vec!["ps"], vec!["janitor"], vec!["doctor"]] {
        env.run(args).refused(&words);
    }
    // What asks no engine works.
    env.run(["lint".as_ref(), recipe.as_os_str()]).expect(0);
    // As with the client.
    env.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let done = env.run(["janitor"]);
    done.expect(3);
    assert!(
        done.stderr.contains("/nowhere/docker.sock"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_context_of_this_host_is_followed() {
    let env = env_with("rootless", "unix:///nowhere/rootless.sock");
    env.write("docker/config.json", r#"{"currentContext":"rootless"}"#);
    let done = env.run(["janitor"]);
    done.expect(3);
    assert!(
        done.stderr.contains("/nowhere/rootless.sock"),
        "{}",
        done.stderr
    );
}
