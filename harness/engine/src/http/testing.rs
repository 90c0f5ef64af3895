//! Servers for the tests: they answer in HTTP, with or without TLS.
//!
//! The certificates are of an authority of their own and last 100 years: `zone.pem` for `*.ci.localhost`, `other.pem`
//! for `other.example.org`; `server.key` belongs to both and protects nothing.

#![expect(clippy::unwrap_used, reason = "a test that calls this fails with it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub const AUTHORITY: &str = include_str!("testing/ca.pem");
pub const OF_THE_ZONE: &str = include_str!("testing/zone.pem");
pub const OF_ANOTHER: &str = include_str!("testing/other.pem");
const KEY: &str = include_str!("testing/server.key");

/// Returns an answer with a body.
pub fn page(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Starts a server, with TLS where a certificate is given; returns its address. `answer` gets the head of each request.
pub fn serve(
    certificate: Option<&str>,
    answer: impl Fn(&str) -> String + Send + 'static,
) -> SocketAddr {
    ground::tls::choose_provider();
    let config = certificate.map(|pem| {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(chain, key).unwrap())
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // One bad request must not end the server.
            match &config {
                None => drop(reply(&mut stream, &answer)),
                Some(config) => {
                    let mut session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                    let mut secure = rustls::Stream::new(&mut session, &mut stream);
                    drop(reply(&mut secure, &answer));
                    session.send_close_notify();
                    drop(session.write_tls(&mut stream));
                }
            }
        }
    });
    address
}

fn reply(
    stream: &mut (impl Read + Write),
    answer: &impl Fn(&str) -> String,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&piece[..count]),
        }
        // Who speaks TLS to a server that does not is told so.
        if request[0] == 0x16 {
            return stream.write_all(page(400, "", "").as_bytes());
        }
    }
    stream.write_all(answer(&String::from_utf8_lossy(&request)).as_bytes())?;
    stream.flush()
}
