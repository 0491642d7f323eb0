//! `token`: tokens right and wrong, for tests of the controller.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::current;
use crate::manifest::{Key, text};
use crate::token::{Claims, Issuer};

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Namespace of the service account and the pod
    #[arg(short, long, default_value = "warren-system")]
    namespace: String,
    /// Service account
    #[arg(long, default_value = "warren-ztunnel")]
    sa: String,
    /// Node that the token is bound to
    #[arg(long)]
    node: Option<String>,
    /// Pod that the token is bound to; the component's own by default when a node is given
    #[arg(long)]
    pod: Option<String>,
    /// Audience; may be repeated
    #[arg(long, default_value = "warren-ca")]
    aud: Vec<String>,
    /// Seconds until expiry; negative for an expired one
    #[arg(long, default_value_t = 3600, allow_negative_numbers = true)]
    exp: i64,
}

/// Prints a token signed by the lab's key.
pub fn token(args: &TokenArgs) -> Result<ExitCode> {
    let paths = current()?;
    let issuer = Issuer::open(&paths.token_key())?;
    let uid = |key: Key| -> String {
        let file = std::fs::read_to_string(paths.api().join(key.file_name())).unwrap_or_default();
        let object: serde_json::Value = serde_saphyr::from_str(&file).unwrap_or_default();
        text(&object, "/metadata/uid").to_owned()
    };
    let pod = args
        .pod
        .clone()
        .or(args.node.as_ref().map(|node| format!("{}-{node}", args.sa)));
    let claims = Claims {
        namespace: args.namespace.clone(),
        service_account: (
            args.sa.clone(),
            uid(Key::core("ServiceAccount", &args.namespace, &args.sa)),
        ),
        pod: pod.map(|p| (p.clone(), uid(Key::core("Pod", &args.namespace, &p)))),
        node: args
            .node
            .clone()
            .map(|n| (n.clone(), uid(Key::core("Node", "", &n)))),
        audiences: args.aud.clone(),
        lifetime: args.exp,
    };
    println!("{}", issuer.issue(&claims)?);
    Ok(ExitCode::SUCCESS)
}
