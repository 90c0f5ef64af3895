//! Containers of a stack: commands inside them, their logs, their addresses.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder,
    LogsOptionsBuilder, StatsOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::bridge::GATEWAY_BRIDGE;
use super::{Engine, EngineError, filters};
use crate::process::{Stream, Tail};
use crate::wait::{Deadline, Poll, WaitError, poll_until};

/// How much of a command's standard output is kept, in bytes.
const CAPTURE_LIMIT: usize = 4 << 20;

/// How long the engine may take to note the exit code of a command whose output has ended.
/// A container that is gone answers at once, so only a busy engine takes it, and the recipe is not to blame for that.
const EXIT_GRACE: Duration = Duration::from_secs(30);

/// A command inside a container that has ended.
#[derive(Debug, Clone)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i64,
    /// What it wrote to standard output, up to 4 MiB.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to 4 MiB.
    pub stderr: Vec<u8>,
    /// The last lines of both, in the order of arrival.
    pub tail: Vec<String>,
}

impl Engine {
    /// Runs `command` inside `container` and waits for its end, at most `limit`.
    ///
    /// A command that takes longer cannot be killed through the API; it dies with its container.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be started, or takes too long. An exit code other than 0 is no error.
    pub async fn exec(
        &self,
        container: &str,
        command: &[String],
        input: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<ExecOutput, EngineError> {
        let shown = command.join(" ");
        match tokio::time::timeout(limit, self.exec_to_end(container, command, input)).await {
            Ok(result) => result,
            Err(_) => Err(EngineError::ExecTimedOut {
                command: shown,
                limit_s: limit.as_secs(),
            }),
        }
    }

    async fn exec_to_end(
        &self,
        container: &str,
        command: &[String],
        input: Option<Vec<u8>>,
    ) -> Result<ExecOutput, EngineError> {
        let what = || {
            format!(
                "run `{}` in container {}",
                command.join(" "),
                short(container)
            )
        };
        let options = CreateExecOptions {
            attach_stdin: Some(input.is_some()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        // One that is prepared and never started does nothing.
        let exec = self
            .ask(what, async || {
                self.docker.create_exec(container, options.clone()).await
            })
            .await?;
        let started = self
            .docker
            .start_exec(&exec.id, Some(StartExecOptions::default()))
            .await
            .map_err(|error| self.failed(what(), error))?;
        let mut result = ExecOutput {
            code: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            tail: Vec::new(),
        };
        let mut tail = Tail::default();
        if let StartExecResults::Attached {
            mut output,
            input: mut stdin,
        } = started
        {
            let feed = async {
                if let Some(bytes) = input {
                    // A command need not read its input to the end.
                    drop(stdin.write_all(&bytes).await);
                    drop(stdin.shutdown().await);
                }
                stdin
            };
            let read = async {
                while let Some(piece) = output.next().await {
                    match piece.map_err(|error| self.failed(what(), error))? {
                        LogOutput::StdErr { message } => {
                            tail.push(Stream::Err, &message);
                            keep(&mut result.stderr, &message);
                        }
                        LogOutput::StdOut { message } | LogOutput::Console { message } => {
                            tail.push(Stream::Out, &message);
                            keep(&mut result.stdout, &message);
                        }
                        LogOutput::StdIn { .. } => {}
                    }
                }
                Ok::<(), EngineError>(())
            };
            let (_stdin, ended) = futures_util::join!(feed, read);
            ended?;
        }
        // The output may end a moment before the engine has noted the command's end.
        let noted = poll_until(
            Deadline::after(EXIT_GRACE),
            Duration::from_millis(20),
            || async {
                let exec = self
                    .ask(what, async || self.docker.inspect_exec(&exec.id).await)
                    .await?;
                Ok::<_, EngineError>(match exec.exit_code {
                    Some(code) if exec.running != Some(true) => Poll::Ready(code),
                    _ => Poll::NotYet("running".to_owned()),
                })
            },
        )
        .await;
        result.code = match noted {
            Ok(code) => code,
            Err(WaitError::Failed(error)) => return Err(error),
            // No exit code means that the container went away under the command: that is no success.
            Err(WaitError::TimedOut { .. }) => {
                return Err(EngineError::Incomplete {
                    what: what(),
                    lacks: "an exit code",
                });
            }
        };
        result.tail = tail.lines();
        Ok(result)
    }

    /// Returns what the engine knows of a container.
    pub(super) async fn inspected(
        &self,
        container: &str,
    ) -> Result<ContainerInspectResponse, EngineError> {
        self.ask(
            || format!("inspect container {}", short(container)),
            async || {
                let none = None::<InspectContainerOptions>;
                self.docker.inspect_container(container, none).await
            },
        )
        .await
    }

    /// Returns whether a container ended because it reached its memory limit; one that is gone did not.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be inspected.
    pub async fn was_out_of_memory(&self, container: &str) -> Result<bool, EngineError> {
        match self.inspected(container).await {
            Ok(found) => Ok(found
                .state
                .and_then(|state| state.oom_killed)
                .unwrap_or(false)),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns how much CPU time a container has used since its start; `None` of one that is gone or where the engine
    /// does not know.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot be asked.
    pub async fn cpu_time(&self, container: &str) -> Result<Option<Duration>, EngineError> {
        let once = StatsOptionsBuilder::new()
            .stream(false)
            .one_shot(true)
            .build();
        let mut stats = std::pin::pin!(self.docker.stats(container, Some(once)));
        let what = || format!("measure container {}", short(container));
        let stats = match stats.next().await {
            None => return Ok(None),
            Some(stats) => stats.map_err(|error| self.failed(what(), error)),
        };
        let stats = match stats {
            Err(error) if error.is_gone() => return Ok(None),
            stats => stats?,
        };
        let usage = stats.cpu_stats.and_then(|stats| stats.cpu_usage);
        let used = usage.and_then(|usage| usage.total_usage);
        // Without the controller of the kernel the engine says zero, which no process has used.
        Ok(used.filter(|used| *used > 0).map(Duration::from_nanos))
    }

    /// Returns the address of a container on the engine's gateway bridge, or `None` when it has none there
    /// (not running, or only on networks without a way out).
    ///
    /// # Errors
    /// [`EngineError`] when the bridge cannot be inspected.
    pub async fn address_of(
        &self,
        container: &str,
    ) -> Result<Option<std::net::IpAddr>, EngineError> {
        let network = self
            .ask(
                || format!("inspect network `{GATEWAY_BRIDGE}`"),
                async || {
                    let none = None::<InspectNetworkOptions>;
                    self.docker.inspect_network(GATEWAY_BRIDGE, none).await
                },
            )
            .await?;
        let found = network
            .containers
            .unwrap_or_default()
            .remove(container)
            .and_then(|leg| leg.ipv4_address);
        Ok(found.and_then(|text| {
            text.split('/')
                .next()
                .and_then(|address| address.parse().ok())
        }))
    }

    /// Returns the last `lines` lines of a container's output, oldest first.
    ///
    /// # Errors
    /// [`EngineError`] when they cannot be read.
    pub async fn container_log(
        &self,
        container: &str,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut stream = self.docker.logs(container, Some(options));
        let mut tail = Tail::of(lines);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| {
                self.failed(
                    format!("read the logs of container {}", short(container)),
                    error,
                )
            })?;
            let stream = if matches!(piece, LogOutput::StdErr { .. }) {
                Stream::Err
            } else {
                Stream::Out
            };
            tail.push(stream, &piece.into_bytes());
        }
        Ok(tail.lines())
    }

    /// Returns the last three containers of a service, newest first, running or not.
    async fn newest_containers(&self, service_id: &str) -> Result<Vec<String>, EngineError> {
        let by = filters([("label", format!("com.docker.swarm.service.id={service_id}"))]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&by)
            .build();
        let mut containers = self
            .ask(
                || "list the containers of a service".to_owned(),
                async || self.docker.list_containers(Some(options.clone())).await,
            )
            .await?;
        containers.sort_by_key(|container| std::cmp::Reverse(container.created.unwrap_or(0)));
        Ok(containers
            .into_iter()
            .take(3)
            .filter_map(|container| container.id)
            .collect())
    }

    /// Returns what the last healthcheck of a service's newest running container said: its exit code and
    /// its output. `None` when no container has had one.
    ///
    /// # Errors
    /// [`EngineError`] when containers cannot be read.
    pub async fn last_health(
        &self,
        service_id: &str,
    ) -> Result<Option<(i64, String)>, EngineError> {
        for id in self.newest_containers(service_id).await? {
            if let Some(last) = self.probes(&id).await?.pop() {
                return Ok(Some((last.code, last.output)));
            }
        }
        Ok(None)
    }

    /// Returns the last `lines` lines of what the newest container of a service wrote, running or not.
    ///
    /// The service-log API is not used: on 20.10 it can hang for tasks whose container is gone.
    ///
    /// # Errors
    /// [`EngineError`] when containers or logs cannot be read.
    pub async fn service_log(
        &self,
        service_id: &str,
        lines: usize,
    ) -> Result<Vec<String>, EngineError> {
        // The newest may not have written anything yet; then the one before it has what explains the end.
        for id in self.newest_containers(service_id).await? {
            let log = self.container_log(&id, lines).await?;
            if !log.is_empty() {
                return Ok(log);
            }
        }
        Ok(Vec::new())
    }
}

fn keep(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let room = CAPTURE_LIMIT.saturating_sub(buffer.len());
    buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Returns the first 12 digits of an id, as people know it from `docker ps`.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
