//! What is wrong with `health`, which says where and how an app is asked.

use super::file::{Health, Scheme};

/// Returns the keys whose values cannot be meant, and why.
pub(super) fn faults(health: &Health) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let given = [
        ("service", health.service.is_some()),
        ("port", health.port.is_some()),
        ("scheme", health.scheme.is_some()),
        ("path", health.path.is_some()),
        ("statuses", health.statuses.is_some()),
        ("host", health.host.is_some()),
    ];
    let given = || given.iter().filter(|(_, given)| *given);
    if let Some(reason) = &health.none {
        if reason.trim().is_empty() {
            faults.push(("none", "give the reason: reports show it".to_owned()));
        }
        if let Some((key, _)) = given().next() {
            faults.push((
                *key,
                "it contradicts `health.none`; remove one of the two".to_owned(),
            ));
        }
    }
    if health.scheme == Some(Scheme::Tcp)
        && let Some((key, _)) = given().find(|(key, _)| ["path", "statuses", "host"].contains(key))
    {
        faults.push((
            *key,
            "it belongs to HTTP, and the scheme is `tcp`".to_owned(),
        ));
    }
    if let Some(host) = &health.host
        && !is_own_host(host)
    {
        let reason = format!(
            "`{host}` is not the app's: give `${{DOMAIN}}` or a name below it, such as `www.${{DOMAIN}}`"
        );
        faults.push(("host", reason));
    }
    faults
}

/// Returns whether `host` is the app's domain or a name below it. With a gateway, anything else would be asked for
/// another app, and would answer for this one.
fn is_own_host(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(fits);
    let below = |labels: &str| {
        let labels = labels.strip_suffix('.');
        labels.is_some_and(|labels| labels.split('.').all(is_label))
    };
    let before = host.strip_suffix("${DOMAIN}");
    before.is_some_and(|before| before.is_empty() || below(before))
}
