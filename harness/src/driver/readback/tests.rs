use serde_json::json;

use super::*;
use recipe::compose::Project;
use recipe::compose::resolve::Deployment;

fn resolved() -> (Resolved, StackName) {
    resolved_with("", "")
}

/// `more` is a line of the service, `of_check` of its healthcheck.
fn resolved_with(more: &str, of_check: &str) -> (Resolved, StackName) {
    let dir = tempfile::tempdir().unwrap();
    let text = "version: '3.13'\nservices:\n  app:\n    image: docker.io/library/a\n    environment: {PW: secret, GONE: null}\n    \
                user: '1000'\n    command: sh -c 'run it'\n    networks: {inner: {aliases: [web]}}\n    \
                ports: ['53:53/udp']\n    volumes: ['data:/d:ro']\n    healthcheck: {test: 'true', interval: 1m30s, retries: 2}\n    secrets: [s]\n    configs: [{source: c, target: /c}]\n    \
                deploy: {labels: {l: m}, resources: {limits: {memory: 1g, cpus: '0.5'}}}\nvolumes: {data: }\nnetworks: {inner: }\n\
                secrets: {s: {external: true, name: z_s_v1}}\nconfigs: {c: {file: f}}\n";
    let text = text
        .replace("    user:", &format!("{more}    user:"))
        .replace("retries: 2", &format!("retries: 2{of_check}"));
    std::fs::write(dir.path().join("compose.yml"), text).unwrap();
    std::fs::write(dir.path().join("f"), "content").unwrap();
    let files = ["compose.yml".to_owned()];
    let mut project = Project::load(dir.path(), &files, &BTreeMap::new()).unwrap();
    project.read_contents(dir.path()).unwrap();
    let stack = ground::name::Domain::parse("note-012345.z", &"z".parse().unwrap())
        .unwrap()
        .stack();
    let deployment = Deployment {
        stack: stack.to_string(),
        ..Deployment::default()
    };
    (project.resolve(dir.path(), &deployment).unwrap(), stack)
}

fn there(resolved: &Resolved, stack: &StackName) -> StackSpec {
    let spec = kept(&resolved.request("app", stack.as_str()));
    StackSpec {
        services: BTreeMap::from([(format!("{stack}_app"), spec)]),
        configs: BTreeMap::from([(format!("{stack}_c"), b"content".to_vec())]),
    }
}

/// Where a value of a spec is, what becomes of it, and what is said then.
type Change = (&'static str, Value, &'static str);

fn changes() -> [Change; 28] {
    [
        (
            "/Labels",
            json!({}),
            "has Labels.com.docker.stack.image nothing where `docker.io/library/a` was planned",
        ),
        (
            "/Labels/l",
            json!(null),
            "has Labels.l nothing where `m` was planned",
        ),
        (
            "/Mode",
            json!({"Replicas": 2}),
            "has Mode.Replicas `2` where `1` was planned",
        ),
        ("/Mode", json!("global"), "has Mode `global` where"),
        (
            "/EndpointSpec",
            json!(null),
            "lacks EndpointSpec.Ports `{\"Protocol\":\"udp\"",
        ),
        (
            "/UpdateConfig",
            json!({"Parallelism": 9}),
            "has UpdateConfig.Parallelism `9` where nothing was planned",
        ),
        (
            "/TaskTemplate/Resources/Limits/MemoryBytes",
            json!(2_i64 << 30),
            "has Resources.Limits.MemoryBytes `2147483648` where `1073741824` was planned",
        ),
        (
            "/TaskTemplate/Resources/Limits",
            json!(null),
            "has Resources.Limits.MemoryBytes nothing where",
        ),
        (
            "/TaskTemplate/Resources/Limits/Pids",
            json!(9),
            "has Resources.Limits.Pids `9` where nothing",
        ),
        (
            "/TaskTemplate/Networks/0/Aliases",
            json!(["app", "db"]),
            "lacks Networks `{\"Aliases\":[\"app\",\"web\"]",
        ),
        (
            "/TaskTemplate/Networks/1",
            json!({"Target": "proxy"}),
            "has Networks `{\"Target\":\"proxy\"}`, which",
        ),
        (
            "/TaskTemplate/LogDriver",
            json!({"Name": "syslog"}),
            "has LogDriver.Name `syslog` where nothing",
        ),
        (
            "/TaskTemplate/Placement",
            json!({"Constraints": ["x"]}),
            "has Placement.Constraints `x`, which was not planned",
        ),
        (
            "/TaskTemplate/RestartPolicy",
            json!({"Condition": "none"}),
            "has RestartPolicy.Condition `none`",
        ),
        (
            "/TaskTemplate/ContainerSpec/Image",
            json!("b:1"),
            "has ContainerSpec.Image `b:1` where `a:latest` was planned",
        ),
        (
            "/TaskTemplate/ContainerSpec/Image",
            json!("a:latest@sha256:00"),
            "has ContainerSpec.Image `a:latest@sha256:00`",
        ),
        (
            "/TaskTemplate/ContainerSpec/User",
            json!("0"),
            "has ContainerSpec.User `0` where `1000` was planned",
        ),
        (
            "/TaskTemplate/ContainerSpec/Args",
            json!(["sh", "-c", "evil"]),
            "has ContainerSpec.Args `[\"sh\",\"-c\",\"evil\"]` where `[\"sh\",\"-c\",\"run it\"]`",
        ),
        (
            "/TaskTemplate/ContainerSpec/Command",
            json!(["sh"]),
            "has ContainerSpec.Command `[\"sh\"]` where nothing",
        ),
        (
            "/TaskTemplate/ContainerSpec/CapabilityAdd",
            json!(["CAP_X"]),
            "has ContainerSpec.CapabilityAdd `CAP_X`, which",
        ),
        (
            "/TaskTemplate/ContainerSpec/Labels/x",
            json!("y"),
            "has ContainerSpec.Labels.x `y` where nothing",
        ),
        (
            "/TaskTemplate/ContainerSpec/Mounts",
            json!(null),
            "lacks ContainerSpec.Mounts `{\"ReadOnly\":true,\"Source\":\"note-012345_z_data\"",
        ),
        (
            "/TaskTemplate/ContainerSpec/Secrets",
            json!(null),
            "lacks ContainerSpec.Secrets `{\"File\"",
        ),
        (
            "/TaskTemplate/ContainerSpec/Configs",
            json!(null),
            "lacks ContainerSpec.Configs `{\"ConfigName\":\"note-012345_z_c\"",
        ),
        (
            "/TaskTemplate/ContainerSpec/Healthcheck/Interval",
            json!(9),
            "has ContainerSpec.Healthcheck.Interval `9` where `90000000000`",
        ),
        (
            "/TaskTemplate/ContainerSpec/Env",
            json!(["GONE"]),
            "variable `PW`",
        ),
        (
            "/TaskTemplate/ContainerSpec/Privileges",
            json!({"NoNewPrivileges": true}),
            "has ContainerSpec.Privileges.NoNewPrivileges `true` where nothing",
        ),
        (
            "/Unheard",
            json!({"of": [1]}),
            "has Unheard.of `1`, which was not planned",
        ),
    ]
}

/// Returns what the engine shows with `value` at `place`.
fn changed(same: &StackSpec, place: &str, value: Value) -> StackSpec {
    let mut other = same.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let spec = other.services.values_mut().next().unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match (parent, key.parse::<usize>()) {
        (Value::Array(items), Ok(_)) => items.push(value),
        (parent, _) if value.is_null() => {
            parent.as_object_mut().unwrap().remove(key).unwrap();
        }
        (parent, _) => parent[key] = value,
    }
    other
}

#[test]
fn every_difference_between_plan_and_engine_is_named_and_no_value_of_a_variable() {
    let (resolved, stack) = resolved();
    let same = there(&resolved, &stack);
    assert_eq!(difference(&resolved, &stack, &same, Deployer::Docker), None);
    for (place, value, says) in changes() {
        let other = changed(&same, place, value);
        let said = difference(&resolved, &stack, &other, Deployer::Docker);
        let said = said.unwrap_or_else(|| panic!("nothing is said of {place}"));
        assert!(
            said.contains(says) && !said.contains("secret`"),
            "{place}: {said}"
        );
    }
    let mut other = same.clone();
    other.configs.insert(format!("{stack}_c"), Vec::new());
    other.services.insert("more".to_owned(), Value::Null);
    let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
    assert!(said.contains("service `more` was not planned"), "{said}");
    assert!(said.contains("holds something else"), "{said}");
    other.services.clear();
    let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
    assert!(said.contains("is missing"), "{said}");
}

#[test]
fn what_an_older_client_passes_over_is_no_difference_and_what_nobody_planned_is() {
    let (plain, stack) = resolved();
    let same = there(&plain, &stack);
    let (resolved, _) = resolved_with("    oom_score_adj: 100\n", ", start_interval: 1s");
    assert_eq!(difference(&resolved, &stack, &same, Deployer::Docker), None);
    let mut other = same;
    for spec in other.services.values_mut() {
        spec["TaskTemplate"]["ContainerSpec"]["OomScoreAdj"] = 5.into();
    }
    let said = difference(&resolved, &stack, &other, Deployer::Docker).unwrap();
    assert!(said.contains("OomScoreAdj `5` where `100`"), "{said}");
}

/// What abra makes itself, and nothing else that its deploys could differ in.
#[test]
fn four_things_of_what_abra_deploys_are_not_compared_and_everything_else_is() {
    let (resolved, stack) = resolved();
    let same = there(&resolved, &stack);
    let says = |place: &str, value: Value| {
        let other = changed(&same, place, value);
        assert!(
            difference(&resolved, &stack, &other, Deployer::Docker).is_some(),
            "{place}"
        );
        difference(&resolved, &stack, &other, Deployer::Abra)
    };
    let own: [(&str, Value); 4] = [
        ("/Labels/coop-cloud.note-012345_z.chaos", json!("true")),
        ("/TaskTemplate/ContainerSpec/Env", json!(["TYPE=x"])),
        (
            "/TaskTemplate/ContainerSpec/Image",
            json!(format!("a:latest@sha256:{}", "0".repeat(64))),
        ),
        (
            "/TaskTemplate/Placement",
            json!({"Platforms": [{"OS": "linux"}]}),
        ),
    ];
    for (place, value) in &own {
        assert_eq!(says(place, value.clone()), None, "{place}");
    }
    let is_own = |place: &str, value: &Value| {
        let is =
            |(own, of): &(&str, Value)| *own == place && (place.ends_with("/Env") || of == value);
        own.iter().any(is)
    };
    for (place, value, words) in changes() {
        if !is_own(place, &value) {
            let said = says(place, value).unwrap_or_else(|| panic!("nothing is said of {place}"));
            assert!(said.contains(words), "{place}: {said}");
        }
    }
    let mut other = same;
    other.configs.insert(format!("{stack}_c"), Vec::new());
    other.services.insert("more".to_owned(), json!({}));
    let said = difference(&resolved, &stack, &other, Deployer::Abra).unwrap();
    assert!(
        said.contains("service `more`") && said.contains("holds something else"),
        "{said}"
    );
}
