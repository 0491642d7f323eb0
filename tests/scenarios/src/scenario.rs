//! The list of scenarios, one file a theme.

mod addresses;
mod certificates;
mod commands;
mod contradictions;
mod direct;
mod enrol;
mod hostile;
mod input;
pub mod interception;
mod interop;
mod kill;
mod laboratory;
mod network_policies;
mod observe;
mod policy;
pub mod protocols;
mod services;
mod sockets;
mod transfers;
pub mod wire;

use anyhow::Result;

use crate::world::{FAMILIES, Ip, World};

/// Scenarios that share a lab.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Suite {
    /// The lab as it comes.
    Main,
    /// Without the lab's own kube-proxy: Services work by the mesh alone.
    NoKubeProxy,
    /// Certificates that live for seconds; the access log as JSON.
    ShortCertificates,
    /// Agents are told to make no direct flows.
    NoDirectFlows,
}

impl Suite {
    /// Options of `lab up`.
    pub fn options(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Main => &[],
            Self::NoKubeProxy => &["--no-kube-proxy"],
            Self::NoDirectFlows => &["--set", "agent.direct-flows=off"],
            Self::ShortCertificates => &[
                "--set",
                "control.cert-ttl=20s",
                "--set",
                "ztunnel.access-log=json",
            ],
        };
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    /// Whether its lab dies before it is taken down.
    pub fn crashes(self) -> bool {
        self == Self::NoKubeProxy
    }
}

type Body = Box<dyn Fn(&World) -> Result<()>>;

/// One test.
pub struct Scenario {
    /// Theme, what is shown, family: `addresses/cross-node-pod-ip/v4`.
    pub name: String,
    /// The lab that it needs.
    pub suite: Suite,
    /// Runs only with `--long`.
    pub long: bool,
    /// Needs pods, nodes and objects alone: it holds on a cluster, too.
    pub anywhere: bool,
    /// Has no second try.
    pub strict: bool,
    body: Body,
}

impl Scenario {
    /// Runs it; an error says what did not hold.
    pub fn run(&self, world: &World) -> Result<()> {
        (self.body)(world)
    }
}

/// Every scenario, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    let mut registry = Registry {
        list: Vec::new(),
        theme: "",
        suite: Suite::Main,
        long: false,
        anywhere: false,
        strict: false,
    };
    registry.theme("lab", laboratory::register);
    registry.theme("commands", commands::register);
    registry.theme("capture", interception::register);
    registry.theme("direct", direct::register);
    registry.theme("wire", |add| add.strict(wire::register));
    registry.theme("addresses", addresses::register);
    registry.theme("transfers", |add| add.anywhere(transfers::register));
    registry.theme("sockets", sockets::register);
    registry.theme("services", services::register);
    registry.theme("protocols", protocols::register);
    registry.theme("policy", policy::register);
    registry.theme("contradictions", contradictions::register);
    registry.theme("network-policies", network_policies::register);
    registry.theme("enrol", enrol::register);
    registry.theme("input", input::register);
    registry.theme("kill", |add| add.strict(kill::register));
    registry.theme("certificates", certificates::register);
    registry.theme("observe", observe::register);
    registry.theme("interop", interop::register);
    registry.theme("hostile", |add| add.strict(hostile::register));
    registry.list
}

/// Takes the scenarios of each theme.
pub struct Registry {
    list: Vec<Scenario>,
    theme: &'static str,
    suite: Suite,
    long: bool,
    anywhere: bool,
    strict: bool,
}

impl Registry {
    /// Adds a scenario.
    pub fn one(&mut self, name: &str, body: impl Fn(&World) -> Result<()> + 'static) {
        let name = format!("{}/{name}", self.theme);
        self.list.push(Scenario {
            name,
            suite: self.suite,
            long: self.long,
            anywhere: self.anywhere,
            strict: self.strict,
            body: Box::new(body),
        });
    }

    /// Adds a scenario once for each address family.
    pub fn both(&mut self, name: &str, body: impl Fn(&World, Ip) -> Result<()> + Copy + 'static) {
        for ip in FAMILIES {
            self.one(&format!("{name}/{ip}"), move |world| body(world, ip));
        }
    }

    /// What `add` adds needs another lab.
    pub fn in_suite(&mut self, suite: Suite, add: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.suite, suite);
        add(self);
        self.suite = before;
    }

    /// What `add` adds runs only with `--long`.
    pub fn long(&mut self, add: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.long, true);
        add(self);
        self.long = before;
    }

    /// What `add` adds needs nothing that only a lab has.
    pub fn anywhere(&mut self, add: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.anywhere, true);
        add(self);
        self.anywhere = before;
    }

    /// What `add` adds has no second try: plaintext on the link or a policy that opens is an error however seldom it shows.
    pub fn strict(&mut self, add: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.strict, true);
        add(self);
        self.strict = before;
    }

    fn theme(&mut self, theme: &'static str, register: impl FnOnce(&mut Self)) {
        self.theme = theme;
        register(self);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let scenarios = all();
        let names: BTreeSet<&str> = scenarios.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), scenarios.len());
    }

    #[test]
    fn what_may_leak_has_no_second_try() {
        let strict = |name: &str| {
            let themes = ["wire/", "kill/", "hostile/", "policy/live/"];
            themes.iter().any(|theme| name.starts_with(theme))
        };
        for scenario in all() {
            assert_eq!(scenario.strict, strict(&scenario.name), "{}", scenario.name);
        }
    }
}
