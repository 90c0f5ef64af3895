//! How Traefik asks a backend in HTTPS.

use super::{Fault, Group, Labels, Project, Protocol, TRANSPORT, tells_of};

/// Returns the services that Traefik asks in HTTPS by a transport of the operator's in the base, and without one in the head.
///
/// A task is asked at its address, for which no authority vouches: without a transport Traefik does not trust its
/// certificate and answers 500, unless the whole gateway is told to trust any.
pub(super) fn lost(base: &Project, head: &Project, notes: &str) -> Vec<Fault> {
    /// Whether a transport is named where the tasks of the service are asked in HTTPS.
    fn named<'a>(labels: &Labels<'a>) -> Vec<(&'a str, bool)> {
        const OPTION: [&str; 2] = ["loadbalancer", "serverstransport"];
        let http = Protocol::Http;
        let names = labels.names(http, Group::Services).into_iter();
        let https = names.filter(|name| {
            let scheme = labels.server(http, name, "scheme");
            scheme.is_some_and(|label| label.value.eq_ignore_ascii_case("https"))
        });
        let has_one = |name: &str| {
            let label = labels.option(http, Group::Services, name, &OPTION);
            label.is_some_and(|label| !label.value.is_empty())
        };
        https.map(|name| (name, has_one(name))).collect()
    }
    let mut faults = Vec::new();
    for service in head
        .running()
        .filter(|_| !tells_of(notes, "serverstransport"))
    {
        let labels = Labels::of(service);
        let Some(then) = base.service(&service.name) else {
            continue;
        };
        let had_one = named(&Labels::of(then)).iter().any(|(_, has_one)| *has_one);
        let now = named(&labels);
        let Some((name, _)) = now
            .first()
            .filter(|_| had_one && !now.iter().any(|(_, has)| *has))
        else {
            continue;
        };
        let scheme = labels.server(Protocol::Http, name, "scheme");
        let label = scheme.map_or_else(String::new, |label| format!(".{}", label.label));
        faults.push(Fault {
            rule: TRANSPORT,
            path: format!("services.{}.deploy.labels{label}", service.name),
            message: format!(
                "Traefik asks service `{}` in HTTPS, and `loadbalancer.serverstransport`, which the version before has, is gone: Traefik does not trust a certificate of the app's own then, and answers 500. Name the transport again, or name `serverstransport` in backticks in `release/next` if none is needed",
                service.name
            ),
        });
    }
    faults
}
