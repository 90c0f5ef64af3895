//! The hooks of labels around a backup and a restore.

use std::time::Duration;

use super::{Fault, Outcome};
use engine::swarm::service::StackState;
use engine::swarm::{Engine, EngineError};
use recipe::backup::{BackupPlan, ServiceHooks};

/// How long one hook may run.
const HOOK_LIMIT: Duration = Duration::from_secs(900);

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// Before volumes are saved.
    BackupPre,
    /// After they were.
    BackupPost,
    /// Before volumes are restored.
    RestorePre,
    /// After they were.
    RestorePost,
}

/// What a hook wrote.
#[derive(Debug, Clone)]
pub struct Said {
    /// The hook's service.
    pub service: String,
    /// Its command.
    pub command: String,
    /// Its exit code.
    pub code: i64,
    /// The last lines of what it wrote to either stream.
    pub lines: Vec<String>,
}

struct Hook<'a> {
    service: &'a str,
    command: &'a str,
}

impl HookKind {
    fn of(self, hooks: &ServiceHooks) -> Option<Hook<'_>> {
        let command = match self {
            Self::BackupPre => &hooks.backup_pre,
            Self::BackupPost => &hooks.backup_post,
            Self::RestorePre => &hooks.restore_pre,
            Self::RestorePost => &hooks.restore_post,
        };
        command.as_deref().map(|command| Hook {
            service: &hooks.service,
            command,
        })
    }
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BackupPre => "backup pre-hook",
            Self::BackupPost => "backup post-hook",
            Self::RestorePre => "restore pre-hook",
            Self::RestorePost => "restore post-hook",
        })
    }
}

/// Runs hooks in their services' containers; the first that fails ends it. What they wrote is added to `said`.
///
/// # Errors
/// [`EngineError`] when the engine fails.
pub async fn run_hooks(
    engine: &Engine,
    state: &StackState,
    plan: &BackupPlan,
    kind: HookKind,
    said: &mut Vec<Said>,
) -> Outcome<usize> {
    let hooks: Vec<Hook<'_>> = plan
        .services
        .iter()
        .filter_map(|service| kind.of(service))
        .collect();
    for hook in &hooks {
        let Some(container) = state.container_of(hook.service) else {
            return Ok(Err(Fault::new(format!(
                "{kind} of `{}`: the service has no running container",
                hook.service
            ))));
        };
        let command = [
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            hook.command.to_owned(),
        ];
        let output = match engine.exec(container, &command, None, HOOK_LIMIT).await {
            Ok(output) => output,
            // The container went away under the hook, or took for ever: the recipe's doing.
            Err(
                error @ (EngineError::ExecTimedOut { .. }
                | EngineError::Incomplete { .. }
                | EngineError::Refused { .. }),
            ) => {
                return Ok(Err(Fault::new(format!(
                    "{kind} of `{}`: {error}",
                    hook.service
                ))));
            }
            Err(error) => return Err(error),
        };
        said.push(Said {
            service: hook.service.to_owned(),
            command: hook.command.to_owned(),
            code: output.code,
            lines: output.tail.clone(),
        });
        if output.code != 0 {
            return Ok(Err(Fault {
                reason: format!(
                    "{kind} of `{}` ended with exit code {}: {}",
                    hook.service, output.code, hook.command
                ),
                tail: output.tail,
            }));
        }
    }
    Ok(Ok(hooks.len()))
}
