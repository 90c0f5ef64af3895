//! What abra does once a deploy has converged: functions of the recipe's `abra.sh`, inside its containers.
//!
//! No shell of the host reads that file. What a function can do it could do in the container's own command, so whose
//! recipe it is makes no difference.

use super::{Bench, TierError, app_fault, beside};
use engine::swarm::service::StackState;
use engine::wait::Deadline;
use ground::source_tree::SourceTree;
use recipe::app_commands::{After, of};

/// As abra has it: bash where the container has it.
const SHELL: &str =
    r#"if [ -x /bin/bash ]; then exec /bin/bash -c "$0"; else exec /bin/sh -c "$0"; fi"#;

impl Bench {
    /// Runs the functions that the app's env file names for after this deploy, where the driver does not; returns how many
    /// ended with 0. The inner error is the first that did not, whose output was shown.
    ///
    /// # Errors
    /// [`TierError`] when the host fails.
    pub(super) async fn run_app_commands(
        &self,
        after: After,
        state: &StackState,
        deadline: Deadline,
    ) -> Result<Result<usize, String>, TierError> {
        if self.driver.runs_app_commands() {
            return Ok(Ok(0));
        }
        let commands = match of(&self.current.vars, after) {
            Ok(commands) if commands.is_empty() => return Ok(Ok(0)),
            Ok(commands) => commands,
            Err(reason) => return Ok(Err(reason)),
        };
        let name = after.variable();
        let root = self.current.root.clone();
        let read = beside(move || {
            let text = SourceTree::open(&root).and_then(|tree| tree.text("abra.sh"));
            text.map_err(|error| error.to_string())
        });
        let text = match read.await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Err(format!("{name}: the recipe has no abra.sh"))),
            Err(reason) => return Ok(Err(format!("{name}: {reason}"))),
        };
        let domain = self.lock.domain();
        for command in &commands {
            let what = format!(
                "{name}: `{}` in service `{}`",
                command.call, command.service
            );
            let Some(container) = state.container_of(&command.service) else {
                return Ok(Err(format!("{what}: it has no running container")));
            };
            let script = command.script(domain.as_str(), domain.stack().as_str());
            let line = ["/bin/sh", "-c", SHELL, &script].map(str::to_owned);
            let input = Some(text.clone().into_bytes());
            let ran = self.engine().exec(container, &line, input, deadline.left());
            let output = match app_fault(ran.await)? {
                Ok(output) => output,
                Err(reason) => return Ok(Err(format!("{what}: {reason}"))),
            };
            if output.code != 0 {
                self.events.emit(&crate::event::Event::FailureOutput {
                    title: what.clone(),
                    lines: output.tail,
                    log: None,
                });
                return Ok(Err(format!("{what} ended with exit code {}", output.code)));
            }
        }
        Ok(Ok(commands.len()))
    }
}
