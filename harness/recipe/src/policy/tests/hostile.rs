//! For each rule: refused as a stranger's, allowed by the grant that the refusal names, said by hand, and the
//! neighbouring legal form passes.

use super::gateway::{LABELS, label};
use super::rows::{rows, whole};
use super::*;

#[test]
fn each_rule_refuses_a_stranger_and_is_lifted_by_the_grant_that_it_names() {
    let rows = rows().into_iter().map(|row| {
        (
            row.rule,
            whole(row.hostile),
            row.grant.to_owned(),
            whole(row.legal),
        )
    });
    let labels = LABELS.iter().map(|(rule, hostile, grant, legal)| {
        (*rule, label(hostile), grant.replace('\\', ""), label(legal))
    });
    let mut seen = std::collections::BTreeSet::new();
    for (rule, hostile, grant, legal) in rows.chain(labels) {
        seen.insert(rule);
        let files = [("compose.yml", hostile.as_str())];
        let refused = judged(Level::Stranger, &files)
            .err()
            .unwrap_or_else(|| panic!("{rule} lets pass:\n{hostile}"));
        assert_eq!(ids(&refused.violations), [rule], "{hostile}\n{refused}");
        let named = refused.violations.iter().filter(|found| found.refused);
        let named: Vec<&str> = named.filter_map(|found| found.grant.as_deref()).collect();
        assert_eq!(
            named.first().copied().unwrap_or_default(),
            grant,
            "{hostile}"
        );
        match named.first() {
            Some(line) => {
                let judged = judged(granted(line), &files);
                judged.unwrap_or_else(|refused| panic!("{line}:\n{hostile}\n{refused}"));
            }
            None => {
                // Everything that can be granted does not lift it.
                let refused = judged(granted("run_code: true, template_driver: true"), &files);
                assert!(refused.is_err(), "{hostile}");
            }
        }
        let by_hand = judged(Level::ByHand, &files).unwrap();
        let said = by_hand.warnings().iter().any(|found| found.rule == rule);
        assert!(
            said && by_hand.warnings().iter().all(|found| !found.refused),
            "{hostile}"
        );
        let files = [("compose.yml", legal.as_str())];
        let passes = judged(Level::Stranger, &files);
        passes.unwrap_or_else(|refused| panic!("{legal}\n{refused}"));
    }
    let refusing = rules::RULES
        .iter()
        .filter(|rule| rule.refuses && !["P037", "P038", "P040"].contains(&rule.id))
        .map(|rule| rule.id);
    let missing: Vec<&str> = refusing.filter(|id| !seen.contains(id)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
}

#[test]
fn a_granted_source_stays_inside_its_grant() {
    for (grant, outside) in [
        ("binds: [{path: /srv/data}]", "volumes: ['/srv/data:/x']"),
        (
            "binds: [{path: /srv/data, write: true}]",
            "volumes: ['/srv:/x:ro']",
        ),
        (
            "binds: [{path: /srv/data, write: true}]",
            "volumes: ['/srv/data/../other:/x:ro']",
        ),
        ("capabilities: [NET_ADMIN]", "cap_add: [SYS_ADMIN]"),
        ("keys: [sysctls]", "ulimits: {nofile: 9}"),
        (
            "volume_options: [v]",
            "services: {app: {image: a}}\nvolumes: {w: {driver_opts: {a: b}}}",
        ),
        (
            "foreign: {volumes: [victim_data]}",
            "services: {app: {image: a}}\nvolumes: {v: {external: true, name: victim_data2}}",
        ),
        (
            "routers: {entrypoints: [ssh]}",
            "labels: ['traefik.tcp.routers.${STACK_NAME}.rule=HostSNI(`*`)', 'traefik.tcp.routers.${STACK_NAME}.entrypoints=ssh, websecure']",
        ),
        (
            "routers: {entrypoints: [ssh]}",
            "labels: ['traefik.tcp.routers.${STACK_NAME}.rule=HostSNI(`*`)']",
        ),
        (
            "foreign: {networks: [a]}",
            "services: {app: {image: a}}\nsecrets: {a: {external: true}}",
        ),
        (
            "images: [registry.example.org/team]",
            "services: {app: {image: registry.example.org/teamster/x}}",
        ),
        ("ceilings: {replicas: 4}", "deploy: {replicas: 5}"),
    ] {
        let text = whole(outside);
        let judged = judged(granted(grant), &[("compose.yml", &text)]);
        assert!(judged.is_err(), "{grant} lets pass:\n{text}");
    }
}
