//! `restart` of a service: Docker's client takes it where `deploy.restart_policy` is missing, though it calls it
//! unsupported (`convertRestartPolicy` in docker/cli's `cli/compose/convert/service.go`).

use super::model::RestartPolicy;

/// What it may say.
const KNOWN: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];

/// Returns the policy that `restart` asks Swarm for. None leaves it at Swarm's default, which starts every task again:
/// so does `no`.
///
/// # Errors
/// Why Docker's client refuses it.
pub(super) fn policy(restart: &str) -> Result<Option<RestartPolicy>, String> {
    let (name, count) = restart.split_once(':').unwrap_or((restart, ""));
    if !restart.is_empty() && !KNOWN.contains(&name) {
        return Err(format!(
            "`{restart}` is not one of `{}`",
            KNOWN.join("`, `")
        ));
    }
    let attempts: i64 = match count {
        "" => 0,
        count => count
            .parse()
            .map_err(|_| format!("the number of attempts in `{restart}` is no number"))?,
    };
    if attempts < 0 {
        return Err(format!("the number of attempts in `{restart}` is negative"));
    }
    let condition = match name {
        "on-failure" => "on-failure",
        "" | "no" => return Ok(None),
        // Docker's clients before 29 drop the number, and later ones pass it on.
        _ if attempts > 0 => {
            return Err(format!(
                "the number of attempts in `{restart}` goes with `on-failure` alone"
            ));
        }
        _ => "any",
    };
    Ok(Some(RestartPolicy {
        condition: Some(condition.to_owned()),
        // 0 is no limit.
        max_attempts: Some(attempts.unsigned_abs()).filter(|attempts| *attempts > 0),
        ..RestartPolicy::default()
    }))
}

/// Returns whether Swarm does something else because of it.
pub(crate) fn has_effect(restart: &str) -> bool {
    policy(restart).is_ok_and(|policy| policy.is_some())
}
