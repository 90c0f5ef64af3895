//! What explains a failure: the logs of services and what their healthchecks said.

use super::Bench;
use crate::event::Event;

/// How many log lines explain a failure.
const LOG_LINES: usize = 40;

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
            let lines = match self.engine().service_log(&service.id, LOG_LINES).await {
                Ok(lines) if lines.is_empty() => vec!["(it wrote nothing)".to_owned()],
                Ok(lines) => lines,
                Err(error) => vec![format!("(its log cannot be read: {error})")],
            };
            self.events.emit(&Event::FailureOutput {
                title: format!("log of service `{name}`"),
                lines,
            });
            if let Ok(Some((code, output))) = self.engine().last_health(&service.id).await
                && code != 0
            {
                self.events.emit(&Event::FailureOutput {
                    title: format!("last healthcheck of service `{name}`: exit code {code}"),
                    lines: output.lines().map(str::to_owned).collect(),
                });
            }
        }
    }
}
