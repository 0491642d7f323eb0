//! `echo`: a plain TCP echo server, something for tunnels to connect to.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use crate::report;

/// Options of `echo`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address to listen on; may be repeated.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
}

/// Serves until killed.
pub async fn run(options: &Options) -> Result<bool> {
    let mut tasks = Vec::new();
    let mut bound = Vec::new();
    for at in &options.listen {
        let listener = TcpListener::bind(at)
            .await
            .with_context(|| format!("cannot listen on {at}"))?;
        bound.push(listener.local_addr()?.to_string());
        tasks.push(tokio::spawn(serve(listener)));
    }
    report::line(&json!({"event": "ready", "listen": bound}));
    for task in tasks {
        task.await?;
    }
    Ok(true)
}

/// Echoes on every connection, half-closes after the peer did.
pub async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}
