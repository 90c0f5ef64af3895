//! What services name and no file declares.

use super::*;

const DECLARED: &str = "\
networks: {proxy: {external: true}, internal: }
volumes: {data: }
secrets: {password: {external: true}}
configs: {entrypoint: {external: true}}
";

fn file(service: &str) -> String {
    format!("version: \"3.8\"\nservices:\n  app:\n    image: a:1\n{service}\n{DECLARED}")
}

fn refusal_of(files: &[(&str, &str)]) -> String {
    let project = load(files).unwrap();
    let refused = project.check_deployable(|_, _| false);
    refused.map_or_else(|error| error.to_string(), |()| "taken".to_owned())
}

#[test]
fn what_no_section_declares_is_refused_at_its_place_with_the_nearest_that_is() {
    for (service, refused) in [
        (
            "    volumes: [\"data:/a\", \"dtaa:/b\"]",
            "compose.yml:5:26: services.app.volumes[1]: no top-level `volumes` declares the volume `dtaa`; did you mean `data`?",
        ),
        (
            "    volumes:\n      - {type: volume, source: files, target: /b}",
            "compose.yml:6:9: services.app.volumes[0]: no top-level `volumes` declares the volume `files`: add it to `volumes`",
        ),
        (
            "    networks:\n      - internal\n      - prxy",
            "compose.yml:7:9: services.app.networks.prxy: no top-level `networks` declares the network `prxy`; did you mean `proxy`?",
        ),
        (
            "    secrets: [passwort]",
            "compose.yml:5:15: services.app.secrets[0]: no top-level `secrets` declares the secret `passwort`; did you mean `password`?",
        ),
        (
            "    configs:\n      - source: nginx\n        target: /x",
            "compose.yml:6:9: services.app.configs[0]: no top-level `configs` declares the config `nginx`: add it to `configs`",
        ),
        (
            "    credential_spec: {config: spec}",
            "compose.yml:5:31: services.app.credential_spec.config: no top-level `configs` declares the config `spec`: add it to `configs`",
        ),
        // The engine has the first, an anonymous volume and a path need no name, and neither does memory.
        (
            "    networks: {default: , internal: }\n    volumes: [/anonymous, \"/etc:/b\", \"data:/c\", {type: tmpfs, target: /d}]",
            "taken",
        ),
    ] {
        assert_eq!(refusal_of(&[("compose.yml", &file(service))]), refused);
    }
}

#[test]
fn a_file_that_comes_later_may_declare_it_or_name_it() {
    let names = "services:\n  app:\n    volumes: [\"media:/m\"]\n";
    let one = file("    volumes: [\"data:/z\"]");
    let both = |second: &str| {
        let second = format!("version: \"3.8\"\n{second}");
        refusal_of(&[("compose.yml", &one), ("compose.media.yml", &second)])
    };
    assert_eq!(both(&format!("{names}volumes: {{media: }}\n")), "taken");
    // The merge sorts mounts by target: the place is that of its file.
    assert_eq!(
        both(names),
        "compose.media.yml:4:15: services.app.volumes[0]: no top-level `volumes` declares the volume `media`: add it to `volumes`"
    );
    let project = load(&[
        ("compose.yml", &one),
        ("compose.media.yml", &format!("version: \"3.8\"\n{names}")),
    ]);
    let elsewhere = |section: &str, name: &str| (section, name) == ("volumes", "media");
    assert!(project.unwrap().check_deployable(elsewhere).is_ok());
}

#[test]
fn names_that_swarm_refuses_are_found_and_those_that_it_takes_are_not() {
    let project = one(
        "services:\n  a.b: {image: a}\n  C-_d: {image: a, networks: [n., 'm-']}\n  e_: {image: a}\nnetworks: {n.: , m-: , x.y: }\n\
         secrets: {s.t: {file: x}, u: {file: x, name: u-}, o: {external: true, name: o_}}\nconfigs: {v: {file: x, name: .w}}\nvolumes: {k.: }\n",
    );
    let problems = project.object_name_problems(STACK);
    let found: Vec<String> = problems.iter().map(|one| one.path()).collect();
    assert_eq!(
        found,
        [
            "services.a.b",
            "services.e_",
            "networks.n.",
            "networks.m-",
            "secrets.u",
            "configs.v"
        ]
    );
    let said = problems[5].to_string();
    assert!(
        said.starts_with("config `.w` is no name that Swarm takes"),
        "{said}"
    );
    assert!(problems.iter().all(|one| !one.would_fit(STACK, 1)));
}

#[test]
fn a_mounts_target_is_the_path_that_the_engine_makes_of_it() {
    for (written, target) in [
        ("/srv/../data", "/data"),
        ("//data/./files//", "/data/files"),
        ("/../../data", "/data"),
        ("/", "/"),
    ] {
        let text = format!(
            "services:\n  app:\n    image: a\n    volumes: ['data:{written}', {{type: tmpfs, target: '{written}'}}]\nvolumes: {{data: }}\n"
        );
        for mount in &one(&text).services[0].volumes {
            assert_eq!(mount.target, target, "{written}");
        }
    }
}
