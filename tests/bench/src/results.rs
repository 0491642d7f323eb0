//! Everything that was measured, as it is written to `bench.json`.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::stats::{Estimate, differences, estimate, ratios};

/// One benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// What it ran on.
    pub machine: Machine,
    /// Version of the mesh.
    pub version: String,
    /// Short runs: not to be published.
    pub quick: bool,
    /// The measurements, in the order of the page.
    pub measures: Vec<Measure>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// Which part of the page a measurement is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Direct flows.
    SameNode,
    /// Mutual TLS.
    CrossNode,
    /// Mutual TLS beside two ordinary proxies.
    Yardstick,
    /// Memory of the tunnel.
    Memory,
    /// The controller.
    Controller,
}

/// What of a measurement is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Mesh divided by no mesh.
    Ratio,
    /// Mesh minus no mesh.
    Difference,
    /// There is nothing to compare with.
    Nothing,
}

/// One row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// Where it belongs.
    pub section: Section,
    /// What was measured.
    pub what: String,
    /// Unit of `mesh`, `plain` and a difference.
    pub unit: String,
    /// With the mesh.
    pub mesh: Option<Estimate>,
    /// Without it.
    pub plain: Option<Estimate>,
    /// How the two compare, by [`Measure::compare`], from pairs of neighbouring runs.
    pub compared: Option<Estimate>,
    /// What `compared` is.
    pub compare: Compare,
    /// What is aimed at.
    pub aim: Option<Aim>,
    /// Istio's ztunnel on a machine of this kind, for orientation.
    pub istio: Option<f64>,
    /// Every run with the mesh.
    pub mesh_runs: Vec<f64>,
    /// Every run without it, each beside its neighbour.
    pub plain_runs: Vec<f64>,
}

/// A bound for the compared median (or for the mesh's own, where nothing is compared).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Not below.
    AtLeast(f64),
    /// Not above.
    AtMost(f64),
}

impl Aim {
    /// Whether a value reaches it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl Measure {
    /// A comparison of neighbouring runs.
    pub fn compared(
        section: Section,
        what: &str,
        unit: &str,
        compare: Compare,
        mesh: Vec<f64>,
        plain: Vec<f64>,
    ) -> Self {
        let pairs = match compare {
            Compare::Ratio => ratios(&mesh, &plain),
            Compare::Difference => differences(&mesh, &plain),
            Compare::Nothing => Vec::new(),
        };
        Self {
            section,
            what: what.to_owned(),
            unit: unit.to_owned(),
            mesh: estimate(&mesh),
            plain: estimate(&plain),
            compared: estimate(&pairs),
            compare,
            aim: None,
            istio: None,
            mesh_runs: mesh,
            plain_runs: plain,
        }
    }

    /// Something that only exists with the mesh.
    pub fn alone(section: Section, what: &str, unit: &str, values: Vec<f64>) -> Self {
        Self::compared(section, what, unit, Compare::Nothing, values, Vec::new())
    }

    /// With an aim.
    pub fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }

    /// With Istio's figure.
    pub fn istio(mut self, figure: f64) -> Self {
        self.istio = Some(figure);
        self
    }

    /// The figure that aim and Istio's figure speak about.
    pub fn headline(&self) -> Option<Estimate> {
        if self.compare == Compare::Nothing {
            self.mesh
        } else {
            self.compared
        }
    }

    /// Whether the median reaches the aim; None without an aim or a figure.
    pub fn reached(&self) -> Option<bool> {
        Some(self.aim?.holds(self.headline()?.median))
    }

    /// Whether the aim lies within the interval: then the median alone proves little.
    pub fn is_open(&self) -> bool {
        let (Some(aim), Some(e)) = (self.aim, self.headline()) else {
            return false;
        };
        aim.holds(e.low) != aim.holds(e.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let m = Measure::compared(
            Section::SameNode,
            "x",
            "1/s",
            Compare::Ratio,
            vec![9.0, 90.0, 900.0],
            vec![10.0, 100.0, 1000.0],
        );
        assert_eq!(m.compared.unwrap().median, 0.9);
        assert_eq!(m.clone().aim(Aim::AtLeast(0.95)).reached(), Some(false));
        assert_eq!(m.clone().aim(Aim::AtLeast(0.9)).reached(), Some(true));
        assert_eq!(m.reached(), None);
        let spread = Measure::compared(
            Section::SameNode,
            "x",
            "1/s",
            Compare::Ratio,
            vec![8.0, 9.0, 11.0],
            vec![10.0; 3],
        );
        assert!(spread.clone().aim(Aim::AtLeast(0.9)).is_open());
        assert!(!spread.aim(Aim::AtLeast(0.7)).is_open());
    }

    #[test]
    fn what_stands_alone_is_judged_by_itself() {
        let m = Measure::alone(Section::Memory, "idle", "MB", vec![12.0]).aim(Aim::AtMost(18.0));
        assert_eq!(m.reached(), Some(true));
    }
}
