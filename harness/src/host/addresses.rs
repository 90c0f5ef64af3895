//! The host's own addresses, closed to containers.
//!
//! What a container sends to an address of its host goes through `INPUT`, which Docker leaves open: a database that
//! listens for the local network, an engine on TCP, the admin port of whatever runs there. No key of a compose file is
//! behind it, and at the bridge a stranger's container looks as everybody's. So the rule is one for all containers of
//! the host, and only its operator can know whether another app needs such a way: it is looked for, never made.

use engine::firewall::{Chain, Rule, Way};
use engine::process::Processes;
use engine::swarm::bridge::GATEWAY_BRIDGE as BRIDGE;

/// Returns the rule as it is written, but for its chain. Answers pass: the harness asks apps at their addresses.
fn rule() -> [String; 9] {
    let states = "RELATED,ESTABLISHED";
    [
        "-i",
        BRIDGE,
        "-m",
        "conntrack",
        "!",
        "--ctstate",
        states,
        "-j",
        "DROP",
    ]
    .map(str::to_owned)
}

/// Returns what a person types to close them.
#[must_use]
pub fn command() -> String {
    Chain::INPUT.insertion(&rule())
}

/// Looks whether new connections of containers to the host's own addresses are dropped, but for ports that a rule for
/// containers names: a gateway that publishes its ports in the mode `host` answers them there.
pub async fn look(processes: &Processes) -> Way {
    let listed = match Chain::INPUT.list(processes).await {
        Ok(listed) => listed.unwrap_or_default(),
        Err(reason) => return Way::Unknown(reason),
    };
    let decides = |rule: &Rule<'_>| {
        closes(rule)
            || rule.may_let_pass(BRIDGE) && !rule.is_for_answers() && !rule.is_for_ports_at(BRIDGE)
    };
    let closed = match Rule::all(&listed).find(decides) {
        Some(first) => closes(&first),
        None => Rule::all(&listed).any(|rule| rule.is_closed_policy()),
    };
    if closed { Way::Closed } else { Way::Open }
}

/// Returns whether `listed` drops all that is new from containers.
fn closes(listed: &Rule<'_>) -> bool {
    let words: Vec<&str> = listed.words().collect();
    let ["-i", BRIDGE, matched @ .., "-j", "DROP" | "REJECT"] = strip_reject(&words) else {
        return false;
    };
    match matched {
        [] => true,
        ["-m", "conntrack" | "state", "--ctstate" | "--state", states] => {
            states.split(',').any(|state| state == "NEW")
        }
        [
            "-m",
            "conntrack" | "state",
            "!",
            "--ctstate" | "--state",
            states,
        ] =>
        // What else it would let pass is no answer: `INVALID`, `UNTRACKED`, `DNAT`.
        {
            states
                .split(',')
                .all(|state| matches!(state, "RELATED" | "ESTABLISHED"))
        }
        _ => false,
    }
}

/// Leaves out what `REJECT` answers with, which `iptables` always lists.
fn strip_reject<'words, 'list>(words: &'words [&'list str]) -> &'words [&'list str] {
    match words {
        [rest @ .., "--reject-with", _] => rest,
        all => all,
    }
}

#[cfg(test)]
mod tests {
    use engine::firewall::testing::iptables;

    use super::*;

    /// Looks at a chain with `policy` and `rules`.
    async fn with(policy: &str, rules: &[&str]) -> Way {
        let dir = tempfile::tempdir().unwrap();
        let mut body = format!("echo '-P INPUT {policy}'");
        for rule in rules {
            body += &format!("\necho '-A INPUT {rule}'");
        }
        look(&iptables(dir.path(), &body)).await
    }

    const CLOSES: &str = "-i docker_gwbridge -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP";

    #[tokio::test(flavor = "current_thread")]
    async fn a_rule_that_drops_all_that_is_new_closes_the_hosts_addresses() {
        assert_eq!(with("ACCEPT", &[]).await, Way::Open);
        assert_eq!(with("DROP", &[]).await, Way::Closed);
        for closes in [
            CLOSES,
            "-i docker_gwbridge -j DROP",
            "-i docker_gwbridge -m conntrack --ctstate NEW -j DROP",
            "-i docker_gwbridge -m state --state INVALID,NEW -j DROP",
            "-i docker_gwbridge -m conntrack --ctstate NEW -j REJECT --reject-with icmp-port-unreachable",
        ] {
            assert_eq!(with("ACCEPT", &[closes]).await, Way::Closed, "{closes}");
        }
        for does_not in [
            "-i docker0 -j DROP",
            "-i docker_gwbridge -p tcp -j DROP",
            "-i docker_gwbridge -d 10.0.0.1/32 -j DROP",
            "-i docker_gwbridge -m conntrack --ctstate INVALID -j DROP",
            "-i docker_gwbridge -m conntrack ! --ctstate NEW -j DROP",
            "-i docker_gwbridge -m conntrack ! --ctstate DNAT,RELATED,ESTABLISHED -j DROP",
            "-i docker_gwbridge -m conntrack ! --ctstate INVALID,UNTRACKED -j DROP",
            "-m comment --comment \"-i docker_gwbridge -j DROP\" -p tcp -j DROP",
            "! -i docker_gwbridge -j DROP",
            "-i docker_gwbridge -m conntrack --ctstate NEW -j LOG",
        ] {
            assert_eq!(with("ACCEPT", &[does_not]).await, Way::Open, "{does_not}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_before_it_passes_answers_and_ports_for_containers_only() {
        for harmless in [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m state --state ESTABLISHED -j ACCEPT",
            "-i lo -j ACCEPT",
            "-i docker_gwbridge -p udp -m udp --dport 53 -j ACCEPT",
            "-i docker_gwbridge -p tcp -m multiport --dports 80,443 -j ACCEPT",
            "-p udp -m udp --dport 4789 -i docker_gwbridge -j DROP",
        ] {
            assert_eq!(with("ACCEPT", &[harmless, CLOSES]).await, Way::Closed);
            assert_eq!(with("DROP", &[harmless]).await, Way::Closed, "{harmless}");
        }
        for passes in [
            "-p tcp -m tcp --dport 22 -j ACCEPT",
            "-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
            "-m conntrack ! --ctstate ESTABLISHED -j ACCEPT",
            "-p udp -m udp --dport 53 -j ACCEPT",
            "-i docker_gwbridge -p tcp -j ACCEPT",
            "-i docker_gwbridge -p tcp -m tcp --dport 1:65535 -j ACCEPT",
            "-i docker_gwbridge -p tcp -m multiport --dports 80,1:65535 -j ACCEPT",
            "-m comment --comment \"not only -i lo\" -j ACCEPT",
            "-m comment --comment \"x -j DROP y\" -j ACCEPT",
            "-i docker_gwbridge -p tcp -m tcp ! --dport 53 -j ACCEPT",
            "-i docker_gwbridge -p tcp -m tcp --sport 53 -j ACCEPT",
            "-j ufw-before-input",
        ] {
            assert_eq!(
                with("ACCEPT", &[passes, CLOSES]).await,
                Way::Open,
                "{passes}"
            );
            assert_eq!(with("DROP", &[passes]).await, Way::Open, "{passes}");
            assert_eq!(with("ACCEPT", &[CLOSES, passes]).await, Way::Closed);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_table_that_cannot_be_read_is_not_taken_for_closed() {
        let dir = tempfile::tempdir().unwrap();
        let denied = iptables(dir.path(), "echo 'you must be root' >&2; exit 4");
        let looked = look(&denied).await;
        assert!(
            matches!(&looked, Way::Unknown(why) if why.contains("you must be root")),
            "{looked:?}"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_person_types_closes_them() {
        let typed = command();
        let rule = typed.strip_prefix("iptables -w -I INPUT ").unwrap();
        assert_eq!(with("ACCEPT", &[rule]).await, Way::Closed);
    }
}
