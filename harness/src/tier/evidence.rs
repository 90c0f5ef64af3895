//! What explains a failure: the logs of services and what their healthchecks said.

use super::Bench;
use super::hooks::keep;
use crate::event::Event;
use crate::report::printable;

/// How many log lines explain a failure.
const LOG_LINES: usize = 40;

/// How many are kept in a file.
const KEPT_LINES: usize = 1000;

impl Bench {
    /// Swarm only says `starting` of a task whose healthcheck fails; the container knows more.
    pub(super) async fn failing_healthchecks(&self, services: &[String]) -> Vec<String> {
        let Ok(state) = self.state().await else {
            return Vec::new();
        };
        let mut failing = Vec::new();
        for name in services {
            let Some(service) = state.services.get(name) else {
                continue;
            };
            if let Ok(Some((code, _))) = self.engine().last_health(&service.id).await
                && code != 0
            {
                failing.push(format!(
                    "the healthcheck of `{name}` fails with exit code {code}"
                ));
            }
        }
        failing
    }

    /// Shows the last log lines of `services`. A log that cannot be read is said and stops nothing.
    pub async fn show_logs(&self, services: &[String]) {
        let Ok(state) = self.state().await else {
            return;
        };
        for name in services {
            let Some(service) = state.services.get(name) else {
                continue;
            };
            let (lines, log) = match self.engine().service_log(&service.id, KEPT_LINES).await {
                Ok(lines) if lines.is_empty() => (vec!["(it wrote nothing)".to_owned()], None),
                Ok(mut lines) => {
                    let log = self.keep_log(name, &lines);
                    (lines.split_off(lines.len().saturating_sub(LOG_LINES)), log)
                }
                Err(error) => (vec![format!("(its log cannot be read: {error})")], None),
            };
            self.events.emit(&Event::FailureOutput {
                title: format!("log of service `{name}`"),
                lines,
                log,
            });
            if let Ok(Some((code, output))) = self.engine().last_health(&service.id).await
                && code != 0
            {
                self.events.emit(&Event::FailureOutput {
                    title: format!("last healthcheck of service `{name}`: exit code {code}"),
                    lines: output.lines().map(str::to_owned).collect(),
                    log: None,
                });
            }
        }
    }

    /// Keeps what a service wrote among the logs; returns the file's name. One that cannot be written explains nothing,
    /// and stops nothing either.
    fn keep_log(&self, service: &str, lines: &[String]) -> Option<String> {
        let name = format!("service-{}.log", service.replace('/', "-"));
        let lines = lines.iter().map(|line| printable(line) + "\n");
        let text = self.redactor.apply(&lines.collect::<String>()).into_owned();
        let kept = keep(&self.dirs().logs.join(&name), &text);
        kept.inspect_err(|error| tracing::debug!(%error, "a log was not kept"))
            .ok()?;
        Some(name)
    }
}
