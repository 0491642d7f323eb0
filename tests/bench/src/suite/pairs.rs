//! Interleaved runs: neighbours in time are compared, so that what drifts hits both sides.

use anyhow::Result;

use crate::lab::Side;

/// How many runs, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs of runs of a measurement.
    pub pairs: usize,
    /// Pairs where microseconds matter.
    pub latency_pairs: usize,
    /// Length of a run at a fixed rate, in seconds; its 99th percentile needs enough requests.
    pub paced_seconds: u32,
    /// Length of any other run, in seconds.
    pub seconds: f64,
    /// Few and short.
    pub quick: bool,
}

impl Plan {
    /// The usual plan, or a quick one.
    pub fn new(quick: bool) -> Self {
        // Many short pairs: what drifts on the machine drifts slower than from one run to the next.
        match quick {
            true => Self {
                pairs: 4,
                latency_pairs: 6,
                paced_seconds: 1,
                seconds: 0.7,
                quick,
            },
            false => Self {
                pairs: 15,
                latency_pairs: 25,
                paced_seconds: 4,
                seconds: 1.0,
                quick,
            },
        }
    }

    /// `--seconds` of a run.
    pub fn length(&self) -> String {
        self.seconds.to_string()
    }
}

/// What was found in each run, mesh and plain, in pairs.
#[derive(Debug)]
pub struct Pairs<T> {
    /// With the mesh.
    pub mesh: Vec<T>,
    /// Without.
    pub plain: Vec<T>,
}

impl<T> Pairs<T> {
    /// One figure of each run.
    pub fn map<U>(&self, figure: impl Fn(&T) -> U) -> Pairs<U> {
        Pairs {
            mesh: self.mesh.iter().map(&figure).collect(),
            plain: self.plain.iter().map(&figure).collect(),
        }
    }
}

/// Runs both sides `pairs` times, in the order mesh, plain, plain, mesh, …: neither always goes first.
///
/// # Errors
/// The first failure of a run.
pub fn interleave<T>(pairs: usize, mut run: impl FnMut(Side) -> Result<T>) -> Result<Pairs<T>> {
    let mut found = Pairs {
        mesh: Vec::with_capacity(pairs),
        plain: Vec::with_capacity(pairs),
    };
    for pair in 0..pairs {
        let order = if pair % 2 == 0 {
            [Side::Mesh, Side::Plain]
        } else {
            [Side::Plain, Side::Mesh]
        };
        for side in order {
            let value = run(side)?;
            match side {
                Side::Mesh => found.mesh.push(value),
                Side::Plain => found.plain.push(value),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_in_going_first() {
        let mut order = Vec::new();
        let found = interleave(2, |side| {
            order.push(side);
            Ok(order.len())
        });
        assert_eq!(order, [Side::Mesh, Side::Plain, Side::Plain, Side::Mesh]);
        let found = found.unwrap();
        assert_eq!((found.mesh, found.plain), (vec![1, 4], vec![2, 3]));
    }
}
