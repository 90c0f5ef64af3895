//! `recipe-ci app`: how tests reach the app without knowing Swarm, and people one that is held.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use harness::hold::STATE;
use harness::host_file;
use harness::http::{Http, Question};
use harness::live;
use harness::name::{Domain, StackName};
use harness::process::Processes;
use harness::swarm::service::StackState;
use harness::swarm::{Engine, EngineError};
use harness::tier::state::AppState;

use super::{infra, usage};
use crate::cli::{AppArgs, AppCommand};
use crate::env;
use crate::exit::Exit;
use crate::settings::{UsageError, host_dirs};
use crate::ui;

/// How long a command in the app's container may run; the test's own limit ends it sooner.
const EXEC_LIMIT: Duration = Duration::from_secs(600);

struct App {
    state: AppState,
    engine: Engine,
    domain: Domain,
    stack: StackName,
}

pub(crate) async fn app(args: AppArgs) -> ExitCode {
    let AppArgs { run, command } = args;
    let found = match &run {
        Some(run) => App::of_run(run),
        None => App::find(),
    };
    let app = match found {
        Ok(app) => app,
        Err(error) => return usage(&error).into(),
    };
    match command {
        AppCommand::Exec { service, command } => app.exec(service, &command).await,
        AppCommand::Http {
            method,
            headers,
            data,
            status,
            path,
        } => {
            let mut question = Question {
                method,
                path,
                host: None,
                headers: Vec::new(),
                body: data.map(String::into_bytes),
            };
            for header in &headers {
                let Some((name, value)) = header.split_once(':') else {
                    let error = format!("header `{header}` is not `Name: value`").into();
                    return usage(&UsageError {
                        error,
                        hints: Vec::new(),
                    })
                    .into();
                };
                question
                    .headers
                    .push((name.trim().to_owned(), value.trim().to_owned()));
            }
            app.http(&question, status).await.into()
        }
        AppCommand::Logs { service, lines } => app.logs(service, lines).await.into(),
        AppCommand::Env { key } => app.env(key.as_deref()).into(),
    }
}

impl App {
    /// Finds the app that a run holds.
    fn of_run(run: &str) -> Result<Self, UsageError> {
        let held = |error: String| {
            UsageError {
            error: error.into(),
            hints: vec![
                "`recipe-ci ps` lists what is held; `recipe-ci run … --keep failed=2h` holds the app of a red run".to_owned(),
            ],
        }
        };
        let runs = live::list(&host_dirs()).runs;
        if !runs.iter().any(|one| one.run_id == run && one.is_held()) {
            return Err(held(format!("run {run} holds no app")));
        }
        let path = host_dirs().runs.join(run).join("state").join(STATE);
        AppState::read(&path)
            .map_err(|error| error.to_string())
            .and_then(Self::of)
            .map_err(|error| held(format!("`{}`: {error}", path.display())))
    }

    /// Finds the app of the run that this process is part of.
    fn find() -> Result<Self, UsageError> {
        let outside = |error: String| {
            UsageError {
            error: error.into(),
            hints: vec![
                "`recipe-ci app` works inside a run, for its tests and hooks; `--run RUN` is for an app that is held".to_owned(),
            ],
        }
        };
        let path = env::path("CCCI_OP_STATE_FILE")
            .ok_or_else(|| outside("this is not inside a run".to_owned()))?;
        let state = AppState::read(&path).map_err(|error| {
            outside(format!(
                "the run's state `{}` cannot be read: {error}",
                path.display()
            ))
        })?;
        Self::of(state).map_err(outside)
    }

    fn of(state: AppState) -> Result<Self, String> {
        let engine = Engine::connect(&state.docker_host).map_err(|error| error.to_string())?;
        let domain = state.app().map_err(|error| error.to_string())?;
        Ok(Self {
            stack: domain.stack(),
            domain,
            engine,
            state,
        })
    }

    async fn stack_state(&self) -> Result<StackState, EngineError> {
        self.engine.stack_state(&self.stack).await
    }

    fn service(&self, given: Option<String>) -> String {
        given
            .or_else(|| self.state.main_service.clone())
            .unwrap_or_else(|| "app".to_owned())
    }

    async fn exec(&self, service: Option<String>, command: &[String]) -> ExitCode {
        let service = self.service(service);
        let state = match self.stack_state().await {
            Ok(state) => state,
            Err(error) => return infra(&error, &[]).into(),
        };
        let Some(container) = state.container_of(&service) else {
            return infra(
                &std::io::Error::other(format!("service `{service}` has no running container")),
                &[],
            )
            .into();
        };
        let mut input = None;
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            return self.attached(container, command);
        }
        if !std::io::stdin().is_terminal() {
            let mut bytes = Vec::new();
            if std::io::stdin().read_to_end(&mut bytes).is_ok() && !bytes.is_empty() {
                input = Some(bytes);
            }
        }
        match self
            .engine
            .exec(container, command, input, EXEC_LIMIT)
            .await
        {
            Ok(output) => {
                drop(std::io::stdout().write_all(&output.stdout));
                drop(std::io::stderr().write_all(&output.stderr));
                ExitCode::from(u8::try_from(output.code).unwrap_or(1))
            }
            Err(error) => infra(&error, &[]).into(),
        }
    }

    /// Becomes Docker's client, which knows what a terminal needs: raw mode, its size, and its signals.
    fn attached(&self, container: &str, command: &[String]) -> ExitCode {
        let words = ["--host", &self.state.docker_host, "exec", "-it", container];
        let words = words.into_iter().chain(command.iter().map(String::as_str));
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let processes = Processes::new(env::for_children());
        let docker = processes.which("docker").unwrap_or_else(|| "docker".into());
        let failed = harness::process::exec(&docker, &words);
        infra(&failed, &[]).into()
    }

    async fn http(&self, question: &Question, expected: Option<u16>) -> Exit {
        let http = match Http::new(&self.domain, self.state.gateway.as_ref()) {
            Ok(http) => http,
            Err(error) => return infra(&error, &[]),
        };
        let way = match self.state.way(&self.engine).await {
            Ok(way) => way,
            Err(error) => return infra(&error, &[]),
        };
        match http.ask(&way, question).await {
            Ok(answer) => {
                drop(std::io::stdout().write_all(&answer.body));
                drop(std::io::stdout().flush());
                let good = match expected {
                    Some(status) => status == answer.status,
                    None => (200..400).contains(&answer.status),
                };
                if good {
                    return Exit::Passed;
                }
                ui::say(&format!("status {} for {}", answer.status, question.path));
                Exit::Failed
            }
            Err(error) => {
                ui::say(&format!("{}: {error}", question.path));
                Exit::Failed
            }
        }
    }

    async fn logs(&self, service: Option<String>, lines: usize) -> Exit {
        let service = self.service(service);
        let log = async {
            let state = self.stack_state().await?;
            match state.services.get(&service) {
                Some(found) => self.engine.service_log(&found.id, lines).await.map(Some),
                None => Ok(None),
            }
        };
        match log.await {
            Ok(Some(lines)) => {
                drop(ui::print_data(&lines.join("\n")));
                Exit::Passed
            }
            Ok(None) => infra(
                &std::io::Error::other(format!("there is no service `{service}`")),
                &[],
            ),
            Err(error) => infra(&error, &[]),
        }
    }

    fn env(&self, key: Option<&str>) -> Exit {
        let path = &self.state.env_file;
        let text = match host_file::text(path) {
            Ok(text) => text,
            Err(error) => return infra(&error, &[]),
        };
        let Some(key) = key else {
            drop(ui::print_data(text.trim_end()));
            return Exit::Passed;
        };
        let name = path.display().to_string();
        let vars = harness::recipe::env::EnvFile::parse(&text, &name)
            .and_then(|file| file.resolve(&Default::default()));
        match vars {
            Ok(vars) => match vars.get(key) {
                Some(value) => {
                    drop(ui::print_data(value));
                    Exit::Passed
                }
                None => {
                    ui::say(&format!("`{key}` is not set in {name}"));
                    Exit::Failed
                }
            },
            Err(error) => infra(&error, &[]),
        }
    }
}
