//! Whether Swarm can balance with the kernel's IPVS: asked as dockerd asks, not told by a file.
//!
//! libnetwork has the kernel tell it the number of IPVS among the generic netlink families, once per dockerd, and
//! then makes services of it (`netlink_linux.go` of moby/ipvs). In a container like LXC's the module may be loaded
//! and the second be denied: the kernel wants `CAP_NET_ADMIN` of the first user namespace for it (`GENL_ADMIN_PERM` in
//! `net/netfilter/ipvs/ip_vs_ctl.c`), until it has the patch "ipvs: allow netlink configuration from non-initial
//! usernamespace" of 2024. Reading IPVS's version needs the same permission as making a service, and changes nothing.

use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use ground::host_file;

/// Whether the kernel has IPVS, without which service addresses and ingress ports lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipvs {
    /// The kernel answered, or would answer the engine.
    Works,
    /// The kernel brings the module and loads it when the engine asks.
    Loadable,
    /// The kernel has it, or its module, and denies it to this container.
    Denied,
    /// There is no sign of it.
    Absent,
}

impl Ipvs {
    /// Returns whether Swarm can balance with it.
    #[must_use]
    pub fn works(self) -> bool {
        matches!(self, Self::Works | Self::Loadable)
    }
}

/// What the kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It told its version.
    Version,
    /// It has no such family.
    NoFamily,
    /// This process may not ask.
    Denied,
    /// It was not understood, or not reached.
    Unknown,
}

/// Finds out whether the kernel has IPVS; `root` is `/` but for tests. It takes a few microseconds, and that of
/// `modprobe` where the kernel has no such family.
#[must_use]
pub fn ipvs(root: &Path) -> Ipvs {
    judge(ask(), root)
}

/// What an answer means for the engine, by the files below `root`: which user asked, in which user namespace, and
/// which modules there are.
fn judge(answer: Answer, root: &Path) -> Ipvs {
    let for_engine = |found| match in_first_user_namespace(root) {
        true => found,
        false => Ipvs::Denied,
    };
    match answer {
        Answer::Version => Ipvs::Works,
        // The engine is no mightier than a process that may administer the network.
        Answer::Denied if may_administer_network(root) => Ipvs::Denied,
        Answer::Denied => for_engine(Ipvs::Works),
        Answer::Unknown if root.join("proc/net/ip_vs").exists() => for_engine(Ipvs::Works),
        Answer::NoFamily | Answer::Unknown if is_module(root) => for_engine(Ipvs::Loadable),
        Answer::NoFamily | Answer::Unknown => Ipvs::Absent,
    }
}

/// user_namespaces(7): only in the first one are all ids mapped to themselves.
fn in_first_user_namespace(root: &Path) -> bool {
    host_file::text(root.join("proc/self/uid_map"))
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Returns whether this process has `CAP_NET_ADMIN`, bit 12 (`linux/capability.h`).
fn may_administer_network(root: &Path) -> bool {
    let status = host_file::text(root.join("proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set & 1 << 12 != 0)
}

/// Returns whether the lists of this kernel's modules name it.
fn is_module(root: &Path) -> bool {
    let Ok(release) = host_file::text(root.join("proc/sys/kernel/osrelease")) else {
        return false;
    };
    let modules = root.join("lib/modules").join(release.trim());
    ["modules.dep", "modules.builtin"].iter().any(|list| {
        host_file::text(modules.join(list)).is_ok_and(|text| text.lines().any(names_ip_vs))
    })
}

/// Returns whether a line of `modules.dep` or `modules.builtin` is about the module itself, and not about
/// one of its schedulers or one that depends on it.
fn names_ip_vs(line: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    // Compressed modules end in .ko.xz, .ko.zst or .ko.gz.
    file == "ip_vs.ko" || file.starts_with("ip_vs.ko.")
}

/// The family that knows the others, and its command and attributes (`linux/genetlink.h`).
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `IPVS_CMD_GET_INFO` (`linux/ip_vs.h`).
const GET_INFO: u8 = 15;

/// `NLMSG_ERROR` and `NLM_F_REQUEST` (`linux/netlink.h`).
const ERROR: u16 = 2;
const REQUEST: u16 = 1;

/// The lengths of a message's two headers, `nlmsghdr` and `genlmsghdr`, in bytes.
const HEADER: usize = 16;
const GENERIC: usize = 4;

fn ask() -> Answer {
    match family("IPVS").and_then(|family| exchange(&message(family, GET_INFO, &[]))) {
        Ok(_) => Answer::Version,
        Err(Errno::NOENT) => Answer::NoFamily,
        Err(Errno::PERM) => Answer::Denied,
        Err(error) => {
            tracing::debug!(%error, "the kernel could not be asked about IPVS");
            Answer::Unknown
        }
    }
}

/// Returns the number of a generic netlink family.
fn family(name: &str) -> Result<u16, Errno> {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let answer = exchange(&message(
        CONTROLLER,
        GET_FAMILY,
        &attribute(FAMILY_NAME, &text),
    ))?;
    number(&answer, FAMILY_ID).ok_or(Errno::BADMSG)
}

fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = (HEADER + GENERIC + attributes.len()) as u32;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(family.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Sequence and sender: one question, and the kernel fills in who asks.
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends a message to the kernel, which has answered when that is done; returns the answer.
fn exchange(message: &[u8]) -> Result<Vec<u8>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(netlink::GENERIC);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    send(&socket, message, SendFlags::empty())?;
    let mut answer = vec![0; 8192];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    without_error(answer)
}

/// Returns the answer unless it is an error; a negative number says which.
fn without_error(answer: Vec<u8>) -> Result<Vec<u8>, Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let kind = u16::from_ne_bytes(kind.ok_or(Errno::BADMSG)?);
    let code = answer.get(HEADER..HEADER + 4);
    let code = code.and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    match (kind, code) {
        (ERROR, Some(code)) if code < 0 => Err(Errno::from_raw_os_error(-code)),
        (ERROR, None) => Err(Errno::BADMSG),
        _ => Ok(answer),
    }
}

/// Returns the value of the attribute `kind` of an answer, a number of two bytes.
fn number(answer: &[u8], kind: u16) -> Option<u16> {
    let short = |bytes: &[u8]| Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let mut rest = answer.get(HEADER + GENERIC..)?;
    loop {
        let length = usize::from(short(rest)?);
        if length < 4 {
            return None;
        }
        let value = rest.get(4..length)?;
        if short(rest.get(2..)?)? == kind {
            return short(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: (&str, &str) = ("proc/self/uid_map", "         0          0 4294967295\n");
    const INNER: (&str, &str) = ("proc/self/uid_map", "         0     100000      65536\n");
    const ROOT: (&str, &str) = ("proc/self/status", "Name:\tx\nCapEff:\t000001fffeffffff\n");
    const USER: (&str, &str) = ("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
    const LOADED: (&str, &str) = ("proc/net/ip_vs", "");
    const RELEASE: (&str, &str) = ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
    const MODULE: (&str, &str) = (
        "lib/modules/6.1.0-18-amd64/modules.dep",
        "kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz\n",
    );

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn a_module_that_is_loaded_and_not_permitted_does_not_work() {
        use Answer::{Denied, NoFamily, Unknown, Version};
        for (answer, files, expected) in [
            (Version, &[INNER, ROOT][..], Ipvs::Works),
            // LXC without privileges.
            (Denied, &[INNER, ROOT, LOADED], Ipvs::Denied),
            (Denied, &[INNER, USER, LOADED], Ipvs::Denied),
            // A user in the group docker may not ask, and the engine may.
            (Denied, &[FIRST, USER, LOADED], Ipvs::Works),
            (Denied, &[FIRST, ROOT, LOADED], Ipvs::Denied),
            (NoFamily, &[FIRST, ROOT, RELEASE, MODULE], Ipvs::Loadable),
            // A container cannot have a module loaded.
            (NoFamily, &[INNER, ROOT, RELEASE, MODULE], Ipvs::Denied),
            (NoFamily, &[FIRST, ROOT, RELEASE], Ipvs::Absent),
            (Unknown, &[FIRST, ROOT, LOADED], Ipvs::Works),
            (Unknown, &[INNER, ROOT, LOADED], Ipvs::Denied),
            (Unknown, &[FIRST, ROOT], Ipvs::Absent),
        ] {
            assert_eq!(
                judge(answer, root(files).path()),
                expected,
                "{answer:?} {files:?}"
            );
        }
    }

    #[test]
    fn a_module_is_known_by_the_lists_of_this_kernel() {
        for (list, line, expected) in [
            (
                "6.1.0-18-amd64/modules.dep",
                "kernel/net/netfilter/ipvs/ip_vs.ko.xz: a.ko\n",
                true,
            ),
            (
                "6.1.0-18-amd64/modules.builtin",
                "kernel/net/netfilter/ipvs/ip_vs.ko\n",
                true,
            ),
            (
                "6.1.0-18-amd64/modules.dep",
                "kernel/net/netfilter/xt_ipvs.ko: kernel/net/netfilter/ipvs/ip_vs.ko\n\
                 kernel/net/netfilter/ipvs/ip_vs_rr.ko:\n",
                false,
            ),
            (
                "5.10.0/modules.dep",
                "kernel/net/netfilter/ipvs/ip_vs.ko:\n",
                false,
            ),
        ] {
            let list = format!("lib/modules/{list}");
            let root = root(&[RELEASE, (&list, line)]);
            assert_eq!(is_module(root.path()), expected, "{list}: {line}");
        }
    }

    #[test]
    fn the_kernel_is_asked_and_its_errors_are_understood() {
        // The controller is a family of its own and always there.
        assert_eq!(family("nlctrl"), Ok(CONTROLLER));
        assert_eq!(family("NO-SUCH"), Err(Errno::NOENT));
        assert!(
            exchange(&message(CONTROLLER, GET_FAMILY, &[])).is_err(),
            "no name, no answer"
        );
        let denied = [
            36_u32.to_ne_bytes().to_vec(),
            ERROR.to_ne_bytes().to_vec(),
            vec![0; 10],
            (-1_i32).to_ne_bytes().to_vec(),
        ];
        assert_eq!(without_error(denied.concat()), Err(Errno::PERM));
        assert_eq!(without_error(vec![0; 5]), Err(Errno::BADMSG));
        assert_eq!(
            number(&[0; 24], FAMILY_ID),
            None,
            "an attribute without a length has no end"
        );
    }
}
