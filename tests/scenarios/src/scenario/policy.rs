//! L4 policy: a table of policies and who may then connect where.

mod live;
mod table;

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::Registry;
use crate::lab::Pod;
use crate::world::{
    CLIENT_A, FAMILIES, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, port, told,
};

pub use table::Case;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.anywhere(|add| {
        for case in table::cases() {
            add.one(case.name, move |world| check_case(world, &case));
        }
    });
    add.one("what-cannot-be-checked-at-l4-is-said", said_at_l4);
    add.strict(live::register);
}

/// One question: may this pod connect to that one on this port?
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Client.
    pub from: Pod,
    /// Server.
    pub to: Pod,
    /// Port of the server.
    pub port: u16,
    /// The answer expected.
    pub allowed: bool,
}

/// `warren status` names the object, the field and the person's file.
fn said_at_l4(world: &World) -> Result<()> {
    for name in ["allow-get", "deny-get"] {
        let _policy = world.apply(&format!("policies/{name}.yaml"))?;
        world.eventually(REACHES, || {
            let shown = world.lab.warren(&["status"])?.ok()?;
            let object = format!("AuthorizationPolicy shop/{name}");
            let file = format!("policies/{name}.yaml:1");
            for word in [object.as_str(), &file, "operation.methods", "L4"] {
                ensure!(
                    shown.contains(word),
                    "`warren status` does not say {word:?} of {name}: {shown}"
                );
            }
            Ok(())
        })?;
    }
    // The next scenario begins without them.
    check_open(world)
}

/// How long a change may take to reach new connections everywhere.
const REACHES: Duration = Duration::from_secs(5);

fn check_case(world: &World, case: &Case) -> Result<()> {
    let applied: Vec<_> = case
        .manifests
        .iter()
        .map(|m| world.apply(m))
        .collect::<Result<_>>()?;
    world.eventually(REACHES, || hold(world, &case.cells))?;
    // Once more: what was decided stays decided, cached verdicts included.
    hold(world, &case.cells)?;
    drop(applied);
    let open: Vec<Cell> = case
        .cells
        .iter()
        .map(|c| Cell {
            allowed: true,
            ..*c
        })
        .collect();
    world
        .eventually(REACHES, || hold(world, &open))
        .map_err(|e| e.context("after the policy was deleted"))
}

/// Without a policy everything connects.
pub fn check_open(world: &World) -> Result<()> {
    let clients = [CLIENT_A, OTHER_A, PLAIN_A];
    let cells: Vec<Cell> = clients
        .into_iter()
        .flat_map(|from| {
            [SERVER_A, SERVER_B].map(|to| Cell {
                from,
                to,
                port: port::GREET,
                allowed: true,
            })
        })
        .collect();
    world
        .eventually(REACHES, || hold(world, &cells))
        .map_err(|e| e.context("after the policy was deleted"))
}

/// All answers are as expected, in both families.
pub fn hold(world: &World, cells: &[Cell]) -> Result<()> {
    for cell in cells {
        for ip in FAMILIES {
            let allowed = may_connect(world, cell.from, cell.to, ip, cell.port)?;
            ensure!(
                allowed == cell.allowed,
                "{} to {} port {} over {ip}: {}",
                cell.from,
                cell.to,
                cell.port,
                if allowed {
                    "connected, but should be denied"
                } else {
                    "denied, but should connect"
                }
            );
        }
    }
    Ok(())
}

/// Whether bytes come back; a refusal must be a closed or reset connection, soon.
pub fn may_connect(world: &World, from: Pod, to: Pod, ip: Ip, number: u16) -> Result<bool> {
    let mode = if number == port::GREET {
        "greet"
    } else {
        "echo"
    };
    let at = world.at(to, ip, number)?.to_string();
    let outcome = world.try_connect(
        from,
        &at,
        &["--mode", mode, "--bytes", "1", "--timeout-ms", "5000"],
    )?;
    if outcome.ok {
        return Ok(true);
    }
    if outcome.total_ms >= 4000 {
        bail!(
            "{from} to {to} port {number} over {ip} hangs: {}",
            told(&outcome)
        );
    }
    Ok(false)
}
