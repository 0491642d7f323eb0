//! Keeps EndpointSlices, kube-proxy and DNS in step with Services and pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dns::Zone;
use crate::kube_proxy;
use crate::services::{self, ServiceView};

use super::Daemon;

impl Daemon {
    /// Follows the state until the lab goes down.
    pub(super) fn sync_services(self: &Arc<Self>) {
        let mut loaded: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let pending = self.wait(None, |s| {
                if s.closing {
                    return Some(None);
                }
                (s.revision != s.synced).then(|| Some((s.revision, services::views(&s.store))))
            });
            let Some(Some((revision, views))) = pending else {
                return;
            };
            // Before its name is known: a first SYN that no rule meets keeps its connection from the Service for good.
            if self.options.kube_proxy {
                self.load_rules(&views, &mut loaded);
            }
            self.zone.set(Zone::of(&views));
            let written = self.write_slices(&views, revision);
            if let Err(error) = written {
                self.log(&format!("cannot write EndpointSlices: {error:#}"));
            }
            self.changed.notify_all();
        }
    }

    fn write_slices(&self, views: &[ServiceView], revision: u64) -> anyhow::Result<()> {
        let mut state = self.lock();
        state.synced = revision;
        for view in views
            .iter()
            .filter(|v| v.external_name.is_none() && v.selected)
        {
            for slice in services::slices(view) {
                state.store.put(slice)?;
            }
        }
        Ok(())
    }

    fn load_rules(&self, views: &[ServiceView], loaded: &mut BTreeMap<String, String>) {
        let rules = kube_proxy::rules(views);
        std::thread::scope(|scope| {
            for node in &self.options.nodes {
                if loaded.get(node) == Some(&rules) {
                    continue;
                }
                let rules = &rules;
                scope.spawn(move || {
                    if let Err(error) = kube_proxy::load(&self.paths.node_netns(node), rules) {
                        self.log(&format!("kube-proxy of node {node}: {error:#}"));
                    }
                });
            }
        });
        for node in &self.options.nodes {
            loaded.insert(node.clone(), rules.clone());
        }
    }
}
