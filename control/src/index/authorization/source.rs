//! `from.source`.

use warren_core::policy::Match;
use warren_crds::authorization_policy::Source;

use super::{Compiler, Invalid, parse};

impl Compiler<'_> {
    pub(super) fn source(&mut self, path: &str, source: &Source) -> Result<Match, Invalid> {
        if *source == Source::default() {
            return Err(format!(
                "{path} is empty: leave `from` out to match every source"
            ));
        }
        let accounts =
            !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
        let others = [
            &source.principals,
            &source.not_principals,
            &source.namespaces,
            &source.not_namespaces,
        ];
        if accounts && others.iter().any(|o| !o.is_empty()) {
            return Err(format!(
                "{path}: serviceAccounts cannot stand beside principals or namespaces"
            ));
        }
        let http = [
            ("requestPrincipals", &source.request_principals),
            ("notRequestPrincipals", &source.not_request_principals),
            ("remoteIpBlocks", &source.remote_ip_blocks),
            ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
        ];
        self.note_http(path, &http);
        // Checked all the same, so that a mistake shows before there is anything to enforce it.
        for (name, values) in &http[2..] {
            parse::nets(&format!("{path}.{name}"), values)?;
        }
        let at = |field: &str| format!("{path}.{field}");
        Ok(Match {
            namespaces: parse::strings(&at("namespaces"), &source.namespaces)?,
            not_namespaces: parse::strings(&at("notNamespaces"), &source.not_namespaces)?,
            principals: parse::principals(&at("principals"), &source.principals)?,
            not_principals: parse::principals(&at("notPrincipals"), &source.not_principals)?,
            service_accounts: parse::accounts(
                &at("serviceAccounts"),
                &source.service_accounts,
                self.namespace,
            )?,
            not_service_accounts: parse::accounts(
                &at("notServiceAccounts"),
                &source.not_service_accounts,
                self.namespace,
            )?,
            source_ips: parse::nets(&at("ipBlocks"), &source.ip_blocks)?,
            not_source_ips: parse::nets(&at("notIpBlocks"), &source.not_ip_blocks)?,
            ..Match::default()
        })
    }
}
