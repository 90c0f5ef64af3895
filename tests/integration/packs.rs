//! Packs that no git makes, from a forge that serves nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use git2::{ObjectType, Oid};

use crate::support::{TestEnv, command};

/// How long the base is of which a delta is made.
const BASE: usize = 0x1_0000;

/// How often the delta repeats it: to just under the 2 GiB that libgit2 makes of a delta at most.
const TIMES: usize = 0x7fff;

/// The id of a blob of so many zeros.
const ZEROS: &str = "9b0265e49bae92d11f2316094faa9d3052eaff33";

/// Returns what zlib makes of `data` when it does not compress.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut chunks = data.chunks(0xffff).peekable();
    while let Some(chunk) = chunks.next() {
        let length = u16::try_from(chunk.len()).unwrap();
        out.push(u8::from(chunks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(chunk);
    }
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in data {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    out.extend(((high << 16) | low).to_be_bytes());
    out
}

/// Returns the head of an object in a pack.
fn head(kind: u8, size: usize) -> Vec<u8> {
    let low = |bits: usize| u8::try_from(size & bits).unwrap();
    let mut out = vec![kind << 4 | low(0xf)];
    let more = varint(size >> 4);
    if size >> 4 > 0 {
        out[0] |= 0x80;
        out.extend(more);
    }
    out
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let bits = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        out.push(if number > 0 { bits | 0x80 } else { bits });
        if number == 0 {
            return out;
        }
    }
}

/// Returns a commit whose only file has 2 GiB, and a pack of 130 KB with it.
fn bomb(env: &TestEnv) -> (Oid, Vec<u8>) {
    let id = |kind, data: &[u8]| Oid::hash_object(kind, data).unwrap();
    let base = vec![0; BASE];
    let tree = [b"100644 zeros\0", Oid::from_str(ZEROS).unwrap().as_bytes()].concat();
    let who = "x <x@localhost> 1700000000 +0000";
    let tree_id = id(ObjectType::Tree, &tree);
    let commit = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\nx\n").into_bytes();
    let commit_id = id(ObjectType::Commit, &commit);
    // Each 0x80 copies the first 64 KiB of the base.
    let mut delta = [varint(BASE), varint(BASE * TIMES)].concat();
    delta.resize(delta.len() + TIMES, 0x80);
    let base_id = id(ObjectType::Blob, &base);
    let mut pack = [b"PACK".as_slice(), &[0, 0, 0, 2, 0, 0, 0, 4]].concat();
    for (kind, data) in [(1, &commit), (2, &tree), (3, &base)] {
        pack.extend(head(kind, data.len()));
        pack.extend(stored(data));
    }
    pack.extend(head(7, delta.len()));
    pack.extend(base_id.as_bytes());
    pack.extend(stored(&delta));
    let file = env.root.join("pack");
    std::fs::write(&file, &pack).unwrap();
    let sum = command("sha1sum").arg(&file).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    pack.extend(Oid::from_str(&sum[..40]).unwrap().as_bytes());
    (commit_id, pack)
}

/// Serves the pack, whatever is asked for; returns the forge's address.
fn serve(commit: Oid, pack: Vec<u8>) -> String {
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let refs = [
        line("# service=git-upload-pack\n"),
        "0000".to_owned(),
        line(&format!("{commit} HEAD\0symref=HEAD:refs/heads/main\n")),
        line(&format!("{commit} refs/heads/main\n")),
        "0000".to_owned(),
    ]
    .concat();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(is_pack) = asked(&stream) else {
                continue;
            };
            let (kind, body) = match is_pack {
                true => ("result", [line("NAK\n").as_bytes(), &pack].concat()),
                false => ("advertisement", refs.clone().into_bytes()),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // A client that has read enough goes away.
            drop(stream.write_all(&[head.as_bytes(), &body].concat()));
        }
    });
    format!("http://{address}")
}

/// Reads a request; returns whether it is for a pack.
fn asked(stream: &TcpStream) -> Option<bool> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(first.starts_with("POST "))
}

/// Finding A10 in a pack: it was 2 GiB of this host's memory.
#[test]
fn an_object_that_unpacks_in_memory_without_end_is_the_repositorys_fault() {
    let mut env = TestEnv::new("unix:///nowhere/docker.sock");
    let (commit, pack) = bomb(&env);
    env.set("CCCI_FORGE_URL", serve(commit, pack));
    env.set("SRC", "stranger/bomb");
    let done = env.run(["run", "--dry-run"]);
    done.refused(&["has an object that takes more than 1280 MiB of memory"]);
    env.assert_quiet();
}
