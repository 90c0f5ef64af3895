//! Whether what keeps CI's engine from the operator's addresses is in force: a firewall that is loaded anew drops it.

use std::path::Path;
use std::time::Duration;

use super::{Room, State};
use crate::process::{Cmd, Processes};

/// How long a look at the rules may take, in which one waits for another's change.
const LIMIT: Duration = Duration::from_secs(30);

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
        let all = list(processes, "PREROUTING").await?;
        let own = list(processes, &link).await?;
        is_closed(&all, &own, &link)
    }
}

/// Judges the rules, as `iptables` lists them, of `PREROUTING` and of the chain of `link`.
fn is_closed(all: &str, own: &str, link: &str) -> Result<(), String> {
    let entry = format!("-A PREROUTING -i {link} -j {link}");
    let mut before = all.lines().take_while(|line| *line != entry);
    if !all.lines().any(|line| line == entry) {
        return Err(format!(
            "the rule `{entry}` is gone from the table `mangle`"
        ));
    }
    // What ends the way through this table before is not looked at more closely.
    let passes = |line: &&str| {
        let ends = [" -j ACCEPT", " -j RETURN", " -g "];
        line.starts_with("-A ") && ends.iter().any(|end| line.contains(end))
    };
    if let Some(rule) = before.find(passes) {
        return Err(format!("`{rule}` comes before the rule `{entry}`"));
    }
    let local = format!("-A {link} -m addrtype --dst-type LOCAL -j DROP");
    let private = format!("-A {link} -d 10.0.0.0/8 -j DROP");
    let first = own.lines().find(|line| {
        line.starts_with("-A ") && !line.contains("--ctstate RELATED,ESTABLISHED -j RETURN")
    });
    if first != Some(local.as_str()) || !own.lines().any(|line| line == private) {
        return Err(format!(
            "the chain `{link}` of the table `mangle` was changed"
        ));
    }
    Ok(())
}

async fn list(processes: &Processes, chain: &str) -> Result<String, String> {
    let usual = || Some(Path::new("/usr/sbin/iptables").to_owned()).filter(|path| path.is_file());
    let program = processes.which("iptables").or_else(usual);
    let program = program.ok_or_else(|| "there is no `iptables`".to_owned())?;
    let cmd = Cmd::new(program, Path::new("/")).args(["-w", "-t", "mangle", "-S", chain]);
    let done = processes
        .run(&cmd, LIMIT)
        .await
        .map_err(|error| ground::error::chain(&error))?;
    if done.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(done.tail.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "-P PREROUTING ACCEPT\n-A PREROUTING -i rci0 -j rci0\n";
    const OWN: &str = "-N rci0\n-A rci0 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n\
                       -A rci0 -m addrtype --dst-type LOCAL -j DROP\n\
                       -A rci0 -d 10.255.255.53/32 -p udp -m udp --dport 53 -j RETURN\n\
                       -A rci0 -d 10.0.0.0/8 -j DROP\n";

    #[test]
    fn rules_that_are_gone_changed_or_passed_by_close_nothing() {
        assert_eq!(is_closed(ALL, OWN, "rci0"), Ok(()));
        let marks = "-A PREROUTING -m mark --mark 1 -j CONNMARK\n";
        assert_eq!(is_closed(&format!("{marks}{ALL}"), OWN, "rci0"), Ok(()));
        for (all, own) in [
            ("-P PREROUTING ACCEPT\n", OWN.to_owned()),
            (ALL, "-N rci0\n".to_owned()),
            (ALL, OWN.replace("-d 10.0.0.0/8", "-d 10.0.0.0/9")),
            (ALL, OWN.replace("LOCAL -j DROP", "LOCAL -j RETURN")),
            (
                ALL,
                OWN.replace("-N rci0\n", "-N rci0\n-A rci0 -p tcp -j ACCEPT\n"),
            ),
            (
                &format!("-A PREROUTING -p tcp -j ACCEPT\n{ALL}"),
                OWN.to_owned(),
            ),
        ] {
            assert!(is_closed(all, &own, "rci0").is_err(), "{all}{own}");
        }
        assert!(is_closed(ALL, OWN, "rci1").is_err());
    }
}
