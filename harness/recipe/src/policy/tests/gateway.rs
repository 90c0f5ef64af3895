//! Labels that the gateway reads: the rule, one that is refused, the grant, one that passes.

use super::*;

pub(super) fn label(label: &str) -> String {
    app(&format!(
        "    deploy:\n      labels:\n        - \"{label}\""
    ))
}

/// The rule, the label that it refuses, the grant that allows it, a label that passes.
pub(super) const LABELS: [(&str, &str, &str, &str); 42] = [
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=true",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \" traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=true\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followRedirects=false",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followRedirects=false\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirectſ=true",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.interval=1ns\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.interval=1s\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}_m.retry.attempts=11",
        "",
        "traefik.http.middlewares.${STACK_NAME}_m.retry.attempts=10",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.maxrequestbodybytes=1000",
        "",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.maxRequestBodyBytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxResponseBodyBytes=67108864",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.maxrequestbodybytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxresponsebodybytes=0",
        "",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.maxRequestBodyBytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxResponseBodyBytes=1",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.memresponsebodybytes=9000000000000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxrequestbodybytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxresponsebodybytes=1000",
        "",
        "traefik.http.middlewares.${STACK_NAME}_m.buffering.memresponsebodybytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxrequestbodybytes=1000\"\n        - \"traefik.http.middlewares.${STACK_NAME}_m.buffering.maxresponsebodybytes=1000",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}_m.basicauth.users=x:$$2y$$31$$abc",
        "",
        "traefik.http.middlewares.${STACK_NAME}_m.basicauth.users=x:$$2y$$10$$abc",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=http://victim_db:9000/stop",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/health\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followredirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=//victim_db:9000/stop",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.path=/\"\n        - \"traefik.http.services.${STACK_NAME}.loadbalancer.healthcheck.followRedirects=false",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80@10.0.0.1:80",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=8080",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.scheme=http://10.0.0.1/?",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.scheme=h2c",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`cloud.example.org`)",
        "routers: {hosts: [cloud.example.org]}",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)",
    ),
    (
        "P028",
        "Traefik.HTTP.Routers.${STACK_NAME}.Rule=Host(`${DOMAIN}`) || Host(`x.org`)",
        "routers: {hosts: [x.org]}",
        "Traefik.HTTP.Routers.${STACK_NAME}.Rule=Host(`${DOMAIN}`) || Host(`x.${DOMAIN}`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`, `x.org`)",
        "routers: {hosts: [x.org]}",
        "traefik.http.routers.${STACK_NAME}.rule=(Host(`${DOMAIN}`) && !Path(`/x`))",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && (Host(`${DOMAIN}`) || Host(`x.org`))",
        "routers: {hosts: [x.org]}",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && (Host(`${DOMAIN}`) || Host(`x.${DOMAIN}`))",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && !Host(`x.org`)",
        "routers: {hosts: [x.org]}",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && !Host(`x.${DOMAIN}`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=PathPrefix(`/`)",
        "",
        "traefik.http.routers.${STACK_NAME}.rule=PathPrefix(`/`) && Host(`${DOMAIN}`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=!Host(`${DOMAIN}`)",
        "",
        "traefik.http.routers.${STACK_NAME}.rule=HostHeader(`${DOMAIN}`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=HostRegexp(`.*`)",
        "",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) && HeaderRegexp(`a`, `.*`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`evil${DOMAIN}`)",
        "routers: {hosts: [evilevil-00aa11.ci.localhost]}",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`a.b.${DOMAIN}`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.rule=Path(`Host(`${DOMAIN}`)`)",
        "",
        "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)&&Path(`/a`)",
    ),
    (
        "P028",
        "traefik.http.routers.${STACK_NAME}.tls.domains[0].main=example.org",
        "routers: {hosts: [example.org]}",
        "traefik.http.routers.${STACK_NAME}.tls.domains[0].sans=a.${DOMAIN}",
    ),
    (
        "P028",
        "traefik.tcp.routers.${STACK_NAME}.rule=HostSNI(`*`)",
        "",
        "traefik.tcp.routers.${STACK_NAME}.rule=HostSNI(`${DOMAIN}`)",
    ),
    (
        "P029",
        "traefik.http.routers.cloud.rule=Host(`${DOMAIN}`)",
        "routers: {names: [cloud]}",
        "traefik.http.routers.evil-00aa11-ci-localhost-x.rule=Host(`${DOMAIN}`)",
    ),
    (
        "P029",
        "traefik.http.middlewares.auth.compress=true",
        "routers: {names: [auth]}",
        "traefik.http.middlewares.${STACK_NAME}_auth.compress=true",
    ),
    (
        "P029",
        "traefik.http.services.${STACK_NAME}x.loadbalancer.server.port=80",
        "routers: {names: [evil-00aa11_ci_localhostx]}",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80",
    ),
    (
        "P029",
        "traefik.http.routers.${STACK_NAME}.service=api@internal",
        "routers: {names: [\\\"api@internal\\\"]}",
        "traefik.http.routers.${STACK_NAME}.service=${STACK_NAME}",
    ),
    (
        "P030",
        "traefik.http.routers.${STACK_NAME}.priority=100000",
        "routers: {priority: true}",
        "traefik.http.routers.${STACK_NAME}.entrypoints=web",
    ),
    (
        "P031",
        "traefik.http.routers.${STACK_NAME}.tls.certresolver=production",
        "",
        "traefik.http.routers.${STACK_NAME}.tls.certresolver=",
    ),
    (
        "P028",
        "traefik.udp.routers.${STACK_NAME}.entrypoints=dns",
        "routers: {entrypoints: [dns]}",
        "traefik.enable=true",
    ),
    (
        "P031",
        "traefik.udp.routers.${STACK_NAME}.service=${STACK_NAME}",
        "",
        "traefik.swarm.network=proxy",
    ),
    // A middleware of the operator's acts on the router that names it; one that is defined is everybody's.
    (
        "P029",
        "traefik.http.middlewares.error-pages-middleware.errors.status=400-599",
        "routers: {names: [error-pages-middleware]}",
        "traefik.http.routers.${STACK_NAME}.middlewares=error-pages-middleware, security@file, auth@swarm",
    ),
    (
        "P031",
        "traefik.http.serversTransports.x.insecureSkipVerify=true",
        "",
        "traefik.docker.network=proxy",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.url=http://10.0.0.1",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.server.scheme=https",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}.forwardauth.address=http://10.0.0.1",
        "",
        "traefik.http.middlewares.${STACK_NAME}.headers.sslredirect=true",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}.basicauth.usersfile=/etc/shadow",
        "",
        "traefik.http.middlewares.${STACK_NAME}.basicauth.users=a:b",
    ),
    (
        "P031",
        "traefik.http.middlewares.${STACK_NAME}.plugin.x.y=z",
        "",
        "traefik.http.middlewares.${STACK_NAME}.chain.middlewares=a",
    ),
    (
        "P031",
        "traefik.http.services.${STACK_NAME}.weighted.services[0].name=victim",
        "",
        "traefik.http.services.${STACK_NAME}.loadbalancer.sticky.cookie=true",
    ),
];

#[test]
fn a_granted_host_is_that_host_and_what_is_below_it_only_where_that_is_granted() {
    let rule = |host: &str| {
        label("traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`) || Host(`HOST`)")
            .replace("HOST", host)
    };
    let sans = |host: &str| {
        label("traefik.http.routers.${STACK_NAME}.tls.domains[0].sans=HOST").replace("HOST", host)
    };
    let is_judged = |text: &str, grant: &str| {
        let found = judged(granted(grant), &[("compose.yml", text)]);
        found.map(drop).map_err(|refused| {
            assert_eq!(ids(&refused.violations), ["P028"]);
            refused.violations[0].grant.clone().unwrap_or_default()
        })
    };
    let (one, below) = (
        "routers: {hosts: [x.org]}",
        "routers: {hosts: [\"*.X.org\"]}",
    );
    for (host, by_one, by_below) in [
        ("x.org", true, false),
        ("X.ORG", true, false),
        ("a.x.org", false, true),
        ("A.B.x.org", false, true),
        ("ax.org", false, false),
        (".x.org", false, false),
    ] {
        for text in [rule(host), sans(host)] {
            assert_eq!(is_judged(&text, one).is_ok(), by_one, "{text}");
            assert_eq!(is_judged(&text, below).is_ok(), by_below, "{text}");
        }
        let variable = app(&format!("    environment: {{VIRTUAL_HOST: {host}}}"));
        assert_eq!(is_judged(&variable, one).is_ok(), by_one, "{variable}");
    }
    // The grant that is offered is one that allows it.
    let wild = sans("*.x.org");
    assert!(is_judged(&wild, below).is_ok());
    let offered = is_judged(&wild, one).unwrap_err();
    assert!(is_judged(&wild, &offered).is_ok(), "{offered}");
}
