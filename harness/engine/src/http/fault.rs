//! What is wrong with a gateway.

use super::{Gateway, chain};

/// Why a gateway cannot be used. The recipe is not to blame.
#[derive(Debug, thiserror::Error)]
#[error("the gateway {gateway} cannot be used: {what}")]
pub struct GatewayFault {
    gateway: String,
    what: String,
    hint: &'static str,
}

impl GatewayFault {
    pub(super) fn of(gateway: &Gateway, domain: &str, error: &reqwest::Error) -> Self {
        let (what, hint) = match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(wrong)) => of_certificate(domain, wrong),
            Some(rustls::Error::InvalidMessage(_)) => (
                "it does not speak TLS".to_owned(),
                "write `http://` in `--gateway` (CCCI_GATEWAY), or give the port that speaks TLS",
            ),
            _ if error.is_timeout() => (
                "it does not answer".to_owned(),
                "is the gateway up, and is this its address? `--gateway` (CCCI_GATEWAY) has it",
            ),
            _ => (
                chain(error),
                "does something listen there? `docker service ls` shows the gateway; `--gateway` (CCCI_GATEWAY) has its address",
            ),
        };
        Self {
            gateway: gateway.shown(),
            what,
            hint,
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

fn of_certificate(domain: &str, wrong: &rustls::CertificateError) -> (String, &'static str) {
    use rustls::CertificateError as Wrong;
    match wrong {
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => (
            format!("its certificate is not one of `{domain}`"),
            "give the gateway a certificate for every name in the zone (`*.<zone>`)",
        ),
        Wrong::Expired | Wrong::ExpiredContext { .. } => (
            "its certificate has expired".to_owned(),
            "renew the gateway's certificate",
        ),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => (
            "its certificate is not valid yet".to_owned(),
            "is the clock of this host right?",
        ),
        _ => (
            format!("this host does not trust its certificate ({wrong})"),
            "name the file with the certificate of its authority in `--gateway-ca` (CCCI_GATEWAY_CA)",
        ),
    }
}

/// Returns what TLS has against a connection. It is wrapped into errors of the system, which hide what they hold.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let mut io = cause.downcast_ref::<std::io::Error>();
        while let Some(inner) = io.and_then(std::io::Error::get_ref) {
            if let Some(found) = inner.downcast_ref::<rustls::Error>() {
                return Some(found);
            }
            io = inner.downcast_ref::<std::io::Error>();
        }
        source = cause.source();
    }
    None
}
