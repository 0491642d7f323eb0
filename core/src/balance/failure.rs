//! Why a service has nobody to give a connection to.

use std::fmt;

use crate::service::ServiceKey;

/// No endpoint can take a connection; the counts say why each one was passed over (each endpoint is in one count).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoEndpoint {
    /// The service.
    pub service: ServiceKey,
    /// The service port that was asked for.
    pub port: u16,
    /// Workloads that back the service.
    pub total: usize,
    /// Not ready.
    pub not_ready: usize,
    /// Without a target port for `port`, or with a port name that their pod does not define.
    pub without_port: usize,
    /// Without an address of the family asked for.
    pub other_family: usize,
    /// On another network that has no gateway.
    pub unreachable: usize,
    /// Outside of the scope that the service insists on.
    pub out_of_scope: usize,
}

impl NoEndpoint {
    pub(super) fn new(service: ServiceKey, port: u16) -> Self {
        Self {
            service,
            port,
            total: 0,
            not_ready: 0,
            without_port: 0,
            other_family: 0,
            unreachable: 0,
            out_of_scope: 0,
        }
    }
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            port,
            total,
            ..
        } = self;
        if *total == 0 {
            return write!(
                f,
                "service {service} has no endpoints for port {port}: check that its selector matches running pods"
            );
        }
        write!(
            f,
            "service {service} has no endpoint for port {port}; of {total}:"
        )?;
        let causes = [
            (self.not_ready, "not ready (check their readiness probes)"),
            (
                self.without_port,
                "without that port (check ports and targetPort names)",
            ),
            (
                self.other_family,
                "without an address of that family (check ipFamilies)",
            ),
            (self.unreachable, "on a network without a gateway"),
            (self.out_of_scope, "not local (check internalTrafficPolicy)"),
        ];
        let mut separator = " ";
        for (count, cause) in causes.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {cause}")?;
            separator = ", ";
        }
        Ok(())
    }
}
