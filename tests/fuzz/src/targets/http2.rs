//! What arrives on port 15008: TLS records from anybody, then HTTP/2 from whoever has a certificate.

use std::future::poll_fn;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex, sink};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use warren_hbone::{
    ConnectRequest, Handler, Limits, Trust, Tunnel, WorkloadCert, serve_http2, tls,
};

use crate::seeds::certificate;

/// Longer than any input needs once its end has been read: only a hang takes it.
const HANG: Duration = Duration::from_secs(5);

pub(super) fn server(data: &[u8]) {
    thread_local!(static RUNTIME: Runtime = runtime());
    RUNTIME.with(|runtime| {
        runtime.block_on(fed(data, |io| async move {
            let limits = Limits::default();
            // How it ends does not matter, that it does is checked by `fed`.
            let _ = serve_http2(io, &limits, std::future::pending(), &Taker).await;
        }));
    });
}

pub(super) fn tls(data: &[u8]) {
    thread_local!(static RUNTIME: Runtime = runtime());
    static MATERIAL: OnceLock<(WorkloadCert, Trust)> = OnceLock::new();
    let (cert, trust) = MATERIAL.get_or_init(certificate::material);
    RUNTIME.with(|runtime| {
        runtime.block_on(fed(data, |io| async move {
            let accepted = tls::accept(io, cert, trust, HANG * 2).await;
            assert!(accepted.is_err(), "somebody without a key was let in");
        }));
    });
}

/// Runs a server on one end of a pipe whose other end sends `data` and closes.
async fn fed<F: Future<Output = ()>>(data: &[u8], server: impl FnOnce(DuplexStream) -> F) {
    let (ours, theirs) = duplex(1 << 20);
    let (mut read, mut write) = tokio::io::split(theirs);
    let feed = async {
        // The server may close before it has read everything.
        let _ = write.write_all(data).await;
        let _ = write.shutdown().await;
        let _ = tokio::io::copy(&mut read, &mut sink()).await;
    };
    let both = async { tokio::join!(feed, server(ours)) };
    assert!(
        timeout(HANG, both).await.is_ok(),
        "the connection never ended"
    );
}

/// Takes every request, reads what it carries to the end, and ends its own direction.
struct Taker;

impl Handler for Taker {
    fn connect(&self, request: ConnectRequest) {
        if let Ok(mut tunnel) = request.accept(http::HeaderValue::from_static("")) {
            tokio::spawn(async move {
                while let Some(Ok(data)) = poll_fn(|cx| tunnel.poll_recv(cx)).await {
                    tunnel.release(data.len());
                }
                // Fails where the peer has reset the stream.
                let _ = poll_fn(|cx| tunnel.poll_finish(cx)).await;
            });
        }
    }

    fn malformed(&self, why: &'static str) {
        assert!(!why.is_empty());
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs no resources")
}
