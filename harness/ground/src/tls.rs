//! The process's one TLS provider.

use std::sync::Once;

/// Makes ring the provider, once; reqwest was built without a default, so that no second one is built in.
pub fn choose_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A program that embeds this library may have chosen before; then that one serves.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}
