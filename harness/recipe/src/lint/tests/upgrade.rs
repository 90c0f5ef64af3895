//! What an upgrade from the last version takes.

use super::*;

#[test]
fn what_an_upgrade_takes_from_clients_is_found_in_every_deploy() {
    const RULE: &str = "        - \"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)\"\n";
    const TLS: &str = "        - \"traefik.http.routers.${STACK_NAME}.tls=true\"\n";
    let with_tls = COMPOSE.replace(RULE, &format!("{RULE}{TLS}"));
    let with_port = format!("{EXTRA}    ports: [\"2222:22\"]\n");
    let fixture = Fixture::new();
    let mut files = CLEAN.map(|(name, text)| match name {
        "compose.yml" => (name, with_tls.as_str()),
        "compose.extra.yml" => (name, with_port.as_str()),
        _ => (name, text),
    });
    let published = fixture.commit(&files);
    fixture.annotated_tag("0.1.0+1.1.0", published);
    (files[0].1, files[1].1) = (COMPOSE, EXTRA);
    fixture.commit(&files);
    let breaks = |lint: &Lint| {
        let mut places = found(lint);
        places.retain(|place| !place.starts_with('P'));
        places
    };
    let lost = lint(fixture.path(), None).unwrap();
    assert_eq!(
        breaks(&lost),
        ["C026 compose.extra.yml:5", "T011 compose.yml:25"]
    );
    fixture.write("release/next", "SSH is gone, and its port 2222 with it.\n");
    fixture.write("compose.yml", &with_tls);
    let told = lint(fixture.path(), None).unwrap();
    assert_eq!(breaks(&told), [""; 0]);
}

#[test]
fn what_the_sample_lost_is_found() {
    let cases: &[(&[Change], &[&str])] = &[
        (
            &[(".env.sample", "DOMAIN=notes.example.com\n", "")],
            &["C027 .env.sample"],
        ),
        // A comment shows operators the choice; a default and abra.sh give the value.
        (
            &[(
                ".env.sample",
                "SECRET_TOKEN_VERSION=v1",
                "#SECRET_TOKEN_VERSION=v1",
            )],
            &[],
        ),
        (
            &[
                (".env.sample", "DOMAIN=notes.example.com\n", ""),
                ("compose.yml", "${DOMAIN}", "${DOMAIN:-notes.example.org}"),
            ],
            &[],
        ),
        (
            &[
                (".env.sample", "SECRET_TOKEN_VERSION=v1\n", ""),
                (
                    "abra.sh",
                    "export ENTRY",
                    "export SECRET_TOKEN_VERSION=v1\nexport ENTRY",
                ),
            ],
            &[],
        ),
    ];
    for (changes, expected) in cases {
        let fixture = clean();
        change(&fixture, changes);
        let mut places = found(&lint(fixture.path(), None).unwrap());
        // That its rule names no host any more is said beside it.
        places.retain(|place| !place.starts_with("T010"));
        assert_eq!(&places, expected, "{changes:?}");
    }
}
