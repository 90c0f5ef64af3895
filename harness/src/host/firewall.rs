//! The host's filter table, as far as it decides what containers of Swarm's tasks reach.
//!
//! Read and changed with the program `iptables`, which dockerd itself uses, so that both see the same rules whichever
//! of its two back ends is there. A host that filters with `nft` alone has rules that are not seen here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::process::{Cmd, Finished, Processes};

/// The bridge by which every task of Swarm reaches what is outside its networks, as Docker makes it; `bridge` asks the
/// engine whether it is so.
pub(super) const BRIDGE: &str = "docker_gwbridge";

/// How long one change of a table may take, in which one waits for another.
const LIMIT: Duration = Duration::from_secs(30);

/// How a way from containers into the host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// What they send there is dropped.
    Closed,
    /// It is delivered.
    Open,
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// A chain of the filter table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    /// What is for this host itself.
    Input,
    /// What is for others, before Docker's own rules.
    DockerUser,
}

impl Chain {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::DockerUser => "DOCKER-USER",
        }
    }

    /// Returns what a person types to put `rule` first.
    pub(super) fn insertion(self, rule: &[String]) -> String {
        format!("iptables -w -I {} {}", self.name(), rule.join(" "))
    }

    /// Puts `rule` first.
    pub(super) async fn insert(self, processes: &Processes, rule: &[String]) -> Result<(), String> {
        let words = ["-I", self.name()].map(str::to_owned);
        let done = ask(processes, words.iter().chain(rule)).await?;
        if done.status.success() {
            Ok(())
        } else {
            Err(said(&done))
        }
    }

    /// Returns its rules as `iptables -S` lists them, or `None` where Docker did not make the chain.
    pub(super) async fn list(self, processes: &Processes) -> Result<Option<String>, String> {
        let words = ["-S", self.name()].map(str::to_owned);
        let done = ask(processes, &words).await?;
        if done.status.success() {
            return Ok(Some(String::from_utf8_lossy(&done.stdout).into_owned()));
        }
        let said = said(&done);
        if self == Self::DockerUser && said.contains("No chain") {
            return Ok(None);
        }
        Err(said)
    }
}

/// A line of a chain, as `iptables -S` lists it.
#[derive(Debug, Clone)]
pub(super) struct Rule<'list>(Vec<&'list str>);

impl<'list> Rule<'list> {
    /// Returns every line of `list`, the chain's policy among them.
    pub(super) fn all(list: &'list str) -> impl Iterator<Item = Self> {
        list.lines().map(|line| Self(words(line)))
    }

    /// Returns its words after the chain.
    pub(super) fn words(&self) -> impl Iterator<Item = &'list str> {
        self.0.iter().skip(2).copied()
    }

    /// Returns whether it is the chain's policy, and that lets nothing pass.
    pub(super) fn is_closed_policy(&self) -> bool {
        self.0.first() == Some(&"-P") && self.0.get(2) == Some(&"DROP")
    }

    /// Returns whether it may end the way through its chain of a packet of a container, and not by dropping it. What no
    /// word of it speaks against it may do.
    pub(super) fn may_let_pass(&self) -> bool {
        const HARMLESS: [&str; 6] = ["DROP", "REJECT", "LOG", "NFLOG", "MARK", "CONNMARK"];
        let is_of_another = |interface: &str| match interface.strip_suffix('+') {
            Some(start) => !BRIDGE.starts_with(start),
            None => interface != BRIDGE,
        };
        let target = self.plain("-j").or(self.plain("-g"));
        target.is_some_and(|target| !HARMLESS.contains(&target))
            && !self.plain("-i").is_some_and(is_of_another)
    }

    /// Returns whether it may be about packets of `protocol`.
    pub(super) fn may_be_about(&self, protocol: &str) -> bool {
        self.plain("-p").is_none_or(|named| named == protocol)
    }

    /// Returns whether it is about packets that answer what this host sent, alone.
    pub(super) fn is_for_answers(&self) -> bool {
        let states = self.plain("--ctstate").or(self.plain("--state"));
        states.is_some_and(|states| {
            states
                .split(',')
                .all(|state| matches!(state, "RELATED" | "ESTABLISHED"))
        })
    }

    /// Returns whether it is about some ports for containers, each of which somebody wrote for them.
    pub(super) fn is_for_ports_of_containers(&self) -> bool {
        let ports = self.plain("--dport").or(self.plain("--dports"));
        let is_one = |port: &str| port.parse::<u16>().is_ok();
        ports.is_some_and(|ports| ports.split(',').all(is_one)) && self.plain("-i") == Some(BRIDGE)
    }

    /// Returns the word after `flag`, unless the match is turned round.
    fn plain(&self, flag: &str) -> Option<&'list str> {
        let at = self.0.iter().position(|word| *word == flag)?;
        let is_negated = at > 0 && self.0[at - 1] == "!";
        self.0.get(at + 1).copied().filter(|_| !is_negated)
    }
}

/// Returns the words of a rule; what stands in quotes, as a comment does, is one, with its quotes.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quoted, mut escaped) = (None, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                words.extend(start.take().map(|start| &line[start..at]));
                continue;
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    words.extend(start.map(|start| &line[start..]));
    words
}

fn said(done: &Finished) -> String {
    done.tail.join("; ")
}

async fn ask(
    processes: &Processes,
    words: impl IntoIterator<Item = &String>,
) -> Result<Finished, String> {
    let Some(program) = program(processes) else {
        return Err("there is no `iptables`".to_owned());
    };
    let mut cmd = Cmd::new(program, Path::new("/")).arg("-w");
    for word in words {
        cmd = cmd.arg(word);
    }
    let done = processes.run(&cmd, LIMIT).await;
    done.map_err(|error| ground::error::chain(&error))
}

/// Finds the program, which dockerd has too; the `PATH` of a pipeline's step often has no `sbin`.
fn program(processes: &Processes) -> Option<PathBuf> {
    let found = processes.which("iptables");
    found.or_else(|| {
        let usual = ["/usr/sbin/iptables", "/sbin/iptables"].map(PathBuf::from);
        usual.into_iter().find(|path| path.is_file())
    })
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::BTreeMap;

    use engine::process::{Processes, write_program};

    /// Returns processes that find an `iptables` which does `body`, with `$rules` as the path of a file of its own.
    pub(crate) fn iptables(dir: &std::path::Path, body: &str) -> Processes {
        let rules = dir.join("rules");
        engine::record::write_private(&rules, b"").unwrap();
        let text = format!("#!/bin/sh\nrules={}\n{body}\n", rules.display());
        write_program(&dir.join("iptables"), &text);
        let path = format!("{}:/usr/bin:/bin", dir.display());
        Processes::new(BTreeMap::from([("PATH".into(), path.into())]))
    }
}
