//! TLS of routers and backends, and databases that start first.

use super::*;

#[test]
fn a_router_that_loses_its_tls_is_lost() {
    const OTHER: &str =
        "        - \"traefik.http.routers.${STACK_NAME}-web.rule=Host(`${DOMAIN}`)\"\n";
    let own = "        - \"traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)\"\n        - \"traefik.http.routers.${STACK_NAME}.entrypoints=web-secure\"\n";
    for (changes, line) in [
        (&[(RESOLVER, "")][..], 18),
        (&[("tls.certresolver=${LETS_ENCRYPT_ENV}", "tls=false")], 18),
        // It is renamed, and is for the app's domain all the same.
        (&[(RESOLVER, ""), (own, OTHER)], 17),
    ] {
        let taken = taken(changes, "64738 10000 10009");
        assert_eq!(taken.len(), 1, "{changes:?}: {taken:?}");
        assert!(
            taken[0].starts_with(&format!("T011 {line}: ")),
            "{changes:?}: {taken:?}"
        );
    }
    for changes in [
        &[("tls.certresolver=${LETS_ENCRYPT_ENV}", "tls=true")][..],
        &[("tls.certresolver=${LETS_ENCRYPT_ENV}", "tls.options=x@file")],
        &[("entrypoints=web-secure\"\n", "priority=1\"\n")],
        &[
            ("${STACK_NAME}.", "web."),
            ("rule=Host(`plain", "rule=Host(`flat"),
        ],
        // What the base never had is no loss.
        &[("-plain.rule=Host(`plain", "-plain.rule=Host(`other")],
        // T002 and T006 have these.
        &[("enable=true", "enable=false")],
        &[
            ("Host(`${DOMAIN}`)", "Host(`elsewhere.org`)"),
            ("${STACK_NAME}.", "web."),
        ],
    ] {
        let taken = taken(changes, "");
        assert!(taken.is_empty(), "{changes:?}: {taken:?}");
    }
}

#[test]
fn a_backend_in_https_that_loses_its_transport_is_lost() {
    const PORT: &str =
        "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80\"\n";
    const SCHEME: &str =
        "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.scheme=https\"\n";
    const TRANSPORT: &str = "        - \"traefik.http.services.${STACK_NAME}.loadbalancer.serversTransport=insecure@file\"\n";
    let with = |more: &[&str]| edited(&[(PORT, &format!("{PORT}{}", more.concat()))]);
    let renamed = TRANSPORT.replace("${STACK_NAME}", "${STACK_NAME}-web");
    let scheme = SCHEME.replace("${STACK_NAME}", "${STACK_NAME}-web");
    let taken = |base: &Project, head: &Project, notes: &str| {
        let mut lost = lost(base, head, Some(DOMAIN), notes);
        lost.retain(|fault| fault.rule == crate::reach::TRANSPORT);
        let places = lost.iter().map(|fault| head.location(&fault.path).unwrap());
        places.map(|place| place.line).collect::<Vec<_>>()
    };
    let (both, bare) = (with(&[SCHEME, TRANSPORT]), with(&[SCHEME]));
    assert_eq!(taken(&both, &bare, ""), [17]);
    assert_eq!(
        taken(
            &both,
            &with(&[SCHEME, &TRANSPORT.replace("insecure@file", "")]),
            ""
        ),
        [17]
    );
    assert!(taken(&both, &bare, "`serverstransport` is not needed\n").is_empty());
    // It speaks HTTP now, it never had one, or the service of Traefik's has another name.
    assert!(taken(&both, &with(&[]), "").is_empty());
    assert!(taken(&bare, &bare, "").is_empty());
    assert!(taken(&both, &with(&[&scheme, &renamed]), "").is_empty());
}

#[test]
fn a_database_that_starts_first_from_now_on_is_found() {
    let db = |image: &str, at: &str, order: &str| {
        project(&format!(
            "services:\n  db:\n    image: {image}\n    volumes: ['db:{at}']\n    \
             deploy: {{update_config: {{order: {order}}}}}\nvolumes: {{db: }}\n"
        ))
    };
    let mariadb = |order| db("mariadb:11", "/var/lib/mysql", order);
    let (first, stop) = (mariadb("start-first"), mariadb("stop-first"));
    let web = db("nginx:1.27", "/srv", "start-first");
    for (base, head, is_red) in [
        (&stop, &first, true),
        (&first, &first, false),
        (&stop, &stop, false),
        (&first, &stop, false),
        (&stop, &web, false),
        (&project("services: {app: {image: a}}\n"), &first, false),
    ] {
        let lost = lost(base, head, None, "");
        let found: Vec<_> = lost.iter().filter(|one| one.rule == START_FIRST).collect();
        assert_eq!(found.len(), usize::from(is_red), "{found:?}");
    }
}
