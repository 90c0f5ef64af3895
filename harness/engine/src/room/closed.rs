//! Whether what keeps CI's engine from the operator's addresses is in force: a firewall that is loaded anew drops it.

use super::{Room, State};
use crate::firewall::{Chain, Rule};
use crate::process::Processes;

/// What is not the internet: of the operator's networks none is reached (RFC 6890).
pub(super) const ELSEWHERE: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];

impl Room {
    /// Makes sure that containers of CI's engine begin no connection to an address of this host.
    ///
    /// # Errors
    /// Why they may, or why it cannot be told.
    pub async fn closed(&self, processes: &Processes) -> Result<(), String> {
        let record = match self.state().map_err(|error| ground::error::chain(&error))? {
            State::Ready(record) => record,
            _ => return Err("it is not ready".to_owned()),
        };
        let link = format!("rci{}", record.block);
        let list = async |name| {
            let listed = Chain::of_mangle(name).list(processes).await;
            listed.map(Option::unwrap_or_default)
        };
        let all = list("PREROUTING").await?;
        let own = list(&link).await?;
        is_closed(&all, &own, &link)
    }
}

/// Judges the rules, as `iptables` lists them, of `PREROUTING` and of the chain of `link`.
fn is_closed(all: &str, own: &str, link: &str) -> Result<(), String> {
    let is_entry =
        |rule: &Rule<'_>| rule.is_of_chain() && rule.words().eq(["-i", link, "-j", link]);
    let entry = Rule::all(all).find(is_entry).ok_or_else(|| {
        format!("the rule `-A PREROUTING -i {link} -j {link}` is gone from the table `mangle`")
    })?;
    let passes = |rule: &Rule<'_>| rule.may_let_pass(link) && !rule.is_for_answers();
    let mut before = Rule::all(all).take_while(|rule| !is_entry(rule));
    if let Some(rule) = before.find(passes) {
        return Err(format!("`{rule}` comes before the rule `{entry}`"));
    }
    let changed = |what: String| {
        Err(format!(
            "the chain `{link}` of the table `mangle` was changed: {what}"
        ))
    };
    let local = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", "DROP"];
    let rules = || Rule::all(own).filter(Rule::is_of_chain);
    let is_first = |rule: Rule<'_>| rule.words().eq(local);
    if !rules()
        .find(|rule| !rule.is_for_answers())
        .is_some_and(is_first)
    {
        return changed("it does not begin with what drops packets to this host".to_owned());
    }
    if let Some(rule) = rules().find(|rule| passes(rule) && !is_for_a_resolver(rule)) {
        return changed(format!("`{rule}` is not its own"));
    }
    let drops = |range: &str| rules().any(|rule| rule.words().eq(["-d", range, "-j", "DROP"]));
    match ELSEWHERE.iter().find(|range| !drops(range)) {
        Some(range) => changed(format!("packets to {range} are not dropped")),
        None => Ok(()),
    }
}

/// Returns whether it lets questions to one resolver pass, and nothing else.
fn is_for_a_resolver(rule: &Rule<'_>) -> bool {
    let words: Vec<&str> = rule.words().collect();
    matches!(
        words[..],
        ["-d", server, "-p", "udp" | "tcp", "-m", _, "--dport", "53", "-j", "RETURN"]
            if server.ends_with("/32")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "-P PREROUTING ACCEPT\n-A PREROUTING -i rci0 -j rci0\n";
    const LOCAL: &str = "-A rci0 -m addrtype --dst-type LOCAL -j DROP\n";

    /// As `iptables` lists what the script of the room makes.
    fn own() -> String {
        let mut own = format!(
            "-N rci0\n-A rci0 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n{LOCAL}\
             -A rci0 -d 10.255.255.53/32 -p udp -m udp --dport 53 -j RETURN\n\
             -A rci0 -d 10.255.255.53/32 -p tcp -m tcp --dport 53 -j RETURN\n"
        );
        for range in ELSEWHERE {
            own += &format!("-A rci0 -d {range} -j DROP\n");
        }
        own + "-A rci0 -d 203.0.113.0/24 -j DROP\n"
    }

    #[test]
    fn rules_that_are_gone_changed_or_passed_by_close_nothing() {
        assert_eq!(is_closed(ALL, &own(), "rci0"), Ok(()));
        assert!(is_closed(ALL, &own(), "rci1").is_err());
        for harmless in [
            "-m mark --mark 1 -j CONNMARK",
            "-i rci1 -j rci1",
            "-i docker0 -j ACCEPT",
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ] {
            let all = format!("-A PREROUTING {harmless}\n{ALL}");
            assert_eq!(is_closed(&all, &own(), "rci0"), Ok(()), "{harmless}");
            let own = own().replace(LOCAL, &format!("{LOCAL}-A rci0 {harmless}\n"));
            assert_eq!(is_closed(ALL, &own, "rci0"), Ok(()), "{harmless}");
        }
        for passes in [
            "-p tcp -j ACCEPT",
            "-i rci0 -j RETURN",
            "-i rci+ -p udp -j RETURN",
            "-j cali-PREROUTING",
            "-m comment --comment \"not -j DROP\" -g other",
            "-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
            "-d 10.0.0.0/8 -p udp -m udp --dport 53 -j RETURN",
            "-p udp -m udp --dport 53 -j ACCEPT",
            "-d 10.0.0.1/32 -p tcp -m tcp --dport 5432 -j RETURN",
        ] {
            let all = format!("-A PREROUTING {passes}\n{ALL}");
            let said = is_closed(&all, &own(), "rci0").unwrap_err();
            assert!(said.starts_with(&format!("`-A PREROUTING {passes}` comes before")));
            // Behind the entry it decides nothing.
            let all = format!("{ALL}-A PREROUTING {passes}\n");
            assert_eq!(is_closed(&all, &own(), "rci0"), Ok(()), "{passes}");
            for at in [LOCAL, "-A rci0 -d 10.0.0.0/8 -j DROP\n"] {
                let own = own().replace(at, &format!("{at}-A rci0 {passes}\n"));
                let said = is_closed(ALL, &own, "rci0").unwrap_err();
                assert!(said.ends_with(&format!("`-A rci0 {passes}` is not its own")));
            }
        }
        let entry_of_another = "-A PREROUTING -i rci0 -p tcp -j rci0\n";
        for (all, own) in [
            ("-P PREROUTING ACCEPT\n", own()),
            (entry_of_another, own()),
            (ALL, "-N rci0\n".to_owned()),
            (ALL, own().replace("LOCAL -j DROP", "LOCAL -j RETURN")),
            (ALL, own().replace(LOCAL, "")),
        ] {
            assert!(is_closed(all, &own, "rci0").is_err(), "{all}{own}");
        }
        for range in ELSEWHERE {
            let own = own().replace(&format!("-A rci0 -d {range} -j DROP\n"), "");
            let said = is_closed(ALL, &own, "rci0").unwrap_err();
            assert!(said.contains(range), "{said}");
        }
    }
}
