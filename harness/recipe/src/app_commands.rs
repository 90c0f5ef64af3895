//! Functions of `abra.sh` that are run inside containers after a deploy: `POST_DEPLOY_CMDS`, `POST_UPGRADE_CMDS`.
//!
//! abra reads `SERVICE FUNCTION ARGUMENTS|SERVICE FUNCTION` from the app's env file, and runs each as `abra app cmd` does:
//! <https://git.coopcloud.tech/toolshed/abra/src/branch/main/cli/internal/deploy.go> (`PostCmds`).

use std::collections::BTreeMap;

/// After what commands are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// After the deploy of a new app.
    Deploy,
    /// After an upgrade.
    Upgrade,
}

impl After {
    /// Returns the variable of the app's env file that names them.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Deploy => "POST_DEPLOY_CMDS",
            Self::Upgrade => "POST_UPGRADE_CMDS",
        }
    }
}

/// A function that is run inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCommand {
    /// In whose container.
    pub service: String,
    /// The function, and what it is given, as a shell reads it.
    pub call: String,
}

/// Returns the commands that the variables of an app name.
///
/// # Errors
/// Which part of the variable is no command.
pub fn of(vars: &BTreeMap<String, String>, after: After) -> Result<Vec<AppCommand>, String> {
    let name = after.variable();
    let text = vars.get(name).map(|text| text.trim()).unwrap_or_default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let command = |part: &str| match part.trim().split_once(char::is_whitespace) {
        Some((service, call)) => Ok(AppCommand {
            service: service.to_owned(),
            call: call.trim().to_owned(),
        }),
        None => Err(format!(
            "{name}: `{}` is no service and a function of abra.sh",
            part.trim()
        )),
    };
    text.split('|').map(command).collect()
}

impl AppCommand {
    /// Returns what a shell of the container is given, with `abra.sh` as its input: the same variables as of abra.
    #[must_use]
    pub fn script(&self, domain: &str, stack: &str) -> String {
        let Self { service, call } = self;
        format!(
            "TARGET={service}; APP_NAME={domain}; STACK_NAME={stack}; . /dev/stdin || exit; {call}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let vars = BTreeMap::from([("POST_DEPLOY_CMDS".to_owned(), text.to_owned())]);
        assert_eq!(of(&vars, After::Upgrade), Ok(Vec::new()));
        let commands = of(&vars, After::Deploy)?.into_iter();
        Ok(commands.map(|one| (one.service, one.call)).collect())
    }

    #[test]
    fn commands_are_services_with_functions_and_their_arguments() {
        let pair = |service: &str, call: &str| (service.to_owned(), call.to_owned());
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(
            read("app set_up admin 'a b'|db  grow"),
            Ok(vec![pair("app", "set_up admin 'a b'"), pair("db", "grow")])
        );
        for wrong in ["app", "app set_up|", "app set_up|db"] {
            assert!(
                read(wrong).unwrap_err().contains("POST_DEPLOY_CMDS"),
                "{wrong}"
            );
        }
    }
}
