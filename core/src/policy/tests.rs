//! The evaluator against Istio's documented semantics: tables, and properties over generated policies.
//!
//! What the tables are written from: <https://istio.io/latest/docs/reference/config/security/authorization-policy/>
//! and <https://istio.io/latest/docs/concepts/security/#authorization>.

use super::*;

mod decisions;
mod fixtures;
mod matches;
mod properties;
mod structure;
