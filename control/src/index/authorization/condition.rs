//! `when`.

use warren_core::policy::{Clause, Match};
use warren_crds::authorization_policy::Condition;

use super::{Compiler, Invalid, parse};

impl Compiler<'_> {
    /// None where the key cannot be checked at L4.
    pub(super) fn condition(
        &mut self,
        index: usize,
        when: &Condition,
    ) -> Result<Option<Clause>, Invalid> {
        let path = format!("{}.when[{index}]", self.path);
        if when.values.is_empty() && when.not_values.is_empty() {
            return Err(format!("{path}: neither values nor notValues"));
        }
        let mut found = Match::default();
        let (yes, no) = (&when.values, &when.not_values);
        let (yes_at, no_at) = (format!("{path}.values"), format!("{path}.notValues"));
        match when.key.as_str() {
            "source.ip" => {
                found.source_ips = parse::nets(&yes_at, yes)?;
                found.not_source_ips = parse::nets(&no_at, no)?;
            }
            "source.namespace" => {
                found.namespaces = parse::strings(&yes_at, yes)?;
                found.not_namespaces = parse::strings(&no_at, no)?;
            }
            "source.principal" => {
                found.principals = parse::principals(&yes_at, yes)?;
                found.not_principals = parse::principals(&no_at, no)?;
            }
            "source.serviceAccount" => {
                found.service_accounts = parse::accounts(&yes_at, yes, self.namespace)?;
                found.not_service_accounts = parse::accounts(&no_at, no, self.namespace)?;
            }
            "destination.ip" => {
                found.destination_ips = parse::nets(&yes_at, yes)?;
                found.not_destination_ips = parse::nets(&no_at, no)?;
            }
            "destination.port" => {
                let ports = |at: &str, values: &[String]| {
                    values
                        .iter()
                        .map(|v| parse::port(at, v))
                        .collect::<Result<_, _>>()
                };
                found.destination_ports = ports(&yes_at, yes)?;
                found.not_destination_ports = ports(&no_at, no)?;
            }
            key => {
                self.http_only.push(format!("{path}.key `{key}`"));
                return Ok(None);
            }
        }
        Ok(Some(Clause {
            matches: vec![found],
        }))
    }
}
