//! The node agent: the only loader of kernel programs and the only writer of their maps; it lets pods in and out of the mesh.
//! It decides with the same evaluator as the tunnel, hands the tunnel its listeners, and can be away without anybody noticing.
//!
//! ```text
//! xDS --Update----> +------+ --maps, links--> kernel
//! cni.sock, scan -> | Node | --add_pod------> tunnel (agent.sock)
//! ring buffer ----> +------+ --SOCK_DESTROY-> flows that are now denied
//!                       `--names--> accounting --> metrics, access log
//! ```
#![deny(unsafe_code)]

pub mod accounting;
pub mod admin;
pub mod bpf;
pub mod cgroup;
pub mod cni;
pub mod kernel;
pub mod leave;
pub mod netns;
pub mod node;
pub mod plugin;
pub mod pods;
pub mod run;
pub mod scan;
pub mod settings;
pub mod sockdiag;
pub mod tunnel;
