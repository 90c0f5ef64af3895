//! The port at which a node takes the packets of Swarm's overlay networks, closed to containers.
//!
//! VXLAN knows no sender (RFC 7348, section 7): the kernel delivers what arrives at the data path port, UDP 4789, to
//! whichever network the packet names, and answers the address that it came from. A container sends there by way of
//! `docker_gwbridge`, and Docker leaves the chain INPUT open: so an app of a stranger spoke to the database of another
//! app, in a network that it had never joined, without any capability. Between nodes no such packet comes over that
//! bridge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::process::{Cmd, Finished, Processes};

/// The bridge by which every task of Swarm reaches what is outside its networks.
const BRIDGE: &str = "docker_gwbridge";

/// The way to this host, and the way to others. Docker leaves the second to its user, and asks it first:
/// <https://docs.docker.com/engine/network/packet-filtering-firewalls/>.
const CHAINS: [&str; 2] = ["INPUT", "DOCKER-USER"];

/// How long one change of a table may take, in which one waits for another.
const LIMIT: Duration = Duration::from_secs(30);

/// How the port stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayPort {
    /// What containers send there is dropped.
    Closed,
    /// It is delivered.
    Open,
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// Returns the rule as it is written, but for the action and its chain.
fn rule(port: u16) -> [String; 8] {
    [
        "-i",
        BRIDGE,
        "-p",
        "udp",
        "--dport",
        &port.to_string(),
        "-j",
        "DROP",
    ]
    .map(str::to_owned)
}

/// Returns what a person types to close `port`.
#[must_use]
pub fn command(port: u16) -> String {
    let rule = rule(port).join(" ");
    CHAINS
        .map(|chain| format!("iptables -w -I {chain} {rule}"))
        .join(" && ")
}

/// Looks whether `port` is closed to containers, without changing anything.
pub async fn look(processes: &Processes, port: u16) -> OverlayPort {
    match open(processes, port).await {
        Err(reason) => OverlayPort::Unknown(reason),
        Ok(chains) if chains.is_empty() => OverlayPort::Closed,
        Ok(_) => OverlayPort::Open,
    }
}

/// Closes `port` to containers where it is open; returns whether it was.
///
/// # Errors
/// Why it cannot be closed, or why it is not known to be.
pub async fn close(processes: &Processes, port: u16) -> Result<bool, String> {
    let chains = open(processes, port).await?;
    if chains.is_empty() {
        return Ok(false);
    }
    for chain in chains {
        let [action, chain] = ["-I", chain].map(str::to_owned);
        let words = [action, chain].into_iter().chain(rule(port));
        let done = ask(processes, words).await?;
        if !done.status.success() {
            return Err(said(&done));
        }
    }
    match open(processes, port).await?.first() {
        None => Ok(true),
        Some(chain) => Err(format!("the rule was made in {chain} and is not there")),
    }
}

/// Returns the chains that lack the rule, or have it behind one that may let such a packet pass.
async fn open(processes: &Processes, port: u16) -> Result<Vec<&'static str>, String> {
    let mut open = Vec::new();
    for chain in CHAINS {
        let done = ask(processes, ["-S", chain].map(str::to_owned)).await?;
        if !done.status.success() {
            // With `"iptables": false` dockerd makes no chain of its own, and filters no container.
            if chain != "INPUT" && said(&done).contains("No chain") {
                continue;
            }
            return Err(said(&done));
        }
        let is_ours = |line: &str| {
            let words = line.split_whitespace().skip(2);
            // `iptables` names the match that `--dport` brings.
            words.eq(rule(port).iter().map(String::as_str).flat_map(|word| {
                let brought = (word == "--dport").then_some(["-m", "udp"]);
                brought.into_iter().flatten().chain([word])
            }))
        };
        let listed = String::from_utf8_lossy(&done.stdout);
        let mut deciding = listed
            .lines()
            .filter(|line| is_ours(line) || may_let_pass(line));
        if !deciding.next().is_some_and(is_ours) {
            open.push(chain);
        }
    }
    Ok(open)
}

/// Returns whether a rule, as `iptables` lists it, may end the way through its chain of a packet that ours drops, and
/// not by dropping it. What no word of it speaks against it may do.
fn may_let_pass(rule: &str) -> bool {
    const HARMLESS: [&str; 6] = ["DROP", "REJECT", "LOG", "NFLOG", "MARK", "CONNMARK"];
    let words: Vec<&str> = rule.split_whitespace().collect();
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        let is_negated = at > 0 && words[at - 1] == "!";
        words.get(at + 1).copied().filter(|_| !is_negated)
    };
    let is_of_another = |interface: &str| match interface.strip_suffix('+') {
        Some(start) => !BRIDGE.starts_with(start),
        None => interface != BRIDGE,
    };
    let target = after("-j").or(after("-g"));
    target.is_some_and(|target| !HARMLESS.contains(&target))
        && !after("-i").is_some_and(is_of_another)
        && after("-p").is_none_or(|protocol| protocol == "udp")
}

fn said(done: &Finished) -> String {
    done.tail.join("; ")
}

async fn ask(
    processes: &Processes,
    words: impl IntoIterator<Item = String>,
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
mod tests {
    use std::collections::BTreeMap;

    use engine::process::write_program;

    use super::*;

    /// Runs `look` and `close` with an `iptables` that keeps its rules in a file.
    async fn with(body: &str) -> (OverlayPort, Result<bool, String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("rules");
        engine::record::write_private(&rules, b"").unwrap();
        let text = format!("#!/bin/sh\nrules={}\n{body}\n", rules.display());
        write_program(&dir.path().join("iptables"), &text);
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let vars = BTreeMap::from([("PATH".into(), path.into())]);
        let processes = Processes::new(vars);
        let looked = look(&processes, 4789).await;
        let closed = close(&processes, 4789).await;
        (looked, closed, ground::host_file::text(&rules).unwrap())
    }

    const KEEPS: &str = r#"shift; action=$1; shift
        case $action in
        -S) echo "-P $1 ACCEPT"; grep "^-A $1 " "$rules" | sed 's/--dport/-m udp --dport/'; exit 0;;
        -I) echo "-A $*" >>"$rules";;
        esac"#;

    #[tokio::test(flavor = "current_thread")]
    async fn an_open_port_is_closed_once() {
        let (looked, closed, rules) = with(KEEPS).await;
        assert_eq!((looked, closed), (OverlayPort::Open, Ok(true)));
        assert_eq!(
            rules,
            "-A INPUT -i docker_gwbridge -p udp --dport 4789 -j DROP\n\
             -A DOCKER-USER -i docker_gwbridge -p udp --dport 4789 -j DROP\n"
        );
        let there = "echo \"-A $3 -i docker_gwbridge -p udp -m udp --dport 4789 -j DROP\"";
        let (looked, closed, rules) = with(there).await;
        assert_eq!(
            (looked, closed, &*rules),
            (OverlayPort::Closed, Ok(false), "")
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_rule_behind_one_that_lets_packets_pass_closes_nothing() {
        let behind = async |before: &str| {
            let text = format!(
                "echo \"-A $3 {before}\"; echo \"-A $3 -i docker_gwbridge -p udp -m udp --dport 4789 -j DROP\""
            );
            with(&text).await.0
        };
        for passes in [
            "-i docker_gwbridge -j ACCEPT",
            "-i docker+ -j ACCEPT",
            "! -i eth0 -j RETURN",
            "-p udp -j ufw-before-input",
            "! -p tcp -g own",
        ] {
            assert_eq!(behind(passes).await, OverlayPort::Open, "{passes}");
        }
        for does_not in [
            "-i lo -j ACCEPT",
            "-p tcp -m multiport --dports 22 -j f2b-sshd",
            "-j LOG --log-prefix x",
            "-s 10.0.0.0/8",
        ] {
            assert_eq!(behind(does_not).await, OverlayPort::Closed, "{does_not}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_chain_that_docker_did_not_make_is_done_without() {
        let without = format!(
            "case $3 in DOCKER-USER) echo 'iptables: No chain/target/match by that name.' >&2; exit 1;; esac\n{KEEPS}"
        );
        let (_, closed, rules) = with(&without).await;
        assert_eq!(closed, Ok(true));
        assert_eq!(
            rules,
            "-A INPUT -i docker_gwbridge -p udp --dport 4789 -j DROP\n"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_that_cannot_be_asked_for_is_not_taken_for_closed() {
        let denied = "echo 'Fatal: can'\"'\"'t open lock file: Permission denied' >&2; exit 4";
        let (looked, closed, _) = with(denied).await;
        assert!(
            matches!(&looked, OverlayPort::Unknown(why) if why.contains("Permission denied")),
            "{looked:?}"
        );
        assert!(closed.unwrap_err().contains("Permission denied"));
        let (_, closed, _) = with("exit 0").await;
        let lie = "the rule was made in INPUT and is not there";
        assert_eq!(closed, Err(lie.to_owned()));
        let another = "echo \"-A $3 -i docker_gwbridge -p udp -m udp --dport 4790 -j DROP\"";
        assert_eq!(with(another).await.0, OverlayPort::Open);
    }

    #[test]
    fn what_a_person_types_is_what_is_done() {
        assert_eq!(
            command(4790),
            "iptables -w -I INPUT -i docker_gwbridge -p udp --dport 4790 -j DROP && \
             iptables -w -I DOCKER-USER -i docker_gwbridge -p udp --dport 4790 -j DROP"
        );
    }
}
