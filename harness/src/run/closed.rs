//! What of the host is closed to the containers of an app that is not a person's own.

use super::context::Context;
use super::error::RunError;
use crate::host::{Way, addresses, overlay_port};
use engine::swarm::Engine;
use ground::host_file;
use recipe::compose::resolve::Resolved;
use recipe::trust::Level;
use serde_json::Value;

/// Closes the host's overlay networks to the app's containers and makes sure that its own addresses, and what is mounted
/// below a directory that they may read, are closed to them; not where a person runs the recipe by hand.
///
/// # Errors
/// [`RunError::Infra`] for what is open and cannot be closed, unless the operator has accepted it.
pub(super) async fn close(
    context: &Context<'_>,
    level: &Level,
    projects: impl Iterator<Item = &Resolved>,
    engine: &Engine,
) -> Result<(), RunError> {
    if *level == Level::ByHand {
        return Ok(());
    }
    let processes = &context.processes;
    if let Some(on_ci) = &context.settings.on_ci {
        // Nothing of the host's is in reach there, overlay networks have been closed since it began, and its own rules are
        // the ones that count.
        let closed = on_ci.room.closed(processes).await;
        return closed.map_err(|reason| RunError::Infra {
            error: format!(
                "containers of CI's engine may reach this host's own addresses: {reason}"
            )
            .into(),
            hints: vec![
                "as root: recipe-ci engine down --keep-data && recipe-ci engine up".to_owned(),
            ],
        });
    }
    nothing_is_mounted_below(projects)?;
    let port = engine.data_path_port().await?;
    let closed = overlay_port::close(processes, port).await;
    if closed == Ok(true) {
        context.events.warn(format!(
            "containers of this host reach its overlay networks no more: made the rules `{}`",
            overlay_port::command(port)
        ));
    }
    if context.settings.accept_shared_engine {
        return Ok(());
    }
    if let Some(odd) = engine.odd_bridge().await? {
        return Err(open_way(
            format!(
                "the network `docker_gwbridge` is not as Docker makes it, so containers may reach what they should not: {odd}"
            ),
            "make it anew, as https://docs.docker.com/engine/swarm/networking/#customize-the-docker_gwbridge says, without \
             that"
            .to_owned(),
        ));
    }
    if let Err(reason) = closed {
        return Err(open_way(
            format!(
                "containers of this host may reach all of its overlay networks through UDP {port}, and that cannot be \
                 closed here: {reason}"
            ),
            format!(
                "as root, on the engine's host: {}",
                overlay_port::command(port)
            ),
        ));
    }
    let how = match addresses::look(processes).await {
        Way::Closed => return Ok(()),
        Way::Open => "reach".to_owned(),
        Way::Unknown(reason) => format!("may reach (it cannot be told: {reason})"),
    };
    Err(open_way(
        format!(
            "containers of this host {how} whatever listens at its own addresses, and a stranger's app would, too"
        ),
        format!(
            "as root, on the engine's host, with exceptions for ports that apps need (docs/security.md): {}",
            addresses::command()
        ),
    ))
}

/// Returns why an app of a stranger is not deployed on a host that is open to it.
fn open_way(error: String, fix: String) -> RunError {
    RunError::Infra {
        error: error.into(),
        hints: vec![
            fix,
            "--accept-shared-engine (CCCI_ACCEPT_SHARED_ENGINE=1) where that is closed otherwise, or nothing that has to \
             be kept from strangers is there"
                .to_owned(),
            "or an engine of CI's own, from which neither is reached: recipe-ci engine up, then --engine ci"
                .to_owned(),
        ],
    }
}

/// Makes sure that nothing is mounted below a directory of the host that an app may read and not write. Engines before 25
/// make the directory's own mount read-only, and not those below it:
/// <https://docs.docker.com/engine/storage/bind-mounts/#recursive-mounts>.
fn nothing_is_mounted_below<'a>(
    projects: impl Iterator<Item = &'a Resolved>,
) -> Result<(), RunError> {
    let mounted = host_file::text("/proc/self/mountinfo").map_err(RunError::infra)?;
    for project in projects {
        for (service, source) in read_only_binds(project.document()) {
            if let Some(below) = mounted_below(&mounted, source) {
                return Err(RunError::Infra {
                    error: format!(
                        "service `{service}` is granted to read `{source}`, and could write to `{below}`, which is mounted \
                         below it"
                    )
                    .into(),
                    hints: vec![
                        "grant a directory without mounts below it, or `write: true`".to_owned(),
                    ],
                });
            }
        }
    }
    Ok(())
}

/// Returns every directory of the host that a service may read and not write, with the service.
fn read_only_binds(document: &Value) -> Vec<(&str, &str)> {
    let services = document["services"].as_object().into_iter().flatten();
    services
        .flat_map(|(name, service)| {
            let mounts = service["volumes"].as_array().into_iter().flatten();
            mounts.filter_map(|mount| {
                let is_read = mount["type"] == "bind" && mount["read_only"] == true;
                Some((name.as_str(), mount["source"].as_str().filter(|_| is_read)?))
            })
        })
        .collect()
}

/// Returns a place below `source` at which something is mounted, from a list as `proc_pid_mountinfo(5)` has it.
fn mounted_below(mountinfo: &str, source: &str) -> Option<String> {
    let real = std::path::Path::new(source).canonicalize();
    let real = real.unwrap_or_else(|_| source.into());
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescaped)
        .find(|place| {
            let place = std::path::Path::new(place);
            place != real && place.starts_with(&real)
        })
}

/// Returns a field with its characters in place of their octal numbers: a blank is `\040`.
fn unescaped(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |field, (number, c)| {
        field.replace(number, c)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_mounted_below_a_directory_that_is_to_be_read_is_found() {
        let list = "22 1 0:20 / /proc rw - proc proc rw\n\
            30 1 0:21 / /srv/a\\040b/c rw - tmpfs x rw\n31 1 0:22 / /srv/ab rw - tmpfs x rw";
        assert_eq!(
            mounted_below(list, "/srv/a b").as_deref(),
            Some("/srv/a b/c")
        );
        assert_eq!(mounted_below(list, "/srv/a b/c"), None);
        assert_eq!(mounted_below(list, "/srv/a"), None);
        assert_eq!(mounted_below(list, "/").as_deref(), Some("/proc"));
        let mount = |read_only: bool, kind: &str| json!({"type": kind, "source": "/srv", "target": "/x", "read_only": read_only});
        let document = json!({"services": {
            "app": {"volumes": [mount(true, "bind"), mount(false, "bind"), mount(true, "volume")]}
        }});
        assert_eq!(read_only_binds(&document), [("app", "/srv")]);
    }
}
