//! Frames for an overlay network of the operator's, sent as one node sends them to another: VXLAN knows no sender.

use std::time::Duration;

use crate::engine::{SwarmEnv, docker};
use crate::room::{Rooms, addresses};
use crate::support::command;
use crate::wait::wait_until;

const LONG: Duration = Duration::from_secs(60);

/// How much of a frame a container gets, in bytes.
const LENGTH: u64 = 1014;

/// A network of the operator's, and a container on it that gets what is sent to all.
struct Overlay {
    name: String,
    container: String,
    /// A command of bash that sends a frame to the node at `$1`.
    send: String,
}

impl Overlay {
    fn of(env: &SwarmEnv) -> Self {
        let name = format!("frames_{}", env.zone.replace('.', "_"));
        let create = ["network", "create", "--driver=overlay", "--attachable"];
        docker(&[&create[..], &[&name]].concat());
        let network = format!("--network={name}");
        let run = ["run", "--detach", "--init", &network, "recipe-ci/notes:1"];
        let container = docker(&[&run[..], &["sleep", "100000"]].concat());
        // As `daemon/libnetwork/drivers/overlay` numbers it.
        let list = "{{index .Options \"com.docker.network.driver.overlay.vxlanid_list\"}}";
        let number = docker(&["network", "inspect", "--format", list, &name]);
        let number: u32 = number.parse().unwrap();
        // The header of VXLAN, and an Ethernet frame for everybody with a type of nobody's (0x88b5, IEEE 802).
        let mut head = vec![8, 0, 0, 0];
        head.extend(&number.to_be_bytes()[1..]);
        head.extend([&[0][..], &[0xff; 6], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5]].concat());
        let head: String = head.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let send = format!(
            "printf '{head}{}' | dd bs=4096 iflag=fullblock status=none >/dev/udp/$1/4789",
            "x".repeat(1000)
        );
        Self {
            name,
            container,
            send,
        }
    }

    /// Returns how many bytes the container got.
    fn got(&self) -> u64 {
        let counter = "/sys/class/net/eth0/statistics/rx_bytes";
        docker(&["exec", &self.container, "cat", counter])
            .parse()
            .unwrap()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        for args in [["rm", "-f", &self.container], ["network", "rm", &self.name]] {
            drop(command("docker").args(args).output());
        }
    }
}

#[test]
fn a_container_of_cis_engine_sends_nothing_into_the_operators_overlay_networks() {
    let rooms = Rooms::new();
    rooms.up(&[]);
    rooms.hand_over("recipe-ci/notes:1");
    let overlay = Overlay::of(&rooms.env);
    let send = |network: &str, address: &str| {
        let network = format!("--network={network}");
        // The image has no bash, and what it is given of its engine's root has.
        let run = ["run", "--rm", "--init", &network, "--volume=/:/host"];
        let bash = ["recipe-ci/notes:1", "chroot", "/host", "bash", "-c"];
        rooms.docker(&[&run[..], &bash, &[&overlay.send, "bash", address]].concat());
    };
    let before = overlay.got();
    let addresses = addresses();
    for network in ["docker_gwbridge", "bridge", "host"] {
        for address in &addresses {
            send(network, address);
        }
    }
    // The control: a frame from the host itself arrives, after those, and alone.
    let sent = command("bash")
        .args(["-c", &overlay.send, "bash", &addresses[0]])
        .status();
    assert!(sent.unwrap().success());
    let arrives = |before: u64| {
        wait_until(LONG, "a frame arrives", || {
            (overlay.got() >= before + LENGTH).then_some(())
        });
    };
    arrives(before);
    assert!(overlay.got() < before + 2 * LENGTH, "more than one arrived");
    // And one from there arrives where the rules are gone.
    let link = rooms.link();
    let gone = command("iptables")
        .args(["-w", "-t", "mangle", "-D", "PREROUTING", "-i", &link])
        .args(["-j", &link])
        .status();
    assert!(gone.unwrap().success());
    let before = overlay.got();
    send("bridge", &addresses[0]);
    arrives(before);
}
