use std::os::unix::fs::PermissionsExt as _;

use super::*;

const EXAMPLE: &str = "
forges: [https://git.example.org]
sources:
  GIT.example.org/team/app.git:
    branches: [main]
    commits: [0123456789abcdef0123456789abcdef01234567]
    releases: true
    aliases: [other]
    run_code: true
    token: true
    secrets: [smtp_password]
    binds: [{path: /srv/media, write: true}]
    ports: ['8080', 53/udp]
    foreign: {networks: [proxy], volumes: [media], secrets: [a], configs: [b]}
    images: [registry.example.org/team]
    capabilities: [NET_ADMIN]
    keys: [sysctls, credential_spec]
    volume_options: [media]
    routers: {hosts: [cloud.example.org], names: [cloud], priority: true}
    template_driver: true
    driver: abra
    ceilings: {replicas: 5, services: 30, tasks: 60, memory: 2g, cpus: 1.5, pids: 1024, log_size: 50m}
";

fn error(text: &str) -> String {
    parse(text, "grants.yml").unwrap_err().to_string()
}

fn of_app(more: &str) -> String {
    error(&format!(
        "sources:\n  h/team/app:\n    branches: [main]\n    {more}\n"
    ))
}

#[test]
fn every_key_is_read() {
    let grants = parse(EXAMPLE, "grants.yml").unwrap();
    let key: SourceKey = "git.example.org/team/app".parse().unwrap();
    let grant = &grants.sources[&key];
    assert!(grant.run_code && grant.token && grant.template_driver);
    assert_eq!(grant.ceilings.memory, Some(2 << 30));
    assert_eq!(grant.ceilings.cpus, Some(1_500_000_000));
    assert!(grant.volume_options.allow("media") && !grant.volume_options.allow("db"));
    assert_eq!(grant.driver, Some(grant::GrantedDriver::Abra));
    assert!(parse("", "grants.yml").unwrap().sources.is_empty());
    // What is written is read again: `grants check` shows it so.
    let text = serde_json::to_string(grant).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), *grant);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_right_one() {
    for (more, words) in [
        (
            "runcode: true",
            "grants.yml:4:5: there is no key `runcode`; did you mean `run_code`?",
        ),
        ("memroy: 2g", "did you mean `sources.*.ceilings.memory`?"),
        ("colour: red", "there is no key `colour`"),
    ] {
        let said = of_app(more);
        assert!(said.contains(words), "{more}: {said}");
    }
    assert!(error("source: {}").contains("did you mean `sources`?"));
}

#[test]
fn wrong_values_have_a_place() {
    for (more, words) in [
        (
            "commits: [abc123]",
            "grants.yml:4:15: sources.h/team/app.commits[0]: `abc123` is no commit",
        ),
        ("images: registry.example.org", "give a list"),
        ("aliases: [A/b]", "aliases[0]: recipe name `A/b`"),
        ("ports: ['70000']", "`70000` is no port"),
        ("ports: [8080]", "put it in quotes"),
        ("ports: ['+80']", "is no port"),
        (
            "binds: [{path: srv}]",
            "binds[0].path: give the absolute path",
        ),
        ("binds: [{path: /srv/../etc}]", "without `..`"),
        ("capabilities: [CAP_SYS_ADMIN]", "leave `CAP_` out"),
        ("images: ['*']", "is no registry"),
        ("keys: [sysctl]", "sysctl"),
        ("run_code: 'yes'", "true or false"),
        ("ceilings: {memory: lots}", "`lots` is not a size"),
        ("ceilings: {replicas: 0}", "from 1 to"),
        ("driver: swarm", "swarm"),
    ] {
        let said = of_app(more);
        assert!(
            said.contains(words) && said.contains("grants.yml:"),
            "{more}: {said}"
        );
    }
    for (text, words) in [
        (
            "sources: {h/team/app: {run_code: true}}",
            "name the protected `branches`",
        ),
        (
            "sources: {h/team/app: {branches: [refs/heads/main]}}",
            "such as `main`",
        ),
        (
            "sources: {team/app: {branches: [main]}}",
            "`team/app` names no source",
        ),
        (
            "sources: {h/team/app: {branches: [main]}, H/team/app.git: {branches: [x]}}",
            "`h/team/app` has two grants",
        ),
        ("forges: [git.example.org]", "forges[0]: "),
        ("forges: ['file:///srv']", "CCCI_SRC_DIRS"),
    ] {
        let said = error(text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, EXAMPLE).unwrap();
    let mode =
        |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert_eq!(read(&path).unwrap().file, Some(path.clone()));
    for bad in [0o666, 0o664, 0o602] {
        mode(bad);
        let error = read(&path).unwrap_err();
        assert!(matches!(error, GrantsError::Owner { .. }), "{error}");
    }
    assert!(matches!(
        read(dir.path()),
        Err(GrantsError::Read { .. } | GrantsError::Owner { .. })
    ));
    assert!(matches!(
        read(&dir.path().join("absent")),
        Err(GrantsError::Read { .. })
    ));
}

/// This test writes nothing, it says how to.
#[test]
fn the_published_schema_and_the_list_of_keys_are_those_of_the_types() {
    let published = include_str!("../../../../../docs/grants.schema.json");
    assert!(
        published == grant::schema(),
        "run `recipe-ci grants schema > docs/grants.schema.json`"
    );
    let schema: serde_json::Value = serde_json::from_str(published).unwrap();
    let mut keys = Vec::new();
    walk(&schema, &schema, "", &mut keys);
    keys.sort_unstable();
    let mut known: Vec<&str> = KEYS.to_vec();
    known.sort_unstable();
    assert_eq!(keys, known);
}

fn walk(root: &serde_json::Value, node: &serde_json::Value, path: &str, keys: &mut Vec<String>) {
    let named = node["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix("#/$defs/"));
    let node = named.map_or(node, |name| &root["$defs"][name]);
    if let Some(items) = node.get("items") {
        return walk(root, items, &format!("{path}[]"), keys);
    }
    if let Some(values) = node.get("additionalProperties").filter(|v| v.is_object()) {
        return walk(root, values, &format!("{path}.*"), keys);
    }
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        let path = crate::compose::yaml::join(path, key);
        keys.push(path.clone());
        walk(root, value, &path, keys);
    }
}
