//! The port at which a node takes the packets of Swarm's overlay networks, closed to containers.
//!
//! VXLAN knows no sender (RFC 7348, section 7): the kernel delivers what arrives at the data path port, UDP 4789, to
//! whichever network the packet names, and answers the address that it came from. A container sends there by way of
//! `docker_gwbridge`, and Docker leaves the chain INPUT open: so an app of a stranger spoke to the database of another
//! app, in a network that it had never joined, without any capability. Between nodes no such packet comes over that
//! bridge.

use engine::firewall::{Chain, Rule, Way};
use engine::process::Processes;
use engine::swarm::bridge::GATEWAY_BRIDGE as BRIDGE;

/// The way to this host, and the way to others. Docker leaves the second to its user, and asks it first:
/// <https://docs.docker.com/engine/network/packet-filtering-firewalls/>.
const CHAINS: [Chain<'static>; 2] = [Chain::INPUT, Chain::DOCKER_USER];

/// Returns the rule as it is written, but for its chain.
fn rule(port: u16) -> [String; 8] {
    let port = port.to_string();
    ["-i", BRIDGE, "-p", "udp", "--dport", &port, "-j", "DROP"].map(str::to_owned)
}

/// Returns what a person types to close `port`.
#[must_use]
pub fn command(port: u16) -> String {
    CHAINS
        .map(|chain| chain.insertion(&rule(port)))
        .join(" && ")
}

/// Looks whether `port` is closed to containers, without changing anything.
pub async fn look(processes: &Processes, port: u16) -> Way {
    match open(processes, port).await {
        Err(reason) => Way::Unknown(reason),
        Ok(chains) if chains.is_empty() => Way::Closed,
        Ok(_) => Way::Open,
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
        chain.insert(processes, &rule(port)).await?;
    }
    match open(processes, port).await?.first() {
        None => Ok(true),
        Some(chain) => Err(format!(
            "the rule was made in {} and is not there",
            chain.name()
        )),
    }
}

/// Returns the chains that lack the rule, or have it behind one that may let such a packet pass.
async fn open(processes: &Processes, port: u16) -> Result<Vec<Chain<'static>>, String> {
    let mut open = Vec::new();
    for chain in CHAINS {
        // Without a chain of Docker's own (`"iptables": false`) nothing is filtered between containers.
        let Some(listed) = chain.list(processes).await? else {
            continue;
        };
        let is_ours = |listed: &Rule<'_>| {
            // `iptables` names the match that `--dport` brings.
            listed
                .words()
                .eq(rule(port).iter().map(String::as_str).flat_map(|word| {
                    let brought = (word == "--dport").then_some(["-m", "udp"]);
                    brought.into_iter().flatten().chain([word])
                }))
        };
        let mut deciding = Rule::all(&listed).filter(|listed| {
            is_ours(listed) || listed.may_let_pass(BRIDGE) && listed.may_be_about("udp")
        });
        if !deciding.next().is_some_and(|first| is_ours(&first)) {
            open.push(chain);
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use engine::firewall::testing::iptables;

    use super::*;

    /// Runs `look` and `close` with an `iptables` that keeps its rules in a file.
    async fn with(body: &str) -> (Way, Result<bool, String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let processes = iptables(dir.path(), body);
        let looked = look(&processes, 4789).await;
        let closed = close(&processes, 4789).await;
        let rules = ground::host_file::text(dir.path().join("rules"));
        (looked, closed, rules.unwrap())
    }

    const KEEPS: &str = r#"shift; action=$1; shift
        case $action in
        -S) echo "-P $1 ACCEPT"; grep "^-A $1 " "$rules" | sed 's/--dport/-m udp --dport/'; exit 0;;
        -I) echo "-A $*" >>"$rules";;
        esac"#;

    #[tokio::test(flavor = "current_thread")]
    async fn an_open_port_is_closed_once() {
        let (looked, closed, rules) = with(KEEPS).await;
        assert_eq!((looked, closed), (Way::Open, Ok(true)));
        assert_eq!(
            rules,
            "-A INPUT -i docker_gwbridge -p udp --dport 4789 -j DROP\n\
             -A DOCKER-USER -i docker_gwbridge -p udp --dport 4789 -j DROP\n"
        );
        let there = "echo \"-A $3 -i docker_gwbridge -p udp -m udp --dport 4789 -j DROP\"";
        let (looked, closed, rules) = with(there).await;
        assert_eq!((looked, closed, &*rules), (Way::Closed, Ok(false), ""));
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
            assert_eq!(behind(passes).await, Way::Open, "{passes}");
        }
        for does_not in [
            "-i lo -j ACCEPT",
            "-p tcp -m multiport --dports 22 -j f2b-sshd",
            "-j LOG --log-prefix x",
            "-s 10.0.0.0/8",
        ] {
            assert_eq!(behind(does_not).await, Way::Closed, "{does_not}");
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
            matches!(&looked, Way::Unknown(why) if why.contains("Permission denied")),
            "{looked:?}"
        );
        assert!(closed.unwrap_err().contains("Permission denied"));
        let (_, closed, _) = with("exit 0").await;
        let lie = "the rule was made in INPUT and is not there";
        assert_eq!(closed, Err(lie.to_owned()));
        let another = "echo \"-A $3 -i docker_gwbridge -p udp -m udp --dport 4790 -j DROP\"";
        assert_eq!(with(another).await.0, Way::Open);
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
