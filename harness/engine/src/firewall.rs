//! The host's packet filter, as far as it decides what containers reach.
//!
//! Read and changed with the program `iptables`, which dockerd itself uses, so that both see the same rules whichever
//! of its two back ends is there. A host that filters with `nft` alone has rules that are not seen here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Cmd, Finished, Processes};

/// How long one look at a table or change of it may take, in which one waits for another.
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

/// A chain of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'name> {
    table: &'static str,
    name: &'name str,
}

/// The table that `iptables` means where none is named.
const FILTER: &str = "filter";

impl Chain<'static> {
    /// What is for this host itself.
    pub const INPUT: Self = Self {
        table: FILTER,
        name: "INPUT",
    };
    /// What is for others, before Docker's own rules.
    pub const DOCKER_USER: Self = Self {
        table: FILTER,
        name: "DOCKER-USER",
    };
}

impl<'name> Chain<'name> {
    /// Returns a chain of the table `mangle`, through which packets go before every rule of Docker's.
    #[must_use]
    pub fn of_mangle(name: &'name str) -> Self {
        Self {
            table: "mangle",
            name,
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'name str {
        self.name
    }

    /// Returns what a person types to put `rule` first.
    #[must_use]
    pub fn insertion(self, rule: &[String]) -> String {
        let mut words = self.words("-I");
        words.extend_from_slice(rule);
        format!("iptables -w {}", words.join(" "))
    }

    /// Puts `rule` first.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn insert(self, processes: &Processes, rule: &[String]) -> Result<(), String> {
        let mut words = self.words("-I");
        words.extend_from_slice(rule);
        let done = ask(processes, words).await?;
        if done.success() {
            Ok(())
        } else {
            Err(said(&done))
        }
    }

    /// Returns its rules as `iptables -S` lists them, or `None` for [`Chain::DOCKER_USER`] where Docker did not make it.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list(self, processes: &Processes) -> Result<Option<String>, String> {
        let done = ask(processes, self.words("-S")).await?;
        if done.success() {
            return Ok(Some(String::from_utf8_lossy(&done.stdout).into_owned()));
        }
        let said = said(&done);
        if self == Chain::DOCKER_USER && said.contains("No chain") {
            return Ok(None);
        }
        Err(said)
    }

    fn words(self, command: &str) -> Vec<String> {
        let table = (self.table != FILTER).then_some(["-t", self.table]);
        let table = table.into_iter().flatten();
        table
            .chain([command, self.name])
            .map(str::to_owned)
            .collect()
    }
}

/// A line of a chain, as `iptables -S` lists it.
#[derive(Debug, Clone)]
pub struct Rule<'list>(Vec<&'list str>);

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl<'list> Rule<'list> {
    /// Returns every line of `list`: the chain's own first, with its policy if it has one.
    pub fn all(list: &'list str) -> impl Iterator<Item = Self> {
        list.lines().map(|line| Self(words(line)))
    }

    /// Returns its words after the chain.
    pub fn words(&self) -> impl Iterator<Item = &'list str> {
        self.0.iter().skip(2).copied()
    }

    /// Returns whether it is a rule, and not the line of the chain itself.
    #[must_use]
    pub fn is_of_chain(&self) -> bool {
        self.0.first() == Some(&"-A")
    }

    /// Returns whether it is the chain's policy, and that lets nothing pass.
    #[must_use]
    pub fn is_closed_policy(&self) -> bool {
        self.0.first() == Some(&"-P") && self.0.get(2) == Some(&"DROP")
    }

    /// Returns whether it may end the way through its chain of a packet that came in at `interface`, and not by dropping
    /// it. What no word of it speaks against it may do; where another chain leads is not followed.
    #[must_use]
    pub fn may_let_pass(&self, interface: &str) -> bool {
        const HARMLESS: [&str; 6] = ["DROP", "REJECT", "LOG", "NFLOG", "MARK", "CONNMARK"];
        let is_another = |named: &str| match named.strip_suffix('+') {
            Some(start) => !interface.starts_with(start),
            None => named != interface,
        };
        let target = self.plain("-j").or(self.plain("-g"));
        target.is_some_and(|target| !HARMLESS.contains(&target))
            && !self.plain("-i").is_some_and(is_another)
    }

    /// Returns whether it may be about packets of `protocol`.
    #[must_use]
    pub fn may_be_about(&self, protocol: &str) -> bool {
        self.plain("-p").is_none_or(|named| named == protocol)
    }

    /// Returns whether it is about packets that answer what this host sent, alone.
    #[must_use]
    pub fn is_for_answers(&self) -> bool {
        let states = self.plain("--ctstate").or(self.plain("--state"));
        states.is_some_and(|states| {
            states
                .split(',')
                .all(|state| matches!(state, "RELATED" | "ESTABLISHED"))
        })
    }

    /// Returns whether it is about some ports for what comes in at `interface`, each of which somebody wrote for that.
    #[must_use]
    pub fn is_for_ports_at(&self, interface: &str) -> bool {
        let ports = self.plain("--dport").or(self.plain("--dports"));
        let is_one = |port: &str| port.parse::<u16>().is_ok();
        ports.is_some_and(|ports| ports.split(',').all(is_one))
            && self.plain("-i") == Some(interface)
    }

    /// Returns the word after `flag`, unless the match is turned round.
    fn plain(&self, flag: &str) -> Option<&'list str> {
        // What stands behind `--comment` is text, whatever it looks like.
        let is_text = |at: usize| at > 0 && self.0[at - 1] == "--comment";
        let mut all = self.0.iter().enumerate();
        let (at, _) = all.find(|(at, word)| **word == flag && !is_text(*at))?;
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

async fn ask(processes: &Processes, words: Vec<String>) -> Result<Finished, String> {
    let Some(program) = program(processes) else {
        return Err("there is no `iptables`".to_owned());
    };
    let cmd = Cmd::new(program, Path::new("/")).arg("-w").args(words);
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

/// An `iptables` for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::process::{Processes, write_program};

    /// Returns processes that find an `iptables` which does `body`, with `$rules` as the path of a file of its own.
    ///
    /// # Panics
    /// When it cannot be written below `dir`.
    #[must_use]
    pub fn iptables(dir: &Path, body: &str) -> Processes {
        let rules = dir.join("rules");
        crate::record::write_private(&rules, b"").expect("the directory is there");
        let text = format!("#!/bin/sh\nrules={}\n{body}\n", rules.display());
        write_program(&dir.join("iptables"), &text);
        let path = format!("{}:/usr/bin:/bin", dir.display());
        Processes::new(BTreeMap::from([("PATH".into(), path.into())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the filter table it is told in `harness::host`, where chains are judged by it.
    #[test]
    fn a_rule_may_let_packets_pass_unless_a_word_of_it_speaks_against_that() {
        let may = |rule: &str| Rule(words(rule)).may_let_pass("rci1");
        for passes in [
            "-A PREROUTING -j ACCEPT",
            "-A PREROUTING -i rci1 -j RETURN",
            "-A PREROUTING -i rci+ -g own",
            "-A PREROUTING ! -i rci1 -j own",
            "-A PREROUTING -m comment --comment \"-i eth0\" -j own",
            "-A PREROUTING -m comment --comment -i -j own",
        ] {
            assert!(may(passes), "{passes}");
        }
        for does_not in [
            "-P PREROUTING ACCEPT",
            "-N rci1",
            "-A PREROUTING -i rci10 -j rci10",
            "-A PREROUTING -i eth+ -j ACCEPT",
            "-A PREROUTING -j CONNMARK --restore-mark",
            "-A PREROUTING -i rci1",
        ] {
            assert!(!may(does_not), "{does_not}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_chain_is_asked_for_in_its_own_table() {
        let dir = tempfile::tempdir().unwrap();
        let processes = testing::iptables(dir.path(), "echo \"$*\"");
        for (chain, words) in [
            (Chain::INPUT, "-w -S INPUT\n"),
            (Chain::of_mangle("rci1"), "-w -t mangle -S rci1\n"),
        ] {
            assert_eq!(chain.list(&processes).await, Ok(Some(words.to_owned())));
        }
        let rule = ["-j".to_owned(), "DROP".to_owned()];
        assert_eq!(
            Chain::of_mangle("rci1").insertion(&rule),
            "iptables -w -t mangle -I rci1 -j DROP"
        );
        let gone = "echo 'iptables: No chain/target/match by that name.' >&2; exit 1";
        let gone = testing::iptables(dir.path(), gone);
        assert_eq!(Chain::DOCKER_USER.list(&gone).await, Ok(None));
        let rci = Chain::of_mangle("rci1").list(&gone).await;
        assert!(rci.unwrap_err().contains("No chain"));
    }
}
